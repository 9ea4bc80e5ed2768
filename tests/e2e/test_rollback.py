"""A policy is tried in shadow mode, enforced, and taken back while clients go on: docs/operations.md describes these steps."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import Bearer, StartEnvoy
from harness import artifacts, record, shipped, verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.response import Header
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

ENOUGH = 30
"""So many records in a row of one policy: everybody is served by it."""
PATHS = ("/payments/1", "/reports/daily/1", "/payments/2")
RULES: dict[str, list[Config]] = {
    "v1": [{"paths": ["/payments/*"]}, {"paths": ["/reports/**"]}],
    # Meant to drop old reports, and drops them all: `*` is one segment.
    "v2": [{"paths": ["/payments/*"]}, {"paths": ["/reports/*"]}],
}


def policy(policy_id: str, rules: str | None = None, *, enforcement: str = "enforce", profile: str = "partner") -> Config:
    """The rules of its name or of another. Where the profile is shadowed, its clients must still come with their certificates."""
    return {
        "policy_id": policy_id,
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": [profile]}},
        "profiles": {"partner": {"allow": RULES[rules or policy_id], "enforcement": enforcement}},
    }


class Client(threading.Thread):
    """Sends request after request and writes down what came of each; a request without an answer ends it."""

    def __init__(self, port: int, tls: ClientTls, token: Header, *, keeps_alive: bool) -> None:
        super().__init__(daemon=True)
        self._port, self._tls, self._token, self._keeps_alive = port, tls, token, keeps_alive
        self._stopped = threading.Event()
        self._paths = itertools.cycle(PATHS)
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._use_a_connection()
        except Exception as failure:  # noqa: BLE001: whatever it is, the test shows it
            self.failure = failure

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _use_a_connection(self) -> None:
        with Http1(self._port, self._tls) as client:
            while not self._stopped.is_set():
                path = next(self._paths)
                answer = client.request("GET", path, [self._token])
                self.verdicts[path, verdicts.reason_of(answer)] += 1
                if answer.header("connection") == "close" or not self._keeps_alive:
                    return
                time.sleep(0.005)


class Edge:
    """An Envoy whose listener comes from a file, and the clients that use it all the time."""

    def __init__(self, envoy: Envoy, jwt: JwtAuthn, clients: list[Client]) -> None:
        self.envoy = envoy
        self._jwt = jwt
        self.clients = clients

    def install(self, config: Config, *, accepted: bool = True) -> None:
        """Puts a policy into the file and waits until Envoy has said what it makes of it."""
        before = self.envoy.update_count(accepted=accepted)
        self.envoy.replace_listeners(Listener("edge", config, jwt=self._jwt))
        self.envoy.wait_for_listener_update(accepted=accepted, before=before)

    def serves(self, policy_id: str) -> None:
        """Waits until this policy alone decides about what comes from now on."""
        mark = len(self._lines())

        def alone() -> bool:
            lines = self._lines()[mark:][-ENOUGH:]
            return len(lines) == ENOUGH and all(f'\\"policy_id\\":\\"{policy_id}\\"' in line for line in lines)

        self.envoy.wait(f"records of {policy_id}", alone)

    def report(self, command: str) -> Any:
        return json.loads(record.report(command, "--json", self.envoy.access_log("edge")))

    def _lines(self) -> list[str]:
        return self.envoy.access_log("edge").read_text().split("\n")[:-1]


@pytest.fixture
def edge(start_envoy: StartEnvoy, signer: Signer, acme: Credential, bearer: Bearer) -> Iterator[Edge]:
    jwt = JwtAuthn((signer,))
    # Connections are asked to end as soon as their listener has been replaced, and not some time in ten minutes.
    envoy = start_envoy(Listener("edge", policy("v1"), jwt=jwt), dynamic=True, concurrency=2,
                        arguments=["--drain-strategy", "immediate"])
    clients = [Client(envoy.port("edge"), ClientTls(acme), bearer("acme", acme), keeps_alive=keeps) for keeps in (True, False)]
    for client in clients:
        client.start()
    try:
        yield Edge(envoy, jwt, clients)
    finally:
        for client in clients:
            client.stop()


def test_a_policy_is_tried_enforced_and_taken_back_without_losing_a_request(edge: Edge) -> None:
    edge.serves("v1")

    edge.install(policy("v2-trial", "v2", enforcement="shadow"))
    edge.serves("v2-trial")
    with Http1(edge.envoy.port("edge"), ClientTls()) as stranger:
        verdicts.refused(stranger.request("GET", PATHS[1]), "certificate_missing")
    [row] = edge.report("shadow")["rows"]
    assert (row["client"], row["reason"], row["path"]) == ("acme", "path_denied", "/reports/daily/...")

    edge.install(policy("v2"))
    edge.serves("v2")
    edge.envoy.wait("refusals", lambda: all(client.verdicts[PATHS[1], "path_denied"] for client in edge.clients))

    logged = len(edge.envoy.log())
    edge.install(policy("v3", "v1", profile="partners"), accepted=False)
    edge.envoy.wait("the message", lambda: 'clients.acme.profiles[0]: found "partners"' in edge.envoy.log()[logged:])
    edge.serves("v2")

    edge.install(policy("v1"))
    edge.serves("v1")
    for client in edge.clients:
        client.stop()

    sent = sum((client.verdicts for client in edge.clients), Counter())
    assert [client.failure for client in edge.clients] == [None, None]
    assert sent.keys() == {(path, "allowed") for path in PATHS} | {(PATHS[1], "path_denied")}
    edge.envoy.wait("all records", lambda: len(edge.envoy.records("edge")) == sent.total() + 1)
    told = edge.report("policies")
    rows = {row["policy"]: row for row in told["rows"]}
    assert list(rows) == ["v1", "v2", "v2-trial"], "the one that is back decided last"
    assert rows["v1"]["first"] < rows["v2-trial"]["first"] < rows["v2"]["first"] < told["last_change"]["at"]
    assert (told["last_change"]["from"], told["last_change"]["to"]) == ("v2", "v1")
    assert (rows["v1"]["refused"], rows["v2-trial"]["refused"]) == (0, 1)
    assert rows["v2"]["refused"] == sent[PATHS[1], "path_denied"]
    shadow = edge.report("shadow")
    assert shadow["requests"] == rows["v2-trial"]["requests"] - 1 and shadow["refused"] == rows["v2-trial"]["would_be_refused"]


def test_an_open_connection_keeps_its_policy_until_it_is_drained(edge: Edge, acme: Credential, bearer: Bearer) -> None:
    with Http1(edge.envoy.port("edge"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", PATHS[1], [bearer("acme", acme)]))
        edge.install(policy("v2"))
        edge.serves("v2")
        answer = client.request("GET", PATHS[1], [bearer("acme", acme)])
    # The last answer of the old policy asks the client to connect anew.
    assert verdicts.reason_of(answer) == "allowed" and answer.header("connection") == "close"


def test_the_shipped_listener_comes_from_a_file_and_is_rolled_back_by_a_rename(
    tmp_path_factory: pytest.TempPathFactory, upstream: Upstream
) -> None:
    folder = Folder(tmp_path_factory.mktemp("shipped"))
    listeners, config = folder.directory / "listeners", folder.directory / "envoy.yaml"
    listeners.mkdir()
    text = folder.localize((shipped.ENVOY / "envoy.yaml").read_text(), artifacts.module(), upstream.port, shipped.free_port())
    bootstrap, first = shipped.with_listener_file(text)
    second = first.replace('"policy_id": "example-1"', '"policy_id": "example-2"').replace('"/payments/*"', '"/payments/none"')
    config.write_text(bootstrap.replace("/etc/envoy/", f"{folder.directory}/"))
    token, credential = folder.token("acme-mobile", "acme-mobile", "payments:read"), folder.credential("acme-mobile")

    def install(listener: str) -> None:
        (listeners / "new").write_text(listener)
        (listeners / "new").replace(listeners / "current.yaml")

    install(first)
    with Shipped(artifacts.envoy(), config, arguments=["--drain-strategy", "immediate"]) as envoy:
        def verdict() -> str:
            with Http1(envoy.port("mtls"), ClientTls(credential)) as client:
                return verdicts.reason_of(client.request("GET", "/payments/42", [token]))

        assert verdict() == "allowed"
        install(second)
        envoy.wait("the second policy", lambda: verdict() == "path_denied")
        install(first)
        envoy.wait("the first policy", lambda: verdict() == "allowed")
        envoy.wait("the records", lambda: envoy.records()[-1]["decision"]["policy_id"] == "example-1")
        told = json.loads(record.report("policies", "--json", envoy.output_file))
    assert [row["policy"] for row in told["rows"]] == ["example-1", "example-2"]
    assert (told["last_change"]["changes"], told["last_change"]["to"]) == (2, "example-1")
