"""A gRPC upstream that accepts any method and echoes the message, or streams it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc

STREAM = "/echo.Echo/Stream"
"""Answers with the message, and with the same again for each `go_on`, until `end`."""


class GrpcUpstream:
    """Plaintext HTTP/2 on a free port; remembers the metadata of every call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[list[tuple[str, str | bytes]]] = []
        self._steps: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[_AnyMethod(self._answer, self._stream)])
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> GrpcUpstream:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None)

    def mark(self) -> int:
        """A position in the list of calls, to be given to `since`."""
        with self._lock:
            return len(self._calls)

    def since(self, mark: int) -> list[list[tuple[str, str | bytes]]]:
        """The metadata of every call that arrived after `mark`."""
        with self._lock:
            return self._calls[mark:]

    def go_on(self) -> None:
        """One more message in the stream that is running."""
        self._steps.put(True)

    def end(self) -> None:
        """No more messages in the stream that is running."""
        self._steps.put(False)

    def _answer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self._calls.append([(key, value) for key, value in context.invocation_metadata()])
        return message

    def _stream(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield self._answer(message, context)
        while self._steps.get():
            yield message


class _AnyMethod(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(
        self,
        answer: Callable[[bytes, grpc.ServicerContext], bytes],
        stream: Callable[[bytes, grpc.ServicerContext], Iterator[bytes]],
    ) -> None:
        self._unary = grpc.unary_unary_rpc_method_handler(answer)
        self._stream = grpc.unary_stream_rpc_method_handler(stream)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:  # type: ignore[type-arg]
        return self._stream if handler_call_details.method == STREAM else self._unary
