//! What is read in a request, and the answers to those that are refused.

use mtls_authz::{Deny, Header, Methods, Reason, Remedy, Request, Response};
use serde_json::{Value, json};

use crate::proxy::headers;

fn with(more: &'static [(&'static str, &'static str)]) -> Vec<Header<'static>> {
    headers("GET", "/", more)
}

fn method_of(method: &[u8]) -> Result<String, Reason> {
    let headers: [Header<'_>; 2] = [(b":method", method), (b":path", b"/")];
    Request::new(&headers).method(&Methods::default()).map(str::to_owned).map_err(|deny| deny.reason)
}

#[test]
fn a_registered_method_in_other_letters_is_malformed() {
    for method in ["delete", "Delete", "GeT", "connect", "Baseline-Control", "query", "pri"] {
        assert_eq!(method_of(method.as_bytes()), Err(Reason::RequestMalformed), "{method}");
    }
    for method in ["DELETE", "GET", "CONNECT", "BREW", "brew", "get2", "-", "M-SEARCH", "m-search"] {
        assert_eq!(method_of(method.as_bytes()).as_deref(), Ok(method));
    }
}

#[test]
fn a_method_is_one_token() {
    for method in ["", " ", "GET ", "G ET", "GET,PUT", "G\u{e9}T", "(GET)"] {
        assert_eq!(method_of(method.as_bytes()), Err(Reason::RequestMalformed), "{method:?}");
    }
    assert_eq!(method_of(b"G\xffT"), Err(Reason::RequestMalformed));
    let twice: [Header<'_>; 2] = [(b":method", b"GET"), (b":method", b"GET")];
    for headers in [&twice[..], &[]] {
        assert_eq!(
            Request::new(headers).method(&Methods::default()).map_err(|deny| deny.reason),
            Err(Reason::RequestMalformed)
        );
    }
}

#[test]
fn a_token_in_the_query_is_found_wherever_readers_find_it() {
    for (path, expected) in [
        ("/", false),
        ("/?a=1", false),
        ("/a&access_token=1", false),
        ("/access_token", false),
        ("/?access_token", true),
        ("/?access_token=1", true),
        ("/?a=1&access_token=1", true),
        ("/?a=1;Access_Token=1", true),
        ("/?a?access_token=1", true),
        ("/?a#access_token=1", true),
        ("/?%61ccess_token=1", true),
        ("/?%20access_token=1", true),
        // PHP's `$_GET["access_token"]`.
        ("/?access.token=1", true),
        ("/?access+token=1", true),
        ("/?access%20token=1", true),
        ("/?access[token=1", true),
        ("/?access_token[]=1", true),
        ("/?access_token%5Ba%5D=1", true),
        ("/?access-token=1", false),
        ("/?access_token_type=1", false),
        ("/?access_toke=1", false),
        ("/?my_access_token=1", false),
        ("/?access_token2=1", false),
        // Classic ASP's escapes.
        ("/?%u0061ccess_token=1", true),
        ("/?%U0061ccess%5Ftoken=1", true),
        // What is no escape stands for itself.
        ("/?100%=x", false),
        ("/?%zz=1", false),
        ("/?a%&access_token=1", true),
        ("/?access_token%=1", false),
        ("/?%u0161ccess_token=1", false),
    ] {
        let headers = headers("GET", path, &[]);
        assert_eq!(Request::new(&headers).has_query_token(), expected, "{path}");
    }
}

#[test]
fn what_a_connection_is_to_become_is_what_envoy_would_make_of_it() {
    for (more, expected) in [
        (&[][..], None),
        (&[("upgrade", "websocket")], None),
        (&[("connection", "upgrade")], None),
        (&[("connection", "close"), ("upgrade", "websocket")], None),
        (&[("connection", "upgrade"), ("upgrade", "WebSocket")], Some("websocket")),
        (&[("connection", "close, Upgrade "), ("upgrade", "websocket")], Some("websocket")),
        (&[("connection", "close"), ("connection", "upgrade"), ("upgrade", "a")], Some("a")),
        (&[("connection", "upgrade"), ("upgrade", "a"), ("upgrade", "b")], Some("a,b")),
        (&[(":protocol", "websocket")], Some("websocket")),
        (&[(":protocol", "Connect-UDP"), ("upgrade", "websocket")], Some("connect-udp")),
        (&[(":protocol", "a"), ("connection", "upgrade"), ("upgrade", "b")], Some("a")),
    ] {
        let headers = headers("GET", "/", more);
        assert_eq!(Request::new(&headers).upgrade().as_deref(), expected, "{more:?}");
    }
}

#[test]
fn the_id_of_a_request_is_told_where_it_is_plain() {
    let (longest, longer) = ("a".repeat(128), "a".repeat(129));
    for (id, is_told) in [
        ("2f6d6a1c", true),
        ("a\"b\\c%", true),
        (longest.as_str(), true),
        (longer.as_str(), false),
        ("a b", false),
        ("a\tb", false),
        ("\u{e9}", false),
    ] {
        let more = [("x-request-id", id)];
        let headers = headers("GET", "/", &more);
        assert_eq!(Request::new(&headers).id(), is_told.then_some(id.as_bytes()), "{id:?}");
    }
}

fn answer(deny: &Deny, headers: &[Header<'_>]) -> Response {
    Response::refuse(deny, &Request::new(headers))
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    let mut values = response.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.as_str());
    let value = values.next();
    assert_eq!(values.next(), None, "{name} stands once");
    value
}

#[test]
fn an_answer_is_a_problem_document_with_the_reason() {
    for reason in Reason::ALL {
        let title = match reason.status() {
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            405 => "Method Not Allowed",
            429 => "Too Many Requests",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            status => panic!("{status}"),
        };
        let response = answer(&Deny::new(*reason), &with(&[("x-request-id", "id-1")]));
        let expected = json!({
            "type": "about:blank", "title": title, "status": reason.status(), "detail": reason.detail(),
            "code": reason.code(), "request_id": "id-1",
        });
        assert_eq!(serde_json::from_str::<Value>(&response.body).unwrap(), expected);
        assert_eq!((response.status, response.code), (reason.status(), reason.code()));
        assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&response, "cache-control"), Some("no-store"));
    }
    let anonymous = answer(&Reason::PathDenied.into(), &with(&[]));
    assert_eq!(serde_json::from_str::<Value>(&anonymous.body).unwrap()["request_id"], Value::Null);
    let grpc = answer(&Reason::PathDenied.into(), &with(&[("content-type", "application/grpc")]));
    assert_eq!((grpc.body.as_str(), header(&grpc, "content-type")), (Reason::PathDenied.detail(), None));
}

#[test]
fn a_challenge_names_an_error_to_those_who_sent_a_token_or_what_means_to_be_one() {
    let nothing = r#"Bearer realm="mtls-authz""#;
    let error = |error: &str, reason: Reason| {
        Some(format!(r#"{nothing}, error="{error}", error_description="{}""#, reason.detail()))
    };
    let bearer = &[("authorization", "bearer x")][..];
    let basic = &[("authorization", "Basic x")][..];
    for (reason, more, expected) in [
        (Reason::TokenMissing, &[][..], Some(nothing.to_owned())),
        (Reason::CertificateMissing, &[], Some(nothing.to_owned())),
        (Reason::CertificateMissing, basic, Some(nothing.to_owned())),
        (Reason::CertificateMissing, bearer, error("invalid_token", Reason::CertificateMissing)),
        (Reason::TokenExpired, &[], error("invalid_token", Reason::TokenExpired)),
        (Reason::SenderBindingMismatch, basic, error("invalid_token", Reason::SenderBindingMismatch)),
        (Reason::AuthorizationMalformed, &[], error("invalid_request", Reason::AuthorizationMalformed)),
        (Reason::InsufficientScope, &[], error("insufficient_scope", Reason::InsufficientScope)),
        (Reason::PathDenied, bearer, None),
        (Reason::RequestMalformed, bearer, None),
        (Reason::RateLimited, bearer, None),
        (Reason::KeysUnavailable, bearer, None),
    ] {
        let headers = headers("GET", "/", more);
        let response = answer(&reason.into(), &headers);
        assert_eq!(header(&response, "www-authenticate"), expected.as_deref(), "{reason:?} {more:?}");
    }
}

#[test]
fn an_answer_says_what_may_be_done_next() {
    let of = |reason: Reason, remedy: Remedy| answer(&Deny::new(reason).with_remedy(remedy), &with(&[]));
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let scopes = of(Reason::InsufficientScope, Remedy::Scopes(list(&["read", "write"])));
    assert!(header(&scopes, "www-authenticate").unwrap().ends_with(r#", scope="read write""#));
    let methods = of(Reason::MethodNotAllowed, Remedy::Methods(list(&["GET", "PUT"])));
    assert_eq!(header(&methods, "allow"), Some("GET, PUT"));
    assert_eq!(header(&of(Reason::RateLimited, Remedy::RetryAfter(7)), "retry-after"), Some("7"));
}

#[test]
fn a_description_in_a_challenge_ends_no_quotes() {
    let deny = Deny::new(Reason::TokenExpired).with_detail("It \"ended\"\\ at\r\n12\u{e9}~ !");
    let response = answer(&deny, &with(&[]));
    let challenge = header(&response, "www-authenticate").unwrap();
    assert!(challenge.ends_with(r#"error_description="It ended at12~ !""#), "{challenge}");
}
