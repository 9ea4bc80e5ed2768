"""Certificates seen at work: a gauge for each client, lines in the log, and a bound on both."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.tls import ClientTls

SLOTS = 1024
CERTIFICATES = 10_000
POLICY: Config = {
    "mode": "mtls",
    "clients": {
        name: {"identities": [f"cn:{name}"], "profiles": ["partner"]} for name in ("lasting", "rotating", "ending")
    },
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}
MANY: Config = {
    "mode": "mtls",
    "certificate": {
        "source": "forwarded",
        "forwarded": {"format": "base64_der", "header": "x-cert", "trusted_proxies": {"cidrs": ["127.0.0.0/8"]}},
    },
    "identity": {
        "allow_unregistered": True,
        "mappings": [{"match": {"subject": {"O": "Many"}}, "client_id": "{subject.CN}", "profile_id": "partner"}],
    },
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(Listener("inventory", POLICY), concurrency=2, log_level="info")


def ending_in(issuer: Authority, name: str, days: int, **more: Any) -> Credential:
    """A certificate that ends in so many days and an hour."""
    end = datetime.now(timezone.utc) + timedelta(days=days, hours=1)
    return issuer.issue([("CN", name)], not_after=end, **more)


def use(envoy: Envoy, credential: Credential, connections: int = 1) -> None:
    """Sends a request over each of several connections, which Envoy spreads over its workers."""
    for _ in range(connections):
        with Http1(envoy.port("inventory"), ClientTls(credential)) as client:
            verdicts.passed(client.request("GET", "/open"))


def told(envoy: Envoy, name: str) -> list[dict[str, Any]]:
    """The lines about a client's certificates, with the level of each."""
    lines = []
    for line in envoy.log().splitlines():
        before, found, text = line.partition('{"event":"certificate_')
        if found and (event := json.loads(found + text))["client_id"] == name:
            lines.append(event | {"warning": "[warning]" in before})
    return lines


def days(envoy: Envoy, name: str) -> float:
    return envoy.admin.prometheus()[f'mtls_cert_days_until_expiry{{client="{name}"}}']


def test_a_certificate_is_announced_once_a_process_and_its_days_are_a_gauge(envoy: Envoy, issuer: Authority) -> None:
    credential = ending_in(issuer, "lasting", 90, key_type="rsa")
    use(envoy, credential, connections=8)
    assert days(envoy, "lasting") == 90
    [event] = told(envoy, "lasting")
    assert event | {"not_after": ""} == {
        "event": "certificate_seen", "client_id": "lasting", "identity": "cn:lasting", "key": "RSA 2048",
        "thumbprint": credential.thumbprint, "issuer": credential.certificate.issuer.rfc4514_string(),
        "not_after": "", "days_left": 90, "warning": False,
    }
    end = credential.certificate.not_valid_after_utc
    assert datetime.fromisoformat(event["not_after"].replace("Z", "+00:00")) == end


def test_a_rotation_is_told_and_the_old_certificate_counts_while_it_is_in_use(
    envoy: Envoy, issuer: Authority
) -> None:
    old, new = ending_in(issuer, "rotating", 40), ending_in(issuer, "rotating", 400)
    use(envoy, old)
    use(envoy, new, connections=4)
    use(envoy, old)
    assert days(envoy, "rotating") == 40
    assert [event["event"] for event in told(envoy, "rotating")] == ["certificate_seen", "certificate_changed"]
    changed = told(envoy, "rotating")[1]
    assert (changed["previous_thumbprint"], changed["thumbprint"]) == (old.thumbprint, new.thumbprint)
    assert changed["days_left"] == 400


def test_a_certificate_about_to_expire_is_warned_of_once_a_day(envoy: Envoy, issuer: Authority) -> None:
    use(envoy, ending_in(issuer, "ending", 5), connections=8)
    assert days(envoy, "ending") == 5
    warnings = [event for event in told(envoy, "ending") if event["warning"]]
    assert [(event["event"], event["days_left"]) for event in warnings] == [("certificate_expiring", 5)]


def test_ten_thousand_certificates_are_not_ten_thousand_series(start_envoy: StartEnvoy, issuer: Authority) -> None:
    envoy = start_envoy(Listener("inventory", MANY, tls=False, vm_id="many"))
    with Http1(envoy.port("inventory"), None) as client:
        for number in range(CERTIFICATES):
            credential = issuer.issue([("O", "Many"), ("CN", f"client-{number}")])
            verdicts.passed(client.request("GET", "/open", [("x-cert", b64encode(credential.der).decode())]))
    series = envoy.admin.prometheus()
    gauges = sum(name.startswith("mtls_cert_days_until_expiry") for name in series)
    assert 900 < gauges <= SLOTS
    assert gauges + series["mtls_cert_inventory_full_total{}"] == CERTIFICATES
    assert series["mtls_auth_success_total{}"] == CERTIFICATES
