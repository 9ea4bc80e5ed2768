"""No request that a byte-level client can send takes the VM down or gets rights it does not have."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import AUTHORITY, Http1, exchange
from harness.http2 import Http2
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from harness.upstream import Upstream

POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}], "deny": ["/open/denied"]}},
    "bypass": [{"path": "/health", "methods": ["GET"]}],
}
HEADERS = (
    "x-client-id", "x-profile-id", "x-client-principal", "x-client-identity", "x-client-cert-thumbprint",
    "client-cert", "client-cert-chain", "x-forwarded-client-cert", "x-forwarded-tls-client-cert", "ssl-client-cert",
    "x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf", "x-arr-clientcert", "authorization", "content-type",
    "x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "cookie", "user-agent", "te", "accept",
    "upgrade", "connection", "forwarded", "traceparent", "via", "x-any", "x_client_id", "expect", "origin",
)
VALUES = ("\xa1", "\xff\xfe", "a\xed\xa0\x80b", "", "a\tb", "\x80" * 100, '"\\{%00', "a,b")
DUPLICATED = ("x-client-id", "x-profile-id", "x-client-principal", "client-cert", "x-forwarded-client-cert",
              "authorization", "x-request-id", "content-type", "x-forwarded-for", "host")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    forwarding: Config = {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY", "manager": CLOSE_AT_ONCE}
    optional: Config = {"mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]},
                        "path": {"encoded_slashes": "keep", "semicolons": "keep"}}
    return start_envoy(
        Listener("main", POLICY, jwt=jwt, normalize=False, upgrades=["websocket"], **forwarding),
        Listener("shadow", {**POLICY, "enforcement": "shadow"}, jwt=jwt, normalize=False, **forwarding),
        Listener("optional", {**POLICY, **optional}, jwt=jwt, normalize=False, **forwarding),
    )


@pytest.fixture
def alive(envoy: Envoy, acme: Credential, bearer: Bearer) -> object:
    """Checks after a test that the worker still serves, and still by its rules."""
    yield
    for listener in ("main", "optional", "shadow"):
        with Http1(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.passed(client.request("GET", "/open", [bearer("acme", acme)]))
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.refused(client.request("GET", "/open"), "token_missing")
    assert set(envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}


def status(http: Client, port: int, tls: ClientTls, headers: Sequence[Header], method: str = "GET",
           path: str = "/open", body: bytes = b"") -> int:
    """The status of an answer; 0 where Envoy ended the connection, 403 where it refused a gRPC call."""
    try:
        with http(port, tls) as client:
            response = client.request(method, path, headers, body)
    except (ConnectionEnded, OSError):
        return 0
    return 403 if response.header("grpc-status") not in (None, "0") else response.status


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("name", HEADERS)
def test_no_value_of_a_header_gives_rights_or_takes_the_worker_down(
    envoy: Envoy, acme: Credential, http: Client, name: str
) -> None:
    for value in VALUES:
        for listener, tls in (("main", ClientTls(acme)), ("optional", ClientTls())):
            answer = status(http, envoy.port(listener), tls, [(name, value)])
            assert answer in (0, 400, 401, 403), (listener, value, answer)
        status(http, envoy.port("shadow"), ClientTls(), [(name, value)])


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("name", HEADERS)
def test_no_value_of_a_header_beside_a_good_token_is_answered_with_an_error_of_the_server(
    envoy: Envoy, acme: Credential, bearer: Bearer, http: Client, name: str
) -> None:
    for value in VALUES:
        token = bearer("acme", acme)
        for headers in ([token, (name, value)], [(name, value), token]):
            answer = status(http, envoy.port("main"), ClientTls(acme), headers)
            # Without `x-forwarded-proto` Envoy finds no route, with or without the filter.
            assert answer in (0, 200, 400, 401, 403) or (name, value, answer) == ("x-forwarded-proto", "", 404)


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("name", DUPLICATED)
def test_duplicates_in_either_order_never_give_rights(
    envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream, http: Client, name: str
) -> None:
    good = {"x-client-id": "acme", "x-profile-id": "partner", "authorization": bearer("acme", acme)[1]}.get(name, "a")
    mark = upstream.mark()
    for values in ((good, "spoofed"), ("spoofed", good), (good, good), ("spoofed", "spoofed")):
        lines = [(name, value) for value in values]
        assert status(http, envoy.port("main"), ClientTls(acme), lines) in (0, 400, 401, 403)
        if name != "authorization":
            status(http, envoy.port("main"), ClientTls(acme), [bearer("acme", acme), *lines])
    for echo in upstream.since(mark):
        told = [v for n, v in echo.headers if n in ("x-client-id", "x-profile-id", "x-client-principal", "client-cert")]
        assert told == ["acme", "partner"]


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("size", [8_000, 50_000])
def test_large_headers_are_survived(envoy: Envoy, acme: Credential, http: Client, size: int) -> None:
    for name in ("x-client-id", "authorization", "x-forwarded-client-cert", "client-cert"):
        for value in ("a" * size, "\xa1" * size, ";," * (size // 2)):
            answer = status(http, envoy.port("main"), ClientTls(acme), [(name, value)])
            assert answer in (0, 400, 401, 403, 431), (name, value[0], answer)


@pytest.mark.usefixtures("alive")
def test_very_many_headers_are_survived(envoy: Envoy, acme: Credential, bearer: Bearer, http: Client) -> None:
    for name in ("x-client-id", "x-any", "client-cert", "cookie"):
        lines = [(name, "a")] * 95
        assert status(http, envoy.port("main"), ClientTls(acme), lines) in (0, 400, 401, 403, 431)
        assert status(http, envoy.port("main"), ClientTls(acme), [bearer("acme", acme), *lines]) in (0, 200, 400, 431)


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "PATCH", "DELETE", "PRI", "get", "FOO", "A" * 5_000])
def test_no_method_gives_rights(envoy: Envoy, acme: Credential, http: Client, method: str) -> None:
    # What bypasses GET bypasses HEAD.
    for path in ("/open", "/open/denied", *(["/health"] if method != "HEAD" else [])):
        for body in (b"", b"x" * 70_000):
            for tls in (ClientTls(), ClientTls(acme)):
                assert status(http, envoy.port("main"), tls, [], method, path, body) in (0, 400, 401, 403, 431)


MESSAGES = [
    b"\x00" * 100,
    b"GET /open HTTP/1.1\r\n\r\n",
    b"GET /open HTTP/1.0\r\nhost: a\r\n\r\n",
    b"GET /open HTTP/9.9\r\nhost: a\r\n\r\n",
    b"GET  /open HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /open\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\nx-client-id : acme\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\n x-client-id: acme\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\nx-client-id: a\r\n cme\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\nx-client-id: a\rcme\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\nx-client-id: a\ncme\r\n\r\n",
    b"GET /open HTTP/1.1\nhost: a\n\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\n: empty\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\n\xa1: x\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET /open HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    b"POST /open HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /open HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-client-id: acme\r\n\r\n",
    b"POST /open HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
    b"GET http://a/open HTTP/1.1\r\nhost: b\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


# Ends the connection where the message before it has not.
LAST = b"GET /last HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@pytest.mark.usefixtures("alive")
@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
def test_no_malformed_message_gives_rights(
    envoy: Envoy, acme: Credential, upstream: Upstream, message: bytes
) -> None:
    mark = upstream.mark()
    for tls in (ClientTls(), ClientTls(acme)):
        try:
            received = exchange(envoy.port("main"), tls, message + LAST)
        except OSError:
            continue
        assert b"HTTP/1.1 200" not in received
    assert upstream.since(mark) == []


@pytest.mark.usefixtures("alive")
def test_trailers_are_no_headers(envoy: Envoy, acme: Credential, bearer: Bearer, upstream: Upstream) -> None:
    name, value = bearer("acme", acme)
    head = f"POST /open HTTP/1.1\r\nhost: {AUTHORITY}\r\ntransfer-encoding: chunked\r\n"
    trailers = f"0\r\n{name}: {value}\r\nx-client-id: acme\r\n\r\n"
    mark = upstream.mark()
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        client.send(f"{head}\r\n{trailers}".encode())
        verdicts.refused(client.response(), "token_missing")
    assert upstream.since(mark) == []


@pytest.mark.usefixtures("alive")
def test_random_requests_get_no_rights(envoy: Envoy, acme: Credential, upstream: Upstream, http: Client) -> None:
    chance = random.Random(20_26)
    mark = upstream.mark()
    for _ in range(250):
        headers = [(chance.choice(HEADERS[:-2]), random_value(chance)) for _ in range(chance.randrange(6))]
        method = chance.choice(("GET", "POST", "PUT", "DELETE"))
        path = chance.choice(("/open", "/", "/open/denied", "/health/..", "/" + random_value(chance)))
        tls = ClientTls(acme if chance.randrange(2) else None)
        body = bytes(chance.randrange(256) for _ in range(chance.choice((0, 0, 10, 1_000))))
        answer = status(http, envoy.port("main"), tls, headers, method, path, body)
        assert answer in (0, 400, 401, 403), (method, path, headers, answer)
    assert upstream.since(mark) == []


@pytest.mark.usefixtures("alive")
def test_random_lists_of_header_fields_get_no_rights(
    envoy: Envoy, acme: Credential, upstream: Upstream
) -> None:
    chance = random.Random(20_27)
    pseudo = [(":method", "GET"), (":scheme", "https"), (":authority", AUTHORITY), (":path", "/open")]
    mark = upstream.mark()
    for _ in range(150):
        fields = [field for field in pseudo if chance.random() < 0.95]
        fields += [(chance.choice((*HEADERS, ":path", ":method", ":protocol", ":status", "host", "X-Upper", "a b", "")),
                    random_value(chance)) for _ in range(chance.randrange(4))]
        if chance.random() < 0.2:
            chance.shuffle(fields)
        try:
            with Http2(envoy.port("main"), ClientTls(acme)) as client:
                response = client.response(client.open(fields, b"body" if chance.random() < 0.3 else b""))
        except (ConnectionEnded, OSError):
            continue
        assert response.header("x-upstream") is None, fields
    assert upstream.since(mark) == []


def random_value(chance: random.Random) -> str:
    """Bytes that a header value may hold, now few, now many, now almost a good value."""
    seed = chance.choice(("", "acme", "partner", "Bearer ", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AA", ":MIIB:", "/open",
                          "Hash=00;URI=spiffe://a/b", "websocket", "application/grpc", "..%2f", "127.0.0.1", "a;b=c"))
    allowed = [*range(0x20, 0x7F), *range(0x80, 0x100), 0x09]
    noise = "".join(chr(chance.choice(allowed)) for _ in range(chance.choice((0, 1, 3, 30))))
    return (seed + noise if chance.randrange(2) else noise + seed).strip()
