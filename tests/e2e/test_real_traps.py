"""What becomes of a request that waits when the VM of its worker traps. No filter can answer it then; Envoy does."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import wasmtime

from conftest import StartEnvoy
from harness.artifacts import REPOSITORY
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority
from harness.tls import ClientTls

SHIPPED = ("envoy/envoy.yaml", "envoy/http3.yaml", "envoy/istio/envoyfilter.yaml")
MANY = [(f"x-{number}", "1") for number in range(40)]
WAITS_OR_TRAPS = """(module
    (memory (export "memory") 2)
    (global $free (mut i32) (i32.const 1024))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "_initialize"))
    (func (export "proxy_on_memory_allocate") (param $size i32) (result i32)
        (global.set $free (i32.add (global.get $free) (local.get $size)))
        (i32.sub (global.get $free) (local.get $size)))
    (func (export "proxy_on_context_create") (param i32 i32))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32) (param $count i32) (param i32) (result i32)
        (if (i32.gt_u (local.get $count) (i32.const 30)) (then unreachable))
        (i32.const 1)))"""
"""A filter that has every request wait, and traps at one with more than 30 headers."""


def test_a_request_that_waits_when_its_vm_traps_is_ended_by_the_idle_timeout(
    start_envoy: StartEnvoy, issuer: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = tmp_path_factory.mktemp("module") / "waits_or_traps.wasm"
    module.write_bytes(wasmtime.wat2wasm(WAITS_OR_TRAPS))
    idle = Listener("idle", "any", module, guard=False, manager={"stream_idle_timeout": "3s"}, http3=False)
    envoy, tls = start_envoy(idle, concurrency=1), ClientTls(issuer.issue())

    def ask(headers: list[tuple[str, str]]) -> int:
        with Http1(envoy.port("idle"), tls) as client:
            return client.request("GET", "/", headers).status

    with ThreadPoolExecutor() as pool:
        # At the first trap as at the second, when the VM has been made anew.
        for _ in range(2):
            waiting = pool.submit(ask, [])
            envoy.wait("the request", lambda: envoy.admin.stat("http.idle.downstream_rq_active") == 1)
            before = envoy.log().count("Uncaught RuntimeError")
            begun = time.monotonic()
            assert ask(MANY) == 503
            assert waiting.result() == 503
            assert time.monotonic() - begun < 30
            envoy.wait("the trap", lambda: envoy.log().count("Uncaught RuntimeError") > before)  # noqa: B023
            envoy.wait("a VM made anew", lambda: _waits(envoy.port("idle"), tls))


def _waits(port: int, tls: ClientTls) -> bool:
    """Whether a request waits again instead of being refused at once."""
    begun = time.monotonic()
    with Http1(port, tls) as client:
        client.request("GET", "/")
    return time.monotonic() - begun > 1


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_connection_manager_has_a_short_idle_timeout(path: str) -> None:
    text = (REPOSITORY / path).read_text()
    managers = len(re.findall(r"path_with_escaped_slashes_action", text))
    assert len(re.findall(r"^ +stream_idle_timeout: 30s$", text, re.MULTILINE)) == managers > 0
