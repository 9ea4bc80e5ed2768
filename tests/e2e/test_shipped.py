"""What `envoy/` ships does what it says: with the filter, and without it the guard refuses everybody."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from conftest import Client
from harness import artifacts, shipped, verdicts
from harness.artifacts import REPOSITORY
from harness.http1 import Http1
from harness.listener import STATS_TAGS
from harness.pki import Credential
from harness.response import ConnectionEnded, Header
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream

COMPOSE = shipped.ENVOY / "docker-compose.yaml"
POLICIES = {"envoy": lambda text: text, "istio": shipped.with_istio_policy}
SENT = ("acme-mobile", "globex-batch", "initech-erp", "wallet-app", "stranger", "impostor")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def people(folder: Folder) -> dict[str, Credential]:
    return {name: folder.credential(name) for name in SENT}


@pytest.fixture(scope="module", params=sorted(POLICIES))
def envoy(request: pytest.FixtureRequest, folder: Folder, upstream: Upstream) -> Iterator[Shipped]:
    """The shipped Envoy, once with its own policy as text and once with Istio's as a Struct."""
    with Shipped(artifacts.envoy(), written(folder, request.param, artifacts.module(), upstream)) as running:
        yield running
        assert set(running.admin.stats(r"^wasm\..*\.vm_reload").values()) <= {0}


def written(folder: Folder, policy: str, module: Path, upstream: Upstream) -> Path:
    """`envoy.yaml` with one of the policies, for this machine."""
    text = POLICIES[policy]((shipped.ENVOY / "envoy.yaml").read_text())
    path = folder.directory / f"{policy}-{module.stem}.yaml"
    path.write_text(folder.localize(text, module, upstream.port, shipped.free_port()))
    return path


def test_every_shipped_configuration_is_valid(folder: Folder, upstream: Upstream) -> None:
    texts = shipped.configurations()
    assert {"envoy.yaml", "http3.yaml", "ratelimit.yaml"} <= texts.keys()
    for name, text in texts.items():
        path = folder.directory / f"validate-{name}"
        path.write_text(folder.localize(text, artifacts.module(), upstream.port))
        shipped.validate(artifacts.envoy(), path)


@pytest.mark.parametrize("name", sorted(shipped.configurations()))
def test_every_shipped_chain_reads_the_address_runs_the_filter_and_ends_with_the_guard(name: str) -> None:
    text = shipped.configurations()[name]
    assert "failure_policy: FAIL_RELOAD" in text
    assert "disable_stateless_session_resumption: true" in text and "disable_stateful_session_resumption: true" in text
    assert "normalize_path: true" in text and "merge_slashes: true" in text
    assert "path_with_escaped_slashes_action: REJECT_REQUEST" in text
    assert "headers_with_underscores_action: REJECT_REQUEST" in text
    assert "allow" == text.partition("key: wasm.mtls_authz.verdict")[2].partition("exact: ")[2][:5]
    assert 0 < text.index("name: mtls_authz\n") < text.index("envoy.filters.http.rbac") < text.rindex("http.router")


CASES: list[tuple[str | None, tuple[str, str | None, str] | None, str, str, list[Header], str]] = [
    # certificate, token (client, bound to, scope), method, path, further headers, verdict
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/42", [], "allowed"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:write"), "POST", "/payments", [], "allowed"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "POST", "/payments", [], "insufficient_scope"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "DELETE", "/payments/42", [],
     "method_not_allowed"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/internal", [], "path_denied"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/all:export", [], "path_denied"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/all%3Aexport", [], "path_denied"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", ""), "GET", "/reports/1", [], "collection_denied"),
    ("acme-mobile", ("acme-mobile", None, "payments:read"), "GET", "/payments/42", [], "sender_binding_missing"),
    ("acme-mobile", ("acme-mobile", "globex-batch", ""), "GET", "/payments/42", [], "sender_binding_mismatch"),
    ("acme-mobile", None, "GET", "/payments/42", [], "token_missing"),
    (None, ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/42", [], "certificate_missing"),
    (None, None, "GET", "/payments/42", [], "certificate_missing"),
    ("acme-mobile", ("acme-mobile", "acme-mobile", "payments:read"), "GET", "/payments/42",
     [("x-client-id", "globex-batch")], "client_mismatch"),
    ("globex-batch", ("globex-batch", "globex-batch", "payments:read"), "GET", "/payments", [], "profile_required"),
    ("globex-batch", ("globex-batch", "globex-batch", "payments:read"), "GET", "/payments",
     [("x-profile-id", "partner")], "allowed"),
    ("globex-batch", ("globex-batch", "globex-batch", ""), "GET", "/reports/2026",
     [("x-profile-id", "reports")], "allowed"),
    ("initech-erp", None, "GET", "/ledger/1", [], "allowed"),
    ("initech-erp", None, "POST", "/ledger/1", [], "method_not_allowed"),
    ("wallet-app", ("wallet-app", "wallet-app", ""), "POST", "/transfers", [], "allowed"),
    (None, ("wallet-app", None, ""), "GET", "/balance", [], "allowed"),
    (None, ("wallet-app", None, ""), "POST", "/transfers", [], "certificate_missing"),
    ("stranger", ("stranger", "stranger", ""), "GET", "/payments/42", [], "identity_not_mapped"),
    (None, None, "GET", "/health", [], "allowed"),
    (None, None, "POST", "/health", [], "certificate_missing"),
]


@pytest.fixture(scope="module")
def tokens(folder: Folder) -> dict[tuple[str, str | None, str], Header]:
    return {case[1]: folder.token(*case[1]) for case in CASES if case[1] is not None}


def test_no_shipped_issuer_speaks_for_the_other(
    envoy: Shipped, folder: Folder, people: dict[str, Credential], http_over_tcp: Client
) -> None:
    def verdict(*more: str) -> str:
        token = folder.token("acme-mobile", "acme-mobile", "payments:read", *more)
        with http_over_tcp(envoy.port("mtls"), ClientTls(people["acme-mobile"])) as client:
            return verdicts.reason_of(client.request("GET", "/payments/42", [token]))

    assert verdict("--issuer", "login") == "allowed"
    claims = ("--claims", json.dumps({"iss": "https://auth.example"}))
    assert verdict(*claims) == "allowed"
    # In Istio's way Envoy itself refuses it, and there is no token for the filter.
    assert verdict("--issuer", "login", *claims) in ("token_issuer_mismatch", "token_missing")


@pytest.mark.parametrize(("who", "token", "method", "path", "headers", "verdict"), CASES)
def test_the_shipped_policy_decides_alike_in_envoy_and_in_istio(
    envoy: Shipped, people: dict[str, Credential], tokens: dict[tuple[str, str | None, str], Header], http_over_tcp: Client,
    who: str | None, token: tuple[str, str | None, str] | None, method: str, path: str, headers: list[Header],
    verdict: str,
) -> None:
    sent = [*headers, *([tokens[token]] if token else [])]
    with http_over_tcp(envoy.port("mtls"), ClientTls(people[who] if who else None)) as client:
        response = client.request(method, path, sent, b"body" if method == "POST" else b"")
    assert verdicts.reason_of(response) == verdict
    if verdict == "allowed" and path != "/health":
        # The upstream learns who calls, and has nothing that it could replay.
        assert response.echo().values("x-client-id") == [who or "wallet-app"]
        assert response.echo().values("authorization") == []


def test_a_certificate_that_names_a_client_of_another_kind_is_not_that_client(
    envoy: Shipped, folder: Folder, http_over_tcp: Client
) -> None:
    folder.certs.run("issue", "named-mobile", "--cn", "acme-mobile", "--o", "ExampleCorp", "--ou", "partner")
    named = folder.credential("named-mobile")
    token = folder.token("acme-mobile", "named-mobile", "payments:read")
    with http_over_tcp(envoy.port("mtls"), ClientTls(named)) as client:
        verdicts.refused(client.request("GET", "/payments/42", [token]), "identity_not_mapped")


def test_a_certificate_that_nobody_vouches_for_ends_the_handshake(
    envoy: Shipped, people: dict[str, Credential], http_over_tcp: Client
) -> None:
    with pytest.raises((OSError, ConnectionEnded)):
        with http_over_tcp(envoy.port("mtls"), ClientTls(people["impostor"])) as client:
            client.request("GET", "/health")


@pytest.mark.parametrize("path", ["/payments%2F42", "/payments/..%5c42", "/payments/%00"])
def test_what_can_be_read_in_two_ways_is_refused(envoy: Shipped, http_over_tcp: Client, path: str) -> None:
    with http_over_tcp(envoy.port("mtls"), ClientTls()) as client:
        assert client.request("GET", path).status == 400


def test_a_header_with_an_underscore_is_refused_by_envoy(envoy: Shipped) -> None:
    with Http1(envoy.port("mtls"), ClientTls()) as client:
        assert client.request("GET", "/health", [("x_client_id", "acme-mobile")]).status == 400


def test_the_metrics_listener_shows_the_counters_with_labels_and_nothing_else(envoy: Shipped) -> None:
    with Http1(envoy.port("mtls"), ClientTls()) as client:
        verdicts.refused(client.request("GET", "/payments"), "certificate_missing")
    port = envoy.port("metrics")
    with Http1(port, None) as client:
        text = client.request("GET", "/stats/prometheus").body.decode()
        assert 'mtls_auth_failure_total{reason="certificate_missing"}' in text
        for path in ("/", "/config_dump", "/quitquitquit", "/stats/prometheus/../../config_dump", "/stats"):
            assert client.request("POST" if "quit" in path else "GET", path).status in (400, 404)


def test_only_listeners_with_tls_are_open_to_the_network() -> None:
    for name, text in shipped.configurations().items():
        listeners, _, rest = text.partition("\nstatic_resources:\n")[2].partition("\n  clusters:\n")
        opened = [each for each in listeners.split("\n    - name: ") if "address: 127.0.0.1" not in each]
        names = [each.partition("\n")[0] for each in opened[1:]]
        assert names == (["mtls", "mtls_http3"] if name == "http3.yaml" else ["mtls"]), name
        assert all("DownstreamTlsContext" in each or "QuicDownstreamTransport" in each for each in opened[1:])
        assert "admin:\n" not in rest or "socket_address: { address: 127.0.0.1" in rest.partition("admin:\n")[2].partition("\n\n")[0]
    published = re.findall(r"(?m)^ +- ([\d.:]*\d+:\d+)$", COMPOSE.read_text())
    assert len(published) >= 4 and all(each.startswith("127.0.0.1:") for each in published)


def test_the_containers_read_the_metrics_where_prometheus_asks_for_them(folder: Folder, upstream: Upstream) -> None:
    text = COMPOSE.read_text().partition("      - --config-yaml\n      - |\n")[2].partition("\n    ports:\n")[0]
    assert '- targets: ["envoy:9905"]' in (shipped.ENVOY / "observe" / "prometheus.yaml").read_text()
    assert "address: 0.0.0.0, port_value: 9905" in text and "- 127.0.0.1:9902:9905" in COMPOSE.read_text()
    beside = textwrap.dedent(text).replace("0.0.0.0", "127.0.0.1").replace("9905", "0")
    config = written(folder, "envoy", artifacts.module(), upstream)
    with Shipped(artifacts.envoy(), config, arguments=["--config-yaml", beside]) as envoy:
        ports = {name: envoy.port(name) for name in ("metrics", "metrics_for_containers")}
        for port in ports.values():
            with Http1(port, None) as client:
                assert b"mtls_auth_success_total" in client.request("GET", "/stats/prometheus").body
                assert client.request("GET", "/config_dump").status == 404


def test_envoy_and_istio_make_the_same_labels_also_of_lists_of_revoked_certificates(envoy: Shipped) -> None:
    text = (shipped.ENVOY / "envoy.yaml").read_text().partition("stats_tags:\n")[2]
    tags = dict(re.findall(r"- tag_name: (\w+)\n +regex: '(.*)'\n", text))
    override = (shipped.ENVOY / "istio" / "stats-tags.yaml").read_text().partition("custom_bootstrap.json: |\n")[2]
    istio = json.loads(override)["stats_config"]["stats_tags"]
    assert tags == {tag["tag_name"]: tag["regex"] for tag in istio} == {tag["tag_name"]: tag["regex"] for tag in STATS_TAGS}
    with Http1(envoy.port("metrics"), None) as client:
        shown = client.request("GET", "/stats/prometheus").body.decode()
    fetches = re.findall(r"(?m)^mtls_fetch_\w+\{(.*)\} \d+$", shown)
    outcomes = {f'source="feed_0",outcome="{outcome}"' for outcome in ("adopted", "unchanged", "failed")}
    assert outcomes | {'source="feed_0"'} == {labels for labels in fetches if "jwks" not in labels}


def test_the_shipped_policy_is_of_the_published_schema() -> None:
    schema = json.loads((REPOSITORY / "docs" / "configuration.schema.json").read_text())
    text = (shipped.ENVOY / "envoy.yaml").read_text().partition("                          value: |\n")[2].partition("\n\n")[0]
    Draft202012Validator(schema).validate(json.loads(text))


def test_every_decision_stands_in_the_access_log(envoy: Shipped, http_over_tcp: Client) -> None:
    with http_over_tcp(envoy.port("mtls"), ClientTls()) as client:
        request_id = verdicts.refused(client.request("GET", "/recorded"), "certificate_missing")["request_id"]

    def lines() -> list[str]:
        return [line for line in envoy.output().splitlines() if line.startswith("{") and request_id in line]

    envoy.wait("the record", lambda: bool(lines()))
    assert '\\"policy_id\\":\\"example-1\\"' in lines()[0] and "certificate_missing" in lines()[0]


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_the_guard_refuses_every_request_when_the_filter_fails_in_workers_only(
    folder: Folder, people: dict[str, Credential], tokens: dict[tuple[str, str | None, str], Header],
    upstream: Upstream, policy: str, http_over_tcp: Client,
) -> None:
    mark = upstream.mark()
    config = written(folder, policy, artifacts.worker_failure(), upstream)
    with Shipped(artifacts.envoy(), config) as envoy:
        for who, token, method, path, headers, _ in CASES:
            sent = [*headers, *([tokens[token]] if token else [])]
            with http_over_tcp(envoy.port("mtls"), ClientTls(people[who] if who else None)) as client:
                assert client.request(method, path, sent).status == 403
    assert upstream.since(mark) == []
