"""What a caller who is refused is told, and what not."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

import grpc
import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import grpc_client, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "clients": {
        "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
        "hushed-client": {"identities": ["cn:hushed-name"], "profiles": ["hushed-profile"]},
        "limited": {"identities": ["cn:limited"], "profiles": ["limited"]},
    },
    "profiles": {
        "partner": {"allow": [
            {"paths": ["/mixed"], "methods": ["GET"]},
            {"paths": ["/mixed", "/echo.Echo/Mixed"], "methods": ["PUT", "PATCH"]},
            {"paths": ["/scoped"], "scopes": ["payments:read", "payments:write"]},
        ]},
        "hushed-profile": {"allow": [{"paths": ["/hushed-path"]}]},
        "limited": {"allow": [{"paths": ["/limited"], "methods": ["GET"]}],
                    "rate_limit": {"requests": 2, "per_seconds": 86400, "burst": 1}},
    },
}
NOT_TOKEN = re.compile(r"eyJ|MII|-----")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    return start_envoy(
        Listener("main", POLICY, jwt=JwtAuthn((signer,))),
        Listener("certificates", {"mode": "mtls", "clients": {}, "profiles": {}}),
    )


@pytest.fixture(scope="module")
def port(envoy: Envoy) -> int:
    return envoy.port("main")


@pytest.fixture(scope="module")
def limited(issuer: Authority, port: int, bearer: Bearer) -> Credential:
    """A client that has used up its rate."""
    credential = issuer.issue([("CN", "limited")])
    with Http1(port, ClientTls(credential)) as client:
        verdicts.passed(client.request("GET", "/limited", [bearer("limited", credential)]))
    return credential


@pytest.fixture
def token(bearer: Bearer, acme: Credential) -> Header:
    return bearer("acme", acme)


def challenge(value: str | None) -> dict[str, str]:
    """The parameters of a Bearer challenge (RFC 6750 §3)."""
    assert value is not None and value.startswith("Bearer")
    parameters = re.findall(r'([a-z_]+)="([^"\\]*)"', value)
    assert value == "Bearer " + ", ".join(f'{name}="{text}"' for name, text in parameters)
    return dict(parameters)


def test_the_problem_document_names_the_request(
    port: int, acme: Credential, token: Header, http: Client
) -> None:
    request_id = str(uuid.uuid4())
    with http(port, ClientTls(acme)) as client:
        response = client.request("GET", "/elsewhere", [token, ("x-request-id", request_id)])
    problem = verdicts.refused(response, "path_denied")
    assert problem["request_id"] == request_id
    assert problem["title"] == "Forbidden"
    assert isinstance(problem["type"], str) and isinstance(problem["detail"], str)


def test_head_gets_the_same_head_and_no_body(port: int, acme: Credential, token: Header, http: Client) -> None:
    with http(port, ClientTls(acme)) as client:
        answers = [client.request(method, "/elsewhere", [token, ("x-request-id", "one")]) for method in ("GET", "HEAD")]
    without_date = [[header for header in answer.headers if header[0] != "date"] for answer in answers]
    assert [answer.status for answer in answers] == [403, 403]
    assert without_date[0] == without_date[1]
    assert answers[1].body == b""


def test_a_connection_stays_open_after_a_refusal(
    port: int, acme: Credential, token: Header, http: Client
) -> None:
    with http(port, ClientTls(acme)) as client:
        for _ in range(3):
            verdicts.refused(client.request("POST", "/elsewhere", [token]), "path_denied")
        verdicts.passed(client.request("PUT", "/mixed", [token], b"body"))


def test_the_challenge_holds_no_error_when_no_credentials_came(port: int, acme: Credential, http: Client) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("GET", "/mixed")
    verdicts.refused(response, "token_missing")
    assert "error" not in challenge(response.header("www-authenticate"))
    assert "error_description" not in challenge(response.header("www-authenticate"))


@pytest.mark.parametrize("listener", ["main", "certificates"])
def test_a_caller_without_certificate_and_token_is_challenged_without_an_error(
    envoy: Envoy, http: Client, listener: str
) -> None:
    with http(envoy.port(listener), ClientTls()) as client:
        response = client.request("GET", "/mixed")
    verdicts.refused(response, "certificate_missing")
    assert "error" not in challenge(response.header("www-authenticate"))


@pytest.mark.parametrize(("claims", "reason"), [
    ({"exp": 1}, "token_missing"),
    ({"client_id": 12}, "token_claims_invalid"),
    ({"cnf": {"x5t#S256": "A" * 43}}, "sender_binding_mismatch"),
])
def test_the_challenge_for_a_bad_token_is_invalid_token(
    port: int, acme: Credential, bearer: Bearer, http: Client, claims: Config, reason: str
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("GET", "/mixed", [bearer("acme", acme, **claims)])
    verdicts.refused(response, reason)
    assert challenge(response.header("www-authenticate"))["error"] == "invalid_token"


def test_the_challenge_for_a_malformed_header_is_invalid_request(
    port: int, acme: Credential, token: Header, http: Client
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("GET", "/mixed", [token, token])
    verdicts.refused(response, "authorization_malformed")
    assert challenge(response.header("www-authenticate"))["error"] == "invalid_request"


def test_the_challenge_for_a_missing_scope_names_the_scopes_that_are_needed(
    port: int, acme: Credential, bearer: Bearer, http: Client
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("GET", "/scoped", [bearer("acme", acme, scope="payments:read")])
    verdicts.refused(response, "insufficient_scope")
    parameters = challenge(response.header("www-authenticate"))
    assert parameters["error"] == "insufficient_scope"
    assert set(parameters["scope"].split(" ")) == {"payments:read", "payments:write"}


def test_allow_names_the_methods_that_all_rules_of_the_path_give(
    port: int, acme: Credential, token: Header, http: Client
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("DELETE", "/mixed", [token])
    verdicts.refused(response, "method_not_allowed")
    assert set((response.header("allow") or "").split(", ")) == {"GET", "HEAD", "PUT", "PATCH"}


def test_retry_after_is_when_the_next_request_will_pass(
    port: int, limited: Credential, bearer: Bearer, http: Client
) -> None:
    with http(port, ClientTls(limited)) as client:
        response = client.request("GET", "/limited", [bearer("limited", limited)])
    verdicts.refused(response, "rate_limited")
    # Two requests a day are one in half a day, less what has passed since the first.
    assert 86400 / 2 - 120 <= int(response.header("retry-after") or "") <= 86400 / 2


ORDER: list[tuple[str, Sequence[Header], str, bool, str]] = [
    ("/mixed;a", [], "DELETE", False, "path_malformed"),
    ("/elsewhere", [], "DELETE", False, "certificate_missing"),
    ("/elsewhere", [("x-client-id", "other")], "DELETE", True, "token_missing"),
]


@pytest.mark.parametrize(("path", "headers", "method", "with_certificate", "reason"), ORDER)
def test_400_comes_before_401_and_401_before_403(
    port: int, acme: Credential, http: Client, path: str, headers: Sequence[Header], method: str,
    with_certificate: bool, reason: str,
) -> None:
    with http(port, ClientTls(acme if with_certificate else None)) as client:
        verdicts.refused(client.request(method, path, headers), reason)


def test_403_comes_before_405_and_405_before_429(
    port: int, limited: Credential, bearer: Bearer, http: Client
) -> None:
    token = bearer("limited", limited)
    with http(port, ClientTls(limited)) as client:
        verdicts.refused(client.request("DELETE", "/elsewhere", [token]), "path_denied")
        verdicts.refused(client.request("DELETE", "/limited", [token]), "method_not_allowed")
        verdicts.refused(client.request("GET", "/limited", [token]), "rate_limited")


def test_a_known_path_without_a_token_is_answered_like_an_unknown_one(
    port: int, acme: Credential, http: Client
) -> None:
    request_id = ("x-request-id", "same")
    with http(port, ClientTls(acme)) as client:
        answers = [client.request(method, path, [request_id])
                   for path in ("/mixed", "/hushed-path", "/elsewhere") for method in ("GET", "DELETE")]
    assert len({(answer.status, answer.body) for answer in answers}) == 1


@pytest.mark.parametrize(("headers", "reason"), [
    ([("x-client-id", "hushed-client")], "client_mismatch"),
    ([("x-profile-id", "hushed-profile")], "client_profile_mismatch"),
])
def test_a_name_that_exists_is_refused_with_the_words_of_one_that_does_not(
    port: int, acme: Credential, token: Header, http: Client, headers: Sequence[Header], reason: str
) -> None:
    name, value = headers[0]
    request_id = ("x-request-id", "same")
    with http(port, ClientTls(acme)) as client:
        known = client.request("GET", "/mixed", [token, request_id, (name, value)])
        unknown = client.request("GET", "/mixed", [token, request_id, (name, "no-such-name")])
    verdicts.refused(known, reason)
    assert known.body == unknown.body


def test_a_refusal_repeats_no_token_no_certificate_and_no_name_of_another(
    port: int, acme: Credential, issuer: Authority, bearer: Bearer, http: Client
) -> None:
    other = issuer.issue([("CN", "hushed-name")])
    token = bearer("acme", acme)
    requests: list[tuple[Credential, str, list[Header]]] = [
        (acme, "/mixed", [bearer("hushed-client", other)]),
        (acme, "/mixed", [bearer("hushed-client", acme)]),
        (acme, "/mixed", [token, ("authorization", "Bearer hushed-token")]),
        (acme, "/mixed", [token, ("x-client-id", "hushed-client")]),
        (acme, "/mixed", [token, ("x-profile-id", "hushed-profile")]),
        (acme, "/hushed-path", [token]),
        (other, "/mixed", [token]),
        (other, "/mixed", [bearer("acme", other)]),
    ]
    for credential, path, headers in requests:
        with http(port, ClientTls(credential)) as client:
            response = client.request("GET", path, headers)
        text = response.body.decode() + str(response.headers)
        assert response.header("x-upstream") is None
        assert "hushed" not in text and not NOT_TOKEN.search(text)
        assert acme.thumbprint not in text and other.thumbprint not in text


@pytest.mark.parametrize(("method", "claims", "code", "metadata"), [
    ("/echo.Echo/Mixed", {"client_id": 12}, grpc.StatusCode.UNAUTHENTICATED, "www-authenticate"),
    ("/echo.Echo/Say", {}, grpc.StatusCode.PERMISSION_DENIED, None),
    ("/echo.Echo/Mixed", {}, grpc.StatusCode.UNIMPLEMENTED, "allow"),
])
def test_a_grpc_caller_gets_a_status_words_and_the_headers_as_metadata(
    port: int, root: Authority, acme: Credential, bearer: Bearer,
    method: str, claims: Config, code: grpc.StatusCode, metadata: str | None,
) -> None:
    result = grpc_client.call(port, root, acme, method=method, metadata=[bearer("acme", acme, **claims)])
    assert result.code is code
    assert result.details and "{" not in result.details
    if metadata:
        assert metadata in dict(result.trailing_metadata)


@pytest.mark.parametrize("content_type", ["application/grpc", "application/grpc+proto"])
def test_grpc_over_http1_is_answered_as_grpc(
    port: int, acme: Credential, token: Header, http: Client, content_type: str
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("POST", "/elsewhere", [token, ("content-type", content_type)])
    assert (response.status, response.header("grpc-status")) == (200, "7")


@pytest.mark.parametrize("content_type", ["application/grpc-web", "application/grpc-web+proto", "application/grpcx"])
def test_what_only_resembles_grpc_is_answered_with_a_problem_document(
    port: int, acme: Credential, token: Header, http: Client, content_type: str
) -> None:
    with http(port, ClientTls(acme)) as client:
        response = client.request("POST", "/elsewhere", [token, ("content-type", content_type)])
    verdicts.refused(response, "path_denied")
