"""One listener of an Envoy: the mTLS side, the connection manager and the filter chain.

A test module gives each configuration of the filter its own listener and shares one Envoy,
because starting an Envoy is what costs time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import artifacts, filters
from .filters import Config, JwtAuthn
from .pki import Credential

ECHO_CLUSTER = "echo"
GRPC_CLUSTER = "grpc"
OVER_QUIC = "-http3"
"""What the name of the listener over QUIC has more than that of the one over TCP."""

# The filter counts by policy and reason in the name of the counter; Prometheus wants labels.
STATS_TAGS = [
    {"tag_name": "policy", "regex": r"^wasmcustom\.mtls_[a-z_]+(\.policy\.([A-Za-z0-9_-]+))"},
    {"tag_name": "reason", "regex": r"^wasmcustom\.mtls_[a-z_]+(?:\.policy\.[A-Za-z0-9_-]+)?(\.reason\.([a-z0-9_]+))$"},
    {"tag_name": "client", "regex": r"^wasmcustom\.mtls_[a-z_]+(?:\.policy\.[A-Za-z0-9_-]+)?(\.client\.(.+))$"},
    {"tag_name": "source", "regex": r"^wasmcustom\.mtls_fetch_[a-z_]+(?:\.policy\.[A-Za-z0-9_-]+)?(\.source\.([a-z0-9_]+))"},
    {"tag_name": "outcome", "regex": r"^wasmcustom\.mtls_(?:fetch|auth_candidate)_total(?:\.policy\.[A-Za-z0-9_-]+)?(?:\.source\.[a-z0-9_]+)?(\.outcome\.([a-z_]+))$"},
]

ACCESS_LOG = {
    "time": "%START_TIME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "peer": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    "decision": "%FILTER_STATE(wasm.mtls_authz.decision:PLAIN)%",
    "verdict": "%FILTER_STATE(wasm.mtls_authz.verdict:PLAIN)%",
}
"""A line of every access log: what the shipped configuration writes, and the verdict."""

CLOSE_AT_ONCE: Config = {"delayed_close_timeout": "0.05s"}
"""For `Listener.manager`: an HTTP/2 connection that Envoy refuses ends now and not a second later.

Not for requests with large bodies: their answer can be lost where Envoy does not wait.
"""


@dataclass(frozen=True)
class Listener:
    """A listener with our filter in its place; the defaults are those of the shipped configuration.

    `policy` is the filter's configuration: an object, or text where it must not be valid JSON.
    `trust` may be `ACCEPT_UNTRUSTED`, which lets unverified certificates through the handshake.
    `module` of `None` leaves our filter out. `before` and `after` are further filters around it.
    """

    name: str
    policy: Any = None
    module: Path | None = field(default_factory=artifacts.module)
    struct: bool = False
    vm_id: str | None = None
    failure_policy: str = "FAIL_RELOAD"

    jwt: JwtAuthn | None = None
    direct_remote_address: bool = True
    guard: bool = True
    before: Sequence[Config] = ()
    after: Sequence[Config] = ()

    http3: bool = True
    """Whether an Envoy that is to serve HTTP/3 has a second listener beside it, over QUIC and with everything else the same."""
    quic: bool = False
    """HTTP/3 over UDP instead of TCP."""
    tls: bool = True
    trust: str = "VERIFY_TRUST_CHAIN"
    trusted: Path | None = None
    """The roots that it trusts, where they are not those of the whole test."""
    secrets: Path | None = None
    """A folder with `server.yaml` and `trust.yaml`, from which Envoy takes its certificate and its roots (SDS from files)."""
    require_client_certificate: bool = False
    resumption: bool = False

    cluster: str = ECHO_CLUSTER
    """Where all but gRPC goes."""

    normalize: bool = True
    use_remote_address: bool | None = None
    upgrades: Sequence[str] = ()
    forward_client_cert_details: str | None = None
    set_current_client_cert_details: Config = field(default_factory=dict)
    manager: Config = field(default_factory=dict)
    """Further members of the HTTP connection manager, over everything else."""

    def over_quic(self) -> Listener | None:
        """The listener beside it, of the same plugin in the same VM."""
        if not (self.http3 and self.tls) or self.quic:
            return None
        return replace(self, name=self.name + OVER_QUIC, quic=True, vm_id=self._vm_id())

    def config(self, server: Credential, trust_file: Path, access_log: Path, address: str = "127.0.0.1") -> Config:
        """The listener as Envoy reads it, on a port that Envoy chooses."""
        chain: Config = {"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": self._manager(access_log),
        }]}
        if self.tls:
            chain["transport_socket"] = self._transport_socket(self._tls(server, trust_file))
        socket_address = {"address": address, "port_value": 0}
        listener: Config = {"name": self.name, "filter_chains": [chain]}
        if self.quic:
            socket_address["protocol"] = "UDP"
            listener["udp_listener_config"] = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}}
        return {**listener, "address": {"socket_address": socket_address}}

    def http_filters(self) -> list[Config]:
        """The chain in the order in which it must stand: what we read, we, the guard."""
        chain: list[Config] = [*self.before]
        if self.direct_remote_address:
            chain.append(filters.direct_remote_address())
        if self.jwt is not None:
            chain.append(self.jwt.filter())
        if self.module is not None:
            chain.append(filters.wasm(
                self.module, self.policy, struct=self.struct, failure_policy=self.failure_policy,
                vm_id=self._vm_id(),
            ))
        if self.guard:
            chain.append(filters.guard())
        return [*chain, *self.after, filters.router()]

    def _vm_id(self) -> str:
        # One VM a listener: what traps in one must not show in another, and neither
        # must what is counted in shared data.
        return self.vm_id or f"{filters.PLUGIN}-{self.name}"

    def _tls(self, server: Credential, trust_file: Path) -> Config:
        return {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": self.require_client_certificate,
            "disable_stateless_session_resumption": not self.resumption,
            "disable_stateful_session_resumption": not self.resumption,
            "common_tls_context": {
                "alpn_protocols": ["h3"] if self.quic else ["h2", "http/1.1"],
                **(self._from_secrets(self.secrets) if self.secrets else self._from_files(server, trust_file)),
            },
        }

    def _transport_socket(self, tls: Config) -> Config:
        if not self.quic:
            return {"name": "envoy.transport_sockets.tls", "typed_config": tls}
        kind = "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
        return {"name": "envoy.transport_sockets.quic", "typed_config": {"@type": kind, "downstream_tls_context": {
            key: value for key, value in tls.items() if key != "@type"}}}

    def _from_files(self, server: Credential, trust_file: Path) -> Config:
        return {
            "tls_certificates": [{
                "certificate_chain": {"filename": str(server.chain_file)},
                "private_key": {"filename": str(server.key_file)},
            }],
            "validation_context": {
                "trusted_ca": {"filename": str(self.trusted or trust_file)},
                "trust_chain_verification": self.trust,
            },
        }

    def _from_secrets(self, folder: Path) -> Config:
        return {
            "tls_certificate_sds_secret_configs": [_secret("server", folder)],
            "combined_validation_context": {
                "default_validation_context": {"trust_chain_verification": self.trust},
                "validation_context_sds_secret_config": _secret("trust", folder),
            },
        }

    def _manager(self, access_log: Path) -> Config:
        manager: Config = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network"
                     ".http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": self.name,
            "codec_type": "HTTP3" if self.quic else "AUTO",
            "generate_request_id": True,
            "access_log": [_access_log(access_log)],
            "route_config": self._routes(),
            "http_filters": self.http_filters(),
            "upgrade_configs": [{"upgrade_type": kind} for kind in self.upgrades],
        }
        if "websocket" in self.upgrades or "CONNECT" in self.upgrades:
            manager["http2_protocol_options"] = {"allow_connect": True}
            if self.quic:
                manager["http3_protocol_options"] = {"allow_extended_connect": True}
        if self.normalize:
            manager |= {
                "normalize_path": True,
                "merge_slashes": True,
                "path_with_escaped_slashes_action": "REJECT_REQUEST",
            }
        if self.use_remote_address is not None:
            manager["use_remote_address"] = self.use_remote_address
        if self.forward_client_cert_details is not None:
            manager["forward_client_cert_details"] = self.forward_client_cert_details
            manager["set_current_client_cert_details"] = self.set_current_client_cert_details
        return manager | self.manager

    def _routes(self) -> Config:
        routes: list[Config] = [
            {"match": {"prefix": "/", "grpc": {}}, "route": {"cluster": GRPC_CLUSTER}},
            {"match": {"prefix": "/"}, "route": {"cluster": self.cluster}},
        ]
        if "CONNECT" in self.upgrades:
            tunnel: Config = {"upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
            routes.append({"match": {"connect_matcher": {}}, "route": {"cluster": self.cluster, **tunnel}})
        return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}


def _secret(name: str, folder: Path) -> Config:
    source = {"path": str(folder / f"{name}.yaml"), "watched_directory": {"path": str(folder)}}
    return {"name": name, "sds_config": {"path_config_source": source, "resource_api_version": "V3"}}


def _access_log(path: Path) -> Config:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(path),
            "log_format": {"json_format": ACCESS_LOG},
        },
    }
