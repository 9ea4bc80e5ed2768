//! The request as the filter sees it: the header map, read once, as bytes.

use crate::bounds;
use crate::byte_set::{ALPHANUMERIC, ByteSet};
use crate::decision::{Deny, Reason};
use crate::header_names::{Meaning, meaning};
use crate::line::{Excerpt, listed};
use crate::plain::is_plain;
use crate::policy::{Host, Methods};
use crate::token::names_scheme;

/// A header: its name as Envoy spells it (lower case) and its value, any bytes.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// A client's own word for who it is; the certificate decides whether it is true.
pub const CLIENT_ID: &str = "x-client-id";
/// A client's choice among its profiles.
pub const PROFILE_ID: &str = "x-profile-id";
/// What Envoy (or a caller) says about client certificates of earlier hops.
pub const FORWARDED_CLIENT_CERT: &str = "x-forwarded-client-cert";

/// The parts of a request's headers that matter here, found in one pass.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// Every header, in order.
    pub headers: &'a [Header<'a>],
    method: Values<'a>,
    path: Values<'a>,
    protocol: Values<'a>,
    connection: Values<'a>,
    upgrade: Values<'a>,
    content_type: Values<'a>,
    request_id: Values<'a>,
    client_id: Values<'a>,
    profile_id: Values<'a>,
    /// Values of `x-http-method-override` and its like.
    method_overrides: Values<'a>,
    /// Does the request have any header that an upstream could believe, whatever it means?
    pub has_known_header: bool,
    /// Values of `authorization`.
    pub authorization: Values<'a>,
    /// Values of `x-forwarded-client-cert`.
    pub forwarded_client_cert: Values<'a>,
}

/// The values of one header. Ordinary requests hold each once, and one needs no memory of its own.
#[derive(Debug, Clone, Default)]
pub struct Values<'a> {
    first: Option<&'a [u8]>,
    others: Vec<&'a [u8]>,
}

impl<'a> Values<'a> {
    fn push(&mut self, value: &'a [u8]) {
        match self.first {
            None => self.first = Some(value),
            Some(_) => self.others.push(value),
        }
    }

    /// Does the header not stand at all?
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.first.iter().chain(&self.others).copied()
    }

    /// The value of a header that may stand once.
    ///
    /// # Errors
    /// It stands more than once.
    pub fn at_most_one(&self) -> Result<Option<&'a [u8]>, Repeated> {
        if self.others.is_empty() { Ok(self.first) } else { Err(Repeated) }
    }

    /// A refusal that says what there is instead of one good value.
    fn expected_one(&self, name: &str, expected: &str) -> Deny {
        let values: Vec<Excerpt<'_>> = self.iter().map(|value| Excerpt(without_query(value))).collect();
        let note = match values.len() {
            0 => format!("there is no {name}, expected {expected}"),
            1 => format!("{name} is {}, expected {expected}", listed(&values)),
            count => format!("{name} occurs {count} times: {}; expected {expected}", listed(&values)),
        };
        Deny::new(Reason::RequestMalformed).with_note(note)
    }

    /// The value of a header that stands exactly once.
    pub fn exactly_one(&self) -> Option<&'a [u8]> {
        self.at_most_one().ok().flatten()
    }
}

impl<'a> FromIterator<&'a [u8]> for Values<'a> {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(values: T) -> Self {
        let mut collected = Self::default();
        values.into_iter().for_each(|value| collected.push(value));
        collected
    }
}

/// A header stands more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeated;

/// What the client says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claimed<'a> {
    /// `X-Client-ID`
    pub client_id: Option<&'a [u8]>,
    /// `X-Profile-ID`
    pub profile_id: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Sorts a header map.
    pub fn new(headers: &'a [Header<'a>]) -> Self {
        const CLIENT_ID_NAME: &[u8] = CLIENT_ID.as_bytes();
        const PROFILE_ID_NAME: &[u8] = PROFILE_ID.as_bytes();
        const FORWARDED_CLIENT_CERT_NAME: &[u8] = FORWARDED_CLIENT_CERT.as_bytes();
        let mut request = Self { headers, ..Self::default() };
        for (name, value) in headers {
            let place = match *name {
                b":method" => &mut request.method,
                b":path" => &mut request.path,
                b":protocol" => &mut request.protocol,
                b"connection" => &mut request.connection,
                b"upgrade" => &mut request.upgrade,
                b"content-type" => &mut request.content_type,
                b"x-request-id" => &mut request.request_id,
                b"authorization" => &mut request.authorization,
                CLIENT_ID_NAME => &mut request.client_id,
                PROFILE_ID_NAME => &mut request.profile_id,
                FORWARDED_CLIENT_CERT_NAME => &mut request.forwarded_client_cert,
                // Nearly every request has these, and they mean nothing here: they need not be looked up.
                b":authority" | b":scheme" | b"accept" | b"user-agent" | b"x-forwarded-for" | b"x-forwarded-proto" => {
                    continue;
                }
                name => {
                    let Some(meaning) = meaning(name) else {
                        continue;
                    };
                    request.has_known_header = true;
                    if meaning != Meaning::Method {
                        continue;
                    }
                    &mut request.method_overrides
                }
            };
            place.push(value);
        }
        let known = [&request.client_id, &request.profile_id, &request.forwarded_client_cert];
        request.has_known_header |= known.iter().any(|values| !values.is_empty());
        request
    }

    /// The values of a header, by its name in lower case.
    pub fn values(&self, name: &str) -> Values<'a> {
        self.headers.iter().filter(|(known, _)| *known == name.as_bytes()).map(|(_, value)| *value).collect()
    }

    /// The method: there must be exactly one, a token of RFC 9110, and not a known one in other letters.
    pub fn method(&self, known: &Methods) -> Result<&'a str, Deny> {
        let malformed = || Deny::new(Reason::RequestMalformed);
        match self.sent_method() {
            Some(method) if method.len() > bounds::METHOD => Err(malformed()
                .with_detail("The method is longer than 64 bytes.")
                .with_note(format!("the method has {} bytes, expected at most 64 bytes", method.len()))),
            Some(method) if known.is_respelled(method) => Err(malformed()
                .with_detail("The method must be written in capitals.")
                .with_note(format!("the method is {method:?}, expected {:?}", method.to_ascii_uppercase()))),
            Some(method) => Ok(method),
            None => Err(self.method.expected_one(":method", "one token of RFC 9110")),
        }
    }

    /// The method, of any length.
    pub fn sent_method(&self) -> Option<&'a str> {
        let method = self.method.exactly_one().and_then(|method| std::str::from_utf8(method).ok());
        method.filter(|method| !method.is_empty() && TOKEN.contains_all(method.as_bytes()))
    }

    /// A header that tells upstreams of a method must tell them of this one.
    ///
    /// # Errors
    /// It says anything else, however an upstream would read that.
    pub fn check_overrides(&self, method: &str) -> Result<(), Deny> {
        if self.method_overrides.iter().all(|value| value.trim_ascii().eq_ignore_ascii_case(method.as_bytes())) {
            return Ok(());
        }
        let overrides = self.headers.iter().filter(|(name, _)| meaning(name) == Some(Meaning::Method));
        let named = overrides.take(bounds::LISTED).map(|(name, value)| {
            let name = String::from_utf8_lossy(name);
            format!("{name} is {}", Excerpt(value))
        });
        let named: Vec<String> = named.collect();
        Err(Deny::new(Reason::RequestMalformed)
            .with_detail("X-HTTP-Method-Override and its like must name the method of the request itself.")
            .with_note(format!(
                "{}, and the method is {method:?}; override_headers: keep would pass that on to the upstream",
                named.join(", ")
            )))
    }

    /// The host that the request names; `None` where it names none, or several.
    pub fn host(&self) -> Option<Host> {
        self.values(":authority").exactly_one().map(Host::of)
    }

    /// The path as it was sent: there must be exactly one. CONNECT has none (RFC 9110 section 9.3.6) and counts as `/`.
    pub fn path(&self) -> Result<&'a [u8], Deny> {
        if self.path.is_empty() && self.method.exactly_one() == Some(b"CONNECT") {
            return Ok(b"/");
        }
        self.path
            .exactly_one()
            .filter(|path| !path.is_empty())
            .ok_or_else(|| self.path.expected_one(":path", "one path"))
    }

    /// Does the query hold a token (RFC 6750 section 2.3)?
    pub fn has_query_token(&self) -> bool {
        let path = self.path.exactly_one().unwrap_or_default();
        let query = path.iter().position(|byte| *byte == b'?').and_then(|at| path.get(at..)).unwrap_or_default();
        let mut members = query.split(|byte| matches!(byte, b'?' | b'&' | b';' | b'#'));
        members.any(|member| {
            let name = member.split(|byte| *byte == b'=').next().unwrap_or_default();
            is_access_token(unescaped(name).trim_ascii())
        })
    }

    /// The protocol that the connection is to become (RFC 9110 section 7.8, RFC 8441), in lower case.
    pub fn upgrade(&self) -> Option<String> {
        if self.protocol.is_empty() && self.upgrade.is_empty() {
            return None;
        }
        let asked = self
            .connection
            .iter()
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"));
        let protocols = if !self.protocol.is_empty() {
            &self.protocol
        } else if asked && !self.upgrade.is_empty() {
            &self.upgrade
        } else {
            return None;
        };
        let joined = protocols.iter().collect::<Vec<_>>().join(&b","[..]);
        Some(String::from_utf8_lossy(&joined).trim().to_ascii_lowercase())
    }

    /// The client's own claims about itself. Said twice, whatever the values, is a malformed request.
    pub fn claimed(&self) -> Result<Claimed<'a>, Deny> {
        Ok(Claimed {
            client_id: at_most_one(&self.client_id, "X-Client-ID")?,
            profile_id: at_most_one(&self.profile_id, "X-Profile-ID")?,
        })
    }

    /// Is the caller a gRPC client? Told as Envoy tells, which turns answers to such callers into gRPC statuses.
    pub fn is_grpc(&self) -> bool {
        if self.path.is_empty() {
            return false;
        }
        let kind = self.content_type.first.and_then(|kind| kind.strip_prefix(b"application/grpc"));
        kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
    }

    /// Did the caller send something that means to be a bearer token?
    pub fn has_bearer(&self) -> bool {
        let scheme = |value: &[u8]| value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
        self.authorization.iter().any(scheme)
    }

    /// Does `Authorization` hold what some reader takes for a bearer or DPoP token?
    pub fn names_token(&self) -> bool {
        self.authorization.iter().any(|value| names_scheme(value, b"bearer") || names_scheme(value, b"dpop"))
    }

    /// The request's id where it is a plain one: at most 128 visible ASCII characters.
    pub fn id(&self) -> Option<&'a [u8]> {
        self.request_id.first.filter(|id| id.len() <= 128 && (is_plain(id) || id.iter().all(u8::is_ascii_graphic)))
    }
}

fn at_most_one<'a>(values: &Values<'a>, name: &str) -> Result<Option<&'a [u8]>, Deny> {
    values.at_most_one().map_err(|Repeated| values.expected_one(name, "it once"))
}

/// What stands before the query and the fragment of a path: the rest may hold a secret.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
}

/// The name of a query's member, as lenient readers decode it: what is no escape stands for itself, and `%u0061` for `a`.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        let digits = match rest {
            [b'%', b'u' | b'U', b'0', b'0', digits @ ..] | [b'%', digits @ ..] => digits.split_at_checked(2),
            _ => None,
        };
        let byte = digits.and_then(|(digits, behind)| {
            let digits = digits.iter().all(u8::is_ascii_hexdigit).then(|| std::str::from_utf8(digits).ok())??;
            Some((u8::from_str_radix(digits, 16).ok()?, behind))
        });
        let (byte, behind) = byte.unwrap_or((*first, behind));
        decoded.push(byte);
        rest = behind;
    }
    decoded
}

/// Is this the name of a token in a query, to any reader? PHP takes several characters for `_`, and what follows a `[` for an index.
fn is_access_token(name: &[u8]) -> bool {
    const NAME: &[u8] = b"access_token";
    let folded = |byte: &u8| if matches!(byte, b'.' | b' ' | b'+' | b'[') { b'_' } else { byte.to_ascii_lowercase() };
    let parts = name.split_at_checked(NAME.len());
    parts.is_some_and(|(start, rest)| {
        start.iter().map(folded).eq(NAME.iter().copied()) && matches!(rest, [] | [b'[', ..])
    })
}

/// The characters of a token, RFC 9110 section 5.6.2.
pub(crate) static TOKEN: ByteSet = ByteSet::new(ALPHANUMERIC, b"!#$%&'*+-.^_`|~");
