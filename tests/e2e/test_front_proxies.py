"""Real proxies in front, as `envoy/front-proxies/` configures them: who is the caller, and who cannot become it."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import front, pki, probe, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.front import HOST, KINDS, Kind, Proxy
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import ConnectionEnded, Echo, Header, Response
from harness.tls import ClientTls, connect
from harness.tokens import Signer
from harness.upstream import Upstream

TRUST_DOMAIN = "prod.example"
EDGE = f"spiffe://{TRUST_DOMAIN}/ns/edge/sa/proxy"
PROXY_ADDRESS = "127.0.0.1"
ELSEWHERE = "127.0.0.9"
"""The address of who goes past the proxy."""

# Each way to trust a proxy, with each way to take the certificate of everybody else.
WAYS: dict[str, Config] = {
    "address": {"source": "forwarded", "trusted_proxies": {"cidrs": [f"{PROXY_ADDRESS}/32"]}},
    "identity": {"source": "connection_or_forwarded", "trusted_proxies": {"identities": [EDGE]}},
}
every_way = pytest.mark.parametrize("way", WAYS)


def policy(way: str, **forwarded: object) -> Config:
    settings = WAYS[way]
    return {
        "mode": "bearer_plus_mtls_required",
        "certificate": {
            "source": settings["source"],
            "forwarded": {**forwarded, "trusted_proxies": settings["trusted_proxies"]},
        },
        "identity": {"trust_domains": [TRUST_DOMAIN]},
        "clients": {
            "acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
            "globex": {"identities": ["cn:globex"], "profiles": ["partner"]},
            # The proxy is a client, too: nothing may take it for the caller.
            "edge": {"identities": [EDGE], "profiles": ["partner"]},
        },
        "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
    }


def listener(name: str, signer: Signer, policy: Config, **options: object) -> Listener:
    """With what the filter must cope with: any caller's header gets this far, and X-Forwarded-For is believed."""
    settings = {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY", "use_remote_address": False, **options}
    return Listener(name, policy, jwt=JwtAuthn((signer,)), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    """The Envoy with the filter."""
    return start_envoy(*(
        listener(f"{kind.name}-{way}", signer, policy(way, **kind.forwarded)) for kind in KINDS.values() for way in WAYS
    ))


@pytest.fixture(scope="module")
def bare(start_envoy: StartEnvoy) -> Envoy:
    """An Envoy that tells what reaches it."""
    return start_envoy(probe.listener("probe", forward_client_cert_details="ALWAYS_FORWARD_ONLY"))


@pytest.fixture(scope="module")
def globex(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "globex")])


@pytest.fixture(scope="module")
def edge(issuer: Authority) -> Credential:
    """The proxies' own certificate, with a chain."""
    return issuer.issue([("CN", "edge")], sans=[pki.uri(EDGE)])


@pytest.fixture(scope="module")
def certificates(
    tmp_path_factory: pytest.TempPathFactory, root: Authority, server: Credential, edge: Credential
) -> Path:
    return front.write_certificates(tmp_path_factory.mktemp("front"), root, server, edge)


@dataclass(frozen=True)
class Front:
    """A kind of proxy in front of each listener that is meant for it, and one in front of the probe."""

    kind: Kind
    envoy: Envoy
    ports: dict[str, int]

    def past(self, way: str) -> int:
        """The port of Envoy itself."""
        return self.envoy.port(f"{self.kind.name}-{way}")


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, envoy: Envoy, bare: Envoy,
    certificates: Path,
) -> Iterator[Front]:
    kind = KINDS[request.param]
    targets = {way: envoy.port(f"{kind.name}-{way}") for way in WAYS} | {"probe": bare.port("probe")}
    with ExitStack() as running:
        ports = {}
        for name, target in targets.items():
            directory = tmp_path_factory.mktemp(f"{kind.name}-{name}")
            ports[name] = running.enter_context(Proxy(kind, directory, certificates, target)).port
        # The same proxy where its configuration asks for a certificate and does not require one.
        directory = tmp_path_factory.mktemp(f"{kind.name}-optional")
        optional = Proxy(kind, directory, certificates, targets["address"], dict([kind.optional]))
        yield Front(kind, envoy, {**ports, "optional": running.enter_context(optional).port})


@every_way
def test_a_client_behind_the_proxy_is_recognised_by_its_own_certificate(
    proxy: Front, way: str, acme: Credential, bearer: Bearer, http_over_tcp: Client
) -> None:
    with http_over_tcp(proxy.ports[way], ClientTls(acme)) as client:
        for _ in range(2):
            answer = client.request("GET", "/a//b?c=%2F", [bearer("acme", acme)], host=HOST)
            assert_is(verdicts.passed(answer), "acme", acme)


@every_way
def test_clients_that_take_turns_on_the_proxys_connections_stay_apart(
    proxy: Front, way: str, acme: Credential, globex: Credential, bearer: Bearer
) -> None:
    with Http1(proxy.ports[way], ClientTls(acme)) as first, Http1(proxy.ports[way], ClientTls(globex)) as second:
        for _ in range(5):
            for client, name, leaf in [(first, "acme", acme), (second, "globex", globex)]:
                assert_is(verdicts.passed(client.request("GET", "/", [bearer(name, leaf)], host=HOST)), name, leaf)


@every_way
def test_a_token_of_another_client_is_refused(
    proxy: Front, way: str, acme: Credential, globex: Credential, bearer: Bearer
) -> None:
    with Http1(proxy.ports[way], ClientTls(globex)) as client:
        for bound in [bearer("acme", acme), bearer("globex", acme)]:
            verdicts.refused(client.request("GET", "/", [bound], host=HOST), "sender_binding_mismatch")


FORGED = ["exact", "upper", "underscores", "first", "last", "twice", "both"]


def forged(spelling: str, header: str, value: str) -> list[Header]:
    first, last = header.replace("-", "_", 1), "_".join(header.rsplit("-", 1))
    names = {
        "exact": [header], "upper": [header.upper()], "underscores": [header.replace("-", "_")], "first": [first],
        "last": [last], "twice": [header, header], "both": [header.replace("-", "_"), header],
    }
    return [(name, value) for name in names[spelling]]


@every_way
@pytest.mark.parametrize("spelling", FORGED)
def test_a_client_that_sends_its_own_copy_of_the_header_stays_who_it_is(
    proxy: Front, way: str, acme: Credential, globex: Credential, bearer: Bearer, spelling: str
) -> None:
    sent = forged(spelling, proxy.kind.header, proxy.kind.write(acme))
    with Http1(proxy.ports[way], ClientTls(globex)) as client:
        answer = client.request("GET", "/", [*sent, bearer("acme", acme)], host=HOST)
        verdicts.refused(answer, "sender_binding_mismatch")
        answer = client.request("GET", "/", [*sent, bearer("globex", globex)], host=HOST)
        assert_is(verdicts.passed(answer), "globex", globex)


@pytest.mark.parametrize("spelling", FORGED)
def test_no_copy_of_the_clients_leaves_the_proxy(
    proxy: Front, acme: Credential, globex: Credential, spelling: str
) -> None:
    sent = forged(spelling, proxy.kind.header, proxy.kind.write(acme) + "marked")
    with Http1(proxy.ports["probe"], ClientTls(globex)) as client:
        (answer,) = probe.answers(client.request("GET", "/", [probe.script(("map",)), *sent], host=HOST))
    like = [(name, value) for name, value in answer.pairs() if name.replace("_", "-") == proxy.kind.header]
    assert [name for name, _ in like] == [proxy.kind.header]
    assert "marked" not in like[0][1]


@pytest.mark.parametrize("path", ["/a//b", "/a/./b", "/a/../b", "/a/%2E%2e/b", "/a%2Fb", "/a;v=1/b?c=%2F&d=//"])
def test_the_filter_decides_on_the_path_as_the_client_sent_it(proxy: Front, acme: Credential, path: str) -> None:
    with Http1(proxy.ports["probe"], ClientTls(acme)) as client:
        (answer,) = probe.answers(client.request("GET", path, [probe.script(("map",))], host=HOST))
    assert dict(answer.pairs())[":path"] == path


@every_way
@pytest.mark.parametrize("spelling", ["exact", "underscores", "twice"])
def test_who_goes_past_the_proxy_gets_nothing_for_a_forged_header(
    proxy: Front, way: str, acme: Credential, globex: Credential, bearer: Bearer, upstream: Upstream, spelling: str
) -> None:
    headers = [*forged(spelling, proxy.kind.header, proxy.kind.write(acme)), bearer("acme", acme)]
    with_own = {"address": "certificate_missing", "identity": "sender_binding_mismatch"}[way]
    mark = upstream.mark()
    for tls, reason in [(ClientTls(), "certificate_missing"), (ClientTls(globex), with_own)]:
        with Http1(proxy.past(way), tls, source=ELSEWHERE) as client:
            # Envoy's own address of the caller follows the last line.
            for more in ([], [("x-forwarded-for", PROXY_ADDRESS)], [("x-forwarded-for", f"10.0.0.1, {PROXY_ADDRESS}")]):
                verdicts.refused(client.request("GET", "/", [*headers, *more]), reason)
    assert upstream.since(mark) == []


def test_the_same_header_counts_where_the_proxy_itself_sends_it(
    proxy: Front, acme: Credential, edge: Credential, bearer: Bearer
) -> None:
    request = [*forged("exact", proxy.kind.header, proxy.kind.write(acme)), bearer("acme", acme)]
    for way, tls, source in [("address", ClientTls(), PROXY_ADDRESS), ("identity", ClientTls(edge), ELSEWHERE)]:
        with Http1(proxy.past(way), tls, source=source) as client:
            assert_is(verdicts.passed(client.request("GET", "/", request)), "acme", acme)


@every_way
def test_a_client_without_a_certificate_that_the_proxy_can_verify_is_refused(
    proxy: Front, way: str, acme: Credential, bearer: Bearer, upstream: Upstream, tmp_path: Path
) -> None:
    stranger = pki.self_signed(tmp_path, [("CN", "acme")])
    mark = upstream.mark()
    for tls, token in [(ClientTls(), acme), (ClientTls(stranger), stranger)]:
        headers = [*forged("exact", proxy.kind.header, proxy.kind.write(acme)), bearer("acme", token)]
        assert_refused_by_the_proxy(proxy.ports[way], tls, headers)
    assert upstream.since(mark) == []


@pytest.mark.parametrize("spelling", FORGED)
def test_where_a_certificate_is_optional_whoever_has_none_is_nobody(
    proxy: Front, acme: Credential, bearer: Bearer, tmp_path: Path, spelling: str
) -> None:
    headers = [*forged(spelling, proxy.kind.header, proxy.kind.write(acme)), bearer("acme", acme)]
    port = proxy.ports["optional"]
    with Http1(port, ClientTls(acme)) as client:
        assert_is(verdicts.passed(client.request("GET", "/", headers, host=HOST)), "acme", acme)
    with Http1(port, ClientTls()) as client:
        verdicts.refused(client.request("GET", "/", headers, host=HOST), "certificate_missing")
    assert_refused_by_the_proxy(port, ClientTls(pki.self_signed(tmp_path, [("CN", "acme")])), headers)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_only_where_the_certificate_is_verified_again(
    proxy: Front, acme: Credential, bearer: Bearer, version: ssl.TLSVersion
) -> None:
    context = ClientTls(acme, version).context("http/1.1")
    session = None
    for resumed in (False, proxy.kind.resumes):
        with reconnect(proxy.ports["address"], context, session) as connection:
            answer = Http1.over(connection).request("GET", "/", [bearer("acme", acme)], host=HOST)
            assert_is(verdicts.passed(answer), "acme", acme)
            assert bool(connection.session_reused) == resumed
            session = connection.session


@pytest.mark.parametrize("proxy", [kind.name for kind in KINDS.values() if kind.resumes], indirect=True)
def test_a_session_is_not_resumed_for_a_certificate_that_has_expired_since(
    proxy: Front, issuer: Authority, bearer: Bearer
) -> None:
    expiry = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=6)
    leaf = issuer.issue([("CN", "acme")], not_after=expiry)
    context = ClientTls(leaf).context("http/1.1")
    headers = [bearer("acme", leaf)]
    with reconnect(proxy.ports["address"], context) as connection:
        assert_is(verdicts.passed(Http1.over(connection).request("GET", "/", headers, host=HOST)), "acme", leaf)
        session = connection.session
    time.sleep(max(0, (expiry - datetime.now(timezone.utc)).total_seconds()) + 1.1)
    # The filter would answer; the proxy ends the handshake.
    with pytest.raises((ConnectionEnded, OSError)), reconnect(proxy.ports["address"], context, session) as connection:
        Http1.over(connection).request("GET", "/", headers, host=HOST)


@dataclass(frozen=True)
class Hops:
    """Envoys in a row, each of the shipped configuration but for one word; each port is where a client connects."""

    envoy: Envoy
    appended: int
    """To an Envoy that sanitizes, then to the filter's, which appends an element about that one: `hop: 2`."""
    two: int
    """To one that sanitizes, one that appends, then to the filter's: `hop: 2`."""
    inner: int
    """To the second of these two."""
    appending: int
    """To one that appends to what the client sent, then to the filter's: `hop: 1`."""


APPEND = {"forward_client_cert_details: SANITIZE_SET": "forward_client_cert_details: APPEND_FORWARD"}


@pytest.fixture(scope="module", params=["TEXT", "JSON"])
def hops(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, start_envoy: StartEnvoy, signer: Signer,
    certificates: Path,
) -> Iterator[Hops]:
    form = request.param
    details = {"cert": True, "uri": True, "dns": True, "format": form}
    envoy = start_envoy(
        listener("appended", signer, policy("identity", format="xfcc", hop=2),
                 forward_client_cert_details="APPEND_FORWARD", set_current_client_cert_details=details),
        listener("two", signer, policy("identity", format="xfcc", hop=2), forward_client_cert_details="FORWARD_ONLY"),
        listener("one", signer, policy("identity", format="xfcc"), forward_client_cert_details="FORWARD_ONLY"),
    )
    with ExitStack() as running:
        def start(target: int, change: dict[str, str]) -> int:
            directory = tmp_path_factory.mktemp("hop")
            change = {**change, "{ cert: true,": f"{{ format: {form}, cert: true,"}
            return running.enter_context(Proxy(KINDS["envoy"], directory, certificates, target, change)).port

        inner = start(envoy.port("two"), APPEND)
        yield Hops(envoy, appended=start(envoy.port("appended"), {}), two=start(inner, {}), inner=inner,
                   appending=start(envoy.port("one"), APPEND))


@pytest.mark.parametrize("way", ["appended", "two", "appending"])
def test_the_client_in_front_of_several_envoys_is_recognised_whatever_it_sends(
    hops: Hops, way: str, acme: Credential, globex: Credential, bearer: Bearer
) -> None:
    element = front.xfcc(acme)
    for sent in ([], [element], [element, element], [f"{element},{front.xfcc(globex)},{element}"]):
        headers = [("x-forwarded-client-cert", value) for value in sent]
        with Http1(getattr(hops, way), ClientTls(globex)) as client:
            answer = client.request("GET", "/", [*headers, bearer("globex", globex)], host=HOST)
            assert_is(verdicts.passed(answer), "globex", globex)
            answer = client.request("GET", "/", [*headers, bearer("acme", acme)], host=HOST)
            verdicts.refused(answer, "sender_binding_mismatch")


def test_what_is_no_element_is_refused_where_an_envoy_appends_to_it_and_harmless_where_it_is_sanitized(
    hops: Hops, globex: Credential, bearer: Bearer
) -> None:
    for sent in ["Hash=00", '[{"hash":"00"}]', '[1]', 'Cert="', "["]:
        headers = [("x-forwarded-client-cert", sent), bearer("globex", globex)]
        with Http1(hops.appending, ClientTls(globex)) as client:
            verdicts.refused(client.request("GET", "/", headers, host=HOST), "certificate_malformed")
        for port in (hops.appended, hops.two):
            with Http1(port, ClientTls(globex)) as client:
                assert_is(verdicts.passed(client.request("GET", "/", headers, host=HOST)), "globex", globex)


def test_who_reaches_an_inner_envoy_directly_cannot_send_an_element_of_somebody_else_along(
    hops: Hops, acme: Credential, globex: Credential, bearer: Bearer
) -> None:
    headers = [("x-forwarded-client-cert", front.xfcc(acme)), bearer("acme", acme)]
    with Http1(hops.inner, ClientTls(globex)) as client:
        verdicts.refused(client.request("GET", "/", headers, host=HOST), "certificate_untrusted")
        # One element is too few for `hop: 2`.
        verdicts.refused(client.request("GET", "/", headers[1:], host=HOST), "certificate_malformed")
    for name in ("appended", "two", "one"):
        for tls, reason in [(ClientTls(), "certificate_missing"), (ClientTls(globex), "sender_binding_mismatch")]:
            with Http1(hops.envoy.port(name), tls) as client:
                verdicts.refused(client.request("GET", "/", headers), reason)



def assert_is(received: Echo, name: str, leaf: Credential) -> None:
    """What the upstream received is of this client and its certificate, and of no other."""
    assert received.values("x-client-id") == [name]
    assert received.values("x-client-cert-thumbprint") == [leaf.thumbprint]
    forwarded = {kind.header for kind in KINDS.values()}
    assert not [name for name, _ in received.headers if name.replace("_", "-") in forwarded]


def reconnect(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """A connection that offers to resume a session."""
    return context.wrap_socket(connect(port, None, "http/1.1"), server_hostname=HOST, session=session)


def assert_refused_by_the_proxy(port: int, tls: ClientTls, headers: list[Header]) -> None:
    """By an alert in the handshake, which TLS 1.3 shows at the first read, or by an answer of the proxy's own."""
    try:
        with Http1(port, tls) as client:
            answer: Response = client.request("GET", "/", headers, host=HOST)
    except (ConnectionEnded, OSError):
        return
    assert answer.status == 400 and answer.header("x-upstream") is None
