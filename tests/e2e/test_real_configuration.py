"""A wrong configuration is refused with everything that is wrong with it, in words that say what to write instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import shipped, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.tls import ClientTls

POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}
REFUSED = "the configuration is refused: "

SEVERAL: Config = {
    "polcy_id": "two",
    "mode": "tls",
    "clients": {"acme": {"identities": "cn:acme", "profiles": ["partners"]}},
    "profiles": {"partner": {
        "allow": [{"paths": ["/orders/{id}"], "methods": ["GTE"]}],
        "source_cidrs": ["10.0.0.0/33"],
        "rate_limit": {"requests": "100", "per_seconds": 60},
    }},
    "token": {"leeway_seconds": -1},
    "allow": [],
}
TOLD = [
    "polcy_id: found the unknown key `polcy_id`",
    'mode: found "tls", expected "mtls" or "bearer_plus_mtls_required" or "bearer_plus_mtls_optional"; did you mean `mtls`?',
    'clients.acme.identities: found "cn:acme", expected a list: ["cn:acme"]',
    'clients.acme.profiles[0]: found "partners", expected the name of a profile: partner; did you mean `partner`?',
    'profiles.partner.allow[0].paths[0]: found "/orders/{id}", expected "/orders/*"',
    'profiles.partner.allow[0].methods[0]: found "GTE", expected a registered method',
    "profiles.partner.source_cidrs[0]: ",
    'profiles.partner.rate_limit.requests: found "100", expected a whole number, at least 0, without quotes: 100',
    "token.leeway_seconds: found -1, expected a whole number of seconds, at least 0",
    "allow: found the unknown key `allow`",
]

NO_POLICIES: list[tuple[str, Any, str]] = [
    ("yaml", "mode: mtls\nclients:\n  acme: {}\n", "the configuration: found YAML, expected JSON"),
    ("yaml_behind_a_comment", "# ours\nmode: mtls\n", "the configuration: found YAML, expected JSON"),
    ("comment", '{\n  "mode": "mtls" # no token\n}', "mode: found a comment, expected JSON, which has none"),
    ("comment_of_c", '// ours\n{"mode": "mtls"}', "the configuration: found a comment"),
    ("trailing_comma", '{"mode": "mtls",}', "the configuration: found a comma behind the last entry"),
    ("single_quotes", "{'mode': 'mtls'}", "the configuration: found a single quote"),
    ("byte_order_mark", "\ufeff" + json.dumps(POLICY), "the configuration: found a byte order mark"),
    ("empty", "", "the configuration: found an empty text, expected a JSON object"),
    ("wrapped", {"configuration": POLICY}, "configuration: found the unknown key `configuration`, expected the policy itself"),
    ("wrapped_twice", {"@type": "type.googleapis.com/google.protobuf.Struct", "value": POLICY}, "@type: found the unknown key"),
    ("list", [POLICY], "the configuration: found a list, expected an object of `policy_id`"),
    ("text", json.dumps(json.dumps(POLICY)), "the configuration: found "),
]


@pytest.fixture(scope="module")
def serving(start_envoy: StartEnvoy) -> Envoy:
    """An Envoy with a good configuration that gets worse ones."""
    return start_envoy(Listener("a", POLICY), dynamic=True)


def refusals(envoy: Envoy, policy: Any) -> list[str]:
    """Gives Envoy a wrong policy: what the log says about it."""
    before, logged = envoy.update_count(accepted=False), len(envoy.log())
    envoy.replace_listeners(Listener("a", policy))
    envoy.wait_for_listener_update(accepted=False, before=before)
    # Envoy writes its own line when the filter has written all of its lines.
    envoy.wait("the end of the update in the log", lambda: "Unable to create Wasm" in envoy.log()[logged:])
    lines = envoy.log()[logged:].splitlines()
    return [line.partition(REFUSED)[2] for line in lines if REFUSED in line]


def assert_serves(envoy: Envoy, credential: Credential) -> None:
    with Http1(envoy.port("a"), ClientTls(credential)) as client:
        verdicts.passed(client.request("GET", "/open"))
        verdicts.refused(client.request("GET", "/a"), "path_denied")


def test_all_mistakes_of_a_policy_are_told_at_once_and_the_old_one_stays(serving: Envoy, acme: Credential) -> None:
    told = refusals(serving, SEVERAL)
    for expected in TOLD:
        assert [line for line in told if line.startswith(expected)], (expected, told)
    assert len(told) == len(TOLD), told
    assert_serves(serving, acme)


def test_more_mistakes_than_are_told_are_announced(serving: Envoy, acme: Credential) -> None:
    told = refusals(serving, {**POLICY, "strip_headers": [f"a {n}" for n in range(30)]})
    assert len(told) == 21 and told[-1].startswith("there may be further errors"), told
    assert told[19].startswith("strip_headers[19]: "), told
    assert_serves(serving, acme)


@pytest.mark.parametrize(("text", "expected"), [each[1:] for each in NO_POLICIES], ids=[each[0] for each in NO_POLICIES])
def test_what_is_no_policy_is_recognised(serving: Envoy, acme: Credential, text: Any, expected: str) -> None:
    told = refusals(serving, text)
    assert told[0].startswith(expected), told
    assert_serves(serving, acme)


def test_all_mistakes_of_a_candidate_are_told_and_the_policy_beside_it_serves(
    start_envoy: StartEnvoy, acme: Credential
) -> None:
    envoy = start_envoy(Listener("a", {**POLICY, "candidate": {**POLICY, "mode": "tls", "audit": {"log": "al"}}}))
    for expected in ('candidate.mode: found "tls"', 'candidate.audit.log: found "al"'):
        assert f"no candidate is decided beside the policy in force: {expected}" in envoy.log()
    assert_serves(envoy, acme)


def test_what_means_nothing_is_a_warning_that_is_written_once(start_envoy: StartEnvoy, acme: Credential) -> None:
    policy = {**POLICY, "binding": {"required_paths": ["/a"]}, "profiles": {**POLICY["profiles"], "old": {}}}
    envoy = start_envoy(Listener("a", policy))
    assert_serves(envoy, acme)
    warnings = [line.partition(" warning: ")[2] for line in envoy.log().splitlines() if " warning: " in line]
    assert [warning.partition(": ")[0] for warning in warnings] == ["binding.required_paths", "profiles.old.allow", "profiles.old"]
    assert all("[warning]" in line for line in envoy.log().splitlines() if " warning: " in line)


def test_the_shipped_policy_has_no_warning(start_envoy: StartEnvoy) -> None:
    text = (shipped.ENVOY / "envoy.yaml").read_text().partition("                          value: |\n")[2].partition("\n\n")[0]
    envoy = start_envoy(Listener("a", json.loads(text)))
    envoy.wait_for_log("the configuration is accepted")
    assert " warning: " not in envoy.log()
