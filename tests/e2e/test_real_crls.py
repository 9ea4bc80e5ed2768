"""Lists of revoked certificates as real authorities publish them. Each case names its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from conftest import ServeFeeds
from harness.envoy import Envoy
from harness.feed_server import MINUTE, Feed, crl, fetched, policy
from harness.fetched import Answer
from harness.listener import Listener
from harness.pki import Authority, Credential, distinguished_name
from harness.verdicts import ask

DAY = timedelta(days=1)
Make = Callable[[Authority, Authority, Credential], Answer]
"""Of the issuer, another authority, and the certificate that is revoked."""


def body(answer: Answer, *parts: bytes) -> Answer:
    return replace(answer, body=b"".join(parts))


def bundle(issuer: Authority, other: Authority, revoked: Credential, between: bytes = b"") -> Answer:
    """The issuer's list between two of another authority."""
    own, others = crl(issuer, revoked, pem=True), crl(other, pem=True)
    return body(own, between, others.body, between, own.body, between, others.body, between)


def crlf(answer: Answer) -> Answer:
    return body(answer, answer.body.replace(b"\n", b"\r\n"))


def pss(issuer: Authority, _: Authority, revoked: Credential) -> Answer:
    plain = x509.load_der_x509_crl(crl(issuer, revoked).body)
    builder = x509.CertificateRevocationListBuilder(
        plain.issuer, plain.last_update_utc, plain.next_update_utc, [], [*plain])
    scheme = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
    made = builder.sign(issuer.credential.key, hashes.SHA256(), rsa_padding=scheme)
    return body(crl(issuer), made.public_bytes(serialization.Encoding.DER))


def spelt(name: str) -> Make:
    return lambda issuer, _, revoked: crl(issuer, revoked, name=distinguished_name([("CN", name)]))


GOOD: Mapping[str, tuple[str, Make]] = {
    "DER": ("ec", lambda issuer, _, revoked: crl(issuer, revoked)),
    "PEM": ("ec", lambda issuer, _, revoked: crl(issuer, revoked, pem=True)),
    "PEM with CRLF": ("ec", lambda issuer, _, revoked: crlf(crl(issuer, revoked, pem=True))),
    "a bundle of several issuers": ("ec", bundle),
    "a bundle with text between": ("ec", lambda *all: bundle(*all, between=b"Certificate Revocation List (CRL):\n    Version 2 (0x1)\n")),
    "a bundle with CRLF": ("ec", lambda *all: crlf(bundle(*all, between=b"\n# a comment\n"))),
    "RSASSA-PKCS1-v1_5": ("rsa", lambda issuer, _, revoked: crl(issuer, revoked, digest=hashes.SHA512())),
    "RSASSA-PSS": ("rsa", pss),
    "P-384": ("ec384", lambda issuer, _, revoked: crl(issuer, revoked, digest=hashes.SHA384())),
    "P-521": ("ec521", lambda issuer, _, revoked: crl(issuer, revoked, digest=hashes.SHA512())),
    "another letter case": ("ec", spelt("EXAMPLE authority")),
    "more white space": ("ec", spelt(" Example   Authority ")),
}


def other_certificate(issuer: Authority, ends: timedelta) -> str:
    """The PEM of another certificate of the same name and key."""
    name, key, now = issuer.credential.certificate.subject, issuer.credential.key, datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - 1000 * DAY).not_valid_after(now + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


ENDS = {"an issuer that has expired": -DAY, "an issuer that soon ends": 20 * DAY + MINUTE}

BAD: Mapping[str, tuple[Make, str]] = {
    "a delta": (lambda issuer, _, revoked: crl(issuer, revoked, extensions=[(x509.DeltaCRLIndicator(1), True)]), "it is a delta CRL"),
    "another issuer's alone": (lambda _, other, revoked: crl(other, revoked, pem=True), "its issuer is not the subject of issuer_certificate"),
    "a certificate": (
        lambda issuer, _, revoked: body(crl(issuer), issuer.credential.pem.encode()), "not an X.509 certificate revocation list"),
    "a page": (lambda issuer, _, revoked: body(crl(issuer), b"<html>moved</html>"), "the answer is an HTML or XML page"),
    "no end": (lambda issuer, _, revoked: body(crl(issuer), crl(issuer, revoked, pem=True).body[:-30]), "not an X.509"),
    "two of the issuer": (
        lambda issuer, _, revoked: body(crl(issuer), 2 * crl(issuer, revoked, pem=True).body), "it holds several lists"),
}


@dataclass(frozen=True)
class World:
    """An Envoy with a feed for each case, and the certificate that each list revokes."""

    envoy: Envoy
    cases: list[str]
    revoked: Mapping[str, Credential]
    good: Credential

    def index(self, case: str) -> int:
        return self.cases.index(case)


@pytest.fixture(scope="module")
def worlds(serve_feeds: ServeFeeds, root: Authority) -> tuple[World, World]:
    """One of good lists, and one of lists that cannot be used."""
    other = root.intermediate("Example Stranger")
    good, bad, feeds = {}, {}, []
    for number, (case, (key_type, make)) in enumerate(GOOD.items()):
        issuer = root.intermediate("Example Authority", key_type=key_type)  # type: ignore[arg-type]
        good[case] = issuer.issue()
        feeds.append(Feed(f"good-{number}", make(issuer, other, good[case]), issuer))
    for number, (case, ends) in enumerate(ENDS.items()):
        issuer = root.intermediate("Example Authority")
        good[case] = issuer.issue()
        settings = {"issuer_certificate": other_certificate(issuer, ends)}
        feeds.append(Feed(f"ends-{number}", crl(issuer, good[case]), issuer, settings))
    unusable = []
    for number, (case, (make_bad, _)) in enumerate(BAD.items()):
        issuer = root.intermediate("Example Authority")
        bad[case] = issuer.issue()
        unusable.append(Feed(f"bad-{number}", make_bad(issuer, other, bad[case]), issuer, {"on_stale": "allow"}))
    first = serve_feeds(feeds, Listener("main", policy(*feeds)))
    second = serve_feeds(unusable, Listener("main", policy(*unusable)))
    first.wait("all lists", lambda: all(fetched(first, index, "adopted") for index in range(len(feeds))))
    return World(first, list(good), good, other.issue()), World(second, list(bad), bad, other.issue())


@pytest.mark.parametrize("case", [*GOOD, *ENDS])
def test_a_list_that_a_real_authority_publishes_is_used(worlds: tuple[World, World], case: str) -> None:
    world, _ = worlds
    port = world.envoy.port("main")
    assert ask(port, world.revoked[case]) == "certificate_revoked"
    assert ask(port, world.good) == "allowed"


@pytest.mark.parametrize("case", BAD)
def test_a_list_that_cannot_be_used_says_why(worlds: tuple[World, World], case: str) -> None:
    _, world = worlds
    line = world.envoy.wait_for_log(f"revocation.feeds[{world.index(case)}]: what was fetched cannot be used: ")
    assert BAD[case][1] in line and line.rstrip().endswith("; there is none yet")
    assert ask(world.envoy.port("main"), world.revoked[case]) == "allowed", "on_stale is allow here"


@pytest.mark.parametrize("case, words, days", [
    ("an issuer that has expired", "issuer_certificate has expired", 0),
    ("an issuer that soon ends", "issuer_certificate expires in 20 days", 20),
])
def test_an_issuer_certificate_that_soon_ends_is_a_warning_and_a_metric(
    worlds: tuple[World, World], case: str, words: str, days: int
) -> None:
    world, _ = worlds
    index = world.index(case)
    line = world.envoy.wait_for_log(f"revocation.feeds[{index}]: {words}")
    assert "[warning]" in line
    name = f'mtls_fetch_issuer_days_until_expiry{{source="feed_{index}"}}'
    world.envoy.wait("the gauge", lambda: world.envoy.admin.prometheus().get(name) == days)
    assert "issuer_certificate" not in world.envoy.log().split(f"feeds[{world.index('DER')}]: ")[1].split("\n")[0]
