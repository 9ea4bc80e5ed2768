"""Decisions are made on the canonical path, and what can be read in two ways is refused."""

from __future__ import annotations

import pytest

from conftest import Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http2 import Http2
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Credential
from harness.response import ConnectionEnded
from harness.tls import ClientTls
from harness.upstream import Upstream


def policy(**settings: Config) -> Config:
    paths = ["/public/**", "/files/*", "/caf%C3%A9", "/~user"]
    profile: Config = {"allow": [{"paths": paths}], "deny": ["/public/admin/**"]}
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": profile},
        **settings,
    }


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(
        Listener("raw", policy(), normalize=False, manager=CLOSE_AT_ONCE),
        Listener("normalized", policy(), manager=CLOSE_AT_ONCE),
        Listener("slashes", policy(path={"encoded_slashes": "keep"}), normalize=False),
        Listener("semicolons", policy(path={"semicolons": "keep"}), normalize=False),
    )


CANONICAL = [
    ("/public/a", "allowed"),
    ("/public/a/", "allowed"),
    ("/public?a=b;c=d&e=/../admin//x%2F", "allowed"),
    ("/public/admin", "path_denied"),
    ("/public/admin/x", "path_denied"),
    ("/admin", "path_denied"),
    ("/public/../admin", "path_denied"),
    ("/public/..", "path_denied"),
    ("/public/./../admin", "path_denied"),
    ("/public/%2e%2e/admin", "path_denied"),
    ("/public/%2E%2E/admin", "path_denied"),
    ("/public/.%2e/admin", "path_denied"),
    ("/public/%2e./admin", "path_denied"),
    ("/public/x/../../admin", "path_denied"),
    ("/public/./admin", "path_denied"),
    ("/public/%2e/admin", "path_denied"),
    ("/public/x/../admin", "path_denied"),
    ("/public/%61dmin", "path_denied"),
    ("/public/admi%6E", "path_denied"),
    ("/public/%61%64%6d%69%6e/x", "path_denied"),
    ("/public/admin?x", "path_denied"),
    ("/public/admin/..", "allowed"),
    ("/admin/../public/a", "allowed"),
    ("/%70ublic/a", "allowed"),
    ("/caf%c3%a9", "allowed"),
    ("/caf%C3%A9", "allowed"),
    ("/%7Euser", "allowed"),
    ("/Public/a", "path_denied"),
    ("/public/...", "allowed"),
    ("/public/..a", "allowed"),
    ("/files/a%20b", "allowed"),
    ("/files/a%25b", "allowed"),
    ("/files/a%252Fb", "allowed"),
    ("/files/%252e%252e", "allowed"),
    ("/public/%252e%252e/admin", "allowed"),
]
"""What has one reading: (path, verdict on it)."""

AMBIGUOUS = [
    "//public/a", "/public//a", "/public/a//", "//", "/public//../admin", "/public/x//../admin", "///admin",
    "/public%2Fa", "/public%2fa", "/public/..%2fadmin", "/public%2F..%2Fadmin", "/public/%2F", "/public/a%2f..%2f..%2fadmin",
    "/public%5Ca", "/public/..%5cadmin", "/public\\a", "/public\\..\\admin", "/\\admin",
    "/public/a;x=y", "/public;x/a", "/public/..;/admin", "/public/;/a", "/public/a%3Bx", "/public/..%3b/admin",
    "/public/a%00", "/public/%00/a", "/public/a%0a", "/public/a%0D%0Ax-client-id:%20b", "/public/a%7F", "/public/%01",
    "/public/%", "/public/%a", "/public/%zz", "/public/%2", "/public/%u0061", "/public/a%%32%65",
    "/public/%A1", "/public/%ff", "/public/%C3", "/public/%C0%AF", "/public/%c0%ae%c0%ae/admin", "/public/%ED%A0%80",
    "/public/%F5%80%80%80", "/public/%e0%80%af", "/public/%2e%2e%2fadmin",
]
"""What can be read in two ways."""


@pytest.mark.parametrize(("path", "verdict"), CANONICAL)
def test_the_canonical_path_is_decided_about(
    envoy: Envoy, acme: Credential, http: Client, path: str, verdict: str
) -> None:
    with http(envoy.port("raw"), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", path)) == verdict


@pytest.mark.parametrize(("path", "canonical"), [
    ("/public/./a", "/public/a"),
    ("/admin/../public/a?x=/../y&z=%2F;", "/public/a?x=/../y&z=%2F;"),
    ("/public/admin/..", "/public/"),
    ("/%70ublic/%61", "/public/a"),
    ("/caf%c3%a9", "/caf%C3%A9"),
    ("/%7Euser?", "/~user?"),
    ("/files/a%20b", "/files/a%20b"),
    ("/files/%252e%252e", "/files/%252e%252e"),
    ("/public", "/public"),
])
def test_the_upstream_gets_the_path_that_was_decided_about(
    envoy: Envoy, acme: Credential, http: Client, path: str, canonical: str
) -> None:
    with http(envoy.port("raw"), ClientTls(acme)) as client:
        assert verdicts.passed(client.request("GET", path)).path == canonical


@pytest.mark.parametrize("path", AMBIGUOUS)
def test_a_path_that_can_be_read_in_two_ways_is_malformed(
    envoy: Envoy, acme: Credential, upstream: Upstream, http: Client, path: str
) -> None:
    mark = upstream.mark()
    with http(envoy.port("raw"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", path), "path_malformed")
    assert upstream.since(mark) == []


@pytest.mark.parametrize("path", ["/public/admin#x", "/public/a#/../admin", "#", "\\admin", "public/a", "*", "?x", ".."])
def test_a_target_that_is_no_path_never_gets_past_envoy(
    envoy: Envoy, acme: Credential, upstream: Upstream, http: Client, path: str
) -> None:
    mark = upstream.mark()
    with http(envoy.port("raw"), ClientTls(acme)) as client:
        try:
            assert client.request("GET", path).status == 400
        except ConnectionEnded:
            pass
    assert upstream.since(mark) == []


RAW = ["/public/\xa1", "/public/\xff", "/public/\xc3", "/public/\xc0\xaf", "/\x80", "/public/\xed\xa0\x80"]


@pytest.mark.parametrize("path", RAW)
def test_raw_bytes_that_are_no_text_are_malformed(
    envoy: Envoy, acme: Credential, upstream: Upstream, path: str
) -> None:
    mark = upstream.mark()
    with Http2(envoy.port("raw"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", path), "path_malformed")
    assert upstream.since(mark) == []


@pytest.mark.parametrize("path", [path for path, _ in CANONICAL] + AMBIGUOUS)
def test_what_is_refused_without_normalization_is_never_more_with_it(
    envoy: Envoy, acme: Credential, http: Client, path: str
) -> None:
    with http(envoy.port("normalized"), ClientTls(acme)) as client:
        try:
            response = client.request("GET", path)
        except ConnectionEnded:
            return
    if response.header("x-upstream") is None:
        assert response.status in (400, 403)
        return
    # What passes has gone upstream in the form in which it was decided.
    seen = response.echo().path.partition("?")[0]
    assert not seen.startswith(("/admin", "/public/admin"))
    assert seen.startswith(("/public", "/files/", "/caf", "/~user", "/%7Euser"))
    for part in ("//", "/../", "\\", ";", "%2f", "%5c", "%00"):
        assert part not in seen.lower(), (path, seen)


def test_a_path_of_more_than_eight_kibibytes_is_malformed(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    for size, verdict in ((8_000, "allowed"), (8_193, "path_malformed"), (30_000, "path_malformed")):
        path = "/public/" + "a" * (size - len("/public/"))
        with http(envoy.port("raw"), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", path)) == verdict


def test_a_path_of_very_many_segments_is_decided_about(envoy: Envoy, acme: Credential, http: Client) -> None:
    for path, verdict in (("/public" + "/a" * 4_000, "allowed"), ("/public" + "/a/.." * 1_500 + "/admin", "path_denied")):
        with http(envoy.port("raw"), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", path)) == verdict


@pytest.mark.parametrize(("listener", "path", "verdict"), [
    ("slashes", "/files/a%2Fb", "allowed"),
    ("slashes", "/files/a%2fb", "allowed"),
    ("slashes", "/files/a%5Cb", "allowed"),
    ("slashes", "/files/a/b", "path_denied"),
    ("slashes", "/files%2Fa", "path_denied"),
    # An upstream that decodes would find dot segments here.
    ("slashes", "/public/..%2Fadmin", "path_malformed"),
    ("slashes", "/public%2F..%2Fadmin", "path_malformed"),
    ("slashes", "/public/admin%2Fx", "path_denied"),
    ("slashes", "/public\\a", "path_malformed"),
    ("slashes", "/public/a;b", "path_malformed"),
    ("slashes", "/public//a", "path_malformed"),
    ("semicolons", "/files/a;b=c", "allowed"),
    ("semicolons", "/files/a%3Bb", "allowed"),
    ("semicolons", "/public/..;/admin", "path_malformed"),
    ("semicolons", "/public;x/a", "path_denied"),
    ("semicolons", "/public/admin;x", "path_denied"),
    ("semicolons", "/public/a%2Fb", "path_malformed"),
])
def test_kept_characters_are_ordinary_ones_of_one_segment(
    envoy: Envoy, acme: Credential, http: Client, listener: str, path: str, verdict: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", path)) == verdict
