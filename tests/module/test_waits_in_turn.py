"""Waits that follow one another: lists, keys and newer keys, in any order, in one budget of time."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

import scene
from harness.tokens import Signer
from host import Header, HttpCall, Stream, Vm

GOOD: list[Header] = [(b":status", b"200")]
TIMEOUT_MS = 2_000
SOURCES = ("keys", "list 0", "list 1")
NOBODY = json.dumps({"identities": ["cn:nobody"]}).encode()


def _start(keys_timeout: int = TIMEOUT_MS, lists_timeout: int = TIMEOUT_MS, feeds: int = 2) -> Vm:
    def uri(cluster: str, timeout: int) -> dict[str, Any]:
        return {"cluster": cluster, "authority": "a.example", "path": "/", "timeout_ms": timeout}

    lists = [uri(f"list {index}", lists_timeout) | {"type": "json"} for index in range(feeds)]
    token = {"source": "jwks", "jwks_uri": uri("keys", keys_timeout)}
    return scene.start(scene.policy(token=token, revocation={"feeds": lists}))


def _calls(vm: Vm) -> dict[str, HttpCall]:
    calls = {call.cluster: call for call in vm.http_calls}
    vm.http_calls.clear()
    return calls


def _bring(vm: Vm, call: HttpCall, *signers: Signer) -> None:
    keys = json.dumps({"keys": [signer.jwk() for signer in signers or [scene.signer()]]}).encode()
    vm.answer(call, GOOD, keys if call.cluster == "keys" else NOBODY)


def _request(vm: Vm, number: int = 1, by: Signer | None = None) -> Stream:
    return vm.request(scene.headers(bearer=scene.token(by=by, jti=str(number))), scene.connection(number=number))


def _waits(stream: Stream) -> bool:
    return not stream.passed and stream.response is None


@pytest.mark.parametrize("order", list(itertools.permutations(SOURCES)), ids="-".join)
def test_a_request_waits_for_all_that_comes_in_time_in_whatever_order(order: tuple[str, ...]) -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    calls = _calls(vm)
    for source in order:
        assert _waits(stream), source
        vm.tick(400)
        _bring(vm, calls[source])
    assert stream.passed, stream.response


@pytest.mark.parametrize("missing, reason", [
    pytest.param("keys", "keys_unavailable", id="keys"),
    pytest.param("list 1", "revocation_unavailable", id="a list"),
])
def test_all_waits_together_have_one_budget(missing: str, reason: str) -> None:
    vm = _start()
    stream = _request(vm)
    vm.tick(100)
    calls = _calls(vm)
    vm.tick(TIMEOUT_MS - 200)
    for source in SOURCES:
        if source != missing:
            _bring(vm, calls[source])
    assert _waits(stream)
    vm.tick(100)
    assert stream.record["reason"] == reason


@pytest.mark.parametrize("keys, lists", [(4_000, 1_000), (1_000, 4_000)])
def test_the_budget_is_that_of_the_most_patient_source(keys: int, lists: int) -> None:
    vm = _start(keys, lists)
    stream = _request(vm)
    vm.tick(100)
    calls = _calls(vm)
    vm.tick(800)
    for source in ("list 0", "list 1"):
        _bring(vm, calls[source])
    vm.tick(2_900)
    assert _waits(stream), "lists came in time, and so may keys"
    _bring(vm, calls["keys"])
    assert stream.passed


def test_a_request_that_waited_for_lists_and_keys_may_wait_for_a_newer_key_once() -> None:
    vm, rotated = _start(feeds=1), Signer(key_id="key-2")
    vm.tick(100)
    calls = _calls(vm)
    vm.pass_time(100)
    stream = _request(vm, 1, rotated)
    _bring(vm, calls["list 0"])
    assert _waits(stream)
    # These keys were asked for before the request came.
    _bring(vm, calls["keys"])
    assert _waits(stream)
    vm.tick(100)
    _bring(vm, _calls(vm)["keys"], scene.signer(), rotated)
    assert stream.passed


def test_keys_that_were_asked_for_after_a_request_came_settle_it() -> None:
    vm, unknown = _start(feeds=1), Signer(key_id="nobody")
    stream = _request(vm, 1, unknown)
    vm.tick(100)
    calls = _calls(vm)
    _bring(vm, calls["keys"])
    _bring(vm, calls["list 0"])
    assert stream.record["reason"] == "token_key_unknown"
    vm.tick(100)
    assert not vm.http_calls


def test_a_request_that_is_gone_between_two_waits_is_not_decided_about() -> None:
    vm = _start(feeds=1)
    stream = _request(vm)
    vm.tick(100)
    calls = _calls(vm)
    _bring(vm, calls["list 0"])
    vm.end(stream)
    _bring(vm, calls["keys"])
    assert _waits(stream)
