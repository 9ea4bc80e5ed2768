"""Keys over HTTPS: the shipped cluster accepts the issuer's server and no other, for the filter and for `jwt_authn`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from conftest import Bearer, StartEnvoy
from harness import artifacts, istio, recipes, shipped, tokens, verdicts
from harness.envoy import Envoy, http1_cluster
from harness.fetched import Answer
from harness.filters import Config, JwtAuthn
from harness.https_keys import HOST, HttpsServer, https_keys, together
from harness.keys import key_set
from harness.listener import Listener
from harness.pki import SERVER_AUTH, Authority, Credential, dns
from harness.shipped import Folder, Shipped
from harness.tokens import Signer
from harness.upstream import Upstream

NOW = datetime.now(timezone.utc)
PATH = "/.well-known/jwks.json"
SERVERS: dict[str, tuple[str, str | None]] = {
    # The server, and which check of Envoy fails: the name of the counter.
    "the issuer": ("allowed", None),
    "a certificate for every host of the domain": ("allowed", None),
    "another host": ("refused", "fail_verify_san"),
    "a name without subject alternative names": ("refused", "fail_verify_san"),
    "another authority": ("refused", "fail_verify_error"),
    "an expired certificate": ("refused", "fail_verify_error"),
}
ISTIO = "outbound|80||auth.example"
POLICY: Config = {
    "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/open"]}]}},
}


def slug(name: str) -> str:
    return name.replace(" ", "_")


def certificate(name: str, servers: Authority, others: Authority) -> Credential:
    subject, sans = [("CN", HOST)], [dns(HOST)]
    usage = [SERVER_AUTH]
    match name:
        case "another host":
            return servers.issue([("CN", "other.example")], sans=[dns("other.example")], extended_key_usage=usage)
        case "a certificate for every host of the domain":
            return servers.issue(subject, sans=[dns("*.example")], extended_key_usage=usage)
        case "a name without subject alternative names":
            return servers.issue(subject, extended_key_usage=usage)
        case "another authority":
            return others.issue(subject, sans=sans, extended_key_usage=usage)
        case "an expired certificate":
            return servers.issue(subject, sans=sans, extended_key_usage=usage, not_before=NOW - timedelta(days=2),
                                 not_after=NOW - timedelta(days=1))
    return servers.issue(subject, sans=sans, extended_key_usage=usage)


def own_source(cluster: str) -> Config:
    uri = {"cluster": cluster, "authority": HOST, "path": PATH, "timeout_ms": 1_000}
    return {**POLICY, "token": {"source": "jwks", "jwks_uri": uri, "issuers": [tokens.ISSUER]}}


def jwt_authn(cluster: str) -> Config:
    config = JwtAuthn(()).filter()
    uri = {"uri": f"https://{HOST}{PATH}", "cluster": cluster, "timeout": "1s"}
    provider = {"remote_jwks": {"http_uri": uri, "async_fetch": {}}, "payload_in_metadata": "payload", "forward": True}
    config["typed_config"]["providers"] = {"main": provider}
    return config


def of_istio(resources: list[Config], port: int, trust_file: Path) -> Config:
    """The cluster that istiod makes of a `ServiceEntry` and a `DestinationRule`, as far as envoy/istio/ uses them."""
    entry, rule = (each["spec"] for each in resources)
    (host,), (entry_port,), tls = entry["hosts"], entry["ports"], rule["trafficPolicy"]["tls"]
    assert (rule["host"], tls["mode"], entry["resolution"], entry_port["protocol"]) == (host, "SIMPLE", "DNS", "HTTP")
    assert entry_port["targetPort"] == 443
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    names = [{"san_type": "DNS", "matcher": {"exact": name}} for name in tls["subjectAltNames"]]
    validation = {"trusted_ca": {"filename": str(trust_file)}, "match_typed_subject_alt_names": names}
    return {**http1_cluster(port, f"outbound|{entry_port['number']}||{host}"), "transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": kind, "sni": tls["sni"], "common_tls_context": {"validation_context": validation}},
    }}


@dataclass(frozen=True)
class World:
    envoy: Envoy
    servers: Mapping[str, HttpsServer]
    trust: Authority
    """The authority of the issuer's server."""
    acme: Credential
    bearer: Bearer

    def ask(self, listener: str) -> str:
        return verdicts.ask(self.envoy.port(listener), self.acme, "/open", [self.bearer("acme", self.acme)])


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, start_envoy: StartEnvoy, acme: Credential, signer: Signer, bearer: Bearer
) -> Iterator[World]:
    trust, others = (Authority.create(tmp_path_factory.mktemp(name), f"Example {name}") for name in ("servers", "others"))
    resources = istio.resources(tmp_path_factory.mktemp("istio"))["issuer-keys.yaml"]
    with ExitStack() as running:
        servers = {name: running.enter_context(HttpsServer(key_set(signer), certificate(name, trust, others))) for name in SERVERS}
        clusters = [https_keys(server.port, trust.trust_file, slug(name)) for name, server in servers.items()]
        listeners = [Listener(f"jwks-{slug(name)}", own_source(slug(name)), http3=False) for name in SERVERS]
        listeners += [Listener(f"jwt_authn-{slug(name)}", POLICY, before=[jwt_authn(slug(name))], http3=False) for name in SERVERS]
        listeners.append(Listener("istio", own_source(ISTIO), http3=False))
        meshed = of_istio(resources, servers["the issuer"].port, trust.trust_file)
        envoy = start_envoy(*listeners, clusters=[meshed], arguments=["--config-yaml", together(*clusters)])
        yield World(envoy, servers, trust, acme, bearer)


@pytest.mark.parametrize(("source", "refusal"), [("jwks", "keys_unavailable"), ("jwt_authn", "token_missing")])
@pytest.mark.parametrize("name", SERVERS)
def test_keys_are_taken_from_the_issuers_server_alone(world: World, name: str, source: str, refusal: str) -> None:
    verdict, failed = SERVERS[name]
    assert world.ask(f"{source}-{slug(name)}") == (verdict if verdict == "allowed" else refusal)
    if failed is None:
        assert world.servers[name].names == {HOST}
    else:
        assert world.envoy.admin.stat(f"cluster.{slug(name)}.ssl.{failed}") > 0
        assert world.servers[name].count() == 0


def test_the_resources_for_istio_name_the_same_checks(world: World) -> None:
    assert world.ask("istio") == "allowed"


def test_the_shipped_envoy_takes_keys_over_https_as_the_page_says(
    tmp_path: Path, world: World, upstream: Upstream
) -> None:
    folder = Folder(tmp_path)
    (block,) = recipes.blocks("With jwt_authn", "yaml")
    keys = Answer((tmp_path / "certs" / "jwks.json").read_bytes())
    with HttpsServer(keys, certificate("the issuer", world.trust, world.trust)) as server:
        text, before = (shipped.ENVOY / "envoy.yaml").read_text(), "local_jwks: { filename: /etc/envoy/certs/jwks.json }\n"
        assert text.count(before) == 1
        text = text.replace(before, textwrap.indent(block, " " * 26).lstrip())
        config = tmp_path / "envoy.yaml"
        config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
        overlay = https_keys(server.port, world.trust.trust_file)
        with Shipped(artifacts.envoy(), config, arguments=["--config-yaml", overlay]) as envoy:
            acme = folder.credential("acme-mobile")
            token = folder.token("acme-mobile", "acme-mobile", "payments:read")
            assert verdicts.ask(envoy.port("mtls"), acme, "/payments/42", [token]) == "allowed"
        assert server.count() > 0
