"""A Proxy-Wasm host in Python: the calls that the filter makes, each written down, and any of them can be made to fail.

Envoy shows what a filter does. This shows how it does it: which calls, in which order, for how much work
(`Vm.fuel`), and what becomes of a request when the host misbehaves as Envoy hardly ever does.
"""

from __future__ import annotations

import functools
import itertools
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import wasmtime
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from harness import protobuf, record

Header = tuple[bytes, bytes]

OK = 0
NOT_FOUND = 1
BAD_ARGUMENT = 2
CAS_MISMATCH = 8
STATUSES = (*range(13), 99)
"""Every status of the ABI, and one that it does not have."""

CONTINUE = 0
PAUSE = 1

SECOND = 1_000_000_000

_PLUGIN = 1
_FUEL = 1 << 62
_REQUEST_HEADERS, _REQUEST_TRAILERS, _CALL_HEADERS = 0, 1, 6
_CALL_BODY, _PLUGIN_CONFIGURATION = 4, 7
_LEVELS = ("trace", "debug", "info", "warn", "error", "critical")
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


class Compiled(NamedTuple):
    """A module and the engine that has compiled it."""

    engine: wasmtime.Engine
    module: wasmtime.Module


@functools.cache
def compiled(path: Path) -> Compiled:
    """The module, compiled once a run, so that every test can have a machine of its own."""
    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    return Compiled(engine, wasmtime.Module.from_file(engine, str(path)))


def encode(headers: Iterable[Header]) -> bytes:
    """The ABI's form of a map, written a second time here, so that the filter's own is not tested with itself."""
    headers = list(headers)
    sizes = b"".join(struct.pack("<II", len(name), len(value)) for name, value in headers)
    return struct.pack("<I", len(headers)) + sizes + b"".join(name + b"\0" + value + b"\0" for name, value in headers)


def decode(data: bytes) -> list[Header]:
    """A map out of that form."""
    (count,) = struct.unpack_from("<I", data)
    sizes = [struct.unpack_from("<II", data, 4 + 8 * index) for index in range(count)]
    position = 4 + 8 * count
    headers = []
    for pair in sizes:
        texts = []
        for size in pair:
            texts.append(data[position:position + size])
            assert data[position + size] == 0, "a text of the map is not ended by a NUL"
            position += size + 1
        headers.append((texts[0], texts[1]))
    assert position == len(data), "bytes follow the map"
    return headers


@dataclass(frozen=True)
class LocalResponse:
    """An answer of the filter itself."""

    status: int
    details: str
    headers: dict[str, str]
    body: bytes
    grpc_status: int


@dataclass
class Stream:
    """A request, and what has become of it."""

    context: int
    headers: list[Header]
    properties: dict[str, bytes]
    trailers: list[Header] = field(default_factory=list)
    filter_state: dict[str, bytes] = field(default_factory=dict)
    connection_state: dict[str, bytes] = field(default_factory=dict)
    """What the filter has noted on the connection, which all of its requests share."""
    response: LocalResponse | None = None
    passed: bool = False
    """It went on to the next filter."""

    @property
    def has_verdict(self) -> bool:
        """Would the guard behind this filter let it through?"""
        return self.filter_state.get("mtls_authz.verdict") == b"allow"

    @property
    def record(self) -> dict[str, Any]:
        """The decision record, which is as its schema says."""
        return record.parse(self.filter_state["mtls_authz.decision"])

    def values(self, name: str) -> list[bytes]:
        """All values of a header."""
        return [value for other, value in self.headers if other == name.encode()]


@dataclass(frozen=True)
class HttpCall:
    """A request that the filter has sent through a cluster."""

    token: int
    cluster: str
    headers: list[Header]
    timeout_ms: int


Sabotage = Callable[[str], "int | None"]
"""Given a call as it is written down: the status with which it is to fail, or `None`."""


class Vm:
    """One worker: an instance of the module and everything that the host keeps for it."""

    def __init__(self, code: Compiled, configuration: bytes) -> None:
        self.configuration = configuration
        self.now = time.time_ns()
        """The clock, which only tests move."""
        self.monotonic = 1_000 * SECOND
        """The clock that nobody sets."""
        self.calls: list[str] = []
        """Every host call, as in `get_property connection.id`."""
        self.marks: list[int] = []
        """The fuel that was used when each of them was made."""
        self.entries: list[str] = []
        """Every export that the host has called, allocations included."""
        self.log: list[tuple[str, str]] = []
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, int] = {}
        self.shared: dict[str, tuple[bytes, int]] = {}
        self.tick_period = 0
        self.http_calls: list[HttpCall] = []
        self.sabotage: Sabotage = lambda call: None
        self.garbage: dict[str, bytes] = {}
        """What a call returns instead of the truth, by the call as it is written down."""
        self.has_foreign_functions = True

        self._streams: dict[int, Stream] = {}
        self._declared: set[str] = set()
        """Names of filter state that lives as long as the connection."""
        self._connections: dict[bytes, dict[str, bytes]] = {}
        """That filter state, by the connection's id: a connection is told apart from others by it here, and by nothing in Envoy."""
        self._contexts = itertools.count(_PLUGIN + 1)
        self._tokens = itertools.count(1)
        self._metrics: list[str] = []
        self._answer: tuple[list[Header], bytes] = ([], b"")
        self._effective = 0

        self._store = wasmtime.Store(code.engine)
        self._store.set_fuel(_FUEL)
        linker = wasmtime.Linker(code.engine)
        for needed in code.module.imports:
            linker.define(self._store, needed.module, str(needed.name), self._implementation(needed))
        self._exports: Any = linker.instantiate(self._store, code.module).exports(self._store)
        self._memory: Any = self._exports["memory"]
        self.exports = {export.name for export in code.module.exports}
        self._enter("_initialize", 0)

    # --- what Envoy does -------------------------------------------------------------------------------------------

    def configure(self) -> bool:
        """Creates the plugin and configures it; `False`: it refuses the configuration."""
        self._enter("proxy_on_context_create", _PLUGIN, _PLUGIN, 0)
        assert self._enter("proxy_on_vm_start", _PLUGIN, _PLUGIN, 0)
        return self.configure_again()

    def configure_again(self, configuration: bytes | None = None) -> bool:
        """Configures the plugin that is there."""
        if configuration is not None:
            self.configuration = configuration
        return bool(self._enter("proxy_on_configure", _PLUGIN, _PLUGIN, len(self.configuration)))

    def request(self, headers: Sequence[Header], properties: Mapping[str, bytes]) -> Stream:
        """A request up to its headers."""
        stream = Stream(next(self._contexts), list(headers), dict(properties))
        if (number := properties.get("connection.id")) is not None:
            stream.connection_state = self._connections.setdefault(number, {})
        self._streams[stream.context] = stream
        self._enter("proxy_on_context_create", stream.context, stream.context, _PLUGIN)
        action = self._enter(
            "proxy_on_request_headers", stream.context, stream.context, len(headers), int(not stream.trailers)
        )
        assert action in (CONTINUE, PAUSE)
        stream.passed = action == CONTINUE
        return stream

    def trailers(self, stream: Stream, trailers: Sequence[Header]) -> bool:
        """Its trailers; `True` where they may go on."""
        stream.trailers = list(trailers)
        entered = self._enter("proxy_on_request_trailers", stream.context, stream.context, len(trailers))
        return bool(entered == CONTINUE)

    def end(self, stream: Stream) -> None:
        """The request is over, or its client is gone."""
        if "proxy_on_done" in self.exports:
            self._enter("proxy_on_done", stream.context, stream.context)
        if "proxy_on_log" in self.exports:
            self._enter("proxy_on_log", stream.context, stream.context)
        self._enter("proxy_on_delete", stream.context, stream.context)
        del self._streams[stream.context]

    def end_plugin(self) -> None:
        """The plugin itself goes."""
        self._enter("proxy_on_delete", _PLUGIN, _PLUGIN)

    def pass_time(self, milliseconds: int) -> None:
        """Both clocks go on."""
        self.now += milliseconds * 1_000_000
        self.monotonic += milliseconds * 1_000_000

    def tick(self, milliseconds: int = 0) -> None:
        """The clocks go on, and then the timer fires."""
        self.pass_time(milliseconds)
        self._enter("proxy_on_tick", _PLUGIN, _PLUGIN)

    def answer(self, call: HttpCall | int, headers: Sequence[Header], body: bytes = b"") -> None:
        """The answer to a call; no headers at all: it failed or took too long."""
        token = call.token if isinstance(call, HttpCall) else call
        self._answer = (list(headers), body)
        self._enter("proxy_on_http_call_response", _PLUGIN, _PLUGIN, token, len(headers), len(body), 0)
        self._answer = ([], b"")

    def enter(self, export: str, context: int, *arguments: int) -> Any:
        """Any callback, also for a context that does not exist."""
        return self._enter(export, context, context, *arguments)

    # --- what is measured ------------------------------------------------------------------------------------------

    @property
    def fuel(self) -> int:
        """What has been executed so far: about one for each WebAssembly instruction."""
        return _FUEL - int(self._store.get_fuel())

    @property
    def pages(self) -> int:
        """The size of the memory in 64 KiB pages. It never shrinks."""
        return int(self._memory.size(self._store))

    # --- the machinery ---------------------------------------------------------------------------------------------

    def _enter(self, export: str, context: int, *arguments: int) -> Any:
        self.entries.append(export)
        self._effective = context
        try:
            return self._exports[export](self._store, *arguments)
        except wasmtime.Trap as trap:
            raise AssertionError(f"{export} trapped: {trap}; the log: {self.log}") from trap

    def _implementation(self, needed: wasmtime.ImportType) -> wasmtime.Func:
        name = str(needed.name)
        assert isinstance(needed.type, wasmtime.FuncType), f"{name} is not a function"
        return wasmtime.Func(self._store, needed.type, getattr(self, f"_{name}", _unknown(name)), access_caller=True)

    def _begin(self, call: str) -> int | None:
        """Writes a call down; a number is the status with which it fails."""
        self.calls.append(call)
        self.marks.append(self.fuel)
        return self.sabotage(call)

    def _read(self, caller: wasmtime.Caller, address: int, size: int) -> bytes:
        address, size = address & 0xFFFFFFFF, size & 0xFFFFFFFF
        assert address + size <= self._memory.data_len(caller), "the filter points outside of its memory"
        return bytes(self._memory.read(caller, address, address + size))

    def _write(self, caller: wasmtime.Caller, address: int, data: bytes) -> None:
        self._memory.write(caller, data, address & 0xFFFFFFFF)

    def _number(self, caller: wasmtime.Caller, address: int, value: int) -> None:
        self._write(caller, address, struct.pack("<I", value))

    def _return(self, caller: wasmtime.Caller, data: bytes, address: int, size_address: int) -> int:
        """Hands bytes over in memory that the filter allocates. As Envoy: none for nothing."""
        place = 0
        if data:
            self.entries.append("proxy_on_memory_allocate")
            place = self._exports["proxy_on_memory_allocate"](caller, len(data)) & 0xFFFFFFFF
            self._write(caller, place, data)
        self._number(caller, address, place)
        self._number(caller, size_address, len(data))
        return OK

    def _stream(self) -> Stream | None:
        return self._streams.get(self._effective)

    # --- the ABI ---------------------------------------------------------------------------------------------------

    def _proxy_log(self, caller: wasmtime.Caller, level: int, address: int, size: int) -> int:
        name = _LEVELS[level]
        status = self._begin(f"log {name}")
        self.log.append((name, self._read(caller, address, size).decode()))
        return status or OK

    def _proxy_get_current_time_nanoseconds(self, caller: wasmtime.Caller, address: int) -> int:
        if status := self._begin("get_current_time_nanoseconds"):
            return status
        self._write(caller, address, struct.pack("<Q", self.now))
        return OK

    def _clock_time_get(self, caller: wasmtime.Caller, clock: int, precision: int, address: int) -> int:
        assert clock == 1, "the ABI has the wall clock; this is for the monotonic one"
        if status := self._begin("clock_time_get"):
            return status
        self._write(caller, address, struct.pack("<Q", self.monotonic))
        return OK

    def _proxy_set_tick_period_milliseconds(self, caller: wasmtime.Caller, period: int) -> int:
        if status := self._begin(f"set_tick_period_milliseconds {period}"):
            return status
        self.tick_period = period
        return OK

    def _proxy_get_property(
        self, caller: wasmtime.Caller, path: int, path_size: int, value: int, value_size: int
    ) -> int:
        name = self._read(caller, path, path_size).decode().replace("\0", ".")
        call = f"get_property {_property_name(name)}"
        if status := self._begin(call):
            return status
        stream = self._stream()
        properties = {**stream.properties, **stream.filter_state, **stream.connection_state} if stream else {}
        found = self.garbage.get(call, properties.get(name))
        return NOT_FOUND if found is None else self._return(caller, found, value, value_size)

    def _proxy_set_property(self, caller: wasmtime.Caller, path: int, path_size: int, value: int, size: int) -> int:
        name = self._read(caller, path, path_size).decode()
        if status := self._begin(f"set_property {_property_name(name)}"):
            return status
        if (stream := self._stream()) is None:
            return BAD_ARGUMENT
        state = stream.connection_state if name in self._declared else stream.filter_state
        state[name] = self._read(caller, value, size)
        return OK

    def _proxy_get_header_map_pairs(self, caller: wasmtime.Caller, number: int, pairs: int, pairs_size: int) -> int:
        call = f"get_header_map_pairs {_map_name(number)}"
        if status := self._begin(call):
            return status
        stream = self._stream()
        if number == _CALL_HEADERS:
            headers = self._answer[0]
        elif stream is None:
            return BAD_ARGUMENT
        else:
            headers = stream.headers if number == _REQUEST_HEADERS else stream.trailers
        return self._return(caller, self.garbage.get(call, encode(headers)), pairs, pairs_size)

    def _proxy_add_header_map_value(
        self, caller: wasmtime.Caller, number: int, name: int, name_size: int, value: int, value_size: int
    ) -> int:
        header = self._read(caller, name, name_size)
        if status := self._begin(f"add_header_map_value {header.decode()}"):
            return status
        if (stream := self._stream()) is None or number != _REQUEST_HEADERS:
            return BAD_ARGUMENT
        stream.headers = [*stream.headers, (header, self._read(caller, value, value_size))]
        return OK

    def _proxy_set_header_map_pairs(self, caller: wasmtime.Caller, number: int, pairs: int, pairs_size: int) -> int:
        if status := self._begin(f"set_header_map_pairs {_map_name(number)}"):
            return status
        if (stream := self._stream()) is None:
            return BAD_ARGUMENT
        headers = decode(self._read(caller, pairs, pairs_size))
        if number == _REQUEST_HEADERS:
            stream.headers = headers
        else:
            stream.trailers = headers
        return OK

    def _proxy_get_buffer_bytes(
        self, caller: wasmtime.Caller, number: int, start: int, max_size: int, data: int, size: int
    ) -> int:
        names = {_CALL_BODY: "http_call_response_body", _PLUGIN_CONFIGURATION: "plugin_configuration"}
        call = f"get_buffer_bytes {names[number]}"
        if status := self._begin(call):
            return status
        buffer = self._answer[1] if number == _CALL_BODY else self.configuration
        piece = self.garbage.get(call, buffer)[start:start + (max_size & 0xFFFFFFFF)]
        return self._return(caller, piece, data, size)

    def _proxy_get_shared_data(
        self, caller: wasmtime.Caller, key: int, key_size: int, value: int, value_size: int, cas: int
    ) -> int:
        name = self._read(caller, key, key_size).decode()
        call = f"get_shared_data {_shared_name(name)}"
        if status := self._begin(call):
            return status
        if name not in self.shared:
            return NOT_FOUND
        data, version = self.shared[name]
        self._number(caller, cas, version)
        return self._return(caller, self.garbage.get(call, data), value, value_size)

    def _proxy_set_shared_data(
        self, caller: wasmtime.Caller, key: int, key_size: int, value: int, value_size: int, cas: int
    ) -> int:
        name = self._read(caller, key, key_size).decode()
        if status := self._begin(f"set_shared_data {_shared_name(name)}"):
            return status
        _, version = self.shared.get(name, (b"", 0))
        if version and cas and cas & 0xFFFFFFFF != version:
            return CAS_MISMATCH
        self.shared[name] = (self._read(caller, value, value_size), version + 1)
        return OK

    def _proxy_define_metric(self, caller: wasmtime.Caller, kind: int, name: int, size: int, metric: int) -> int:
        assert kind in (0, 1), "neither a counter nor a gauge"
        text = self._read(caller, name, size).decode()
        if status := self._begin(f"define_metric {text}"):
            return status
        self._metrics.append(text)
        self._number(caller, metric, len(self._metrics) - 1)
        return OK

    def _proxy_increment_metric(self, caller: wasmtime.Caller, metric: int, offset: int) -> int:
        name = self._metrics[metric]
        if status := self._begin(f"increment_metric {name}"):
            return status
        self.counters[name] = self.counters.get(name, 0) + offset
        return OK

    def _proxy_record_metric(self, caller: wasmtime.Caller, metric: int, value: int) -> int:
        name = self._metrics[metric]
        if status := self._begin(f"record_metric {name}"):
            return status
        self.gauges[name] = value
        return OK

    def _proxy_http_call(
        self, caller: wasmtime.Caller, cluster: int, cluster_size: int, headers: int, headers_size: int,
        body: int, body_size: int, trailers: int, trailers_size: int, timeout_ms: int, token: int,
    ) -> int:
        name = self._read(caller, cluster, cluster_size).decode()
        if status := self._begin(f"http_call {name}"):
            return status
        sent = decode(self._read(caller, headers, headers_size))
        call = HttpCall(next(self._tokens), name, sent, timeout_ms)
        self.http_calls.append(call)
        self._number(caller, token, call.token)
        return OK

    def _proxy_call_foreign_function(
        self, caller: wasmtime.Caller, name: int, name_size: int, arguments: int, arguments_size: int,
        results: int, results_size: int,
    ) -> int:
        text = self._read(caller, name, name_size).decode()
        call = f"call_foreign_function {text}"
        if status := self._begin(call):
            return status
        if not self.has_foreign_functions:
            return NOT_FOUND
        if text == "declare_property":
            declared = self._read(caller, arguments, arguments_size)
            assert declared.endswith(b"\x28\x02"), "its life span is not that of the connection"
            self._declared.add(protobuf.texts(declared, 1)[0].decode())
            return OK
        assert text == "verify_signature"
        valid = _is_valid_signature(self._read(caller, arguments, arguments_size))
        return self._return(caller, self.garbage.get(call, b"\x08\x01" if valid else b""), results, results_size)

    def _proxy_set_effective_context(self, caller: wasmtime.Caller, context: int) -> int:
        # As Envoy: a context that is gone is not one.
        if status := self._begin("set_effective_context"):
            return status
        if context != _PLUGIN and context not in self._streams:
            return BAD_ARGUMENT
        self._effective = context
        return OK

    def _proxy_continue_stream(self, caller: wasmtime.Caller, kind: int) -> int:
        assert kind == 0, "not the request"
        if status := self._begin("continue_stream"):
            return status
        if (stream := self._stream()) is None:
            return BAD_ARGUMENT
        assert not stream.passed, "the request went on twice"
        assert stream.response is None, "the request goes on after it was answered"
        stream.passed = True
        return OK

    def _proxy_send_local_response(
        self, caller: wasmtime.Caller, status_code: int, details: int, details_size: int, body: int, body_size: int,
        headers: int, headers_size: int, grpc_status: int,
    ) -> int:
        if status := self._begin(f"send_local_response {status_code}"):
            return status
        if (stream := self._stream()) is None:
            return BAD_ARGUMENT
        assert stream.response is None, "a second answer"
        assert not stream.passed or stream.trailers, "an answer to a request that went on"
        sent = decode(self._read(caller, headers, headers_size))
        stream.response = LocalResponse(
            status_code, self._read(caller, details, details_size).decode(),
            {name.decode(): value.decode() for name, value in sent}, self._read(caller, body, body_size), grpc_status,
        )
        return OK

    # --- WASI, as far as Rust's standard library asks ---------------------------------------------------------------

    def _random_get(self, caller: wasmtime.Caller, address: int, size: int) -> int:
        self._begin("random_get")
        # The same numbers every time, so that fuel is the same as well.
        self._write(caller, address, bytes(index & 0xFF for index in range(size)))
        return OK

    def _environ_sizes_get(self, caller: wasmtime.Caller, count: int, size: int) -> int:
        self._number(caller, count, 0)
        self._number(caller, size, 0)
        return OK

    def _environ_get(self, caller: wasmtime.Caller, pointers: int, texts: int) -> int:
        return OK

    def _fd_write(self, caller: wasmtime.Caller, file: int, vectors: int, count: int, written: int) -> int:
        self._begin("fd_write")
        total = 0
        for index in range(count):
            address, size = struct.unpack("<II", self._read(caller, vectors + 8 * index, 8))
            self.log.append(("stderr", self._read(caller, address, size).decode(errors="replace")))
            total += size
        self._number(caller, written, total)
        return OK

    def _proc_exit(self, caller: wasmtime.Caller, code: int) -> None:
        raise AssertionError(f"the filter ends its machine with {code}; the log: {self.log}")


def _unknown(name: str) -> Callable[..., None]:
    """A call that a module of the SDK imports, whether or not it makes it."""
    def call(*_: object) -> None:
        raise AssertionError(f"the module calls {name}, which this host does not have")
    return call


def _map_name(number: int) -> str:
    names = {_REQUEST_HEADERS: "request_headers", _REQUEST_TRAILERS: "request_trailers",
             _CALL_HEADERS: "http_call_response_headers"}
    return names[number]


def _property_name(name: str) -> str:
    """A name without what is another for every configuration."""
    note = "mtls_authz.connection"
    return note if name.startswith(f"{note}.") else name


def _shared_name(key: str) -> str:
    """A key without what is another in every run: digests, versions and slots."""
    for prefix in ("mtls_authz.accepted", "mtls_authz.rate_limit", "mtls_authz.certificate"):
        if key.startswith(prefix):
            return prefix
    for kind in ("mtls_authz.feed", "mtls_authz.keys"):
        if key.startswith(f"{kind}."):
            return f"{kind}.{key.rpartition('.')[2]}"
    return key


def _is_valid_signature(arguments: bytes) -> bool:
    """Envoy's function `verify_signature`: RSASSA-PKCS1-v1_5 and ECDSA."""
    hash_name, public_key, signature, text = protobuf.texts(arguments, 1, 2, 3, 4)
    key = serialization.load_der_public_key(public_key)
    digest = _HASHES[hash_name.decode()]
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, text, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True
