//! What the upstream is told, and what it is never told by anybody else.

use std::borrow::Cow;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::decision::{Allow, Caller, Decision, Enforcement, ForwardedCert, Rule};
use crate::header_names::{Meaning, begins_with, is_spelled, meaning};
use crate::plain::is_plain;
use crate::request::{CLIENT_ID, FORWARDED_CLIENT_CERT, Header, PROFILE_ID, Request};

/// Without it Envoy's router answers 404.
pub const SCHEME: &str = "x-forwarded-proto";
/// The header of RFC 9440.
pub const CLIENT_CERT: &str = "client-cert";

/// Names under which the upstream is told who is calling; `None`: not told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamHeaders {
    /// The client's name.
    pub client_id: Option<String>,
    /// The profile's name.
    pub profile_id: Option<String>,
    /// The canonical ARN.
    pub principal: Option<String>,
    /// The typed name from the certificate.
    pub identity: Option<String>,
    /// `x5t#S256`
    pub thumbprint: Option<String>,
    /// The certificate itself (RFC 9440).
    pub client_cert: Option<String>,
    /// Where a trusted proxy forwards the certificate: read here, and never passed on.
    pub inbound_cert: Option<String>,
    /// Those of all these names that are not known as identity headers anyway.
    others: Vec<String>,
    /// `strip_headers`: what must not reach the upstream either.
    pub strip: Vec<Stripped>,
    /// `override_headers: keep`: may headers tell the upstream of another request than the one that was decided about?
    pub keeps_overrides: bool,
    /// Was it decided by the host, so that headers must not tell the upstream of another one?
    pub decides_by_host: bool,
}

/// An entry of `strip_headers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stripped {
    /// A name.
    Name(String),
    /// The beginning of names.
    Family(String),
}

impl Stripped {
    /// Is this header meant?
    pub fn covers(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(known) => is_spelled(name, known),
            Self::Family(beginning) => begins_with(name, beginning),
        }
    }
}

impl Default for UpstreamHeaders {
    fn default() -> Self {
        Self {
            client_id: Some(CLIENT_ID.to_owned()),
            profile_id: Some(PROFILE_ID.to_owned()),
            principal: Some("x-client-principal".to_owned()),
            identity: Some("x-client-identity".to_owned()),
            thumbprint: Some("x-client-cert-thumbprint".to_owned()),
            client_cert: None,
            inbound_cert: None,
            others: Vec::new(),
            strip: Vec::new(),
            keeps_overrides: false,
            decides_by_host: false,
        }
    }
}

impl UpstreamHeaders {
    /// The names in use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let all =
            [&self.client_id, &self.profile_id, &self.principal, &self.identity, &self.thumbprint, &self.client_cert];
        all.into_iter().flatten().map(String::as_str)
    }

    /// Takes note of where a trusted proxy forwards the certificate.
    pub fn reserve(&mut self, inbound_cert: Option<String>) {
        self.inbound_cert = inbound_cert;
        let named = self.names().chain(self.inbound_cert.as_deref());
        self.others = named.filter(|name| !is_known_identity_header(name.as_bytes())).map(str::to_owned).collect();
    }

    /// Does the caller's header of this name stay away from the upstream?
    fn removes(&self, name: &[u8]) -> bool {
        let is_known = match meaning(name) {
            Some(Meaning::Finding | Meaning::Client) => true,
            Some(Meaning::Target) => !self.keeps_overrides,
            Some(Meaning::Host) => self.decides_by_host && !self.keeps_overrides,
            // They name the request's own method, or shadow mode lets the request go on as it came.
            Some(Meaning::Method) | None => false,
        };
        is_known || self.others.iter().any(|known| is_spelled(name, known)) || self.strips(name)
    }

    /// Does `strip_headers` name this header? Its families leave the one in which Envoy's router finds the scheme.
    fn strips(&self, name: &[u8]) -> bool {
        name != SCHEME.as_bytes() && self.strip.iter().any(|stripped| stripped.covers(name))
    }

    /// What an allowed caller's request carries.
    fn values<'a>(&'a self, caller: &'a Caller, der: Option<&[u8]>) -> Vec<Written<'a>> {
        let mut values = Vec::with_capacity(6);
        let mut write = |name: &'a Option<String>, value: Option<Cow<'a, [u8]>>| {
            if let (Some(name), Some(value)) = (name, value) {
                values.push((name.as_bytes(), value));
            }
        };
        // Names and ARNs are visible ASCII by construction; what a certificate says of itself is anything.
        let as_it_is = |value: &'a str| Cow::Borrowed(value.as_bytes());
        write(&self.client_id, caller.client_id().map(as_it_is));
        write(&self.profile_id, caller.profile_id.as_deref().map(as_it_is));
        write(&self.principal, caller.principal().map(as_it_is));
        write(&self.identity, caller.identity.as_deref().map(visible));
        write(&self.thumbprint, caller.thumbprint.as_ref().map(|thumbprint| Cow::Borrowed(thumbprint.as_bytes())));
        if self.client_cert.is_some() {
            write(&self.client_cert, der.map(|der| format!(":{}:", STANDARD.encode(der)).into_bytes().into()));
        }
        values
    }
}

/// A header as the upstream will see it.
pub type Written<'a> = (&'a [u8], Cow<'a, [u8]>);

/// How the headers of a request change before it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// They gain these, under names that did not stand there. This, the ordinary change, costs a proxy the least.
    Add(Vec<Written<'a>>),
    /// They become these.
    Replace {
        /// All of them.
        headers: Vec<Written<'a>>,
        /// Did the request bring a forwarded certificate that is neither believed nor passed on?
        strips_certificate: bool,
    },
}

/// The change with which an allowed (or shadowed) request goes on: everything inbound stays but what only this filter may
/// say, then comes what it says.
pub fn headers<'a>(names: &'a UpstreamHeaders, request: &Request<'a>, decision: &'a Decision) -> Change<'a> {
    const FORWARDED: &[u8] = FORWARDED_CLIENT_CERT.as_bytes();
    let own = decision.forwarded_cert == ForwardedCert::Own;
    // In shadow mode requests go on as they came.
    let removes_token = decision.removes_token && decision.enforcement == Enforcement::Enforce && request.names_token();
    let kept = |name: &[u8]| match name {
        b"authorization" if removes_token => false,
        FORWARDED if own => !names.strips(name),
        name => !names.removes(name),
    };
    let written = match &decision.verdict {
        Ok(Allow { rule: Rule::Profile(_) }) => {
            let certificate = decision.certificate.as_ref();
            let der = certificate.and_then(|certificate| certificate.der.as_deref());
            names.values(&decision.caller, der)
        }
        Ok(Allow { rule: Rule::Bypass(_) }) | Err(_) => Vec::new(),
    };
    let upgraded = request.upgrade().is_some();
    let path = decided_path(request, decision);
    let may_remove = removes_token || request.has_known_header || !names.others.is_empty() || !names.strip.is_empty();
    let keeps_all = !may_remove || request.headers.iter().all(|(name, _)| kept(name));
    if !upgraded && path.is_none() && keeps_all {
        return Change::Add(written);
    }
    let inbound = request.headers.iter().filter(|(name, _)| kept(name)).map(|(name, value)| match *name {
        // A caller may name further headers here, which a hop behind would then drop: those written below.
        b"connection" if upgraded => (*name, Cow::Borrowed(&b"upgrade"[..])),
        b":path" if let Some(path) = &path => (*name, Cow::Owned(path.clone())),
        name => (name, Cow::Borrowed(*value)),
    });
    Change::Replace {
        headers: inbound.chain(written).collect(),
        strips_certificate: decision.forwarded_cert != ForwardedCert::Believed
            && request.headers.iter().any(|(name, _)| is_certificate_header(name, names) && !kept(name)),
    }
}

/// The path that was decided on, with the query that was sent, where an allowed request came with another spelling:
/// routes and upstreams must not resolve it differently.
fn decided_path(request: &Request<'_>, decision: &Decision) -> Option<Vec<u8>> {
    let canonical = decision.path.as_deref().filter(|_| decision.verdict.is_ok())?;
    let sent = request.path().ok()?;
    let behind = sent.strip_prefix(canonical.as_bytes()).map(<[u8]>::first);
    if matches!(behind, Some(None | Some(b'?' | b'#'))) {
        return None;
    }
    let query = sent.split(|byte| *byte == b'#').next().unwrap_or_default();
    let query = query.iter().position(|byte| *byte == b'?').and_then(|start| query.get(start..)).unwrap_or_default();
    Some([canonical.as_bytes(), query].concat())
}

/// The trailers with which a request goes on, because a recipient may merge them into the headers (RFC 9110 section
/// 6.5.1). `None` where nothing has to go.
pub fn trailers<'a>(names: &UpstreamHeaders, trailers: &[Header<'a>]) -> Option<Vec<Header<'a>>> {
    let kept: Vec<Header<'a>> = trailers
        .iter()
        .filter(|(name, _)| !names.removes(name) && !is_method_override(name, names) && *name != b"authorization")
        .copied()
        .collect();
    (kept.len() < trailers.len()).then_some(kept)
}

/// Does a trailer tell of a method? No decision looks at trailers.
fn is_method_override(name: &[u8], names: &UpstreamHeaders) -> bool {
    !names.keeps_overrides && meaning(name) == Some(Meaning::Method)
}

fn is_known_identity_header(name: &[u8]) -> bool {
    matches!(meaning(name), Some(Meaning::Finding | Meaning::Client))
}

fn is_certificate_header(name: &[u8], names: &UpstreamHeaders) -> bool {
    is_known_certificate_header(name) || names.inbound_cert.as_deref().is_some_and(|known| is_spelled(name, known))
}

/// Is this a header in which proxies are known to tell of client certificates?
pub fn is_known_certificate_header(name: &[u8]) -> bool {
    meaning(name) == Some(Meaning::Client)
}

/// A text as a header value: visible ASCII as it is, everything else percent-encoded, so that no name in a certificate
/// can end a line, be read as two, or lose a space at its end and become another.
fn visible(text: &str) -> Cow<'_, [u8]> {
    if is_plain(text.as_bytes()) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut value = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            value.push(byte);
        } else {
            // Writing to a Vec cannot fail.
            let _ = write!(value, "%{byte:02X}");
        }
    }
    Cow::Owned(value)
}
