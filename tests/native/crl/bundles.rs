//! A PEM bundle holds the lists of several authorities: the one of the feed's issuer counts.

use super::*;

#[test]
fn of_a_bundle_the_one_list_of_the_issuer_counts() {
    let (issuer, stranger) = (Issuer::of(Algorithm::Es256), Issuer::new(Algorithm::Es256));
    let policy = policy(issuer);
    let own = List::of(issuer);
    let other = List { name: name("Other CA"), issuer: &stranger, ..own.clone().revoking(&[9]) };
    // An authority of the same name, or the same authority's key before.
    let namesake = List { issuer: &stranger, ..own.clone().revoking(&[9]) };
    // What is wrong with the list of another authority does not concern this one.
    let odd = List { version: None, extensions: vec![], algorithms: [RSA_SHA1; 2], ..other.clone() };
    let delta = own.clone().with(extension(DELTA_INDICATOR, true, &number(&[1])));
    let newer = own.clone().numbered(&[6], -30);
    let text = b"Certificate Revocation List (CRL):\n".to_vec();
    let certificate = issuer_certificate(issuer).into_bytes();
    let broken = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n".to_vec();
    let own_pem = own.pem();
    let half = own_pem[..own_pem.len() / 2].to_vec();
    for (what, bundle, expected) in [
        ("first", vec![own.pem(), other.pem()], None),
        ("last", vec![other.pem(), own.pem()], None),
        ("between text", vec![text.clone(), other.pem(), text.clone(), own.pem(), text], None),
        ("beside a certificate", vec![certificate, own.pem()], None),
        ("beside a namesake", vec![namesake.pem(), own.pem(), other.pem()], None),
        ("beside one that could not be used", vec![odd.pem(), own.pem()], None),
        ("none", vec![other.pem(), other.pem()], Some("its issuer is not")),
        ("a namesake alone", vec![namesake.pem(), other.pem()], Some("not by the key")),
        ("two editions", vec![own.pem(), newer.pem()], Some("several lists")),
        ("one and its delta", vec![own.pem(), delta.pem()], Some("delta CRL")),
        ("behind one that is broken", vec![broken, own.pem()], Some("not an X.509 certificate revocation list")),
        ("before half a list", vec![other.pem(), own.pem(), half], Some("not an X.509 certificate revocation list")),
    ] {
        let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
        let taken = take(&policy, &memory, &host, &bundle.concat());
        match expected {
            None => {
                assert_eq!(taken, Ok(Taken::Adopted(1)), "{what}");
                assert_eq!(asked(&policy, &memory, 7), Some(Reason::CertificateRevoked), "{what}");
                assert_eq!(asked(&policy, &memory, 9), None, "{what}");
            }
            Some(words) => assert!(taken.as_ref().is_err_and(|problem| problem.contains(words)), "{what}: {taken:?}"),
        }
    }
}

#[test]
fn of_a_bundle_no_more_than_sixteen_lists_of_the_issuers_name_are_verified() {
    let (issuer, stranger) = (Issuer::of(Algorithm::Es256), Issuer::new(Algorithm::Es256));
    let policy = policy(issuer);
    let own = List::of(issuer);
    let namesake = List { issuer: &stranger, ..own.clone().revoking(&[9]) }.pem();
    let other = List { name: name("Other CA"), ..own.clone() }.pem();
    for (others, namesakes, is_taken, verified) in
        [(0, 15, true, 16), (500, 15, true, 16), (0, 16, false, 16), (0, 5_000, false, 16)]
    {
        let (memory, host) = (Memory::default(), Host::new(FakeProxy::new()));
        let bundle = [other.repeat(others), namesake.repeat(namesakes), own.pem()].concat();
        let taken = take(&policy, &memory, &host, &bundle);
        match is_taken {
            true => assert_eq!(taken, Ok(Taken::Adopted(1))),
            false => assert!(taken.as_ref().is_err_and(|problem| problem.contains("more than 16 lists")), "{taken:?}"),
        }
        assert_eq!(host.signatures.get(), verified, "{others} {namesakes}");
    }
}
