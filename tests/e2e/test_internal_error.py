"""A worker that cannot read a configuration that was accepted earlier refuses everything: 500 `internal_error`.

The filter remembers in shared data, under a key made of its version and the configuration's fingerprint, what it has
accepted. Shared data belongs to a `vm_id`, so the probe writes that key here for a configuration that nobody can read.
This is the one reason of `verdicts.STATUS` that `test_reasons.py` does not reach.
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import grpc_client, probe, verdicts
from harness.artifacts import REPOSITORY
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.probe import OK, Answer
from harness.response import ConnectionEnded, Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import Upstream

VM_ID = "shared"
WORKERS = 2
SAY = "/echo.Echo/Say"

GOOD: Config = {
    "certificate": {"validation": "listener"},
    # Not even shadow mode or a bypass holds where the configuration cannot be read.
    "enforcement": "shadow",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open", SAY]}]}},
    "bypass": [{"path": "/health"}],
}
UNREADABLE = json.dumps({**GOOD, "modes": "mtls"})

REQUESTS = [
    ("GET", "/open", b""), ("POST", "/open", b"x" * 100_000), ("GET", "/health", b""), ("GET", "/open;a", b""),
    ("OPTIONS", "/elsewhere", b""),
]

BROKEN = ["guarded", "unguarded"]
"""The listeners with the configuration that cannot be read; one has no guard."""


def accepted_key(configuration: str) -> str:
    """Where the filter remembers that this version of it accepted this configuration."""
    manifest = (REPOSITORY / "Cargo.toml").read_text()
    version = re.search(r'^version = "(.+)"$', manifest, re.MULTILINE)
    assert version is not None
    text = configuration.encode()
    return f"mtls_authz.accepted.{version[1]}.{len(text)}.{fingerprint(text):016x}"


def fingerprint(text: bytes) -> int:
    """What `src/fingerprint.rs` makes of a text: its words of eight bytes, and the rest as another, filled with zeros."""
    def mix(word: int) -> int:
        product = word * 0x9E37_79B9_7F4A_7C15 & 0xFFFF_FFFF_FFFF_FFFF
        return product ^ product >> 32

    whole = len(text) // 8 * 8
    words = [text[place:place + 8] for place in range(0, whole, 8)] + [text[whole:].ljust(8, b"\0")]
    return functools.reduce(lambda found, word: mix(found ^ int.from_bytes(word, "little")), words, mix(len(text)))


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path, acme: Credential, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    first = [
        probe.listener("writer", vm_id=VM_ID),
        Listener("good", GOOD, jwt=jwt, vm_id=VM_ID),
    ]
    broken = [
        Listener("guarded", UNREADABLE, jwt=jwt, vm_id=VM_ID),
        Listener("unguarded", UNREADABLE, jwt=jwt, vm_id=VM_ID, guard=False),
    ]
    envoy = start_envoy(*first, binary=every_envoy, concurrency=WORKERS, dynamic=True)

    # Where no such key is, Envoy does not accept the configuration. That is shown with another `vm_id`, because Envoy
    # keeps the answer to a configuration as long as it has a VM of that `vm_id`, and does not ask again.
    before = envoy.update_count(accepted=False)
    envoy.replace_listeners(*first, Listener("refused", UNREADABLE, jwt=jwt, vm_id="other"))
    envoy.wait_for_listener_update(accepted=False, before=before)
    assert "refused" not in envoy.admin.listener_ports()

    with Http1(envoy.port("writer"), ClientTls(acme)) as client:
        known, unknown, written = probe.ask(
            client, ("shared", accepted_key(json.dumps(GOOD))), ("shared", accepted_key(UNREADABLE)),
            ("set_shared", accepted_key(UNREADABLE), "1", "0"),
        )
    # The filter itself has written such a key for the configuration that it has accepted.
    assert (known.status, unknown, written) == (OK, Answer(probe.NOT_FOUND), Answer(OK))

    before = envoy.update_count(accepted=True)
    envoy.replace_listeners(*first, *broken)
    envoy.wait_for_listener_update(accepted=True, before=before)
    for name in BROKEN:
        envoy.wait(f"the listener {name}", functools.partial(_answers, envoy.port(name), acme))
    return envoy


def _answers(port: int, acme: Credential) -> bool:
    """Whether the workers have taken a listener that the main thread has accepted."""
    try:
        with Http1(port, ClientTls(acme)) as client:
            return client.request("GET", "/open").status > 0
    except (OSError, ConnectionEnded):
        return False


@pytest.fixture(autouse=True)
def no_trap(envoy: Envoy) -> Iterator[None]:
    """What cannot be read may not take a VM down either."""
    yield
    assert set(envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}
    assert "Uncaught RuntimeError" not in envoy.log()


@pytest.fixture
def token(bearer: Bearer, acme: Credential) -> Header:
    return bearer("acme", acme)


def _counted(envoy: Envoy) -> dict[str, float]:
    """Every counter of a decision, by name and reason."""
    counted: dict[str, float] = {}
    for sample, value in envoy.admin.prometheus().items():
        if match := re.fullmatch(r'(mtls_auth_[a-z_]+_total)\{(?:.*reason="([a-z_]+)")?.*\}', sample):
            name = f"{match[1]} {match[2]}" if match[2] else match[1]
            counted[name] = counted.get(name, 0) + value
    return counted


@pytest.mark.parametrize("listener", BROKEN)
def test_every_request_is_answered_500_and_none_reaches_the_upstream(
    envoy: Envoy, acme: Credential, token: Header, upstream: Upstream, http: Client, listener: str
) -> None:
    mark = upstream.mark()
    for credential in (acme, None):
        for headers in ([token], [], [token, token], [("x-client-id", "acme"), ("x-client-id", "acme")]):
            for method, path, body in REQUESTS:
                with http(envoy.port(listener), ClientTls(credential)) as client:
                    verdicts.refused(client.request(method, path, headers, body), "internal_error")
    assert upstream.since(mark) == []


@pytest.mark.parametrize("listener", BROKEN)
def test_the_answer_says_nothing_about_the_configuration(
    envoy: Envoy, acme: Credential, token: Header, http: Client, listener: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [token])
    problem = verdicts.refused(response, "internal_error")
    assert problem["status"] == response.status == 500
    for secret in ("modes", "mode", "config", "clients", "policy"):
        assert secret not in response.body.decode()


@pytest.mark.parametrize("listener", BROKEN)
def test_a_connection_serves_on_after_the_answer(
    envoy: Envoy, acme: Credential, token: Header, http: Client, listener: str
) -> None:
    with http(envoy.port(listener), ClientTls(acme)) as client:
        for _ in range(3):
            verdicts.refused(client.request("GET", "/open", [token]), "internal_error")


@pytest.mark.parametrize("listener", BROKEN)
def test_a_grpc_caller_is_told_internal(
    envoy: Envoy, root: Authority, acme: Credential, token: Header, grpc_upstream: GrpcUpstream, listener: str
) -> None:
    mark = grpc_upstream.mark()
    for credential in (acme, None):
        result = grpc_client.call(envoy.port(listener), root, credential, metadata=[token])
        verdicts.refused_grpc(result, "internal_error")
    assert grpc_upstream.since(mark) == []


@pytest.mark.parametrize("listener", BROKEN)
def test_each_refusal_is_counted_once_and_under_no_other_name(
    envoy: Envoy, acme: Credential, token: Header, http: Client, listener: str
) -> None:
    before, requests = _counted(envoy), 5
    for _ in range(requests):
        with http(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", [token]), "internal_error")
    failures = "mtls_auth_failure_total internal_error"
    assert _counted(envoy) == {**before, failures: before.get(failures, 0) + requests}


@pytest.mark.parametrize("listener", BROKEN)
def test_each_refusal_is_recorded_without_a_verdict(
    envoy: Envoy, acme: Credential, token: Header, http: Client, listener: str
) -> None:
    request_id = str(uuid.uuid4())
    with http(envoy.port(listener), ClientTls(acme)) as client:
        client.request("GET", "/open", [token, ("x-request-id", request_id)])
    record = envoy.record(listener, request_id)
    assert (record["status"], record["verdict"]) == (500, None)
    decision = record["decision"]
    assert (decision["decision"], decision["status"], decision["reason"]) == ("deny", 500, "internal_error")
    assert decision["enforcement"] == "enforce"
    assert decision["request_id"] == request_id
    for member in ("policy_id", "client_id", "profile_id", "principal", "binding", "rule"):
        assert decision[member] is None, member


@pytest.mark.parametrize("listener", BROKEN)
def test_every_worker_refuses(envoy: Envoy, acme: Credential, token: Header, listener: str) -> None:
    # Which worker takes a connection is chance, so connections are made until each has had one.
    before = _connections_by_worker(envoy)
    while any(now == then for now, then in zip(_connections_by_worker(envoy), before)):
        with Http1(envoy.port(listener), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", [token]), "internal_error")


def _connections_by_worker(envoy: Envoy) -> list[int]:
    """Of all listeners together: those of one Envoy that came as an update have these counters in common."""
    found = envoy.admin.stats(r"^listener\.127\.0\.0\.1_0\.worker_\d+\.downstream_cx_total$")
    assert len(found) == WORKERS, found
    return [found[name] for name in sorted(found)]


def test_the_log_says_what_cannot_be_read_and_what_comes_of_it(envoy: Envoy) -> None:
    line = envoy.wait_for_log("a configuration that was accepted cannot be read again: modes")
    assert "[error]" in line or "[critical]" in line
    assert line.endswith("every request is refused")


def test_another_listener_of_the_same_vm_id_is_not_affected(
    envoy: Envoy, acme: Credential, token: Header, http: Client
) -> None:
    with http(envoy.port("good"), ClientTls(acme)) as client:
        assert verdicts.passed(client.request("GET", "/open", [token])).values("x-client-id") == ["acme"]
