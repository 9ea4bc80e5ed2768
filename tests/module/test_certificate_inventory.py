"""The inventory of certificates: what it costs, and that nothing is decided by it."""

from __future__ import annotations

import pytest

import scene
from host import SECOND, Vm

GAUGE = "mtls_cert_days_until_expiry.client.acme"
DAY = 86_400 * SECOND


def _use(vm: Vm, number: int = 1) -> None:
    stream = vm.request(scene.headers(bearer=scene.token()), scene.connection(number=number))
    assert stream.passed and stream.record["client_id"] == "acme"
    vm.end(stream)


def test_a_certificate_is_noted_once_a_worker_and_day() -> None:
    vm = scene.start()
    for number in (1, 1, 2):
        _use(vm, number)
    assert [call for call in vm.calls if call in scene.NOTED] == scene.NOTED
    assert vm.gauges[GAUGE] == 90


def test_a_failing_inventory_changes_no_decision() -> None:
    for failing in scene.NOTED[:4]:
        vm = scene.start()
        vm.sabotage = lambda call, failing=failing: 10 if call == failing else None
        _use(vm)
        assert any("failed with status 10" in line for _, line in vm.log), vm.log


@pytest.mark.parametrize("garbage", [b"", b"?", b"\xff" * 200])
def test_garbage_in_the_inventory_is_replaced(garbage: bytes) -> None:
    vm = scene.start()
    vm.garbage["get_shared_data mtls_authz.certificate"] = garbage
    _use(vm)
    assert GAUGE in vm.gauges


def test_days_pass_without_requests() -> None:
    vm = scene.start()
    _use(vm)
    vm.tick()
    before = vm.gauges[GAUGE]
    vm.tick(86_400_000)
    assert vm.gauges[GAUGE] == before - 1


def test_a_clock_that_is_set_back_puts_off_no_gauge() -> None:
    vm = scene.start()
    _use(vm)
    vm.tick()
    before = vm.gauges[GAUGE]
    vm.now -= 2 * DAY
    vm.tick(60_000)
    assert vm.gauges[GAUGE] == before + 2
