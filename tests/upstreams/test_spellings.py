"""No spelling that a real server takes for a denied resource gets past the filter in front of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import pytest

from harness import artifacts
from harness.envoy import Envoy, http1_cluster, http2_cluster
from harness.filters import Config
from harness.http1 import Http1
from harness.listener import CLOSE_AT_ONCE, Listener
from harness.pki import Authority
from harness.response import ConnectionEnded, Response
from harness.tls import ClientTls
from servers import RESOURCES, SERVERS, Server, acted

pytestmark = pytest.mark.timeout(300)
DENIED = RESOURCES[:3]
PATHS: dict[str, Config] = {"strict": {}, "lenient": {"encoded_slashes": "keep", "semicolons": "keep"}}
RANDOM_SPELLINGS = 40
AT_LEAST = 25
"""How many spellings of each resource every server must take for it, or the test shows nothing."""


def policy(path: Config) -> Config:
    return {
        "mode": "mtls",
        "clients": {"acme": {"identities": ["cn:acme"], "profiles": ["all"]}},
        "profiles": {"all": {"allow": [{"paths": ["/**"]}], "deny": [quote(name, safe="/:") for name in DENIED]}},
        "path": path,
    }


class Front:
    """The filter in front of every server, once for each of the settings in `PATHS`."""

    def __init__(self, envoy: Envoy, tls: ClientTls, ports: dict[str, int]) -> None:
        self.envoy, self.tls, self.ports = envoy, tls, ports


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    root = Authority.create(tmp_path_factory.mktemp("pki"))
    with ExitStack() as running:
        ports = {kind.name: running.enter_context(kind.running(tmp_path_factory.mktemp(kind.name))) for kind in SERVERS}
        listeners = [
            Listener(f"{kind.name}_{name}", policy(path | kind.settings), cluster=kind.name, normalize=False, manager=CLOSE_AT_ONCE)
            for kind in SERVERS for name, path in PATHS.items()
        ]
        # No request is gRPC; the listeners have a route for it.
        clusters = [http1_cluster(port, name) for name, port in ports.items()] + [http2_cluster(1)]
        envoy = Envoy(artifacts.envoy(), tmp_path_factory.mktemp("envoy"), listeners, authority=root, server=root.issue_server(),
                      clusters=clusters)
        running.enter_context(envoy)
        yield Front(envoy, ClientTls(root.issue([("CN", "acme")])), ports)


class Asker:
    """Sends requests over one connection, and over the next when that has ended."""

    def __init__(self, port: int, tls: ClientTls | None) -> None:
        self.port, self.tls = port, tls
        self.client: Http1 | None = None

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.client:
            self.client.socket.close()

    def ask(self, path: str) -> Response | None:
        """The answer; none where the connection ends without one."""
        for fresh in (self.client is None, True):
            if fresh:
                self.__exit__()
                self.client = Http1(self.port, self.tls)
            assert self.client
            try:
                response = self.client.request("GET", path)
            except (ConnectionEnded, OSError):
                self.__exit__()
                self.client = None
                if fresh:
                    return None
                continue
            # Without a length the body has ended with the connection.
            if response.header("content-length") is None or response.header("connection") == "close":
                self.__exit__()
                self.client = None
            return response
        return None


def spellings(resource: str) -> list[str]:
    """A few hundred ways to write a path, by which this resource might be reached."""
    plain = quote(resource, safe="/:")
    seed = random.Random(resource)
    found = [plain]
    for place, character in enumerate(resource):
        if character != "/":
            escapes = (f"%{ord(character):02X}", f"%{ord(character):02x}", f"%25{ord(character):02X}")
            found += [quote(resource[:place]) + escape + quote(resource[place + 1:], safe="/:") for escape in escapes]
    segments = plain[1:].split("/")
    for place, segment in itertools.product(range(len(segments)), ("%s;x=1", "%s;", "%s%%3Bx", "%s;x%%2Fy", ";x/%s", "./%s", "z/../%s",
                                                                   "%%2e/%s", "z/%%2E%%2e/%s", "/%s", "%%2F%s", "%s/", "%s%%2F",
                                                                   "%s%%20", "%s.", "%s%%00", "%s%%3F", "%s?x", "%s%%5C")):
        found.append("/" + "/".join([*segments[:place], segment.replace("%s", segments[place]).replace("%%", "%"), *segments[place + 1:]]))
    found += [plain + end for end in ("/", "/.", "/./", "//", "%2F", "%2f", ";", ";x/", "?", "?x=y", "/z/..", "/%2e", "%2F.")]
    for separator in ("%2F", "%2f", "%5C", "\\", "//", "/./", "/%2F", "/;/", "/;x=1/"):
        found += [separator.join(["", *segments]), "/" + separator.join(segments)]
    found += [plain.upper(), plain.title(), plain.replace("%20", "+"), plain.replace(":", "%EF%BC%9A")]
    for _ in range(RANDOM_SPELLINGS):
        found.append("".join(character if character == "/" else _spelt(character, seed) for character in resource))
        found.append("".join(_spelt(character, seed) for character in resource) + seed.choice(("", "", "/", "?a=b")))
    return list(dict.fromkeys(found))


def _spelt(character: str, seed: random.Random) -> str:
    if character == "/":
        return seed.choice(("/", "/", "/", "/./", "/y/../", "%2F", "%2f", "/;x/"))
    chosen = character.swapcase() if seed.random() < 0.1 else character
    escape = seed.choice(("%{:02X}", "%{:02x}")).format(ord(chosen))
    return escape if chosen == " " or seed.random() < 0.4 else chosen


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("kind", SERVERS, ids=lambda kind: kind.name)
def test_a_real_server_serves_no_denied_resource_under_any_spelling(front: Front, kind: Server, name: str) -> None:
    passed: list[tuple[str, str]] = []
    counts: list[int] = []
    with Asker(front.ports[kind.name], None) as direct, Asker(front.envoy.port(f"{kind.name}_{name}"), front.tls) as filtered:
        allowed = filtered.ask("/open")
        assert allowed and (allowed.status, acted(allowed.body)) == (200, "/open"), "what is not denied is served"
        for resource in DENIED:
            counts.append(0)
            for path in spellings(resource):
                answer = filtered.ask(path)
                if answer is not None and acted(answer.body) == resource:
                    passed.append((path, "served"))
                alone = direct.ask(path)
                if alone is not None and acted(alone.body) == resource:
                    counts[-1] += 1
                    if answer is None or answer.status not in (400, 403):
                        passed.append((path, f"not refused: {answer and answer.status}"))
    assert passed == []
    assert min(counts) >= AT_LEAST, counts


def test_servers_differ_in_what_they_take_for_the_same(front: Front) -> None:
    """So the suite asks what is worth asking: escapes, escaped separators, parameters, letter case."""
    served = {}
    for path in ("/v1/orders%3Apurge", "/secret%2Fx", "/secret;a/x;b", "/SECRET/x"):
        served[path] = []
        for kind in SERVERS:
            with Asker(front.ports[kind.name], None) as direct:
                answer = direct.ask(path)
                if answer is not None and acted(answer.body):
                    served[path].append(kind.name)
    assert served["/v1/orders%3Apurge"] == [kind.name for kind in SERVERS]
    assert {"python", "nginx", "node", "jetty"} <= set(served["/secret%2Fx"])
    assert served["/secret;a/x;b"] == ["jetty"]
    assert served["/SECRET/x"] == ["node_ignoring_case"]
