"""What is under load: an Envoy, the servers that it fetches from and passes requests to, and callers whose every answer is known."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from harness import artifacts, tokens
from harness.clock import Clock
from harness.envoy import Envoy, http1_cluster, http2_cluster
from harness.feed_server import json_list
from harness.fetched import Answer, FetchServer
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential, self_signed
from harness.tls import ClientTls
from harness.tokens import Signer

LISTENER = "soak"
VALID_SECONDS = 7 * 86_400
"""Tokens outlast every run, and every clock that is set forward or back by an hour."""


class World:
    """`with World(folder) as world: ...`"""

    def __init__(self, folder: Path, crowd: int) -> None:
        """`crowd` is how many clients have been seen, and have a gauge each, beside those that ask all the time."""
        self.root = Authority.create(folder)
        issuer = self.root.intermediate()
        self.signer = Signer()
        self.credentials: dict[str, Credential] = {
            name: issuer.issue([("CN", name)]) for name in ("acme", "globex", "initech", "revoked", "stranger")
        }
        self.credentials["untrusted"] = self_signed(folder, [("CN", "acme")])
        self.crowd = [issuer.issue([("CN", f"crowd-{number}")]) for number in range(crowd)]
        self.good_keys = Answer(tokens.jwks(self.signer).encode())
        self.good_list = json_list(self.credentials["revoked"])
        self.keys = FetchServer(self.good_keys)
        self.list = FetchServer(self.good_list)
        self.good_upstream = Answer(b"{}")
        self.upstream = FetchServer(self.good_upstream)
        self.clock = Clock()
        self.updates = 0
        self._folder = folder
        self._running = ExitStack()
        self.envoy = Envoy(
            artifacts.envoy(), folder, [self._listener(self.policy())], authority=self.root, server=self.root.issue_server(),
            clusters=[
                http1_cluster(self.upstream.port), http2_cluster(self.upstream.port), http1_cluster(self.keys.port, "keys"), http1_cluster(self.list.port, "list"),
            ],
            concurrency=2, dynamic=True, log_level="warning", environment=self.clock.environment,
            arguments=["--drain-strategy", "immediate", "--drain-time-s", "3"],
        )

    def __enter__(self) -> World:
        for each in (self.keys, self.list, self.upstream, self.envoy):
            self._running.enter_context(each)
        for credential in self.crowd:
            with Http1(self.port, ClientTls(credential)) as client:
                answer = client.request("GET", "/crowd")
                assert answer.status == 200, answer.body
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._running.close()

    @property
    def port(self) -> int:
        """Of the listener."""
        return self.envoy.port(LISTENER)

    def _listener(self, policy: Any) -> Listener:
        return Listener(LISTENER, policy)

    def policy(self, **more: Any) -> Config:
        """The policy that all expectations are about; `more` are further members."""
        uri = {"cluster": "keys", "authority": "issuer.example", "path": "/jwks", "refresh_seconds": 1, "timeout_ms": 1000}
        feed = {"type": "json", "cluster": "list", "authority": "list.example", "path": "/revoked", "refresh_seconds": 1, "timeout_ms": 1000}
        clients = {name: {"identities": [f"cn:{name}"], "profiles": ["partner"]} for name in ("acme", "globex", "revoked")}
        clients["initech"] = {"identities": ["cn:initech"], "profiles": ["internal"]}
        clients["wallet"] = {"profiles": ["app"]}
        clients |= {f"crowd-{number}": {"identities": [f"cn:crowd-{number}"], "profiles": ["crowd"]} for number in range(len(self.crowd))}
        return {
            "policy_id": f"soak-{self.updates}",
            "clients": clients,
            "profiles": {
                "partner": {"allow": [{"paths": ["/payments/*"], "methods": ["GET"]}], "deny": ["/payments/secret"]},
                "internal": {"mode": "mtls", "allow": [{"paths": ["/internal"]}]},
                "app": {"mode": "bearer_plus_mtls_optional", "allow": [{"paths": ["/app/**"]}]},
                "crowd": {"mode": "mtls", "allow": [{"paths": ["/crowd"]}]},
            },
            "binding": {"required_paths": ["/app/pay"]},
            "bypass": [{"path": "/health"}],
            "token": {"source": "jwks", "issuers": [tokens.ISSUER], "audiences": [tokens.AUDIENCE], "jwks_uri": uri},
            "revocation": {"feeds": [feed]},
            "audit": {"log": "none"},
            **more,
        }

    def install(self, policy: Any, *, accepted: bool = True) -> None:
        """Gives Envoy another policy, and waits until it has taken or refused it."""
        before = self.envoy.update_count(accepted=accepted)
        self.envoy.replace_listeners(self._listener(policy))
        self.envoy.wait_for_listener_update(accepted=accepted, before=before)

    def update(self, **more: Any) -> None:
        """The same policy under another name, with these further members."""
        self.updates += 1
        self.install(self.policy(**more))

    def token(self, client: str, bound_to: str | None, *, by: Signer | None = None, **claims: Any) -> str:
        """A token of the client, bound to a certificate or to none."""
        now = int(time.time())
        times = {"iat": now - 7200, "nbf": now - 7200, "exp": now + VALID_SECONDS}
        credential = None if bound_to is None else self.credentials[bound_to]
        return (by or self.signer).sign(tokens.claims(client, credential, **{**times, **claims}))

    def plan(self) -> tuple[Path, Mapping[str, str]]:
        """The load client's plan, and what each request must be answered."""
        now = int(time.time())
        good, other = self.token("acme", "acme"), self.token("globex", "globex")
        kept = "acme"
        requests: list[tuple[str, str | None, str, str, str, str | None, str]] = [
            (kept, "acme", "allowed", "GET", "/payments/1", good, "200"),
            (kept, "acme", "denied path", "GET", "/payments/secret", good, "403 path_denied"),
            (kept, "acme", "other path", "GET", "/elsewhere", good, "403 path_denied"),
            (kept, "acme", "other method", "DELETE", "/payments/1", good, "405 method_not_allowed"),
            (kept, "acme", "no token", "GET", "/payments/1", None, "401 token_missing"),
            (kept, "acme", "stolen token", "GET", "/payments/1", other, "401 sender_binding_mismatch"),
            (kept, "acme", "unbound token", "GET", "/payments/1", self.token("acme", None), "401 sender_binding_missing"),
            (kept, "acme", "expired token", "GET", "/payments/1", self.token("acme", "acme", exp=now - 9000), "401 token_expired"),
            (kept, "acme", "other issuer", "GET", "/payments/1", self.token("acme", "acme", iss="https://other.example"), "401 token_issuer_mismatch"),
            (kept, "acme", "forged token", "GET", "/payments/1", self.token("acme", "acme", by=Signer()), "401 token_signature_invalid"),
            (kept, "acme", "broken path", "GET", "/payments/1;a", good, "400 path_malformed"),
            ("acme, new connections!", "acme", "allowed, new connection", "GET", "/payments/1", good, "200"),
            ("globex", "globex", "allowed, other client", "GET", "/payments/2", other, "200"),
            ("stranger", "stranger", "stranger", "GET", "/payments/1", good, "401 sender_binding_mismatch"),
            ("revoked", "revoked", "revoked", "GET", "/payments/1", self.token("revoked", "revoked"), "401 certificate_revoked"),
            ("initech", "initech", "certificate alone", "GET", "/internal", None, "200"),
            ("wallet", None, "token alone", "GET", "/app/1", self.token("wallet", None), "200"),
            ("wallet", None, "token alone where both are needed", "GET", "/app/pay", self.token("wallet", None), "401 certificate_missing"),
            ("anybody!", None, "nothing needed", "GET", "/health", None, "200"),
            ("anybody!", None, "no certificate", "GET", "/payments/1", good, "401 certificate_missing"),
            ("untrusted!", "untrusted", "untrusted certificate", "GET", "/payments/1", good, "refused"),
        ]
        for number in range(200):
            # More than one look at each signature: every one of these texts is new to a worker once.
            token = self.token("globex", "globex", jti=str(number))
            requests.append(("globex, many tokens", "globex", "allowed, many tokens", "GET", "/payments/3", token, "200"))
        lines = [
            "\t".join((caller, *self._files(credential), name, method, path, token or "-"))
            for caller, credential, name, method, path, token, _ in requests
        ]
        plan = self._folder / "plan"
        plan.write_text("\n".join(lines))
        return plan, {name: expected for _, _, name, *_, expected in requests}

    def _files(self, credential: str | None) -> tuple[str, str]:
        if credential is None:
            return "-", "-"
        return str(self.credentials[credential].chain_file), str(self.credentials[credential].key_file)

    def allocated(self) -> int:
        """Bytes that Envoy has allocated, by its own account: the memory of V8 is not among them."""
        return int(json.loads(self.envoy.admin.get("/memory"))["allocated"])

    def problems(self) -> Iterator[str]:
        """What must never be in Envoy's log or counters."""
        if "Uncaught " in self.envoy.log():
            yield "a worker's VM trapped: " + next(line for line in self.envoy.log().splitlines() if "Uncaught" in line)
        yield from (f"{name} = {value}" for name, value in self.envoy.admin.stats(r"^wasm\..*\.vm_reload").items() if value)
