"""Filter chains as Istio generates them for a port of a workload, and what an `EnvoyFilter` changes in them.

There is no Istio in the suite. The matches of the chains are those of Istio's pilot/pkg/networking/core/filterchain_options.go, and
patches are applied as in its envoyfilter/listener_patch.go. Left out is what Istio's proxy alone knows (metadata exchange,
metrics), and the destination port, because a listener here has one port.
"""

from __future__ import annotations

import copy
import json
import subprocess
import textwrap
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import artifacts
from .admin import Admin
from .envoy import DEADLINE_SECONDS, EnvoyFailed
from .filters import Config
from .listener import Listener
from .pki import Credential
from .shipped import ENVOY

MANAGER, TCP_PROXY = "envoy.filters.network.http_connection_manager", "envoy.filters.network.tcp_proxy"
BLACK_HOLE: Config = {"name": "BlackHoleCluster", "type": "STATIC", "connect_timeout": "5s"}
"""Part of every sidecar's configuration."""
ENDS_TLS = "istio-http/1.1"
"""The ALPN of chains in which the sidecar ends TLS although it need not: what envoyfilter.yaml says to add to the match of its second patch, where TLS is not required."""

_MESH_HTTP = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
_MESH_TCP = ("istio-peer-exchange", "istio")
_PLAIN_HTTP = ("http/1.1", "h2c")


@dataclass(frozen=True)
class Chain:
    """One filter chain: `http` or `tcp`, what it matches, whether the sidecar ends TLS in it."""

    kind: str
    transport: str
    alpn: tuple[str, ...] = ()
    terminates: bool = True


CHAINS: dict[tuple[str, str], tuple[Chain, ...]] = {
    # PeerAuthentication's mode, and the protocol of the port. A port that no Service names is undeclared.
    ("STRICT", "undeclared"): (Chain("http", "tls", _MESH_HTTP), Chain("tcp", "tls")),
    ("STRICT", "http"): (Chain("http", "tls"),),
    ("STRICT", "tcp"): (Chain("tcp", "tls"),),
    ("PERMISSIVE", "undeclared"): (
        Chain("http", "tls", _MESH_HTTP), Chain("http", "raw_buffer", _PLAIN_HTTP, terminates=False),
        Chain("tcp", "tls", _MESH_TCP), Chain("tcp", "raw_buffer", terminates=False), Chain("tcp", "tls", terminates=False),
    ),
    ("PERMISSIVE", "http"): (
        Chain("http", "tls", (*_MESH_TCP, *_MESH_HTTP)), Chain("http", "raw_buffer", terminates=False),
    ),
    ("PERMISSIVE", "tcp"): (
        Chain("tcp", "tls", (*_MESH_TCP, *_MESH_HTTP)), Chain("tcp", "raw_buffer", terminates=False),
        Chain("tcp", "tls", terminates=False),
    ),
}


@dataclass(frozen=True)
class Port(Listener):
    """A port of a workload with a sidecar. Without `patches` nothing is there but the plugin and Istio's own filters."""

    mode: str = "STRICT"
    protocol: str = "undeclared"
    patches: Sequence[Config] = ()

    require_client_certificate: bool = True
    direct_remote_address: bool = False
    guard: bool = False
    resumption: bool = True
    normalize: bool = False

    def config(self, server: Credential, trust_file: Path, access_log: Path, address: str = "127.0.0.1") -> Config:
        """The listener with its chains, after all patches."""
        config = super().config(server, trust_file, access_log, address)
        (base,) = config["filter_chains"]
        chains = [self._chain(chain, base) for chain in CHAINS[self.mode, self.protocol]]
        for patch in self.patches:
            for chain in chains:
                _apply(patch, chain)
        return config | {"filter_chains": chains, "listener_filters": [
            _listener_filter("tls_inspector", "TlsInspector"), _listener_filter("http_inspector", "HttpInspector"),
        ]}

    def _chain(self, chain: Chain, base: Config) -> Config:
        made: Config = copy.deepcopy(base)
        made["filter_chain_match"] = {"transport_protocol": chain.transport, "application_protocols": list(chain.alpn)}
        if chain.kind == "tcp":
            kind = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
            proxy = {"@type": kind, "stat_prefix": self.name, "cluster": self.cluster}
            made["filters"] = [{"name": TCP_PROXY, "typed_config": proxy}]
            made["transport_socket"]["typed_config"]["common_tls_context"]["alpn_protocols"].insert(0, "istio-peer-exchange")
        if not chain.terminates:
            del made["transport_socket"]
        return made


def _listener_filter(name: str, kind: str) -> Config:
    package = f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3"
    return {"name": f"envoy.filters.listener.{name}", "typed_config": {"@type": f"{package}.{kind}"}}


def patches(*resources: Config) -> list[Config]:
    """All patches of some `EnvoyFilter`s, in their order."""
    return [patch for resource in resources for patch in resource["spec"]["configPatches"]]


def _apply(patch: Config, chain: Config) -> None:
    """One patch on one chain. Only the forms that `envoy/istio/` uses are known; another is an error."""
    assert patch["match"]["context"] == "SIDECAR_INBOUND"
    match = patch["match"]["listener"]["filterChain"]
    operation, value = patch["patch"]["operation"], copy.deepcopy(patch["patch"]["value"])
    if not _matches(match, chain["filter_chain_match"]):
        return
    # A match for a filter chooses filters, not chains: without it, a patch is for every chain.
    named = match.get("filter", {}).get("name")
    filters = [each for each in chain["filters"] if each["name"] == named]
    form = (patch["applyTo"], operation)
    if form == ("FILTER_CHAIN", "MERGE"):
        # Where the chain has no transport socket, it gets the patch's alone.
        _merge(chain, value)
    elif form == ("NETWORK_FILTER", "MERGE"):
        for each in filters:
            _merge(each, value)
    elif form == ("NETWORK_FILTER", "INSERT_BEFORE"):
        for each in filters:
            chain["filters"].insert(chain["filters"].index(each), value)
    elif form == ("NETWORK_FILTER", "REPLACE"):
        chain["filters"] = [value if each in filters else each for each in chain["filters"]]
    elif form == ("HTTP_FILTER", "INSERT_FIRST"):
        for each in filters:
            each["typed_config"]["http_filters"].insert(0, value)
    elif form == ("HTTP_FILTER", "INSERT_BEFORE"):
        for each in filters:
            http = each["typed_config"]["http_filters"]
            http.insert([other["name"] for other in http].index(match["filter"]["subFilter"]["name"]), value)
    else:
        raise AssertionError(f"Istio's rule for {form} is not written down here")


def _matches(match: Config, chain: Config) -> bool:
    assert match.keys() <= {"transportProtocol", "applicationProtocols", "filter"}
    wanted = set(match["applicationProtocols"].split(",")) if "applicationProtocols" in match else set()
    transport = match.get("transportProtocol", chain["transport_protocol"])
    return transport == chain["transport_protocol"] and wanted <= set(chain["application_protocols"])


def _merge(into: Config, value: Config) -> None:
    """As protobuf merges messages: lists grow, all else is overwritten."""
    for key, new in value.items():
        if isinstance(new, dict) and isinstance(into.get(key), dict):
            _merge(into[key], new)
        elif isinstance(new, list):
            into[key] = [*into.get(key, []), *new]
        else:
            into[key] = new


def resources(directory: Path) -> dict[str, list[Config]]:
    """Every document of `envoy/istio/*.yaml` by file name. Envoy reads the YAML: it shows what its node's metadata says."""
    documents = {path.name: path.read_text().split("\n---\n") for path in sorted((ENVOY / "istio").glob("*.yaml"))}
    metadata = "".join(f"    {json.dumps(name)}:\n{_items(texts)}" for name, texts in documents.items())
    config, admin_file = directory / "node.yaml", directory / "node.admin"
    admin = "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }"
    config.write_text(f"node:\n  id: reader\n  cluster: reader\n  metadata:\n{metadata}{admin}\n")
    command = [str(artifacts.envoy()), "-c", str(config), "--disable-hot-restart", "--admin-address-path", str(admin_file),
               "--concurrency", "1", "--log-path", str(directory / "node.log")]
    with subprocess.Popen(command) as process:
        try:
            return _metadata(process, admin_file, directory / "node.log")
        finally:
            process.terminate()


def _items(texts: Iterable[str]) -> str:
    # The dash on a line of its own: the document begins with a comment.
    return "".join(f"    -\n{textwrap.indent(text, '      ')}\n" for text in texts)


def _metadata(process: subprocess.Popen[bytes], admin_file: Path, log: Path) -> dict[str, list[Any]]:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (admin_file.is_file() and admin_file.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvoyFailed(f"Envoy does not read envoy/istio:\n{log.read_text()[-4000:]}")
        time.sleep(0.02)
    shown = json.loads(Admin(int(admin_file.read_text().rsplit(":", 1)[1])).get("/server_info"))
    read: dict[str, list[Any]] = shown["node"]["metadata"]
    return read
