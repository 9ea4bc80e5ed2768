"""envoy/records.py on the filter's own lines in Envoy's log, and on what holds no record at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from test_records import PATH_DENIED, RECORD, SHADOWED, ask, line, records

__all__ = ["ask"]

NAMES = ("edge: mtls_authz: ", "mtls_authz edge: ", "mtls_authz mtls_authz mtls_authz-main: ", "mtls_authz: mtls_authz: ", ": mtls_authz: ")
REMEDY = records.REMEDIES["path_denied"]


def own(names: str = "mtls_authz edge: ", request_id: str = "id-1", istio: bool = False, **members: Any) -> str:
    """A line that the filter writes about a refusal."""
    record = {**RECORD, **PATH_DENIED, "note": "no rule has {it}", "request_id": request_id, **members}
    text = f"wasm log{'' if names[0] == ':' else ' '}{names}{json.dumps(record)} Remedy: {REMEDY}"
    if istio:
        return f"2026-11-27T12:00:00.123456Z\twarning\tenvoy wasm external/envoy/source/context.cc:1198\t{text}\tthread=17\n"
    return f"[2026-11-27 12:00:00.123][17][warning][wasm] [external/envoy/source/context.cc:1198] {text}\n"


@pytest.mark.parametrize("istio", [False, True], ids=["Envoy", "Istio"])
@pytest.mark.parametrize("names", NAMES)
def test_a_refusal_is_shown_from_the_log_of_envoy_whatever_names_are_in_front(ask: Any, names: str, istio: bool) -> None:
    out, err, code = ask(own(names, "other") + own(names, istio=istio), "show", "id-1")
    assert (err, code) == ("", 0)
    for text in ("refused: 403 path_denied", "no rule has {it}", REMEDY, "2026-11-27T12:00:00Z"):
        assert text in out, out


def test_own_lines_are_counted_where_there_is_no_access_log_and_not_beside_one(ask: Any) -> None:
    assert "2 of 2 requests were refused" in ask(own() + own(), "refused")[0]
    assert "1 of 2 requests were refused" in ask(own() + line(**PATH_DENIED) + line(), "refused")[0]
    # The record of a request can be missing in an access log that is written later.
    assert "no rule has {it}" in ask(own(request_id="early") + line(), "show", "early")[0]


@pytest.mark.parametrize("text", [
    f'[2026-11-27 12:00:00.123][17][debug][http] [source/http.cc:1] :path {json.dumps(RECORD)}',
    f'[2026-11-27 12:00:00.123][17][warning][wasm] [a.cc:1] wasm log mtls_authz edge: kid x: {json.dumps(RECORD)}',
    f'[2026-11-27 12:00:00.123][17][warning][wasm] [a.cc:1] wasm log other: {json.dumps(RECORD)}',
    f'x [2026-11-27 12:00:00.123][17][warning][wasm] [a.cc:1] wasm log mtls_authz: {json.dumps(RECORD)}',
    own()[:-200], own().replace("2026-11-27 12", "today"), own(status="403"),
], ids=["another component", "a text of somebody else", "another plugin", "not at the beginning", "cut", "no time", "no record"])
def test_what_the_filter_did_not_write_about_a_decision_is_no_record(ask: Any, text: str) -> None:
    out, err, code = ask(text, "refused")
    assert (out, code) == ("", 1) and "no decision record in 1 lines" in err


COMMANDS = [["refused"], ["shadow"], ["candidate"], ["policies"], ["show", "id-1"], ["caller", "acme"], ["certificates"]]


@pytest.mark.parametrize("text", ["", "[]\n", "[2026-11-27 12:00:00.000][1][info][main] starting\n",
                                  '{"time": "2026-11-27T12:00:00Z", "details": "x", "decision": null}\n'],
                         ids=["nothing", "other lines", "Envoy's log", "requests without a record"])
@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "JSON"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_without_any_record_it_says_so_and_fails(ask: Any, command: list[str], json_too: list[str], text: str) -> None:
    out, err, code = ask(text, *command, *json_too)
    assert (out, code) == ("", 1) and err.startswith("error: ")


def test_a_question_about_records_that_are_not_there_is_not_answered_with_nothing(ask: Any) -> None:
    for text, command, says in [
        (line(), ["refused", "--since", "1s"], "no record is as new as --since asks for, and 1 are older"),
        (line() * 3, ["shadow"], "none of 3 requests was decided in shadow mode"),
        (line(), ["caller", "globex"], "no record is of client globex"),
        (line(), ["certificates"], "speak of a certificate"),
    ]:
        out, err, code = ask(text, *command)
        assert (out, code) == ("", 1) and says in err, err
    # No refusal among records is an answer.
    for text, command in [(line(), ["refused"]), (line(**SHADOWED | {"decision": "allow"}), ["shadow"]), (line(), ["candidate"])]:
        assert ask(text, *command)[2] == 0
