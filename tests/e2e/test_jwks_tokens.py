"""Tokens that the filter verifies itself with keys of its configuration (`token.source: jwks`), without `jwt_authn`."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from conftest import Client, StartEnvoy
from harness import grpc_client, http3, tokens, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.grpc_upstream import GrpcUpstream
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.pki import Authority, Credential, base64url
from harness.response import Header, Response
from harness.tls import ClientTls
from harness.tokens import ALGORITHMS, AUDIENCE, ISSUER, Algorithm, Signer, sign_with_secret
from harness.upstream import Upstream

SAY = "/echo.Echo/Say"
DEADLINE_SECONDS = 60.0
LEEWAY_SECONDS = 30
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]},
                "other": {"identities": ["cn:other"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open", SAY]}, {"paths": ["/scoped"], "scopes": ["read"]}]}},
    "bypass": [{"path": "/health"}],
}
Signers = Mapping[Algorithm, Signer]


@pytest.fixture(scope="module")
def signers() -> Signers:
    """One key for each algorithm, all of which the issuer `main` publishes."""
    return {algorithm: Signer(algorithm, f"key-{algorithm}") for algorithm in ALGORITHMS}


@pytest.fixture(scope="module")
def second() -> Signer:
    """A further key, which only some listeners know."""
    return Signer("ES256", "second")


@pytest.fixture(scope="module")
def other(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "other")])


@pytest.fixture(scope="module")
def policy(newest: bool) -> Config:
    return {**POLICY, "certificate": {"validation": "attribute" if newest else "listener"}}


def with_keys(policy: Config, *keys: Mapping[str, Any], **more: Any) -> Config:
    token = {"source": "jwks", "jwks": {"keys": list(keys)}, "issuers": [ISSUER], "audiences": [AUDIENCE], **more}
    return {**policy, "token": token}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Any, policy: Config, signers: Signers, second: Signer) -> Envoy:
    published = [signer.jwk() for signer in signers.values()]
    untyped = [signer.jwk(alg=None, use=None) for signer in signers.values()]
    es256 = signers["ES256"]
    lone = es256.jwk(kid=None, alg=None, use=None)
    optional = {**policy, "mode": "bearer_plus_mtls_optional"}
    whole: Config = {"forward_client_cert_details": "SANITIZE_SET", "set_current_client_cert_details": {"cert": True}}
    return start_envoy(
        Listener("main", with_keys(policy, *published), **whole),
        Listener("struct", with_keys(policy, *published), struct=True),
        Listener("untyped", with_keys(policy, *untyped)),
        Listener("allowed", with_keys(policy, *untyped, algorithms=["ES256", "RS384"])),
        Listener("several", with_keys(policy, es256.jwk(), second.jwk())),
        Listener("lone", with_keys(policy, lone)),
        Listener("optional", with_keys(optional, *published)),
        Listener("shadow", {**with_keys(policy, *published), "enforcement": "shadow"}),
        # Two plugins in one VM, which share its memory.
        Listener("shared_one", with_keys(policy, es256.jwk()), vm_id="shared"),
        Listener("shared_two", with_keys(policy, second.jwk(kid=es256.key_id)), vm_id="shared"),
        binary=every_envoy,
    )


def header(token: str) -> Header:
    return ("authorization", f"Bearer {token}")


def challenge(response: Response) -> dict[str, str]:
    """The parameters of a Bearer challenge (RFC 6750 section 3)."""
    value = response.header("www-authenticate")
    assert value is not None and value.startswith("Bearer")
    return dict(re.findall(r'([a-z_]+)="([^"\\]*)"', value))


@dataclass(frozen=True)
class Forge:
    """Makes good tokens of `acme`, and tokens with one thing wrong."""

    signers: Signers
    acme: Credential

    def claims(self, *without: str, **more: Any) -> dict[str, Any]:
        every = tokens.claims("acme", self.acme, **more)
        return {name: value for name, value in every.items() if name not in without}

    def good(self, algorithm: Algorithm = "ES256", **more: Any) -> str:
        return self.signers[algorithm].sign(self.claims(**more))

    def without(self, *names: str) -> str:
        return self.signers["ES256"].sign(self.claims(*names))

    def text(self, text: str, **more: Any) -> str:
        """Signed claims followed by more text before the last brace."""
        return self.signers["ES256"].sign(json.dumps(self.claims(**more))[:-1].encode() + text.encode() + b"}")

    def payload(self, payload: bytes) -> str:
        return self.signers["ES256"].sign(payload)

    def headed(self, signed_by: Signer | None = None, **members: Any) -> str:
        """A token whose header has further or other members, or lacks those that are `None`."""
        by = signed_by or self.signers["ES256"]
        every = {"alg": "ES256", "kid": "key-ES256", "typ": "JWT", **members}
        return by.sign(self.claims(), {name: value for name, value in every.items() if value is not None})

    def raw_header(self, text: bytes) -> str:
        return self.signers["ES256"].sign(self.claims(), text)

    def resigned(self, signature: Callable[[bytes], bytes], algorithm: Algorithm = "ES256") -> str:
        """A good token whose signature is changed."""
        text, _, old = self.good(algorithm).rpartition(".")
        return f"{text}.{base64url(signature(_decode(old)))}"


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _der(signature: bytes) -> bytes:
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def _altered(token: str, part: int, change: Callable[[bytes], bytes]) -> str:
    parts = token.split(".")
    parts[part] = base64url(change(_decode(parts[part])))
    return ".".join(parts)


def _now(seconds: float) -> float:
    return int(time.time()) + seconds


MALFORMED: dict[str, Callable[[Forge], str]] = {
    "one part": lambda f: "x",
    "two parts": lambda f: f.good().rpartition(".")[0],
    "four parts": lambda f: f.good() + ".e30",
    "an encrypted token": lambda f: base64url(b'{"alg":"RSA-OAEP","enc":"A256GCM"}') + ".QQ.QQ.QQ.QQ",
    "ten thousand dots": lambda f: "." * 10_000,
    "a header that is no JSON": lambda f: f.raw_header(b"{"),
    "a header that is a list": lambda f: f.raw_header(b"[]"),
    "a header that is empty": lambda f: f.raw_header(b""),
    "a header that is no base64url": lambda f: "e+/" + f.good()[3:],
    "a payload that is no JSON": lambda f: f.payload(b"hello"),
    "a payload that is a list": lambda f: f.payload(b"[]"),
    "a payload that is null": lambda f: f.payload(b"null"),
    "a payload that is empty": lambda f: f.payload(b""),
    "a payload with bytes behind": lambda f: f.payload(json.dumps(f.claims()).encode() + b"{}"),
    "a payload that is not UTF-8": lambda f: f.payload(json.dumps(f.claims()).encode()[:-1] + b',"x":"\xff"}'),
    "a payload behind a byte order mark": lambda f: f.payload(b"\xef\xbb\xbf" + json.dumps(f.claims()).encode()),
    "a claim twice": lambda f: f.text(',"exp":9999999999'),
    "a claim twice, once escaped": lambda f: f.text(r',"e\u0078p":9999999999'),
    "a foreign claim twice": lambda f: f.text(',"x":1,"x":1'),
    "a claim twice inside of another": lambda f: f.text(',"x":{"y":[{"z":1,"z":1}]}'),
    "a binding twice": lambda f: f.text(f',"cnf":{{"x5t#S256":"{f.acme.thumbprint}"}}'),
    "an algorithm twice": lambda f: f.raw_header(b'{"alg":"none","alg":"ES256","kid":"key-ES256"}'),
    "a key twice": lambda f: f.raw_header(b'{"alg":"ES256","kid":"key-ES256","kid":"key-ES256"}'),
    "crit": lambda f: f.headed(crit=["exp"], exp=1),
    "an empty crit": lambda f: f.headed(crit=[]),
    "crit of b64": lambda f: f.headed(crit=["b64"], b64=False),
    "crit that is no list": lambda f: f.headed(crit="exp"),
    "a DPoP proof": lambda f: f.headed(typ="dpop+jwt"),
    "a security event": lambda f: f.headed(typ="secevent+jwt"),
    "a type that is a number": lambda f: f.headed(typ=12),
    "a key that is a number": lambda f: f.headed(kid=12),
}

NOT_ALLOWED: dict[str, Callable[[Forge], str]] = {
    **{f"alg {name}": lambda f, name=name: f.headed(alg=name).rpartition(".")[0] + "."  # type: ignore[misc]
       for name in ("none", "None", "NONE", "nOnE")},
    **{f"alg {name} with a signature": lambda f, name=name: f.headed(alg=name)  # type: ignore[misc]
       for name in ("none", "HS256", "HS512", "ES512", "PS384", "ES256K", "RS1", "es256", "ES256 ")},
    "a public key as a shared secret": lambda f: sign_with_secret(
        f.signers["RS256"].public_pem(), f.claims(), "key-RS256"),
    "a published key as a shared secret": lambda f: sign_with_secret(
        json.dumps(f.signers["ES256"].jwk()).encode(), f.claims(), "key-ES256"),
}

INVALID: dict[str, Callable[[Forge], str]] = {
    "another key of the same name": lambda f: Signer("ES256", "key-ES256").sign(f.claims()),
    "another RSA key of the same name": lambda f: Signer("RS256", "key-RS256").sign(f.claims()),
    "the token's own key": lambda f: (own := Signer("ES256")) and f.headed(own, jwk=own.jwk(kid="key-ES256")),
    "a key from an address": lambda f: f.headed(Signer("ES256"), jku="https://evil.example/keys"),
    "a certificate from an address": lambda f: f.headed(Signer("ES256"), x5u="https://evil.example/chain"),
    "the token's own certificate": lambda f: f.headed(Signer("ES256"), x5c=["MIIB"]),
    "the token's own key without a name": lambda f: (own := Signer("ES256")) and f.headed(own, jwk=own.jwk(), kid=None),
    "another payload": lambda f: _altered(f.good(), 1, lambda text: text.replace(b'"sub":"acme"', b'"sub":"evil"')),
    "another header": lambda f: _altered(f.good(), 0, lambda text: text.replace(b"}", b',"x":1}')),
    "nothing but zeros": lambda f: f.resigned(lambda old: b"\0" * 64),
    "r of zero": lambda f: f.resigned(lambda old: b"\0" * 32 + old[32:]),
    "s of zero": lambda f: f.resigned(lambda old: old[:32] + b"\0" * 32),
    "an ECDSA signature in DER": lambda f: f.resigned(_der),
    "a byte too many": lambda f: f.resigned(lambda old: old + b"\0"),
    "a byte too few": lambda f: f.resigned(lambda old: old[:-1]),
    "an RSA signature with a byte before": lambda f: f.resigned(lambda old: b"\0" + old, "RS256"),
    "PKCS#1 v1.5 where PSS is due": lambda f: Signer("RS256", "key-PS256", f.signers["PS256"].key).sign(
        f.claims(), {"alg": "PS256", "kid": "key-PS256"}),
    "PSS where PKCS#1 v1.5 is due": lambda f: Signer("PS256", "key-RS256", f.signers["RS256"].key).sign(
        f.claims(), {"alg": "RS256", "kid": "key-RS256"}),
    "another hash": lambda f: Signer("RS512", "key-RS256", f.signers["RS256"].key).sign(
        f.claims(), {"alg": "RS256", "kid": "key-RS256"}),
    **{f"one bit of {algorithm}": lambda f, algorithm=algorithm: f.resigned(  # type: ignore[misc]
        lambda old: old[:20] + bytes([old[20] ^ 1]) + old[21:], algorithm) for algorithm in ALGORITHMS},
}

CLAIMS: dict[str, tuple[str, Callable[[Forge], str]]] = {
    "no end": ("token_claims_invalid", lambda f: f.without("exp")),
    "an end that is text": ("token_claims_invalid", lambda f: f.good(exp="9999999999")),
    "an end that is true": ("token_claims_invalid", lambda f: f.good(exp=True)),
    "an end that is null": ("token_claims_invalid", lambda f: f.good(exp=None)),
    "an end that is a list": ("token_claims_invalid", lambda f: f.good(exp=[9999999999])),
    "a huge end": ("token_claims_invalid", lambda f: f.good(exp=1e300)),
    "a beginning that is text": ("token_claims_invalid", lambda f: f.good(nbf="1")),
    "a beginning that is a list": ("token_claims_invalid", lambda f: f.good(nbf=[1])),
    "a time of issue that is false": ("token_claims_invalid", lambda f: f.good(iat=False)),
    "an issuer that is a list": ("token_claims_invalid", lambda f: f.good(iss=[ISSUER])),
    "an audience that is a number": ("token_claims_invalid", lambda f: f.good(aud=12)),
    "an audience that holds a number": ("token_claims_invalid", lambda f: f.good(aud=[AUDIENCE, 12])),
    "an audience that is an object": ("token_claims_invalid", lambda f: f.good(aud={AUDIENCE: True})),
    "a client that is a number": ("token_claims_invalid", lambda f: f.good(client_id=12)),
    "an end that has been": ("token_expired", lambda f: f.good(exp=_now(-45))),
    "an end long ago": ("token_expired", lambda f: f.good(exp=0)),
    "a beginning to come": ("token_not_yet_valid", lambda f: f.good(nbf=_now(60))),
    "a time of issue to come": ("token_not_yet_valid", lambda f: f.good(iat=_now(600))),
    "another issuer": ("token_issuer_mismatch", lambda f: f.good(iss="https://other.example")),
    "an issuer with a slash more": ("token_issuer_mismatch", lambda f: f.good(iss=ISSUER + "/")),
    "another audience": ("token_audience_mismatch", lambda f: f.good(aud="https://other.example")),
    "other audiences": ("token_audience_mismatch", lambda f: f.good(aud=["https://a.example", AUDIENCE + "/"])),
    "an empty audience": ("token_audience_mismatch", lambda f: f.good(aud="")),
    "no client": ("client_profile_mismatch", lambda f: f.without("client_id")),
    "another client": ("client_profile_mismatch", lambda f: f.good(client_id="other")),
    "another party": ("client_profile_mismatch", lambda f: f.good(azp="other")),
    "no binding": ("sender_binding_missing", lambda f: f.without("cnf")),
    "a binding to a key": ("sender_binding_missing", lambda f: f.good(cnf={"jkt": f.acme.thumbprint})),
    "a binding to another": ("sender_binding_mismatch", lambda f: f.good(cnf={"x5t#S256": "A" * 43})),
    "a binding in hexadecimal": ("sender_binding_malformed", lambda f: f.good(cnf={"x5t#S256": f.acme.thumbprint_hex})),
    "a padded binding": ("sender_binding_malformed", lambda f: f.good(cnf={"x5t#S256": f.acme.thumbprint + "="})),
}

WRONG: dict[str, tuple[str, Callable[[Forge], str]]] = {
    **{name: ("token_malformed", make) for name, make in MALFORMED.items()},
    **{name: ("token_algorithm_not_allowed", make) for name, make in NOT_ALLOWED.items()},
    **{name: ("token_signature_invalid", make) for name, make in INVALID.items()},
    "an unknown key": ("token_key_unknown", lambda f: Signer("ES256", "unknown").sign(f.claims())),
    "an unknown key with its own": (
        "token_key_unknown", lambda f: (own := Signer("ES256", "own")) and f.headed(own, jwk=own.jwk(), kid="own")),
    **CLAIMS,
}

EITHER: dict[str, tuple[set[str], Callable[[Forge], str]]] = {
    "no signature": ({"token_malformed", "token_signature_invalid"}, lambda f: f.good().rpartition(".")[0] + "."),
    "a padded signature": ({"token_malformed", "token_signature_invalid", "authorization_malformed"},
                           lambda f: f.good() + "="),
    "a signature that is no base64url": (
        {"token_malformed", "token_signature_invalid", "authorization_malformed"}, lambda f: f.good() + "+/"),
    "no algorithm": ({"token_malformed", "token_algorithm_not_allowed"}, lambda f: f.headed(alg=None)),
    "an algorithm that is a list": (
        {"token_malformed", "token_algorithm_not_allowed"}, lambda f: f.headed(alg=["ES256"])),
    "an elliptic key for RSA": (
        {"token_algorithm_not_allowed", "token_key_unknown"}, lambda f: f.headed(alg="RS256")),
    "a key of another algorithm": (
        {"token_algorithm_not_allowed", "token_key_unknown"},
        lambda f: Signer("RS384", "key-RS256", f.signers["RS256"].key).sign(f.claims())),
    "a key of another curve": (
        {"token_algorithm_not_allowed", "token_key_unknown"},
        lambda f: f.headed(kid="key-ES384")),
    "a negative end": ({"token_claims_invalid", "token_expired"}, lambda f: f.good(exp=-1)),
    "half a second": ({"token_claims_invalid", "token_expired"}, lambda f: f.good(exp=0.5)),
    "a negative huge end": ({"token_claims_invalid", "token_expired"}, lambda f: f.good(exp=-1e300)),
    "a huge beginning": ({"token_claims_invalid", "token_not_yet_valid"}, lambda f: f.good(nbf=1e300)),
    "no issuer": ({"token_claims_invalid", "token_issuer_mismatch"}, lambda f: f.without("iss")),
    "an empty issuer": ({"token_claims_invalid", "token_issuer_mismatch"}, lambda f: f.good(iss="")),
    "no audience": ({"token_claims_invalid", "token_audience_mismatch"}, lambda f: f.without("aud")),
    "an empty list of audiences": ({"token_claims_invalid", "token_audience_mismatch"}, lambda f: f.good(aud=[])),
    "a binding that is null": ({"sender_binding_missing", "sender_binding_malformed", "token_claims_invalid"},
                               lambda f: f.good(cnf=None)),
    "a binding to a number": ({"sender_binding_missing", "sender_binding_malformed", "token_claims_invalid"},
                              lambda f: f.good(cnf={"x5t#S256": 12})),
    "a deep payload": ({"token_malformed", "token_claims_invalid"},
                       lambda f: f.text(',"x":' + "[" * 5_000 + "]" * 5_000)),
    "a deep header": ({"token_malformed"}, lambda f: f.raw_header(
        b'{"alg":"ES256","kid":"key-ES256","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}")),
    # As deep as sixteen kibibytes allow.
    "a payload that only opens": ({"token_malformed"}, lambda f: f.payload(b"[" * 12_000)),
    "a header that only opens": ({"token_malformed"}, lambda f: f.raw_header(b'{"x":' * 2_200)),
}
"""Where the contract does not say which of several reasons it is."""


@pytest.fixture(scope="module")
def forge(signers: Signers, acme: Credential) -> Forge:
    return Forge(signers, acme)


@pytest.mark.parametrize("listener", ["main", "struct", "untyped"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_bound_token_of_every_algorithm_passes_and_the_upstream_is_told_who_calls(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, algorithm: Algorithm, listener: str
) -> None:
    spoofed = [("x-client-id", "acme"), ("x-client-cert-thumbprint", "spoofed"), ("x-client-identity", "spoofed")]
    with http(envoy.port(listener), ClientTls(acme)) as client:
        token = header(forge.good(algorithm, scope="read"))
        for path, headers in (("/open", [token]), ("/scoped", [token, *spoofed])):
            echo = verdicts.passed(client.request("POST", path, headers, b"body"))
            assert echo.values("x-client-id") == ["acme"]
            assert echo.values("x-profile-id") == ["partner"]
            assert echo.values("x-client-identity") == ["cn:acme"]
            assert echo.values("x-client-cert-thumbprint") == [acme.thumbprint]
            assert echo.body_length == 4


def test_the_decision_is_recorded_and_says_that_the_token_is_bound(
    envoy: Envoy, acme: Credential, forge: Forge
) -> None:
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [header(forge.good()), ("x-request-id", "recorded-bound")]))
        verdicts.refused(client.request("GET", "/open", [
            header(Signer("ES256", "unknown").sign(forge.claims())), ("x-request-id", "recorded-unknown"),
        ]), "token_key_unknown")
    good, unknown = (envoy.record("main", name)["decision"] for name in ("recorded-bound", "recorded-unknown"))
    assert (good["decision"], good["binding"], good["client_id"]) == ("allow", "bound", "acme")
    assert (unknown["decision"], unknown["reason"], unknown["status"]) == ("deny", "token_key_unknown", 401)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_token_is_refused_with_its_reason_and_stays_refused(
    envoy: Envoy, acme: Credential, forge: Forge, upstream: Upstream, name: str
) -> None:
    reason, make = WRONG[name]
    token, good = header(make(forge)), header(forge.good())
    mark = upstream.mark()
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        first = client.request("GET", "/open", [token])
        problem = verdicts.refused(first, reason)
        verdicts.passed(client.request("GET", "/open", [good]))
        verdicts.refused(client.request("GET", "/open", [token]), reason)
        verdicts.refused(client.request("POST", "/open", [token], b"body"), reason)
    assert len(upstream.since(mark)) == 1
    if first.status == 401:
        assert challenge(first)["error"] == "invalid_token"
    assert not re.search("eyJ|MII|BEGIN", json.dumps(problem) + str(first.header("www-authenticate")))


@pytest.mark.parametrize("name", EITHER)
def test_a_token_that_is_wrong_in_more_than_one_way_is_refused_for_one_of_them(
    envoy: Envoy, acme: Credential, forge: Forge, name: str
) -> None:
    reasons, make = EITHER[name]
    token = header(make(forge))
    with Http2(envoy.port("main"), ClientTls(acme)) as client:
        for _ in range(2):
            assert verdicts.reason_of(client.request("GET", "/open", [token])) in reasons
        verdicts.passed(client.request("GET", "/open", [header(forge.good())]))


def test_a_grpc_caller_is_told_by_its_status(
    envoy: Envoy, root: Authority, acme: Credential, forge: Forge, grpc_upstream: GrpcUpstream
) -> None:
    by_reason = {reason: make for reason, make in WRONG.values()}
    mark = grpc_upstream.mark()
    for reason, make in by_reason.items():
        result = grpc_client.call(
            envoy.port("main"), root, acme, method=SAY, metadata=[header(make(forge))]
        )
        verdicts.refused_grpc(result, reason)
    verdicts.refused_grpc(grpc_client.call(envoy.port("main"), root, acme, method=SAY), "token_missing")
    assert grpc_upstream.since(mark) == []
    result = grpc_client.call(envoy.port("main"), root, acme, method=SAY, metadata=[header(forge.good())])
    assert result.message == b"hello"


def test_no_token_is_missing_and_the_challenge_holds_no_error(
    envoy: Envoy, acme: Credential, http: Client
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open")
        verdicts.refused(response, "token_missing")
        assert "error" not in challenge(response)
        assert client.request("GET", "/health").status == 200


def test_a_good_token_without_a_certificate_is_not_looked_at(envoy: Envoy, forge: Forge, http: Client) -> None:
    with http(envoy.port("main"), ClientTls()) as client:
        verdicts.refused(client.request("GET", "/open", [header(forge.good())]), "certificate_missing")


@pytest.mark.parametrize("value", [
    "Bearer {token}, Bearer {token}", "Bearer {token},Bearer {token}", "Bearer {token}, Bearer other",
    "Bearer other, Bearer {token}", "Bearer {token}, Basic YTpi", "Basic YTpi, Bearer {token}", "Bearer {token},",
])
def test_a_joined_pair_of_authorizations_is_malformed(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, value: str
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", value.format(token=forge.good()))])
        verdicts.refused(response, "authorization_malformed")
        assert challenge(response)["error"] == "invalid_request"


def test_two_authorizations_are_malformed_in_either_order(
    envoy: Envoy, acme: Credential, forge: Forge, second: Signer, http: Client
) -> None:
    good, bad = header(forge.good()), header(second.sign(forge.claims()))
    # An empty line is not among them: Envoy joins it to the other without a trace.
    for lines in ([good, good], [good, bad], [bad, good], [good, ("authorization", "Basic YTpi")]):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            verdicts.refused(client.request("GET", "/open", lines), "authorization_malformed")


@pytest.mark.parametrize("value", [
    "Bearer", "Bearer ", "Bearer  {token}", "Bearer\t{token}", "Bearer\xa0{token}", "Bearer Bearer {token}", "Bearer {token} {token}",
    "Bearer {token}\xa1", "Bearer \xa1{token}", "{token}", "Basic YTpi", "DPoP {token}", "", "\xff",
    'Bearer "{token}"', "Bearer token={token}",
])
def test_what_is_not_one_bearer_token_gives_no_rights(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, value: str
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        response = client.request("GET", "/open", [("authorization", http3.taken(http, value.format(token=forge.good())))])
    assert verdicts.reason_of(response) in ("authorization_malformed", "token_missing", "token_malformed")


def test_a_token_in_the_query_is_malformed(envoy: Envoy, acme: Credential, forge: Forge, http: Client) -> None:
    good = forge.good()
    for path in (f"/open?access_token={good}", "/open?access_token=", "/open?a=b&access_token=x"):
        for headers in ([], [header(good)]):
            with http(envoy.port("main"), ClientTls(acme)) as client:
                verdicts.refused(client.request("GET", path, headers), "authorization_malformed")


def test_a_token_of_more_than_sixteen_kibibytes_is_malformed_and_a_large_one_is_verified_each_time(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client
) -> None:
    def token(size: int) -> Header:
        empty = len(forge.good(padding=""))
        return header(forge.good(padding="x" * ((size - empty) * 3 // 4)))

    cases = {4_000: "allowed", 5_000: "allowed", 15_000: "allowed",
             18_000: "authorization_malformed", 50_000: "authorization_malformed"}
    for size, verdict in cases.items():
        for _ in range(2):
            with http(envoy.port("main"), ClientTls(acme)) as client:
                assert verdicts.reason_of(client.request("GET", "/open", [token(size)])) == verdict, size


@pytest.mark.parametrize("members", [
    {"typ": "JWT"}, {"typ": "at+jwt"}, {"typ": None}, {"jku": "https://evil.example/keys"}, {"x5u": "x"},
    {"x5c": ["MIIB"]}, {"jwk": {"kty": "oct", "k": "AAAA"}}, {"x5t": "AAAA"}, {"unknown": {"deep": [1, 2, {}]}},
    {"kid": None},
], ids=str)
def test_a_good_token_passes_whatever_else_its_header_says(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, members: Config
) -> None:
    with http(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [header(forge.headed(**members))]))


@pytest.mark.parametrize("claims", [
    {"exp": -15}, {"nbf": 15}, {"aud": [AUDIENCE]}, {"aud": ["https://a.example", AUDIENCE]}, {"azp": "acme"},
    {"unknown": [None, 1.5, {"a": "\U0001f511"}]}, {"sub": "whoever"},
], ids=str)
def test_good_claims_pass(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, claims: Config
) -> None:
    moved = {name: _now(value) if name in ("exp", "nbf") else value for name, value in claims.items()}
    with http(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [header(forge.good(**moved))]))


@pytest.mark.parametrize(("key", "algorithm", "verdict"), [
    ("RS256", "RS384", "allowed"),
    ("RS512", "RS256", "allowed"),
    ("RS256", "PS256", "allowed"),
    ("PS256", "RS256", "allowed"),
    ("RS256", "ES256", "refused"),
    ("ES256", "RS256", "refused"),
    ("ES256", "ES384", "refused"),
    ("ES384", "ES256", "refused"),
    ("ES256", "EdDSA", "refused"),
    ("EdDSA", "ES256", "refused"),
])
def test_the_type_of_a_key_fixes_its_algorithms(
    envoy: Envoy, acme: Credential, forge: Forge, key: Algorithm, algorithm: Algorithm, verdict: str
) -> None:
    published = forge.signers[key]
    same_kind = {key[:1], algorithm[:1]} <= {"R", "P"}
    by = Signer(algorithm, published.key_id, published.key) if same_kind else Signer(algorithm, published.key_id)
    with Http1(envoy.port("untyped"), ClientTls(acme)) as client:
        found = verdicts.reason_of(client.request("GET", "/open", [header(by.sign(forge.claims()))]))
    if verdict == "allowed":
        assert found == "allowed"
    else:
        assert found in ("token_algorithm_not_allowed", "token_key_unknown")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_the_algorithms_of_the_policy_are_accepted(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, algorithm: Algorithm
) -> None:
    verdict = "allowed" if algorithm in ("ES256", "RS384") else "token_algorithm_not_allowed"
    with http(envoy.port("allowed"), ClientTls(acme)) as client:
        assert verdicts.reason_of(client.request("GET", "/open", [header(forge.good(algorithm))])) == verdict


def test_a_token_without_the_name_of_a_key_is_taken_where_any_key_serves(
    envoy: Envoy, acme: Credential, forge: Forge, second: Signer, http: Client
) -> None:
    nameless = forge.headed(kid=None)
    cases = [
        ("several", nameless, "allowed"),
        ("several", forge.headed(second, kid=None), "allowed"),
        ("several", forge.headed(Signer("ES256"), kid=None), "token_signature_invalid"),
        ("several", second.sign(forge.claims()), "allowed"),
        ("several", forge.good(), "allowed"),
        ("several", forge.headed(second), "token_signature_invalid"),
        ("several", forge.headed(kid="second"), "token_signature_invalid"),
        ("lone", nameless, "allowed"),
        ("lone", forge.headed(second, kid=None), "token_signature_invalid"),
    ]
    for listener, token, verdict in cases:
        with http(envoy.port(listener), ClientTls(acme)) as client:
            assert verdicts.reason_of(client.request("GET", "/open", [header(token)])) == verdict, listener


def test_a_refusal_in_shadow_mode_is_recorded_and_nobody_is_vouched_for(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client
) -> None:
    request_id = f"shadow-{http.__name__}"
    with http(envoy.port("shadow"), ClientTls(acme)) as client:
        bad = header(forge.headed(Signer("ES256")))
        echo = verdicts.passed(client.request("GET", "/open", [bad, ("x-request-id", request_id)]))
    assert echo.values("x-client-id") == echo.values("x-client-cert-thumbprint") == []
    decision = envoy.record("shadow", request_id)["decision"]
    assert (decision["decision"], decision["reason"]) == ("deny", "token_signature_invalid")


# What is remembered.


def test_one_token_passes_any_number_of_times_over_one_connection_and_over_many(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client
) -> None:
    token = header(forge.good())
    with http(envoy.port("main"), ClientTls(acme)) as client:
        for _ in range(100):
            verdicts.passed(client.request("GET", "/open", [token]))
    for _ in range(20):
        with http(envoy.port("main"), ClientTls(acme)) as client:
            verdicts.passed(client.request("GET", "/open", [token]))


def test_many_tokens_pass_over_one_connection_and_pass_again(
    envoy: Envoy, acme: Credential, forge: Forge
) -> None:
    every = [header(forge.good(jti=str(number))) for number in range(300)]
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        for token in every + every[::-1]:
            verdicts.passed(client.request("GET", "/open", [token]))


def test_a_token_that_was_just_accepted_is_refused_with_another_certificate(
    envoy: Envoy, acme: Credential, other: Credential, issuer: Authority, forge: Forge, http: Client
) -> None:
    renewed = issuer.issue([("CN", "acme")])
    token, of_renewed = header(forge.good()), header(forge.good(cnf={"x5t#S256": renewed.thumbprint}))
    port = envoy.port("main")
    with http(port, ClientTls(acme)) as own, http(port, ClientTls(renewed)) as new, \
         http(port, ClientTls(other)) as stranger:
        for _ in range(5):
            verdicts.passed(own.request("GET", "/open", [token]))
            verdicts.refused(new.request("GET", "/open", [token]), "sender_binding_mismatch")
            verdicts.passed(new.request("GET", "/open", [of_renewed]))
            verdicts.refused(own.request("GET", "/open", [of_renewed]), "sender_binding_mismatch")
            assert verdicts.reason_of(stranger.request("GET", "/open", [token])) in (
                "sender_binding_mismatch", "client_profile_mismatch")


def test_a_remembered_token_gives_another_caller_no_rights_where_certificates_are_optional(
    envoy: Envoy, acme: Credential, other: Credential, forge: Forge, http: Client
) -> None:
    unbound, bound = header(forge.without("cnf")), header(forge.good())
    cases = [(acme, unbound, "allowed"), (None, unbound, "allowed"), (other, unbound, "client_profile_mismatch"),
             (acme, bound, "allowed"), (None, bound, "certificate_missing"), (other, bound, "sender_binding_mismatch")]
    for _ in range(2):
        for credential, token, verdict in cases:
            with http(envoy.port("optional"), ClientTls(credential)) as client:
                assert verdicts.reason_of(client.request("GET", "/open", [token])) == verdict


def test_the_certificate_of_one_connection_is_not_taken_for_that_of_another(
    envoy: Envoy, acme: Credential, other: Credential, forge: Forge, signers: Signers, http: Client
) -> None:
    people = {"acme": (acme, header(forge.good())),
              "other": (other, header(signers["ES256"].sign(tokens.claims("other", other))))}
    port = envoy.port("main")
    with http(port, ClientTls(acme)) as one, http(port, ClientTls(other)) as two:
        for _ in range(10):
            for name, client in (("acme", one), ("other", two)):
                echo = verdicts.passed(client.request("GET", "/open", [people[name][1]]))
                assert echo.values("x-client-id") == [name]
                assert echo.values("x-client-cert-thumbprint") == [people[name][0].thumbprint]
    for name in ["acme", "other", "other", "acme"] * 5:
        with http(port, ClientTls(people[name][0])) as client:
            echo = verdicts.passed(client.request("GET", "/open", [people[name][1]]))
            assert echo.values("x-client-id") == [name]
        with http(port, ClientTls()) as client:
            verdicts.refused(client.request("GET", "/open", [people[name][1]]), "certificate_missing")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_signature_of_a_remembered_token_signs_nothing_else(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client, algorithm: Algorithm
) -> None:
    good = forge.good(algorithm)
    forged = {
        "payload": (_altered(good, 1, lambda text: text.replace(b'"sub":"acme"', b'"sub":"evil"')),
                    "token_signature_invalid"),
        "longer payload": (_altered(good, 1, lambda text: text[:-1] + b',"scope":"read"}'), "token_signature_invalid"),
        "header": (_altered(good, 0, lambda text: text.replace(b'"typ":"JWT"', b'"typ":"at+jwt"')),
                   "token_signature_invalid"),
        "key": (_altered(good, 0, lambda text: text.replace(b'"kid":"key-', b'"kid":"yek-')), "token_key_unknown"),
        "start of the signature": (_altered(good, 2, lambda text: bytes([text[0] ^ 1]) + text[1:]),
                                   "token_signature_invalid"),
    }
    with http(envoy.port("main"), ClientTls(acme)) as client:
        for what, (token, reason) in forged.items():
            verdicts.passed(client.request("GET", "/open", [header(good)]))
            assert verdicts.reason_of(client.request("GET", "/open", [header(token)])) == reason, what
        verdicts.passed(client.request("GET", "/open", [header(good)]))


def test_the_last_character_of_a_signature_has_one_spelling(
    envoy: Envoy, acme: Credential, forge: Forge, http: Client
) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    good = forge.good()
    # 86 characters are 516 bits: the last four carry nothing and must be zero.
    other_spelling = good[:-1] + alphabet[alphabet.index(good[-1]) | 1]
    with http(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open", [header(good)]))
        response = client.request("GET", "/open", [header(other_spelling)])
    assert verdicts.reason_of(response) in ("token_malformed", "token_signature_invalid")


def test_a_token_that_one_plugin_of_a_vm_remembers_is_not_good_for_another(
    envoy: Envoy, acme: Credential, forge: Forge, second: Signer, http: Client
) -> None:
    of_one, of_two = header(forge.good()), header(forge.headed(second))
    for _ in range(3):
        for listener, token, verdict in (
            ("shared_one", of_one, "allowed"), ("shared_two", of_one, "token_signature_invalid"),
            ("shared_two", of_two, "allowed"), ("shared_one", of_two, "token_signature_invalid"),
        ):
            with http(envoy.port(listener), ClientTls(acme)) as client:
                assert verdicts.reason_of(client.request("GET", "/open", [token])) == verdict


def test_what_is_remembered_ends_with_the_token_and_with_the_certificate(
    envoy: Envoy, issuer: Authority, acme: Credential, forge: Forge
) -> None:
    ends = time.time() + 3.5
    leaf = issuer.issue([("CN", "acme")], not_after=datetime.fromtimestamp(ends, timezone.utc))
    of_leaf = header(forge.good(cnf={"x5t#S256": leaf.thumbprint}))
    short = header(forge.good(exp=int(ends) - LEEWAY_SECONDS))
    port = envoy.port("main")
    seen: dict[str, list[str]] = {"certificate": [], "token": []}
    deadline = time.monotonic() + DEADLINE_SECONDS
    with Http1(port, ClientTls(leaf)) as old_leaf, Http2(port, ClientTls(acme)) as own:
        while any(each[-1:] in ([], ["allowed"]) for each in seen.values()) and time.monotonic() < deadline:
            seen["certificate"].append(verdicts.reason_of(old_leaf.request("GET", "/open", [of_leaf])))
            seen["token"].append(verdicts.reason_of(own.request("GET", "/open", [short])))
            time.sleep(0.1)
        again = own.request("GET", "/open", [short])
        verdicts.refused(again, "token_expired")
        assert challenge(again)["error"] == "invalid_token"
        verdicts.passed(own.request("GET", "/open", [header(forge.good())]))
    assert set(seen["token"]) == {"allowed", "token_expired"}
    assert set(seen["certificate"]) == {"allowed", "certificate_expired"}
    for verdict in seen.values():
        first_refusal = next(number for number, each in enumerate(verdict) if each != "allowed")
        assert "allowed" not in verdict[first_refusal:]


# What a configuration may say.


UNUSABLE: dict[str, Callable[[Signers], Any]] = {
    "a shared secret": lambda s: {"keys": [{"kty": "oct", "kid": "unusable", "k": "AAAA"}]},
    "an unusable key beside a good one": lambda s: {"keys": [s["ES256"].jwk(), s["ES384"].jwk(x="AAAA")]},
    "a curve that is not supported": lambda s: {"keys": [s["ES256"].jwk(crv="secp256k1")]},
    "a point that is not on its curve": lambda s: {"keys": [s["ES256"].jwk(x=base64url(b"\x01" * 32))]},
    "a short RSA key": lambda s: {"keys": [s["RS256"].jwk(n=base64url(b"\xc1" * 128))]},
    "an algorithm of another type": lambda s: {"keys": [s["ES256"].jwk(alg="RS256")]},
    "no keys": lambda s: {"keys": []},
    "no list": lambda s: {"keys": s["ES256"].jwk()},
}


def test_a_configuration_with_an_unusable_key_is_rejected_and_a_change_of_keys_forgets_old_tokens(
    start_envoy: StartEnvoy, policy: Config, every_envoy: Any, signers: Signers, second: Signer,
    acme: Credential, forge: Forge
) -> None:
    def listener(token: Config) -> Listener:
        return Listener("changing", {**policy, "token": {"source": "jwks", **token}})

    def verdict(token: str) -> str:
        with Http1(envoy.port("changing"), ClientTls(acme)) as client:
            return verdicts.reason_of(client.request("GET", "/open", [header(token)]))

    envoy = start_envoy(listener({"jwks": {"keys": [signers["ES256"].jwk()]}}), dynamic=True, binary=every_envoy)
    envoy.wait("the listener", lambda: verdict(forge.good()) == "allowed")
    both = {"jwks": {"keys": [signers["ES256"].jwk()]},
            "jwks_uri": {"cluster": "echo", "authority": "a.example", "path": "/"}}
    rejected = {**{name: {"jwks": make(signers)} for name, make in UNUSABLE.items()}, "both": both, "neither": {}}
    good = forge.good()
    assert verdict(good) == "allowed"
    for name, token in rejected.items():
        before = envoy.update_count(accepted=False)
        accepted = envoy.update_count(accepted=True)
        envoy.replace_listeners(listener(token))
        envoy.wait(f"the rejection of {name}", lambda before=before: envoy.update_count(accepted=False) > before)
        assert envoy.update_count(accepted=True) == accepted
    assert verdict(good) == "allowed"
    accepted = envoy.update_count(accepted=True)
    envoy.replace_listeners(listener({"jwks": {"keys": [second.jwk(kid=signers["ES256"].key_id)]}}))
    envoy.wait_for_listener_update(accepted=True, before=accepted)
    envoy.wait("the new key", lambda: verdict(forge.headed(second)) == "allowed")
    assert verdict(good) == "token_signature_invalid"


def test_no_vm_was_reloaded(envoy: Envoy) -> None:
    assert set(envoy.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}
