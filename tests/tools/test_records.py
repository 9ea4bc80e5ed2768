"""envoy/records.py: what it counts, what it leaves out, and that no record can speak to the operator's terminal."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "envoy" / "records.py"
spec = importlib.util.spec_from_file_location("records", SCRIPT)
assert spec and spec.loader
records = importlib.util.module_from_spec(spec)
sys.modules["records"] = records
spec.loader.exec_module(records)

RECORD = {
    "decision": "allow", "status": None, "reason": None, "enforcement": "enforce", "policy_id": "v1", "client_id": "acme",
    "profile_id": "partner", "principal": None, "thumbprint": "A" * 43, "binding": "bound",
    "rule": "profiles.partner.allow[0]", "method": "GET", "path": "/payments/42", "request_id": "id-1", "candidate": None,
}
PATH_DENIED = {"decision": "deny", "status": 403, "reason": "path_denied", "rule": None}
SHADOWED = {**PATH_DENIED, "enforcement": "shadow"}
HOSTILE = {
    "colour": "\x1b[31m", "title": "\x1b]0;owned\x07", "c1": "\x9b31m", "newline": "\nfake row", "return": "\rfake", "tab": "\t",
    "delete": "\x7f", "nul": "\0", "right to left": "\u202egnp", "line separator": "\u2028", "lone surrogate": "\ud800",
    "combining": "a\u0301", "zero width": "\u200b", "backspace": "\x08" * 9,
}


def line(minute: int = 0, peer: str = "10.0.0.9", **members: Any) -> str:
    """A line of the access log."""
    decision = json.dumps({**RECORD, **members})
    return json.dumps({"time": f"2026-11-27T12:{minute:02}:00.123Z", "request_id": "id", "status": 200, "details": "via_upstream",
                       "duration_ms": 1, "peer": peer, "decision": decision}) + "\n"


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> tuple[str, str, int]:
    """Output, notes and exit status for a log on standard input."""
    monkeypatch.setattr(records, "_lines", lambda files: iter(text.splitlines(keepends=True)))
    code = records.main(arguments)
    told = capsys.readouterr()
    return told.out, told.err, code


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda text, *arguments: run(capsys, monkeypatch, text, *arguments)


def test_what_a_candidate_would_do_differently_is_counted_the_most_frequent_first(ask: Any) -> None:
    refuses = {"outcome": "would_deny", "status": 403, "reason": "path_denied", "policy_id": "v2", "client_id": "acme",
               "profile_id": "partner"}
    allows = {**refuses, "outcome": "would_allow", "status": None, "reason": None}
    text = "".join([
        line(1, candidate=None), line(2, candidate=refuses), line(3, candidate=refuses, path="/payments/7"), line(4),
        line(5, **PATH_DENIED, candidate=allows, path="/reports/1"), line(6, candidate=["not one"]),
    ])
    told = json.loads(ask(text, "candidate", "--json", "--segments", "1")[0])
    assert (told["requests"], told["different"]) == (5, 3)
    assert [(row["requests"], row["outcome"], row["refused_today"], row["would_be"], row["path"]) for row in told["rows"]] == [
        (2, "would_deny", None, "path_denied", "/payments/..."), (1, "would_allow", "path_denied", None, "/reports/..."),
    ]
    shown, _, code = ask(text, "candidate")
    assert code == 0 and "3 of 5 requests would be decided differently (60.0%)" in shown
    assert "v2 would refuse it: path_denied" in ask(text, "show", "id-1")[0]


def test_refusals_are_counted_by_client_reason_and_path_the_most_frequent_first(ask: Any) -> None:
    text = "".join([
        line(1), line(2, **PATH_DENIED, path="/admin/users"), line(9, **PATH_DENIED, path="/admin/users"),
        line(3, **PATH_DENIED, path="/admin/users", client_id="globex"), line(4, **SHADOWED),
        line(5, **PATH_DENIED | {"reason": "certificate_missing", "status": 401}, client_id=None),
    ])
    out, err, code = ask(text, "refused")
    assert out.splitlines() == [
        "requests  last                  status  client         reason               path",
        "2         2026-11-27T12:09:00Z  403     acme           path_denied          /admin/users",
        "1         2026-11-27T12:05:00Z  401     ? at 10.0.0.9  certificate_missing  /payments/42",
        "1         2026-11-27T12:03:00Z  403     globex         path_denied          /admin/users",
        "", "4 of 6 requests were refused (66.7%)",
    ]
    assert (err, code) == ("", 0)


def test_shadow_says_what_would_be_refused_of_what_was_decided_in_shadow_mode(ask: Any) -> None:
    text = "".join([line(1), line(2, **PATH_DENIED), line(3, enforcement="shadow"), *[line(4, **SHADOWED)] * 3])
    out = ask(text, "shadow")[0].splitlines()
    assert out[1:] == [
        "3         2026-11-27T12:04:00Z  403     acme    path_denied  /payments/42", "",
        "3 of 4 requests in shadow mode would be refused (75.0%)",
    ]
    told = json.loads(ask(text, "shadow", "--json")[0])
    assert (told["requests"], told["refused"]) == (4, 3)
    assert told["rows"] == [{"requests": 3, "last": "2026-11-27T12:04:00.123000Z", "status": 403, "client": "acme", "peer": None,
                             "reason": "path_denied", "path": "/payments/42"}]


def test_a_rollback_is_a_policy_that_is_seen_last_though_it_was_first(ask: Any) -> None:
    text = "".join([line(1), line(2), line(3, policy_id="v2", **PATH_DENIED), line(4, policy_id="v2", **SHADOWED), line(5)])
    assert ask(text, "policies")[0].splitlines() == [
        "policy  first                 last                  requests  allowed  refused  would_be_refused",
        "v1      2026-11-27T12:01:00Z  2026-11-27T12:05:00Z  3         3        0        0",
        "v2      2026-11-27T12:03:00Z  2026-11-27T12:04:00Z  2         0        1        1",
        "", "changes in this log: 2, the last at 2026-11-27T12:05:00Z from v2 to v1",
    ]
    assert json.loads(ask(text, "policies", "--json")[0])["last_change"]["to"] == "v1"


REVOKED = {"decision": "deny", "status": 401, "reason": "certificate_revoked", "rule": "revocation.feeds[0].sha256",
           "client_id": None}


def test_the_certificates_of_a_client_are_told_with_their_addresses_also_when_they_are_revoked(ask: Any) -> None:
    text = "".join([
        line(1, "192.0.2.7", **REVOKED), line(2), line(3), line(4, **PATH_DENIED), line(5, "192.0.2.7"), line(9, **REVOKED),
        line(6, thumbprint="B" * 43), line(7, thumbprint="C" * 43, client_id="globex"), line(8, thumbprint=None),
        line(8, **REVOKED | {"thumbprint": "D" * 43}),
    ])
    a, b = "A" * 43, "B" * 43
    assert ask(text, "caller", "acme")[0].splitlines() == [
        f"thumbprint{' ' * 35}peer       first                 last                  requests  allowed  last_verdict",
        f"{a}  10.0.0.9   2026-11-27T12:02:00Z  2026-11-27T12:09:00Z  4         2        certificate_revoked",
        f"{b}  10.0.0.9   2026-11-27T12:06:00Z  2026-11-27T12:06:00Z  1         1        allowed",
        f"{a}  192.0.2.7  2026-11-27T12:01:00Z  2026-11-27T12:05:00Z  2         1        allowed",
    ]
    assert ask(text, "caller", "nobody") == ("", "error: no record is of client nobody and its certificate\n", 1)
    told = json.loads(ask(text, "caller", "--json", "acme")[0])
    assert [(row["thumbprint"], row["peer"], row["requests"]) for row in told] == [
        (a, "10.0.0.9", 4), (b, "10.0.0.9", 1), (a, "192.0.2.7", 2)]


@pytest.mark.parametrize(("members", "says"), [
    ({}, ["allowed by profiles.partner.allow[0]", "acme", "token bound to the certificate"]),
    (PATH_DENIED, ["refused: 403 path_denied", records.REMEDIES["path_denied"]]),
    ({**PATH_DENIED, "note": "no rule of partner has it", "identity": "cn:acme", "token_thumbprint": "T" * 43},
     ["no rule of partner has it", "cn:acme", "T" * 43]),
    ({**PATH_DENIED, "reason": "of_later"}, ["a reason of a newer version"]),
    (SHADOWED, ["let pass in shadow mode, would be refused: 403 path_denied"]),
    ({**PATH_DENIED, "client_id": None, "path": None, "policy_id": None}, ["not found out", "no path", "without a policy_id"]),
])
def test_one_record_is_told_in_words(ask: Any, members: dict[str, Any], says: list[str]) -> None:
    out = ask(line(request_id="other") + line(**members), "show", "id-1")[0]
    assert out.count("request id") == 1 and [text for text in says if text not in out] == []


def test_a_request_without_a_record_is_an_error_that_repeats_no_control_characters(ask: Any) -> None:
    out, err, code = ask(line(), "show", "\x1b[31m")
    assert (out, err, code) == ("", "error: there is no record of request \\x1b[31m\n", 1)


BROKEN = ["", "no json", "[]", "{}", '{"time": "2026-11-27T12:00:00Z"}', '{"time": 1, "decision": null}',
          '{"time": "today", "decision": null}', line(decision="maybe").strip(), line(client_id=1).strip(),
          line(status="403").strip(), json.dumps({"time": "2026-11-27T12:00:00Z", "decision": "{"}),
          json.dumps({"time": "2026-11-27T12:00:00Z", "decision": {}}), "[" * 100_000,
          "[2026-11-27 12:00:00.000][1][info][main] starting main dispatch loop"]


def test_what_is_no_record_is_counted_and_said(ask: Any) -> None:
    unanswered = json.dumps({"time": "2026-11-27T12:00:00Z", "details": "path_normalization_failed", "decision": None})
    text = "\n".join([*BROKEN, *[unanswered] * 2, line(**PATH_DENIED)])
    out, err, _ = ask(text, "refused")
    assert "1 of 1 requests were refused" in out
    assert err.splitlines() == [
        f"note: lines left out, because they are not as envoy.yaml writes its access log: {len(BROKEN)}",
        "note: requests without a record, because the filter did not decide about them: path_normalization_failed (2)",
    ]


@pytest.mark.parametrize(("since", "count"), [
    ("2026-11-27T12:02Z", 2), ("2026-11-27T12:02:00", 2), ("2026-11-27T13:02+01:00", 2), ("2026-11-27", 3),
])
def test_since_leaves_out_what_was_before(ask: Any, since: str, count: int) -> None:
    text = "".join(line(minute) for minute in (1, 2, 3))
    assert f"0 of {count} requests" in ask(text, "refused", "--since", since)[0]


@pytest.mark.parametrize("arguments", [
    ("refused", "--since", "yesterday"), ("refused", "--rows", "-1"), ("refused", "--segments", "x"), (), ("show",),
])
def test_a_wrong_argument_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as ended:
        records.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(("path", "count", "shortened"), [
    ("/a/b/c/d", 2, "/a/b/..."), ("/a/b", 2, "/a/b"), ("/a/b/", 2, "/a/b/..."), ("/", 2, "/"), ("/a/b/c", 0, "/a/b/c"),
    (None, 2, None), ("/a/b", 1, "/a/..."),
])
def test_paths_are_put_together_by_their_first_segments(path: str | None, count: int, shortened: str | None) -> None:
    assert records.first_segments(path, count) == shortened


def test_a_long_table_says_how_much_is_missing(ask: Any) -> None:
    text = "".join(line(**PATH_DENIED, path=f"/{number}") for number in range(50))
    assert "... and 10 rows more (--rows 0 for all)" in ask(text, "refused")[0]
    assert "more" not in ask(text, "refused", "--rows", "0")[0]
    assert len(json.loads(ask(text, "refused", "--json")[0])["rows"]) == 50


@pytest.mark.parametrize("command", [
    ["refused"], ["refused", "--json"], ["shadow"], ["policies"], ["policies", "--json"], ["show", "id-1"],
    ["show", "id-1", "--json"],
], ids=" ".join)
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_record_speaks_to_the_terminal(ask: Any, command: list[str], hostile: str) -> None:
    everywhere = {name: f"x{hostile}x" for name in records.TEXTS if name not in ("enforcement", "request_id")}
    unanswered = json.dumps({"time": "2026-11-27T12:00:00Z", "details": hostile, "decision": None})
    text = "\n".join(entry.strip() for entry in (
        line(peer=hostile, **{**everywhere, "decision": "deny", "client_id": None}),
        line(**{**everywhere, "decision": "deny", "enforcement": "shadow"}), line(**everywhere), unanswered))
    out, err, _ = ask(text, *command)
    assert out and all(" " <= character <= "~" or character == "\n" for character in out + err)
    assert "fake row" not in [row.strip() for row in out.splitlines()]


def test_an_escape_cannot_be_imitated() -> None:
    assert records.printable("\\x1b \x1b") == "\\\\x1b \\x1b"
    assert len(records.shown("/" + "a" * 9000)) == records.WIDEST_CELL


NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.utc)


def event(kind: str, client: str, thumbprint: str, days: int, **more: str) -> str:
    """A line of Envoy's log about a certificate."""
    end = (NOW + timedelta(days=days, hours=1)).isoformat().replace("+00:00", "Z")
    members = {"event": f"certificate_{kind}", "client_id": client, "identity": f"cn:{client}", "thumbprint": thumbprint, **more,
               "issuer": "CN=Example", "key": "EC P-256", "not_after": end, "days_left": days}
    text = json.dumps(members, separators=(",", ":"))
    return f"[2026-11-27 12:00:00.000][7][info][wasm] [source/context.cc:1] wasm log mtls_authz mtls_authz: mtls_authz: {text}"


def inventory(*lines: str, **gauges: int) -> list[tuple[str, int, str | None]]:
    return [(row["client"], row["days_left"], row["thumbprint"]) for row in records.certificates(lines, gauges, NOW)]


def test_certificates_are_listed_by_their_end_and_what_was_replaced_is_not() -> None:
    seen = [event("seen", "late", "L", 90), event("seen", "soon", "S", 5), event("seen", "rotated", "old", 3)]
    changed = event("changed", "rotated", "new", 300, previous_thumbprint="old")
    assert inventory(*seen, changed) == [("soon", 5, "S"), ("late", 90, "L"), ("rotated", 300, "new")]
    # It is still in use: the log speaks of it after it was replaced.
    assert inventory(*seen, changed, event("expiring", "rotated", "old", 3))[0] == ("rotated", 3, "old")
    assert inventory(event("seen", "ended", "E", -4)) == [("ended", 0, "E")]


def test_lines_of_istio_are_read_too() -> None:
    text = event("seen", "a", "A", 9).partition("wasm log")[2]
    istio = f"2026-11-27T12:00:00.000000Z\tinfo\tenvoy wasm source/context.cc:1\twasm log{text}\tthread=17"
    assert inventory(istio) == [("a", 9, "A")]


def test_a_gauge_that_no_line_explains_is_a_row_of_its_own() -> None:
    assert inventory(event("seen", "a", "A", 90), a=89, b=7) == [("b", 7, None), ("a", 90, "A")]
    assert inventory(event("seen", "a", "A", 90), a=12) == [("a", 12, None), ("a", 90, "A")]


def test_a_caller_cannot_put_certificates_into_the_inventory() -> None:
    forged = event("seen", "mallory", "M", 1).partition("mtls_authz: ")[2]
    for text in (forged, forged.replace('"', '\\"'), "mtls_authz: " + forged):
        denied = json.dumps({**RECORD, **PATH_DENIED, "path": f"/{text}"})
        wasm, http = ("[2026-11-27 12:00:00.000][7][info][" + component for component in ("wasm] wasm log ", "http] :path "))
        assert inventory(f"{wasm} mtls_authz: mtls_authz: {denied} ({text})", f"{http} /{text}", f"/{text}") == []
    assert inventory(event("seen", "cut", "C", 1)[:-9], event("seen", "bad", "B", 1).replace("2026-", "20x6-")) == []


def test_gauges_are_read_from_a_file_with_the_escapes_of_their_labels(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "metrics"
    file.write_text('# TYPE mtls_cert_days_until_expiry gauge\nmtls_cert_days_until_expiry{client="a\\"b\\\\c"} 12\n'
                    'mtls_cert_days_until_expiry{client="d"} 0\nmtls_auth_success_total{} 5\n'
                    'mtls_cert_days_until_expiry{policy="x-1",client="e"} 7\n'
                    'mtls_cert_days_until_expiry{policy="y",client="e"} 5\nmtls_cert_days_until_expiry{client="e"} 6\n')
    assert records.read_gauges(str(file)) == {'a"b\\c': 12, "d": 0, "e": 5}


def script(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-B", SCRIPT, *arguments], input=stdin, capture_output=True, timeout=60, check=False)


def test_files_are_read_in_their_order_and_standard_input_without_any(tmp_path: pathlib.Path) -> None:
    files = [tmp_path / "1", tmp_path / "2"]
    files[0].write_text(line(1))
    files[1].write_text(line(2, policy_id="v2"))
    assert b"from v1 to v2" in script("policies", *map(str, files)).stdout
    assert b"from v2 to v1" in script("policies", *map(str, reversed(files))).stdout
    assert b"1 of 1 requests were refused" in script("refused", stdin=line(**PATH_DENIED).encode() + b"\xff\xfe\n").stdout


def test_a_file_that_is_not_there_is_an_error_and_a_reader_that_has_seen_enough_is_none(tmp_path: pathlib.Path) -> None:
    done = script("refused", str(tmp_path / "none"))
    assert done.returncode == 1 and done.stdout == b"" and b"none cannot be read: No such file" in done.stderr
    file = tmp_path / "log"
    file.write_text("".join(line(**PATH_DENIED, path=f"/{number}") for number in range(5000)))
    with subprocess.Popen([sys.executable, "-B", SCRIPT, "refused", "--rows", "0", file], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as running:
        assert running.stdout and running.stderr
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""


def test_the_records_that_it_reads_have_the_members_of_the_schema() -> None:
    schema = json.loads((SCRIPT.parents[1] / "docs" / "decision-record.schema.json").read_text())
    assert {*records.TEXTS, *records.NEWER_TEXTS, "decision", "status", "candidate"} == set(schema["properties"])
    # What it reads besides are records of older versions.
    assert set(RECORD) == set(schema["properties"]) - set(records.NEWER_TEXTS)
