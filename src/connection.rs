//! What is known about the connection of a request.
//!
//! A caller of HTTP/3 chooses Envoy's `connection.id`, and ids come again. So nothing is looked up by an id: what the filter
//! finds out about a connection it notes on the connection itself, in filter state that lives as long as the connection and
//! that Envoy finds through the stream of the request. A caller can neither write such a note nor come by that of another
//! connection.

use std::cell::Cell;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::decision::{Deny, Reason};
use crate::line::listed;
use crate::policy::{SourceAddress, address};
use crate::proxy::{HostError, Property, Proxy};

/// What was found out about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Note {
    /// The certificate of the peer. It cannot change: Envoy's TLS asks for one in the handshake alone.
    pub certificate: PeerCertificate,
    /// What carries it.
    pub transport: Transport,
    /// The address of the peer, which over TCP cannot change.
    pub address: Option<IpAddr>,
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Not known yet.
    #[default]
    Unknown,
    /// TCP: the address of the peer is that of the whole connection.
    Tcp,
    /// QUIC: a connection can move to another address, and Envoy goes on telling the first one.
    Quic,
}

/// What is known of the certificate of a connection's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PeerCertificate {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The peer has presented none.
    Absent,
    /// It has this SHA-256. Whether it was verified is not known.
    Presented([u8; 32]),
    /// It has this SHA-256, and it was verified as `certificate.validation` demands.
    Verified([u8; 32]),
    /// The same, and only properties of it could be read (before Envoy 1.38).
    Described([u8; 32]),
}

impl PeerCertificate {
    /// The SHA-256 of a certificate that was presented, verified or not.
    pub const fn digest(self) -> Option<[u8; 32]> {
        match self {
            Self::Presented(digest) | Self::Verified(digest) | Self::Described(digest) => Some(digest),
            Self::Unknown | Self::Absent => None,
        }
    }
}

const UNKNOWN: u8 = b'?';
const ABSENT: u8 = b'-';
const PRESENTED: u8 = b'p';
const VERIFIED: u8 = b'v';
const DESCRIBED: u8 = b'd';
const TCP: u8 = b't';
const QUIC: u8 = b'q';

impl Note {
    /// One letter for the certificate, its SHA-256 if there is one, then a letter for the
    /// transport, then the 4 or 16 bytes of the address: as far as each is known.
    fn write(self) -> Vec<u8> {
        let letter = match self.certificate {
            PeerCertificate::Unknown => UNKNOWN,
            PeerCertificate::Absent => ABSENT,
            PeerCertificate::Presented(_) => PRESENTED,
            PeerCertificate::Verified(_) => VERIFIED,
            PeerCertificate::Described(_) => DESCRIBED,
        };
        let mut bytes = vec![letter];
        bytes.extend(self.certificate.digest().into_iter().flatten());
        bytes.extend(match self.transport {
            Transport::Unknown => None,
            Transport::Tcp => Some(TCP),
            Transport::Quic => Some(QUIC),
        });
        match self.address {
            Some(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Some(IpAddr::V6(address)) => bytes.extend(address.octets()),
            None => {}
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (letter, rest) = bytes.split_first()?;
        let (certificate, rest) = match (*letter, rest.split_first_chunk()) {
            (UNKNOWN, _) => (PeerCertificate::Unknown, rest),
            (ABSENT, _) => (PeerCertificate::Absent, rest),
            (PRESENTED, Some((digest, rest))) => (PeerCertificate::Presented(*digest), rest),
            (VERIFIED, Some((digest, rest))) => (PeerCertificate::Verified(*digest), rest),
            (DESCRIBED, Some((digest, rest))) => (PeerCertificate::Described(*digest), rest),
            _ => return None,
        };
        let (transport, rest) = match rest.split_first() {
            None => (Transport::Unknown, rest),
            Some((&TCP, rest)) => (Transport::Tcp, rest),
            Some((&QUIC, rest)) => (Transport::Quic, rest),
            Some(_) => return None,
        };
        let address = match (<[u8; 4]>::try_from(rest), <[u8; 16]>::try_from(rest)) {
            (Ok(octets), _) => Some(IpAddr::from(octets)),
            (_, Ok(octets)) => Some(IpAddr::from(octets)),
            _ if rest.is_empty() => None,
            _ => return None,
        };
        Some(Self { certificate, transport, address })
    }
}

/// The connection of one request.
pub struct Connection<'a> {
    proxy: &'a dyn Proxy,
    /// The name of the note.
    name: &'a str,
    /// The note, once it has been read.
    note: Cell<Option<Note>>,
    /// Whether more is known than was read.
    has_changed: Cell<bool>,
}

impl<'a> Connection<'a> {
    /// The connection of the request that the host is asked about now.
    pub const fn new(proxy: &'a dyn Proxy, name: &'a str) -> Self {
        Self { proxy, name, note: Cell::new(None), has_changed: Cell::new(false) }
    }

    /// What is known about it. The host is asked once a request.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn note(&self) -> Result<Note, HostError> {
        if let Some(note) = self.note.get() {
            return Ok(note);
        }
        let written = self.proxy.property(Property::Note(self.name))?;
        let note = written.as_deref().and_then(Note::read).unwrap_or_default();
        self.note.set(Some(note));
        Ok(note)
    }

    /// What carries it.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn transport(&self) -> Result<Transport, HostError> {
        let note = self.note()?;
        if note.transport != Transport::Unknown {
            return Ok(note.transport);
        }
        let protocol = self.proxy.property(Property::Protocol)?;
        let transport = match protocol.as_deref() {
            Some(b"HTTP/1.0" | b"HTTP/1.1" | b"HTTP/2") => Transport::Tcp,
            // What is not known to stay where it is can move.
            _ => Transport::Quic,
        };
        self.learn(Note { transport, ..note });
        Ok(transport)
    }

    /// The address of the direct peer, whatever `X-Forwarded-For` says. `None` where the host does not tell it, and over QUIC,
    /// where it tells one that may not be the peer's any more.
    ///
    /// # Errors
    /// The host does not answer.
    pub fn direct_address(&self) -> Result<Option<IpAddr>, HostError> {
        if self.transport()? == Transport::Quic {
            return Ok(None);
        }
        let note = self.note()?;
        if note.address.is_some() {
            return Ok(note.address);
        }
        let address = address::of_caller(SourceAddress::Direct, self.proxy)?;
        self.learn(Note { address, ..note });
        Ok(address)
    }

    /// Is the caller in one of these networks?
    ///
    /// # Errors
    /// 403 `source_ip_denied` where it is not, and where its address cannot be relied on.
    pub fn check_source(&self, networks: &[IpNet], source: SourceAddress) -> Result<(), Deny> {
        let denied = |note: &'static str| Err(Deny::new(Reason::SourceIpDenied).with_note(note));
        if self.transport()? == Transport::Quic {
            return denied(
                "source_cidrs cannot be checked over HTTP/3: a QUIC connection can move to another address, and Envoy goes on \
                 telling the first one; let the clients of this profile use HTTP/2 or HTTP/1.1",
            );
        }
        let address = match source {
            SourceAddress::Direct => self.direct_address()?,
            SourceAddress::Envoy => address::of_caller(source, self.proxy)?,
        };
        match (address, source) {
            (Some(address), _) if networks.iter().any(|network| network.contains(&address)) => Ok(()),
            (Some(address), _) => Err(Deny::new(Reason::SourceIpDenied).with_note(format!(
                "the caller's address is {address}, expected one of source_cidrs: {}",
                listed(networks)
            ))),
            (None, SourceAddress::Direct) => denied(
                "source_cidrs need the direct peer's address, and filter state mtls_authz.direct_remote_address holds none: \
                 put the set_filter_state filter of the shipped configuration in front",
            ),
            (None, SourceAddress::Envoy) => {
                denied("source_cidrs need the caller's address, and source.address holds none")
            }
        }
    }

    /// Takes what was found out into the note.
    pub fn learn(&self, note: Note) {
        if self.note.replace(Some(note)) != Some(note) {
            self.has_changed.set(true);
        }
    }

    /// Leaves the note on the connection, where it has changed. A host that keeps no notes is asked anew by every request.
    pub fn leave(&self) {
        if let (Some(note), true) = (self.note.get(), self.has_changed.replace(false)) {
            // Nothing is decided by it, so a failure costs time and nothing else.
            let _ = self.proxy.leave_note(self.name, &note.write());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate() -> impl Strategy<Value = PeerCertificate> {
        prop_oneof![
            Just(PeerCertificate::Unknown),
            Just(PeerCertificate::Absent),
            any::<[u8; 32]>().prop_map(PeerCertificate::Presented),
            any::<[u8; 32]>().prop_map(PeerCertificate::Verified),
            any::<[u8; 32]>().prop_map(PeerCertificate::Described),
        ]
    }

    /// Only with the transport is there an address.
    fn place() -> impl Strategy<Value = (Transport, Option<IpAddr>)> {
        prop_oneof![
            Just((Transport::Unknown, None)),
            Just((Transport::Quic, None)),
            any::<Option<IpAddr>>().prop_map(|address| (Transport::Tcp, address)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_noted_is_read_back(certificate in certificate(), (transport, address) in place()) {
            let note = Note { certificate, transport, address };
            prop_assert_eq!(Note::read(&note.write()), Some(note));
        }

        #[test]
        fn bytes_that_are_no_note_say_nothing(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(note) = Note::read(&bytes) {
                prop_assert_eq!(note.write(), bytes);
            }
        }
    }
}
