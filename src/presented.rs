//! The certificate of the caller: that of the connection, or the one that a trusted proxy forwards.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::IpAddr;
use std::rc::Rc;

use crate::certificate::{self, Certificate, Format, Forwarded, Thumbprint};
use crate::config::Policy;
use crate::decision::{Deny, ForwardedCert, Reason};
use crate::identity::TrustedProxies;
use crate::memory::{Memory, Peer, Seen, SeenForwarded};
use crate::policy::{SourceAddress, address};
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
    /// It is, and this is the thumbprint of its own certificate.
    Proxy(Option<Thumbprint>),
    /// It is not; the note says why, if more is to be said.
    Nobody(Option<Cow<'static, str>>),
}

/// The certificate of the connection. A request asks for it once, so that whether the peer is a trusted proxy and whether
/// it is the caller are never told from two different answers of the host.
type OwnCertificate<'a> = dyn Fn() -> Result<Option<Rc<Seen>>, Deny> + 'a;

/// One request, and what is asked about it.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// The policy in force.
    pub policy: &'a Policy,
    /// What is remembered.
    pub memory: &'a Memory,
    /// The request.
    pub request: &'a Request<'a>,
    /// The host.
    pub proxy: &'a dyn Proxy,
}

impl Asking<'_> {
    /// The certificate of the caller at this time (seconds since 1970), from where `certificate.source` says.
    ///
    /// # Errors
    /// It cannot be read or may not be believed, or whether it may is unknown.
    pub fn certificate(self, now: i64) -> Result<Presented, Deny> {
        let Some(rules) = &self.policy.forwarding else {
            let seen = self.of_connection(self.connection_id()?)?;
            return Ok(Presented { seen, note: None, forwarded: ForwardedCert::Unknown });
        };
        let values = self.request.values(&rules.header);
        if values.is_empty() && !rules.or_connection {
            return Ok(Presented::nothing("the request has no header with a forwarded certificate"));
        }
        let id = self.connection_id()?;
        let peers = OnceCell::new();
        let peers = || peers.get_or_init(|| self.of_connection(id)).clone();
        let own = match self.trust(rules, id, now, &peers)? {
            Trust::Proxy(own) => own,
            Trust::Nobody(note) => {
                let seen = if rules.or_connection { peers()? } else { None };
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
        if own.is_some_and(|own| own == seen.certificate.thumbprint) {
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
    pub fn may_be_used(self, seen: &Seen, now: i64) -> Result<(), Deny> {
        let Seen { certificate, checked, .. } = seen;
        certificate.check(now, self.policy.clock_skew)?;
        self.policy.revocation.check(&self.memory.revoked, certificate, checked, now)
    }

    /// What becomes of the header of a request that goes on, with this certificate or without a look at any.
    pub fn fate_of_header(self, certificate: Option<&Certificate>) -> ForwardedCert {
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
    fn is_own(self, certificate: Option<&Certificate>) -> bool {
        let unseen = match certificate {
            Some(_) => None,
            None => self.connection_id().map_err(Deny::from).and_then(|id| self.of_connection(id)).ok().flatten(),
        };
        let certificate = certificate.or(unseen.as_ref().map(|seen| &*seen.certificate));
        certificate.is_some_and(|certificate| {
            certificate::forwarded_is_own(self.proxy, &self.request.forwarded_client_cert, certificate)
        })
    }

    fn trusts_peer(self, rules: &Forwarding) -> Result<bool, Deny> {
        let id = self.connection_id()?;
        let trust = self.trust(rules, id, seconds(self.proxy.now()?), &|| self.of_connection(id))?;
        Ok(matches!(trust, Trust::Proxy(_)))
    }

    fn connection_id(self) -> Result<Option<u64>, HostError> {
        let id = self.proxy.property(Property::ConnectionId)?;
        Ok(id.and_then(|id| <[u8; 8]>::try_from(id).ok()).map(u64::from_le_bytes))
    }

    /// The certificate of the connection and whose it is, looked up once a connection.
    fn of_connection(self, id: Option<u64>) -> Result<Option<Rc<Seen>>, Deny> {
        if let Some(known) = id.and_then(|id| self.memory.connection(id)) {
            // A certificate of which only properties are known may yet come whole, with a later request's header.
            if is_whole(known.as_ref()) || self.request.forwarded_client_cert.is_empty() {
                return Ok(known);
            }
        }
        let certificate =
            certificate::from_connection(self.proxy, self.policy.validation, &self.request.forwarded_client_cert)?;
        let seen = certificate.map(|certificate| self.seen(certificate));
        if let Some(id) = id {
            self.memory.remember_connection(id, seen.clone());
        }
        Ok(seen)
    }

    fn seen(self, certificate: Certificate) -> Rc<Seen> {
        let resolved = self.policy.identities.resolve(&certificate, &self.policy.profiles);
        Rc::new(Seen { certificate: Rc::new(certificate), resolved, checked: Checked::default() })
    }

    fn trust(self, rules: &Forwarding, id: Option<u64>, now: i64, peers: &OwnCertificate<'_>) -> Result<Trust, Deny> {
        let peer = match id.and_then(|id| self.memory.peer(id)) {
            Some(peer) => Ok(peer),
            None => self.peer(rules, id, peers),
        };
        match peer {
            Ok(Peer::ByAddress(own)) => Ok(Trust::Proxy(own)),
            Ok(Peer::ByIdentity(proxy)) => match self.may_be_used(&proxy, now) {
                Ok(()) => Ok(Trust::Proxy(Some(proxy.certificate.thumbprint))),
                Err(deny) if deny.reason == Reason::RevocationUnavailable => Err(deny),
                Err(_) if rules.proxies.networks.is_empty() || self.direct_address()?.is_some() => {
                    Ok(Trust::Nobody(Some("the certificate of the trusted proxy may not be used now".into())))
                }
                Err(_) => Err(no_address()),
            },
            Ok(Peer::Stranger) => Ok(Trust::Nobody(Some(
                "certificate.forwarded.trusted_proxies lists neither the direct peer's address nor its certificate"
                    .into(),
            ))),
            // A certificate that is not good enough for a client makes nobody a trusted proxy.
            Err(Deny { reason: Reason::CertificateUntrusted | Reason::CertificateMalformed, note, .. }) => {
                Ok(Trust::Nobody(note))
            }
            Err(deny) => Err(deny),
        }
    }

    /// Always the direct peer's, whatever `source_address` says: no caller may choose whom we trust.
    fn direct_address(self) -> Result<Option<IpAddr>, HostError> {
        address::of_caller(SourceAddress::Direct, self.proxy)
    }

    /// Finds out what the direct peer is, once a connection.
    fn peer(self, rules: &Forwarding, id: Option<u64>, peers: &OwnCertificate<'_>) -> Result<Peer, Deny> {
        let proxies = &rules.proxies;
        let remembered = |peer: Peer| {
            if let Some(id) = id {
                self.memory.remember_peer(id, peer.clone());
            }
            Ok(peer)
        };
        let address = match proxies.networks.is_empty() {
            true => None,
            false => self.direct_address()?,
        };
        if address.is_some_and(|address| proxies.is_at(address)) {
            let digest = self.proxy.property(Property::PeerCertificateDigest)?.unwrap_or_default();
            return remembered(Peer::ByAddress(str::from_utf8(&digest).ok().and_then(Thumbprint::from_hex)));
        }
        let seen = if proxies.identities.is_empty() { Ok(None) } else { peers() };
        let is_settled = seen.as_ref().is_ok_and(|seen| is_whole(seen.as_ref()));
        if let Ok(Some(seen)) = &seen
            && proxies.is_of(&seen.certificate, &self.policy.identities)
        {
            let peer = Peer::ByIdentity(Rc::clone(seen));
            return if is_settled { remembered(peer) } else { Ok(peer) };
        }
        // It may be a trusted proxy; to take it for the caller itself would be a mistake.
        if address.is_none() && !proxies.networks.is_empty() {
            return Err(no_address());
        }
        seen?;
        if is_settled { remembered(Peer::Stranger) } else { Ok(Peer::Stranger) }
    }

    /// The certificate in a header value of a trusted proxy, decoded once a value.
    fn forwarded(self, rules: &Forwarding, value: &[u8], now: i64) -> Result<Rc<Seen>, Deny> {
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

/// Whether this is a trusted proxy cannot be told, so that it is not taken for anybody else either.
fn no_address() -> Deny {
    Deny::new(Reason::CertificateMissing).with_note(
        "certificate.forwarded.trusted_proxies.cidrs need the direct peer's address, and filter state \
         mtls_authz.direct_remote_address holds none: put the set_filter_state filter of the shipped configuration in \
         front",
    )
}

fn is_whole(seen: Option<&Rc<Seen>>) -> bool {
    seen.is_none_or(|seen| seen.certificate.der.is_some())
}
