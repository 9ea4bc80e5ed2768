"""A QUIC client chooses the connection id from which Envoy's `connection.id` follows: it makes nobody another client.

Every attack has a victim that calls under an id, and an attacker that gets the same one: because the victim's client has retired
it, or because the attacker comes by another listener of the same plugin, which does not know the id. (On the same listener Envoy
takes the id of a closed connection again after 200 seconds, a constant of its QUIC library. The filter sees no difference.)
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from conftest import Bearer, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http3 import Http3
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import AUDIENCE, Signer

ANYTHING = {"allow": [{"paths": ["/**"]}]}
CLIENTS: Config = {
    "acme": {"identities": ["cn:acme"], "profiles": ["all"]},
    "other": {"identities": ["cn:other"], "profiles": ["all"]},
}
POLICY: Config = {
    "mode": "mtls", "clients": CLIENTS, "profiles": {"all": ANYTHING}, "bypass": [{"path": "/health"}],
}
HEADER = "x-client-cert"


def forwarded(source: str, **proxies: list[str]) -> Config:
    rules = {"format": "base64_der", "header": HEADER, "trusted_proxies": proxies}
    return {**POLICY, "certificate": {"source": source, "forwarded": rules}}


POLICIES: dict[str, Config] = {
    "mtls": POLICY,
    "token": {**POLICY, "mode": "bearer_plus_mtls_required"},
    "optional": {**POLICY, "mode": "bearer_plus_mtls_optional", "token": {"audiences": [AUDIENCE]}},
    "identities": forwarded("forwarded", identities=["cn:proxy"]),
    "or_identities": forwarded("connection_or_forwarded", identities=["cn:proxy"]),
    "cidrs": forwarded("forwarded", cidrs=["127.0.0.1/32"]),
    "or_cidrs": forwarded("connection_or_forwarded", cidrs=["127.0.0.1/32"]),
}


@pytest.fixture(scope="module", params=[1, 2], ids=["one_worker", "two_workers"])
def envoy(start_envoy: StartEnvoy, signer: Signer, request: pytest.FixtureRequest) -> Envoy:
    jwt = JwtAuthn((signer,))
    # One plugin on both: what it remembers on one it knows on the other.
    listeners = [Listener(name + again, policy, jwt=jwt, quic=True, vm_id=name)
                 for name, policy in POLICIES.items() for again in ("", "_again")]
    return start_envoy(*listeners, concurrency=request.param)


@pytest.fixture(scope="module")
def people(issuer: Authority, acme: Credential) -> dict[str, Credential | None]:
    return {"acme": acme, "other": issuer.issue([("CN", "other")]), "proxy": issuer.issue([("CN", "proxy")]), "nobody": None}


Attacker = Callable[..., Http3]


@contextmanager
def retired(envoy: Envoy, listener: str, victim: Credential | None, call: Callable[[Http3], object]) -> Iterator[Attacker]:
    """The victim lives on, but its client has moved and given its first id back."""
    connection_id = os.urandom(8)
    with Http3(envoy.port(listener), ClientTls(victim), connection_id=connection_id) as client:
        call(client)
        client.migrate("127.0.0.2")
        call(client)
        yield lambda attacker, **more: Http3(
            envoy.port(listener), ClientTls(attacker), connection_id=connection_id, **more)
        call(client)


@contextmanager
def beside(envoy: Envoy, listener: str, victim: Credential | None, call: Callable[[Http3], object]) -> Iterator[Attacker]:
    """The victim lives on and keeps its id; the attacker comes by another listener."""
    connection_id = os.urandom(8)
    with Http3(envoy.port(listener), ClientTls(victim), connection_id=connection_id) as client:
        call(client)
        yield lambda attacker, **more: Http3(
            envoy.port(f"{listener}_again"), ClientTls(attacker), connection_id=connection_id, **more)
        call(client)


@contextmanager
def closed(envoy: Envoy, listener: str, victim: Credential | None, call: Callable[[Http3], object]) -> Iterator[Attacker]:
    """The victim has gone."""
    connection_id = os.urandom(8)
    with Http3(envoy.port(f"{listener}_again"), ClientTls(victim), connection_id=connection_id) as client:
        call(client)
    yield lambda attacker, **more: Http3(
        envoy.port(listener), ClientTls(attacker), connection_id=connection_id, **more)


every_way = pytest.mark.parametrize("way", [retired, beside, closed], ids=lambda way: way.__name__)


@every_way
@pytest.mark.parametrize(("victim", "attacker"), [("acme", "other"), ("acme", "nobody"), ("nobody", "acme"), ("other", "acme")])
def test_a_caller_under_anothers_connection_id_is_itself(
    envoy: Envoy, people: dict[str, Credential | None], way: Callable[..., Iterator[Attacker]], victim: str, attacker: str
) -> None:
    with way(envoy, "mtls", people[victim], lambda client: _is(client, victim)) as attack:
        with attack(people[attacker]) as client:
            _is(client, attacker)
            _is(client, attacker)


@every_way
def test_a_bound_token_is_of_no_use_under_its_owners_connection_id(
    envoy: Envoy, people: dict[str, Credential | None], bearer: Bearer, way: Callable[..., Iterator[Attacker]]
) -> None:
    token = bearer("acme", people["acme"])
    for listener, without in (("token", "certificate_missing"), ("optional", "certificate_missing")):
        def call(client: Http3) -> None:
            verdicts.passed(client.request("GET", "/", [token]))

        for attacker, reason in (("other", "sender_binding_mismatch"), ("nobody", without)):
            with way(envoy, listener, people["acme"], call) as attack, attack(people[attacker]) as client:
                verdicts.refused(client.request("GET", "/", [token]), reason)


@every_way
@pytest.mark.parametrize("listener", ["identities", "or_identities"])
@pytest.mark.parametrize("attacker", ["other", "nobody"])
def test_nobody_is_believed_under_the_connection_id_of_a_trusted_proxy(
    envoy: Envoy, people: dict[str, Credential | None], way: Callable[..., Iterator[Attacker]], listener: str, attacker: str
) -> None:
    stolen = _forwarding(people["acme"])
    with way(envoy, listener, people["proxy"], lambda client: _is(client, "acme", stolen)) as attack:
        with attack(people[attacker]) as client:
            _is(client, attacker if listener == "or_identities" else "nobody", stolen)


@every_way
@pytest.mark.parametrize("listener", ["identities", "or_identities"])
def test_a_trusted_proxy_is_believed_under_the_connection_id_of_anybody(
    envoy: Envoy, people: dict[str, Credential | None], way: Callable[..., Iterator[Attacker]], listener: str
) -> None:
    forged, of_others = _forwarding(people["acme"]), "other" if listener == "or_identities" else "nobody"
    with way(envoy, listener, people["other"], lambda client: _is(client, of_others, forged)) as attack:
        with attack(people["proxy"]) as client:
            _is(client, "acme", forged)


@every_way
@pytest.mark.parametrize("listener", ["cidrs", "or_cidrs"])
def test_nobody_elsewhere_is_believed_under_the_connection_id_of_a_trusted_address(
    envoy: Envoy, people: dict[str, Credential | None], way: Callable[..., Iterator[Attacker]], listener: str
) -> None:
    stolen = _forwarding(people["acme"])
    with way(envoy, listener, people["proxy"], lambda client: client.request("GET", "/", [stolen])) as attack:
        with attack(people["other"], source="127.0.0.9") as client:
            _is(client, "nobody", stolen)


def _forwarding(credential: Credential | None) -> Header:
    assert credential is not None
    return (HEADER, base64.b64encode(credential.der).decode())


def _is(client: Http3, who: str, *headers: Header) -> None:
    """Whom the filter takes the caller for."""
    response = client.request("GET", "/", headers)
    if who == "nobody":
        verdicts.refused(response, "certificate_missing")
        verdicts.passed(client.request("GET", "/health", headers))
    else:
        assert verdicts.passed(response).values("x-client-id") == [who]
