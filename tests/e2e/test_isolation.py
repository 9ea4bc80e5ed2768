"""Two policies in one process, even in one VM: what one counts is not the other's, though all names in them are the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from conftest import StartEnvoy
from harness import verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.listener import Listener
from harness.pki import Authority, Credential

Kind = Callable[[str], Config]


def policy(**more: object) -> Config:
    """`acme` may make two requests a day."""
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {
            "allow": [{"paths": ["/open"]}], "rate_limit": {"requests": 2, "per_seconds": 86_400},
        }},
        **more,
    }


def listener(name: str, vm_id: str, **more: object) -> Listener:
    return Listener(name, policy(**more), vm_id=vm_id)


def answers(envoy: Envoy, name: str, client: Credential, count: int) -> list[str]:
    return [verdicts.ask(envoy.port(name), client, "/open") for _ in range(count)]


@pytest.fixture
def acme(issuer: Authority) -> Credential:
    """With ninety days to go, so that the gauges can be told from others."""
    return issuer.issue([("CN", "acme")], not_after=datetime.now(timezone.utc) + timedelta(days=90, hours=1))


@pytest.mark.parametrize("kind", [
    lambda name: {"policy_name": name},
    # Not the same configuration, which would be the same policy.
    lambda name: {"policy_id": name},
], ids=["named", "unnamed"])
def test_policies_with_the_same_names_in_them_share_no_rate_limit(
    start_envoy: StartEnvoy, acme: Credential, kind: Kind
) -> None:
    one, other = (listener(name, "one-vm", **kind(name)) for name in ("one", "other"))
    envoy = start_envoy(one, other, concurrency=2)
    assert answers(envoy, "one", acme, 4) == ["allowed", "allowed", "rate_limited", "rate_limited"]
    assert answers(envoy, "other", acme, 3) == ["allowed", "allowed", "rate_limited"]


def test_a_rate_goes_on_in_the_next_version_of_a_policy_that_has_a_name(
    start_envoy: StartEnvoy, acme: Credential
) -> None:
    def versions(number: int) -> list[Listener]:
        return [listener("named", "update", policy_name="edge", policy_id=f"v{number}"),
                listener("unnamed", "update", policy_id=f"v{number}")]

    envoy = start_envoy(*versions(1), dynamic=True, concurrency=2)
    for name in ("named", "unnamed"):
        assert answers(envoy, name, acme, 3) == ["allowed", "allowed", "rate_limited"]
    before = envoy.update_count(accepted=True)
    envoy.replace_listeners(*versions(2))
    envoy.wait_for_listener_update(accepted=True, before=before)
    envoy.wait("the new version to count", lambda: answers(envoy, "unnamed", acme, 1) == ["allowed"])
    assert answers(envoy, "named", acme, 1) == ["rate_limited"]


def test_metrics_say_of_which_policy_they_are_if_that_has_a_name(start_envoy: StartEnvoy, acme: Credential) -> None:
    envoy = start_envoy(
        listener("one", "metrics", policy_name="one"), listener("other", "metrics", policy_name="the.other one"),
        listener("third", "metrics", policy_id="third"), concurrency=2,
    )
    assert answers(envoy, "one", acme, 3) == ["allowed", "allowed", "rate_limited"]
    assert answers(envoy, "other", acme, 1) == answers(envoy, "third", acme, 1) == ["allowed"]
    series = envoy.admin.prometheus()
    for name, expected in {
        'mtls_auth_success_total{policy="one"}': 2,
        'mtls_auth_success_total{policy="the_other_one"}': 1,
        "mtls_auth_success_total{}": 1,
        'mtls_auth_failure_total{policy="one",reason="rate_limited"}': 1,
        'mtls_auth_failure_total{policy="the_other_one",reason="rate_limited"}': 0,
        'mtls_auth_failure_total{reason="rate_limited"}': 0,
        'mtls_cert_days_until_expiry{policy="one",client="acme"}': 90,
        'mtls_cert_days_until_expiry{policy="the_other_one",client="acme"}': 90,
        'mtls_cert_days_until_expiry{client="acme"}': 90,
        'mtls_fetch_total{policy="one",source="jwks",outcome="failed"}': 0,
    }.items():
        assert series.get(name) == expected, {each for each in series if each.startswith(name.partition("{")[0])}
