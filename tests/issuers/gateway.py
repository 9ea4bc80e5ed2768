"""Envoy with the filter in front of an upstream, with the keys of a real issuer over HTTPS."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from harness import artifacts, verdicts
from harness.envoy import Envoy, http1_cluster, http2_cluster
from harness.filters import Config, JwtAuthn
from harness.https_keys import HOST, https_keys
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.upstream import Upstream

CACHE = "1s"
"""How long `jwt_authn` keeps a key set here."""
SOURCES = ("jwks", "jwt_authn")
"""Listeners with the two sources of tokens."""
CALLERS = [
    ("acme", "allowed"),
    ("renewed", "sender_binding_mismatch"),
    ("globex", "sender_binding_mismatch"),
    (None, "certificate_missing"),
]
"""Who presents a token that is bound to acme's certificate, and the verdict."""


def remote_jwks(path: str, **provider: Any) -> Config:
    """`jwt_authn` as docs/issuers.md configures it, for the keys at this path of the issuer."""
    config = JwtAuthn(()).filter()
    config["typed_config"]["providers"] = {"main": {
        "remote_jwks": {
            "http_uri": {"uri": f"https://{HOST}{path}", "cluster": "issuer", "timeout": "2s"},
            "cache_duration": CACHE,
            "async_fetch": {"failed_refetch_duration": "0.1s"},
        },
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "payload_in_metadata": "payload", "forward": True, "clock_skew_seconds": 86400, **provider,
    }}
    return config


class Gateway:
    """An Envoy with three listeners: the recipe's policy (`jwks`), the same that fetches every second (`jwks_often`), and `jwt_authn`.

    `with Gateway(folder, clients, policy, issuers, port) as gateway: gateway.ask("jwks", certificate, token)`
    """

    def __init__(self, directory: Path, clients: Authority, policy: Config, issuers: Authority, port: int) -> None:
        token = policy["token"]
        uri = token["jwks_uri"]
        claims = {name: value for name, value in token.items() if name not in ("source", "jwks_uri")}
        often = {**token, "jwks_uri": {**uri, "refresh_seconds": 1}}
        listeners = [
            Listener("jwks", policy, manager=CLOSE_AT_ONCE),
            Listener("jwks_often", {**policy, "token": often}, manager=CLOSE_AT_ONCE),
            Listener("jwt_authn", {**policy, "token": claims}, before=[remote_jwks(urlsplit(uri["path"]).path)],
                     manager=CLOSE_AT_ONCE),
        ]
        self._upstream = Upstream()
        self.envoy = Envoy(
            artifacts.envoy(), directory, listeners, authority=clients, server=clients.issue_server(),
            clusters=[http1_cluster(self._upstream.port), http2_cluster(1)], arguments=["--config-yaml", https_keys(port, issuers.trust_file)],
        )

    def __enter__(self) -> Gateway:
        self._upstream.__enter__()
        self.envoy.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.envoy.__exit__(kind, error, trace)
        self.envoy.check_records()
        self._upstream.__exit__(kind, error, trace)

    def ask(self, listener: str, credential: Credential | None, token: str | None, path: str = "/payments/1") -> str:
        """`allowed`, or the reason of the refusal."""
        headers: list[Header] = [("authorization", f"Bearer {token}")] if token else []
        return verdicts.ask(self.envoy.port(listener), credential, path, headers)

    def wait_until(self, verdict: str, listener: str, credential: Credential, token: str) -> None:
        """Until a request comes to this; fails after a minute."""
        self.envoy.wait(f"{verdict} at {listener}", lambda: self.ask(listener, credential, token) == verdict)

    def wait_for_fetches(self, listener: str) -> None:
        """Until a fetch that begins now or later has succeeded: two, for the first may be on its way."""
        before = self._fetches(listener)
        self.envoy.wait(f"a key set at {listener}", lambda: self._fetches(listener) >= before + 2)

    def _fetches(self, listener: str) -> int:
        found = self.envoy.admin.stats(rf"^http\.{listener}\.jwt_authn\.jwks_fetch_success$")
        return sum(found.values())
