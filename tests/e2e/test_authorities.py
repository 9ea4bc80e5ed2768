"""An authority that is pinned by its key: another trusted root cannot imitate it, as it can imitate a name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes

from conftest import Client, StartEnvoy
from harness import front, pki, verdicts
from harness.envoy import Envoy
from harness.filters import Config
from harness.front import HOST, KINDS, Proxy
from harness.http1 import Http1
from harness.listener import Listener
from harness.pki import Authority, Credential, KeyType, Signing
from harness.tls import ClientTls

NAME = "Example Intermediate"
ANYTHING: Config = {"partner": {"allow": [{"paths": ["/**"]}]}}
BY_NGINX: Config = {"source": "forwarded", "forwarded": {
    **KINDS["nginx"].forwarded, "trusted_proxies": {"cidrs": ["127.0.0.1/32"]}}}
SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
ALGORITHMS: dict[str, tuple[KeyType, Signing]] = {
    "rsa-sha256": ("rsa", Signing(SHA256)), "rsa-sha384": ("rsa", Signing(SHA384)), "rsa-sha512": ("rsa", Signing(SHA512)),
    "pss-sha256": ("rsa", Signing(SHA256, pss=True)), "pss-sha384": ("rsa", Signing(SHA384, pss=True)),
    "pss-sha512": ("rsa", Signing(SHA512, pss=True)),
    "p256-sha256": ("ec", Signing(SHA256)), "p256-sha384": ("ec", Signing(SHA384)), "p256-sha512": ("ec", Signing(SHA512)),
    "p384-sha256": ("ec384", Signing(SHA256)), "p384-sha384": ("ec384", Signing(SHA384)),
    "p384-sha512": ("ec384", Signing(SHA512)),
    "p521-sha256": ("ec521", Signing(SHA256)), "p521-sha384": ("ec521", Signing(SHA384)),
    "p521-sha512": ("ec521", Signing(SHA512)),
    "ed25519": ("ed25519", Signing()),
}


@dataclass(frozen=True)
class Site:
    """Two roots that every listener trusts. Below the second an authority has the name and key identifier of the first's."""

    real: Authority
    imitation: Authority
    trusted: Path
    by_algorithm: dict[str, tuple[Authority, Authority]]
    """The same pair for each way in which authorities sign."""

    def leaf(self, authority: Authority) -> Credential:
        """A certificate with the same names, whichever of the two issues it."""
        return authority.issue([("CN", "acme")], sans=[pki.dns("acme.example")])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, root: Authority, issuer: Authority) -> Site:
    other = Authority.create(tmp_path_factory.mktemp("other"), "Other Root")
    trusted = tmp_path_factory.mktemp("trusted") / "roots.pem"
    trusted.write_bytes(root.trust_file.read_bytes() + other.trust_file.read_bytes())

    def pair(name: str, key_type: KeyType, signing: Signing) -> tuple[Authority, Authority]:
        real = root.intermediate(name, key_type=key_type, signing=signing)
        return real, other.intermediate(name, key_type=key_type, signing=signing, imitates=real)

    pairs = {name: pair(f"CA {name}", *how) for name, how in ALGORITHMS.items()}
    return Site(issuer, other.intermediate(NAME, imitates=issuer), trusted, pairs)


def policy(site: Site, issuers: list[str], **more: object) -> Config:
    return {
        "mode": "mtls",
        "authorities": {"partner-ca": site.real.credential.pem, "other-ca": site.imitation.credential.pem},
        "clients": {"acme": {"identities": ["dns:acme.example"], "profiles": ["partner"], "issuers": issuers}},
        "profiles": ANYTHING, **more,
    }


def by_mapping(site: Site, issuer: object) -> Config:
    mapping = {"match": {"issuer": issuer}, "client_id": "acme"}
    return policy(site, ["partner-ca"], clients={"acme": {"profiles": ["partner"]}}, identity={"mappings": [mapping]})


def by_algorithm(site: Site) -> Config:
    return {
        "mode": "mtls",
        "authorities": {name: real.credential.pem for name, (real, _) in site.by_algorithm.items()},
        "clients": {
            name: {"identities": [f"cn:{name}"], "profiles": ["partner"], "issuers": [name]} for name in site.by_algorithm
        },
        "profiles": ANYTHING,
    }


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, site: Site) -> Envoy:
    nginx: Config = {"forward_client_cert_details": "ALWAYS_FORWARD_ONLY", "use_remote_address": False}
    policies = {
        "name": policy(site, [f"CN={NAME}"]),
        "key": policy(site, ["partner-ca"]),
        "either": policy(site, ["partner-ca", "other-ca"]),
        "mapping-name": by_mapping(site, f"CN={NAME}"),
        "mapping-key": by_mapping(site, "partner-ca"),
        "algorithms": by_algorithm(site),
    }
    forwarded = {name: {**policies[name], "certificate": BY_NGINX} for name in ("name", "key", "algorithms")}
    return start_envoy(
        *(Listener(name, each, trusted=site.trusted) for name, each in policies.items()),
        *(Listener(f"nginx-{name}", each, trusted=site.trusted, http3=False, **nginx) for name, each in forwarded.items()),
        concurrency=1,
    )


@pytest.fixture(scope="module")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, envoy: Envoy, site: Site, root: Authority, server: Credential
) -> Iterator[dict[str, int]]:
    """The ports of nginx in front of each listener that is meant for it."""
    own = root.issue([("CN", "edge")])
    certificates = front.write_certificates(tmp_path_factory.mktemp("front"), root, server, own)
    (certificates / "clients-ca.pem").write_bytes(site.trusted.read_bytes())
    with ExitStack() as running:
        def start(name: str) -> int:
            directory = tmp_path_factory.mktemp(f"nginx-{name}")
            proxy = Proxy(KINDS["nginx"], directory, certificates, envoy.port(f"nginx-{name}"))
            return running.enter_context(proxy).port

        yield {name: start(name) for name in ("name", "key", "algorithms")}


LISTENERS = pytest.mark.parametrize(("listener", "imitated"), [
    ("name", "allowed"), ("key", "identity_not_mapped"), ("either", "allowed"),
    ("mapping-name", "allowed"), ("mapping-key", "identity_not_mapped"),
])


@LISTENERS
def test_a_name_can_be_imitated_and_a_key_cannot(
    envoy: Envoy, site: Site, http: Client, listener: str, imitated: str
) -> None:
    for authority, verdict in [(site.real, "allowed"), (site.imitation, imitated)]:
        with http(envoy.port(listener), ClientTls(site.leaf(authority))) as client:
            for _ in range(3):
                assert verdicts.reason_of(client.request()) == verdict


def test_the_log_says_that_the_name_is_right_and_the_key_is_anothers(envoy: Envoy, site: Site) -> None:
    assert verdicts.ask(envoy.port("key"), site.leaf(site.imitation)) == "identity_not_mapped"
    line = envoy.wait_for_log("another key signed the certificate")
    assert "identity_not_mapped" in line


@pytest.mark.parametrize(("listener", "imitated"), [("name", "allowed"), ("key", "identity_not_mapped")])
def test_the_same_holds_behind_nginx(
    envoy: Envoy, nginx: dict[str, int], site: Site, http_over_tcp: Client, listener: str, imitated: str
) -> None:
    for authority, verdict in [(site.real, "allowed"), (site.imitation, imitated)]:
        with http_over_tcp(nginx[listener], ClientTls(site.leaf(authority))) as client:
            for _ in range(3):
                assert verdicts.reason_of(client.request("GET", "/", host=HOST)) == verdict


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_verified(envoy: Envoy, site: Site, http: Client, name: str) -> None:
    for authority, verdict in zip(site.by_algorithm[name], ("allowed", "identity_not_mapped"), strict=True):
        with http(envoy.port("algorithms"), ClientTls(authority.issue([("CN", name)]))) as client:
            for _ in range(2):
                assert verdicts.reason_of(client.request()) == verdict


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_is_verified_behind_nginx(nginx: dict[str, int], site: Site, name: str) -> None:
    for authority, verdict in zip(site.by_algorithm[name], ("allowed", "identity_not_mapped"), strict=True):
        with Http1(nginx["algorithms"], ClientTls(authority.issue([("CN", name)]))) as client:
            assert verdicts.reason_of(client.request("GET", "/", host=HOST)) == verdict
