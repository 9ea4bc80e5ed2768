"""Nothing is left behind: a WebAssembly memory never shrinks, so what leaks in a worker stays until Envoy ends."""

from __future__ import annotations

import json
from collections.abc import Callable

import fuel
import pytest
import scene
from host import Vm, compiled
from harness import artifacts


def _requests(vm: Vm, count: int) -> None:
    token = scene.token()
    for number in range(count):
        # Two in three are refused; every one is of a connection that was not seen for 2,048 connections.
        bearer = (token, None, "x.y.z")[number % 3]
        vm.end(vm.request(scene.headers(bearer=bearer), scene.connection(number=number)))
    scene.forget(vm)


def test_requests_leave_nothing_behind() -> None:
    vm = scene.start()
    _requests(vm, 3000)
    before = vm.pages
    _requests(vm, 6000)
    # A page is what fragments may cost; a leak of 32 bytes a request would be three.
    assert vm.pages <= before + 1


def test_requests_that_wait_and_go_leave_nothing_behind() -> None:
    uri = {"cluster": "issuer", "authority": "auth.example", "path": "/"}
    vm = scene.start(scene.policy(token={"source": "jwks", "jwks_uri": uri}))
    _requests(vm, 3000)
    before = vm.pages
    _requests(vm, 6000)
    # A page is what fragments may cost; a leak of 32 bytes a request would be three.
    assert vm.pages <= before + 1


def test_configurations_leave_nothing_behind() -> None:
    config = scene.policy()
    config["clients"] |= {f"client-{number}": {"identities": [f"cn:client-{number}"], "profiles": ["partner"]}
                          for number in range(2000)}
    vm = scene.start(config)
    for _ in range(4):
        assert vm.configure_again()
    before = vm.pages
    for _ in range(24):
        assert vm.configure_again()
    # One configuration is some twenty pages; what hash seeds and the allocator make of it varies by a few.
    assert vm.pages <= before + 10


def _with_escapes(text: str) -> str:
    return text.replace("/", "\\/")


def _with_more_of_each(text: str) -> str:
    config = json.loads(text)
    for name, client in config["clients"].items():
        client["identities"] += [f"dns:{name}.example.org", f"email:{name}@x"]
        client["profiles"] += ["second", "third"]
        client["principal"] = f"arn:example:iam::bench:client/{name}"
    config["profiles"] |= {"second": {}, "third": {}}
    return json.dumps(config)


def _short(text: str) -> str:
    config = json.loads(text)
    config["clients"] = {f"c{number}": {"identities": [f"cn:c{number}"], "profiles": ["partner"]}
                         for number in range(len(config["clients"]))}
    return json.dumps(config, separators=(",", ":"))


@pytest.mark.parametrize(
    ("written", "limit"),
    # Unescaped texts are copies, and of short clients the numbers weigh more than the text.
    [(str, 1.8), (_with_more_of_each, 2.2), (_with_escapes, 3), (_short, 3)],
)
def test_a_large_registry_takes_little_more_memory_than_its_text(written: Callable[[str], str], limit: float) -> None:
    configuration = written(json.dumps(fuel.large(100_000))).encode()
    vm = Vm(compiled(artifacts.module()), configuration)
    assert vm.configure(), vm.log
    # The text itself is part of it, and whatever was needed only while it was read.
    assert vm.pages * fuel.PAGE_KIB * 1024 <= limit * len(configuration)


def test_a_metric_is_defined_once_however_often_the_plugin_is_configured() -> None:
    vm = scene.load()
    assert vm.configure(), vm.log
    defined = [call for call in vm.calls if call.startswith("define_metric ")]
    assert defined and len(defined) == len(set(defined))
    scene.forget(vm)
    assert vm.configure_again()
    assert not [call for call in vm.calls if call.startswith("define_metric ")]


def test_the_timer_of_a_plugin_ends_with_it() -> None:
    vm = scene.start()
    assert vm.tick_period > 0
    vm.end_plugin()
    assert vm.tick_period == 0
