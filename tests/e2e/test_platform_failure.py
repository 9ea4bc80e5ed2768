"""What Envoy does when a filter's configuration is refused, its worker fails, or its VM traps."""

from __future__ import annotations

from pathlib import Path

import pytest

from conftest import Client, StartEnvoy
from harness import artifacts, probe
from harness.envoy import Envoy, EnvoyFailed
from harness.http1 import Http1
from harness.listener import OVER_QUIC, Listener
from harness.pki import Authority
from harness.tls import ClientTls

WORKERS = 2
NOT_UTF8 = ("x-any", "\xa1")


@pytest.fixture(scope="module")
def tls(issuer: Authority) -> ClientTls:
    return ClientTls(issuer.issue())


def test_the_main_thread_configures_twice_and_then_every_worker_once(
    start_envoy: StartEnvoy, every_envoy: Path
) -> None:
    envoy = start_envoy(Listener("a", "hello", artifacts.probe()), binary=every_envoy, concurrency=WORKERS)
    lines = WORKERS + 2
    envoy.wait("all configurations", lambda: envoy.log().count("probe configured") == lines)
    threads = [line.split("[")[2].rstrip("]") for line in envoy.log().splitlines() if "probe configured" in line]
    main, workers = threads[:2], threads[2:]
    assert len(set(main)) == 1
    assert len(set(workers)) == len(workers) == WORKERS
    assert main[0] not in workers


def test_a_configuration_refused_at_start_up_ends_envoy(start_envoy: StartEnvoy, every_envoy: Path) -> None:
    with pytest.raises(EnvoyFailed, match="Failed to configure base Wasm plugin"):
        start_envoy(Listener("a", "refuse", artifacts.probe()), binary=every_envoy)


def test_a_configuration_refused_in_an_update_leaves_the_old_listener_in_service(
    start_envoy: StartEnvoy, every_envoy: Path, tls: ClientTls
) -> None:
    envoy = start_envoy(probe.listener("a", ("header", ":path")), binary=every_envoy, dynamic=True)
    before = envoy.update_count(accepted=False)
    envoy.replace_listeners(Listener("a", "refuse", artifacts.probe(), guard=False))
    envoy.wait_for_listener_update(accepted=False, before=before)
    envoy.wait_for_log("Error adding/updating listener(s) a: Unable to create Wasm plugin mtls_authz")
    with Http1(envoy.port("a"), tls) as client:
        assert client.request("GET", "/old").body == b"0:" + b"/old".hex().encode()


@pytest.fixture(scope="module")
def failing(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    def listener(how: str, policy: str, *, guard: bool, quic: bool) -> Listener:
        name = f"{how}-{policy}-{'guarded' if guard else 'open'}{OVER_QUIC if quic else ''}"
        # Not two listeners of one VM: the module fails wherever it is not the first of its VM.
        return Listener(name, how, artifacts.worker_failure(), failure_policy=policy, guard=guard, quic=quic, http3=False)

    listeners = [listener(how, policy, guard=guard, quic=quic)
                 for how in ("refuse", "trap") for policy in ("FAIL_CLOSED", "FAIL_RELOAD") for guard in (False, True)
                 for quic in (False, True)]
    return start_envoy(*listeners, binary=every_envoy, concurrency=WORKERS)


@pytest.mark.parametrize("policy", ["FAIL_CLOSED", "FAIL_RELOAD"])
@pytest.mark.parametrize("how", ["refuse", "trap"])
def test_a_filter_that_fails_in_workers_only_is_skipped_and_every_request_passes(
    failing: Envoy, tls: ClientTls, http: Client, how: str, policy: str
) -> None:
    assert _answers(http, failing.port(f"{how}-{policy}-open"), tls) == {200}


@pytest.mark.parametrize("policy", ["FAIL_CLOSED", "FAIL_RELOAD"])
@pytest.mark.parametrize("how", ["refuse", "trap"])
def test_the_guard_refuses_every_request_when_the_filter_is_skipped(
    failing: Envoy, tls: ClientTls, http: Client, how: str, policy: str
) -> None:
    assert _answers(http, failing.port(f"{how}-{policy}-guarded"), tls) == {403}


@pytest.fixture(scope="module")
def trapping(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    names = ("strings", "names", "restarted")
    listeners = [probe.listener(name, ("header", ":path"), failure_policy="FAIL_CLOSED") for name in names[:2]]
    return start_envoy(*listeners, probe.listener("restarted", ("header", ":path")), binary=every_envoy)


def test_one_byte_that_is_not_utf8_read_as_a_string_takes_the_worker_down(trapping: Envoy, tls: ClientTls) -> None:
    port = trapping.port("strings")
    read = probe.script(("sdk_header", NOT_UTF8[0]))
    assert _status(port, tls, [read, (NOT_UTF8[0], "good")]) == 200
    assert _status(port, tls, [read, NOT_UTF8]) == 503
    assert [_status(port, tls, []) for _ in range(3)] == [503] * 3


def test_the_map_read_as_bytes_survives_every_value(trapping: Envoy, tls: ClientTls) -> None:
    port = trapping.port("names")
    assert _status(port, tls, [probe.script(("sdk_map_bytes",)), NOT_UTF8]) == 200
    assert _status(port, tls, []) == 200


def test_a_trapped_vm_is_made_anew_under_fail_reload(trapping: Envoy, tls: ClientTls) -> None:
    port = trapping.port("restarted")
    assert _status(port, tls, [probe.script(("trap",))]) == 503
    trapping.wait("the VM to be made anew", lambda: _status(port, tls, []) == 200)
    assert trapping.admin.stat("wasm.mtls_authz.vm_reload_success") == 1
    # What the alert MtlsAuthzVmReloaded watches. `vm_reload` is exported as well and stays 0.
    assert trapping.admin.prometheus()["envoy_wasm_mtls_authz_vm_reload_success{}"] == 1
    assert trapping.admin.prometheus()["envoy_wasm_mtls_authz_vm_reload{}"] == 0


def _status(port: int, tls: ClientTls, headers: list[tuple[str, str]]) -> int:
    with Http1(port, tls) as client:
        return client.request("GET", "/", headers).status


def _answers(http: Client, port: int, tls: ClientTls) -> set[int]:
    """The statuses of requests on so many connections that both workers have had some."""
    statuses = set()
    for _ in range(12):
        with http(port, tls) as client:
            statuses.add(client.request("GET").status)
    return statuses
