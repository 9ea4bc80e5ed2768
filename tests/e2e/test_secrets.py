"""What a caller sends and what must stay secret is in nothing that the system writes.

Searched are all files that Envoy writes (its log at level info, where all of the filter's lines are, its access logs, its
output) and the metrics. At level debug Envoy itself prints every request's headers, so its own lines are no test of the filter.
What stands in the configuration can be read on Envoy's admin interface by design and is searched for in its log.

Recorded by design, and so no place for a secret: the path without its query, the method, `x-request-id`, the client, its
profile and principal, the certificate's thumbprint and the one that the token is bound to, the certificate's identity, subject and issuer; and what a refusal's note compares: `iss`, `aud`, `kid`,
`typ`, `client_id`, scopes and times of a token, `X-Client-ID` and `X-Profile-ID`. These hold `NAMED`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import pki, tokens
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import ACCESS_LOG, Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "policy_id": "secrets",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"], "principal": "arn:acme"}},
    "profiles": {"partner": {"allow": [{"paths": ["/open/**"], "methods": ["GET", "POST"]}]}},
    "bypass": [{"path": "/health"}],
    "token": {"issuers": [tokens.ISSUER], "audiences": [tokens.AUDIENCE]},
    "audit": {"log": "all"},
}
FORWARDED = {"xfcc": "x-forwarded-client-cert", "nginx": "ssl-client-cert", "rfc9440": "client-cert"}
LISTENERS = ("main", "jwks", "shadow", "optional", *FORWARDED)
PLANTED = "planted"
"""Stands in every secret that is text: one search finds them all."""
NAMED = "named"
"""Stands in what a note may name."""


def forwarded(kind: str) -> Config:
    """The policy behind a proxy on this machine."""
    certificate = {"format": kind, "trusted_proxies": {"cidrs": ["127.0.0.0/8"]}}
    return {**POLICY, "certificate": {"source": "forwarded", "forwarded": certificate}}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, signer: Signer) -> Envoy:
    jwt = JwtAuthn((signer,))
    own = {**POLICY, "token": {**POLICY["token"], "source": "jwks", "jwks": json.loads(tokens.jwks(signer))}}
    return start_envoy(
        Listener("main", POLICY, jwt=jwt),
        Listener("jwks", own),
        Listener("shadow", {**own, "enforcement": "shadow"}),
        Listener("optional", {**POLICY, "mode": "bearer_plus_mtls_optional"}, jwt=jwt),
        *(Listener(kind, forwarded(kind), jwt=jwt, manager={"forward_client_cert_details": "ALWAYS_FORWARD_ONLY"})
          for kind in FORWARDED),
    )


@dataclass(frozen=True)
class Secrets:
    """Who calls with what; `found` says which of it stands in a text."""

    callers: tuple[Credential, ...]
    """The first is that of the tokens."""
    tokens: dict[str, str]

    def found(self, text: str) -> set[str]:
        """The names of the secrets in a text."""
        return {name for name, secret in self._all() if secret in text}

    def _all(self) -> Iterator[tuple[str, str]]:
        yield "planted text", PLANTED
        yield "base64 of planted text", base64.b64encode(PLANTED.encode()).decode()[:8]
        for name, token in self.tokens.items():
            yield f"token {name}", token
            yield from ((f"part {number} of token {name}", part) for number, part in enumerate(token.split(".")) if part)
        for credential in self.callers:
            yield from _spellings(credential)


def _spellings(credential: Credential) -> Iterator[tuple[str, str]]:
    """A certificate and its key, also in part: a line of PEM is enough."""
    lines = [*credential.pem.split("\n"), *credential.key_pem.decode().split("\n")]
    yield from ((f"line {number} of PEM", line) for number, line in enumerate(lines) if line)
    yield "escaped PEM", quote(credential.pem, safe="")[28:100]
    yield "base64url of DER", pki.base64url(credential.der)[:40]
    yield "DER in hexadecimal", credential.der.hex()[:60]


@pytest.fixture(scope="module")
def secrets(issuer: Authority, acme: Credential, signer: Signer) -> Secrets:
    """Good tokens and bad ones, each with something planted, and certificates that name what they need not."""
    address = pki.email(f"{PLANTED}@san.example")
    stranger = issuer.issue([("CN", f"{NAMED}-stranger")], sans=[pki.dns(f"{NAMED}.stranger.example"), address])
    ambiguous = issuer.issue([("CN", f"{NAMED}-1"), ("CN", f"{NAMED}-2")], sans=[address])
    other = issuer.issue([("CN", "acme"), ("O", f"{NAMED}-organisation")], sans=[address])
    hidden = {"sub": f"{PLANTED}-sub", "email": f"{PLANTED}@claim.example", "scope": f"{NAMED}-scope", "jti": f"{PLANTED}-jti",
              "https://claims.example/nested": {"deep": [f"{PLANTED}-deep"]}}

    def sign(bound_to: Credential | str | None = acme, **more: Any) -> str:
        return signer.sign(tokens.claims("acme", bound_to, **{**hidden, **more}))

    header = {"alg": signer.algorithm, "kid": f"{NAMED}-kid", "typ": f"{NAMED}-typ", "x": f"{PLANTED}-header"}
    good = sign()
    return Secrets((acme, other, stranger, ambiguous), {
        "good": good,
        "of another certificate": sign(f"{NAMED:A<43}"),
        "with a short binding": sign(f"{PLANTED}-thumbprint"),
        "with another binding": sign(None, cnf={"jkt": f"{PLANTED}-jkt"}),
        "bound to nothing": sign(None),
        "of another issuer": sign(iss=f"https://{NAMED}-issuer.example"),
        "for another audience": sign(aud=f"{NAMED}-audience"),
        "of another client": sign(client_id=f"{NAMED}-client"),
        "expired": sign(exp=1),
        "with a wrong claim": sign(exp=f"{PLANTED}-exp"),
        "with another header": signer.sign(tokens.claims("acme", acme, **hidden), header),
        "with a broken payload": signer.sign(f'{{"sub":"{PLANTED}"'.encode()),
        "with a wrong signature": good[:-6] + "AAAAAA",
        "that is none": f"{PLANTED}-token",
    })


def requests(secrets: Secrets) -> Iterator[tuple[str, str, list[Header], bytes]]:
    """Method, path, headers and body: everywhere where a caller can put something, in requests of all kinds."""
    everywhere: list[Header] = [
        ("cookie", f"session={PLANTED}-cookie"), ("x-api-key", f"{PLANTED}-key"), ("referer", f"https://{PLANTED}.example/"),
        ("user-agent", f"{PLANTED}-agent"), ("proxy-authorization", f"Basic {PLANTED}"), (f"x-{PLANTED}", "1"),
    ]
    path = f"/open/x?q={PLANTED}-query"
    for token in secrets.tokens.values():
        yield "GET", path, [("authorization", f"Bearer {token}"), *everywhere], b""
        yield "GET", f"/open/x?access_token={token}", [("cookie", f"token={token}"), *everywhere], b""
    good = ("authorization", f"Bearer {secrets.tokens['good']}")
    basic = base64.b64encode(f"{PLANTED}:{PLANTED}".encode()).decode()
    odd: list[list[Header]] = [
        [good, ("authorization", f"Bearer {PLANTED}")], [("authorization", f"Basic {basic}")], [],
        [("authorization", f"Basic {basic} Bearer {PLANTED}")], [("authorization", f"Bearer {PLANTED} {PLANTED}")],
        [("authorization", f"Bearer\t{PLANTED}")], [("authorization", f"x{PLANTED} Bearer")], [("authorization", f"Bearer {PLANTED * 3_000}")],
        [good, ("x-http-method-override", f"{NAMED}")], [good, ("connection", "upgrade"), ("upgrade", f"{NAMED}")],
        [good, ("x-client-id", f"{NAMED}-client")], [good, ("x-profile-id", f"{NAMED}-profile")],
        [good, ("x-client-id", f"{NAMED}-1"), ("x-client-id", f"{NAMED}-2")],
    ]
    for headers in odd:
        yield "POST", path, [*headers, *everywhere], f"{PLANTED}-body".encode()
    for method, other in [("DELETE", path), ("GET", f"/closed?{PLANTED}"), ("GET", f"/open;?{PLANTED}"),
                          ("GET", f"/health?{PLANTED}"), ("GET", f"/open/x#{PLANTED}-fragment")]:
        yield method, other, [good, *everywhere], b""


def certificate_headers(credential: Credential) -> Iterator[Header]:
    """The certificate as proxies forward it, whole and broken."""
    der, pem = base64.b64encode(credential.der).decode(), quote(credential.pem, safe="")
    xfcc = f'Hash={credential.thumbprint_hex};Cert="{pem}"'
    for name, value in {"x-forwarded-client-cert": xfcc, "ssl-client-cert": pem, "client-cert": f":{der}:"}.items():
        yield name, value
        yield name, value[:-30]
        yield name, f"{value}{PLANTED}"


def send_everything(envoy: Envoy, secrets: Secrets, http: Client) -> Iterator[str]:
    """Sends it all to every listener, and what the filter answers comes back; the upstream's echo repeats what was sent."""
    for listener in LISTENERS[:4]:
        for credential in (*secrets.callers, None):
            for method, path, headers, body in requests(secrets):
                if http is not Http1 and ("connection", "upgrade") in headers:
                    continue  # Envoy ends a stream with such a header by itself.
                with http(envoy.port(listener), ClientTls(credential)) as client:
                    yield _told(client.request(method, path, headers, body))
    good = ("authorization", f"Bearer {secrets.tokens['good']}")
    for listener in FORWARDED:
        for credential in secrets.callers:
            for header in certificate_headers(credential):
                with http(envoy.port(listener), ClientTls()) as client:
                    yield _told(client.request("GET", f"/open/x?{PLANTED}", [good, header]))


def _told(response: Any) -> str:
    return "" if response.header("x-upstream") else f"{response.headers} {response.body!r}"


def written(envoy: Envoy) -> str:
    """Everything that Envoy and the filter in it have written until now, and the metrics."""
    folder = envoy.log_file.parent
    files = [*folder.glob("*.log"), *folder.glob("access-*.jsonl")]
    text = "\n".join(path.read_text(errors="replace") for path in files)
    return "\n".join([text, envoy.admin.get("/stats"), envoy.admin.get("/stats/prometheus")])


def count(envoy: Envoy) -> int:
    return sum(len(envoy.records(name)) for name in LISTENERS)


def test_nothing_that_is_written_holds_a_secret(envoy: Envoy, secrets: Secrets, http: Client) -> None:
    before = count(envoy)
    answers = list(send_everything(envoy, secrets, http))
    envoy.wait("all records", lambda: count(envoy) == before + len(answers))
    assert secrets.found("\n".join(answers)) == set(), "in an answer"
    assert secrets.found(written(envoy)) == set()


def test_the_requests_with_secrets_are_of_all_kinds(envoy: Envoy, secrets: Secrets) -> None:
    """Otherwise the test above would look at little."""
    for _ in send_everything(envoy, secrets, Http1):
        pass
    lines = [line for name in LISTENERS for line in envoy.records(name)]
    # A path with a fragment is Envoy's to refuse, without a record.
    records = [line["decision"] for line in lines if line["decision"]]
    assert len(records) > 0.9 * len(lines)
    reasons = {record["reason"] for record in records}
    assert None in reasons and len(reasons) >= 22, reasons
    # A path is recorded by design.
    assert "/open/x" in {record["path"] for record in records}
    # And the filter's log has a line for each, as far as it may write a hundred a second.
    assert envoy.log().count(': {"decision":') > 100


def test_a_token_in_the_access_log_would_be_found(
    start_envoy: StartEnvoy, signer: Signer, secrets: Secrets, http: Client
) -> None:
    """The search is worth something: it finds what a careless access log writes."""
    leaking = {**ACCESS_LOG, "authorization": "%REQ(authorization)%", "path": "%REQ(:PATH)%"}
    log = {"name": "envoy.access_loggers.stdout", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
        "log_format": {"json_format": leaking}}}
    envoy = start_envoy(Listener("leaking", POLICY, jwt=JwtAuthn((signer,)), manager={"access_log": [log]}))
    with http(envoy.port("leaking"), ClientTls(secrets.callers[0])) as client:
        client.request("GET", f"/open/x?{PLANTED}", [("authorization", f"Bearer {secrets.tokens['good']}")])
    parts = {f"part {number} of token good" for number in range(3)}
    envoy.wait("the secrets", lambda: secrets.found(written(envoy)) >= {"planted text", "token good", *parts})


EC = {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "kid": "one"}
KEYS: dict[str, Any] = {
    "a shared secret": {"keys": [{"kty": "oct", "k": f"{PLANTED}-shared", "kid": "one"}]},
    "a private key of another curve": {"keys": [{**EC, "crv": "P-521", "d": f"{PLANTED}-private"}]},
    "a private key for encryption": {"keys": [{**EC, "use": "enc", "d": f"{PLANTED}-private"}]},
    "a private RSA key that is too small": {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": f"{PLANTED}", "p": PLANTED}]},
    "a key with a member of the wrong type": {"keys": [{**EC, "alg": 1, "d": f"{PLANTED}-private"}]},
    "no keys": {"d": f"{PLANTED}-private"},
    "keys as a list": [{"kty": "oct", "k": f"{PLANTED}-shared"}],
}


@pytest.fixture(scope="module")
def serving(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(Listener("a", POLICY), dynamic=True)


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS.keys())
def test_an_error_about_keys_does_not_repeat_them(serving: Envoy, secrets: Secrets, keys: Any) -> None:
    before, logged = serving.update_count(accepted=False), len(serving.log())
    serving.replace_listeners(Listener("a", {**POLICY, "token": {"source": "jwks", "jwks": keys}}))
    serving.wait_for_listener_update(accepted=False, before=before)
    serving.wait("the reason", lambda: "the configuration is refused: token" in serving.log()[logged:])
    assert secrets.found(serving.log()[logged:]) == set()
