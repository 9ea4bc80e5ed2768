//! Headers that an upstream could believe: who its caller is, or that it is asked for something else.
//!
//! CGI, WSGI and their descendants keep of a name its letters and digits alone (`HTTP_X_CLIENT_ID`), so names are compared
//! without letter case, and every other character counts as a dash.

/// What an upstream takes from a header of some name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// What this filter has found out about the caller.
    Finding,
    /// A client's certificate, or what another proxy has found out about a client.
    Client,
    /// The method that is really meant.
    Method,
    /// The path or the method that another proxy was asked for.
    Target,
    /// The host that another proxy was asked for.
    Host,
}

use Meaning::{Client, Finding, Host, Method, Target};

/// Every known name in order, a family with a `*` at its end. No family holds another entry.
const KNOWN: &[(&str, Meaning)] = &[
    ("-wscc", Client), // `$WSCC` and `$WSRU` of WebSphere
    ("-wsru", Client),
    ("akamai-cc-*", Client),
    ("client-dn*", Client),
    ("client-fingerprint*", Client),
    ("client-i-dn*", Client),
    ("client-issuer*", Client),
    ("client-s-dn*", Client),
    ("client-san*", Client),
    ("client-serial*", Client),
    ("client-spiffe*", Client),
    ("client-subject*", Client),
    ("client-to-edge*", Client), // Akamai
    ("client-verif*", Client),
    ("client-x509*", Client),
    ("forwarded", Host), // RFC 7239
    ("http-method-override", Method),
    ("l5d-client-id", Client), // Linkerd
    ("method-override", Method),
    ("path-info", Target),
    ("request-uri", Target),
    ("script-name", Target), // gunicorn cuts it off the path
    ("spiffe*", Client),
    ("ssl-*", Client),      // nginx, Apache httpd, Tomcat, SAP
    ("sslclient*", Client), // F5
    ("tls-*", Client),
    ("tlsclient*", Client),
    ("verified", Client),
    ("x-amzn-lattice-identity", Client),
    ("x-anonymous-consumer", Client), // Kong
    ("x-arr-*", Client),              // Azure, IIS
    ("x-client-cert-thumbprint", Finding),
    ("x-client-common-name", Client),
    ("x-client-dn*", Client),
    ("x-client-fingerprint*", Client),
    ("x-client-fp", Client),
    ("x-client-hash", Client),
    ("x-client-i-dn*", Client),
    ("x-client-id", Finding),
    ("x-client-identity", Finding),
    ("x-client-issuer*", Client),
    ("x-client-o", Client), // attributes of a distinguished name
    ("x-client-ou", Client),
    ("x-client-principal", Finding),
    ("x-client-s-dn*", Client),
    ("x-client-san*", Client),
    ("x-client-serial*", Client),
    ("x-client-sha*", Client),
    ("x-client-spiffe*", Client),
    ("x-client-subject*", Client),
    ("x-client-thumbprint*", Client),
    ("x-client-verif*", Client),
    ("x-client-x509*", Client),
    ("x-common-name", Client),
    ("x-consumer-*", Client), // Kong
    ("x-credential-*", Client),
    ("x-envoy-original-*", Target),
    ("x-forwarded-host", Host),
    ("x-forwarded-method", Target), // Traefik
    ("x-forwarded-path", Target),
    ("x-forwarded-server", Host),
    ("x-forwarded-uri", Target), // Traefik
    ("x-forwarded-url", Target),
    ("x-host", Host),
    ("x-http-destinationurl", Target),
    ("x-http-host-override", Host),
    ("x-http-method", Method),          // OData, SharePoint
    ("x-http-method-override", Method), // Rack, Symfony, ASP.NET, Express
    ("x-http-methodoverride", Method),
    ("x-http-path", Target),
    ("x-http-path-override", Target),
    ("x-http-verb", Method),
    ("x-http-verb-override", Method),
    ("x-invoke-path", Target), // Next.js
    ("x-linkerd-client-id", Client),
    ("x-matched-path", Target), // Next.js
    ("x-method-override", Method),
    ("x-methodoverride", Method),
    ("x-ms-client-principal*", Client), // Azure
    ("x-ms-original-url", Target),      // Azure
    ("x-original-host", Host),
    ("x-original-http-method", Target),
    ("x-original-method", Target), // ingress-nginx
    ("x-original-path", Target),
    ("x-original-request-uri", Target),
    ("x-original-uri", Target), // ingress-nginx
    ("x-original-url", Target), // IIS, Laminas, Symfony, WordPress
    ("x-override-method", Method),
    ("x-override-url", Target),
    ("x-path-info", Target),
    ("x-peer-subject*", Client),
    ("x-profile-id", Finding),
    ("x-proxy-url", Target),
    ("x-real-host", Host),
    ("x-replaced-path", Target), // Traefik
    ("x-request-uri", Target),
    ("x-rewrite-path", Target),
    ("x-rewrite-uri", Target),
    ("x-rewrite-url", Target), // IIS, Laminas, Symfony, WordPress
    ("x-rh-identity", Client), // Red Hat
    ("x-script-name", Target), // Flask
    ("x-spiffe*", Client),
    ("x-ssl*", Client), // HAProxy, OpenShift, SAP
    ("x-tls-*", Client),
    ("x-verb-override", Method),
    ("x-waws-unencoded-url", Target), // Azure
    ("x-wso2-*", Client),
    ("xfcc*", Client),
];

/// What a header of this name could mean.
pub fn meaning(name: &[u8]) -> Option<Meaning> {
    let known = match after_x(name) {
        Some(rest) => AFTER_X.find(*rest.first()?, name),
        None => BEGINNINGS.find(*name.first()?, name),
    };
    known.or_else(|| (names_a_certificate(name) && !is_spelled(name, CALLERS_OWN)).then_some(Client))
}

/// The certificate of a signature over the request (Berlin Group, PSD2). The upstream verifies that signature with it, so
/// that it says nothing by itself.
const CALLERS_OWN: &str = "tpp-signature-certificate";

/// The rest of a name that begins with `x-`.
fn after_x(name: &[u8]) -> Option<&[u8]> {
    let ([first, dash], rest) = name.split_first_chunk()?;
    (folded(*first) == b'x' && folded(*dash) == b'-').then_some(rest)
}

/// Are both the same name to an upstream?
pub fn is_spelled(name: &[u8], known: &str) -> bool {
    name.len() == known.len() && begins_with(name, known)
}

/// Does a name begin like this to an upstream?
pub fn begins_with(name: &[u8], known: &str) -> bool {
    name.len() >= known.len() && name.iter().zip(known.bytes()).all(|(byte, known)| folded(*byte) == folded(known))
}

fn ends_with(name: &[u8], known: &str) -> bool {
    name.len().checked_sub(known.len()).and_then(|at| name.get(at..)).is_some_and(|end| is_spelled(end, known))
}

/// Does a name speak of a certificate, whatever else it says? Vendors and guides put their own words around:
/// `X-Forwarded-Tls-Client-Cert-Info`, `CF-Cert-Subject-DN`, `X-Amzn-Mtls-Clientcert-Leaf`, `X-RHSM-SSL-Client-Cert`.
///
/// It does if one of its words begins with `cert` or `mtls`, if `client` is beside `cert`, `ssl` or `tls`, or if its last
/// word is `dn` or `cn`, attributes of a subject.
fn names_a_certificate(name: &[u8]) -> bool {
    let ends_in_n = name.last().is_some_and(|last| last.eq_ignore_ascii_case(&b'n'));
    any_t(name, |at| has_word(name, at)) || (ends_in_n && ["dn", "cn"].iter().any(|word| ends_with_word(name, word)))
}

/// Is the `t` at this place that of `cert`, `client` or `mtls`? What stands before it says which of them it can be.
fn has_word(name: &[u8], at: usize) -> bool {
    // What stands before the word and behind it, if it is this one.
    let around = |word: &str, place: usize| {
        let (before, rest) = at.checked_sub(place).and_then(|start| name.split_at_checked(start))?;
        let (found, after) = rest.split_at_checked(word.len())?;
        is_spelled(found, word).then_some((before, after))
    };
    let is_start = |before: &[u8]| before.last().is_none_or(|last| folded(*last) == b'-');
    let ends_with_any = |before: &[u8], ends: &[&str]| ends.iter().any(|end| ends_with(before, end));
    match at.checked_sub(1).and_then(|before| name.get(before)) {
        Some(b'r' | b'R') => around("cert", 3).is_some_and(|(before, _)| {
            is_start(before) || ends_with_any(before, &["client", "peer", "ssl", "tls", "user"])
        }),
        Some(b'n' | b'N') => around("client", 5).is_some_and(|(before, after)| {
            ends_with_any(before, &["ssl", "ssl-", "tls", "tls-"])
                || ["ssl", "-ssl", "tls", "-tls"].iter().any(|next| begins_with(after, next))
        }),
        Some(b'm' | b'M') => around("mtls", 1).is_some_and(|(before, _)| is_start(before)),
        _ => false,
    }
}

fn ends_with_word(name: &[u8], word: &str) -> bool {
    ends_with(name, word) && name.iter().rev().nth(word.len()).is_none_or(|before| folded(*before) == b'-')
}

/// Does this hold for the place of any `t` in a name? Eight bytes are looked at at a time, some of them perhaps twice.
fn any_t(name: &[u8], mut holds: impl FnMut(usize) -> bool) -> bool {
    let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) else {
        return name.iter().enumerate().any(|(at, byte)| matches!(byte, b't' | b'T') && holds(at));
    };
    let mut any_in = |word: &[u8; 8], start: usize| {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        // A byte is zero where there is a `t` of either case. The high bits of such bytes are set, and perhaps of bytes behind one.
        let differs = (u64::from_le_bytes(*word) | (ONES << 5)) ^ (ONES * u64::from(b't'));
        let mut found = differs.wrapping_sub(ONES) & !differs & (ONES << 7);
        while found != 0 {
            let place = usize::try_from(found.trailing_zeros() / 8).unwrap_or_default();
            if holds(start + place) {
                return true;
            }
            found &= found - 1;
        }
        false
    };
    any_in(first, 0)
        || any_in(last, name.len() - 8)
        || (name.len() > 16
            && name.as_chunks::<8>().0.iter().enumerate().skip(1).any(|(number, word)| any_in(word, 8 * number)))
}

/// A character as an upstream may see it.
fn folded(byte: u8) -> u8 {
    static FOLDED: [u8; 256] = fold_all();
    FOLDED.get(usize::from(byte)).copied().unwrap_or_default()
}

// What follows is evaluated by the compiler, which would refuse an index out of bounds.

#[allow(clippy::indexing_slicing, clippy::as_conversions)]
const fn fold_all() -> [u8; 256] {
    let mut folded = [b'-'; 256];
    // It begins the names of pseudo-headers; no other name has it.
    folded[b':' as usize] = b':';
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            folded[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    folded
}

/// An entry of the table, as it is looked up.
#[derive(Clone, Copy)]
struct Known {
    name: &'static [u8],
    is_family: bool,
    meaning: Meaning,
}

impl Known {
    fn is(&self, name: &[u8]) -> bool {
        let is_same = |(byte, known): (&u8, &u8)| folded(*byte) == *known;
        if self.is_family {
            name.len() >= self.name.len() && name.iter().zip(self.name).all(is_same)
        } else {
            // Names that begin alike mostly end differently.
            name.len() == self.name.len() && name.iter().rev().zip(self.name.iter().rev()).all(is_same)
        }
    }
}

static TABLE: [Known; KNOWN.len()] = table();

#[allow(clippy::indexing_slicing)]
const fn table() -> [Known; KNOWN.len()] {
    let mut table = [Known { name: b"", is_family: false, meaning: Client }; KNOWN.len()];
    let mut index = 0;
    while index < KNOWN.len() {
        let (name, meaning) = KNOWN[index];
        table[index] = match name.as_bytes() {
            [beginning @ .., b'*'] => Known { name: beginning, is_family: true, meaning },
            name => Known { name, is_family: false, meaning },
        };
        index += 1;
    }
    table
}

/// Where the entries are that have the same first character, or the same one behind an `x-`: few or none for most headers.
struct Index([(u8, u8); 128]);

static BEGINNINGS: Index = Index::of(false);
static AFTER_X: Index = Index::of(true);

impl Index {
    #[allow(clippy::indexing_slicing, clippy::as_conversions)]
    const fn of(after_x: bool) -> Self {
        let mut places = [(0, 0); 128];
        let mut index = 0;
        while index < KNOWN.len() {
            let name = KNOWN[index].0.as_bytes();
            let is_after_x = name[0] == b'x' && name[1] == b'-';
            if is_after_x == after_x {
                let place = &mut places[name[if after_x { 2 } else { 0 }] as usize];
                if place.1 == 0 {
                    place.0 = index as u8;
                }
                place.1 = index as u8 + 1;
            }
            index += 1;
        }
        Self(places)
    }

    fn find(&self, character: u8, name: &[u8]) -> Option<Meaning> {
        let (start, end) = self.0.get(usize::from(folded(character)))?;
        let entries = TABLE.get(usize::from(*start)..usize::from(*end))?;
        entries.iter().find(|known| known.is(name)).map(|known| known.meaning)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documentation_names_every_header_that_names_a_method_or_a_target() {
        let page = include_str!("../docs/configuration/upstream.md").to_ascii_lowercase();
        for (name, meaning) in KNOWN {
            assert!(!matches!(meaning, Method | Target) || page.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_table_is_in_order_and_no_family_holds_an_entry() {
        let names: Vec<&str> = KNOWN.iter().map(|(name, _)| name.trim_end_matches('*')).collect();
        assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
        for (family, _) in KNOWN.iter().filter_map(|(name, meaning)| Some((name.strip_suffix('*')?, meaning))) {
            let within: Vec<_> = names.iter().filter(|name| name.starts_with(family)).collect();
            assert_eq!(within.len(), 1, "{within:?}");
        }
    }

    proptest! {
        #[test]
        fn every_entry_is_found_in_any_spelling_and_a_family_with_anything_behind_it(
            index in 0..KNOWN.len(), characters in "[-!#$%&'*+.^_`|~]{32}", upper: u64, end in "[a-z0-9-]{0,6}",
        ) {
            let (name, expected) = KNOWN[index];
            let respelled = name.trim_end_matches('*').chars().zip(characters.chars()).enumerate();
            let mut respelled: String = respelled.map(|(at, (letter, other))| match letter {
                '-' => other,
                letter if upper >> at & 1 == 1 => letter.to_ascii_uppercase(),
                letter => letter,
            }).collect();
            if name.ends_with('*') {
                respelled += &end;
            }
            prop_assert_eq!(meaning(respelled.as_bytes()), Some(expected), "{}", respelled);
        }

        #[test]
        fn a_name_is_looked_up_as_if_every_entry_were_compared(name in "(x[-_])?[-a-z5]{1,3}[-a-z]{0,4}") {
            let matches = |known: &str| match known.strip_suffix('*') {
                Some(family) => begins_with(name.as_bytes(), family),
                None => is_spelled(name.as_bytes(), known),
            };
            let expected = KNOWN.iter().find(|(known, _)| matches(known)).map(|(_, meaning)| *meaning);
            prop_assert_eq!(meaning(name.as_bytes()), expected.or_else(|| plainly_names_a_certificate(&name).then_some(Client)));
        }
    }

    /// The same rule, as it would be written without regard to cost.
    fn plainly_names_a_certificate(name: &str) -> bool {
        let name: String = name.bytes().map(|byte| char::from(folded(byte))).collect();
        let together = [
            "clientssl",
            "client-ssl",
            "clienttls",
            "client-tls",
            "clientcert",
            "peercert",
            "sslcert",
            "tlscert",
            "usercert",
            "sslclient",
            "ssl-client",
            "tlsclient",
            "tls-client",
        ];
        name.split('-').any(|word| word.starts_with("cert") || word.starts_with("mtls"))
            || together.iter().any(|words| name.contains(words))
            || name.split('-').next_back().is_some_and(|word| matches!(word, "dn" | "cn"))
    }

    proptest! {
        #[test]
        fn a_certificate_is_found_at_any_place_of_a_name(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "cert", "CERT", "mtls", "mTLS", "client", "Client", "ssl", "tls", "peer", "user", "dn", "cn", "-", "_", ".",
                    "c", "ce", "m", "mt", "cl", "clien", "t", "x-", "con", "info",
                ]),
                0..7,
            ),
        ) {
            let name = pieces.concat();
            prop_assert_eq!(names_a_certificate(name.as_bytes()), plainly_names_a_certificate(&name), "{}", name);
        }
    }

    #[test]
    fn a_name_that_speaks_of_a_certificate_is_known_whatever_else_it_says() {
        for name in [
            "x-client-cert",
            "x-client-certificate-subject",
            "X_CLIENT_CERT",
            "x-clientcert",
            "x-forwarded-client-cert",
            "x-forwarded-client-cert-chain",
            "x-forwarded-tls-client-cert-infos",
            "x-rhsm-ssl-client-cert",
            "x-tls-client-dn",
            "x-amzn-mtls-clientcert-leaf",
            "x-nginx-sslclient-verify",
            "x-vendor.tls.client.subject",
            "x-tlsclientcn",
            "cert",
            "Certificate",
            "peer-cert",
            "X-PeerCertificate",
            "tls-cert",
            "TlsClientCert",
            "x-sslcert",
            "x-mtls",
            "mtls-client",
            "x-fapi-mtls",
            "mTLS",
            "forwarded-client-cert",
            "x-forwarded-cert",
            "x-forwarded-dn",
            "x-forwarded-client-dn",
            "x-nginx-cert",
            "x-dn",
            "dn",
            "x-cn",
            "client-dn",
            "issuer_dn",
            "x-subject-dn",
            "x-user-dn",
            "x-client-cn",
            "ms-aspnetcore-clientcert",
            "x-rh-certauth-cn",
            "eidas-cert",
            "x-openbanking-cert",
            "https-client-cert",
            "x-usercert-pem",
            "x-client-tls-cn",
            "X-Client-SSL",
            "x-foo-clienttls",
            "x-amzn-lattice-identity",
        ] {
            assert_eq!(meaning(name.as_bytes()), Some(Client), "{name}");
        }
        for name in [
            "",
            "x",
            "x-",
            "x-c",
            "xx",
            "x-client",
            "x-client-ids",
            "x-client-ip",
            "x-client-version",
            "x-client-data",
            "client",
            "client-ip",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
            "x-request-id",
            "x-envoy-attempt-count",
            "x-envoy-external-address",
            "x-real-ip",
            "accept",
            "accept-encoding",
            "authorization",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "etag",
            "host",
            "origin",
            "priority",
            "referer",
            "sec-fetch-site",
            "te",
            "traceparent",
            "tracestate",
            "user-agent",
            "via",
            "x-b3-traceid",
            "grpc-timeout",
            "x-arr",
            "x-method",
            "x-http",
            "x-original-to",
            ":method",
            ":path",
            ":authority",
            ":scheme",
            "access-control-request-method",
            "dpop",
            "x-csrf-token",
            "x-requested-with",
            "x-clien",
            "x-client-name",
            "x-client-origin",
            "client-id",
            "x-concert-id",
            "x-cdn",
            "x-cdn-loop",
            "cdn",
            "n",
            "expect-ct",
            "tpp-signature-certificate",
            "TPP_Signature_Certificate",
        ] {
            assert_eq!(meaning(name.as_bytes()), None, "{name}");
        }
    }
}
