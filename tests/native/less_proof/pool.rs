//! Certificates and tokens, made once. Their names are few, so that policies and requests meet.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::OnceLock;

use mtls_authz::{Algorithm, Certificate, Thumbprint};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use crate::certificates::{Leaf, Recipe, at};
use crate::issuer::{Issuer, base64url};
use crate::proxy::NOW;

pub const ACME: &str = "spiffe://prod.example/ns/pay/sa/acme";
pub const EDGE: &str = "spiffe://prod.example/ns/edge/sa/proxy";
pub const TEST_CA: &str = "CN=Test CA,O=ExampleCorp";
pub const OTHER_CA: &str = "CN=Other CA,O=ExampleCorp";

/// A certificate of the pool, by its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cert(usize);

/// The name of each certificate, and the authority that issued it.
const CERTS: &[(&str, Authority)] = &[
    ("acme by SPIFFE ID", Authority::Test),
    ("acme by CN in p", Authority::Test),
    ("globex by CN in q", Authority::Test),
    ("acme by DNS, globex by CN", Authority::Test),
    ("acme by DNS and globex by DNS", Authority::Test),
    ("globex by DNS, acme by mail", Authority::Test),
    ("acme by SPIFFE ID of another authority", Authority::Other),
    ("acme by SPIFFE ID of a namesake of the authority", Authority::Namesake),
    ("acme in another trust domain, globex by CN", Authority::Test),
    ("initech in p and q", Authority::Test),
    ("Initech in P", Authority::Test),
    ("acme, ended", Authority::Test),
    ("nobody", Authority::Test),
    ("acme with two URIs", Authority::Test),
    ("no name", Authority::Test),
    ("an authority called acme", Authority::Test),
    ("the proxy", Authority::Test),
];

#[derive(Clone, Copy)]
enum Authority {
    Test,
    Other,
    /// The name of the first, and another key.
    Namesake,
}

struct Pool {
    leaves: Vec<Leaf>,
    authorities: Vec<String>,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| {
        let named = |common_name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "ExampleCorp");
            params.distinguished_name.push(DnType::CommonName, common_name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            (params.self_signed(&key).unwrap().pem(), rcgen::Issuer::new(params, key))
        };
        let authorities = [named("Test CA"), named("Other CA"), named("Test CA")];
        let leaves = CERTS.iter().enumerate().map(|(index, (name, authority))| {
            let mut params = recipe(name).params;
            params.serial_number = Some((index as u64 + 1).into());
            let certificate =
                params.signed_by(&KeyPair::generate().unwrap(), &authorities[*authority as usize].1).unwrap();
            Leaf { pem: certificate.pem(), der: certificate.der().to_vec() }
        });
        Pool { leaves: leaves.collect(), authorities: authorities.iter().map(|(pem, _)| pem.clone()).collect() }
    })
}

fn recipe(name: &str) -> Recipe {
    let corp = || Recipe::new().subject(DnType::OrganizationName, "ExampleCorp");
    let unit = |recipe: Recipe, unit: &str| recipe.subject(DnType::OrganizationalUnitName, unit);
    let acme = || unit(corp(), "p").uri(ACME).cn("acme");
    match name {
        "acme by CN in p" => unit(corp(), "p").cn("acme"),
        "globex by CN in q" => unit(corp(), "q").cn("globex"),
        "acme by DNS, globex by CN" => corp().dns("acme.example").cn("globex"),
        "acme by DNS and globex by DNS" => corp().dns("acme.example").dns("globex.example"),
        "globex by DNS, acme by mail" => corp()
            .dns("globex.example")
            .with(|params| params.subject_alt_names.push(SanType::Rfc822Name("acme@mail.example".try_into().unwrap()))),
        "acme in another trust domain, globex by CN" => {
            corp().uri("spiffe://other.example/ns/pay/sa/acme").cn("globex")
        }
        "initech in p and q" => corp().cn("initech").with(|params| {
            let unit = DnType::CustomDnType(vec![2, 5, 4, 11]);
            params.distinguished_name.push(DnType::OrganizationalUnitName, "p");
            params.distinguished_name.push(unit, "q");
        }),
        "Initech in P" => unit(Recipe::new().subject(DnType::OrganizationName, "examplecorp "), "P").cn("Initech"),
        "acme, ended" => acme().with(|params| params.not_after = at(-60)),
        "nobody" => unit(corp(), "q").cn("nobody"),
        "acme with two URIs" => acme().uri("spiffe://prod.example/ns/pay/sa/other"),
        "no name" => Recipe::new(),
        "an authority called acme" => acme().with(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        "the proxy" => corp().uri(EDGE).cn("proxy"),
        _ => acme(),
    }
}

impl Cert {
    pub const FIRST: Self = Self(0);

    pub fn all() -> Vec<Self> {
        (0..CERTS.len()).map(Self).collect()
    }

    pub fn index(self) -> usize {
        self.0
    }

    pub fn named(name: &str) -> Self {
        Self(CERTS.iter().position(|(known, _)| *known == name).unwrap())
    }

    /// The names by which clients may know it, as `recipe` makes them.
    pub fn names(self) -> Vec<String> {
        let certificate = Certificate::from_der(&self.leaf().der).unwrap();
        let uris = certificate.uri_sans.iter().map(|name| name.to_string());
        let dns = certificate.dns_sans.iter().map(|name| format!("dns:{name}"));
        let subject = certificate.subject.to_string();
        let cn = subject.split(',').find_map(|part| part.strip_prefix("CN=").map(|name| format!("cn:{name}")));
        let mails = certificate.email_sans.iter().map(|address| format!("email:{address}"));
        let whole = [format!("subject:{subject}"), format!("sha256:{}", self.thumbprint())];
        uris.chain(dns).chain(mails).chain(cn).chain(whole).collect()
    }

    pub fn leaf(self) -> &'static Leaf {
        &pool().leaves[self.0]
    }

    pub fn thumbprint(self) -> String {
        self.leaf().thumbprint()
    }

    pub fn serial(self) -> String {
        format!("{:x}", self.0 + 1)
    }

    /// Is this the issuer, by its name or as one of `authorities`?
    pub fn is_issued_by(self, pin: &str) -> bool {
        match (pin, CERTS[self.0].1) {
            ("test", authority) => matches!(authority, Authority::Test),
            ("other", authority) => matches!(authority, Authority::Other),
            (name, _) => name == self.issuer(),
        }
    }

    pub fn issuer(self) -> &'static str {
        match CERTS[self.0].1 {
            Authority::Other => OTHER_CA,
            Authority::Test | Authority::Namesake => TEST_CA,
        }
    }
}

impl std::fmt::Debug for Cert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(CERTS[self.0].0)
    }
}

/// The PEM of the authorities `Test CA` and `Other CA`.
pub fn authority(index: usize) -> &'static str {
    &pool().authorities[index]
}

/// Thumbprints by the names of their certificates.
pub fn readable(text: &str) -> String {
    let mut text = text.to_owned();
    for cert in Cert::all() {
        let name = format!("<{cert:?}>");
        text = text.replace(&cert.thumbprint(), &name).replace(&Thumbprint::of(&cert.leaf().der).to_hex(), &name);
    }
    for (index, name) in ["<Test CA>", "<Other CA>"].iter().enumerate() {
        text = text.replace(&json!(authority(index)).to_string(), &json!(name).to_string());
    }
    text
}

/// What a token says and who signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    pub client_id: Option<&'static str>,
    pub azp: Option<&'static str>,
    pub binding: Bound,
    pub scope: &'static str,
    pub audience: Option<&'static str>,
    pub issuer: Option<&'static str>,
    pub defect: Defect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    No,
    To(Cert),
    /// To a key of DPoP.
    OtherKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Defect {
    None,
    Expired,
    NoEnd,
    /// Signed with another key under the same name.
    Forged,
}

pub const AUTH: &str = "https://auth.example";
pub const LOGIN: &str = "https://login.example";
pub const API: &str = "https://api.example";

impl Token {
    pub fn of(client: &'static str, binding: Bound) -> Self {
        let (audience, issuer) = (Some(API), Some(AUTH));
        Self {
            client_id: Some(client),
            azp: None,
            binding,
            scope: "read write",
            audience,
            issuer,
            defect: Defect::None,
        }
    }

    pub fn payload(self) -> Value {
        let mut payload = json!({"scope": self.scope, "exp": NOW + 600});
        let claims = [("client_id", self.client_id), ("azp", self.azp), ("aud", self.audience), ("iss", self.issuer)];
        for (name, value) in claims {
            if let Some(value) = value {
                payload[name] = json!(value);
            }
        }
        match self.binding {
            Bound::No => {}
            Bound::To(cert) => payload["cnf"] = json!({"x5t#S256": cert.thumbprint()}),
            Bound::OtherKind => payload["cnf"] = json!({"jkt": Cert::FIRST.thumbprint()}),
        }
        match self.defect {
            Defect::Expired => payload["exp"] = json!(NOW - 3600),
            Defect::NoEnd => {
                payload.as_object_mut().unwrap().remove("exp");
            }
            Defect::None | Defect::Forged => {}
        }
        payload
    }

    /// The token, signed once.
    pub fn text(self) -> Rc<str> {
        thread_local! {
            static SIGNED: RefCell<HashMap<Token, Rc<str>>> = RefCell::new(HashMap::new());
        }
        let signed = || {
            let issuer = Issuer::of(Algorithm::Es256);
            let token = issuer.token_with(&json!({"alg": "ES256", "kid": "a"}), &self.payload());
            match token.rsplit_once('.') {
                Some((signed, _)) if self.defect == Defect::Forged => format!("{signed}.{}", base64url([1; 64])).into(),
                _ => token.into(),
            }
        };
        SIGNED.with(|known| Rc::clone(known.borrow_mut().entry(self).or_insert_with(signed)))
    }

    /// The clients that these claims name.
    pub fn names(self, claims: &[String]) -> Vec<&'static str> {
        let claimed = [("client_id", self.client_id), ("azp", self.azp)];
        claimed
            .iter()
            .filter(|(name, _)| claims.iter().any(|claim| claim == name))
            .filter_map(|(_, value)| *value)
            .collect()
    }
}

/// The key set of the issuers.
pub fn jwks() -> Value {
    json!({"keys": [Issuer::of(Algorithm::Es256).named_jwk("a")]})
}
