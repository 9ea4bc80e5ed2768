"""What a policy could mean twice is refused, as a whole and with what to write; what the message says to write is taken."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import StartEnvoy
from harness import verdicts
from harness.envoy import Envoy, EnvoyFailed
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Credential
from harness.tls import ClientTls
from harness.tokens import AUDIENCE

ANYTHING: Config = {"paths": ["/**"]}
FORWARDED: Config = {"source": "forwarded", "forwarded": {"format": "nginx", "trusted_proxies": {"cidrs": ["10.0.0.0/8"]}}}
OPTIONAL: Config = {"mode": "bearer_plus_mtls_optional"}


def policy(rule: Config | None = None, profile: Config | None = None, **more: Any) -> Config:
    """A policy of mode `mtls` for `acme` with this one rule."""
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
        "profiles": {"partner": {"allow": [rule or ANYTHING], **(profile or {})}},
        **more,
    }


def rule(**members: Any) -> Config:
    return policy({**ANYTHING, **members})


def profile(**members: Any) -> Config:
    return policy(None, members)


def bypassing(entry: Config, deny: Any, **more: Any) -> Config:
    return policy(None, {"deny": [deny]}, bypass=[entry], **more)


RESTRICTED = "profiles.partner.deny[0]"
# One or two of each kind: what is refused, where, what the message says, and what is taken instead.
CASES: dict[str, tuple[Config, str, str, Config]] = {
    "a star for all methods": (
        rule(methods=["*"]), "profiles.partner.allow[0].methods[0]", 'leave "methods" out', rule()),
    "a method that is not registered": (
        profile(deny=[{"paths": ["/cache"], "methods": ["PURGE"]}]), "profiles.partner.deny[0].methods[0]", "methods.additional",
        policy(None, {"deny": [{"paths": ["/cache"], "methods": ["PURGE"]}]}, methods={"additional": ["PURGE"]})),
    "a method in other letters": (
        rule(methods=["get"]), "profiles.partner.allow[0].methods[0]", "in capitals", rule(methods=["GET"])),
    "shadow above a profile that enforces": (
        policy(None, {"enforcement": "enforce"}, enforcement="shadow"), "profiles.partner.enforcement", '"candidate"',
        profile(enforcement="shadow")),
    "an empty list that would lift a restriction": (
        profile(source_cidrs=[]), "profiles.partner.source_cidrs", "leave the key out", profile()),
    "an entry that stands again": (
        rule(methods=["GET", "GET"]), "profiles.partner.allow[0].methods", "again", rule(methods=["GET"])),
    "a tolerance above five minutes": (
        policy(token={"leeway_seconds": 301}), "token.leeway_seconds", "300", policy(token={"leeway_seconds": 300})),
    "the address of a proxy in front": (
        policy(None, {"source_cidrs": ["10.0.0.0/8"]}, certificate=FORWARDED), "profiles.partner.source_cidrs",
        '"source_address": "envoy"', policy(None, {"source_cidrs": ["10.0.0.0/8"]}, certificate=FORWARDED, source_address="envoy")),
    "a bypass of what is denied": (
        bypassing({"path": "/pub/**"}, "/pub/secret/**"), "bypass[0].path", RESTRICTED,
        bypassing({"path": "/pub/open/**"}, "/pub/secret/**")),
    "a bypass of what is denied, unless it says so": (
        bypassing({"path": "/pub/secret"}, "/pub/*"), "bypass[0].path", '"even_denied": true',
        bypassing({"path": "/pub/secret", "even_denied": True}, "/pub/*")),
    "a bypass of HEAD where GET is denied": (
        bypassing({"path": "/a", "methods": ["HEAD"]}, {"paths": ["/a"], "methods": ["GET"]}), "bypass[0].path", RESTRICTED,
        bypassing({"path": "/a", "methods": ["HEAD"]}, {"paths": ["/a"], "methods": ["POST"]})),
    "a bypass of GET where HEAD is denied": (
        bypassing({"path": "/a", "methods": ["GET"]}, {"paths": ["/a"], "methods": ["HEAD"]}), "bypass[0].path", RESTRICTED,
        bypassing({"path": "/a", "methods": ["POST"]}, {"paths": ["/a"], "methods": ["HEAD"]})),
    "a bypass of another spelling of what is denied": (
        bypassing({"path": "/v1/orders%3Apurge"}, "/v1/orders:purge"), "bypass[0].path", RESTRICTED,
        bypassing({"path": "/v1/orders"}, "/v1/orders:purge")),
    "a bypass of one segment that holds a kept slash": (
        bypassing({"path": "/pub/*"}, "/pub/a/b", path={"encoded_slashes": "keep"}), "bypass[0].path", RESTRICTED,
        bypassing({"path": "/pub/*"}, "/pub/a/b")),
    "a bypass of a required path": (
        policy(bypass=[{"path": "/pay/**"}], binding={"required_paths": ["/pay/now"]}), "bypass[0].path",
        "binding.required_paths[0]",
        policy(bypass=[{"path": "/pay/then"}], binding={"required_paths": ["/pay/now"]})),
    "a pattern of another language": (
        policy({"paths": ["/a/:id"]}), "profiles.partner.allow[0].paths[0]", "/a/*", policy({"paths": ["/a/*"]})),
    "alternatives": (
        policy({"paths": ["/a/(b|c)"]}), "profiles.partner.allow[0].paths[0]", "one pattern for each",
        policy({"paths": ["/a/b", "/a/c"]})),
    "a star for all hosts": (
        rule(hosts=["*"]), "profiles.partner.allow[0].hosts[0]", 'leave "hosts" out', rule(hosts=["*.example"])),
    "a host that no request has": (
        rule(hosts=["https://api.example"]), "profiles.partner.allow[0].hosts[0]", "a host in lower case",
        rule(hosts=["api.example"])),
    "a tunnel to anywhere": (
        rule(methods=["CONNECT"]), "profiles.partner.allow[0]", '"hosts"',
        rule(methods=["CONNECT"], hosts=["db.example:5432"])),
    "a star for all upgrades": (
        rule(upgrades=["*"]), "profiles.partner.allow[0].upgrades[0]", "websocket",
        rule(upgrades=["websocket"], plain=True)),
    "plain without upgrades": (
        rule(plain=True), "profiles.partner.allow[0].plain", "upgrades", rule()),
    "a token alone for any service": (
        policy(**OPTIONAL), "token.audiences", "ID tokens", policy(**OPTIONAL, token={"audiences": [AUDIENCE]})),
    "a star for all audiences": (
        policy(token={"audiences": ["*"]}), "token.audiences[0]", "leave the key out", policy(token={"audiences": [AUDIENCE]})),
    "unverified tokens where they are verified": (
        profile(mode="bearer_plus_mtls_required", unverified_authorization="keep"), "profiles.partner.unverified_authorization",
        "\"mode\": \"mtls\"", profile(unverified_authorization="keep")),
}


@pytest.fixture(scope="module")
def serving(start_envoy: StartEnvoy) -> Envoy:
    """An Envoy with a good configuration that gets worse ones."""
    return start_envoy(Listener("main", policy({"paths": ["/old"]})), dynamic=True)


def replaced(envoy: Envoy, with_policy: Config, *, accepted: bool) -> str:
    """What is logged when the policy is replaced."""
    before, logged = envoy.update_count(accepted=accepted), len(envoy.log())
    envoy.replace_listeners(Listener("main", with_policy))
    envoy.wait_for_listener_update(accepted=accepted, before=before)
    if not accepted:
        envoy.wait("the reason", lambda: "the configuration is refused: " in envoy.log()[logged:])
    return envoy.log()[logged:]


@pytest.mark.parametrize("name", CASES)
def test_what_could_mean_two_things_is_refused_and_the_policy_before_it_stays(
    serving: Envoy, acme: Credential, name: str
) -> None:
    refused, place, said, _ = CASES[name]
    logged = replaced(serving, refused, accepted=False)
    message = next(line for line in logged.splitlines() if "the configuration is refused: " in line)
    problem = message.partition("the configuration is refused: ")[2]
    assert problem.startswith(f"{place}: found ") and said in problem, problem
    with Http1(serving.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/old"))
        verdicts.refused(client.request("GET", "/a"), "path_denied")


def test_what_the_messages_say_to_write_is_taken(start_envoy: StartEnvoy) -> None:
    taken = [accepted for _, _, _, accepted in CASES.values()]
    start_envoy(*(Listener(f"taken-{index}", policy, vm_id="taken") for index, policy in enumerate(taken)))


@pytest.mark.parametrize("struct", [False, True], ids=["text", "struct"])
def test_envoy_does_not_start_with_a_policy_that_could_mean_two_things(start_envoy: StartEnvoy, struct: bool) -> None:
    with pytest.raises(EnvoyFailed, match=r"profiles\.partner\.allow\[0\]: found CONNECT without"):
        start_envoy(Listener("main", rule(methods=["CONNECT"]), struct=struct))


def test_a_candidate_that_could_mean_two_things_is_reported_and_harms_nothing(
    start_envoy: StartEnvoy, acme: Credential
) -> None:
    envoy = start_envoy(Listener("main", policy({"paths": ["/old"]}, candidate=rule(methods=["*"]))))
    envoy.wait_for_log("allow[0].methods[0]")
    with Http1(envoy.port("main"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/old"))
        verdicts.refused(client.request("GET", "/a"), "path_denied")
