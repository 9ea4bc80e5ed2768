//! `identity.mappings`: families of certificates. An ordered list, the first that matches wins.

use super::authorities::Issuance;
use super::pattern::{NamePattern, Outcome, only_match};
use super::spiffe::SpiffeId;
use super::template::{CaptureName, Captures, Template};
use crate::bounds;
use crate::certificate::{Certificate, DistinguishedName, FoldedName, Thumbprint};

/// One mapping: what a certificate must show, and who it is then.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// All of these must match.
    pub matchers: Vec<Matcher>,
    /// Names the client.
    pub client_id: Template,
    /// Names the profile; without it the client's own profiles count.
    pub profile_id: Option<Template>,
    /// Names the principal; without it the client's own counts.
    pub principal: Option<Template>,
}

/// One condition of a mapping's `match`.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Exactly one URI subject alternative name matches; of several that match none is chosen.
    UriSan(NamePattern),
    /// Exactly one DNS subject alternative name matches.
    DnsSan(NamePattern),
    /// Exactly one e-mail subject alternative name matches.
    EmailSan(NamePattern),
    /// The subject has this attribute exactly once and it matches; or exactly one of its values does, if the pattern says so.
    Subject(String, NamePattern),
    /// The issuer likewise.
    IssuerAttribute(String, NamePattern),
    /// The issuer is this, in any spelling but in this direction.
    Issuer(DistinguishedName),
    /// The authority of this number issued it.
    Authority(usize),
    /// The certificate is this.
    Sha256(Thumbprint),
}

impl Matcher {
    /// The names that a match captures.
    pub fn capture_names(&self) -> Vec<CaptureName> {
        match self {
            Self::UriSan(pattern)
            | Self::DnsSan(pattern)
            | Self::EmailSan(pattern)
            | Self::Subject(_, pattern)
            | Self::IssuerAttribute(_, pattern) => pattern.capture_names().collect(),
            Self::Issuer(_) | Self::Authority(_) | Self::Sha256(_) => Vec::new(),
        }
    }

    fn compare(&self, certificate: &Certificate, issuance: &Issuance<'_>) -> Outcome<Captures> {
        let exactly = |is_same: bool| Ok(is_same.then(Captures::default));
        let (pattern, names) = match (self, &certificate.issuer) {
            (Self::UriSan(pattern), _) => (pattern, &certificate.uri_sans),
            (Self::DnsSan(pattern), _) => (pattern, &certificate.dns_sans),
            (Self::EmailSan(pattern), _) => (pattern, &certificate.email_sans),
            (Self::Subject(kind, pattern), _) => return pattern.compare_attribute(&certificate.subject, kind),
            (Self::IssuerAttribute(kind, pattern), Some(issuer)) => return pattern.compare_attribute(issuer, kind),
            (Self::Issuer(expected), Some(issuer)) => return exactly(is_same(expected, issuer)),
            // Envoy before 1.38 does not tell it of any certificate, so no caller can choose that.
            (Self::IssuerAttribute(..) | Self::Issuer(_), None) => return Ok(None),
            (Self::Authority(number), _) => return exactly(issuance.is_by(*number).is_ok()),
            (Self::Sha256(thumbprint), _) => return exactly(certificate.thumbprint == *thumbprint),
        };
        only_match(
            names.iter().map(|name| pattern.compare(name)),
            "several of the certificate's alternative names match",
        )
    }

    /// Is it met, or refused, by every certificate that meets the other one?
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            // A certificate without the attribute is refused.
            (Self::Subject(_, pattern), _)
            | (Self::IssuerAttribute(_, pattern), Self::IssuerAttribute(..) | Self::Issuer(_))
                if pattern.is_capture() =>
            {
                true
            }
            (Self::UriSan(one), Self::UriSan(other))
            | (Self::DnsSan(one), Self::DnsSan(other))
            | (Self::EmailSan(one), Self::EmailSan(other)) => one.covers(other),
            (Self::Subject(kind, one), Self::Subject(other_kind, other))
            | (Self::IssuerAttribute(kind, one), Self::IssuerAttribute(other_kind, other)) => {
                kind == other_kind && one.covers(other)
            }
            (Self::IssuerAttribute(kind, pattern), Self::Issuer(issuer)) => {
                !matches!(pattern.compare_attribute(issuer, kind), Ok(None))
            }
            (Self::Issuer(one), Self::Issuer(other)) => is_same(one, other),
            (Self::Authority(one), Self::Authority(other)) => one == other,
            (Self::Sha256(one), Self::Sha256(other)) => one == other,
            _ => false,
        }
    }

    /// Its key in a mapping's `match`.
    fn place(&self) -> String {
        match self {
            Self::UriSan(_) => "uri_san".to_owned(),
            Self::DnsSan(_) => "dns_san".to_owned(),
            Self::EmailSan(_) => "email_san".to_owned(),
            Self::Subject(kind, _) => format!("subject.{kind}"),
            Self::IssuerAttribute(kind, _) => format!("issuer.{kind}"),
            Self::Issuer(_) | Self::Authority(_) => "issuer".to_owned(),
            Self::Sha256(_) => "sha256".to_owned(),
        }
    }
}

fn is_same(one: &DistinguishedName, other: &DistinguishedName) -> bool {
    FoldedName::directed(one) == FoldedName::directed(other)
}

/// Who a certificate is according to a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// The client.
    pub client_id: String,
    /// The profile, where the mapping names one.
    pub profile_id: Option<String>,
    /// The principal, where the mapping names one.
    pub principal: Option<String>,
}

impl Mapped {
    /// Is each of these no longer than a configured one may be? Headers, records and the names of metrics hold them.
    pub fn is_bounded(&self) -> bool {
        let made = [Some(&self.client_id), self.profile_id.as_ref(), self.principal.as_ref()];
        made.into_iter().flatten().all(|text| text.len() <= bounds::NAME)
    }
}

impl Mapping {
    /// Applies the mapping. `None` where a condition is not met.
    ///
    /// # Errors
    /// Where in the mapping, and what cannot be told of the certificate, which meets all other conditions. It must not fall
    /// through to a later mapping, which may be laxer.
    pub fn apply(
        &self,
        certificate: &Certificate,
        issuance: &Issuance<'_>,
        spiffe: Option<&SpiffeId>,
    ) -> Result<Option<Mapped>, String> {
        let mut captures = Captures::default();
        let mut unclear = None;
        for matcher in &self.matchers {
            match matcher.compare(certificate, issuance) {
                Ok(Some(captured)) => captures.extend(captured),
                Ok(None) => return Ok(None),
                Err(why) => unclear = unclear.or(Some((matcher, why))),
            }
        }
        if let Some((matcher, why)) = unclear {
            return Err(format!("match.{}: {why}", matcher.place()));
        }
        let render = |key: &str, template: &Template| {
            let text = template.render(&captures, &certificate.subject, spiffe);
            text.ok_or_else(|| format!("{key}: a value for it is absent, there several times, no text, empty, . or .."))
        };
        let optional = |key: &str, template: &Option<Template>| {
            template.as_ref().map(|template| render(key, template)).transpose()
        };
        Ok(Some(Mapped {
            client_id: render("client_id", &self.client_id)?,
            profile_id: optional("profile_id", &self.profile_id)?,
            principal: optional("principal", &self.principal)?,
        }))
    }

    /// Does it say more of a client than its name: which profile or principal, or who must have issued the certificate?
    pub fn limits(&self) -> bool {
        let is_of_issuer = |matcher: &Matcher| {
            matches!(matcher, Matcher::Issuer(_) | Matcher::IssuerAttribute(..) | Matcher::Authority(_))
        };
        self.profile_id.is_some() || self.principal.is_some() || self.matchers.iter().any(is_of_issuer)
    }

    /// Is every certificate that meets the later mapping's conditions matched or refused by this one before?
    pub fn shadows(&self, later: &Self) -> bool {
        self.matchers.iter().all(|own| later.matchers.iter().any(|other| own.covers(other)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::authorities::{Authorities, IssuedBy};
    use super::super::pattern_kind::PatternKind;
    use super::*;
    use crate::certificate::{Attribute, Value};
    use crate::proxy::{HostError, Property, Proxy, Shared, SignatureCheck, Swap};

    /// A certificate of these attributes, in the order of the DER, and alternative names.
    fn certificate(subject: Vec<(&str, Value)>, names: Vec<(PatternKind, String)>) -> Certificate {
        let of = |kind| names.iter().filter(|(own, _)| *own == kind).map(|(_, name)| name.clone()).collect();
        let rdn = |(kind, value): (&str, Value)| vec![Attribute { kind: kind.to_owned(), value }];
        Certificate {
            subject: DistinguishedName::from_der_order(subject.into_iter().map(rdn).collect()),
            issuer: DistinguishedName::parse("CN=Lab CA,O=Lab"),
            uri_sans: of(PatternKind::Uri),
            dns_sans: of(PatternKind::Dns),
            email_sans: of(PatternKind::Email),
            ..Certificate::blank()
        }
    }

    fn mapping(matchers: Vec<Matcher>) -> Mapping {
        let captures: Vec<_> = matchers.iter().flat_map(Matcher::capture_names).collect();
        let client_id = Template::parse("{subject.CN}", &captures).unwrap();
        Mapping { matchers, client_id, profile_id: None, principal: None }
    }

    /// A host that is not asked.
    struct NoHost;

    const UNASKED: HostError = HostError { call: "none", status: 0 };

    impl Proxy for NoHost {
        fn property(&self, _: Property<'_>) -> Result<Option<Vec<u8>>, HostError> {
            Err(UNASKED)
        }

        fn leave_note(&self, _: &str, _: &[u8]) -> Result<(), HostError> {
            Err(UNASKED)
        }

        fn verify_signature(&self, _: SignatureCheck<'_>) -> Option<bool> {
            None
        }

        fn now(&self) -> Result<u64, HostError> {
            Err(UNASKED)
        }

        fn monotonic(&self) -> Result<u64, HostError> {
            Err(UNASKED)
        }

        fn shared(&self, _: &str) -> Result<Option<Shared>, HostError> {
            Err(UNASKED)
        }

        fn swap_shared(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<Swap, HostError> {
            Err(UNASKED)
        }
    }

    fn apply(mapping: &Mapping, certificate: &Certificate) -> Result<Option<Mapped>, String> {
        mapping.apply(
            certificate,
            &Issuance::new(certificate, &Authorities::default(), &NoHost, &IssuedBy::new()),
            None,
        )
    }

    fn pattern(text: &str, kind: PatternKind) -> NamePattern {
        NamePattern::parse(text, kind).unwrap()
    }

    fn attribute(kind: &str, text: &str) -> Matcher {
        Matcher::Subject(kind.to_owned(), pattern(text, PatternKind::Attribute))
    }

    /// The same text in other letters, with more white space, and perhaps in a string type that is read only to be compared.
    fn respelled(text: &str, how: u8) -> Value {
        let text = if how & 1 == 0 { text.to_ascii_uppercase() } else { text.to_ascii_lowercase() };
        let text = if how & 2 == 0 { text } else { format!("  {} ", text.replace(' ', " \u{a0} ")) };
        if how & 12 != 0 {
            return Value::Text(text);
        }
        let content: Vec<u8> = text.chars().flat_map(|one| u32::from(one).to_be_bytes()).collect();
        Value::Der([&[0x1c, u8::try_from(content.len()).unwrap()], content.as_slice()].concat())
    }

    proptest! {
        #[test]
        fn no_respelling_repetition_or_removal_leads_past_a_mapping_to_a_laxer_one(
            how in prop::array::uniform6(any::<u8>()),
            // What is there once more, in which spelling, and where.
            more in prop::collection::vec((0..10_usize, any::<u8>(), any::<prop::sample::Index>()), 0..4),
            has_unit: bool,
            has_name: bool,
        ) {
            let strict = mapping(vec![
                attribute("O", "Example Corp"),
                attribute("OU", "partner"),
                attribute("L", "{where}"),
                attribute("ST", "in {state}"),
                Matcher::Subject("T".to_owned(), NamePattern::parse_any("role: {role}").unwrap()),
                Matcher::UriSan(pattern("https://a.example/{path...}", PatternKind::Uri)),
                Matcher::DnsSan(pattern("{host}.b.example", PatternKind::Dns)),
                Matcher::EmailSan(pattern("{user}@c.example", PatternKind::Email)),
                Matcher::Issuer(DistinguishedName::parse("CN=LAB  ca,O=lab").unwrap()),
            ]);
            let mut subject = vec![
                ("O", respelled("example corp", how[0])),
                ("OU", respelled("partner", how[1])),
                ("ST", respelled("in x", how[0])),
                ("T", respelled("role: a b", how[1])),
            ];
            subject.extend(has_name.then(|| ("CN", respelled("acme", how[2]))));
            subject.extend(has_unit.then(|| ("L", respelled("here", how[2]))));
            let spelled = |text: &str, how: u8| if how & 1 == 0 { text.to_ascii_uppercase() } else { text.to_owned() };
            let uri = |how: u8| (PatternKind::Uri, format!("{}/X", spelled("https://a.example", how)));
            let dot = |how: u8| if how & 2 == 0 { "." } else { "" };
            let dns = |how: u8| (PatternKind::Dns, format!("x.b.example{}", dot(how)));
            let email = |how: u8| (PatternKind::Email, format!("x@{}{}", spelled("c.example", how), dot(how)));
            let mut names = vec![uri(how[3]), dns(how[4]), email(how[5])];
            for (what, how, place) in more {
                let attribute = match what {
                    0 => ("O", respelled("example corp", how)),
                    1 => ("OU", respelled("other", how)),
                    2 => ("OU", Value::Der(vec![0x04, 1, how])),
                    3 => ("L", Value::Text(String::new())),
                    7 => ("ST", respelled("in y", how)),
                    8 => ("T", respelled("role: c", how)),
                    9 => ("T", respelled("other", how)),
                    _ => {
                        names.insert(place.index(names.len()), [uri(how), dns(how), email(how)][what - 4].clone());
                        continue;
                    }
                };
                subject.insert(place.index(subject.len()), attribute);
            }
            let certificate = certificate(subject, names);
            prop_assert!(!matches!(apply(&strict, &certificate), Ok(None)), "{certificate:?}");
        }
    }

    #[test]
    fn another_value_is_no_match_and_a_condition_that_cannot_be_told_is_named() {
        let text = |text: &str| Value::Text(text.to_owned());
        let strict = || mapping(vec![attribute("O", "Corp"), attribute("OU", "{unit}")]);
        for (subject, expected) in [
            (vec![("O", text("other")), ("OU", text("a"))], Ok(false)),
            (vec![("OU", text("a"))], Ok(false)),
            // One condition that is not met is enough, whatever the others are.
            (vec![("O", text("other"))], Ok(false)),
            (vec![("O", text("other")), ("O", text("another"))], Ok(false)),
            (vec![("CN", text("a")), ("O", text("CORP")), ("OU", text("a"))], Ok(true)),
            (vec![("O", text("Corp")), ("OU", text("a"))], Err("client_id: ")),
            (vec![("CN", text("..")), ("O", text("Corp")), ("OU", text("a"))], Err("client_id: ")),
            (vec![("CN", Value::Der(vec![4, 0])), ("O", text("Corp")), ("OU", text("a"))], Err("client_id: ")),
            (vec![("O", text("Corp"))], Err("match.subject.OU: the certificate does not have the attribute")),
            (vec![("O", text("Corp")), ("OU", text(""))], Err("match.subject.OU: what is to be captured is empty")),
            (vec![("O", text("Corp")), ("OU", text("a")), ("OU", text("a"))], Err("match.subject.OU: ")),
            (vec![("O", text("Corp")), ("OU", Value::Der(vec![4, 0]))], Err("match.subject.OU: ")),
            (vec![("O", Value::Der(vec![4, 0])), ("OU", text("a"))], Err("match.subject.O: ")),
            (vec![("O", text("x")), ("O", text("corp")), ("OU", text("a"))], Err("match.subject.O: ")),
        ] {
            let shown = format!("{subject:?}");
            let outcome = apply(&strict(), &certificate(subject, Vec::new())).map(|mapped| mapped.is_some());
            match (outcome, expected) {
                (Err(unclear), Err(begin)) => assert!(unclear.starts_with(begin), "{shown}: {unclear}"),
                (outcome, expected) => assert_eq!(outcome.ok(), expected.ok(), "{shown}"),
            }
        }
    }

    #[test]
    fn of_several_values_one_that_cannot_be_read_may_be_the_one() {
        let strict = || mapping(vec![Matcher::Subject("OU".to_owned(), NamePattern::parse_any("app:{guid}").unwrap())]);
        let unit = |text: &str| ("OU", Value::Text(text.to_owned()));
        let unreadable = || ("OU", Value::Der(vec![4, 0]));
        let name = || ("CN", Value::Text("a".to_owned()));
        for (subject, expected) in [
            (vec![name(), unit("x"), unit("app:7")], Some(true)),
            (vec![name(), unit("x")], Some(false)),
            (vec![name()], Some(false)),
            (vec![name(), unit("app:7"), unreadable()], None),
            (vec![name(), unit("x"), unreadable()], None),
            (vec![name(), unreadable()], None),
        ] {
            let shown = format!("{subject:?}");
            let outcome = apply(&strict(), &certificate(subject, Vec::new())).map(|mapped| mapped.is_some());
            assert_eq!(outcome.ok(), expected, "{shown}");
        }
    }

    #[test]
    fn an_issuer_that_is_not_known_is_no_match() {
        let issuer = |text: &str| Matcher::IssuerAttribute("CN".to_owned(), pattern(text, PatternKind::Attribute));
        let named = Matcher::Issuer(DistinguishedName::parse("CN=Lab CA,O=Lab").unwrap());
        for matcher in [issuer("Lab CA"), issuer("{any}"), named] {
            let mut unknown = certificate(vec![("CN", Value::Text("a".to_owned()))], Vec::new());
            assert!(matches!(apply(&mapping(vec![matcher.clone()]), &unknown), Ok(Some(_))));
            unknown.issuer = None;
            assert_eq!(apply(&mapping(vec![matcher]), &unknown), Ok(None));
        }
    }
}
