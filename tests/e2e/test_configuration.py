"""A wrong configuration is refused as a whole with its place named, and a good one means the same in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import Bearer, Client, StartEnvoy
from harness import verdicts
from harness.envoy import Envoy, EnvoyFailed
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential
from harness.response import Header
from harness.tls import ClientTls
from harness.tokens import Signer

POLICY: Config = {
    "policy_id": "one",
    "mode": "mtls",
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}


def partner(**members: Any) -> Config:
    return {**POLICY, "profiles": {"partner": {**POLICY["profiles"]["partner"], **members}}}


def acme_is(**members: Any) -> Config:
    return {**POLICY, "clients": {"acme": {**POLICY["clients"]["acme"], **members}}}


def mapping(**members: Any) -> Config:
    return {**POLICY, "identity": {"allow_unregistered": True, "mappings": [
        {"match": {"subject": {"O": "x"}}, "client_id": "{subject.CN}", "profile_id": "partner", **members}]}}


WRONG: list[tuple[str, Any, str]] = [
    ("unknown_key", {**POLICY, "modes": "mtls"}, "modes"),
    ("unknown_nested_key", partner(allows=[]), "profiles.partner.allows"),
    ("wrong_type", {**POLICY, "mode": 1}, "mode"),
    ("wrong_value", {**POLICY, "mode": "none"}, "mode"),
    ("number_as_text", partner(rate_limit={"requests": "1", "per_seconds": 1}), "profiles.partner.rate_limit.requests"),
    ("no_rate", partner(rate_limit={"requests": 0, "per_seconds": 1}), "profiles.partner.rate_limit"),
    ("unknown_profile", acme_is(profiles=["partner", "partners"]), "clients.acme.profiles[1]"),
    ("untyped_identity", acme_is(identities=["cn:acme", "acme"]), "clients.acme.identities[1]"),
    ("bad_digest", acme_is(identities=["sha256:00"]), "clients.acme.identities[0]"),
    ("bad_spiffe", acme_is(identities=["spiffe://Example.org/a"]), "clients.acme.identities[0]"),
    ("bad_issuer", acme_is(issuers=["no name"]), "clients.acme.issuers[0]"),
    ("bad_cidr", partner(source_cidrs=["10.0.0.0/8", "10.0.0.0/33"]), "profiles.partner.source_cidrs[1]"),
    ("bad_pattern", partner(allow=[{"paths": ["/a", "b"]}]), "profiles.partner.allow[0].paths[1]"),
    ("pattern_that_never_matches", partner(allow=[{"paths": ["/a/../b"]}]), "profiles.partner.allow[0].paths[0]"),
    ("bad_deny", partner(deny=["//"]), "profiles.partner.deny[0]"),
    ("unknown_collection", partner(allow=[{"collection": "none"}]), "profiles.partner.allow[0].collection"),
    ("bad_bypass", {**POLICY, "bypass": [{"path": "health"}]}, "bypass[0].path"),
    ("bad_template", mapping(client_id="{name}"), "identity.mappings[0].client_id"),
    ("open_template", mapping(client_id="{subject.CN"), "identity.mappings[0].client_id"),
    ("client_of_its_own_identities", mapping(client_id="acme"), "identity.mappings[0].client_id"),
    ("star_in_a_match", mapping(match={"subject": {"O": "*"}}), "identity.mappings[0].match.subject.O"),
    ("repeated_profile", acme_is(profiles=["partner", "partner"]), "clients.acme.profiles[1]"),
    ("no_identity", acme_is(identities=[]), "clients.acme.identities"),
    ("bad_header_name", {**POLICY, "upstream_headers": {"client_id": "a b"}}, "upstream_headers.client_id"),
    ("unfinished_source", {**POLICY, "certificate": {"source": "somewhere"}}, "certificate.source"),
    ("one_identity_of_two_clients", {**POLICY, "clients": {
        **POLICY["clients"], "other": {"identities": ["cn:acme"], "profiles": ["partner"]}}}, "clients."),
    ("repeated_key", json.dumps(POLICY)[:-1] + ', "mode": "bearer_plus_mtls_optional"}', "mode"),
    ("no_object", [POLICY], ""),
    ("empty", "", ""),
    ("no_json", "{", ""),
    ("trailing", json.dumps(POLICY) + "x", ""),
    ("deep", '{"clients":' + "[" * 100_000 + "]" * 100_000 + "}", ""),
    ("deep_objects", '{"a":' * 100_000 + "1" + "}" * 100_000, ""),
    # Of all that is read, keys alone may hold anything.
    ("deep_keys", '{"token":{"source":"jwks","jwks":{"keys":' + "[" * 100_000 + "]" * 100_000 + "}}}", "token.jwks"),
]


@pytest.fixture(scope="module")
def serving(start_envoy: StartEnvoy) -> Envoy:
    """An Envoy with a good configuration that gets worse ones."""
    return start_envoy(Listener("a", POLICY), dynamic=True)


@pytest.mark.parametrize(("wrong", "path"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_a_wrong_configuration_is_refused_with_its_place_and_the_old_one_stays(
    serving: Envoy, acme: Credential, wrong: Any, path: str
) -> None:
    before, logged = serving.update_count(accepted=False), len(serving.log())
    serving.replace_listeners(Listener("a", wrong))
    serving.wait_for_listener_update(accepted=False, before=before)
    serving.wait("the reason in the log", lambda: "the configuration is refused: " in serving.log()[logged:])
    lines = [line for line in serving.log()[logged:].splitlines() if "the configuration is refused: " in line]
    assert lines[0].partition("the configuration is refused: ")[2].startswith(path)
    assert "[error]" in lines[0] or "[critical]" in lines[0]
    with Http1(serving.port("a"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open"))
        verdicts.refused(client.request("GET", "/a"), "path_denied")


def test_an_error_names_the_value_and_what_was_expected(serving: Envoy) -> None:
    before, logged = serving.update_count(accepted=False), len(serving.log())
    serving.replace_listeners(Listener("a", acme_is(profiles=["partners"])))
    serving.wait_for_listener_update(accepted=False, before=before)
    expected = 'clients.acme.profiles[0]: found "partners", expected the name of a profile: partner'
    serving.wait("the message", lambda: expected in serving.log()[logged:])


def test_envoy_does_not_start_with_a_wrong_configuration(start_envoy: StartEnvoy) -> None:
    with pytest.raises(EnvoyFailed, match=r"clients\.acme\.profiles\[0\]: found \"partners\""):
        start_envoy(Listener("a", acme_is(profiles=["partners"])))


def test_a_wrong_struct_is_refused_with_its_place_too(start_envoy: StartEnvoy) -> None:
    with pytest.raises(EnvoyFailed, match=r"profiles\.partner\.source_cidrs\[0\]"):
        start_envoy(Listener("a", partner(source_cidrs=["10.0.0.0/33"]), struct=True))


def test_a_changed_configuration_takes_effect_and_stands_in_the_records(
    start_envoy: StartEnvoy, acme: Credential
) -> None:
    envoy = start_envoy(Listener("a", POLICY), dynamic=True)
    before = envoy.update_count(accepted=True)
    changed = {**partner(allow=[{"paths": ["/new"]}]), "policy_id": "two"}
    envoy.replace_listeners(Listener("a", changed))
    envoy.wait_for_listener_update(accepted=True, before=before)

    def ask(path: str) -> str:
        with Http1(envoy.port("a"), ClientTls(acme)) as client:
            return verdicts.reason_of(client.request("GET", path))

    # The workers take the new listener a moment after the main thread has accepted it.
    envoy.wait("the new policy", lambda: ask("/new") == "allowed")
    assert ask("/open") == "path_denied"
    envoy.wait("its record", lambda: envoy.records("a")[-1]["decision"]["policy_id"] == "two")


FULL: Config = {
    "policy_id": "full",
    "mode": "bearer_plus_mtls_required",
    "enforcement": "enforce",
    "certificate": {"source": "connection", "validation": "attribute", "clock_skew_seconds": 5},
    "identity": {
        "precedence": ["uri_san", "dns_san", "subject_cn"], "trust_domains": ["example.org"],
        "allow_unregistered": True,
        "mappings": [
            {"match": {"subject": {"O": "Mapped"}}, "client_id": "{subject.CN}", "profile_id": "{subject.OU}"},
        ],
    },
    "require_client_headers": False,
    "clients": {"acme": {"identities": ["cn:acme"], "issuers": ["CN=Example Intermediate"],
                         "profiles": ["partner"], "principal": "arn:acme"}},
    "profiles": {
        "partner": {
            "allow": [{"paths": ["/open/*"], "methods": ["GET"], "scopes": ["read"]}, {"collection": "docs"}],
            "deny": ["/open/closed"], "source_cidrs": ["127.0.0.0/8"],
            "rate_limit": {"requests": 1000, "per_seconds": 1, "burst": 500},
        },
        "silent": {"allow": [{"paths": ["/**"]}], "mode": "mtls"},
    },
    "collections": {"docs": ["/docs/**"]},
    "bypass": [{"path": "/health", "methods": ["GET"]}],
    "binding": {"required_paths": ["/open/**"]},
    "token": {"leeway_seconds": 30, "issuers": ["https://issuer.example"], "audiences": ["https://api.example"],
              "client_id_claims": ["client_id"]},
    "path": {"encoded_slashes": "reject", "semicolons": "keep"},
    "source_address": "direct",
    "upstream_headers": {"client_id": "x-caller", "principal": False, "profile_id": None, "client_cert": True},
    "audit": {"log": "none"},
}


def test_a_configuration_means_the_same_as_text_and_as_a_struct(
    start_envoy: StartEnvoy, issuer: Authority, acme: Credential, signer: Signer, bearer: Bearer, http: Client
) -> None:
    jwt = JwtAuthn((signer,))
    envoy = start_envoy(Listener("text", FULL, jwt=jwt), Listener("struct", FULL, jwt=jwt, struct=True))
    mapped = issuer.issue([("CN", "someone"), ("OU", "silent"), ("O", "Mapped")])
    read = bearer("acme", acme, scope="read")
    requests: list[tuple[Credential | None, str, str, list[Header]]] = [
        (acme, "GET", "/open/a", [read]),
        (acme, "GET", "/open/a;b", [read]),
        (acme, "GET", "/open/a", [bearer("acme", acme)]),
        (acme, "POST", "/open/a", [read]),
        (acme, "GET", "/open/closed", [read]),
        (acme, "GET", "/docs/a/b", [bearer("acme", acme)]),
        (acme, "GET", "/open/a", []),
        (acme, "GET", "/open%2Fa", [read]),
        (mapped, "DELETE", "/anything", []),
        (None, "GET", "/health", []),
        (None, "GET", "/open/a", []),
    ]
    for credential, method, path, headers in requests:
        seen = []
        for listener in ("text", "struct"):
            with http(envoy.port(listener), ClientTls(credential)) as client:
                response = client.request(method, path, [*headers, ("x-request-id", "same")])
            told = [h for h in response.echo().headers if "x-" in h[0]] if response.status == 200 else response.body
            seen.append((response.status, told))
        assert seen[0] == seen[1], (method, path)


def test_a_hundred_thousand_clients_are_served(start_envoy: StartEnvoy, acme: Credential, http: Client) -> None:
    crowd = {f"client-{n}": {"identities": [f"cn:client-{n}"], "profiles": ["partner"]} for n in range(100_000)}
    envoy = start_envoy(Listener("a", {**POLICY, "clients": {**crowd, **POLICY["clients"]}}))
    with http(envoy.port("a"), ClientTls(acme)) as client:
        verdicts.passed(client.request("GET", "/open"))
