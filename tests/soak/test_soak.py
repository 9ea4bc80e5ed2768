"""A few of the faults of `make soak`, so that what it finds is found by a program that works."""

from __future__ import annotations

import pytest

from soak.__main__ import run
from soak.faults import FAULTS, Fault
from soak.judge import Verdicts, Window

CHOSEN = ("the upstream is down", "a certificate is revoked, and the revocation taken back", "the policy is updated five times")


@pytest.mark.timeout(300)
def test_requests_are_answered_as_they_must_be_while_things_are_broken(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = run([fault for fault in FAULTS if fault.name in CHOSEN], seconds=0, seed=1, updates=5, crowd=20)
    assert outcome == 0, capsys.readouterr().out


def test_an_answer_that_no_fault_explains_is_wrong_and_a_fault_without_a_trace_is_none() -> None:
    fault = Fault("a fault", lambda world: None, (("a", "503"),), ("a", "503"))
    verdicts = Verdicts({"a": "200", "b": "200"}, [Window(fault, 100, 102)])
    verdicts.counts.update({(101, "a", "200"): 5, (101, "b", "200"): 5})
    assert list(verdicts.wrong()) == [] and len(list(verdicts.unseen())) == 1
    verdicts.counts[101, "a", "503"] = 1
    assert list(verdicts.wrong()) == list(verdicts.unseen()) == []
    verdicts.counts.update({(101, "b", "503"): 1, (110, "a", "503"): 1, (101, "a", "403 path_denied"): 1})
    assert len(list(verdicts.wrong())) == 3
    verdicts.counts.clear()
    assert len(list(verdicts.wrong())) == 2, "what was never asked was never answered"
