"""The HTTP filters around and including ours, as Envoy configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .tokens import ISSUER, Signer, jwks

Config = dict[str, Any]

PLUGIN = "mtls_authz"
DIRECT_ADDRESS_KEY = "mtls_authz.direct_remote_address"
_HTTP = "type.googleapis.com/envoy.extensions.filters.http"


@dataclass(frozen=True)
class JwtAuthn:
    """Envoy's own token verification, which leaves the payload in dynamic metadata.

    `requirement` is `provider` (a token or 401 from `jwt_authn` itself), `allow_missing`, or
    `allow_missing_or_failed`; `options` overrides members of the provider.
    """

    signers: tuple[Signer, ...]
    requirement: Literal["provider", "allow_missing", "allow_missing_or_failed"] = "allow_missing_or_failed"
    forward: bool = True
    payload_in_metadata: str = "payload"
    options: Mapping[str, Any] = field(default_factory=dict)

    def filter(self) -> Config:
        """The filter's configuration."""
        provider = {
            "issuer": ISSUER,
            "local_jwks": {"inline_string": jwks(*self.signers)},
            "payload_in_metadata": self.payload_in_metadata,
            "forward": self.forward,
            **self.options,
        }
        required: Config = {"provider_name": "main"}
        if self.requirement != "provider":
            required = {"requires_any": {"requirements": [required, {self.requirement: {}}]}}
        return _filter("jwt_authn", "jwt_authn.v3.JwtAuthentication", {
            "providers": {"main": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": required}],
        })


def wasm(
    module: Path,
    configuration: Any,
    *,
    struct: bool = False,
    vm_id: str = PLUGIN,
    failure_policy: str = "FAIL_RELOAD",
    vm_configuration: str | None = None,
) -> Config:
    """A Wasm filter from a local file, so that it is never absent while it is fetched.

    `configuration` is given as JSON text in a `StringValue` (a string is taken as it is), or
    as a `Struct` with `struct`, which is how Istio gives it.
    """
    vm: Config = {
        "vm_id": vm_id,
        "runtime": "envoy.wasm.runtime.v8",
        "code": {"local": {"filename": str(module)}},
    }
    if vm_configuration is not None:
        vm["configuration"] = _string(vm_configuration)
    return {
        "name": PLUGIN,
        "typed_config": {
            "@type": f"{_HTTP}.wasm.v3.Wasm",
            "config": {
                "name": PLUGIN,
                "root_id": PLUGIN,
                "vm_config": vm,
                "configuration": _struct(configuration) if struct else _string(configuration),
                "failure_policy": failure_policy,
            },
        },
    }


def direct_remote_address() -> Config:
    """Writes the address that the connection really comes from where no caller can write."""
    return _filter("set_filter_state", "set_filter_state.v3.Config", {
        "on_request_headers": [{
            "object_key": DIRECT_ADDRESS_KEY,
            "factory_key": "envoy.string",
            "format_string": {"text_format_source": {
                "inline_string": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}},
        }],
    })


def set_metadata(namespace: str, value: Config) -> Config:
    """Writes dynamic metadata, in the place of a filter that leaves something odd there."""
    return _filter("set_metadata", "set_metadata.v3.Config", {
        "metadata": [{"metadata_namespace": namespace, "value": value}],
    })


def guard() -> Config:
    """Lets through only what carries our verdict, for a worker in which our filter is absent."""
    verdict = {"filter_state": {"key": "wasm.mtls_authz.verdict", "string_match": {"exact": "allow"}}}
    return _filter("rbac", "rbac.v3.RBAC", {
        "rules": {
            "action": "ALLOW",
            "policies": {"verdict": {"permissions": [{"any": True}], "principals": [verdict]}},
        },
    })


def router() -> Config:
    """The last filter of every chain."""
    return _filter("router", "router.v3.Router", {})


def _filter(name: str, kind: str, config: Config) -> Config:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_HTTP}.{kind}", **config}}


def _string(value: Any) -> Config:
    text = value if isinstance(value, str) else json.dumps(value)
    return {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text}


def _struct(value: Any) -> Config:
    return {"@type": "type.googleapis.com/google.protobuf.Struct", "value": value}
