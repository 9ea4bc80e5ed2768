"""Whatever is wrong with a feed: the last good list stays, and nobody passes whom no list has vouched for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509

from conftest import Bearer, Client, ServeFeeds
from harness import grpc_client, verdicts
from harness.envoy import Envoy
from harness.feed_server import MINUTE, Feed, crl, crl_answer, fetched, json_answer, json_list, policy
from harness.fetched import RESET, Answer, cut
from harness.filters import JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.load import Asking, Load
from harness.pki import Authority, Credential
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer
from harness.verdicts import ask

SERIAL = {"issuer": "CN=Example Intermediate", "serial": "01"}
UNAVAILABLE = Answer(status=503)
HTML = Answer(b"<!DOCTYPE html><html><body>Please sign in</body></html>", content_type="text/html")


# Lists that cannot be used.


@dataclass(frozen=True)
class Bad:
    """What a bad list is made of: it takes `first`, which the good one has, off the list, and puts `second` on it."""

    issuer: Authority
    other: Authority
    first: Credential
    second: Credential

    def crl(self, **more: Any) -> Answer:
        return crl(self.issuer, self.second, **{"number": 6, **more})

    def json(self, **more: Any) -> Answer:
        return json_answer(sha256=[self.second.thumbprint_hex], **more)


def tampered(answer: Answer, credential: Credential) -> Answer:
    """The list with the serial of a certificate changed behind its signature."""
    number = credential.certificate.serial_number
    old, new = (each.to_bytes((each.bit_length() + 8) // 8, "big") for each in (number, number ^ 1))
    assert answer.body.count(old) == 1
    return replace(answer, body=answer.body.replace(old, new))


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")


def scope(*, authorities: bool = False, indirect: bool = False) -> list[tuple[x509.ExtensionType, bool]]:
    """The extension that says which certificates a list is about."""
    point = x509.IssuingDistributionPoint(
        full_name=None, relative_name=None, only_contains_user_certs=False, only_contains_ca_certs=authorities,
        only_some_reasons=None, indirect_crl=indirect, only_contains_attribute_certs=False,
    )
    return [(point, True)]


BAD_CRLS: dict[str, Callable[[Bad], Answer]] = {
    "a delta": lambda bad: bad.crl(extensions=[(x509.DeltaCRLIndicator(5), True)]),
    "a delta that calls itself uncritical": lambda bad: bad.crl(extensions=[(x509.DeltaCRLIndicator(5), False)]),
    "an indirect list": lambda bad: bad.crl(extensions=scope(indirect=True)),
    "a list for authorities": lambda bad: bad.crl(extensions=scope(authorities=True)),
    "an entry of another issuer": lambda bad: bad.crl(entry_extensions=[
        (x509.CertificateIssuer([x509.DirectoryName(bad.other.credential.certificate.subject)]), True)]),
    "an unknown critical extension": lambda bad: bad.crl(extensions=[(UNKNOWN, True)]),
    "a stranger's signature": lambda bad: bad.crl(key=bad.other),
    "another issuer's name": lambda bad: bad.crl(name=bad.other.credential.certificate.subject),
    "another issuer's list": lambda bad: crl(bad.other, bad.second, number=6),
    "an entry that was changed": lambda bad: tampered(bad.crl(), bad.second),
    "an older number": lambda bad: bad.crl(number=4),
    "an older time": lambda bad: bad.crl(this_update=-10 * MINUTE),
    "a time to come": lambda bad: bad.crl(this_update=30 * MINUTE),
    "garbage": lambda bad: crl_answer(b"\x30\x82" + b"\xa5" * 1000),
    "a truncated list": lambda bad: crl_answer(bad.crl().body[:-20]),
    "a byte too many": lambda bad: crl_answer(bad.crl().body + b"\0"),
}
BAD_JSON: dict[str, Callable[[Bad], Answer]] = {
    "an unknown key": lambda bad: bad.json(sha512=[]),
    "a key twice": lambda bad: replace(bad.json(), body=bad.json().body[:-1] + b',"sha256":[]}'),
    "a bad thumbprint": lambda bad: json_answer(sha256=[bad.second.thumbprint_hex, "00"]),
    "a bad serial": lambda bad: bad.json(serials=[{**SERIAL, "serial": "x"}]),
    "a serial with an unknown key": lambda bad: bad.json(serials=[{**SERIAL, "date": "2026"}]),
    "a bad identity": lambda bad: bad.json(identities=["acme"]),
    "an array": lambda bad: replace(bad.json(), body=b"[" + bad.json().body + b"]"),
    "no list": lambda bad: json_answer(),
    "a null": lambda bad: bad.json(serials=None),
    "a string": lambda bad: json_answer(sha256=bad.second.thumbprint_hex),
    "an answer that is cut": lambda bad: replace(bad.json(), body=bad.json().body[:-2]),
    "two documents": lambda bad: replace(bad.json(), body=bad.json().body * 2),
    "a hundred thousand levels": lambda bad: replace(bad.json(), body=b'{"sha256":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a byte that is no text": lambda bad: replace(
        bad.json(), body=bad.json(identities=["cn:x"]).body.replace(b"cn:x", b"cn:\xff")),
    "zeros": lambda bad: Answer(b"\0" * 1000),
    "HTML": lambda bad: HTML,
}


@dataclass
class BadFeeds:
    """A listener with a feed for each bad list, every one of which has adopted a good list first."""

    envoy: Envoy
    feeds: Sequence[Feed]
    cases: Mapping[str, Bad]
    failed: Sequence[float] = field(default_factory=list)
    adopted: Sequence[float] = field(default_factory=list)
    """What had been counted before the bad lists."""

    def index(self, what: str) -> int:
        return list(self.cases).index(what)

    def verdicts(self, what: str) -> list[str]:
        """What the certificate of the good list and the one of the bad list come to."""
        return [ask(self.envoy.port("main"), each) for each in (self.cases[what].first, self.cases[what].second)]

    def publish(self, answers: Mapping[str, Answer]) -> None:
        self.failed, self.adopted = ([fetched(self.envoy, index, outcome) for index in range(len(self.feeds))]
                                     for outcome in ("failed", "adopted"))
        for feed, what in zip(self.feeds, self.cases):
            feed.server.publish(answers[what])


def bad_feeds(
    serve_feeds: ServeFeeds, root: Authority, bad: Mapping[str, Callable[[Bad], Answer]], *, of_crls: bool
) -> BadFeeds:
    issuer, other = root.intermediate("Example Intermediate"), root.intermediate("Example Stranger")
    cases = {what: Bad(issuer, other, issuer.issue(), issuer.issue()) for what in bad}

    def good(case: Bad) -> Answer:
        return crl(issuer, case.first, number=5) if of_crls else json_list(case.first)

    kind = "crl" if of_crls else "json"
    feeds = [Feed(f"{kind}-{number}", good(case), issuer if of_crls else None) for number, case in enumerate(cases.values())]
    envoy = serve_feeds(feeds, Listener("main", policy(*feeds)))
    found = BadFeeds(envoy, feeds, cases)
    envoy.wait("all good lists", lambda: all(fetched(envoy, index, "unchanged") for index in range(len(feeds))))
    found.publish({what: bad[what](case) for what, case in cases.items()})
    return found


@pytest.fixture(scope="module")
def bad_crls(serve_feeds: ServeFeeds, root: Authority) -> BadFeeds:
    return bad_feeds(serve_feeds, root, BAD_CRLS, of_crls=True)


@pytest.fixture(scope="module")
def bad_json(serve_feeds: ServeFeeds, root: Authority) -> BadFeeds:
    return bad_feeds(serve_feeds, root, BAD_JSON, of_crls=False)


def assert_the_last_good_list_stays(feeds: BadFeeds, what: str, record_property: Callable[[str, object], None]) -> None:
    index = feeds.index(what)
    feeds.envoy.wait("two failures", lambda: fetched(feeds.envoy, index, "failed") >= feeds.failed[index] + 2)
    assert fetched(feeds.envoy, index, "adopted") == feeds.adopted[index]
    assert feeds.verdicts(what) == ["certificate_revoked", "allowed"]
    line = feeds.envoy.wait_for_log(f"revocation.feeds[{index}]: what was fetched cannot be used: ")
    assert "[warning]" in line and line.rstrip().endswith("; the last good list stays in force")
    record_property("log", line)


@pytest.mark.parametrize("what", BAD_CRLS)
def test_a_crl_that_cannot_be_used_leaves_the_last_good_one_in_force(
    bad_crls: BadFeeds, what: str, record_property: Callable[[str, object], None]
) -> None:
    assert_the_last_good_list_stays(bad_crls, what, record_property)


@pytest.mark.parametrize("what", BAD_JSON)
def test_a_document_that_cannot_be_used_leaves_the_last_good_one_in_force(
    bad_json: BadFeeds, what: str, record_property: Callable[[str, object], None]
) -> None:
    assert_the_last_good_list_stays(bad_json, what, record_property)


def test_a_good_list_after_a_bad_one_is_adopted(bad_crls: BadFeeds, bad_json: BadFeeds) -> None:
    bad_crls.publish({what: crl(case.issuer, case.second, number=7) for what, case in bad_crls.cases.items()})
    bad_json.publish({what: json_list(case.second) for what, case in bad_json.cases.items()})
    for feeds in (bad_crls, bad_json):
        for what in feeds.cases:
            feeds.envoy.wait(f"the list after {what}", lambda: feeds.verdicts(what) == ["allowed", "certificate_revoked"])


# Lists that have never come, or have grown old.


@dataclass(frozen=True)
class Stale:
    """Listeners whose feeds never came, or came once and were lost, the certificates, and who has issued them."""

    envoy: Envoy
    issuer: Authority
    feeds: Mapping[str, Feed]
    good: Credential
    revoked: Credential

    def verdicts(self, name: str) -> list[str]:
        """What the good and the revoked certificate come to."""
        return [ask(self.envoy.port(name), each) for each in (self.good, self.revoked)]

    def wait(self, name: str, *expected: str) -> None:
        self.envoy.wait(f"{expected} at {name}", lambda: self.verdicts(name) == list(expected))


@pytest.fixture(scope="module")
def stale(serve_feeds: ServeFeeds, issuer: Authority, signer: Signer) -> Stale:
    good, revoked = issuer.issue([("CN", "good")]), issuer.issue([("CN", "revoked")])
    allow = {"on_stale": "allow"}
    feeds = {
        "never_deny": Feed("never-deny", UNAVAILABLE),
        "never_allow": Feed("never-allow", UNAVAILABLE, settings=allow),
        "optional": Feed("optional", UNAVAILABLE),
        "old_deny": Feed("old-deny", json_list(revoked), settings={"max_stale_seconds": 3}),
        # Stale before the other one is.
        "old_allow": Feed("old-allow", json_list(revoked), settings={"max_stale_seconds": 1, **allow}),
        "next_deny": Feed("next-deny", crl(issuer), issuer),
        "next_allow": Feed("next-allow", crl(issuer), issuer, allow),
    }
    clients = {name: {"identities": [f"cn:{name}"], "profiles": ["partner"]} for name in ("good", "revoked")}
    optional = policy(feeds["optional"], mode="bearer_plus_mtls_optional", clients=clients, identity={},
                      token={"audiences": [AUDIENCE]}, bypass=[{"path": "/health"}])
    listeners = [Listener(name, policy(feed)) for name, feed in feeds.items() if name != "optional"]
    envoy = serve_feeds(list(feeds.values()), *listeners, Listener("optional", optional, jwt=JwtAuthn((signer,))))
    return Stale(envoy, issuer, feeds, good, revoked)


@pytest.fixture(scope="module")
def lost(stale: Stale) -> Stale:
    """All feeds that came have come, and from now on nothing new comes."""
    for name in ("old_deny", "old_allow"):
        stale.wait(name, "allowed", "certificate_revoked")
    for name in ("next_deny", "next_allow"):
        stale.wait(name, "allowed", "allowed")
    for name in ("old_allow", "old_deny"):
        stale.feeds[name].server.publish(UNAVAILABLE)
    last = crl(stale.issuer, stale.revoked, number=2, next_update=timedelta(seconds=4))
    for name in ("next_allow", "next_deny"):
        stale.feeds[name].server.publish(last)
    return stale


def test_while_a_list_has_never_come_every_certificate_is_refused(stale: Stale, root: Authority, http: Client) -> None:
    with http(stale.envoy.port("never_deny"), ClientTls(stale.good)) as client:
        answer = client.request("GET", "/", [("x-request-id", f"never-{http.__name__}")])
    problem = verdicts.refused(answer, "revocation_unavailable")
    assert not answer.values("www-authenticate") and "feed" not in json.dumps(problem)
    decision = stale.envoy.record("never_deny", f"never-{http.__name__}")["decision"]
    assert (decision["decision"], decision["status"], decision["rule"]) == ("deny", 503, None)
    verdicts.refused_grpc(grpc_client.call(stale.envoy.port("never_deny"), root, stale.good), "revocation_unavailable")
    assert stale.verdicts("never_deny") == ["revocation_unavailable"] * 2


def test_with_on_stale_allow_certificates_are_good_while_no_list_has_come(stale: Stale) -> None:
    assert stale.verdicts("never_allow") == ["allowed", "allowed"]


def test_a_token_alone_needs_a_list_as_a_certificate_does(stale: Stale, bearer: Bearer) -> None:
    port = stale.envoy.port("optional")
    assert ask(port, None, headers=[bearer("good")]) == "revocation_unavailable"
    assert ask(port, None, "/health") == ask(port, stale.revoked, "/health") == "allowed"
    assert ask(port, stale.good, headers=[bearer("good")]) == "revocation_unavailable"
    assert ask(port, stale.good, headers=[bearer("good", stale.good)]) == "revocation_unavailable"
    assert ask(port, None, headers=[bearer("good", stale.good)]) == "certificate_missing"


def test_a_list_that_comes_late_ends_the_refusals(lost: Stale, bearer: Bearer) -> None:
    never = ("never_deny", "never_allow")
    for name in (*never, "optional"):
        lost.feeds[name].server.publish(json_list(lost.revoked))
    for name in never:
        lost.wait(name, "allowed", "certificate_revoked")
    port = lost.envoy.port("optional")
    lost.envoy.wait("the list", lambda: ask(port, lost.good, headers=[bearer("good", lost.good)]) == "allowed")
    assert ask(port, lost.revoked, headers=[bearer("revoked", lost.revoked)]) == "certificate_revoked"
    assert ask(port, lost.revoked, headers=[bearer("good")]) == "certificate_revoked"


def test_a_list_that_is_too_old_refuses_every_certificate_and_its_entries_as_before(lost: Stale) -> None:
    lost.wait("old_deny", "revocation_unavailable", "certificate_revoked")
    assert lost.verdicts("old_allow") == ["allowed", "certificate_revoked"]


def test_a_crl_whose_next_update_has_passed_is_too_old(lost: Stale) -> None:
    lost.wait("next_deny", "revocation_unavailable", "certificate_revoked")
    lost.wait("next_allow", "allowed", "certificate_revoked")


def test_a_feed_that_is_back_is_in_force_again(lost: Stale) -> None:
    for name in ("old_deny", "old_allow"):
        lost.feeds[name].server.publish(json_answer(identities=["cn:revoked"]))
    for name in ("next_deny", "next_allow"):
        lost.feeds[name].server.publish(crl(lost.issuer, lost.revoked, number=3))
    for name in ("old_deny", "old_allow", "next_deny", "next_allow"):
        lost.wait(name, "allowed", "certificate_revoked")


# Servers that are down, slow or wrong, under load.


def faults(other: Answer) -> dict[str, Answer | None]:
    """What a server does, `None` for refusing connections; `other` is the list that must not be adopted."""
    padded = replace(other, body=other.body[:-1] + b" " * (10 << 20) + b"}")
    return {
        "refused connections": None,
        "an answer that comes too late": replace(other, delay_seconds=5),
        "an answer that drips": replace(other, drip_seconds=0.05),
        "a reset": RESET,
        "a reset in the middle": replace(cut(other), reset=True),
        "an end in the middle": cut(other),
        "HTML": HTML,
        "404": replace(other, status=404),
        "500": replace(other, status=500),
        "ten MiB": padded,
        "ten MiB in chunks": replace(padded, chunked=True),
        "nothing": Answer(),
        "a redirection": replace(other, status=302, headers=(("location", "/elsewhere"),)),
    }


FAULTS = list(faults(json_answer(sha256=[])))
AT_TIMES: Mapping[str, int] = {"timeout_ms": 1000}


@dataclass(frozen=True)
class Outage:
    """A listener whose feeds have all adopted a list and then all failed, and who asks it all the time."""

    envoy: Envoy
    feeds: Sequence[Feed]
    revoked: Sequence[Credential]
    """Each is on the list of the feed of its place."""
    next: Sequence[Credential]
    """These will be on the next one."""
    load: Load
    asking: Sequence[Asking]
    failed: Sequence[float]
    adopted: Sequence[float]
    """What had been counted before."""

    def verdict(self, credential: Credential) -> str:
        return ask(self.envoy.port("main"), credential)


@pytest.fixture(scope="module")
def outage(serve_feeds: ServeFeeds, issuer: Authority, acme: Credential) -> Iterator[Outage]:
    """Its end fails if a good request has failed."""
    revoked, following = ([issuer.issue() for _ in FAULTS] for _ in range(2))
    feeds = [Feed(f"fault-{index}", json_list(each), settings=AT_TIMES) for index, each in enumerate(revoked)]
    envoy = serve_feeds(feeds, Listener("main", policy(*feeds)), concurrency=2)
    port = envoy.port("main")
    envoy.wait("all lists", lambda: all(fetched(envoy, index, "unchanged") for index in range(len(feeds))))
    with Load(port, acme, "acme", pause_seconds=0.02) as load, ExitStack() as running:
        kept = [running.enter_context(Http1(port, ClientTls(each))) for each in revoked]
        asking = [Asking.on(client, pause_seconds=0.05) for client in kept]
        asking += [Asking(partial(ask, port, each), pause_seconds=0.05) for each in revoked]
        for each_asking in asking:
            running.enter_context(each_asking)
        failed, adopted = ([fetched(envoy, index, outcome) for index in range(len(feeds))] for outcome in ("failed", "adopted"))
        for feed, answer in zip(feeds, faults(json_list(acme)).values()):
            if answer is None:
                feed.server.refuse()
            else:
                feed.server.publish(answer)
        yield Outage(envoy, feeds, revoked, following, load, asking, failed, adopted)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_counted_and_changes_nothing(outage: Outage, fault: str) -> None:
    index, envoy = FAULTS.index(fault), outage.envoy
    envoy.wait("two failures", lambda: fetched(envoy, index, "failed") >= outage.failed[index] + 2)
    assert fetched(envoy, index, "adopted") == outage.adopted[index]
    line = envoy.wait_for_log(f"revocation.feeds[{index}]: what was fetched cannot be used: ")
    assert "[warning]" in line and line.rstrip().endswith("; the last good list stays in force")
    assert outage.verdict(outage.revoked[index]) == "certificate_revoked"
    assert outage.verdict(outage.next[index]) == "allowed"
    outage.load.progress()


def test_the_filter_recovers_when_its_servers_do(outage: Outage) -> None:
    for feed, revoked, following in zip(outage.feeds, outage.revoked, outage.next):
        feed.server.publish(json_list(revoked, following))
    for fault, following in zip(FAULTS, outage.next):
        outage.envoy.wait(f"the list after {fault}", lambda: outage.verdict(following) == "certificate_revoked")
    outage.load.progress()


def test_no_revoked_certificate_has_passed_meanwhile_and_no_good_one_has_failed(outage: Outage) -> None:
    assert [asking.answers for asking in outage.asking] == [{"certificate_revoked"}] * (2 * len(FAULTS))
    outage.load.progress()
    assert set(outage.envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}


@dataclass(frozen=True)
class Beginning:
    """Listeners each with a feed that has failed from the beginning, and one whose feed's cluster is unknown."""

    envoy: Envoy
    feeds: Mapping[str, Feed]
    good: Credential
    revoked: Credential

    def wait(self, fault: str, *expected: str) -> None:
        port = self.envoy.port(self.feeds[fault].name)
        both = (self.good, self.revoked)
        self.envoy.wait(f"{expected} after {fault}", lambda: [ask(port, each) for each in both] == [*expected])


UNKNOWN_CLUSTER = "an unknown cluster"


@pytest.fixture(scope="module")
def beginning(serve_feeds: ServeFeeds, issuer: Authority) -> Beginning:
    good, revoked = issuer.issue(), issuer.issue()
    answers = faults(json_list())
    feeds = {fault: Feed(f"first-{index}", answer or UNAVAILABLE, settings=AT_TIMES)
             for index, (fault, answer) in enumerate(answers.items())}
    feeds[UNKNOWN_CLUSTER] = Feed("unknown", json_list(), settings={"cluster": "nowhere"})
    envoy = serve_feeds(list(feeds.values()), *(Listener(feed.name, policy(feed)) for feed in feeds.values()))
    for fault, answer in answers.items():
        if answer is None:
            feeds[fault].server.refuse()
    return Beginning(envoy, feeds, good, revoked)


@pytest.mark.parametrize("fault", [*FAULTS, UNKNOWN_CLUSTER])
def test_a_fault_from_the_beginning_refuses_every_certificate(beginning: Beginning, fault: str) -> None:
    line = re.compile(rf"\[warning\].*mtls_authz-{beginning.feeds[fault].name}: .*revocation\.feeds\[0\]: ")
    beginning.envoy.wait("a line in the log", lambda: bool(line.search(beginning.envoy.log())))
    beginning.wait(fault, "revocation_unavailable", "revocation_unavailable")


def test_the_first_list_ends_the_refusals(beginning: Beginning) -> None:
    for fault in FAULTS:
        beginning.feeds[fault].server.publish(json_list(beginning.revoked))
    for fault in FAULTS:
        beginning.wait(fault, "allowed", "certificate_revoked")
    beginning.wait(UNKNOWN_CLUSTER, "revocation_unavailable", "revocation_unavailable")
