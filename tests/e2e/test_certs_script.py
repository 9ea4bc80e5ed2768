"""`envoy/certs.sh`: renewed pairs and revocation lists, read with another library than the one that made them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID

from harness.certs import Certs

# What of a certificate belongs to its key or to its issuer's.
OF_THE_KEY = {ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}
NAMES = ("--spiffe", "spiffe://prod.example/ns/acme/sa/mobile", "--dns", "acme.example", "--email", "a@acme.example",
         "--o", "Ac/me\\", "--ou", "Zürich, \"West\"", "--cn", "acme mobile")


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """An authority, a server, a client with every kind of name, and one that nobody vouches for."""
    made = Certs(tmp_path_factory.mktemp("script") / "certs")
    made.run("init")
    made.run("server", "envoy")
    made.run("issue", "acme", *NAMES)
    made.run("untrusted", "impostor")
    return made


def names(certificate: x509.Certificate) -> tuple[x509.Name, list[x509.Extension[x509.ExtensionType]]]:
    """All that a renewal must leave as it was, in one order."""
    kept = [each for each in certificate.extensions if each.oid not in OF_THE_KEY]
    return certificate.subject, sorted(kept, key=lambda each: each.oid.dotted_string)


@pytest.mark.parametrize("name", ["acme", "server"])
def test_a_renewal_keeps_names_and_usages_and_changes_key_serial_and_validity(certs: Certs, name: str) -> None:
    former, key = certs.certificate(name), certs.file(name, "key").read_bytes()
    issuer = certs.certificate("intermediate")
    printed = certs.run("renew", name, "--days", "30")
    renewed = certs.credential(name)
    assert names(renewed.certificate) == names(former)
    assert renewed.certificate.serial_number != former.serial_number
    assert renewed.key_pem != key
    assert renewed.certificate.public_key() == renewed.key.public_key() != former.public_key()
    assert renewed.issuers == (issuer,)
    renewed.certificate.verify_directly_issued_by(issuer)
    lasts = renewed.certificate.not_valid_after_utc - renewed.certificate.not_valid_before_utc
    assert timedelta(days=29) < lasts < timedelta(days=31)
    subject_key = x509.SubjectKeyIdentifier.from_public_key(renewed.key.public_key())
    assert renewed.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value == subject_key
    assert f"x5t#S256 {renewed.thumbprint}\n" in printed
    # The former certificate is where the script says, so that it can be revoked.
    said = printed.splitlines()[1].split("  ")[0]
    assert x509.load_pem_x509_certificate(Path(said).read_bytes()) == former


def test_a_pair_is_replaced_by_one_rename_and_its_key_is_its_owners_alone(certs: Certs) -> None:
    links = {name: os.readlink(certs.directory / name) for name in ("acme.pem", "acme.key", "acme.current")}
    certs.run("renew", "acme")
    after = {name: os.readlink(certs.directory / name) for name in links}
    # Both files are reached through the one link that has changed.
    assert (after["acme.pem"], after["acme.key"]) == ("acme.current/acme.pem", "acme.current/acme.key")
    assert {name for name in links if links[name] != after[name]} == {"acme.current"}
    assert stat.S_IMODE(certs.file("acme", "key").stat().st_mode) == 0o600
    assert not list(certs.directory.glob(".new*"))


def test_a_revocation_list_is_version_2_numbered_and_signed_by_the_intermediate(certs: Certs) -> None:
    issuer = certs.certificate("intermediate")
    certs.run("crl")
    first = number(certs.crl())
    certs.run("crl")
    crl = certs.crl()
    assert number(crl) == first + 1
    assert crl.issuer == issuer.subject
    key = issuer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and crl.is_signature_valid(key)
    # Version 2 is the INTEGER 1 in front of the algorithm; version 1 has none.
    assert b"\x02\x01\x01\x30" in crl.tbs_certlist_bytes[:9]
    of_issuer = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    by_key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert by_key.key_identifier == of_issuer.digest
    now = datetime.now(timezone.utc)
    assert crl.next_update_utc is not None
    assert crl.last_update_utc <= now < crl.next_update_utc <= now + timedelta(days=7)
    der = (certs.directory / "crl.der").read_bytes()
    assert der == crl.public_bytes(serialization.Encoding.DER)


def number(crl: x509.CertificateRevocationList) -> int:
    """The CRL number."""
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


@pytest.mark.parametrize(("arguments", "reason"), [
    ((), None),
    (("--reason", "keyCompromise"), x509.ReasonFlags.key_compromise),
    (("--reason", "superseded"), x509.ReasonFlags.superseded),
    (("--reason", "certificateHold"), x509.ReasonFlags.certificate_hold),
], ids=["none", "compromise", "superseded", "hold"])
def test_a_revoked_certificate_is_on_the_next_list_with_its_reason_and_printed_as_a_feed(
    certs: Certs, arguments: Sequence[str], reason: x509.ReasonFlags | None
) -> None:
    certs.run("renew", "acme")
    certificate, before = certs.certificate("acme"), certs.crl()
    printed = certs.run("revoke", "acme", *arguments)
    crl = certs.crl()
    assert number(crl) == number(before) + 1
    assert {each.serial_number for each in crl} - {each.serial_number for each in before} == {certificate.serial_number}
    entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
    assert entry is not None
    assert [each.value for each in entry.extensions] == ([x509.CRLReason(reason)] if reason else [])
    assert json.loads(printed.splitlines()[-1]) == {
        "sha256": [hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()],
        "serials": [{
            "issuer": certificate.issuer.rfc4514_string(), "serial": f"{certificate.serial_number:x}",
        }],
    }


def test_a_former_certificate_is_revoked_by_its_file_and_the_renewed_one_stays_good(certs: Certs) -> None:
    former = certs.certificate("server")
    file = certs.run("renew", "server").splitlines()[1].split("  ")[0]
    certs.run("revoke", file)
    crl = certs.crl()
    assert crl.get_revoked_certificate_by_serial_number(former.serial_number) is not None
    assert crl.get_revoked_certificate_by_serial_number(certs.certificate("server").serial_number) is None


def test_what_was_undone_is_on_no_further_list_and_all_else_stays(certs: Certs) -> None:
    certs.run("renew", "acme")
    serial = certs.certificate("acme").serial_number
    before = {each.serial_number for each in certs.crl()}
    certs.run("revoke", "acme")
    revoked = certs.crl()
    certs.run("revoke", "--undo", "acme")
    undone = certs.crl()
    assert serial not in before and {each.serial_number for each in revoked} == before | {serial}
    assert {each.serial_number for each in undone} == before
    assert number(undone) == number(revoked) + 1
    # It can be revoked again.
    certs.run("revoke", "acme")
    assert {each.serial_number for each in certs.crl()} == before | {serial}


def test_the_trust_bundle_holds_exactly_the_authorities_that_were_named(certs: Certs) -> None:
    root, intermediate = certs.certificate("root"), certs.certificate("intermediate")
    assert x509.load_pem_x509_certificates(certs.file("trust").read_bytes()) == [root]
    certs.run("trust", "root", str(certs.file("intermediate")))
    assert x509.load_pem_x509_certificates(certs.file("trust").read_bytes()) == [root, intermediate]
    certs.run("trust", "root")


NOT_ISSUED = "is not signed by {certs}/intermediate.pem, whose certificates alone can be renewed and revoked; make others anew"
REASONS = "keyCompromise, affiliationChanged, superseded, cessationOfOperation or certificateHold"


@pytest.mark.parametrize(("arguments", "message"), [
    (("renew",), "a name is missing; certs.sh help"),
    (("renew", "nobody"), "there is no {certs}/nobody.pem; certs.sh issue makes a certificate"),
    (("renew", "../acme"), "../acme does not do as the name of a file"),
    (("renew", "impostor"), "{certs}/impostor.pem " + NOT_ISSUED),
    (("renew", "root"), "{certs}/root.pem " + NOT_ISSUED),
    (("renew", "intermediate"), "{certs}/intermediate.pem " + NOT_ISSUED),
    (("renew", "crl"), "{certs}/crl.pem holds no certificate in PEM"),
    (("renew", "acme", "--days"), "renew takes NAME and --days N; certs.sh help"),
    (("renew", "acme", "--cn", "other"), "renew takes NAME and --days N; certs.sh help"),
    (("renew", "acme", "--days", "soon"), "--days soon: expected a number of days"),
    (("revoke",), "a name or a file is missing; certs.sh help"),
    (("revoke", "nobody"), "there is no {certs}/nobody.pem; certs.sh issue makes a certificate"),
    (("revoke", "impostor"), "{certs}/impostor.pem " + NOT_ISSUED),
    (("revoke", "intermediate"), "{certs}/intermediate.pem " + NOT_ISSUED),
    (("revoke", "acme", "--why", "x"), "revoke takes a name or a file, and --reason REASON; certs.sh help"),
    (("revoke", "acme", "--reason", "because"), "--reason because: expected " + REASONS),
    (("revoke", "--undo"), "a name or a file is missing; certs.sh help"),
    (("revoke", "--undo", "acme", "--reason", "superseded"),
     "revoke --undo takes a name or a file and nothing else; certs.sh help"),
    (("revoke", "--undo", "server"), "{certs}/server.pem is not revoked (serial {server}): there is nothing to undo"),
    (("trust",), "the authorities to trust are missing, such as: certs.sh trust root"),
    (("trust", "root", "acme"), "{certs}/acme.pem is not an authority's certificate; trust takes those alone"),
    (("unrevoke", "acme"), "unknown command unrevoke; certs.sh help"),
])
def test_a_wrong_use_says_what_is_wrong_and_changes_nothing(
    certs: Certs, arguments: tuple[str, ...], message: str
) -> None:
    before = contents(certs)
    expected = message.format(certs=certs.directory, server=f"{certs.certificate('server').serial_number:x}")
    assert certs.refusal(*arguments) == f"certs.sh: {expected}\n"
    assert contents(certs) == before


def contents(certs: Certs) -> dict[str, bytes]:
    """Every file of the folder."""
    return {str(path): path.read_bytes() for path in certs.directory.rglob("*") if path.is_file()}


def test_nothing_is_revoked_twice(certs: Certs) -> None:
    certs.run("renew", "acme")
    certs.run("revoke", "acme")
    serial = f"{certs.certificate('acme').serial_number:x}"
    assert certs.refusal("revoke", "acme") == (
        f"certs.sh: {certs.file('acme')} is revoked already (serial {serial}); certs.sh renew makes another one\n"
    )


def test_another_authority_of_the_same_name_is_told_apart_and_without_one_there_is_nothing_to_do(
    certs: Certs, tmp_path: Path
) -> None:
    other = Certs(tmp_path / "other")
    expected = f"there is no authority in {other.directory}; start with: certs.sh init\n"
    assert other.refusal("crl") == f"certs.sh: {expected}"
    assert other.refusal("revoke", str(certs.file("acme"))) == f"certs.sh: {expected}"
    other.run("init")
    assert other.certificate("intermediate").subject == certs.certificate("intermediate").subject
    refusal = other.refusal("revoke", str(certs.file("acme")))
    assert refusal == f"certs.sh: {certs.file('acme')} {NOT_ISSUED.format(certs=other.directory)}\n"
