"""How the payload of a token that `jwt_authn` verified reaches a filter."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from conftest import Client, StartEnvoy
from harness import probe, protobuf, tokens
from harness.envoy import Envoy
from harness.filters import JwtAuthn
from harness.http1 import Http1
from harness.pki import Authority, Credential
from harness.probe import NOT_FOUND, OK, SERIALIZATION_FAILURE, Answer, pack
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

NAMESPACE = "envoy.filters.http.jwt_authn"
PAYLOAD = ("property", "metadata", "filter_metadata", NAMESPACE, "payload")


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path, signer: Signer) -> Envoy:
    return start_envoy(probe.listener("jwt", jwt=JwtAuthn((signer,))), binary=every_envoy)


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue()


@pytest.fixture(scope="module")
def claims(leaf: Credential) -> dict[str, Any]:
    return tokens.claims("acme", leaf, scopes=["read", "write"], level=12, active=True, nothing=None,
                         large=2**53 + 1, nested={"a": {"b": "c"}})


@pytest.fixture(scope="module")
def token(signer: Signer, claims: dict[str, Any]) -> Header:
    return ("authorization", f"Bearer {signer.sign(claims)}")


def test_the_whole_payload_comes_in_one_call_as_a_protobuf_message(
    envoy: Envoy, leaf: Credential, claims: dict[str, Any], token: Header, http: Client
) -> None:
    with http(envoy.port("jwt"), ClientTls(leaf)) as client:
        (answer,) = probe.ask(client, ("property", "metadata"), headers=[token])
    assert answer.status == OK and answer.value is not None
    payload = protobuf.metadata(answer.value)[NAMESPACE]["payload"]
    assert payload == claims | {"large": float(2**53)}


def test_without_a_token_the_message_is_empty(envoy: Envoy, leaf: Credential, http: Client) -> None:
    with http(envoy.port("jwt"), ClientTls(leaf)) as client:
        whole, payload = probe.ask(client, ("property", "metadata"), PAYLOAD)
    assert whole == Answer(OK, b"")
    assert payload == Answer(NOT_FOUND)


def test_a_token_that_does_not_verify_leaves_no_payload(envoy: Envoy, leaf: Credential) -> None:
    forged = Signer().sign(tokens.claims("acme", leaf))
    with Http1(envoy.port("jwt"), ClientTls(leaf)) as client:
        (whole,) = probe.ask(client, ("property", "metadata"), headers=[("authorization", f"Bearer {forged}")])
    assert whole == Answer(OK, b"")


@pytest.mark.parametrize(("path", "expected"), [
    (("cnf",), None),
    (("client_id",), b"acme"),
    (("scopes",), pack([("read", ""), ("write", "")])),
    (("scopes", "0"), b"read"),
    (("level",), struct.pack("<d", 12)),
    (("active",), b"\x01"),
])
def test_a_single_claim_is_shown_by_its_type(
    envoy: Envoy, leaf: Credential, token: Header, path: tuple[str, ...], expected: bytes | None
) -> None:
    if expected is None:
        expected = pack([("x5t#S256", leaf.thumbprint)])
    with Http1(envoy.port("jwt"), ClientTls(leaf)) as client:
        (answer,) = probe.ask(client, (*PAYLOAD, *path), headers=[token])
    assert answer == Answer(OK, expected)


@pytest.mark.parametrize("path", [(), ("nothing",)], ids=["the whole payload", "a null claim"])
def test_what_has_no_flat_form_is_a_serialization_failure(
    envoy: Envoy, leaf: Credential, token: Header, path: tuple[str, ...]
) -> None:
    with Http1(envoy.port("jwt"), ClientTls(leaf)) as client:
        (answer,) = probe.ask(client, (*PAYLOAD, *path), headers=[token])
    assert answer == Answer(SERIALIZATION_FAILURE)


def test_a_missing_claim_is_not_found(envoy: Envoy, leaf: Credential, token: Header) -> None:
    with Http1(envoy.port("jwt"), ClientTls(leaf)) as client:
        (answer,) = probe.ask(client, (*PAYLOAD, "cnf", "jkt"), headers=[token])
    assert answer == Answer(NOT_FOUND)


def test_two_authorization_lines_are_one_joined_value_and_no_token(
    envoy: Envoy, leaf: Credential, token: Header, http: Client
) -> None:
    other = ("authorization", "Bearer other")
    for lines in ([token, other], [other, token]):
        with http(envoy.port("jwt"), ClientTls(leaf)) as client:
            seen, whole = probe.ask(client, ("header", "authorization"), ("property", "metadata"), headers=lines)
        assert seen.text() == ",".join(value for _, value in lines)
        assert whole == Answer(OK, b"")
