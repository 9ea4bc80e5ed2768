"""What Envoy writes into `x-forwarded-client-cert`, and what it lets through."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from conftest import Client, StartEnvoy
from harness import pki, probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.pki import Authority, Credential
from harness.response import Header, Response
from harness.tls import ClientTls

NAME = "x-forwarded-client-cert"
DETAILS = {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True}
FROM_CALLER = [(NAME, "Hash=aa;URI=one"), (NAME, "Hash=bb;URI=two")]
MODES = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")

URI = 'spiffe://a/b;Hash=00;By=x,URI=spiffe://evil'
DNS = "d;DNS=evil,e"


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy, every_envoy: Path) -> Envoy:
    listeners = [probe.listener(mode, forward_client_cert_details=mode, set_current_client_cert_details=DETAILS)
                 for mode in MODES]
    return start_envoy(*listeners, binary=every_envoy)


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue([("CN", 'a"c;me,x')], sans=[pki.uri(URI), pki.uri("spiffe://second"), pki.dns(DNS)])


def test_what_envoy_writes_is_there_before_the_filter_runs_and_replaces_what_the_caller_sent(
    envoy: Envoy, leaf: Credential, http: Client
) -> None:
    with http(envoy.port("SANITIZE_SET"), ClientTls(leaf)) as client:
        (value,) = seen(client.request("GET", "/", [probe.script(("map",)), *FROM_CALLER]))
    assert value.startswith(f"Hash={leaf.thumbprint_hex};")
    assert "Hash=aa" not in value


def test_the_certificate_and_the_chain_are_quoted_url_encoded_pem_and_the_chain_begins_with_the_leaf(
    envoy: Envoy, leaf: Credential
) -> None:
    with Http1(envoy.port("SANITIZE_SET"), ClientTls(leaf)) as client:
        (value,) = seen(client.request("GET", "/", [probe.script(("map",))]))
    assert unquote(value.partition('Cert="')[2].partition('"')[0]) == leaf.pem
    assert unquote(value.partition('Chain="')[2].partition('"')[0]) == leaf.chain_pem.decode()


def test_names_of_the_certificate_stand_unquoted_so_that_they_can_inject_fields_and_elements(
    envoy: Envoy, leaf: Credential
) -> None:
    with Http1(envoy.port("SANITIZE_SET"), ClientTls(leaf)) as client:
        (value,) = seen(client.request("GET", "/", [probe.script(("map",))]))
    assert value.endswith(f';URI={URI};URI=spiffe://second;DNS={DNS}')
    assert ',URI=spiffe://evil;' in value


def test_the_subject_is_quoted_with_its_quotes_escaped(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("SANITIZE_SET"), ClientTls(leaf)) as client:
        (value,) = seen(client.request("GET", "/", [probe.script(("map",))]))
    assert ';Subject="CN=a\\"c\\;me\\,x";' in value


@pytest.mark.parametrize(("mode", "expected"), [
    ("SANITIZE", []),
    ("FORWARD_ONLY", ["Hash=aa;URI=one,Hash=bb;URI=two"]),
    ("ALWAYS_FORWARD_ONLY", ["Hash=aa;URI=one,Hash=bb;URI=two"]),
])
def test_lines_of_the_caller_are_joined_or_removed_by_the_mode_of_the_listener(
    envoy: Envoy, leaf: Credential, http: Client, mode: str, expected: list[str]
) -> None:
    with http(envoy.port(mode), ClientTls(leaf)) as client:
        assert seen(client.request("GET", "/", [probe.script(("map",)), *FROM_CALLER])) == expected


def test_the_appended_element_comes_last(envoy: Envoy, leaf: Credential) -> None:
    with Http1(envoy.port("APPEND_FORWARD"), ClientTls(leaf)) as client:
        (value,) = seen(client.request("GET", "/", [probe.script(("map",)), *FROM_CALLER]))
    assert value.startswith(f"Hash=aa;URI=one,Hash=bb;URI=two,Hash={leaf.thumbprint_hex};")


@pytest.mark.parametrize("mode", ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET"])
def test_without_a_client_certificate_only_one_mode_lets_the_header_through(
    envoy: Envoy, http: Client, mode: str
) -> None:
    request = [probe.script(("map",)), *FROM_CALLER]
    with http(envoy.port(mode), ClientTls()) as client:
        assert seen(client.request("GET", "/", request)) == []
    with http(envoy.port("ALWAYS_FORWARD_ONLY"), ClientTls()) as client:
        assert seen(client.request("GET", "/", request)) == ["Hash=aa;URI=one,Hash=bb;URI=two"]


def seen(response: Response) -> list[str]:
    """The header's lines as the filter has them."""
    (answer,) = probe.answers(response)
    headers: list[Header] = answer.pairs()
    return [value for name, value in headers if name == NAME]
