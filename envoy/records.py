#!/usr/bin/env python3
"""What the decision records in Envoy's access log say, for the operator.

    records.py refused access.log             who was refused, and why
    records.py shadow access.log              who would be refused, of those whom shadow mode let pass
    records.py candidate access.log           what the candidate would have done differently
    records.py policies access.log            which policy decided, and when that changed
    records.py show REQUEST_ID access.log     one record, in words
    records.py caller CLIENT access.log       a client's certificates: from where, since when, what became of the last request
    records.py certificates envoy.log         whose certificate ends when; Envoy's log, or --metrics, or both

Reads the access log as envoy.yaml writes it, from files (the oldest first) or from standard input. Without any record of an access
log it reads the filter's own lines in Envoy's log, which are about refusals alone and whose times it takes for UTC. Other lines are
counted and said at the end; without any record the exit status is 1. What records hold was chosen by callers: everything but visible
ASCII is printed as an escape (\\x1b). Needs Python 3.10 and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

Row = dict[str, Any]

TEXTS = ("reason", "enforcement", "policy_id", "client_id", "profile_id", "principal", "thumbprint", "binding", "rule",
         "method", "path", "request_id")
NEWER_TEXTS = ("note", "identity", "token_thumbprint")
"""Records of older versions have no such members."""
BINDINGS = {"bound": "token bound to the certificate", "bearer": "token bound to nothing", "certificate": "certificate alone"}
# How Envoy and, with tabs, Istio begin a line of a Wasm filter in their log: the time, then the names of the plugin, then ours if
# none of these is.
FILTER_LINE = re.compile(
    r"(?:\[([^\]]*)\]\[\d+\]\[\w+\]\[wasm\] |(\S+)\t\w+\tenvoy wasm )[^\s{]*\s*wasm log((?: [^\s:{]+)*: (?:mtls_authz: )?)(?={)")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
WIDEST_CELL = 80
REMEDIES = {
    "request_malformed": "Correct the client, or the proxy in front of it.",
    "path_malformed":
        "Send the path in its plain form. path.encoded_slashes and path.semicolons can keep two of the forms.",
    "authorization_malformed": "Send one Authorization header with Bearer and one token.",
    "certificate_malformed":
        "Read the certificate with openssl x509 -text and reissue it, or correct the header of the proxy in front.",
    "certificate_oversized":
        "Forward the certificate without its chain, or raise certificate.forwarded.max_bytes.",
    "certificate_missing":
        "Give the client its certificate. Behind a proxy, check certificate.source and certificate.forwarded.",
    "certificate_untrusted":
        "Let the listener verify certificates. Then turn session resumption off, or set certificate.validation: listener.",
    "certificate_expired": "Renew the certificate and connect anew.",
    "certificate_not_yet_valid": "Correct the clocks, or set certificate.clock_skew_seconds.",
    "certificate_unsuitable": "Issue a certificate for TLS clients: with clientAuth, without cA.",
    "certificate_revoked": "Issue another certificate. After a mistake, take this one off the list.",
    "identity_invalid":
        "Issue a certificate with one clear name, or check identity.trust_domains and identity.mappings.",
    "identity_missing": "Issue a certificate with a name, or register its subject or thumbprint.",
    "token_missing": "Send a token. If the client sends one, check jwt_authn and token.metadata.",
    "token_malformed": "Send the access token as the issuer made it.",
    "token_algorithm_not_allowed": "Sign with an algorithm of token.algorithms, or add this one.",
    "token_key_unknown": "Compare the kid with the issuer's key set.",
    "token_signature_invalid":
        "Fetch a new token. If that fails, too, compare the issuer's keys with the key set.",
    "token_claims_invalid": "Correct the claim at the issuer.",
    "token_expired": "Fetch a new token. If it is new, correct the clocks.",
    "token_not_yet_valid": "Correct the clocks, or raise token.leeway_seconds.",
    "token_issuer_mismatch":
        "Fetch the token from the configured issuer. To accept a second issuer, list both in token.providers.",
    "token_audience_mismatch": "Request the token for this service, or add the audience to token.audiences.",
    "sender_binding_missing": "Let the authorization server bind tokens to certificates (RFC 8705).",
    "sender_binding_malformed": "Correct cnf.x5t#S256 at the issuer.",
    "sender_binding_mismatch":
        "Fetch a new token with the present certificate. If the certificate was not renewed, the token may be stolen.",
    "identity_not_mapped": "Register the identity under clients, or add a mapping.",
    "client_header_missing": "Send X-Client-ID and X-Profile-ID.",
    "client_mismatch": "Leave X-Client-ID out, or send the client's own name.",
    "client_profile_mismatch": "Fetch a token of this client (token_client_ids), or name one of the profiles in clients.<id>.profiles.",
    "profile_required": "Send X-Profile-ID with one of clients.<id>.profiles.",
    "source_ip_denied": "Call from a listed network, or add the address to source_cidrs of the profile.",
    "path_denied": "If this client may have the path, add an allow rule to the profile, or remove the deny entry.",
    "collection_denied": "If this client may have the path, add an allow rule with the collection to the profile.",
    "upgrade_denied": "List the protocol under upgrades, or CONNECT under methods, of an allow rule.",
    "insufficient_scope": "Request a token with the scopes that the rule needs.",
    "method_not_allowed": "Use a method of the Allow header, or add this one to the allow rule.",
    "rate_limited": "Wait as Retry-After says, or raise rate_limit of the profile.",
    "revocation_unavailable": "Make the feed available again. Earlier log lines say what fails.",
    "keys_unavailable": "Make the key set available again. Earlier log lines say what fails.",
    "internal_error": "Read the earlier error lines of Envoy's log.",
}
"""What to do about a refusal, by its reason: the words of src/decision.rs, which a test compares."""


class Unusable(Exception):
    """What was asked for cannot be done; the message says why."""


@dataclass(frozen=True)
class Record:
    """One request: the filter's record, and what the access log says beside it."""

    time: datetime
    peer: str | None
    decision: Mapping[str, Any]

    @property
    def outcome(self) -> Literal["allowed", "refused", "would be refused"]:
        """What became of the request."""
        if self.decision["decision"] == "allow":
            return "allowed"
        return "would be refused" if self.decision["enforcement"] == "shadow" else "refused"


@dataclass
class Log:
    """The records of an access log. What is no record is counted while they are read."""

    lines: Iterable[str]
    since: datetime | None = None
    line_count: int = 0
    other_lines: int = 0
    record_count: int = 0
    too_old: int = 0
    unrecorded: Counter[str] = field(default_factory=Counter)
    """Requests without a record, by Envoy's word for what became of them."""
    own_lines: list[str] = field(default_factory=list)
    """Lines of the filter itself about decisions. Beside an access log they say the same once more."""

    def __iter__(self) -> Iterator[Record]:
        for line in self.lines:
            self.line_count += 1
            if _own_text(line, '"decision":'):
                self.own_lines.append(line)
                continue
            try:
                entry = _object(line)
                time, text = moment(_text(entry["time"]) or ""), entry["decision"]
                record = Record(time, _text(entry.get("peer")), _decision(text)) if text not in (None, "-") else None
            except (KeyError, TypeError, ValueError, RecursionError):
                self.other_lines += 1
                continue
            if record:
                yield from self._new_enough(record)
            elif not self.since or time >= self.since:
                self.unrecorded[str(entry.get("details"))] += 1
        if not self.record_count + self.too_old:
            yield from self.own_records()

    def own_records(self) -> Iterator[Record]:
        """What the lines of the filter itself say."""
        for line in self.own_lines:
            try:
                time, text = _own_text(line, '"decision":') or ("", "")
                record = Record(moment(time), None, _decision(text))
            except (KeyError, TypeError, ValueError, RecursionError):
                self.other_lines += 1
                continue
            yield from self._new_enough(record)

    def _new_enough(self, record: Record) -> Iterator[Record]:
        if self.since and record.time < self.since:
            self.too_old += 1
            return
        self.record_count += 1
        yield record

    def expect_records(self) -> None:
        """Without any record there is nothing to report, which must not look like good news."""
        if self.record_count:
            return
        if self.too_old:
            raise Unusable(f"no record is as new as --since asks for, and {self.too_old} are older")
        raise Unusable(f"no decision record in {self.line_count} lines: expected the access log as envoy.yaml writes it, or Envoy's log")

    def notes(self) -> Iterator[str]:
        """What was read and is no record."""
        if self.other_lines:
            yield f"lines left out, because they are not as envoy.yaml writes its access log: {self.other_lines}"
        if self.unrecorded:
            why = ", ".join(f"{printable(details)} ({count})" for details, count in self.unrecorded.most_common(5))
            yield f"requests without a record, because the filter did not decide about them: {why}"


def refused(log: Iterable[Record], outcome: str, segments: int) -> tuple[list[Row], int, int]:
    """Refusals by client, reason and path, the most frequent first; how many there are, and of how many requests."""
    rows: dict[tuple[str | None, ...], Row] = {}
    requests = 0
    for record in log:
        decision = record.decision
        # Of what was decided in shadow mode, or of everything.
        requests += outcome == "refused" or decision["enforcement"] == "shadow"
        if record.outcome != outcome:
            continue
        client, path = decision["client_id"], first_segments(decision["path"], segments)
        # Where nobody knows who it was, the address at least.
        peer = record.peer if client is None else None
        row = rows.setdefault((client, peer, decision["reason"], path), {
            "requests": 0, "last": record.time, "status": decision["status"], "client": client, "peer": peer,
            "reason": decision["reason"], "path": path,
        })
        row["requests"] += 1
        row["last"] = max(row["last"], record.time)
    ordered = sorted(rows.values(), key=lambda row: (-row["requests"], -row["last"].timestamp()))
    return ordered, sum(row["requests"] for row in ordered), requests


def differences(log: Iterable[Record], segments: int) -> tuple[list[Row], int, int]:
    """What a candidate would have done differently, the most frequent first; how often, and of how many requests."""
    rows: dict[tuple[str | None, ...], Row] = {}
    requests = 0
    for record in log:
        requests += 1
        decision, candidate = record.decision, record.decision.get("candidate")
        if candidate is None:
            continue
        client = decision["client_id"] or candidate["client_id"]
        path = first_segments(decision["path"], segments)
        refused_today = decision["reason"] if record.outcome == "refused" else None
        key = (candidate["policy_id"], candidate["outcome"], client, refused_today, candidate["reason"], path)
        row = rows.setdefault(key, {
            "requests": 0, "last": record.time, "candidate": candidate["policy_id"], "outcome": candidate["outcome"],
            "client": client, "refused_today": refused_today, "would_be": candidate["reason"], "path": path,
        })
        row["requests"] += 1
        row["last"] = max(row["last"], record.time)
    ordered = sorted(rows.values(), key=lambda row: (-row["requests"], -row["last"].timestamp()))
    return ordered, sum(row["requests"] for row in ordered), requests


def policies(log: Iterable[Record]) -> tuple[list[Row], Row | None]:
    """What each policy decided, the one seen last first; and the last time that another one decided than before."""
    rows: dict[str | None, Row] = {}
    before: Record | None = None
    change: Row | None = None
    for record in log:
        policy = record.decision["policy_id"]
        row = rows.setdefault(policy, {"policy": policy, "first": record.time, "last": record.time, "requests": 0,
                                       "allowed": 0, "refused": 0, "would_be_refused": 0})
        row["first"], row["last"] = min(row["first"], record.time), max(row["last"], record.time)
        row["requests"] += 1
        row[record.outcome.replace(" ", "_")] += 1
        if before and before.decision["policy_id"] != policy:
            change = {"at": record.time, "from": before.decision["policy_id"], "to": policy,
                      "changes": 1 + (change["changes"] if change else 0)}
        before = record
    return sorted(rows.values(), key=lambda row: row["last"], reverse=True), change


def caller(log: Iterable[Record], client: str) -> list[Row]:
    """The certificates of a client, by the address that they came from, the one seen last first.

    A certificate that is refused before it is known whose it is, as a revoked one is, belongs to those that it was known for
    at another time.
    """
    rows: dict[tuple[str, str | None], Row] = {}
    known: set[str] = set()
    for record in log:
        decision, thumbprint = record.decision, record.decision["thumbprint"]
        if thumbprint is None:
            continue
        if decision["client_id"] == client:
            known.add(thumbprint)
        row = rows.setdefault((thumbprint, record.peer), {
            "thumbprint": thumbprint, "peer": record.peer, "first": record.time, "last": record.time, "requests": 0,
            "allowed": 0, "last_verdict": None,
        })
        row["first"] = min(row["first"], record.time)
        if record.time >= row["last"]:
            row["last"], row["last_verdict"] = record.time, decision["reason"] or "allowed"
        row["requests"] += 1
        row["allowed"] += record.outcome == "allowed"
    return sorted((row for row in rows.values() if row["thumbprint"] in known), key=lambda row: row["last"], reverse=True)


def in_words(record: Record) -> str:
    """A record for somebody who does not know its members."""
    said = {name: printable(value) for name, value in record.decision.items() if value is not None and name != "candidate"}
    verdict = {
        "allowed": f"allowed by {said.get('rule')}",
        "refused": f"refused: {said.get('status')} {said.get('reason')}" + (f", {said['rule']}" if "rule" in said else ""),
        "would be refused": f"let pass in shadow mode, would be refused: {said.get('status')} {said.get('reason')}",
    }[record.outcome]
    lines = [
        ("request", f"{said.get('method', 'no method')} {said.get('path', 'no path that could be read')}"),
        ("when", shown(record.time)), ("from", shown(record.peer)), ("decision", verdict),
        ("policy", said.get("policy_id", "without a policy_id")),
        ("client", said.get("client_id", "not found out")), ("profile", said.get("profile_id", "not found out")),
        ("principal", said.get("principal")), ("identity", said.get("identity")),
        ("thumbprint", said.get("thumbprint", "no certificate that counts")), ("token's", said.get("token_thumbprint")),
        ("proof", BINDINGS.get(said.get("binding", ""), "none came into it")),
        ("request id", said.get("request_id")),
    ]
    if candidate := record.decision["candidate"]:
        would = {"would_deny": "would refuse it", "would_allow": "would let it pass", "other_reason": "would see it otherwise"}
        reason = f": {printable(candidate['reason'])}" if candidate["reason"] else ""
        by = printable(candidate["policy_id"] or "without a policy_id")
        lines.append(("candidate", f"{by} {would.get(str(candidate['outcome']), 'would see it otherwise')}{reason}"))
    if record.outcome != "allowed":
        lines.append(("why", said.get("note")))
        lines.append(("what to do", REMEDIES.get(str(record.decision["reason"]), "a reason of a newer version: see its README.md")))
    return "\n".join(f"{name:<12}{value}" for name, value in lines if value is not None)


def certificates(lines: Iterable[str], gauges: Mapping[str, int], now: datetime) -> list[Row]:
    """The certificates that are in use, the one that ends first in front.

    One that another has replaced is out of use, unless the log speaks of it afterwards. A gauge that none of a client's
    certificates explains is a row of its own.
    """
    known: dict[tuple[str, str], Row] = {}
    for event, end in _certificate_events(lines):
        client = event["client_id"]
        known.pop((client, event.get("previous_thumbprint", "")), None)
        known[client, event["thumbprint"]] = {
            "days_left": max(0, (end - now) // timedelta(days=1)), "not_after": end, "client": client,
            **{name: event.get(name) for name in ("key", "thumbprint", "identity", "issuer")},
        }
    rows = list(known.values())
    for client, days in gauges.items():
        # The gauge was set up to a minute ago, and from a clock of its own.
        if not any(row["client"] == client and abs(row["days_left"] - days) <= 1 for row in rows):
            rows.append({"days_left": days, "not_after": None, "client": client, "key": None, "thumbprint": None,
                         "identity": None, "issuer": None})
    return sorted(rows, key=lambda row: (row["days_left"], row["client"]))


def read_gauges(source: str) -> dict[str, int]:
    """`mtls_cert_days_until_expiry` by client, from a URL or a file; the fewest, where several policies know the client."""
    try:
        if source.startswith(("http://", "https://")):
            with urllib.request.urlopen(source, timeout=10) as answer:
                text = answer.read().decode(errors="replace")
        else:
            text = "".join(_lines([source]))
    except OSError as error:
        raise Unusable(f"{source} cannot be read: {error}") from error
    found = re.finditer(
        r'^mtls_cert_days_until_expiry\{(?:policy="[\w-]*",)?client="((?:[^"\\]|\\.)*)"\} ([0-9]+)$', text, re.MULTILINE
    )
    gauges: dict[str, int] = {}
    for gauge in found:
        client, days = re.sub(r"\\(.)", r"\1", gauge[1]), int(gauge[2])
        gauges[client] = min(days, gauges.get(client, days))
    return gauges


def first_segments(path: str | None, count: int) -> str | None:
    """`/a/b/...` of `/a/b/c/d` for a count of 2, so that paths that differ in numbers are one row; 0 is the whole path."""
    parts = (path or "").split("/")
    return "/".join([*parts[:count + 1], "..."]) if count and len(parts) > count + 1 else path


def printable(text: object) -> str:
    """Text that a terminal only prints: everything but visible ASCII and the space is an escape, and so is a backslash."""
    return re.sub(r"[^ -\[\]-~]", lambda found: found[0].encode("unicode_escape").decode(), str(text))


def shown(value: object) -> str:
    """A cell of a table."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = "-" if value is None else printable(value)
    return text if len(text) <= WIDEST_CELL else f"{text[:WIDEST_CELL - 3]}..."


def table(rows: Sequence[Row], most: int) -> str:
    """Rows as text, with their members as columns."""
    if not rows:
        return "nothing"
    cells = [list(rows[0]), *([shown(value) for value in row.values()] for row in rows[:most or None])]
    widths = [max(map(len, column)) for column in zip(*cells)]
    # What callers choose at will, the path, stands last and cannot pass for another column.
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
    more = rows[most:] if most else []
    return "\n".join([*lines, f"... and {len(more)} rows more (--rows 0 for all)"] if more else lines)


def moment(text: str) -> datetime:
    """A time as Envoy and the filter write it; without an offset it is UTC."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _since(text: str) -> datetime:
    """`2026-11-27T12:00Z`, or `90m` for ninety minutes ago."""
    with suppress(ValueError):
        return moment(text)
    ago = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if not ago:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a time such as 2026-11-27T12:00Z, or 90m, 24h, 7d")
    return datetime.now(timezone.utc) - timedelta(**{UNITS[ago[2]]: int(ago[1])})


def _object(line: str) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise ValueError
    return value


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError
    return value


def _decision(text: str) -> dict[str, Any]:
    """The record in its own JSON, or `ValueError` or `KeyError`."""
    record = _object(text)
    if record["decision"] not in ("allow", "deny") or not isinstance(record["status"], int | None):
        raise ValueError
    texts = {name: _text(record[name]) for name in TEXTS} | {name: _text(record.get(name)) for name in NEWER_TEXTS}
    return {"decision": record["decision"], "status": record["status"], **texts, "candidate": _candidate(record.get("candidate"))}


def _candidate(member: object) -> dict[str, str | None] | None:
    """What the candidate would have done, where that differs. Records of older versions have no such member."""
    if member is None:
        return None
    if not isinstance(member, dict):
        raise ValueError
    return {name: _text(member[name]) for name in ("outcome", "reason", "policy_id", "client_id", "profile_id")}


def _certificate_events(lines: Iterable[str]) -> Iterator[tuple[dict[str, str], datetime]]:
    """What the filter logs of certificates, `mtls_authz: {"event":"certificate_seen",...}`, and when each ends."""
    for line in lines:
        if found := _own_text(line, '"event":"certificate_'):
            with suppress(KeyError, ValueError, RecursionError):
                event = {name: value for name, value in _object(found[1]).items() if isinstance(value, str)}
                yield event | {name: event[name] for name in ("client_id", "thumbprint")}, moment(event["not_after"])


def _own_text(line: str, begin: str) -> tuple[str, str] | None:
    """The time of a line that the filter wrote, and the JSON in it, which begins with this member."""
    # The first brace of the line: what callers can write stands behind one, in a string.
    found = FILTER_LINE.match(line)
    if not found or "mtls_authz" not in found[3] or not line.startswith(begin, found.end() + 1):
        return None
    text = line[found.end():]
    with suppress(ValueError, RecursionError):
        return found[1] or found[2], text[:json.JSONDecoder().raw_decode(text)[1]]
    return None


def _lines(files: Sequence[str]) -> Iterator[str]:
    """The lines of files, or of standard input; bytes that are no text become question marks."""
    for file in files or ["-"]:
        try:
            with open(0 if file == "-" else file, encoding="utf-8", errors="replace", newline="\n") as opened:
                yield from opened
        except OSError as error:
            raise Unusable(f"{file} cannot be read: {error.strerror}") from error


def _json(value: object) -> str:
    # ASCII with escapes by itself, but for one control character.
    text = json.dumps(value, indent=1, default=lambda time: time.isoformat().replace("+00:00", "Z"))
    return text.replace("\x7f", "\\u007f")


def _print_refused(chosen: argparse.Namespace, log: Log) -> None:
    shadow = chosen.command == "shadow"
    rows, count, requests = refused(log, "would be refused" if shadow else "refused", chosen.segments)
    log.expect_records()
    if not requests:
        raise Unusable(f"none of {log.record_count} requests was decided in shadow mode")
    if chosen.json:
        print(_json({"requests": requests, "refused": count, "rows": rows}))
        return
    for row in rows:
        peer = row.pop("peer")
        row["client"] = row["client"] if peer is None else f"? at {peer}"
    print(table(rows, chosen.rows))
    share = f" ({count / requests:.1%})" if requests else ""
    print(f"\n{count} of {requests} requests " + ("in shadow mode would be refused" if shadow else "were refused") + share)


def _print_differences(chosen: argparse.Namespace, log: Log) -> None:
    rows, count, requests = differences(log, chosen.segments)
    log.expect_records()
    if chosen.json:
        print(_json({"requests": requests, "different": count, "rows": rows}))
        return
    print(table(rows, chosen.rows))
    share = f" ({count / requests:.1%})" if requests else ""
    print(f"\n{count} of {requests} requests would be decided differently{share}")


def _print_policies(chosen: argparse.Namespace, log: Log) -> None:
    rows, change = policies(log)
    log.expect_records()
    if chosen.json:
        print(_json({"rows": rows, "last_change": change}))
        return
    print(table(rows, chosen.rows))
    if change:
        print(f"\nchanges in this log: {change['changes']}, the last at {shown(change['at'])} "
              f"from {shown(change['from'])} to {shown(change['to'])}")


def _print_record(chosen: argparse.Namespace, log: Log) -> None:
    def is_wanted(record: Record) -> bool:
        return bool(record.decision["request_id"] == chosen.request_id)

    found = list(filter(is_wanted, log)) or list(filter(is_wanted, log.own_records()))
    log.expect_records()
    if not found:
        raise Unusable(f"there is no record of request {printable(chosen.request_id)}")
    if chosen.json:
        print(_json([{"time": record.time, "peer": record.peer, **record.decision} for record in found]))
        return
    print("\n\n".join(map(in_words, found)))


def _print_caller(chosen: argparse.Namespace, log: Log) -> None:
    rows = caller(log, chosen.client)
    log.expect_records()
    if not rows:
        raise Unusable(f"no record is of client {printable(chosen.client)} and its certificate")
    print(_json(rows) if chosen.json else table(rows, chosen.rows))


def _print_certificates(chosen: argparse.Namespace, log: Log) -> None:
    gauges = read_gauges(chosen.metrics) if chosen.metrics else {}
    # With metrics alone there is nothing to be read from standard input.
    lines = log.lines if chosen.files or not chosen.metrics else []
    rows = certificates(lines, gauges, datetime.now(timezone.utc))
    if not rows:
        raise Unusable("neither the log nor the metrics speak of a certificate: expected Envoy's log at level info, or --metrics")
    rows = [row for row in rows if chosen.within is None or row["days_left"] <= chosen.within]
    print(_json(rows) if chosen.json else table(rows, chosen.rows))


def _natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number")
    return int(text)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, what: str, run: Callable[[argparse.Namespace, Log], None], *options: str) -> None:
        each = commands.add_parser(name, help=what, description=what)
        each.set_defaults(run=run, since=None)
        for option in options:
            each.add_argument(option, **OPTIONS[option])

    logs = ("--since", "--json", "--rows", "files")
    command("refused", "who was refused, and why", _print_refused, "--segments", *logs)
    command("shadow", "who would be refused, of those whom shadow mode let pass", _print_refused, "--segments", *logs)
    command("candidate", "what the candidate would have done differently", _print_differences, "--segments", *logs)
    command("policies", "which policy decided, and when that changed", _print_policies, *logs)
    command("show", "one record, in words", _print_record, "request_id", "--since", "--json", "files")
    command("caller", "the certificates of a client", _print_caller, "client", *logs)
    command("certificates", "whose certificate ends when", _print_certificates,
            "--within", "--metrics", "--json", "--rows", "files")
    return parser.parse_args(arguments)


OPTIONS: dict[str, dict[str, Any]] = {
    "files": {"nargs": "*", "metavar": "FILE", "help": "logs, the oldest first; standard input without any"},
    "request_id": {"metavar": "REQUEST_ID", "help": "as the caller was told it, and as the record has it"},
    "client": {"metavar": "CLIENT", "help": "client_id, as in the configuration"},
    "--json": {"action": "store_true", "help": "for programs"},
    "--rows": {"type": _natural, "default": 40, "help": "print at most so many rows (40; 0: all)"},
    "--since": {"type": _since, "help": "leave out what was before: 2026-11-27T12:00Z, or 90m, 24h, 7d"},
    "--segments": {"type": _natural, "default": 2,
                   "help": "paths are put together by so many first segments (2: /a/b/...; 0: not at all)"},
    "--within": {"type": _natural, "metavar": "DAYS", "help": "only those that end within so many days"},
    "--metrics": {"metavar": "URL|FILE", "help": "what Prometheus reads, beside the log or instead of it"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    chosen = _arguments(arguments)
    try:
        log = Log(_lines(chosen.files), chosen.since)
        chosen.run(chosen, log)
    except Unusable as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read this, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    for note in log.notes():
        print(f"note: {note}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
