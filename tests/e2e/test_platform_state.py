"""What a filter can write for others to read: filter state and shared data."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from conftest import Client, StartEnvoy
from harness import probe, protobuf
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.pki import Authority, Credential
from harness.probe import BAD_ARGUMENT, CAS_MISMATCH, NOT_FOUND, OK, Answer, Call
from harness.tls import ClientTls

NEVER_REACHED = str(2**32 - 1)
"""A compare-and-swap number that no counter gets to, for creating a key only where it is absent."""

# Passes a request only where Envoy's own filter state holds this value.
READER: Config = {"name": "envoy.filters.http.rbac", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
    "rules": {"action": "ALLOW", "policies": {"written": {
        "permissions": [{"any": True}],
        "principals": [{"filter_state": {"key": "envoy.string", "string_match": {"exact": "written"}}}],
    }}},
}}

_request_numbers = itertools.count()


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    return start_envoy(
        probe.listener("guarded", guard=True),
        probe.listener("read", after=[READER]),
        probe.listener("shared", vm_id="shared"),
        probe.listener("sharing", vm_id="shared"),
        probe.listener("apart"),
        binary=every_envoy,
    )


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue()


def test_the_guard_passes_exactly_the_verdict_allow(envoy: Envoy, leaf: Credential, http: Client) -> None:
    allow: Call = ("set_property", "allow", "mtls_authz.verdict")
    deny: Call = ("set_property", "deny", "mtls_authz.verdict")
    for calls, status in [((), 403), ((deny,), 403), ((allow,), 200), ((allow, deny), 403),
                          ((("set_property", "allowed", "mtls_authz.verdict"),), 403)]:
        with http(envoy.port("guarded"), ClientTls(leaf)) as client:
            assert client.request("GET", "/", [probe.script(*calls, ("continue",))]).status == status


def test_a_property_of_one_segment_is_filter_state_and_one_of_two_segments_is_not(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    for path, status in [(("mtls_authz.verdict",), 200), (("mtls_authz", "verdict"), 403)]:
        with http(envoy.port("guarded"), ClientTls(leaf)) as client:
            script = probe.script(("set_property", "allow", *path), ("continue",))
            assert client.request("GET", "/", [script]).status == status


def test_a_caller_cannot_write_the_verdict(envoy: Envoy, leaf: Credential, http: Client) -> None:
    headers = [("mtls_authz.verdict", "allow"), ("wasm.mtls_authz.verdict", "allow"), probe.script(("continue",))]
    with http(envoy.port("guarded"), ClientTls(leaf)) as client:
        assert client.request("GET", "/", headers).status == 403


def test_the_decision_is_in_the_access_log_whatever_bytes_it_holds(envoy: Envoy, leaf: Credential) -> None:
    request_id = f"decision-{next(_request_numbers)}"
    write: Call = ("set_property", b'quote " and byte \xff', "mtls_authz.decision")
    with Http1(envoy.port("guarded"), ClientTls(leaf)) as client:
        client.request("GET", "/", [probe.script(write), ("x-request-id", request_id)])
    assert envoy.record("guarded", request_id)["decision"] == 'quote " and byte \xff'


def test_what_an_earlier_filter_wrote_cannot_be_changed_by_ours(envoy: Envoy, leaf: Credential) -> None:
    path = ("filter_state", "mtls_authz.direct_remote_address")
    with Http1(envoy.port("apart"), ClientTls(leaf)) as client:
        written, address = probe.ask(client, ("set_property", "10.0.0.1", *path), ("property", *path))
    assert address == Answer(OK, b"127.0.0.1")


def test_the_foreign_function_writes_filter_state_that_other_filters_read(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    for value, status in [(b"written", 200), (b"other", 403)]:
        arguments = protobuf.message((1, b"envoy.string"), (2, value))
        with http(envoy.port("read"), ClientTls(leaf)) as client:
            script = probe.script(("foreign", "set_envoy_filter_state", arguments), ("continue",))
            assert client.request("GET", "/", [script]).status == status


def test_the_foreign_function_writes_only_keys_that_envoy_has_a_type_for(envoy: Envoy, leaf: Credential) -> None:
    own = protobuf.message((1, b"wasm.mtls_authz.verdict"), (2, b"allow"))
    with Http1(envoy.port("apart"), ClientTls(leaf)) as client:
        answers = probe.ask(client, ("foreign", "set_envoy_filter_state", own),
                            ("foreign", "set_envoy_filter_state", b"\xff\xff"))
    assert answers == [Answer(NOT_FOUND), Answer(BAD_ARGUMENT)]


def test_of_two_workers_that_create_a_key_without_a_number_the_first_is_lost(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("shared"), ClientTls(leaf)) as one, Http1(envoy.port("sharing"), ClientTls(leaf)) as two:
        assert probe.ask(one, ("shared", "race")) == probe.ask(two, ("shared", "race")) == [Answer(NOT_FOUND)]
        assert probe.ask(one, ("set_shared", "race", "first", "0")) == [Answer(OK)]
        assert probe.ask(two, ("set_shared", "race", "second", "0")) == [Answer(OK)]
        (answer,) = probe.ask(one, ("shared", "race"))
    assert answer.text().endswith(" second")


def test_a_key_created_with_a_number_that_is_never_reached_is_not_overwritten(
    envoy: Envoy, leaf: Credential
) -> None:
    with Http1(envoy.port("shared"), ClientTls(leaf)) as one, Http1(envoy.port("sharing"), ClientTls(leaf)) as two:
        assert probe.ask(one, ("set_shared", "safe", "first", NEVER_REACHED)) == [Answer(OK)]
        assert probe.ask(two, ("set_shared", "safe", "second", NEVER_REACHED)) == [Answer(CAS_MISMATCH)]
        (answer,) = probe.ask(two, ("shared", "safe"))
    assert answer.text().endswith(" first")


def test_a_swap_succeeds_only_with_the_number_that_was_read(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("shared"), ClientTls(leaf)) as client:
        probe.ask(client, ("set_shared", "swap", "a", "0"))
        number = probe.ask(client, ("shared", "swap"))[0].text().partition(" ")[0]
        answers = probe.ask(client, ("set_shared", "swap", "b", number), ("set_shared", "swap", "c", number))
        (after,) = probe.ask(client, ("shared", "swap"))
    assert answers == [Answer(OK), Answer(CAS_MISMATCH)]
    assert after.text().endswith(" b")


def test_shared_data_is_shared_by_all_with_one_vm_id_and_by_nobody_else(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("shared"), ClientTls(leaf)) as client:
        probe.ask(client, ("set_shared", "own", "value", "0"))
    with Http1(envoy.port("sharing"), ClientTls(leaf)) as client:
        assert probe.ask(client, ("shared", "own"))[0].text().endswith(" value")
    with Http1(envoy.port("apart"), ClientTls(leaf)) as client:
        assert probe.ask(client, ("shared", "own")) == [Answer(NOT_FOUND)]


def test_shared_data_is_shared_by_the_workers(start_envoy: StartEnvoy, every_envoy: Path, leaf: Credential) -> None:
    envoy = start_envoy(probe.listener("both"), binary=every_envoy, concurrency=2)
    with Http1(envoy.port("both"), ClientTls(leaf)) as client:
        probe.ask(client, ("set_shared", "key", "value", "0"))
    # Which worker takes a connection is chance, so connections are made until each has had one.
    while min(_connections_by_worker(envoy)) == 0:
        with Http1(envoy.port("both"), ClientTls(leaf)) as client:
            assert probe.ask(client, ("shared", "key"))[0].text().endswith(" value")


def _connections_by_worker(envoy: Envoy) -> list[int]:
    found = envoy.admin.stats(r"^listener\.127\.0\.0\.1_\d+\.worker_\d+\.downstream_cx_total$")
    assert len(found) == 2, found
    return list(found.values())
