//! The certificate of the caller: that of the connection, or the one that a trusted proxy forwards.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

use crate::certificate::{self, Certificate, Format, Forwarded, Thumbprint};
use crate::config::Policy;
use crate::connection::{Connection, Note, PeerCertificate, Transport};
use crate::decision::{Deny, ForwardedCert, Reason};
use crate::identity::TrustedProxies;
use crate::memory::{Memory, Seen, SeenForwarded};
use crate::proxy::{HostError, Property, Proxy, seconds};
use crate::request::{Repeated, Request};
use crate::revocation::Checked;

/// How certificates are forwarded, and by whom (`certificate.forwarded`).
#[derive(Debug)]
pub struct Forwarding {
    /// How they are written.
    pub format: Format,
    /// In which header, in lower case.
    pub header: String,
    /// Which element of the header is the caller's, counted from the right, beginning with 1.
    pub hop: usize,
    /// A longer value is refused.
    pub max_bytes: usize,
    /// Who is believed.
    pub proxies: TrustedProxies,
    /// Is everybody else's caller the peer of the connection? Otherwise everybody else has no certificate.
    pub or_connection: bool,
}

/// What there is of a certificate.
pub struct Presented {
    /// The certificate.
    pub seen: Option<Rc<Seen>>,
    /// For the operator, where there is none.
    pub note: Option<Cow<'static, str>>,
    /// What became of the header in which proxies forward certificates.
    pub forwarded: ForwardedCert,
}

impl Presented {
    const fn nothing(note: &'static str) -> Self {
        Self { seen: None, note: Some(Cow::Borrowed(note)), forwarded: ForwardedCert::Unknown }
    }
}

/// Is the direct peer a trusted proxy?
enum Trust {
    /// It is, and this is the SHA-256 of its own certificate.
    Proxy(Option<[u8; 32]>),
    /// It is not; the note says why, if more is to be said.
    Nobody(Option<Cow<'static, str>>),
}

/// One request, and what is asked about it.
pub struct Asking<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// What is remembered.
    pub memory: &'a Memory,
    /// The request.
    pub request: &'a Request<'a>,
    /// The host.
    pub proxy: &'a dyn Proxy,
    /// The connection that it came over.
    pub connection: Connection<'a>,
    /// The certificate of the connection. A request asks for it once, so that whether the peer is a trusted proxy and whether
    /// it is the caller are never told from two different answers of the host.
    own: OnceCell<Result<Option<Rc<Seen>>, Deny>>,
}

impl<'a> Asking<'a> {
    /// Nothing has been asked yet.
    pub const fn new(policy: &'a Policy, memory: &'a Memory, request: &'a Request<'a>, proxy: &'a dyn Proxy) -> Self {
        let connection = Connection::new(proxy, policy.validation.note_name());
        Self { policy, memory, request, proxy, connection, own: OnceCell::new() }
    }

    /// The certificate of the caller at this time (seconds since 1970), from where `certificate.source` says.
    ///
    /// # Errors
    /// It cannot be read or may not be believed, or whether it may is unknown.
    pub fn certificate(&self, now: i64) -> Result<Presented, Deny> {
        let Some(rules) = &self.policy.forwarding else {
            let seen = self.of_connection()?;
            return Ok(Presented { seen, note: None, forwarded: ForwardedCert::Unknown });
        };
        let values = self.request.values(&rules.header);
        if values.is_empty() && !rules.or_connection {
            return Ok(Presented::nothing("the request has no header with a forwarded certificate"));
        }
        let own = match self.trust(rules, now)? {
            Trust::Proxy(own) => own,
            Trust::Nobody(note) => {
                let seen = if rules.or_connection { self.of_connection()? } else { None };
                let forwarded = if values.is_empty() { ForwardedCert::Unknown } else { ForwardedCert::Ignored };
                return Ok(Presented { seen, note, forwarded });
            }
        };
        let value = values.at_most_one().map_err(|Repeated| {
            let note = "the header with the forwarded certificate stands more than once";
            Deny::new(Reason::CertificateMalformed).with_note(note)
        })?;
        // A trusted proxy is never taken for the caller: where it forwards nothing, there is no certificate.
        let Some(value) = value.map(<[u8]>::trim_ascii).filter(|value| !rules.format.is_none(value)) else {
            return Ok(Presented::nothing("the trusted proxy forwards no certificate"));
        };
        let seen = self.forwarded(rules, value, now)?;
        if own.is_some_and(|own| own == *seen.certificate.thumbprint.hash()) {
            return Err(Deny::new(Reason::CertificateUntrusted).with_note(
                "the forwarded certificate is the trusted proxy's own: where this listener adds an element to \
                 x-forwarded-client-cert, its forward_client_cert_details must be FORWARD_ONLY or ALWAYS_FORWARD_ONLY, \
                 or certificate.forwarded.hop one more",
            ));
        }
        Ok(Presented { seen: Some(seen), note: None, forwarded: ForwardedCert::Believed })
    }

    /// May this certificate be used at this time (seconds since 1970)?
    ///
    /// # Errors
    /// It is no client certificate, not valid now, or revoked; or whether it was revoked cannot be told.
    pub fn may_be_used(&self, seen: &Seen, now: i64) -> Result<(), Deny> {
        let Seen { certificate, checked, .. } = seen;
        certificate.check(now, self.policy.clock_skew, self.policy.extended_key_usage)?;
        self.policy.revocation.check(&self.memory.revoked, certificate, checked, now)
    }

    /// What becomes of the header of a request that goes on, with this certificate or without a look at any.
    pub fn fate_of_header(&self, certificate: Option<&Certificate>) -> ForwardedCert {
        match &self.policy.forwarding {
            // Nobody but the counter asks, so a failure is no more than a header that is not believed.
            Some(rules) if !self.request.values(&rules.header).is_empty() => match self.trusts_peer(rules) {
                Ok(true) => ForwardedCert::Believed,
                Ok(false) | Err(_) => ForwardedCert::Ignored,
            },
            None if !self.request.forwarded_client_cert.is_empty() && self.is_own(certificate) => ForwardedCert::Own,
            Some(_) | None => ForwardedCert::Unknown,
        }
    }

    /// Did Envoy write the `x-forwarded-client-cert` for this connection?
    fn is_own(&self, certificate: Option<&Certificate>) -> bool {
        let unseen = match certificate {
            Some(_) => None,
            None => self.of_connection().ok().flatten(),
        };
        let certificate = certificate.or(unseen.as_ref().map(|seen| &*seen.certificate));
        certificate.is_some_and(|certificate| {
            certificate::forwarded_is_own(self.proxy, &self.request.forwarded_client_cert, certificate)
        })
    }

    fn trusts_peer(&self, rules: &Forwarding) -> Result<bool, Deny> {
        Ok(matches!(self.trust(rules, seconds(self.proxy.now()?))?, Trust::Proxy(_)))
    }

    /// The certificate of the connection and whose it is.
    fn of_connection(&self) -> Result<Option<Rc<Seen>>, Deny> {
        self.own.get_or_init(|| self.look_at_connection()).clone()
    }

    /// The same, looked up once a connection and decoded once a certificate.
    fn look_at_connection(&self) -> Result<Option<Rc<Seen>>, Deny> {
        let note = self.connection.note()?;
        let has_header = !self.request.forwarded_client_cert.is_empty();
        match note.certificate {
            PeerCertificate::Absent => return Ok(None),
            // It may yet come whole, with this request's header.
            PeerCertificate::Described(_) if has_header => {}
            certificate => {
                if let Some(seen) = self.memory.certificate(certificate) {
                    return Ok(Some(seen));
                }
            }
        }
        let certificate =
            certificate::from_connection(self.proxy, self.policy.validation, &self.request.forwarded_client_cert)?;
        let seen = certificate.map(|certificate| self.seen(certificate));
        let known_as = match &seen {
            None => PeerCertificate::Absent,
            Some(seen) if seen.certificate.der.is_some() => {
                PeerCertificate::Verified(*seen.certificate.thumbprint.hash())
            }
            Some(seen) => PeerCertificate::Described(*seen.certificate.thumbprint.hash()),
        };
        if let Some(seen) = &seen {
            self.memory.remember_certificate(known_as, Rc::clone(seen));
        }
        self.connection.learn(Note { certificate: known_as, ..note });
        Ok(seen)
    }

    fn seen(&self, certificate: Certificate) -> Rc<Seen> {
        let resolved = self.policy.identities.resolve(&certificate, &self.policy.profiles, self.proxy);
        let (checked, is_proxy) = (Checked::default(), OnceCell::new());
        Rc::new(Seen { certificate: Rc::new(certificate), resolved, checked, is_proxy })
    }

    fn trust(&self, rules: &Forwarding, now: i64) -> Result<Trust, Deny> {
        // Always the direct peer's, whatever `source_address` says: no caller may choose whom we trust.
        let address = match rules.proxies.networks.is_empty() {
            true => None,
            false => self.connection.direct_address()?,
        };
        if address.is_some_and(|address| rules.proxies.is_at(address)) {
            return Ok(Trust::Proxy(self.own_digest()?));
        }
        // It may be a trusted proxy; to take it for the caller itself would be a mistake.
        let is_unknown = address.is_none() && !rules.proxies.networks.is_empty();
        let own = if rules.proxies.identities.is_empty() { Ok(None) } else { self.of_connection() };
        let stranger = match own {
            Ok(Some(seen)) if self.is_proxy(rules, &seen) => match self.may_be_used(&seen, now) {
                Ok(()) => return Ok(Trust::Proxy(Some(*seen.certificate.thumbprint.hash()))),
                Err(deny) if deny.reason == Reason::RevocationUnavailable => return Err(deny),
                Err(_) => Some("the certificate of the trusted proxy may not be used now".into()),
            },
            Ok(_) => Some(
                "certificate.forwarded.trusted_proxies lists neither the direct peer's address nor its certificate"
                    .into(),
            ),
            // A certificate that is not good enough for a client makes nobody a trusted proxy.
            Err(Deny { reason: Reason::CertificateUntrusted | Reason::CertificateMalformed, note, .. }) => note,
            Err(deny) => return Err(deny),
        };
        if is_unknown { Err(self.no_address()?) } else { Ok(Trust::Nobody(stranger)) }
    }

    /// Whether this is a trusted proxy cannot be told, so that it is not taken for anybody else either.
    fn no_address(&self) -> Result<Deny, HostError> {
        Ok(Deny::new(Reason::CertificateMissing).with_note(match self.connection.transport()? {
            Transport::Quic => {
                "certificate.forwarded.trusted_proxies.cidrs cannot be checked over HTTP/3: a QUIC connection can move to another \
                 address, and Envoy goes on telling the first one; list the proxy's certificate in \
                 trusted_proxies.identities, or let it use HTTP/2"
            }
            Transport::Tcp | Transport::Unknown => {
                "certificate.forwarded.trusted_proxies.cidrs need the direct peer's address, and filter state \
                 mtls_authz.direct_remote_address holds none: put the set_filter_state filter of the shipped configuration \
                 in front"
            }
        }))
    }

    /// Is this the certificate of a trusted proxy?
    fn is_proxy(&self, rules: &Forwarding, seen: &Seen) -> bool {
        *seen.is_proxy.get_or_init(|| rules.proxies.is_of(&seen.certificate, &self.policy.identities))
    }

    /// The SHA-256 of the certificate that the direct peer has presented, verified or not.
    fn own_digest(&self) -> Result<Option<[u8; 32]>, HostError> {
        let note = self.connection.note()?;
        if note.certificate != PeerCertificate::Unknown {
            return Ok(note.certificate.digest());
        }
        let digest = self.proxy.property(Property::PeerCertificateDigest)?.unwrap_or_default();
        let digest = str::from_utf8(&digest).ok().and_then(Thumbprint::from_hex).map(|digest| *digest.hash());
        let certificate = digest.map_or(PeerCertificate::Absent, PeerCertificate::Presented);
        self.connection.learn(Note { certificate, ..note });
        Ok(digest)
    }

    /// The certificate in a header value of a trusted proxy, decoded once a value.
    fn forwarded(&self, rules: &Forwarding, value: &[u8], now: i64) -> Result<Rc<Seen>, Deny> {
        if value.len() > rules.max_bytes {
            return Err(Deny::new(Reason::CertificateOversized)
                .with_note("the header is longer than certificate.forwarded.max_bytes"));
        }
        let untrusted = |note| Deny::new(Reason::CertificateUntrusted).with_note(note);
        let seen = match self.memory.forwarded(value) {
            Some(seen) => seen,
            None => {
                let Forwarded { client, hops } = rules
                    .format
                    .read(value, rules.hop)
                    .map_err(|problem| Deny::new(Reason::CertificateMalformed).with_note(problem.as_str()))?;
                // What stands behind a hop that is not ours, whoever connected to it has written.
                if !hops.iter().all(|hop| rules.proxies.is_of(hop, &self.policy.identities)) {
                    return Err(untrusted(
                        "an element of x-forwarded-client-cert between the caller's and the direct peer's names no \
                         certificate of certificate.forwarded.trusted_proxies.identities",
                    ));
                }
                let hops = hops.into_iter().map(|hop| self.seen(hop)).collect();
                let seen = Rc::new(SeenForwarded { client: self.seen(client), hops });
                self.memory.remember_forwarded(value, Rc::clone(&seen));
                seen
            }
        };
        for hop in &seen.hops {
            self.may_be_used(hop, now).map_err(|deny| match deny.reason {
                Reason::RevocationUnavailable => deny,
                _ => untrusted("the certificate of a proxy in x-forwarded-client-cert may not be used now"),
            })?;
        }
        Ok(Rc::clone(&seen.client))
    }
}
