// An issuer of certificate-bound tokens in sixty lines, with the npm package oidc-provider: ../../docs/issuers.md.
//
//   node oidc-provider.mjs settings.json
//
// settings.json: "issuer" (a URL), "port", "key", "certificate" and "authority" (PEM files), "keys" (a JWK set with private keys;
// the first one that fits signs, all of them are published), "resource" (the audience), "clients" (as in RFC 7591).
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { Provider } from 'oidc-provider';

const settings = JSON.parse(readFileSync(process.argv[2]));

// The certificate of this connection, if the caller presented one.
function certificateOf(ctx) {
  const peer = ctx.req.socket.getPeerCertificate();
  return peer.raw && new X509Certificate(peer.raw);
}

const provider = new Provider(settings.issuer, {
  jwks: settings.keys,
  clients: settings.clients,
  // Its default, RS256, would need an RSA key.
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  clientAuthMethods: ['tls_client_auth', 'self_signed_tls_client_auth'],
  scopes: settings.scopes,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    mTLS: {
      enabled: true,
      certificateBoundAccessTokens: true,
      tlsClientAuth: true,
      selfSignedTlsClientAuth: true,
      getCertificate: certificateOf,
      // Whether the handshake verified the certificate. One that is self-signed is compared with the client's `jwks` instead.
      certificateAuthorized: (ctx) => ctx.req.socket.authorized,
      certificateSubjectMatches: (ctx, property, expected) =>
        property === 'tls_client_auth_subject_dn'
        && certificateOf(ctx).subject.split('\n').reverse().join(',') === expected,
    },
    // Access tokens are JWTs only for a resource that says so; otherwise they are opaque, and only the issuer can read them.
    resourceIndicators: {
      enabled: true,
      defaultResource: () => settings.resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        audience: settings.resource,
        scope: settings.scopes.join(' '),
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

// A certificate is requested and not required: Envoy fetches the keys without one.
createServer({
  key: readFileSync(settings.key),
  cert: readFileSync(settings.certificate),
  ca: readFileSync(settings.authority),
  requestCert: true,
  rejectUnauthorized: false,
}, provider.callback()).listen(settings.port, '127.0.0.1', () => console.log('listening'));
