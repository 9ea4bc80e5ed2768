#!/usr/bin/env python3
"""The demonstration: a real Envoy from envoy.yaml, real requests with curl, and a table of what came back.

    make demo   prints the table; fails if an answer is not the expected one
    make run    the same, and leaves Envoy up for experiments until Ctrl-C

Everything is made in envoy/demo/out: certificates, tokens, logs. Needs python3, curl and openssl.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cases import KEPT_OPEN, Answer, Case, cases
from stack import DEADLINE_SECONDS, HERE, OUT, DemoFailed, Ports, Stack, end_on_signals, https, put_on_list

# Whatever could tell the upstream who is calling, and the token that could be replayed.
IDENTITY_HEADERS = re.compile(r"x-client-.*|x-profile-id|.*client-cert.*|authorization")
VERSIONS = {"1.1": "h1", "2": "h2"}


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    version: str
    headers: dict[str, str]
    body: str
    error: str

    def json(self) -> dict[str, object]:
        """The body, if it is a JSON object."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def compare(self, expected: Answer) -> tuple[bool, str]:
        """Is it what was expected? And what it is, in the same words."""
        if expected.status == 0:
            fits = self.status == 0 and f"alert {expected.reason}" in self.error
            return fits, str(expected) if fits else self._text()
        if self.status != expected.status or self.json().get("code", "") != expected.reason:
            return False, self._text()
        for name, pattern in expected.headers.items():
            if not re.fullmatch(pattern, self.headers.get(name, "")):
                return False, f"{self._text()}, {name}: {self.headers.get(name, 'absent')}"
        if expected.version and self.version != expected.version:
            return False, f"{self._text()} ({self.version})"
        if not expected.reason and self.identity() != expected.identity():
            return False, f"{self.status} somebody else"
        return True, str(expected)

    def identity(self) -> dict[str, object]:
        """What the upstream was told of the caller."""
        headers = self.json().get("headers")
        seen = headers if isinstance(headers, dict) else {}
        return {name: value for name, value in seen.items() if IDENTITY_HEADERS.fullmatch(name)}

    def _text(self) -> str:
        return self.error or f"{self.status} {self.json().get('code', '')}".rstrip()


@dataclass(frozen=True)
class Row:
    """A request of the table and what came of it."""

    what: str
    expected: str
    text: str
    """What came back, in words."""
    fits: bool
    reply: Reply
    command: str
    """What the reader types to repeat it."""


BYPASS = '"bypass": [{"path": "/health", "methods": ["GET"]}]'
MISLEADING_BYPASS = '"bypass": [{"path": "/payments/*", "methods": ["GET"]}]'
"""Does it win over the `deny` of the policy, or lose?"""


def curl(arguments: Sequence[str]) -> Reply:
    """Sends one request, from the folder with the certificates and tokens, as the reader will."""
    body, head = OUT / "reply-body", OUT / "reply-head"
    for file in (body, head):
        file.unlink(missing_ok=True)
    command = ["curl", "-q", "--silent", "--show-error", "--max-time", "10", "--output", body, "--dump-header", head,
               "--write-out", "%{http_code} %{http_version}", *arguments]
    environment = {**os.environ, "NO_PROXY": "*", "no_proxy": "*"}
    done = subprocess.run(command, cwd=OUT, env=environment, capture_output=True, text=True, check=False)
    status, _, version = done.stdout.partition(" ")
    headers = {}
    for line in _read(head).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return Reply(int(status or 0), VERSIONS.get(version, version), headers, _read(body), done.stderr.strip())


def run(case: Case) -> Row:
    """Sends a case. The last reply counts; those before it must be 200."""
    replies = [curl(case.curl) for _ in range(case.times)]
    fits, text = replies[-1].compare(case.expected)
    before = [str(reply.status) for reply in replies[:-1]]
    expected = " ".join(["200"] * (case.times - 1) + [str(case.expected)])
    fits = fits and all(status == "200" for status in before)
    return Row(case.what, expected, " ".join([*before, text]), fits, replies[-1], command_line(case))


def run_kept_open(ports: Ports) -> Iterator[Row]:
    """Requests on one connection, while the list of revoked certificates changes."""
    with contextlib.closing(https(ports.mtls, KEPT_OPEN.client)) as client:
        for what, command, is_revoked, expected in KEPT_OPEN.cases(ports):
            put_on_list([KEPT_OPEN.client] if is_revoked else [])
            deadline = time.monotonic() + DEADLINE_SECONDS
            reply = _ask(client)
            # The list is fetched every five seconds.
            while not reply.compare(expected)[0] and time.monotonic() < deadline:
                time.sleep(0.5)
                reply = _ask(client)
            fits, text = reply.compare(expected)
            yield Row(what, str(expected), text, fits, reply, command)


def command_line(case: Case) -> str:
    """What the reader types."""
    line = shlex.join(["curl", "-i", *case.curl])
    return f"for i in {' '.join(str(i + 1) for i in range(case.times))}; do {line}; done" if case.times > 1 else line


def show(stack: Stack) -> bool:
    """Sends everything and prints the table. Was everything as expected?"""
    rows = [*map(run, cases(stack.ports)), *run_kept_open(stack.ports)]
    lines = [("", "request", "expected", "came back", "")]
    for number, row in enumerate(rows, 1):
        lines.append((str(number), row.what, row.expected, row.text, "ok" if row.fits else "DIFFERENT"))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    config = f"{_relative(HERE.parent)}/envoy.yaml"
    print(f"\nA real Envoy, configured by {config}, is asked with curl at https://localhost:{stack.ports.mtls}.\n")
    for line in lines:
        print("  ".join([line[0].rjust(widths[0]), *(line[i].ljust(widths[i]) for i in (1, 2, 3)), line[4]]).rstrip())
    for number, row in enumerate(rows, 1):
        if not row.fits:
            print(f"\nRequest {number} differs:\n\n    {row.command}\n    {row.reply.error or row.reply.body}")
    print("\n200 nobody: the upstream was told of no caller. 200 acme-mobile/partner: it was told just this, and nothing that the"
          "\ncaller had made up (request 3):\n")
    for name, value in rows[2].reply.identity().items():
        print(f"    {name}: {value}")
    print("\nA refusal in full (request 8):\n")
    refusal = rows[7].reply
    print(f"    www-authenticate: {refusal.headers.get('www-authenticate')}")
    print(f"    {refusal.body}")
    print("\nIts decision record in the access log, for the operator:\n")
    print(f"    {_record_of(stack, refusal)}")
    print("\nWhat could mean two things is refused before it counts. The same policy, in which a bypass also covers a denied path:\n")
    print(f"    {MISLEADING_BYPASS}\n    {stack.refuses(BYPASS, MISLEADING_BYPASS)}")
    print("\nThe counters, as Prometheus reads them:\n")
    for line in stack.metrics():
        print(f"    {line}")
    print(f"\nThe requests, to repeat them in {_relative(OUT)} while `make run` is up"
          f" (the last three: one connection, and the list\nwhile that is open):\n")
    for number, row in enumerate(rows, 1):
        print(f"{number:3}  {row.command}")
    wrong = sum(not row.fits for row in rows)
    print(f"\n{len(rows) - wrong} of {len(rows)} requests were answered as expected.")
    return wrong == 0


def stay(stack: Stack) -> None:
    """Leaves everything up until Ctrl-C."""
    ports, out, envoy = stack.ports, _relative(OUT), _relative(HERE.parent)
    print(f"""
Envoy is up: https://localhost:{ports.mtls}, metrics http://localhost:{ports.metrics}/stats/prometheus.
    cd {out}                    for the requests above
    tail -f {out}/access.log    every decision; Envoy's own log is envoy.log beside it
    export CERTS=$PWD/{out}/certs
    {envoy}/certs.sh issue newcomer --spiffe spiffe://prod.example/ns/new/sa/comer
    {envoy}/mint.py token acme-mobile --cert $CERTS/acme-mobile.pem --scope payments:write
    {out}/certs/revoked/revoked.json    who is refused in spite of a good certificate: docs/runbook-revocation.md
The policy is in {envoy}/envoy.yaml; after a change start again. Ctrl-C ends everything.""", flush=True)
    stack.wait()
    raise DemoFailed(f"Envoy has ended; see {OUT / 'envoy.log'}")


def _ask(client: http.client.HTTPSConnection) -> Reply:
    client.request("GET", KEPT_OPEN.path)
    answer = client.getresponse()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, "h1", headers, answer.read().decode(errors="replace"), "")


def _record_of(stack: Stack, reply: Reply) -> str:
    wanted = reply.json().get("request_id")
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for record in stack.records():
            if record.get("request_id") == wanted:
                return json.dumps(record, separators=(",", ":"))
        time.sleep(0.05)
    raise DemoFailed(f"the access log has no decision record of request {wanted}")


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def _relative(path: Path) -> str:
    return os.path.relpath(path)


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stay", action="store_true", help="leave Envoy up until Ctrl-C")
    chosen = parser.parse_args()
    end_on_signals()
    try:
        with Stack() as stack:
            fine = show(stack)
            if chosen.stay:
                stay(stack)
            return 0 if fine else 1
    except DemoFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0 if chosen.stay else 130


if __name__ == "__main__":
    sys.exit(main())
