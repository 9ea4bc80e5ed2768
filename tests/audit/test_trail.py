"""Every decision comes to Kafka, whatever is stopped, killed or rotated in between; what cannot come is seen in a metric."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.http1 import Http1
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.shipped import Folder
from harness.tls import ClientTls
from harness.upstream import Upstream
from trail import KINDS, NOBODY, Broker, Callers, Edge, Message, Sent, Shipper, wait

pytestmark = pytest.mark.timeout(400)
OUTAGE_SECONDS = 60
WINDOW = 100
"""`log-iw-size` in the configuration."""
BOUND = {"acme-mobile": "payments:read", "globex-batch": "payments:read"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def people(folder: Folder) -> dict[str, Credential]:
    return {kind.who: folder.credential(kind.who) for kind in KINDS if kind.who}


@pytest.fixture(scope="module")
def tokens(folder: Folder) -> dict[str, Header]:
    return {who: folder.token(who, who, scope) for who, scope in BOUND.items()}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def edge(tmp_path: Path, folder: Folder, upstream: Upstream) -> Iterator[Edge]:
    with Edge(tmp_path, folder, upstream) as running:
        yield running


@pytest.fixture
def callers(edge: Edge, people: dict[str, Credential], tokens: dict[str, Header]) -> Iterator[Callers]:
    with Callers(edge.port, people, tokens) as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def shipper(tmp_path: Path, edge: Edge, broker: Broker) -> Iterator[Shipper]:
    with Shipper(tmp_path, edge.access_log, broker.address) as running:
        yield running


def request_ids(messages: list[Message]) -> list[str]:
    """The request of each message, as the decision record names it."""
    return [message.value["decision"]["request_id"] for message in messages]


def arrived(broker: Broker, sent: list[Sent]) -> list[Message]:
    """The topic, as soon as all that was sent is in it."""
    expected = {each.request_id for each in sent}
    wait("every request in the topic", lambda: expected <= set(request_ids(broker.messages())))
    return broker.messages()


def assert_complete_and_in_order(messages: list[Message], sent: list[Sent]) -> None:
    """All that was sent and nothing else, a client's in one partition and in the order in which it sent them."""
    firsts: dict[str, Message] = {}
    for request_id, message in zip(request_ids(messages), messages):
        firsts.setdefault(request_id, message)
    for key in {each.key for each in sent}:
        of_key = [message for message in firsts.values() if message.key == key]
        asked = [each for each in sent if each.key == key]
        assert len({message.partition for message in of_key}) == 1
        assert sorted(request_ids(of_key)) == sorted(each.request_id for each in asked)
        if key != NOBODY:
            assert [(m.value["decision"]["path"], m.value["status"]) for m in of_key] == [(s.path, s.status) for s in asked]
    assert {message.key for message in messages} == {each.key for each in sent}


def assert_once(messages: list[Message]) -> None:
    """No record is there twice."""
    ids = request_ids(messages)
    assert len(ids) == len(set(ids))


def test_every_request_has_one_record_in_the_order_of_its_client(broker: Broker, shipper: Shipper, callers: Callers) -> None:
    for _ in range(20):
        callers.round()
    messages = arrived(broker, callers.sent)
    assert_once(messages)
    assert_complete_and_in_order(messages, callers.sent)
    assert len(messages) == 20 * len(KINDS)
    assert {(message.key, message.value["decision"]["client_id"]) for message in messages} == {
        ("acme-mobile", "acme-mobile"), ("globex-batch", "globex-batch"), ("initech-erp", "initech-erp"), (NOBODY, None),
    }
    assert sum(message.value["decision"]["rule"] == "bypass[0]" for message in messages) == 20
    wait("an empty queue", lambda: shipper.queued() == 0)
    assert (shipper.total("trail", "written"), shipper.total("trail", "dropped")) == (len(messages), 0)


def test_a_request_that_envoy_answers_before_the_filter_is_in_the_trail_without_a_decision(
    edge: Edge, broker: Broker, shipper: Shipper
) -> None:
    with Http1(edge.port, ClientTls()) as client:
        assert client.request("GET", "/health", [("x_client_id", "acme-mobile")]).status == 400
    wait("a message", lambda: len(broker.messages()) == 1)
    (message,) = broker.messages()
    assert (message.key, message.value["status"], message.value["decision"]) == (NOBODY, 400, None)
    assert message.value["details"] and message.value["peer"] == "127.0.0.1" and message.value["time"]


def test_a_handshake_that_envoy_refuses_is_in_the_trail_with_its_reason(
    edge: Edge, folder: Folder, broker: Broker, shipper: Shipper
) -> None:
    with pytest.raises((OSError, ConnectionEnded)), Http1(edge.port, ClientTls(folder.credential("impostor"))) as client:
        client.request("GET", "/health")
    wait("a message", lambda: len(broker.messages()) == 1)
    (message,) = broker.messages()
    assert (message.key, message.value["status"], message.value["decision"]) == (NOBODY, None, None)
    assert "CERTIFICATE_VERIFY_FAILED" in message.value["details"] and message.value["peer"] == "127.0.0.1"


def test_the_longest_path_that_is_recorded_comes_whole(edge: Edge, broker: Broker, shipper: Shipper) -> None:
    path = "/payments/".ljust(2_048, "x")
    with Http1(edge.port, ClientTls()) as client:
        request_id = client.request("GET", path).json()["request_id"]
    wait("its record", lambda: request_ids(broker.messages()) == [request_id])
    assert broker.messages()[0].value["decision"]["path"] == path


def test_a_minute_without_the_broker_loses_nothing_repeats_nothing_and_delays_no_answer(
    broker: Broker, shipper: Shipper, callers: Callers
) -> None:
    callers.round()
    arrived(broker, callers.sent)
    written = shipper.total("trail", "written")
    broker.stop()
    slowest, end = 0.0, time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < end:
        begin = time.monotonic()
        callers.round()
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.5)
    # A round is seven requests; each was answered, and none waited for the broker.
    assert slowest < OUTAGE_SECONDS / 4
    # What the metrics say of it: read, not written, and more waiting on disk than what is just being sent.
    wait("all of them on disk", lambda: shipper.total("trail", "processed") == len(callers.sent))
    assert shipper.total("trail", "written") == written == len(KINDS) and shipper.queued() > 0
    assert len(callers.sent) > 300
    broker.resume()
    callers.round()
    messages = arrived(broker, callers.sent)
    assert_once(messages)
    assert_complete_and_in_order(messages, callers.sent)
    wait("an empty queue", lambda: shipper.queued() == 0)
    assert shipper.total("trail", "dropped") == 0


def test_what_waits_on_disk_survives_a_killed_shipper(broker: Broker, shipper: Shipper, callers: Callers) -> None:
    for _ in range(5):
        callers.round()
    arrived(broker, callers.sent)
    broker.stop()
    for _ in range(5):
        callers.round()
    wait("records on disk", lambda: shipper.total("trail", "processed") == len(callers.sent))
    shipper.kill()
    callers.round()
    shipper.start()
    wait("the others on disk", lambda: shipper.total("trail", "processed") >= len(KINDS))
    broker.resume()
    messages = arrived(broker, callers.sent)
    assert_complete_and_in_order(messages, callers.sent)
    # At least once: what was read but not yet noted as read comes again, with the same request_id.
    assert len(messages) - len(callers.sent) <= WINDOW


def test_records_wait_for_a_broker_that_was_not_there(tmp_path: Path, edge: Edge, callers: Callers) -> None:
    broker = Broker(tmp_path)
    with Shipper(tmp_path, edge.access_log, broker.address) as shipper:
        callers.round()
        wait("records on disk", lambda: shipper.total("trail", "processed") == len(KINDS))
        with broker:
            messages = arrived(broker, callers.sent)
            assert_once(messages)
            assert_complete_and_in_order(messages, callers.sent)


def test_a_full_disk_queue_stops_the_reading_and_drops_nothing(
    broker: Broker, shipper: Shipper, edge: Edge, callers: Callers
) -> None:
    callers.round()
    arrived(broker, callers.sent)
    broker.stop()
    line = next(line for line in edge.access_log.read_text().splitlines() if callers.sent[0].request_id in line)
    names = [f"repeated-{number}" for number in range(40_000)]
    with edge.access_log.open("a") as log:
        log.writelines(line.replace(callers.sent[0].request_id, name) + "\n" for name in names)
    processed = [-1]

    def stands_still() -> bool:
        processed.append(shipper.total("trail", "processed"))
        time.sleep(1)
        return 1000 < processed[-2] == processed[-1]

    wait("a full queue", stands_still)
    assert processed[-1] < len(names)
    callers.round()
    broker.resume()
    wait("all of them", lambda: shipper.total("trail", "written") == len(names) + len(callers.sent))
    messages = broker.messages()
    assert_once(messages)
    assert [name for name in request_ids(messages) if name.startswith("repeated-")] == names
    assert shipper.total("trail", "dropped") == 0


def test_a_rotated_access_log_is_read_to_its_end(
    broker: Broker, shipper: Shipper, edge: Edge, callers: Callers
) -> None:
    for _ in range(3):
        callers.round()
        edge.rotate()
        callers.round()
        arrived(broker, callers.sent)
    messages = arrived(broker, callers.sent)
    assert_once(messages)
    assert_complete_and_in_order(messages, callers.sent)


LINES = {"no JSON": "[warning] something else that came into this file", "too long": '{"decision":"' + "x" * 600_000 + '"}'}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_what_is_no_record_is_counted_and_kept_and_stops_nothing(
    edge: Edge, broker: Broker, shipper: Shipper, callers: Callers, line: str
) -> None:
    callers.round()
    arrived(broker, callers.sent)
    assert shipper.total("rejected", "processed") == 0
    with edge.access_log.open("a") as log:
        log.write(line + "\n")
    callers.round()
    messages = arrived(broker, callers.sent)
    assert_once(messages)
    assert_complete_and_in_order(messages, callers.sent)
    wait("the metric", lambda: shipper.total("rejected", "processed") > 0)
    assert "".join(shipper.rejected()) == line
