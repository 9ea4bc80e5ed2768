"""docs/runbook-revocation.md: its commands, as they stand in the page, on the shipped configuration."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import artifacts, shipped, verdicts
from harness.artifacts import REPOSITORY
from harness.envoy import EnvoyFailed
from harness.http1 import Http1
from harness.http2 import Http2
from harness.shipped import Folder, Shipped
from harness.tls import ClientTls
from harness.upstream import Upstream

PAGE = REPOSITORY / "docs" / "runbook-revocation.md"
THUMBPRINT = re.compile(r"(?<![\w-])[\w-]{43}(?![\w-])")
VARIES = [(re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "time"), (re.compile(r"\b\d+\b"), "number"), (re.compile(r"\s+"), " ")]
"""What is another time, or another number of requests."""


@dataclass(frozen=True)
class Step:
    """A command of the page, and what it prints there."""

    command: str
    printed: str


def steps() -> list[Step]:
    """The commands of "The five commands", the client's in front."""
    section = PAGE.read_text().partition("\n## The five commands\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?m)^    \$ .*\n(?:    .*\n?)*", section)
    return [step(textwrap.dedent(block).removeprefix("$ ").splitlines()) for block in blocks]


def step(lines: list[str]) -> Step:
    """A command goes on in the next line after a `|` or a backslash."""
    end = next(number for number, line in enumerate(lines) if not line.endswith(("|", "\\")))
    return Step("\n".join(lines[:end + 1]), "\n".join(lines[end + 1:]))


def masked(text: str) -> str:
    """A text without what differs from run to run."""
    for pattern, name in VARIES:
        text = pattern.sub(name, text)
    return text.strip()


def statuses(text: str) -> list[str]:
    """What the client was answered, each once where it came several times in a row."""
    return [status for status, _ in itertools.groupby(re.findall(r"HTTP/1\.1 (\d+)", text))]


class Terminal:
    """Where the page's commands are typed: the folder of `make run`, as the shipped Envoy of this test has it."""

    def __init__(self, folder: Folder, envoy: Shipped) -> None:
        self._envoy, self._folder = envoy, folder.directory
        self._thumbprint = folder.credential("initech-erp").thumbprint
        (self._folder / "access.log").symlink_to(envoy.output_file)
        self.environment = {**os.environ, "PATH": f"{os.environ['PATH']}:{REPOSITORY / 'envoy'}"}

    def start(self, command: str, output: Path) -> subprocess.Popen[bytes]:
        """Leaves a command running, in a session of its own, because it is several programs."""
        with output.open("wb") as stream:
            return subprocess.Popen(["bash", "-c", self._here(command)], cwd=self._folder, env=self.environment, stdout=stream,
                                    stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, command: str) -> str:
        """What it prints on its standard output, with the page's thumbprint in the place of the certificate's."""
        done = subprocess.run(["bash", "-c", self._here(command)], cwd=self._folder, env=self.environment, capture_output=True,
                              text=True, timeout=60, check=False)
        return done.stdout.replace(self._thumbprint, page_thumbprint()) + (done.stderr if done.returncode else "")

    def _here(self, command: str) -> str:
        for written, here in (("localhost:8443", f"localhost:{self._envoy.port('mtls')}"),
                              ("localhost:9902", f"localhost:{self._envoy.port('metrics')}"),
                              (page_thumbprint(), self._thumbprint)):
            command = command.replace(written, here)
        return command


def page_thumbprint() -> str:
    """That of the certificate that the page is about."""
    [thumbprint] = set(THUMBPRINT.findall(PAGE.read_text()))
    return thumbprint


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


LEDGER = [(":method", "GET"), (":scheme", "https"), (":path", "/ledger/1"), (":authority", "localhost")]

EVERY_SECOND = {'"refresh_seconds": 5': '"refresh_seconds": 1'}
Start = Callable[..., Shipped]


@pytest.fixture
def start(folder: Folder, upstream: Upstream) -> Iterator[Start]:
    """Starts `envoy.yaml`, with these texts instead of those in it."""
    with contextlib.ExitStack() as running:
        def start(instead: Mapping[str, str] = EVERY_SECOND) -> Shipped:
            text, config = (shipped.ENVOY / "envoy.yaml").read_text(), folder.directory / "envoy.yaml"
            for old, new in instead.items():
                assert old in text, old
                text = text.replace(old, new)
            config.write_text(folder.localize(text, artifacts.module(), upstream.port, shipped.free_port()))
            return running.enter_context(Shipped(artifacts.envoy(), config))

        yield start


def revoke(folder: Folder, *thumbprints: str) -> None:
    """Puts these and no others on the list."""
    new = folder.certs.directory / "revoked" / "new"
    new.write_text(json.dumps({"sha256": thumbprints}))
    new.replace(new.with_name("revoked.json"))


def test_the_commands_of_the_runbook_do_what_it_says(folder: Folder, start: Start) -> None:
    envoy = start(instead={})
    client, *commands = steps()
    assert len(commands) == 5
    terminal, said = Terminal(folder, envoy), folder.directory / "client"
    asking = terminal.start(client.command, said)
    try:
        for step in commands:
            printed = terminal.run(step.command)
            deadline = time.monotonic() + 60
            # What changes the list is done once; what looks is done until it shows what the page shows.
            while masked(printed) != masked(step.printed) and " mv " not in step.command and time.monotonic() < deadline:
                time.sleep(0.5)
                printed = terminal.run(step.command)
            assert masked(printed) == masked(step.printed), step.command
        envoy.wait("the end of the refusals", lambda: statuses(said.read_text()) == statuses(client.printed))
    finally:
        os.killpg(asking.pid, signal.SIGKILL)
        asking.wait()
    assert '"code":"certificate_revoked"' in said.read_text()


def test_a_stream_that_runs_goes_on_and_the_next_one_is_refused(folder: Folder, start: Start) -> None:
    envoy, erp = start(), folder.credential("initech-erp")
    with Http2(envoy.port("mtls"), ClientTls(erp)) as client:
        running = client.open(LEDGER, end=False)
        verdicts.passed(client.request("GET", "/ledger/2"))
        revoke(folder, erp.thumbprint)
        envoy.wait("a refusal", lambda: verdicts.reason_of(client.request("GET", "/ledger/2")) == "certificate_revoked")
        client.data(running, b"the end", end=True)
        verdicts.passed(client.response(running))


HANGING = b"GET /ledger/1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n"


def test_a_stream_outlives_the_age_of_its_connection(folder: Folder, start: Start) -> None:
    envoy = start({"idle_timeout: 300s\n": "max_connection_duration: 1s\n", "codec_type: AUTO\n": "drain_timeout: 1s\n"})
    with Http1(envoy.port("mtls"), ClientTls(folder.credential("initech-erp"))) as client:
        client.send(HANGING)
        envoy.wait("its age", lambda: envoy.admin.stat("http.mtls.downstream_cx_max_duration_reached") == 1)
        # Longer than drain_timeout.
        time.sleep(2)
        client.send(b"the end")
        answer = client.response()
    assert verdicts.reason_of(answer) == "allowed" and answer.header("connection") == "close"


def test_a_limit_of_its_duration_ends_a_stream(folder: Folder, start: Start) -> None:
    envoy = start({"idle_timeout: 300s\n": "max_stream_duration: 1s\n"})
    with Http1(envoy.port("mtls"), ClientTls(folder.credential("initech-erp"))) as client:
        client.send(HANGING)
        assert client.response().status == 408


def test_an_authoritys_own_list_is_a_feed(folder: Folder, start: Start) -> None:
    issuer = folder.certs.file("intermediate").read_text()
    envoy = start(EVERY_SECOND | {
        '"type": "json",': f'"type": "crl", "issuer_certificate": {json.dumps(issuer)},',
        "/etc/envoy/certs/revoked/revoked.json\n": "/etc/envoy/certs/crl.pem\n", "certs/revoked }": "certs }",
    })
    with Http1(envoy.port("mtls"), ClientTls(folder.credential("initech-erp"))) as client:
        def verdict() -> str:
            return verdicts.reason_of(client.request("GET", "/ledger/1"))

        assert verdict() == "allowed"
        folder.certs.run("revoke", "initech-erp")
        envoy.wait("the revocation", lambda: verdict() == "certificate_revoked")
        folder.certs.run("revoke", "--undo", "initech-erp")
        envoy.wait("the end of it", lambda: verdict() == "allowed")


def test_a_list_that_cannot_be_read_leaves_the_last_good_one_in_force_and_is_logged(folder: Folder, start: Start) -> None:
    envoy, erp = start(), folder.credential("initech-erp")
    with Http1(envoy.port("mtls"), ClientTls(erp)) as client:
        revoke(folder, erp.thumbprint)
        envoy.wait("a refusal", lambda: verdicts.reason_of(client.request("GET", "/ledger/1")) == "certificate_revoked")
        revoke(folder, "nonsense")
        [line] = re.findall(r"(?m)^    (revocation\.feeds\[0\]: .*)$", PAGE.read_text())
        envoy.wait("the page's line", lambda: line in envoy.output())
        verdicts.refused(client.request("GET", "/ledger/1"), "certificate_revoked")


def served(envoy: Shipped) -> str:
    """The list as Envoy serves it to itself."""
    with Http1(envoy.port("revoked"), None) as client:
        return client.request("GET", "/revoked.json").body.decode()


def test_a_list_that_is_written_in_place_is_seen_when_something_is_moved(folder: Folder, start: Start) -> None:
    envoy, written = start(), folder.certs.directory / "revoked" / "revoked.json"
    before, entry = served(envoy), json.dumps({"sha256": [folder.credential("acme-mobile").thumbprint]})
    written.write_text(entry)

    def unchanged() -> int:
        return envoy.admin.stat("wasmcustom.mtls_fetch_total.source.feed_0.outcome.unchanged")

    fetched = unchanged()
    envoy.wait("two more fetches", lambda: unchanged() >= fetched + 2)
    assert served(envoy) == before
    (folder.directory / "anything").touch()
    (folder.directory / "anything").replace(written.with_name("anything"))
    envoy.wait("the list", lambda: served(envoy) == entry)


def test_a_list_that_is_too_long_is_not_served(folder: Folder, start: Start) -> None:
    envoy = start({"bytes: 8388608": "bytes: 100"})
    before = served(envoy)
    revoke(folder, *["A" * 43] * 3)
    envoy.wait("the error", lambda: "Failed to read file" in envoy.output())
    assert served(envoy) == before


def test_envoy_does_not_start_without_the_list(folder: Folder, start: Start) -> None:
    (folder.certs.directory / "revoked" / "revoked.json").unlink()
    with pytest.raises(EnvoyFailed, match=r"revoked\.json"):
        start()
