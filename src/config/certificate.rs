//! `certificate`: where certificates come from, and which proxies may forward them.

use super::ConfigError;
use super::clients;
use super::headers::is_reserved;
use super::raw::{CertificateSource, RawCertificate};
use super::value::{Value, object};
use super::words::word;
use crate::certificate::Format;
use crate::identity::{Identities, TrustedProxies};
use crate::policy::address::parse_network;
use crate::presented::Forwarding;
use crate::request::TOKEN;
use crate::upstream::{UpstreamHeaders, is_known_certificate_header};

const DEFAULT_MAX_BYTES: u32 = 32_768;
const HIGHEST_MAX_BYTES: u32 = 1_048_576;
const HIGHEST_HOP: u32 = 16;

/// Headers in which nothing may be believed whoever sends them, and why.
const UNFIT: &[(&str, &str)] = &[
    (
        "x-amzn-mtls-clientcert",
        "x-amzn-mtls-clientcert-leaf: in passthrough mode an AWS ALB forwards whatever certificate was presented and \
         verifies none; use verify mode with a trust store",
    ),
    (
        "client-cert-chain",
        "client-cert: RFC 9440 puts the caller's certificate there, and only its issuers into the chain",
    ),
];

/// What names a client where [`forwards_unverified`] holds.
pub(super) const THUMBPRINT_EXPECTED: &str = "sha256: and the thumbprint of one certificate: Azure App Service forwards \
     whatever certificate was presented and verifies none, so that every name in it is the caller's own word";

object! {
    #[derive(Debug)]
    pub(super) struct RawForwarded {
        format: Format = required(word),
        header: Option<String> = optional(Value::text),
        hop: Option<u32> = optional(Value::u32),
        trusted_proxies: RawTrustedProxies = or_default(RawTrustedProxies::read),
        max_bytes: Option<u32> = optional(Value::u32),
    }
}

object! {
    #[derive(Debug, Default)]
    pub(super) struct RawTrustedProxies {
        cidrs: Vec<String> = or_default(Value::distinct),
        identities: Vec<String> = or_default(Value::distinct),
    }
}

/// Are certificates read that nobody has verified? Azure App Service's, told by the format or by the header.
pub(super) fn forwards_unverified(raw: &RawCertificate) -> bool {
    raw.forwarded.as_ref().is_some_and(|raw| {
        let named = raw.header.as_deref().map(str::to_ascii_lowercase);
        let header = named.as_deref().or(raw.format.default_header());
        raw.format == Format::Azure || (header.is_some() && header == Format::Azure.default_header())
    })
}

/// `None`: certificates are those of connections.
pub(super) fn forwarding(
    raw: RawCertificate,
    identities: &Identities,
    upstream: &UpstreamHeaders,
) -> Result<Option<Forwarding>, ConfigError> {
    let (or_connection, raw) = match (raw.source, raw.forwarded) {
        (CertificateSource::Connection, None) => return Ok(None),
        (CertificateSource::Connection, Some(_)) => {
            return Err(wrong(
                "",
                "found a setting of another source, expected \"source\": \"forwarded\" or \"connection_or_forwarded\" \
                 beside it",
            ));
        }
        (_, None) => {
            return Err(wrong(
                "",
                "found nothing, expected \"format\" and \"trusted_proxies\": how a proxy in front sends certificates, \
                 and which proxy",
            ));
        }
        (source, Some(raw)) => (source == CertificateSource::ConnectionOrForwarded, raw),
    };
    let proxies = proxies(raw.trusted_proxies, identities)?;
    let max_bytes = raw.max_bytes.unwrap_or(DEFAULT_MAX_BYTES);
    if !(1..=HIGHEST_MAX_BYTES).contains(&max_bytes) {
        return Err(ConfigError::new(at(".max_bytes"), max_bytes, format!("1 to {HIGHEST_MAX_BYTES}")));
    }
    Ok(Some(Forwarding {
        format: raw.format,
        header: header(raw.header, raw.format, upstream)?,
        hop: hop(raw.hop, raw.format, &proxies)?,
        max_bytes: usize::try_from(max_bytes).unwrap_or_default(),
        proxies,
        or_connection,
    }))
}

fn at(key: &str) -> String {
    format!("certificate.forwarded{key}")
}

fn wrong(key: &str, problem: &str) -> ConfigError {
    ConfigError { path: at(key), problem: problem.to_owned() }
}

fn proxies(raw: RawTrustedProxies, rules: &Identities) -> Result<TrustedProxies, ConfigError> {
    let RawTrustedProxies { cidrs, identities } = raw;
    if cidrs.is_empty() && identities.is_empty() {
        return Err(wrong(
            ".trusted_proxies",
            "found neither \"cidrs\" nor \"identities\", expected at least one of them: nobody else is believed",
        ));
    }
    let mut proxies = TrustedProxies::default();
    for (index, text) in cidrs.iter().enumerate() {
        let network = parse_network(text).and_then(|network| match network.prefix_len() {
            0 => Err("a network that not every caller is in".to_owned()),
            _ => Ok(network),
        });
        let path = || at(&format!(".trusted_proxies.cidrs[{index}]"));
        proxies.networks.push(network.map_err(|expected| ConfigError::new(path(), text, expected))?);
    }
    for (index, text) in identities.iter().enumerate() {
        let identity = clients::identity(text, &rules.precedence, &rules.trust_domains);
        let path = || at(&format!(".trusted_proxies.identities[{index}]"));
        proxies.identities.push(identity.map_err(|expected| ConfigError::new(path(), text, expected))?);
    }
    Ok(proxies)
}

fn header(given: Option<String>, format: Format, upstream: &UpstreamHeaders) -> Result<String, ConfigError> {
    let path = at(".header");
    let Some(name) = given.as_deref().or(format.default_header()) else {
        return Err(wrong(
            ".header",
            "found nothing, expected the name of the header in which the proxy sends the certificate",
        ));
    };
    let lower = name.to_ascii_lowercase();
    if let Some((_, instead)) = UNFIT.iter().find(|(unfit, _)| *unfit == lower) {
        return Err(ConfigError::new(path, name, instead));
    }
    // What CGI and its descendants take for the same name is never read.
    let is_plain = TOKEN.contains_all(lower.as_bytes()) && !lower.contains(['_', '.']);
    if lower.is_empty() || !is_plain {
        return Err(ConfigError::new(path, name, "the name of a header, without underscores and dots"));
    }
    let is_written = upstream.names().any(|known| known == lower) && upstream.client_cert.as_ref() != Some(&lower);
    let means_else = is_reserved(&lower) || UpstreamHeaders::default().names().any(|known| known == lower);
    if is_written || (means_else && !is_known_certificate_header(lower.as_bytes())) {
        return Err(ConfigError::new(path, name, "the name of a header that means nothing else"));
    }
    Ok(lower)
}

fn hop(given: Option<u32>, format: Format, proxies: &TrustedProxies) -> Result<usize, ConfigError> {
    let hop = given.unwrap_or(1);
    let path = at(".hop");
    if !(1..=HIGHEST_HOP).contains(&hop) {
        return Err(ConfigError::new(path, hop, format!("1 to {HIGHEST_HOP}")));
    }
    if given.is_some() && format != Format::Xfcc {
        return Err(ConfigError::new(path, hop, "nothing: only \"format\": \"xfcc\" has an element a proxy"));
    }
    if hop > 1 && proxies.identities.is_empty() {
        let expected = "1, or trusted_proxies.identities with the certificates of the proxies in between: without them \
                        whoever connects to the last proxy could send an element of its own";
        return Err(ConfigError::new(path, hop, expected));
    }
    Ok(usize::try_from(hop).unwrap_or_default())
}
