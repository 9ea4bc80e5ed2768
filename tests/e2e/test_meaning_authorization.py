"""A token that nothing has verified does not reach the upstream beside our allow, and one that was verified does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from conftest import Bearer, Client, StartEnvoy, Streams
from harness import verdicts
from harness.envoy import Envoy, http2_cluster
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.http2_upstream import Http2Upstream
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from harness.upstream import Upstream

ANYTHING: Config = {"allow": [{"paths": ["/**"]}, {"paths": ["/ws"], "upgrades": ["websocket"]}]}
TRAILERS = "trailers"
CERTIFICATES: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": ANYTHING},
    "bypass": [{"path": "/health"}],
}
MIXED: Config = {
    "token": {"audiences": [AUDIENCE]},
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["required", "optional", "quiet", "keeping", "tried"]}},
    "profiles": {
        "required": ANYTHING,
        "optional": {**ANYTHING, "mode": "bearer_plus_mtls_optional"},
        "quiet": {**ANYTHING, "mode": "mtls"},
        "keeping": {**ANYTHING, "mode": "mtls", "unverified_authorization": "keep"},
        "tried": {**ANYTHING, "mode": "mtls", "enforcement": "shadow"},
    },
    "bypass": [{"path": "/health"}, {"path": "/kept", "unverified_authorization": "keep"}],
}
KEEP: Config = {"unverified_authorization": "keep"}
BACK: Config = {
    **CERTIFICATES, **KEEP,
    "profiles": {"partner": {**ANYTHING, "unverified_authorization": "remove"}},
    "bypass": [{"path": "/health", "unverified_authorization": "remove"}, {"path": "/kept"}],
}


@pytest.fixture(scope="module")
def trailing() -> Iterator[Http2Upstream]:
    """An upstream that tells the trailers, too."""
    with Http2Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, trailing: Http2Upstream, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    return start_envoy(
        # Nothing looks at tokens here, and there jwt_authn has verified one that the profile does not ask for.
        Listener("plain", CERTIFICATES, upgrades=["websocket"]),
        Listener("beside", CERTIFICATES, jwt=jwt),
        Listener("keep", {**CERTIFICATES, **KEEP}),
        Listener("back", BACK),
        Listener("mixed", MIXED, jwt=jwt),
        Listener("shadow", {**CERTIFICATES, "enforcement": "shadow"}),
        Listener("trailers", CERTIFICATES, cluster=TRAILERS),
        Listener("kept_trailers", {**CERTIFICATES, **KEEP}, cluster=TRAILERS),
        clusters=[http2_cluster(trailing.port, TRAILERS)],
    )


UNVERIFIED = [
    "Bearer abc.def.ghi", "bearer abc", "BEARER abc", "BeArEr abc", "DPoP abc", "dpop abc", "DPOP abc", "Bearer", "Bearer  abc",
    "Bearer abc,Bearer def", "Basic dXNlcjpwdw==, Bearer abc", "Basic dXNlcjpwdw==,bearer abc", "Bearer\tabc",
]
OTHERS = ["Basic dXNlcjpwYXNz", "Negotiate YII", "Digest username=\"bear\"", "Bearerabc", "AWS4-HMAC-SHA256 Credential=a/b"]


def told(
    envoy: Envoy, http: Client, listener: str, credential: Credential | None, path: str, headers: Sequence[Header]
) -> list[str]:
    """The `Authorization` of the upstream's request."""
    with http(envoy.port(listener), ClientTls(credential)) as client:
        return verdicts.passed(client.request("GET", path, headers)).values("authorization")


@pytest.mark.parametrize("value", UNVERIFIED)
def test_an_unverified_token_does_not_go_on(envoy: Envoy, acme: Credential, http: Client, value: str) -> None:
    sent = [("authorization", value)]
    assert told(envoy, http, "plain", acme, "/a", sent) == []
    assert told(envoy, http, "plain", acme, "/health", sent) == []
    assert told(envoy, http, "plain", None, "/health", sent) == []
    assert told(envoy, http, "back", acme, "/a", sent) == []
    assert told(envoy, http, "back", None, "/health", sent) == []


@pytest.mark.parametrize("value", OTHERS)
def test_other_credentials_go_on(envoy: Envoy, acme: Credential, http: Client, value: str) -> None:
    assert told(envoy, http, "plain", acme, "/a", [("authorization", value)]) == [value]
    assert told(envoy, http, "plain", None, "/health", [("authorization", value)]) == [value]


@pytest.mark.parametrize("lines", [
    ["Bearer a", "Bearer b"], ["Basic dXNlcjpwdw==", "Bearer b"], ["Bearer a", "Basic dXNlcjpwdw=="], ["Negotiate a", "dpop b"],
    ["", "Bearer b"],
], ids=str)
def test_no_number_of_lines_takes_an_unverified_token_to_the_upstream(
    envoy: Envoy, acme: Credential, http: Client, lines: list[str]
) -> None:
    sent = [("authorization", value) for value in lines]
    for path, credential in (("/a", acme), ("/health", None)):
        left = " ".join(told(envoy, http, "plain", credential, path, sent)).lower()
        assert "bearer" not in left and "dpop" not in left


@pytest.mark.parametrize(("listener", "path", "profile"), [
    ("keep", "/a", None), ("keep", "/health", None), ("back", "/kept", None), ("mixed", "/a", "keeping"), ("mixed", "/kept", None),
])
def test_keep_at_each_level_lets_a_token_go_on(
    envoy: Envoy, acme: Credential, http: Client, listener: str, path: str, profile: str | None
) -> None:
    claims = [("x-profile-id", profile)] if profile else []
    for value in ("Bearer abc", "DPoP abc", "Basic dXNlcjpwYXNz"):
        assert told(envoy, http, listener, acme, path, [("authorization", value), *claims]) == [value]


def test_keep_of_one_profile_or_entry_is_not_that_of_another(envoy: Envoy, acme: Credential, http: Client) -> None:
    sent = [("authorization", "Bearer abc")]
    assert told(envoy, http, "mixed", acme, "/a", [*sent, ("x-profile-id", "quiet")]) == []
    assert told(envoy, http, "mixed", acme, "/health", sent) == []


def test_a_profile_that_looks_at_no_tokens_passes_none_on_that_jwt_authn_took(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client
) -> None:
    # Whose token it is, and what for, nobody has looked at.
    token = bearer("somebody-else", aud="https://other.example", exp=4_000_000_000)
    for path, credential in (("/a", acme), ("/health", None)):
        assert told(envoy, http, "beside", credential, path, [token]) == []


def test_a_verified_token_goes_on(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
    bound, alone = bearer("acme", acme), bearer("acme")
    for credential, token, profile in ((acme, bound, "required"), (acme, bound, "optional"), (acme, alone, "optional")):
        assert told(envoy, http, "mixed", credential, "/a", [token, ("x-profile-id", profile)]) == [token[1]]
    assert told(envoy, http, "mixed", None, "/a", [alone, ("x-profile-id", "optional")]) == [alone[1]]


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "DPoP abc", "Basic dXNlcjpwYXNz"])
def test_where_tokens_count_an_unverified_one_gets_nobody_in(
    envoy: Envoy, acme: Credential, upstream: Upstream, http: Client, value: str
) -> None:
    mark = upstream.mark()
    for profile in ("required", "optional"):
        with http(envoy.port("mixed"), ClientTls(acme)) as client:
            response = client.request("GET", "/a", [("authorization", value), ("x-profile-id", profile)])
        assert verdicts.reason_of(response) in ("token_missing", "authorization_malformed")
    assert upstream.since(mark) == []


def test_what_is_only_tried_takes_nothing_away(envoy: Envoy, acme: Credential, http: Client) -> None:
    sent = [("authorization", "Bearer abc")]
    assert told(envoy, http, "shadow", acme, "/a", sent) == ["Bearer abc"]
    assert told(envoy, http, "mixed", acme, "/a", [*sent, ("x-profile-id", "tried")]) == ["Bearer abc"]


def test_an_upgrade_takes_no_unverified_token_along(
    envoy: Envoy, acme: Credential, upstream: Upstream
) -> None:
    mark = upstream.mark()
    for value in ("Bearer abc", "DPoP abc", "Basic dXNlcjpwYXNz"):
        headers = [("connection", "Upgrade"), ("upgrade", "websocket"), ("authorization", value)]
        with Http1(envoy.port("plain"), ClientTls(acme)) as client:
            assert client.request("GET", "/ws", headers).status == 101
    assert [echo.values("authorization") for echo in upstream.since(mark)] == [[], [], ["Basic dXNlcjpwYXNz"]]


@pytest.mark.parametrize("listener", ["trailers", "kept_trailers"])
def test_no_authorization_goes_on_in_trailers(
    envoy: Envoy, acme: Credential, streams: Streams, listener: str
) -> None:
    for path, credential in (("/a", acme), ("/health", None)):
        for value in ("Bearer abc", "dpop abc", "Basic dXNlcjpwYXNz"):
            with streams(envoy.port(listener), ClientTls(credential)) as client:
                sent = [("authorization", value), ("x-other", "one")]
                echo = verdicts.passed(client.request("POST", path, [], b"body", trailers=sent))
            assert echo.trailers == [("x-other", "one")], value
