"""Fixtures that all end-to-end tests share.

Certificates, upstreams and Envoys are made once for as long as they may be shared: the first
two for the whole run, an Envoy for one test module.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness import artifacts, tokens
from harness.envoy import Envoy, http1_cluster, http2_cluster
from harness.feed_server import Feed
from harness.filters import Config
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.http2 import Http2
from harness.http3 import Http3
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tokens import Signer
from harness.upstream import Upstream

StartEnvoy = Callable[..., Envoy]
ServeFeeds = Callable[..., Envoy]
Bearer = Callable[..., Header]
Streams = type[Http2] | type[Http3]
Client = type[Http1] | Streams


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what tests have measured: `record_property("measured", "a line")`."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    lines = [text for report in reports if report.when == "call" for name, text in report.user_properties if name == "measured"]
    if lines:
        terminalreporter.section("measured")
        for line in lines:
            terminalreporter.line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out HTTP/3 with an Envoy that does not ask for a client's certificate there (before 1.40)."""
    left_out = [item for item in items if _over_http3(item) and _chosen(item, "every_envoy") is artifacts.envoy_old]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _over_http3(item: pytest.Item) -> bool:
    return Http3 in (_chosen(item, "http"), _chosen(item, "streams"))


def _chosen(item: pytest.Item, fixture: str) -> object:
    return item.callspec.params.get(fixture) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The root that every listener trusts."""
    return Authority.create(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def issuer(root: Authority) -> Authority:
    """The intermediate that issues client certificates."""
    return root.intermediate()


@pytest.fixture(scope="session")
def server(root: Authority) -> Credential:
    """The certificate of every listener."""
    return root.issue_server()


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The token issuer's key."""
    return Signer()


@pytest.fixture(scope="session")
def bearer(signer: Signer) -> Bearer:
    """Makes the header of a good token: `bearer("acme", bound_to, scope="read")`, as `tokens.claims`."""
    return lambda *args, **more: ("authorization", f"Bearer {signer.sign(tokens.claims(*args, **more))}")


@pytest.fixture(scope="session")
def acme(issuer: Authority) -> Credential:
    """The certificate of the client that most policies know as `cn:acme`."""
    return issuer.issue([("CN", "acme")])


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """The HTTP/1.1 upstream behind every listener."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="session")
def grpc_upstream() -> Iterator[GrpcUpstream]:
    """The upstream behind every listener for `application/grpc`."""
    with GrpcUpstream() as running:
        yield running


@pytest.fixture(scope="session", params=[artifacts.envoy, artifacts.envoy_old], ids=["newest", "before_1_38"])
def every_envoy(request: pytest.FixtureRequest) -> Path:
    """Each supported Envoy in turn, for tests of what differs between them."""
    find: Callable[[], Path] = request.param
    return find()


@pytest.fixture(scope="session")
def newest(every_envoy: Path) -> bool:
    """Whether `every_envoy` is the newest one, which shows a filter more than the old one does."""
    return every_envoy == artifacts.envoy()


@pytest.fixture(params=[Http1, Http2, Http3], ids=["http1", "http2", "http3"])
def http(request: pytest.FixtureRequest) -> Client:
    """Each client in turn, for what must hold over every protocol: `with http(port, tls) as client`."""
    client: Client = request.param
    return client


@pytest.fixture(params=[Http1, Http2], ids=["http1", "http2"])
def http_over_tcp(request: pytest.FixtureRequest) -> Client:
    """Each client in turn that uses TCP, for what is different over QUIC or not served there."""
    client: Client = request.param
    return client


@pytest.fixture(params=[Http2, Http3], ids=["http2", "http3"])
def streams(request: pytest.FixtureRequest) -> Streams:
    """Each client in turn that has streams, with pseudo headers of their own."""
    client: Streams = request.param
    return client


@pytest.fixture(scope="module")
def start_envoy(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    root: Authority,
    server: Credential,
    upstream: Upstream,
    grpc_upstream: GrpcUpstream,
) -> Iterator[StartEnvoy]:
    """Starts an Envoy that lives until the module's last test, `start_envoy(Listener(...), ...)`.

    Takes `binary` (the newest Envoy by default), `concurrency`, `dynamic`, `log_level`, `arguments` (of the command line),
    `environment` (beside that of the test), and `clusters` beside those of the two upstreams.
    """
    with ExitStack() as running:
        numbers = itertools.count()
        http3 = any(_over_http3(item) for item in request.session.items if item.path == request.path)

        def start(
            *listeners: Listener, binary: Path | None = None, clusters: Sequence[Config] = (), **options: Any
        ) -> Envoy:
            directory = tmp_path_factory.mktemp(f"envoy{next(numbers)}")
            envoy = Envoy(
                binary or artifacts.envoy(), directory, listeners, authority=root, server=server,
                clusters=[http1_cluster(upstream.port), http2_cluster(grpc_upstream.port), *clusters],
                **{"http3": http3, **options},
            )
            # When it has ended, every line is in its access logs.
            running.callback(envoy.check_records)
            running.enter_context(envoy)
            if all(listener.module == artifacts.module() for listener in listeners):
                running.callback(_assert_no_trap, envoy)
            return envoy

        yield start


@pytest.fixture(scope="module")
def serve_feeds(start_envoy: StartEnvoy) -> Iterator[ServeFeeds]:
    """Starts an Envoy and the servers of its feeds, `serve_feeds([feed, ...], Listener(...), ...)`, as `start_envoy` does."""
    with ExitStack() as running:

        def serve(feeds: Sequence[Feed], *listeners: Listener, **options: Any) -> Envoy:
            for feed in feeds:
                running.enter_context(feed.server)
            return start_envoy(*listeners, clusters=[feed.cluster() for feed in feeds], **options)

        yield serve


def _assert_no_trap(envoy: Envoy) -> None:
    """No request of a whole module may have taken a worker's VM down."""
    assert set(envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}
    assert "Uncaught " not in envoy.log()
