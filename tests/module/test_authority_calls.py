"""What it costs that a client's issuers name an authority: one signature a connection, and nothing for a known one."""

from __future__ import annotations

import pytest
import scene
from harness.pki import Authority, Credential, KeyType, Signing
from host import Vm
from test_host_calls import ALLOWED, HOT

VERIFY = "call_foreign_function verify_signature"
WAYS: dict[str, tuple[KeyType, Signing, list[str]]] = {
    "rsa": ("rsa", Signing(), [VERIFY]), "p256": ("ec", Signing(), [VERIFY]), "p384": ("ec384", Signing(), [VERIFY]),
    "p521": ("ec521", Signing(), [VERIFY]), "pss": ("rsa", Signing(pss=True), []), "ed25519": ("ed25519", Signing(), []),
}
"""How an authority signs, and what the host is asked then."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("pki"))


def start(authority: Authority) -> Vm:
    clients = {"acme": {"identities": ["cn:acme"], "profiles": ["partner"], "issuers": ["partner-ca"]}}
    authorities = {"partner-ca": authority.credential.pem}
    return scene.start(scene.policy(mode="mtls", authorities=authorities, clients=clients))


def connection(leaf: Credential, number: int = 1) -> dict[str, bytes]:
    return scene.connection(number=number) | {
        "connection.peer_certificate": leaf.pem.encode(),
        "connection.sha256_peer_certificate_digest": leaf.thumbprint_hex.encode(),
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_signature_is_verified_once_a_connection(root: Authority, way: str) -> None:
    key_type, signing, verified = WAYS[way]
    real = root.intermediate("Lab CA", key_type=key_type, signing=signing)
    imitation = root.intermediate("Lab CA", key_type=key_type, signing=signing, imitates=real)
    vm = start(real)
    for number, (authority, passes) in enumerate([(real, True), (imitation, False)]):
        leaf = authority.issue([("CN", "acme")])
        assert vm.request(scene.headers(), connection(leaf, number)).passed is passes
        assert [call for call in vm.calls if call == VERIFY] == verified
        scene.forget(vm)
        assert vm.request(scene.headers(), connection(leaf, number)).passed is passes
        assert VERIFY not in vm.calls
        scene.forget(vm)


def test_a_known_connection_of_a_pinned_client_costs_what_any_other_does(root: Authority) -> None:
    real = root.intermediate("Lab CA")
    vm, shown = start(real), connection(real.issue([("CN", "acme")]))
    assert vm.request(scene.headers(), shown).passed
    assert VERIFY in vm.calls
    scene.forget(vm)
    assert vm.request(scene.headers(), shown).passed
    assert vm.calls == HOT
    assert vm.calls[-len(ALLOWED):] == ALLOWED


def test_a_pin_does_not_hold_where_the_host_does_not_verify(root: Authority) -> None:
    for key_type in ("ec", "ec384", "rsa", "ec521"):
        authority = root.intermediate("Lab CA", key_type=key_type)
        vm = start(authority)
        vm.has_foreign_functions = False
        stream = vm.request(scene.headers(), connection(authority.issue([("CN", "acme")])))
        assert not stream.passed and not stream.has_verdict, key_type
