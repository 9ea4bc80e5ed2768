"""What Envoy writes into `x-forwarded-client-cert` as JSON (1.38 and later), and how it appends to a caller's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conftest import StartEnvoy
from harness import pki, probe
from harness.envoy import Envoy
from harness.http1 import Http1
from harness.pki import Authority, Credential
from harness.tls import ClientTls

NAME = "x-forwarded-client-cert"
DETAILS = {"subject": True, "cert": True, "chain": True, "dns": True, "uri": True}
URI = 'spiffe://a/b,"uri":["spiffe://evil"]'


@pytest.fixture(scope="module")
def envoy(start_envoy: StartEnvoy) -> Envoy:
    return start_envoy(*(
        probe.listener(f"{mode}-{form}", forward_client_cert_details=mode,
                       set_current_client_cert_details={**DETAILS, "format": form})
        for mode, form in [("SANITIZE_SET", "JSON"), ("APPEND_FORWARD", "JSON"), ("APPEND_FORWARD", "TEXT")]
    ))


@pytest.fixture(scope="module")
def leaf(issuer: Authority) -> Credential:
    return issuer.issue([("CN", "acme")], sans=[pki.uri(URI), pki.uri("spiffe://second"), pki.dns("a.example")])


def test_it_is_an_array_of_objects_with_the_certificate_as_plain_pem(envoy: Envoy, leaf: Credential) -> None:
    (element,) = json.loads(seen(envoy, leaf, "SANITIZE_SET-JSON", "Hash=00"))
    assert element["hash"] == leaf.thumbprint_hex
    assert element["cert"] == leaf.pem
    assert "".join(element["chain"]) == leaf.chain_pem.decode()
    assert element["uri"] == [URI, "spiffe://second"], "names are escaped and inject nothing"
    assert element["dns"] == ["a.example"]


@pytest.mark.parametrize("form", ["JSON", "TEXT"])
@pytest.mark.parametrize("sent", ['[{"hash":"00"}]', ' [{"hash":"00"}] ', '[1,"x"]', "[]", "[[]", '["]', "[1],[2]"])
def test_it_is_appended_inside_of_whatever_has_brackets_at_both_ends(
    envoy: Envoy, leaf: Credential, form: str, sent: str
) -> None:
    value = seen(envoy, leaf, f"APPEND_FORWARD-{form}", sent)
    assert value.startswith(sent.strip()[:-1] + ",{"), "without a look at what stands between them"
    assert json.loads("[" + value[len(sent.strip()):])[0]["hash"] == leaf.thumbprint_hex


@pytest.mark.parametrize("form", ["JSON", "TEXT"])
@pytest.mark.parametrize("sent", ["Hash=00", '{"hash":"00"}', '[{"hash":"00"', 'Hash="', "[", '[{"hash":"00"}],Hash=1'])
def test_text_is_appended_to_everything_else(envoy: Envoy, leaf: Credential, form: str, sent: str) -> None:
    value = seen(envoy, leaf, f"APPEND_FORWARD-{form}", sent)
    assert value.startswith(sent + f",Hash={leaf.thumbprint_hex};Cert=\"-----BEGIN%20CERTIFICATE-----"), value


def seen(envoy: Envoy, leaf: Credential, listener: str, sent: str) -> Any:
    """The header as the filter has it."""
    with Http1(envoy.port(listener), ClientTls(leaf)) as client:
        (answer,) = probe.answers(client.request("GET", "/", [probe.script(("map",)), (NAME, sent)]))
    (value,) = [value for name, value in answer.pairs() if name == NAME]
    return value
