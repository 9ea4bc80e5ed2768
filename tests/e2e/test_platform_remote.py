"""What a listener answers whose module is loaded remotely, before and after the module is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

import pytest

from conftest import StartEnvoy
from harness import artifacts, filters, probe
from harness.envoy import Envoy, http1_cluster
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority
from harness.tls import ClientTls

OLD = 299
"""What the listener answers that is to be replaced."""


@pytest.fixture(scope="module")
def tls(issuer: Authority) -> ClientTls:
    return ClientTls(issuer.issue())


class ModuleServer:
    """Serves a module over HTTP once it is told to, for a listener that loads it remotely."""

    def __init__(self) -> None:
        self._content: bytes | None = None
        self._told = Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._told.wait()
                content = outer._content or b""
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port

    def __enter__(self) -> ModuleServer:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._told.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, content: bytes) -> None:
        """Answers what has been asked and what will be."""
        self._content = content
        self._told.set()


@pytest.fixture
def modules() -> Iterator[ModuleServer]:
    with ModuleServer() as server:
        yield server


def _remote() -> Config:
    """The probe, loaded over HTTP and pinned to its content."""
    filter_config = filters.wasm(artifacts.probe(), probe.script(("header", ":path"))[1])
    filter_config["typed_config"]["config"]["vm_config"]["code"] = {"remote": {
        "http_uri": {"uri": "http://modules/probe.wasm", "cluster": "modules", "timeout": "60s"},
        "sha256": hashlib.sha256(artifacts.probe().read_bytes()).hexdigest(),
        "retry_policy": {"num_retries": 0},
    }}
    return filter_config


def _old_and_new(start_envoy: StartEnvoy, binary: Path, modules: ModuleServer) -> Envoy:
    """An Envoy whose listener is being replaced by one that loads its module remotely."""
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": OLD}}
    routes = {"virtual_hosts": [{"name": "old", "domains": ["*"], "routes": [answer]}]}
    old = Listener("a", module=None, guard=False, manager={"route_config": routes})
    cluster = http1_cluster(modules.port, "modules")
    envoy = start_envoy(old, binary=binary, dynamic=True, clusters=(cluster,))
    before = envoy.update_count(accepted=True)
    envoy.replace_listeners(Listener("a", module=None, guard=False, before=[_remote()]))
    envoy.wait_for_listener_update(accepted=True, before=before)
    return envoy


def test_while_a_remote_module_is_fetched_the_old_listener_serves_and_nothing_passes_without_the_filter(
    start_envoy: StartEnvoy, tls: ClientTls, modules: ModuleServer
) -> None:
    # Envoy 1.37.0 itself ends with a segmentation fault when the module has come, on some processors.
    envoy = _old_and_new(start_envoy, artifacts.envoy(), modules)
    assert envoy.admin.stat("listener_manager.total_listeners_warming") == 1
    assert [_status(envoy, tls) for _ in range(3)] == [OLD] * 3
    modules.serve(artifacts.probe().read_bytes())
    envoy.wait("the new listener", lambda: _status(envoy, tls) != OLD)
    with Http1(envoy.port("a"), tls) as client:
        assert client.request("GET", "/").header("x-upstream") == "probe"


def test_a_remote_module_that_cannot_be_fetched_replaces_the_old_listener_by_one_that_answers_503(
    start_envoy: StartEnvoy, every_envoy: Path, tls: ClientTls, modules: ModuleServer
) -> None:
    modules.serve(b"not the module")
    envoy = _old_and_new(start_envoy, every_envoy, modules)
    envoy.wait("the new listener", lambda: _status(envoy, tls) != OLD)
    assert _status(envoy, tls) == 503


def _status(envoy: Envoy, tls: ClientTls) -> int:
    with Http1(envoy.port("a"), tls) as client:
        return client.request("GET").status
