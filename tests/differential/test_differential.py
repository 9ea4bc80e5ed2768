"""The comparison on a small scale, and that it would notice."""

from __future__ import annotations

import base64
import copy
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import certificate_reference, certificates, explained, mutations, tokens
from .batches import certificate_policies, judge, token_policies
from .compare import Tally, compare_certificate, compare_token

Answer = dict[str, Any]


@pytest.mark.timeout(900)
def test_the_filter_is_nowhere_laxer_without_a_known_reason() -> None:
    command = [sys.executable, "-m", "differential", "--cases", "2000", "--seed", "2"]
    tests = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=tests, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    for group in ("certificate", "certificate as text", "caller", "token", "decision"):
        counts = re.search(rf"^{group} +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
        assert counts, done.stdout
        # A comparison in which one side always says the same compares nothing.
        assert all(int(count) > 5 for count in counts.groups()), done.stdout


def certificate_case(data: bytes) -> Answer:
    policies = list(certificate_reference.POLICIES)
    return {"der": base64.b64encode(data).decode(), "now": certificates.NOW, "policies": policies}


def set_all(name: str, value: Any) -> Callable[[Answer], None]:
    def change(answer: Answer) -> None:
        for caller in answer["callers"].values():
            caller[name] = value

    return change


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("the thumbprint", lambda answer: answer.update(thumbprint="00" * 32)),
        ("not_before", lambda answer: answer.update(not_before=answer["not_before"] - 1)),
        ("not_after", lambda answer: answer.update(not_after=answer["not_after"] + 1)),
        ("uri", lambda answer: answer["uri"].append("spiffe://prod.example/more")),
        ("dns", lambda answer: answer["dns"].append("more.example")),
        ("email", lambda answer: answer["email"].append("more@partner.example")),
        ("the subject", lambda answer: answer.update(subject="CN=globex,O=ExampleCorp")),
        ("the issuer", lambda answer: answer.update(issuer=answer["issuer"].replace(",", "+"))),
        ("an identity", set_all("identity", "cn:acme")),
        ("a client", set_all("client", "globex")),
        ("a panic", lambda answer: answer.update(panic=True)),
    ],
)
def test_another_reading_of_a_certificate_is_a_finding(what: str, change: Callable[[Answer], None]) -> None:
    case = certificate_case(certificates.good("acme"))
    (answer,) = judge(certificate_policies(), [case])
    assert _findings(case, answer) == []
    change(answer)
    assert any(found.startswith(what) for found in _findings(case, answer)), _findings(case, answer)


@pytest.mark.parametrize(
    ("found", "written"),
    [
        pytest.param(b"ExampleCorp", b"Example\xfforp", id="no UTF-8, but the filter says that it is text"),
        pytest.param(bytes.fromhex("0603550403"), bytes.fromhex("0603558003"), id="an OID with leading zeros"),
        pytest.param(b"\x17\x0d200101", b"\x17\x0d201301", id="a thirteenth month"),
        pytest.param(b"\x86\x24spiffe", b"\x86\x81piffe", id="a length that is another"),
        pytest.param(b"\x30\x0a\x06\x08\x2b", b"\x30\x0a\x07\x08\x2b", id="no OID"),
    ],
)
def test_a_certificate_that_only_the_filter_takes_is_a_finding(found: bytes, written: bytes) -> None:
    good = certificates.good("acme")
    (answer,) = judge(certificate_policies(), [certificate_case(good)])
    bad = good.replace(found, written)
    assert bad != good
    for spoilt in (bad, good + b"\0", good[:-1]):
        answer["der"] = base64.b64encode(spoilt).decode()
        assert "accepted" in _findings(certificate_case(spoilt), answer)


def test_a_certificate_that_is_not_good_now_and_passes_is_a_finding() -> None:
    case = certificate_case(certificates.good("acme"))
    (answer,) = judge(certificate_policies(), [case])
    case["now"] = 1
    assert "allowed, under 'default'" in _findings(case, answer)


def _findings(case: Answer, answer: Answer) -> list[str]:
    tally = Tally()
    compare_certificate(tally, "a test", case, answer)
    return [finding["what"] for finding in tally.unexplained]


def test_a_token_that_only_the_filter_takes_or_reads_otherwise_is_a_finding() -> None:
    rng = random.Random("tokens")
    cases = [tokens.case(rng) for _ in range(200)]
    lines = [{"token": case.token, "keys": case.keys, "ask": case.questions} for case in cases]
    answers = judge(token_policies(), lines)
    good = next(pair for pair in zip(cases, lines, answers, strict=True) if "payload" in pair[2][0]["verified"])
    bad = next(pair for pair in zip(cases, lines, answers, strict=True) if "refused" in pair[2][0]["verified"])
    assert _token_findings(*good) == _token_findings(*bad) == []

    case, line, answer = copy.deepcopy(good)
    for side in answer:
        side["verified"]["payload"]["sub"] = "globex"
    assert set(_token_findings(case, line, answer)) == {"other claims"}
    answer[0]["verified"] = {"refused": "token_signature_invalid"}
    assert "the host's signatures and the filter's differ" in _token_findings(case, line, answer)

    case, line, answer = copy.deepcopy(bad)
    for side in answer:
        side["verified"] = {"payload": {}}
        side["decisions"][0] = {"allowed": True, "reason": None, "client": "acme", "binding": "bound"}
    assert set(_token_findings(case, line, answer)) == {"accepted", "allowed"}
    assert _token_findings(case, line, {"panic": True}) == ["a panic"]


def _token_findings(case: tokens.Case, line: Answer, answer: Any) -> list[str]:
    tally = Tally()
    compare_token(tally, case, line, answer)
    return [finding["what"] for finding in tally.unexplained]


def test_every_known_difference_is_documented_with_its_reason() -> None:
    page = Path(__file__).resolve().parents[2].joinpath("docs", "differential.md").read_text()
    rows = [f"| {each.name} | {each.reason} |" for each in explained.DIFFERENCES]
    assert [row for row in rows if row not in page] == []
    assert all(f"| {name} |" in page for name in (explained.WHITE_SPACE, explained.PUBLIC_KEY))


def test_a_seed_makes_the_same_cases() -> None:
    def made(seed: str) -> list[Any]:
        rng = random.Random(seed)
        shapes = [mutations.mutate(rng, certificates.base(rng)) for _ in range(50)]
        return [*shapes, *(vars(tokens.case(rng)) for _ in range(50))]

    assert made("a") == made("a") != made("b")


def test_without_its_program_nothing_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "JUDGE", "/nowhere/judge")
    with pytest.raises(FileNotFoundError):
        judge([], [])
