"""Certificates and authorities replaced under a running Envoy, which reads them from files (SDS): docs/rotation.md."""

from __future__ import annotations

import itertools
import os
import ssl
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from h2.exceptions import ProtocolError

from conftest import Bearer, Client, StartEnvoy
from harness import artifacts, probe, shipped, verdicts
from harness.artifacts import REPOSITORY
from harness.certs import Certs
from harness.envoy import Envoy
from harness.filters import Config, JwtAuthn
from harness.http1 import Http1
from harness.http2 import Http2
from harness.listener import Listener
from harness.load import Load
from harness.pki import Credential
from harness.response import ConnectionEnded
from harness.sessions import connect_again
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls, connect
from harness.tokens import Signer
from harness.upstream import Upstream

SPIFFE = "spiffe://prod.example/ns/acme/sa/mobile"
POLICY: Config = {
    "mode": "mtls",
    "clients": {"acme": {"identities": [SPIFFE], "profiles": ["partner"]}},
    "profiles": {"partner": {"allow": [{"paths": ["/**"]}]}},
}
BY_LISTENER: Config = {**POLICY, "certificate": {"validation": "listener"}}
VALID = ("property", "connection", "peer_certificate_valid")
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
UNKNOWN_CA = "TLSV1_ALERT_UNKNOWN_CA"


@dataclass(frozen=True)
class Site:
    """Two authorities, of which the first has made the listener's certificate, and the secrets that Envoy watches."""

    certs: Certs
    second: Certs
    secrets: Path

    def trust(self, *authorities: Certs) -> None:
        """Replaces the bundle of authorities."""
        self.certs.run("trust", *(str(authority.file("root")) for authority in authorities))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    certs, second = Certs(tmp_path / "certs"), Certs(tmp_path / "second")
    for authority in (certs, second):
        authority.run("init")
        authority.run("issue", "acme", "--spiffe", SPIFFE)
    certs.run("server")
    return Site(certs, second, shipped.secrets(tmp_path))


def answer(port: int, credential: Credential) -> str:
    """What a request over a new connection comes to: a verdict, or the alert that ends the handshake."""
    try:
        # In TLS 1.3 the client's side of the handshake ends before the server has seen its certificate.
        with Http1(port, ClientTls(credential, ssl.TLSVersion.TLSv1_2)) as client:
            return verdicts.reason_of(client.request())
    except ssl.SSLError as error:
        return error.reason
    except OSError:
        return "no connection"


def shown(port: int) -> bytes:
    """The certificate that a listener shows on a new connection."""
    with connect(port, ClientTls(), "http/1.1") as connection:
        return connection.getpeercert(binary_form=True)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def test_server_client_and_authority_are_replaced_under_load_without_a_failed_request(
    start_envoy: StartEnvoy, site: Site, every_envoy: Path, newest: bool
) -> None:
    policy = POLICY if newest else BY_LISTENER
    envoy = start_envoy(Listener("main", policy, secrets=site.secrets), binary=every_envoy, concurrency=2)
    port, first_server, first = envoy.port("main"), der(site.certs.certificate("server")), site.certs.credential("acme")
    with Load(port, first, "acme") as load:
        for _ in range(3):
            site.certs.run("renew", "server")
        server = der(site.certs.certificate("server"))
        envoy.wait("the new server certificate", lambda: shown(port) == server)
        seen = load.progress()
        assert {name: last.server for name, last in seen.items()} == {
            "kept http1": first_server, "kept http2": first_server, "new http1": server, "new http2": server,
        }

        site.certs.run("renew", "acme")
        renewed = site.certs.credential("acme")
        load.use(renewed)
        assert thumbprints(load) == kept_and_new(first, renewed)

        # First the new authority beside the old one, then the clients, then the old one goes.
        site.trust(site.certs, site.second)
        moved = site.second.credential("acme")
        envoy.wait("the second authority", lambda: answer(port, moved) == "allowed")
        load.use(moved)
        assert thumbprints(load) == kept_and_new(first, moved)

        site.trust(site.second)
        envoy.wait("the first authority's end", lambda: answer(port, renewed) == UNKNOWN_CA)
        with pytest.raises(ssl.SSLError, match=UNKNOWN_CA):
            connect(port, ClientTls(renewed, ssl.TLSVersion.TLSv1_3), "h2").recv(1)
        # Connections that the first authority's certificates opened go on.
        assert thumbprints(load) == kept_and_new(first, moved)
    # Nor has Envoy ever read half of a pair.
    assert set(envoy.admin.stats(r"^sds\..*\.key_rotation_failed$").values()) == {0}


def thumbprints(load: Load) -> dict[str, str]:
    """Which certificate each thread of the load calls with, now."""
    return {name: last.thumbprint for name, last in load.progress().items()}


def kept_and_new(kept: Credential, new: Credential) -> dict[str, str]:
    """Kept connections stay what they were, new ones show what is new."""
    return {
        "kept http1": kept.thumbprint, "kept http2": kept.thumbprint,
        "new http1": new.thumbprint, "new http2": new.thumbprint,
    }


def test_an_open_connection_outlives_its_authority_and_counts_as_verified(
    start_envoy: StartEnvoy, site: Site, http: Client
) -> None:
    envoy = start_envoy(
        Listener("filter", POLICY, secrets=site.secrets), probe.listener("probe", secrets=site.secrets),
    )
    acme = site.certs.credential("acme")
    with http(envoy.port("filter"), ClientTls(acme)) as client, http(envoy.port("probe"), ClientTls(acme)) as asked:
        verdicts.passed(client.request())
        before = probe.ask(asked, VALID)
        site.trust(site.second)
        envoy.wait("the authority's end", lambda: answer(envoy.port("filter"), acme) == UNKNOWN_CA)
        verdicts.passed(client.request())
        assert probe.ask(asked, VALID) == before == [probe.Answer(probe.OK, b"\x01")]


def test_max_connection_duration_ends_a_connection_that_outlived_its_authority(
    start_envoy: StartEnvoy, site: Site, http: Client
) -> None:
    limit: Config = {"common_http_protocol_options": {"max_connection_duration": "0.5s"}}
    envoy = start_envoy(Listener("main", POLICY, secrets=site.secrets, manager=limit))
    acme = site.certs.credential("acme")
    with http(envoy.port("main"), ClientTls(acme)) as client:
        site.trust(site.second)
        envoy.wait("the authority's end", lambda: answer(envoy.port("main"), acme) == UNKNOWN_CA)
        envoy.wait("the connection's end", lambda: ends(client))


def ends(client: Http1 | Http2) -> bool:
    """Whether Envoy is closing the connection: `connection: close`, a GOAWAY, or no answer any more."""
    try:
        return client.request().header("connection") == "close"
    except (ConnectionEnded, ProtocolError, OSError):
        return True


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("policy", "resumed"), [(POLICY, "certificate_untrusted"), (BY_LISTENER, "allowed")])
def test_every_rotation_forgets_all_sessions(
    start_envoy: StartEnvoy, site: Site, policy: Config, resumed: str, version: ssl.TLSVersion
) -> None:
    envoy = start_envoy(Listener("main", policy, secrets=site.secrets, resumption=True))
    port, acme, second = envoy.port("main"), site.certs.credential("acme"), site.second.credential("acme")
    context = ClientTls(acme, version).context("http/1.1")
    last = connect_again(envoy, "main", context)

    def again() -> tuple[bool, str]:
        nonlocal last
        last = connect_again(envoy, "main", context, last.session)
        return last.resumed, last.verdict

    assert again() == (True, resumed)
    site.certs.run("renew", "server")
    server = der(site.certs.certificate("server"))
    envoy.wait("the new server certificate", lambda: shown(port) == server)
    assert again() == (False, "allowed")
    site.trust(site.certs, site.second)
    envoy.wait("the second authority", lambda: answer(port, second) == "allowed")
    assert again() == (False, "allowed")
    site.trust(site.second)
    envoy.wait("the authority's end", lambda: answer(port, acme) == UNKNOWN_CA)
    assert again() == (False, "no connection")


IDENTITIES: list[tuple[str, tuple[str, ...], str]] = [
    # The client, the names in its certificate, and what it is after a renewal.
    ("by-spiffe", ("--spiffe", "spiffe://prod.example/one"), "allowed"),
    ("by-dns", ("--dns", "one.example"), "allowed"),
    ("by-email", ("--email", "one@one.example"), "allowed"),
    ("by-cn", (), "allowed"),
    ("by-subject", ("--o", "Subject"), "allowed"),
    ("by-mapping", ("--o", "ExampleCorp"), "allowed"),
    ("by-thumbprint", (), "identity_not_mapped"),
]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    certs = Certs(tmp_path_factory.mktemp("clients") / "certs")
    certs.run("init")
    for name, options, _ in IDENTITIES:
        certs.run("issue", name, *options)
    return certs


@pytest.fixture(scope="module")
def known(start_envoy: StartEnvoy, clients: Certs, signer: Signer) -> Envoy:
    """Knows each client in its own way, and by its certificate before any renewal."""
    identities = {
        "by-spiffe": "spiffe://prod.example/one", "by-dns": "dns:one.example", "by-email": "email:one@one.example",
        "by-cn": "cn:by-cn", "by-subject": "subject:CN=by-subject,O=Subject",
        "by-thumbprint": f"sha256:{clients.credential('by-thumbprint').thumbprint_hex}",
    }
    mapping = {"match": {"subject": {"O": "ExampleCorp"}}, "client_id": "{subject.CN}", "profile_id": "partner"}
    policy: Config = {
        **POLICY,
        "identity": {"allow_unregistered": True, "mappings": [mapping]},
        "clients": {name: {"identities": [text], "profiles": ["partner"]} for name, text in identities.items()},
    }
    trusted = clients.file("root")
    return start_envoy(
        Listener("mtls", policy, trusted=trusted),
        Listener("bound", {**policy, "mode": "bearer_plus_mtls_required"}, trusted=trusted, jwt=JwtAuthn((signer,))),
    )


@pytest.mark.parametrize(("name", "verdict"), [(name, verdict) for name, _, verdict in IDENTITIES])
def test_a_renewed_client_is_the_same_by_its_names_and_nobody_by_a_thumbprint(
    known: Envoy, clients: Certs, name: str, verdict: str
) -> None:
    with Http1(known.port("mtls"), ClientTls(clients.credential(name))) as client:
        assert verdicts.passed(client.request()).values("x-client-id") == [name]
    clients.run("renew", name)
    with Http1(known.port("mtls"), ClientTls(clients.credential(name))) as client:
        response = client.request()
    assert verdicts.reason_of(response) == verdict
    if verdict == "allowed":
        assert response.echo().values("x-client-id") == [name]


def test_a_token_goes_with_the_certificate_that_it_was_issued_for(
    known: Envoy, clients: Certs, http: Client, bearer: Bearer
) -> None:
    former = clients.credential("by-cn")
    clients.run("renew", "by-cn")
    renewed = clients.credential("by-cn")
    for token, certificate, verdict in [
        (former, former, "allowed"), (former, renewed, "sender_binding_mismatch"),
        (renewed, renewed, "allowed"), (renewed, former, "sender_binding_mismatch"),
    ]:
        with http(known.port("bound"), ClientTls(certificate)) as client:
            assert verdicts.reason_of(client.request("GET", "/", [bearer("by-cn", token)])) == verdict


def test_envoys_own_revocation_list_counts_for_new_connections_alone(
    start_envoy: StartEnvoy, site: Site, http: Client
) -> None:
    # The two lines that the file has as a comment.
    trust = site.secrets / "trust.yaml"
    trust.write_text(trust.read_text().replace("# crl:", "crl:").replace("# only_verify", "only_verify"))
    envoy = start_envoy(Listener("main", POLICY, secrets=site.secrets))
    port, acme = envoy.port("main"), site.certs.credential("acme")
    with http(port, ClientTls(acme)) as client:
        verdicts.passed(client.request())
        site.certs.run("revoke", "acme")
        envoy.wait("the revocation", lambda: answer(port, acme) == "SSLV3_ALERT_CERTIFICATE_REVOKED")
        verdicts.passed(client.request())
    site.certs.run("renew", "acme")
    assert answer(port, site.certs.credential("acme")) == "allowed"


def test_a_file_that_is_no_good_changes_nothing_and_blocks_every_rotation_until_it_holds_something_new(
    start_envoy: StartEnvoy, site: Site
) -> None:
    envoy = start_envoy(Listener("main", POLICY, secrets=site.secrets))
    port, acme, server = envoy.port("main"), site.certs.credential("acme"), shown(envoy.port("main"))
    good = site.certs.file("trust").read_text()

    def failed(secret: str) -> int:
        return envoy.admin.stat(f"sds.{secret}.key_rotation_failed")

    put(site, "no certificate")
    envoy.wait("the failure", lambda: failed("trust") == 1)
    assert (answer(port, acme), shown(port)) == ("allowed", server)
    # What was in force is no news to Envoy: it goes on with what it last read.
    put(site, good)
    site.certs.run("renew", "server")
    envoy.wait("the other secret's failure", lambda: failed("server") == 1)
    assert (answer(port, acme), shown(port)) == ("allowed", server)
    put(site, good + "\n")
    renewed = der(site.certs.certificate("server"))
    envoy.wait("the new server certificate", lambda: shown(port) == renewed)
    assert answer(port, acme) == "allowed"


def put(site: Site, bundle: str) -> None:
    """Moves a bundle of authorities into the folder, whatever it holds."""
    new = site.certs.directory / ".new"
    new.write_text(bundle)
    os.replace(new, site.certs.file("trust"))


def test_the_shipped_listener_rotates_with_the_lines_of_the_documentation(tmp_path: Path, upstream: Upstream) -> None:
    folder = Folder(tmp_path)
    shipped.secrets(tmp_path)
    before, _, rest = (shipped.ENVOY / "envoy.yaml").read_text().partition("              common_tls_context:\n")
    after = rest[rest.index("          filters:\n"):]
    document = REPOSITORY / "docs" / "rotation.md"
    text = "".join([
        code_block(document, "node:"), before,
        textwrap.indent(code_block(document, "common_tls_context:"), " " * 14), after,
    ])
    config = tmp_path / "rotating.yaml"
    config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
    with Shipped(artifacts.envoy(), config) as envoy:
        folder.certs.run("renew", "server")
        renewed = der(folder.certs.certificate("server"))
        envoy.wait("the new server certificate", lambda: shown(envoy.port("mtls")) == renewed)
        assert answer(envoy.port("mtls"), folder.credential("initech-erp")) == "path_denied"


def code_block(document: Path, first: str) -> str:
    """The indented block of a document that begins with this line."""
    lines = document.read_text().splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"    {first}"))
    block = itertools.takewhile(lambda line: line.startswith("    "), lines[begin:])
    return textwrap.dedent("\n".join(block)) + "\n"
