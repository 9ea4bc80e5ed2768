"""What Istio makes of a port, with the plugin and with the shipped EnvoyFilters: emulated from what Istio generates."""

from __future__ import annotations

import copy
import json
import re
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import istio, record, tls
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import AUTHORITY, Http1
from harness.istio import BLACK_HOLE, ENDS_TLS, Port
from harness.listener import ECHO_CLUSTER
from harness.pki import Credential
from harness.response import ConnectionEnded, Response
from harness.shipped import ENVOY
from harness.tls import ClientTls
from harness.upstream import Upstream

POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}
GUARD_OF_TCP = "NETWORK_FILTER REPLACE"


@dataclass(frozen=True)
class Caller:
    """How somebody connects: the protocols that it offers, `None` for plaintext, and the version that it writes."""

    alpn: tuple[str, ...] | None
    version: str = "1.1"

    def ask(self, port: int, credential: Credential, path: str) -> Response | None:
        """The answer to one request on a connection of its own, or `None` where that was closed."""
        try:
            with Http1.over(self._connect(port, credential)) as client:
                client.send(f"GET {path} HTTP/{self.version}\r\nhost: {AUTHORITY}\r\n\r\n".encode())
                return client.response()
        except (OSError, ConnectionEnded):
            return None

    def _connect(self, port: int, credential: Credential) -> socket.socket:
        plain = tls.connect(port, None, "")
        return plain if self.alpn is None else self._context(credential).wrap_socket(plain)

    def hello(self, credential: Credential) -> bytes:
        """The first bytes of its TLS."""
        sent = ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            self._context(credential).wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
        return sent.read()

    def _context(self, credential: Credential) -> ssl.SSLContext:
        context = ClientTls(credential).context("-")
        context.set_alpn_protocols(list(self.alpn or ()))
        return context


SIDECAR = Caller(("istio-http/1.1", "istio", "http/1.1"))
PLAIN = Caller(None)
CALLERS = {
    "a sidecar's HTTP": SIDECAR, "a sidecar's TCP": Caller(("istio-peer-exchange", "istio")), "istio": Caller(("istio",)),
    "istio-peer-exchange": Caller(("istio-peer-exchange",)), "no ALPN": Caller(()), "h2": Caller(("h2",)),
    "http/1.1": Caller(("http/1.1",)), "foo": Caller(("foo",)), "foo first": Caller(("foo", "istio")),
    "plaintext": PLAIN, "plaintext HTTP/1.0": Caller(None, "1.0"),
}
"""Each is a choice of the caller alone."""

PAST_THE_PLUGIN = {
    "STRICT": {"a sidecar's TCP", "istio", "istio-peer-exchange", "no ALPN", "h2", "http/1.1", "foo", "foo first"},
    "PERMISSIVE": {"a sidecar's TCP", "istio", "istio-peer-exchange", "foo first", "plaintext HTTP/1.0"},
}
"""Callers that reach a TCP chain in which the sidecar ends TLS, or there is none."""

PASSED_THROUGH = {"no ALPN", "h2", "http/1.1", "foo"}
"""Callers whose TLS goes to the workload as it is, where mutual TLS is not required."""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Config]]:
    return istio.resources(tmp_path_factory.mktemp("istio"))


@pytest.fixture(scope="module")
def patches(shipped: dict[str, list[Config]]) -> list[Config]:
    return istio.patches(*shipped["envoyfilter.yaml"], *shipped["access-log.yaml"])


def permissive(patches: list[Config]) -> list[Config]:
    """The patches with what envoyfilter.yaml says to add where TLS is not required."""
    text = (ENVOY / "istio" / "envoyfilter.yaml").read_text()
    assert f"add `applicationProtocols: {ENDS_TLS}`" in text
    changed = copy.deepcopy(patches)
    for patch in changed:
        if patch["applyTo"] == "FILTER_CHAIN":
            patch["match"]["listener"]["filterChain"]["applicationProtocols"] = ENDS_TLS
    return changed


def form(patch: Config) -> str:
    return f"{patch['applyTo']} {patch['patch']['operation']}"


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, patches: list[Config]) -> Envoy:
    """Every port with all patches, and the undeclared ones without the guard of TCP chains, as it was."""
    ports = []
    for (mode, protocol) in istio.CHAINS:
        applied = patches if mode == "STRICT" else permissive(patches)
        ports.append(Port(f"{mode}-{protocol}", POLICY, mode=mode, protocol=protocol, patches=applied))
        if protocol == "undeclared":
            without = [patch for patch in applied if form(patch) != GUARD_OF_TCP]
            assert len(without) == len(applied) - 1
            ports.append(replace(ports[-1], name=f"{mode}-unguarded", patches=without))
    return start_envoy(*ports, clusters=[BLACK_HOLE])


@pytest.mark.parametrize(("mode", "who"), [
    (mode, who) for mode in PAST_THE_PLUGIN for who in CALLERS if (mode, who in PASSED_THROUGH) != ("PERMISSIVE", True)
])
def test_on_an_undeclared_port_the_caller_chooses_a_chain_without_the_plugin(
    envoy: Envoy, acme: Credential, upstream: Upstream, mode: str, who: str
) -> None:
    mark = upstream.mark()
    answer = CALLERS[who].ask(envoy.port(f"{mode}-unguarded"), acme, "/secret")
    passed = who in PAST_THE_PLUGIN[mode]
    assert [request.path for request in upstream.since(mark)] == (["/secret"] if passed else [])
    assert (answer is not None and answer.status == 200) == passed


@pytest.mark.parametrize("who", sorted(PASSED_THROUGH))
def test_where_mutual_tls_is_not_required_other_tls_reaches_the_workload(envoy: Envoy, acme: Credential, who: str) -> None:
    counter = f"cluster.{ECHO_CLUSTER}.upstream_cx_total"
    before = envoy.admin.stat(counter)
    with tls.connect(envoy.port("PERMISSIVE-unguarded"), None, "") as connection:
        connection.sendall(CALLERS[who].hello(acme))
        envoy.wait("a connection to the workload", lambda: envoy.admin.stat(counter) > before)


@pytest.mark.parametrize("port", [f"{mode}-{protocol}" for mode, protocol in istio.CHAINS])
@pytest.mark.parametrize("who", CALLERS)
def test_with_the_shipped_patches_no_caller_reaches_the_workload_past_the_filter(
    envoy: Envoy, acme: Credential, upstream: Upstream, port: str, who: str
) -> None:
    mark, connections = upstream.mark(), envoy.admin.stat(f"cluster.{ECHO_CLUSTER}.upstream_cx_total")
    answer = CALLERS[who].ask(envoy.port(port), acme, "/secret")
    assert answer is None or answer.status in (401, 403, 426)
    assert upstream.since(mark) == []
    assert envoy.admin.stat(f"cluster.{ECHO_CLUSTER}.upstream_cx_total") == connections, "not even a connection"


@pytest.mark.parametrize(("port", "callers"), [
    ("STRICT-undeclared", {"a sidecar's HTTP"}),
    # A caller that agrees on h2 and writes HTTP/1.1 is no HTTP client.
    ("STRICT-http", CALLERS.keys() - {"h2", "plaintext", "plaintext HTTP/1.0"}),
    ("STRICT-tcp", set()),
    ("PERMISSIVE-undeclared", {"a sidecar's HTTP"}),
    ("PERMISSIVE-tcp", set()),
    ("PERMISSIVE-http", {"a sidecar's HTTP", "a sidecar's TCP", "istio", "istio-peer-exchange", "foo first"}),
])
def test_a_declared_protocol_gives_every_caller_a_chain_with_the_filter(
    envoy: Envoy, acme: Credential, port: str, callers: set[str]
) -> None:
    allowed = set()
    for who, caller in CALLERS.items():
        answer = caller.ask(envoy.port(port), acme, "/open")
        if answer is not None and answer.status == 200:
            assert answer.echo().values("x-client-id") == ["acme"], f"{who} reached the workload without the filter"
            allowed.add(who)
    assert allowed == callers


def test_a_tls_patch_on_a_chain_without_tls_makes_envoy_reject_the_listener(
    start_envoy: StartEnvoy, patches: list[Config]
) -> None:
    port = Port("strict", POLICY, mode="PERMISSIVE", protocol="http", patches=permissive(patches))
    envoy = start_envoy(port, clusters=[BLACK_HOLE], dynamic=True)
    rejected = envoy.update_count(accepted=False)
    envoy.replace_listeners(replace(port, protocol="undeclared", patches=patches))
    envoy.wait_for_listener_update(accepted=False, before=rejected)
    assert "No TLS certificates found for server context" in envoy.log()
    accepted = envoy.update_count(accepted=True)
    envoy.replace_listeners(replace(port, protocol="undeclared"))
    envoy.wait_for_listener_update(accepted=True, before=accepted)


def test_a_network_filter_that_denies_does_so_only_after_the_workload_was_connected(
    start_envoy: StartEnvoy, patches: list[Config], acme: Credential, upstream: Upstream
) -> None:
    (guard,) = [copy.deepcopy(patch) for patch in patches if form(patch) == GUARD_OF_TCP]
    kind = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
    guard["patch"] = {"operation": "INSERT_BEFORE", "value": {
        "name": "envoy.filters.network.rbac", "typed_config": {"@type": kind, "stat_prefix": "guard_", "rules": {"action": "ALLOW"}},
    }}
    envoy, mark = start_envoy(Port("rbac", POLICY, patches=[guard])), upstream.mark()
    assert CALLERS["h2"].ask(envoy.port("rbac"), acme, "/secret") is None
    assert upstream.since(mark) == [] and envoy.admin.stat(f"cluster.{ECHO_CLUSTER}.upstream_cx_total") == 1


def test_decisions_and_closed_tcp_connections_are_in_the_shipped_access_log(
    envoy: Envoy, acme: Credential, tmp_path: Path
) -> None:
    def lines(text: str) -> list[Any]:
        return [json.loads(line) for line in envoy.output().splitlines() if line.startswith("{") and text in line]

    before = len(lines("closed a TCP connection"))
    answer = SIDECAR.ask(envoy.port("STRICT-undeclared"), acme, "/recorded")
    assert answer is not None and answer.status == 403
    assert CALLERS["h2"].ask(envoy.port("STRICT-undeclared"), acme, "/recorded") is None
    envoy.wait("the record", lambda: bool(lines("/recorded")))
    (line,) = lines("/recorded")
    assert json.loads(line["decision"])["reason"] == "path_denied" and line["status"] == 403
    envoy.wait("the closed connection", lambda: len(lines("closed a TCP connection")) > before)
    assert lines("closed a TCP connection")[-1]["decision"] == "-"
    (file := tmp_path / "kubectl-logs").write_text(envoy.output())
    assert re.search(r"403 +acme +path_denied +/recorded", record.report("refused", file))


def test_all_ways_to_the_record_write_the_same_line(shipped: dict[str, list[Config]]) -> None:
    (values,) = shipped["mesh-config.yaml"]
    (provider,) = values["meshConfig"]["extensionProviders"]
    (telemetry,) = shipped["telemetry.yaml"]
    (logging,) = telemetry["spec"]["accessLogging"]
    assert logging["providers"] == [{"name": provider["name"]}] and logging["match"] == {"mode": "SERVER"}
    (patch,) = istio.patches(*shipped["access-log.yaml"])
    (log,) = patch["patch"]["value"]["typed_config"]["access_log"]
    written = log["typed_config"]["log_format"]["json_format"]
    assert provider["envoyFileAccessLog"]["logFormat"]["labels"] == written
    # That of requests; the listener has one of its own for refused handshakes.
    manager = (ENVOY / "envoy.yaml").read_text().partition("stat_prefix: mtls\n")[2]
    text = manager.partition("json_format:\n")[2].partition("\n\n")[0]
    assert dict(re.findall(r'(\w+): "(.*)"', text)) == written
    assert written["decision"] == "%FILTER_STATE(wasm.mtls_authz.decision:PLAIN)%"


def test_the_shipped_resources_are_for_one_workload_and_its_protocol_is_declared(shipped: dict[str, list[Config]]) -> None:
    (service,) = shipped["service.yaml"]
    (port,) = service["spec"]["ports"]
    assert port["appProtocol"] == "http" and port["name"].startswith("http-")
    (policy,) = shipped["network-policy.yaml"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["targetPort"]}]
    labels = service["spec"]["selector"]
    for name in ("envoyfilter.yaml", "access-log.yaml"):
        assert shipped[name][0]["spec"]["workloadSelector"]["labels"] == labels
    for name in ("wasmplugin.yaml", "telemetry.yaml", "peer-authentication.yaml", "request-authentication.yaml"):
        assert shipped[name][0]["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    for documents in shipped.values():
        for each in documents:
            assert each.get("metadata", {}).get("namespace", "payments") in ("payments", "istio-ingress")
    (server,) = shipped["gateway.yaml"][0]["spec"]["servers"]
    assert (server["port"]["protocol"], server["tls"]["mode"]) == ("HTTPS", "MUTUAL")


def test_no_tcp_proxy_of_a_patched_port_knows_the_workload(patches: list[Config], tmp_path: Path, acme: Credential) -> None:
    for (mode, protocol) in istio.CHAINS:
        port = Port(f"{mode}-{protocol}", POLICY, mode=mode, protocol=protocol, patches=patches)
        config = port.config(acme, tmp_path, tmp_path)
        last = [chain["filters"][-1] for chain in config["filter_chains"]]
        clusters = {each["typed_config"]["cluster"] for each in last if each["name"] == istio.TCP_PROXY}
        assert clusters <= {"BlackHoleCluster"}
        for manager in (each["typed_config"] for each in last if each["name"] == istio.MANAGER):
            names = [each["name"] for each in manager["http_filters"]]
            assert names[0] == "mtls_authz.direct_remote_address" and names[-2:] == ["mtls_authz.guard", "envoy.filters.http.router"]
