-- What is left to a script behind jwt_authn: whose certificate and token are these, do they belong together, does a rule
-- allow the request; then tell the upstream. What a certificate amounts to is remembered under its digest.
-- With REMEMBER_TOKENS so are the claims of a token that jwt_authn has verified, under the token itself.
-- CLIENTS = { [spiffe id] = {id, profile, principal} } and PROFILES = { [profile] = {[prefix] = {methods, scope}} } come before.

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local REMEMBERED = 1000
local seen, count = {}, 0
local tokens, token_count = {}, 0

local function base64url(hex)
  local out, bits, held = {}, 0, 0
  for pair in hex:gmatch("%x%x") do
    bits, held = bits * 256 + tonumber(pair, 16), held + 8
    while held >= 6 do
      held = held - 6
      local digit = math.floor(bits / 2 ^ held)
      bits = bits - digit * 2 ^ held
      out[#out + 1] = ALPHABET:sub(digit + 1, digit + 1)
    end
  end
  if held > 0 then
    local digit = bits * 2 ^ (6 - held)
    out[#out + 1] = ALPHABET:sub(digit + 1, digit + 1)
  end
  return table.concat(out)
end

local function holder(connection)
  local digest = connection:sha256PeerCertificateDigest()
  local known = seen[digest]
  if known then
    return known
  end
  local names = connection:uriSanPeerCertificate()
  local client = #names == 1 and CLIENTS[names[1]] or nil
  known = { thumbprint = base64url(digest), identity = names[1], client = client }
  if count >= REMEMBERED then
    seen, count = {}, 0
  end
  seen[digest], count = known, count + 1
  return known
end

local function payload(info)
  local verified = info:dynamicMetadata():get("envoy.filters.http.jwt_authn")
  return verified and verified["payload"]
end

-- Asked only for requests that jwt_authn has let pass: the token in the header is the one that it has verified just now.
local function claims_of(info, headers)
  if not REMEMBER_TOKENS then
    return payload(info)
  end
  local token = headers:get("authorization")
  local known = tokens[token]
  if known == nil then
    known = payload(info)
    if token_count >= REMEMBERED then
      tokens, token_count = {}, 0
    end
    tokens[token], token_count = known, token_count + 1
  end
  return known
end

local function refuse(handle, status, reason)
  handle:respond({ [":status"] = status }, reason)
end

function envoy_on_request(handle)
  local info = handle:streamInfo()
  local connection = info:downstreamSslConnection()
  if connection == nil or not connection:peerCertificateValidated() then
    return refuse(handle, "401", "certificate_untrusted")
  end
  local known = holder(connection)

  local headers = handle:headers()
  local claims = claims_of(info, headers)
  if claims == nil then
    return refuse(handle, "401", "token_missing")
  end
  local confirmation = claims["cnf"]
  if confirmation == nil or confirmation["x5t#S256"] ~= known.thumbprint then
    return refuse(handle, "401", "sender_binding_mismatch")
  end
  local client = known.client
  if client == nil then
    return refuse(handle, "403", "identity_not_mapped")
  end
  if claims["client_id"] ~= client.id then
    return refuse(handle, "403", "client_profile_mismatch")
  end

  local rule = PROFILES[client.profile][headers:get(":path"):match("^(/[^/?]*)/[^/?]+$")]
  if rule == nil then
    return refuse(handle, "403", "path_denied")
  end
  if not (" " .. (claims["scope"] or "") .. " "):find(rule.scope, 1, true) then
    return refuse(handle, "403", "insufficient_scope")
  end
  if not rule.methods[headers:get(":method")] then
    return refuse(handle, "405", "method_not_allowed")
  end

  headers:replace("x-client-id", client.id)
  headers:replace("x-profile-id", client.profile)
  headers:replace("x-client-principal", client.principal)
  headers:replace("x-client-identity", known.identity)
  headers:replace("x-client-cert-thumbprint", known.thumbprint)
end
