"""Revoked certificates are refused, whatever names them and wherever the list comes from, on connections that are open too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from conftest import Bearer, Client, ServeFeeds, StartEnvoy
from harness import artifacts, front, grpc_client, pki, tokens, verdicts
from harness.envoy import Envoy
from harness.feed_server import REFRESH_SECONDS, Digest, Feed, crl, fetched, json_answer, json_list, policy
from harness.fetched import Answer
from harness.filters import Config
from harness.grpc_upstream import STREAM, GrpcUpstream
from harness.http1 import AUTHORITY, Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.load import Asking
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer
from harness.upstream import SLOW, Upstream
from harness.verdicts import ask

REVOKED = 'mtls_auth_failure_total{reason="certificate_revoked"}'
LATEST_SECONDS = 10.0
"""What is claimed is a second after the refresh, and printed is what it took; a machine that is busy may take this long."""
OTHERS = 100_000
STILL_SECONDS = 0.5
"""How long it is watched that nothing happens."""
SPIFFE = "spiffe://example.org/revoked"


def until(wanted: str, client: Http1 | Http2, headers: Sequence[Header] = ()) -> list[str]:
    """Asks on one connection until this is what comes back; what came back before."""
    seen: list[str] = []
    deadline = time.monotonic() + LATEST_SECONDS
    while (verdict := verdicts.reason_of(client.request("GET", "/", headers))) != wanted:
        seen.append(verdict)
        assert time.monotonic() < deadline, f"{wanted} expected, and still {verdict}"
        time.sleep(0.005)
    return seen


def age(envoy: Envoy, feed: int) -> float:
    return envoy.admin.prometheus()[f'mtls_fetch_age_seconds{{source="feed_{feed}"}}']


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as executor:
        yield executor


# Lists that stand in the configuration.


@dataclass(frozen=True)
class Entry:
    """One way to revoke a certificate, and what the certificate and another one of the same client are like."""

    list: str
    write: Callable[[Credential], Any]
    sans: Sequence[x509.GeneralName] = ()
    serial: int | None = None
    named: bool = False
    """The other certificate differs in its names: with the same name it would be revoked, too."""


def serial(form: str) -> Callable[[Credential], Any]:
    return lambda _: {"issuer": "CN=Example Intermediate", "serial": form}


ENTRIES: dict[str, Entry] = {
    "a thumbprint in hex": Entry("sha256", lambda revoked: revoked.thumbprint_hex),
    "a thumbprint in capitals": Entry("sha256", lambda revoked: revoked.thumbprint_hex.upper()),
    "a thumbprint in base64url": Entry("sha256", lambda revoked: revoked.thumbprint),
    "a serial": Entry("serials", serial("abc001"), serial=0xABC001),
    "a serial with a zero in front": Entry("serials", serial("0abc02"), serial=0xABC02),
    "a serial with many zeros in front": Entry("serials", serial("0" * 30 + "abc003"), serial=0xABC003),
    "a serial with colons": Entry("serials", serial("ab:c0:04"), serial=0xABC004),
    "a serial in capitals": Entry("serials", serial("ABC005"), serial=0xABC005),
    "a serial with all of them": Entry("serials", serial("00:0A:BC:06"), serial=0xABC06),
    "a serial whose first bit is set": Entry("serials", serial("f0" * 19), serial=int("f0" * 19, 16)),
    "a SPIFFE ID": Entry("identities", lambda _: SPIFFE, [pki.uri(SPIFFE)], named=True),
    "a DNS name": Entry("identities", lambda _: "dns:revoked.example", [pki.dns("revoked.example")], named=True),
    "an e-mail address": Entry(
        "identities", lambda _: "email:revoked@example.org", [pki.email("revoked@example.org")], named=True),
    "a Common Name": Entry("identities", lambda revoked: f"cn:{common_name(revoked)}", named=True),
    "a subject": Entry("identities", lambda revoked: f"subject:CN={common_name(revoked)}", named=True),
    "a digest in hex": Entry("identities", lambda revoked: f"sha256:{revoked.thumbprint_hex}"),
    "a digest in base64url": Entry("identities", lambda revoked: f"sha256:{revoked.thumbprint}"),
}


def common_name(credential: Credential) -> str:
    [attribute] = credential.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(attribute.value)


@dataclass(frozen=True)
class Inline:
    """A listener whose policy has every entry, another that looks at SPIFFE IDs alone, and the certificates."""

    envoy: Envoy
    revoked: Mapping[str, Credential]
    others: Mapping[str, Credential]


@pytest.fixture(scope="module")
def inline(start_envoy: StartEnvoy, issuer: Authority) -> Inline:
    names = {what: [("CN", re.sub(r"\W+", "-", what))] for what in ENTRIES}
    revoked = {what: issuer.issue(names[what], sans=entry.sans, serial=entry.serial) for what, entry in ENTRIES.items()}
    others = {what: issuer.issue([("CN", "another")] if entry.named else names[what], sans=() if entry.named else entry.sans)
              for what, entry in ENTRIES.items()}
    lists: dict[str, list[Any]] = {"sha256": [], "serials": [], "identities": []}
    for what, entry in ENTRIES.items():
        lists[entry.list].append(entry.write(revoked[what]))
    everything = policy(revocation=lists, bypass=[{"path": "/health"}])
    uris = policy(revocation={"identities": lists["identities"]}, identity={
        "precedence": ["uri_san"], "allow_unregistered": True,
        "mappings": [{"match": {"uri_san": "spiffe://example.org/{name}"}, "client_id": "{name}", "profile_id": "partner"}]})
    shadow = {**everything, "enforcement": "shadow"}
    envoy = start_envoy(Listener("main", everything), Listener("uris", uris), Listener("shadow", shadow))
    return Inline(envoy, revoked, others)


@pytest.mark.parametrize("what", ENTRIES)
def test_an_entry_revokes_a_certificate_and_no_other_of_the_client(inline: Inline, what: str, http: Client) -> None:
    port, request_id = inline.envoy.port("main"), f"{what} {http.__name__}".replace(" ", "-")
    with http(port, ClientTls(inline.revoked[what])) as client:
        problem = verdicts.refused(client.request("GET", "/", [("x-request-id", request_id)]), "certificate_revoked")
    assert (problem["title"], problem["request_id"]) == ("Unauthorized", request_id)
    decision = inline.envoy.record("main", request_id)["decision"]
    assert (decision["decision"], decision["status"], decision["reason"]) == ("deny", 401, "certificate_revoked")
    assert decision["rule"] == f"revocation.{ENTRIES[what].list}"
    assert decision["thumbprint"] == inline.revoked[what].thumbprint
    with http(port, ClientTls(inline.others[what])) as client:
        verdicts.passed(client.request())


def test_the_answer_tells_nothing_about_the_list(inline: Inline, http: Client) -> None:
    revoked = inline.revoked["a serial"]
    with http(inline.envoy.port("main"), ClientTls(revoked)) as client:
        answer = client.request()
    told = answer.body.decode() + str(answer.headers)
    verdicts.refused(answer, "certificate_revoked")
    for secret in ("abc001", "Intermediate", revoked.thumbprint, "revocation."):
        assert secret.lower() not in told.lower()


def test_the_log_names_the_serial_and_the_issuer(inline: Inline) -> None:
    assert ask(inline.envoy.port("main"), inline.revoked["a serial"]) == "certificate_revoked"
    inline.envoy.wait("the line", lambda: bool(re.search(
        r"\[warning\].*certificate_revoked.*abc001.*CN=Example Intermediate", inline.envoy.log(), re.IGNORECASE)))


def test_a_refusal_is_counted_by_its_reason(inline: Inline) -> None:
    before = inline.envoy.admin.prometheus().get(REVOKED, 0.0)
    for _ in range(3):
        assert ask(inline.envoy.port("main"), inline.revoked["a thumbprint in hex"]) == "certificate_revoked"
    assert inline.envoy.admin.prometheus()[REVOKED] == before + 3


def test_the_serial_of_another_issuer_is_another_certificate(inline: Inline, root: Authority, issuer: Authority) -> None:
    port = inline.envoy.port("main")
    other = root.intermediate("Example Other")
    for authority, verdict in ((issuer, "certificate_revoked"), (root, "allowed"), (other, "allowed")):
        assert ask(port, authority.issue([("CN", "again")], serial=0xABC001)) == verdict


@pytest.mark.parametrize(("subject", "sans"), [
    (None, []),
    ("a-Common-Name", []),
    ("a-subject", []),
    ("good", [pki.dns("revoked.example")]),
    ("good", [pki.dns("good.example"), pki.dns("revoked.example")]),
    ("good", [pki.email("revoked@example.org")]),
], ids=["good", "cn", "subject", "dns", "second dns", "email"])
def test_a_name_that_identifies_nobody_under_the_precedence_revokes_as_well(
    inline: Inline, issuer: Authority, subject: str | None, sans: list[x509.GeneralName]
) -> None:
    credential = issuer.issue([("CN", subject or "good")], sans=[*sans, pki.uri("spiffe://example.org/good")])
    expected = "allowed" if subject is None else "certificate_revoked"
    assert ask(inline.envoy.port("uris"), credential) == expected


def test_a_bypassed_path_needs_no_certificate_that_is_not_revoked(inline: Inline, http: Client) -> None:
    with http(inline.envoy.port("main"), ClientTls(inline.revoked["a serial"])) as client:
        assert client.request("GET", "/health").status == 200
        verdicts.refused(client.request("GET", "/healthy"), "certificate_revoked")


def test_in_shadow_mode_a_revoked_certificate_is_recorded_and_passes(inline: Inline) -> None:
    request_id = "in-shadow-mode"
    assert ask(inline.envoy.port("shadow"), inline.revoked["a serial"], headers=[("x-request-id", request_id)]) == "allowed"
    decision = inline.envoy.record("shadow", request_id)["decision"]
    assert (decision["decision"], decision["reason"], decision["rule"]) == ("deny", "certificate_revoked", "revocation.serials")


FEED: Config = {"type": "json", "cluster": "echo", "authority": "feed.example", "path": "/revoked"}
SERIAL: Config = {"issuer": "CN=Example Intermediate", "serial": "01"}


def one_feed(**members: Any) -> Config:
    return {"feeds": [{name: value for name, value in {**FEED, **members}.items() if value is not None}]}


def one_serial(**members: Any) -> Config:
    return {"serials": [SERIAL, {name: value for name, value in {**SERIAL, **members}.items() if value is not None}]}


WRONG: list[tuple[str, Any, str]] = [
    ("no object", [], "revocation"),
    ("an unknown key", {"sha1": []}, "revocation.sha1"),
    ("no list", {"sha256": "ab" * 32}, "revocation.sha256"),
    ("a short thumbprint", {"sha256": ["ab" * 32, "ab" * 31]}, "revocation.sha256[1]"),
    ("a padded thumbprint", {"sha256": ["A" * 43 + "="]}, "revocation.sha256[0]"),
    ("a thumbprint that is a number", {"sha256": [1]}, "revocation.sha256[0]"),
    ("a serial without its issuer", one_serial(issuer=None), "revocation.serials[1]"),
    ("a serial without its number", one_serial(serial=None), "revocation.serials[1]"),
    ("a serial with an unknown key", one_serial(reason="stolen"), "revocation.serials[1].reason"),
    ("a serial that is no hex", one_serial(serial="0x01"), "revocation.serials[1].serial"),
    ("a serial that is empty", one_serial(serial=""), "revocation.serials[1].serial"),
    ("a serial of colons", one_serial(serial="::"), "revocation.serials[1].serial"),
    ("a serial that is a number", one_serial(serial=1), "revocation.serials[1].serial"),
    ("a serial that is too long", one_serial(serial="f" * 100), "revocation.serials[1].serial"),
    ("a serial with a sign", one_serial(serial="-1"), "revocation.serials[1].serial"),
    ("an issuer that is no name", one_serial(issuer="Example Intermediate"), "revocation.serials[1].issuer"),
    ("an identity without a type", {"identities": ["cn:acme", "acme"]}, "revocation.identities[1]"),
    ("a bad SPIFFE ID", {"identities": ["spiffe://Example.org/a"]}, "revocation.identities[0]"),
    ("a bad digest", {"identities": ["sha256:00"]}, "revocation.identities[0]"),
    ("an unknown type of feed", one_feed(type="ocsp"), "revocation.feeds[0].type"),
    ("a feed without a type", one_feed(type=None), "revocation.feeds[0]"),
    ("a feed without a cluster", one_feed(cluster=None), "revocation.feeds[0]"),
    ("a feed without a path", one_feed(path=None), "revocation.feeds[0]"),
    ("an empty cluster", one_feed(cluster=""), "revocation.feeds[0].cluster"),
    ("a relative path", one_feed(path="revoked"), "revocation.feeds[0].path"),
    ("an unknown key of a feed", one_feed(url="https://feed.example"), "revocation.feeds[0].url"),
    ("no refresh", one_feed(refresh_seconds=0), "revocation.feeds[0].refresh_seconds"),
    ("a refresh that is text", one_feed(refresh_seconds="60"), "revocation.feeds[0].refresh_seconds"),
    ("a negative refresh", one_feed(refresh_seconds=-1), "revocation.feeds[0].refresh_seconds"),
    ("no time for a fetch", one_feed(timeout_ms=0), "revocation.feeds[0].timeout_ms"),
    ("older than the refresh", one_feed(refresh_seconds=60, max_stale_seconds=30), "revocation.feeds[0].max_stale_seconds"),
    ("an unknown word for stale lists", one_feed(on_stale="ignore"), "revocation.feeds[0].on_stale"),
    ("a null", {"feeds": [{**FEED, "on_stale": None}]}, "revocation.feeds[0].on_stale"),
    ("a CRL without its issuer", one_feed(type="crl"), "revocation.feeds[0].issuer_certificate"),
    ("an issuer that is no PEM", one_feed(type="crl", issuer_certificate="PEM"), "revocation.feeds[0].issuer_certificate"),
    ("JSON with an issuer", one_feed(issuer_certificate="PEM"), "revocation.feeds[0].issuer_certificate"),
    ("too many feeds", {"feeds": [{**FEED, "path": f"/{number}"} for number in range(17)]}, "revocation.feeds"),
    ("the second feed", {"feeds": [FEED, {**FEED, "type": "x"}]}, "revocation.feeds[1].type"),
    ("a list twice", '{"revocation": {"sha256": [], "sha256": []}, "clients": {}, "profiles": {}}', "revocation.sha256"),
]


@pytest.fixture(scope="module")
def serving(start_envoy: StartEnvoy, acme: Credential) -> Envoy:
    """An Envoy with a good configuration that gets worse ones."""
    return start_envoy(Listener("a", policy(revocation={"sha256": [acme.thumbprint]})), dynamic=True)


@pytest.mark.parametrize(("wrong", "path"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_a_wrong_configuration_is_refused_with_its_place(serving: Envoy, wrong: Any, path: str) -> None:
    logged, accepted, rejected = len(serving.log()), serving.update_count(accepted=True), serving.update_count(accepted=False)
    serving.replace_listeners(Listener("a", wrong if isinstance(wrong, str) else policy(revocation=wrong)))
    serving.wait("a verdict", lambda: (serving.update_count(accepted=True), serving.update_count(accepted=False))
                 != (accepted, rejected))
    assert serving.update_count(accepted=True) == accepted, "was accepted"
    serving.wait("the reason in the log", lambda: "the configuration is refused: " in serving.log()[logged:])
    line = next(line for line in serving.log()[logged:].splitlines() if "the configuration is refused: " in line)
    # What is missing is named in its object, or by its own place.
    assert re.match(re.escape(path) + r"(?=:|\.\w+:)", line.partition("the configuration is refused: ")[2]), line


def test_the_old_list_stays_when_a_configuration_is_refused(serving: Envoy, acme: Credential, issuer: Authority) -> None:
    assert ask(serving.port("a"), acme) == "certificate_revoked"
    assert ask(serving.port("a"), issuer.issue()) == "allowed"


@pytest.mark.parametrize("cert", [True, False], ids=["with the certificate", "without"])
def test_where_a_serial_cannot_be_known_it_is_not_taken_for_good(
    start_envoy: StartEnvoy, issuer: Authority, cert: bool
) -> None:
    revoked = issuer.issue([("CN", "one")], serial=0xABC001)
    lists = {"without": {"sha256": [revoked.thumbprint_hex]}, "with": {"serials": [{**SERIAL, "serial": "abc001"}]}}
    details = {"cert": True} if cert else {"subject": True}
    envoy = start_envoy(*[
        Listener(name, policy(revocation=revocation, certificate={"validation": "listener"}),
                 forward_client_cert_details="SANITIZE_SET", set_current_client_cert_details=details)
        for name, revocation in lists.items()], binary=artifacts.envoy_old())
    good = issuer.issue([("CN", "one")])
    assert [ask(envoy.port("without"), each) for each in (revoked, good)] == ["certificate_revoked", "allowed"]
    expected = ["certificate_revoked", "allowed"] if cert else ["revocation_unavailable", "revocation_unavailable"]
    assert [ask(envoy.port("with"), each) for each in (revoked, good)] == expected


PROXIES: list[tuple[str | None, int, str]] = [
    # who is revoked, how many proxies there are, what a request comes to
    (None, 1, "allowed"), ("client", 1, "certificate_revoked"), ("first", 1, "certificate_missing"),
    (None, 2, "allowed"), ("client", 2, "certificate_revoked"), ("first", 2, "certificate_untrusted"),
    ("second", 2, "certificate_missing"),
]


def test_a_proxy_whose_certificate_is_revoked_is_trusted_no_more(start_envoy: StartEnvoy, issuer: Authority) -> None:
    people = {name: issuer.issue([("CN", name)]) for name in ("client", "first", "second")}
    listeners, sent = {}, {1: front.xfcc(people["client"]), 2: f"{front.xfcc(people['client'])},{front.xfcc(people['first'])}"}
    for revoked, hop, _ in PROXIES:
        lists = {"sha256": [people[revoked].thumbprint]} if revoked else {}
        forwarded = {"format": "xfcc", "hop": hop, "trusted_proxies": {"identities": ["cn:first", "cn:second"]}}
        listeners[revoked, hop] = Listener(
            f"{revoked}-{hop}", policy(revocation=lists, certificate={"source": "forwarded", "forwarded": forwarded}),
            forward_client_cert_details="FORWARD_ONLY")
    envoy = start_envoy(*listeners.values())
    for revoked, hop, verdict in PROXIES:
        peer, header = people["first" if hop == 1 else "second"], ("x-forwarded-client-cert", sent[hop])
        assert ask(envoy.port(listeners[revoked, hop].name), peer, headers=[header]) == verdict, (revoked, hop)


# Lists that are fetched, in every form.


@dataclass(frozen=True)
class Forms:
    """A listener with a feed of each form, the certificate on each list, and its issuer."""

    envoy: Envoy
    names: Sequence[str]
    revoked: Mapping[str, Credential]
    issuers: Mapping[str, Authority]


FORMS: dict[str, tuple[pki.KeyType, Digest, bool]] = {
    "RSA, DER": ("rsa", hashes.SHA256(), False), "RSA, PEM": ("rsa", hashes.SHA512(), True),
    "P-256, DER": ("ec", hashes.SHA256(), False), "P-256, PEM": ("ec", hashes.SHA384(), True),
    "P-384, DER": ("ec384", hashes.SHA384(), False), "P-384, PEM": ("ec384", hashes.SHA256(), True),
}
JSON_FORMS = ["sha256", "serials", "identities"]


@pytest.fixture(scope="module")
def forms(serve_feeds: ServeFeeds, every_envoy: Path, root: Authority, issuer: Authority) -> Forms:
    revoked = {name: issuer.issue([("CN", name)]) for name in JSON_FORMS}
    feeds = [
        Feed("sha256", replace(json_list(revoked["sha256"]), chunked=True)),
        Feed("serials", json_list(revoked["serials"], by="serials")),
        Feed("identities", json_answer(sha256=[], identities=["cn:identities"])),
    ]
    issuers = dict.fromkeys(JSON_FORMS, issuer)
    for name, (key_type, digest, pem) in FORMS.items():
        name_of_issuer = [("C", "DE"), ("O", "Example, Corp"), ("OU", "Müller + Söhne"), ("CN", name)]
        issuers[name] = root.intermediate(name_of_issuer, key_type=key_type)
        revoked[name] = issuers[name].issue([("CN", "client")])
        slug = re.sub(r"\W+", "-", name)
        feeds.append(Feed(slug, crl(issuers[name], revoked[name], digest=digest, pem=pem), issuers[name]))
    # An Envoy before 1.38 shows the whole certificate in the header alone.
    listener = Listener("main", policy(*feeds, certificate={"validation": "listener"}),
                        forward_client_cert_details="SANITIZE_SET", set_current_client_cert_details={"cert": True})
    envoy = serve_feeds(feeds, listener, binary=every_envoy)
    good = issuer.issue()
    envoy.wait("all lists", lambda: ask(envoy.port("main"), good) == "allowed")
    return Forms(envoy, list(revoked), revoked, issuers)


@pytest.mark.parametrize("form", [*JSON_FORMS, *FORMS])
def test_a_list_that_is_fetched_revokes(forms: Forms, form: str) -> None:
    request_id, index = re.sub(r"\W+", "-", form), forms.names.index(form)
    assert ask(forms.envoy.port("main"), forms.revoked[form], headers=[("x-request-id", request_id)]) == "certificate_revoked"
    entries = form if form in JSON_FORMS else "serials"
    assert forms.envoy.record("main", request_id)["decision"]["rule"] == f"revocation.feeds[{index}].{entries}"
    assert ask(forms.envoy.port("main"), forms.issuers[form].issue([("CN", "client")])) == "allowed"
    assert f"revocation.feeds[{index}]: a list of 1 entries is in force" in forms.envoy.log()
    assert fetched(forms.envoy, index, "adopted") >= 1


def test_a_list_of_an_issuer_says_nothing_about_the_serials_of_another(forms: Forms) -> None:
    serial_number = forms.revoked["P-256, DER"].certificate.serial_number
    other = forms.issuers["RSA, DER"].issue([("CN", "client")], serial=serial_number)
    assert ask(forms.envoy.port("main"), other) == "allowed"


# Connections that are open, streams that are under way, and every worker.


AnyClient = TypeVar("AnyClient", Http1, Http2)


@dataclass(frozen=True)
class Workers:
    """An Envoy with several workers, a listener without and one with tokens, each with its own feed."""

    envoy: Envoy
    number: int
    feeds: Mapping[str, Feed]

    def one_each(self, connect: Callable[[], AnyClient], running: ExitStack) -> list[AnyClient]:
        """A connection to every worker: which one a connection comes to is chance."""
        found: dict[str, AnyClient] = {}
        for _ in range(1000):
            before = self._accepted()
            client = running.enter_context(connect())
            self.envoy.wait("the connection", lambda: self._accepted() != before)
            worker = next(name for name, total in self._accepted().items() if total != before.get(name, 0))
            found.setdefault(worker, client)
            if len(found) == self.number:
                break
        assert len(found) == self.number
        return [found[name] for name in sorted(found)]

    def _accepted(self) -> dict[str, int]:
        return self.envoy.admin.stats(r"^listener\..*\.worker_\d+\.downstream_cx_total$")


@pytest.fixture(scope="module", params=[2, 4], ids=["2 workers", "4 workers"])
def workers(request: pytest.FixtureRequest, serve_feeds: ServeFeeds, issuer: Authority, signer: Signer) -> Workers:
    number: int = request.param
    feeds = {"mtls": Feed("mtls", json_list()), "bound": Feed("bound", crl(issuer), issuer)}
    token = {"source": "jwks", "jwks": json.loads(tokens.jwks(signer)), "issuers": [tokens.ISSUER]}
    policies = {
        "mtls": policy(feeds["mtls"]),
        "bound": policy(feeds["bound"], mode="bearer_plus_mtls_required", token=token),
    }
    envoy = serve_feeds(list(feeds.values()), *(Listener(name, policies[name]) for name in policies), concurrency=number)
    return Workers(envoy, number, feeds)


@pytest.mark.parametrize("listener", ["mtls", "bound"])
def test_every_worker_refuses_on_open_connections_and_what_is_under_way_goes_on(
    workers: Workers, issuer: Authority, bearer: Bearer, upstream: Upstream, pool: ThreadPoolExecutor, listener: str
) -> None:
    revoked = issuer.issue([("CN", "revoked")])
    headers = [bearer("revoked", revoked)] if listener == "bound" else []
    slow = f"{SLOW}{listener}/{workers.number}"
    stream = [(":method", "GET"), (":scheme", "https"), (":authority", AUTHORITY), (":path", slow), *headers]
    port, tls, per_connection = workers.envoy.port(listener), ClientTls(revoked), 10
    with ExitStack() as running:
        until("allowed", running.enter_context(Http1(port, tls)), headers)
        ones = workers.one_each(lambda: Http1(port, tls), running)
        busy = workers.one_each(lambda: Http1(port, tls), running)
        twos = workers.one_each(lambda: Http2(port, tls), running)
        asked: list[Http1 | Http2] = [*ones, *twos]
        for client in (*asked, *busy):
            for _ in range(2):
                verdicts.passed(client.request("GET", "/", headers))

        upstream.hold()
        running.callback(upstream.release)
        mark = upstream.mark()
        under_way = [(two, two.open(stream)) for two in twos for _ in range(per_connection)]
        for held in busy:
            lines = [f"GET {slow} HTTP/1.1", f"host: {AUTHORITY}", *(f"{name}: {value}" for name, value in headers), "", ""]
            held.send("\r\n".join(lines).encode())
        expected = len(under_way) + len(busy)
        workers.envoy.wait("the slow requests", lambda: sum(each.path == slow for each in upstream.since(mark)) == expected)

        good = json_list(revoked) if listener == "mtls" else crl(issuer, revoked, number=2)
        workers.feeds[listener].server.publish(good)
        before = [pool.submit(until, "certificate_revoked", client, headers) for client in asked]
        for future in before:
            assert set(future.result()) <= {"allowed"}
        mark = upstream.mark()
        for client in asked:
            for _ in range(5):
                verdicts.refused(client.request("GET", "/", headers), "certificate_revoked")
        for two, refused in [(two, two.open(stream)) for two in twos for _ in range(per_connection)]:
            verdicts.refused(two.response(refused), "certificate_revoked")
        assert upstream.since(mark) == []

        upstream.release()
        for two, allowed in under_way:
            verdicts.passed(two.response(allowed))
        for held in busy:
            verdicts.passed(held.response())
            verdicts.refused(held.request("GET", "/", headers), "certificate_revoked")


@pytest.mark.parametrize("listener", ["mtls", "bound"])
def test_an_entry_that_is_removed_lets_the_certificate_in_again(
    workers: Workers, issuer: Authority, bearer: Bearer, pool: ThreadPoolExecutor, listener: str
) -> None:
    revoked = issuer.issue([("CN", "revoked")])
    headers = [bearer("revoked", revoked)] if listener == "bound" else []
    lists = [json_list(revoked), json_list()] if listener == "mtls" else [
        crl(issuer, revoked, number=3), crl(issuer, number=4)]
    port = workers.envoy.port(listener)
    with ExitStack() as running:
        clients: list[Http1 | Http2] = [
            *workers.one_each(lambda: Http1(port, ClientTls(revoked)), running),
            *workers.one_each(lambda: Http2(port, ClientTls(revoked)), running),
        ]
        for client in clients:
            verdicts.passed(client.request("GET", "/", headers))
        for answer, verdict in zip(lists, ("certificate_revoked", "allowed")):
            workers.feeds[listener].server.publish(answer)
            seen = [pool.submit(until, verdict, client, headers) for client in clients]
            assert {each for future in seen for each in future.result()} <= {"certificate_revoked", "allowed"} - {verdict}
        for client in clients:
            verdicts.passed(client.request("GET", "/", headers))


def test_a_grpc_stream_that_is_running_goes_on_and_the_next_call_is_refused(
    serve_feeds: ServeFeeds, root: Authority, issuer: Authority, acme: Credential, grpc_upstream: GrpcUpstream
) -> None:
    feed = Feed("grpc", json_list())
    envoy = serve_feeds([feed], Listener("main", policy(feed)))
    envoy.wait("the list", lambda: ask(envoy.port("main"), acme) == "allowed")
    connections = envoy.admin.stat("http.main.downstream_cx_total")
    with grpc_client.connect(envoy.port("main"), root, issuer.issue()) as channel:
        running: Any = channel.unary_stream(STREAM)(b"news", timeout=60)
        assert next(running) == b"news"
        feed.server.publish(json_answer(identities=["cn:client"]))
        envoy.wait("the refusal", lambda: grpc_client.call_on(channel).code is not grpc.StatusCode.OK)
        verdicts.refused_grpc(grpc_client.call_on(channel), "certificate_revoked")
        for _ in range(3):
            grpc_upstream.go_on()
            assert next(running) == b"news"
        refused: Any = channel.unary_stream(STREAM)(b"more", timeout=60)
        with pytest.raises(grpc.RpcError):
            next(refused)
        assert refused.code() is grpc.StatusCode.UNAUTHENTICATED
        grpc_upstream.end()
        assert list(running) == [] and running.code() is grpc.StatusCode.OK
    assert envoy.admin.stat("http.main.downstream_cx_total") == connections + 1


# How long it takes.


@dataclass(frozen=True)
class Published:
    """A feed that holds a number of entries, and how its list is written."""

    what: str
    feed: Feed
    write: Callable[..., Answer]


@pytest.fixture(scope="module")
def published(serve_feeds: ServeFeeds, issuer: Authority) -> tuple[Workers, Sequence[Published]]:
    numbers = count(2)

    def by_serial(*revoked: Credential, others: int = 0) -> Answer:
        return json_list(*revoked, others=others, by="serials")

    def by_crl(*revoked: Credential, others: int = 0) -> Answer:
        return crl(issuer, *revoked, number=next(numbers), others=others)

    patient = {"timeout_ms": 20_000}
    found = [
        Published("JSON, thumbprints", Feed("thumbprints", json_list(), settings=patient), json_list),
        Published("JSON, serials", Feed("numbers", json_list(), settings=patient), by_serial),
        Published("CRL", Feed("crl", crl(issuer), issuer, patient), by_crl),
    ]
    feeds = [each.feed for each in found]
    envoy = serve_feeds(feeds, *(Listener(feed.name, policy(feed)) for feed in feeds), concurrency=2)
    return Workers(envoy, 2, {feed.name: feed for feed in feeds}), found


@pytest.mark.parametrize("others", [0, OTHERS], ids=["1 entry", "100001 entries"])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["thumbprints", "serials", "CRL"])
def test_an_entry_is_in_force_a_second_after_the_refresh_at_the_latest(
    published: tuple[Workers, Sequence[Published]], issuer: Authority, acme: Credential, pool: ThreadPoolExecutor,
    record_property: Callable[[str, object], None], which: int, others: int,
) -> None:
    world, each = published[0], published[1][which]
    port, revoked = world.envoy.port(each.feed.name), issuer.issue([("CN", "revoked")])
    answer = each.write(revoked, others=others)
    world.envoy.wait("the first list", lambda: ask(port, acme) == "allowed")
    memory = world.envoy.resident_kib()
    with ExitStack() as running:
        clients: dict[str, Sequence[Http1 | Http2]] = {
            "HTTP/1.1": world.one_each(lambda: Http1(port, ClientTls(revoked)), running),
            "HTTP/2": world.one_each(lambda: Http2(port, ClientTls(revoked)), running),
        }
        for client in chain(*clients.values()):
            verdicts.passed(client.request())
        good = world.one_each(lambda: Http1(port, ClientTls(acme)), running)
        asking = [running.enter_context(Asking.on(client)) for client in good]
        each.feed.server.publish(answer)
        begun = time.monotonic()

        def first_refusal(client: Http1 | Http2) -> float:
            assert set(until("certificate_revoked", client)) <= {"allowed"}
            return time.monotonic() - begun

        took = {name: [pool.submit(first_refusal, client) for client in each] for name, each in clients.items()}
        seconds = {name: [future.result() for future in futures] for name, futures in took.items()}
    assert {answer for each_worker in asking for answer in each_worker.answers} == {"allowed"}
    assert max(max(each) for each in seconds.values()) < LATEST_SECONDS
    grown = (world.envoy.resident_kib() - memory) / 1024
    record_property("measured", (
        f"{each.what}, {others + 1} entries ({len(answer.body) / 1e6:.1f} MB), refresh {REFRESH_SECONDS} s: first refusal after "
        + ", ".join(f"{each[0]:.2f} and {each[1]:.2f} s ({name})" for name, each in seconds.items())
        + "; longest request meanwhile " + " and ".join(f"{each_worker.longest_seconds * 1000:.0f} ms" for each_worker in asking)
        + f" (two workers); Envoy's memory {grown:+.0f} MiB"))


# How lists are fetched.


TAGGED, UNTAGGED, SLOW_SERVER, LAZY_SERVER, FIRST = range(5)


@dataclass(frozen=True)
class Fetching:
    """An Envoy with four workers, and a feed for each server: one that knows ETags, one that does not, a slow one, one that
    calls the list unchanged although nobody asked for changes, and one that has left the first fetches without an answer."""

    envoy: Envoy
    feeds: Sequence[Feed]
    revoked: Credential
    first_fetches: int
    """How many came before the first was answered."""


@pytest.fixture(scope="module")
def fetching(serve_feeds: ServeFeeds, issuer: Authority) -> Fetching:
    revoked, patient = issuer.issue(), {"timeout_ms": 20_000}
    feeds = [
        Feed("tagged", replace(json_list(revoked), tagged=True), settings=patient),
        Feed("untagged", json_list()),
        Feed("slow", replace(json_list(), delay_seconds=0.3), settings=patient),
        Feed("lazy", json_list()),
        Feed("first", json_list(), settings=patient),
    ]
    feeds[FIRST].server.hold()
    envoy = serve_feeds(feeds, Listener("main", policy(*feeds)), concurrency=4)
    envoy.wait("the first fetch", lambda: feeds[FIRST].server.count() > 0)
    # All workers have looked.
    time.sleep(STILL_SECONDS)
    first = feeds[FIRST].server.count()
    feeds[FIRST].server.release()
    envoy.wait("all lists", lambda: all(fetched(envoy, index, "unchanged") for index in range(len(feeds))))
    return Fetching(envoy, feeds, revoked, first)


def test_a_list_is_asked_for_by_its_etag_and_is_as_good_as_new_when_it_is_unchanged(fetching: Fetching) -> None:
    envoy, server = fetching.envoy, fetching.feeds[TAGGED].server
    envoy.wait("fetches", lambda: fetched(envoy, TAGGED, "unchanged") >= 2)
    fetches = server.fetches()
    first, *_, last = [dict(fetch.headers) for fetch in fetches]
    assert "if-none-match" not in first and "if-none-match" in last
    assert (fetches[0].method, fetches[0].path, first["host"]) == ("GET", "/revoked", "feed.example")
    adopted = fetched(envoy, TAGGED, "adopted")
    server.hold()
    envoy.wait("an older list", lambda: age(envoy, TAGGED) >= 2)
    unchanged = fetched(envoy, TAGGED, "unchanged")
    server.release()
    envoy.wait("a list as good as new", lambda: age(envoy, TAGGED) <= 1)
    assert fetched(envoy, TAGGED, "unchanged") > unchanged
    assert (fetched(envoy, TAGGED, "adopted"), fetched(envoy, TAGGED, "failed")) == (adopted, 0)
    assert ask(envoy.port("main"), fetching.revoked) == "certificate_revoked"


def test_a_list_that_has_changed_comes_with_another_etag(fetching: Fetching, acme: Credential) -> None:
    envoy, server = fetching.envoy, fetching.feeds[TAGGED].server
    adopted, old = fetched(envoy, TAGGED, "adopted"), dict(server.fetches()[-1].headers)
    server.publish(replace(json_list(acme), tagged=True))
    envoy.wait("the new list", lambda: [ask(envoy.port("main"), each) for each in (acme, fetching.revoked)]
               == ["certificate_revoked", "allowed"])
    unchanged = fetched(envoy, TAGGED, "unchanged")
    envoy.wait("fetches", lambda: fetched(envoy, TAGGED, "unchanged") >= unchanged + 2)
    assert dict(server.fetches()[-1].headers)["if-none-match"] != old["if-none-match"]
    assert fetched(envoy, TAGGED, "adopted") == adopted + 1


def test_the_same_list_without_an_etag_is_unchanged_too(fetching: Fetching) -> None:
    adopted, unchanged = (fetched(fetching.envoy, UNTAGGED, outcome) for outcome in ("adopted", "unchanged"))
    fetching.envoy.wait("fetches", lambda: fetched(fetching.envoy, UNTAGGED, "unchanged") >= unchanged + 2)
    assert (fetched(fetching.envoy, UNTAGGED, "adopted"), fetched(fetching.envoy, UNTAGGED, "failed")) == (adopted, 0)
    assert all("if-none-match" not in dict(fetch.headers) for fetch in fetching.feeds[UNTAGGED].server.fetches())


def test_an_answer_that_nothing_has_changed_is_a_failure_where_nobody_asked_for_changes(fetching: Fetching) -> None:
    envoy, server = fetching.envoy, fetching.feeds[LAZY_SERVER].server
    before = server.count()
    server.publish(Answer(status=304))
    # The first may have been answered before, and the last shows that the second was read.
    envoy.wait("fetches", lambda: server.count() >= before + 3)
    assert "if-none-match" not in dict(server.fetches()[-1].headers)
    assert fetched(envoy, LAZY_SERVER, "failed") >= 1


def test_one_worker_makes_the_first_fetch_for_all(fetching: Fetching) -> None:
    assert fetching.first_fetches == 1
    assert [feed.server.most_at_once() for feed in fetching.feeds] == [1] * len(fetching.feeds)


def test_one_worker_fetches_for_all(fetching: Fetching) -> None:
    server = fetching.feeds[SLOW_SERVER].server
    before, begun = server.count(), time.monotonic()
    fetching.envoy.wait("refreshes", lambda: server.count() >= before + 3)
    # Up to a tenth before its time, and the one that was about to come.
    assert server.count() - before <= 1 + (time.monotonic() - begun) / (0.9 * REFRESH_SECONDS)
    assert fetched(fetching.envoy, SLOW_SERVER, "failed") == 0


def test_a_new_policy_has_the_list_of_its_feed_at_once(serve_feeds: ServeFeeds, issuer: Authority) -> None:
    good, revoked = issuer.issue([("CN", "good")]), issuer.issue([("CN", "revoked")])
    feed = Feed("updated", json_list(revoked))
    envoy = serve_feeds([feed], Listener("edge", policy(feed, policy_id="one")), dynamic=True, concurrency=2)
    envoy.wait("the list", lambda: ask(envoy.port("edge"), good) == "allowed")

    def install(policy_id: str) -> None:
        before = envoy.update_count(accepted=True)
        envoy.replace_listeners(Listener("edge", policy(feed, policy_id=policy_id)))
        envoy.wait_for_listener_update(accepted=True, before=before)
        lines = len(envoy.records("edge"))
        envoy.wait(f"records of {policy_id}", lambda: {
            each["decision"]["policy_id"] for each in envoy.records("edge", lines + 20)[-20:]} == {policy_id})

    port = envoy.port("edge")
    with Asking(lambda: ask(port, good)) as asking_good, Asking(lambda: ask(port, revoked)) as asking_revoked:
        install("two")
        feed.server.refuse()
        install("three")
    assert (asking_good.answers, asking_revoked.answers) == ({"allowed"}, {"certificate_revoked"})
    feed.server.publish(json_list(good))
    envoy.wait("the next list", lambda: [ask(envoy.port("edge"), each) for each in (good, revoked)]
               == ["certificate_revoked", "allowed"])
