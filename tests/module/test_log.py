"""What the filter writes into Envoy's log: so many lines and bytes in a second, whoever causes them."""

from __future__ import annotations

import json

import pytest
import scene
from host import Vm

LINE = 10 * 1024
BYTES_A_SECOND = 100 * 1024
JWKS_URI = {"cluster": "issuer", "authority": "auth.example", "path": "/jwks", "timeout_ms": 2000}


def _refuse(vm: Vm, path: str = "/secret", method: str = "GET", times: int = 1) -> None:
    for _ in range(times):
        stream = vm.request(scene.headers(path, method=method), scene.connection(None))
        assert stream.response is not None
        vm.end(stream)


def _flooded() -> Vm:
    """A machine in whose log there is no more room for decisions in this second."""
    vm = scene.start(scene.policy(audit={"log": "denied"}))
    _refuse(vm, times=200)
    assert len(vm.log) < 200
    vm.log.clear()
    return vm


def test_a_second_has_a_hundred_lines_and_the_next_says_how_many_are_missing() -> None:
    vm = scene.start(scene.policy(audit={"log": "denied"}))
    vm.log.clear()
    _refuse(vm, times=150)
    assert len(vm.log) == 100
    vm.tick(1_000)
    _refuse(vm)
    assert [line for _, line in vm.log[101:]] == [
        "mtls_authz: 50 lines were left out to keep the log bounded; the access log has every record"
    ]


OURS = "mtls_authz: "


@pytest.mark.parametrize(("names", "of_plugin", "of_request"), [
    ({}, OURS, OURS),
    ({"name": "payments.authz", "root_id": "authz", "vm_id": "edge"}, OURS, OURS),
    ({"name": "mtls_authz", "root_id": "", "vm_id": "edge"}, OURS, ""),
    ({"name": "payments.authz", "root_id": "mtls_authz"}, "", ""),
    ({"name": "", "vm_id": "mtls_authz"}, "", ""),
    ({"name": "mtls_authz_2"}, OURS, OURS),
], ids=str)
def test_a_line_has_the_name_of_the_filter_once_whatever_the_plugin_is_called(
    names: dict[str, str], of_plugin: str, of_request: str
) -> None:
    """Envoy writes the plugin's `root_id` and `vm_id` in front of each line, and its `name` before these if it is about a request."""
    vm = scene.load(scene.policy(audit={"log": "denied"}))
    vm.garbage = {f"get_property plugin_{name}": text.encode() for name, text in names.items()}
    assert vm.configure()
    _refuse(vm)
    assert vm.configure_again()
    assert not vm.configure_again(b"{")
    begins = ((of_plugin, "version"), (of_request, '{"decision"'), (of_plugin, "the configuration is refused"))
    for (begin, text), (_, line) in zip(begins, vm.log, strict=True):
        assert line.startswith(begin + text)


def test_long_lines_use_up_the_bytes_of_a_second_before_its_lines() -> None:
    vm = scene.start(scene.policy(audit={"log": "denied"}))
    vm.log.clear()
    _refuse(vm, "/" + "a" * 8_000, times=150)
    assert 30 < len(vm.log) < 60
    assert BYTES_A_SECOND - LINE < sum(len(line.encode()) for _, line in vm.log) <= BYTES_A_SECOND


def test_a_method_of_any_length_is_one_short_line() -> None:
    vm = scene.start(scene.policy(audit={"log": "denied"}))
    vm.log.clear()
    _refuse(vm, method="M" * 50_000)
    ((level, line),) = vm.log
    record = json.loads(line.removeprefix("mtls_authz: ").partition(" Remedy: ")[0])
    assert (level, record["reason"], record["method"]) == ("warn", "request_malformed", "M" * 61 + "…")
    assert "64 bytes" in record["note"]
    assert len(line) < 1_000


def test_a_flood_of_refused_requests_hides_neither_certificates_nor_configurations() -> None:
    vm = _flooded()
    _refuse(vm)
    assert vm.log == []
    assert vm.request(scene.headers(bearer=scene.token()), scene.connection(number=2)).passed
    assert [json.loads(line.removeprefix("mtls_authz: "))["event"] for _, line in vm.log] == ["certificate_seen"]
    vm.log.clear()
    assert not vm.configure_again(b'{"mode": "none"}')
    assert [level for level, _ in vm.log] == ["error"]


def test_a_key_set_full_of_bad_keys_with_long_names_is_a_few_short_lines() -> None:
    vm = scene.start(scene.policy(token={"source": "jwks", "jwks_uri": JWKS_URI}))
    vm.tick(100)
    ((call,), vm.log[:]) = (vm.http_calls, [])
    keys = [{"kty": "RSA", "kid": f"\n{number}" + "k" * 2_000, "n": "AQAB", "e": "AQAB"} for number in range(99)]
    body = json.dumps({"keys": [*keys, scene.signer().jwk()]}).encode()
    vm.answer(call, [(b":status", b"200")], body)
    assert [level for level, _ in vm.log] == ["warn"] * 11 + ["info"]
    assert "89 further keys" in vm.log[10][1]
    assert all(len(line) < 500 and line.isprintable() for _, line in vm.log)
