"""A real gRPC caller, to see what a refusal means to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from .pki import Authority, Credential
from .response import Header
from .tls import TIMEOUT_SECONDS


@dataclass(frozen=True)
class GrpcResult:
    """How a unary call ended; `message` is `None` unless `code` is OK."""

    code: grpc.StatusCode
    details: str
    message: bytes | None
    initial_metadata: list[Header]
    trailing_metadata: list[Header]


def call(
    port: int,
    trusted: Authority,
    credential: Credential | None,
    *,
    method: str = "/echo.Echo/Say",
    metadata: Sequence[Header] = (),
    message: bytes = b"hello",
) -> GrpcResult:
    """One unary call on a fresh mTLS channel."""
    with connect(port, trusted, credential) as channel:
        return call_on(channel, method=method, metadata=metadata, message=message)


def connect(port: int, trusted: Authority, credential: Credential | None) -> grpc.Channel:
    """An mTLS channel of its own connection to a listener whose certificate names `localhost`."""
    channel_credentials = grpc.ssl_channel_credentials(
        trusted.trust_file.read_bytes(),
        credential.key_pem if credential else None,
        credential.chain_pem if credential else None,
    )
    options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    return grpc.secure_channel(f"127.0.0.1:{port}", channel_credentials, options)


def call_on(
    channel: grpc.Channel, *, method: str = "/echo.Echo/Say", metadata: Sequence[Header] = (), message: bytes = b"hello"
) -> GrpcResult:
    """One unary call on a channel."""
    unary = channel.unary_unary(method, request_serializer=_as_it_is, response_deserializer=_as_it_is)
    try:
        answer, ended = unary.with_call(message, metadata=tuple(metadata), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return _result(error, None)
    return _result(ended, answer)


def _result(ended: grpc.Call, message: bytes | None) -> GrpcResult:
    return GrpcResult(
        ended.code(), ended.details() or "", message,
        _headers(ended.initial_metadata()), _headers(ended.trailing_metadata()),
    )


def _headers(metadata: Sequence[tuple[str, str | bytes]] | None) -> list[Header]:
    return [(key, value if isinstance(value, str) else value.decode("latin-1")) for key, value in metadata or ()]


def _as_it_is(message: bytes) -> bytes:
    return message
