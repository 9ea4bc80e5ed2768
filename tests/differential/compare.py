"""What the filter says beside what the reference says: the same, stricter, laxer with a reason, or laxer."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from . import certificate_reference as certificates
from . import explained, token_reference, token_setup, tokens


@dataclass
class Tally:
    """What many cases came to."""

    cases: Counter[str] = field(default_factory=Counter)
    both_accept: Counter[str] = field(default_factory=Counter)
    both_refuse: Counter[str] = field(default_factory=Counter)
    stricter: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By what is refused and why, and by the kind of the case."""

    explained: Counter[str] = field(default_factory=Counter)
    unexplained: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        for name in ("cases", "both_accept", "both_refuse", "stricter", "explained"):
            getattr(self, name).update(getattr(other, name))
        self.unexplained += other.unexplained

    def laxer(self, what: str, kind: str, case: Mapping[str, Any], ours: Any, theirs: Any) -> None:
        """A finding."""
        shown = {"what": what, "kind": kind, "case": dict(case), "filter": ours, "reference": theirs}
        self.unexplained.append(shown)


def compare_certificate(tally: Tally, kind: str, case: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """A certificate in DER, or as text."""
    group = "certificate" if "der" in case else "certificate as text"
    tally.cases[group] += 1
    try:
        data = _der(case)
        theirs = certificates.facts(data)
        problem = None
    except certificates.Refused as refused:
        theirs, problem = None, str(refused)
    if "panic" in ours:
        tally.laxer("a panic", kind, case, ours, problem)
    elif "refused" in ours:
        if theirs is None:
            tally.both_refuse[group] += 1
        else:
            tally.stricter[f"{group}: {ours['refused']}", kind] += 1
        _compare_callers(tally, kind, case, ours, None)
    elif theirs is None:
        _explain(tally, group, kind, case, ours, problem)
    else:
        # What `cryptography` finds in a PEM, too, and not only what the grammar says.
        if case.get("format") in ("any", "nginx"):
            text = certificates.unquote(base64.b64decode(case["text"]))
            if b"-----" in text and certificates.pem_as_read_elsewhere(text) != data:
                if certificates.pem_as_read_elsewhere(certificates.without_white_space(text)) != data:
                    tally.laxer("another reader finds another certificate in this PEM", kind, case, ours, problem)
                    return
                tally.explained[explained.WHITE_SPACE] += 1
        differences = _differences(ours, theirs, data)
        if differences:
            tally.laxer("; ".join(differences), kind, case, ours, repr(theirs))
            return
        if explained.key_is_unusable(data):
            tally.explained[explained.PUBLIC_KEY] += 1
        else:
            tally.both_accept[group] += 1
        _note_less(tally, group, kind, ours, theirs)
        _compare_callers(tally, kind, case, ours, theirs)


def _der(case: Mapping[str, Any]) -> bytes:
    if "der" in case:
        return base64.b64decode(case["der"])
    return certificates.decode(case["format"], base64.b64decode(case["text"]), _facts)


def _facts(data: bytes) -> certificates.Facts:
    """Of a certificate that nobody is known by: as the reference reads it, or reads it repaired."""
    try:
        return certificates.facts(data)
    except certificates.Refused as refused:
        problem = refused
    read: list[certificates.Facts] = []

    def is_read(repaired: bytes) -> bool:
        try:
            read.append(certificates.facts(repaired))
        except certificates.Refused:
            return False
        return True

    if explained.explain(data, is_read) is None:
        raise problem
    return read[-1]


def _explain(
    tally: Tally, group: str, kind: str, case: Mapping[str, Any], ours: Mapping[str, Any], problem: str | None
) -> None:
    """The filter takes what the reference does not: is it one of the known differences, and nothing else?"""
    data = base64.b64decode(ours["der"])
    if "text" in case:
        try:
            if _der(case) != data:
                raise certificates.Refused("another certificate")
        except certificates.Refused as refused:
            tally.laxer("accepted", kind, case, ours, str(refused))
            return
    read: list[certificates.Facts] = []

    def is_the_same(repaired: bytes) -> bool:
        try:
            facts = certificates.facts(repaired)
        except certificates.Refused:
            return False
        trial = Tally()
        _compare_callers(trial, kind, case, ours, facts)
        if trial.unexplained or _differences(ours, facts, data):
            return False
        read.append(facts)
        return True

    names = explained.explain(data, is_the_same)
    if names is None:
        tally.laxer("accepted", kind, case, ours, problem)
        return
    tally.explained.update(names)
    _compare_callers(tally, kind, case, ours, read[-1])


def _differences(ours: Mapping[str, Any], theirs: certificates.Facts, data: bytes) -> list[str]:
    """Where we read something that the reference does not read."""
    found = []
    if ours["thumbprint"] != hashlib.sha256(data).hexdigest() or base64.b64decode(ours["der"]) != data:
        found.append("the thumbprint")
    for name in ("not_before", "not_after", "uri", "dns", "email", "ip"):
        if ours[name] != getattr(theirs, name):
            found.append(name)
    for name in ("subject", "issuer"):
        if certificates.names_differ(certificates.parse_name(ours[name]), getattr(theirs, name)) == "otherwise":
            found.append(f"the {name}")
    if ours["unsuitable"] is None and theirs.unsuitable is not None:
        found.append(f"usable, not {theirs.unsuitable}")
    return found


def _note_less(tally: Tally, group: str, kind: str, ours: Mapping[str, Any], theirs: certificates.Facts) -> None:
    for name in ("subject", "issuer"):
        if certificates.names_differ(certificates.parse_name(ours[name]), getattr(theirs, name)) == "less":
            tally.stricter[f"{group}: a value of the {name} is not taken for text", kind] += 1
    if ours["unsuitable"] is not None and theirs.unsuitable is None:
        tally.stricter[f"{group}: {ours['unsuitable']}", kind] += 1


def _compare_callers(
    tally: Tally, kind: str, case: Mapping[str, Any], ours: Mapping[str, Any], facts: certificates.Facts | None
) -> None:
    """Whose the certificate is, policy by policy."""
    for name, caller in ours.get("callers", {}).items():
        tally.cases["caller"] += 1
        try:
            if facts is None:
                raise certificates.Refused("not taken")
            names, client = certificates.identities(facts, certificates.POLICIES[name])
            good = certificates.is_good(facts, case["now"])
        except certificates.Refused as refused:
            names, client, good = set(), None, False
            theirs: Any = str(refused)
        else:
            theirs = {"names": sorted(names), "client": client, "good": good}
        if caller["identity"] is not None and caller["identity"] not in names and not _is_subject(caller, ours, facts):
            tally.laxer(f"an identity, under {name!r}", kind, case, caller, theirs)
        elif caller["client"] is not None and caller["client"] != client:
            tally.laxer(f"a client, under {name!r}", kind, case, caller, theirs)
        elif caller["allowed"] and not (good and client is not None):
            tally.laxer(f"allowed, under {name!r}", kind, case, caller, theirs)
        elif caller["allowed"]:
            tally.both_accept["caller"] += 1
        elif good and client is not None:
            tally.stricter[f"caller: {caller['reason']}", kind] += 1
        else:
            tally.both_refuse["caller"] += 1


def _is_subject(caller: Mapping[str, Any], ours: Mapping[str, Any], facts: certificates.Facts | None) -> bool:
    return facts is not None and caller["identity"] == f"subject:{ours.get('subject')}"


# --- tokens -----------------------------------------------------------------------------------------------------------


def compare_token(tally: Tally, case: tokens.Case, line: Mapping[str, Any], answers: Any) -> None:
    """The token by itself, and every decision about it, with signatures verified by the host and by the filter."""
    if isinstance(answers, Mapping):
        tally.cases["token"] += 1
        tally.laxer("a panic", case.kind, line, answers, None)
        return
    if answers[0] != answers[1]:
        tally.laxer("the host's signatures and the filter's differ", case.kind, line, answers[0], answers[1])
    verified = _payload(case.token, token_setup.fetched_sets()[case.keys])
    for index, answer in enumerate(answers):
        _compare_verified(tally if index == 0 else Tally(), tally, case, line, answer["verified"], verified)
    verdicts: dict[tuple[int, Any], dict[str, Any] | str] = {}
    for question, ours in zip(case.questions, answers[0]["decisions"], strict=True):
        rules = token_setup.policies()[question[0]]
        # Policies share sets of keys, and a signature is verified once.
        key = (id(rules.keys), tuple(rules.algorithms))
        if key not in verdicts:
            verdicts[key] = _payload(case.token, rules.keys, rules.algorithms)
        _compare_decision(tally, case, line, question, ours, verdicts[key])


def _payload(token: str, keys: Any, algorithms: Any = token_reference.Rules(()).algorithms) -> dict[str, Any] | str:
    try:
        return token_reference.payload(token, keys, algorithms)
    except token_reference.Refused as refused:
        return str(refused)


def _compare_verified(counts: Tally, tally: Tally, case: Any, line: Any, ours: Any, theirs: dict[str, Any] | str) -> None:
    counts.cases["token"] += 1
    if "refused" in ours:
        if isinstance(theirs, str):
            counts.both_refuse["token"] += 1
        else:
            counts.stricter[f"token: {ours['refused']}", case.kind] += 1
    elif isinstance(theirs, str):
        tally.laxer("accepted", case.kind, line, ours, theirs)
    elif not _same(ours["payload"], theirs):
        tally.laxer("other claims", case.kind, line, ours["payload"], theirs)
    else:
        counts.both_accept["token"] += 1


def _same(ours: Any, theirs: Any) -> bool:
    """The same JSON; of numbers that are no integers of 64 bits, doubles are compared."""
    if isinstance(ours, bool) or isinstance(theirs, bool) or not isinstance(ours, int | float):
        if isinstance(ours, dict):
            return isinstance(theirs, dict) and ours.keys() == theirs.keys() and all(_same(ours[k], theirs[k]) for k in ours)
        if isinstance(ours, list):
            return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(_same, ours, theirs))
        return type(ours) is type(theirs) and ours == theirs
    if not isinstance(theirs, int | Decimal):
        return False
    return ours == theirs if isinstance(ours, int) else ours == float(theirs)


def _compare_decision(
    tally: Tally, case: tokens.Case, line: Any, question: tokens.Question, ours: Any, theirs: Any
) -> None:
    tally.cases["decision"] += 1
    policy, certificate, now, path = question
    rules = token_setup.policies()[policy]
    if len(case.token.encode()) > token_reference.MAX_TOKEN:
        theirs = "too long"
    if not isinstance(theirs, str):
        presented = token_setup.presented()[certificate] if certificate else None
        try:
            theirs = token_reference.decide(theirs, rules, presented, now, path)
        except token_reference.Refused as refused:
            theirs = str(refused)
    if ours["allowed"]:
        if isinstance(theirs, str) or theirs != (ours["client"], ours["binding"]):
            tally.laxer("allowed", case.kind, {**line, "ask": [list(question)]}, ours, theirs)
        else:
            tally.both_accept["decision"] += 1
    elif isinstance(theirs, str):
        tally.both_refuse["decision"] += 1
    else:
        tally.stricter[f"decision: {ours['reason']}", case.kind] += 1
