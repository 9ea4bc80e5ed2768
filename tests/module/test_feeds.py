"""Lists of revoked certificates that are fetched, in the built module: what they cost, and hosts that do not play along."""

from __future__ import annotations

import json
from collections.abc import Callable

import feeds
import pytest
import scene
from host import SECOND, STATUSES, Stream, Vm

ADOPTED = "mtls_fetch_total.source.feed_0.outcome.adopted"
FAILED = "mtls_fetch_total.source.feed_0.outcome.failed"
REVOKED = json.dumps({"identities": ["cn:acme"]}).encode()
NOBODY = json.dumps({"identities": ["cn:nobody"]}).encode()


def _start() -> Vm:
    """A worker that has waited for its first list in vain."""
    vm = scene.start(feeds.feed())
    vm.tick(2_000)
    return vm


def _reason(vm: Vm, number: int = 1, **claims: int) -> str | None:
    bearer = scene.token(jti=str(number), **claims)
    stream = vm.request(scene.headers(bearer=bearer), scene.connection(number=number))
    reason = stream.record["reason"]
    assert stream.has_verdict == (reason is None)
    vm.end(stream)
    found: str | None = reason
    return found


def test_a_list_is_asked_for_and_its_entity_tag_named() -> None:
    vm = scene.start(feeds.feed())
    vm.tick(100)
    first = feeds.call(vm)
    assert (first.cluster, first.timeout_ms) == ("lists", 2000)
    assert first.headers == [
        (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"lists.example"), (b":path", b"/"),
        (b"accept", b"application/json"), (b"user-agent", scene.USER_AGENT),
    ]
    vm.answer(first, [*feeds.GOOD, (b"etag", b'"1"')], NOBODY)
    assert _reason(vm) is None
    vm.tick(10_000)
    second = feeds.call(vm)
    assert (b"if-none-match", b'"1"') in second.headers
    vm.answer(second, [(b":status", b"304")])
    assert vm.counters["mtls_fetch_total.source.feed_0.outcome.unchanged"] == 1
    assert _reason(vm) is None


def test_an_entry_refuses_the_next_request_of_a_known_connection_and_its_end_lets_it_in_again() -> None:
    vm = _start()
    assert _reason(vm) == "revocation_unavailable"
    vm.http_calls.clear()
    for body, expected in [(NOBODY, None), (REVOKED, "certificate_revoked"), (NOBODY, None)]:
        vm.tick(10_000)
        vm.answer(feeds.call(vm), feeds.GOOD, body)
        assert [_reason(vm), _reason(vm)] == [expected, expected]
    assert vm.counters[ADOPTED] == 3


def _request(vm: Vm, number: int) -> Stream:
    return vm.request(scene.headers(bearer=scene.token(jti=str(number))), scene.connection(number=number))


def test_requests_wait_for_the_first_list_and_are_then_decided_about() -> None:
    for body, expected in [(NOBODY, None), (REVOKED, "certificate_revoked")]:
        vm = scene.start(feeds.feed())
        early = _request(vm, 1)
        assert not early.passed and early.response is None and not early.filter_state
        vm.tick(100)
        gone = _request(vm, 2)
        vm.end(gone)
        vm.answer(feeds.call(vm), feeds.GOOD, body)
        assert early.record["reason"] == expected and early.has_verdict == (expected is None)
        assert _reason(vm) == expected


def test_requests_wait_at_most_as_long_as_a_fetch_may_take_and_only_at_the_start() -> None:
    vm = scene.start(feeds.feed())
    vm.tick(100)
    vm.answer(feeds.call(vm), [])
    early = _request(vm, 1)
    vm.tick(1_899)
    assert early.response is None
    vm.tick(1)
    assert early.record["reason"] == "revocation_unavailable"
    assert _reason(vm, 2) == "revocation_unavailable"


JUMPS = pytest.mark.parametrize("jump", [1_800, -1_800])


@JUMPS
def test_a_request_waits_as_long_as_a_fetch_may_take_whatever_the_clock_is_set_to(jump: int) -> None:
    vm = scene.start(feeds.feed())
    early = _request(vm, 1)
    vm.tick(100)
    vm.now += jump * SECOND
    vm.tick(1_899)
    assert early.response is None
    vm.tick(1)
    assert early.record["reason"] == "revocation_unavailable"


@JUMPS
def test_a_list_is_fetched_and_grows_old_as_if_no_clock_had_been_set(jump: int) -> None:
    vm = scene.start(feeds.feed(max_stale_seconds=30))
    vm.tick(100)
    vm.answer(feeds.call(vm), feeds.GOOD, NOBODY)
    always = {"iat": 0, "nbf": 0, "exp": scene.seconds_from_now(7_200)}
    vm.now += jump * SECOND
    vm.tick(8_000)
    assert (_reason(vm, **always), vm.http_calls) == (None, [])
    vm.tick(2_000)
    vm.answer(feeds.call(vm), [])
    assert vm.gauges["mtls_fetch_age_seconds.source.feed_0"] == 10
    vm.tick(19_999)
    assert _reason(vm, **always) is None
    vm.tick(1)
    assert _reason(vm, **always) == "revocation_unavailable"


@pytest.mark.parametrize("status", STATUSES[1:])
def test_without_a_monotonic_clock_no_list_counts_and_no_request_waits(status: int) -> None:
    vm = scene.start(feeds.feed())
    vm.tick(100)
    early = _request(vm, 1)
    vm.sabotage = lambda call: status if call == "clock_time_get" else None
    vm.tick(100)
    assert early.record["reason"] == "revocation_unavailable"
    vm.sabotage = lambda call: None
    vm.answer(feeds.call(vm), feeds.GOOD, NOBODY)
    vm.tick(100)
    assert _reason(vm) is None
    vm.sabotage = lambda call: status if call == "clock_time_get" else None
    vm.tick(100)
    assert _reason(vm) == "revocation_unavailable"


def test_without_a_timer_the_list_of_another_worker_does_not_count() -> None:
    first = scene.start(feeds.feed())
    first.tick(100)
    first.answer(feeds.call(first), feeds.GOOD, NOBODY)
    other = scene.load(feeds.feed())
    other.shared, other.now, other.monotonic = first.shared, first.now, first.monotonic
    other.sabotage = lambda call: 10 if call.startswith("set_tick_period") else None
    assert other.configure(), other.log
    assert _reason(other) == "revocation_unavailable"


def test_a_worker_that_finds_the_list_with_the_others_lets_nobody_wait() -> None:
    first = scene.start(feeds.feed())
    first.tick(100)
    first.answer(feeds.call(first), feeds.GOOD, NOBODY)
    other = scene.load(feeds.feed())
    other.shared, other.now = first.shared, first.now
    assert other.configure(), other.log
    assert _reason(other) is None


def test_who_waits_is_decided_about_when_the_configuration_is_replaced() -> None:
    vm = scene.start(feeds.feed())
    early = _request(vm, 1)
    assert vm.configure_again()
    assert early.record["reason"] == "revocation_unavailable"


@pytest.mark.parametrize("end", [Vm.configure_again, Vm.end_plugin])
def test_what_a_worker_has_asked_for_when_it_ends_is_asked_for_again_at_once(end: Callable[[Vm], object]) -> None:
    first = scene.start(feeds.feed())
    first.tick(100)
    call = feeds.call(first)
    other = scene.load(feeds.feed())
    other.shared, other.now = first.shared, first.now
    assert other.configure(), other.log
    other.tick(100)
    assert not other.http_calls
    end(first)
    other.tick(100)
    other.answer(feeds.call(other), feeds.GOOD, NOBODY)
    assert _reason(other) is None
    # An answer that reaches the worker that ended changes nothing.
    first.answer(call, feeds.GOOD, REVOKED)
    other.tick(100)
    assert _reason(other) is None


def test_a_known_request_costs_the_same_whatever_the_length_of_the_list() -> None:
    for one, many in zip(feeds.costs(1), feeds.costs(20_000)):
        assert many.request_fuel - one.request_fuel < one.request_fuel / 50, many.name
        # Which places of a table are taken differs a little.
        assert many.new_connection_fuel - one.new_connection_fuel < one.new_connection_fuel / 20, many.name


def test_lists_leave_nothing_behind() -> None:
    vm = scene.start(feeds.feed())
    pages = []
    for number in range(12):
        vm.tick(10_000)
        body = json.dumps({"sha256": [f"{number * 100_000 + entry:064x}" for entry in range(5_000)]}).encode()
        vm.answer(feeds.call(vm), feeds.GOOD, body)
        pages.append(vm.pages)
    assert vm.counters[ADOPTED] == 12
    assert pages[-1] <= pages[2] + 1, pages


def test_a_hundred_thousand_entries_take_a_bounded_memory() -> None:
    for found in feeds.costs(100_000):
        # The entries, where each ends and a table of places; for a moment what was read or left, too.
        assert found.taking_over_bytes < 10 * 1024 * 1024, found.name
        assert found.fetching_bytes < 32 * 1024 * 1024, found.name


@pytest.mark.parametrize("status", STATUSES)
def test_no_failing_call_clears_a_certificate_or_takes_the_worker_down(status: int) -> None:
    vm = _start()
    for call in (
        "get_shared_data mtls_authz.feed.state", "set_shared_data mtls_authz.feed.state", "http_call lists",
        "get_shared_data mtls_authz.feed.list", "set_shared_data mtls_authz.feed.list",
        "get_shared_data mtls_authz.feed.attempt", "set_shared_data mtls_authz.feed.attempt", "clock_time_get",
        "get_header_map_pairs http_call_response_headers", "get_buffer_bytes http_call_response_body",
    ):
        vm.sabotage = lambda made, failing=call: status if made.startswith(failing) else None  # type: ignore[misc]
        for _ in range(3):
            vm.tick(10_000)
            for sent in list(vm.http_calls):
                vm.http_calls.remove(sent)
                vm.answer(sent, feeds.GOOD, REVOKED)
            assert _reason(vm) in ("revocation_unavailable", "certificate_revoked"), call
    vm.sabotage = lambda call: None
    vm.tick(10_000)
    for sent in vm.http_calls:
        vm.answer(sent, feeds.GOOD, REVOKED)
    assert _reason(vm) == "certificate_revoked"


def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    vm = _start()
    vm.answer(77, feeds.GOOD, NOBODY)
    assert _reason(vm) == "revocation_unavailable"
    sent = feeds.call(vm)
    vm.answer(sent, [])
    assert vm.counters[FAILED] == 1
    vm.answer(sent, feeds.GOOD, NOBODY)
    assert _reason(vm) == "revocation_unavailable"
