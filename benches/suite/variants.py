"""What is measured: one listener a variant, alike in all but its filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import artifacts, filters, tokens
from harness.filters import Config, JwtAuthn
from harness.listener import Listener

from .parties import CALLERS, PATH, Callers, lua, policy, spiffe_id

EXT_AUTHZ_CLUSTER = "ext_authz"
_MODULES = artifacts.REPOSITORY / "dist" / "bench"
_HTTP = "type.googleapis.com/envoy.extensions.filters.http"

NO_FILTER = "no_filter"
NO_FILTER_AGAIN = "no_filter_again"
FLOOR = "wasm_floor"
EMPTY = "wasm_empty"
CALLS = "wasm_calls"
RBAC = "rbac"
JWT_CACHED = "jwt_cached"
JWT_UNCACHED = "jwt_uncached"
LUA = "jwt_lua"
LUA_TOKENS = "jwt_lua_tokens"
EXT_AUTHZ = "ext_authz"
HOT = "ours_hot"
SHIPPED = "ours_shipped"
COLD = "ours_cold"
BEHIND_JWT = "ours_behind_jwt"
CLIENTS_1000 = "ours_1000_clients"
CLIENTS_100000 = "ours_100000_clients"
RULES_1000 = "ours_1000_rules"


@dataclass(frozen=True)
class Variant:
    """One way to protect a listener.

    `requests` on each connection in a round; `fresh`: every request brings a token that nobody has seen; `warm_up` on
    each connection before the first round; `in_round` times in each round, the mean of which is the round's figure.
    """

    name: str
    title: str
    listener: Listener
    requests: int = 300
    warm_up: int = 5000
    fresh: bool = False
    in_round: int = 1


def module(name: str) -> Path:
    """A module that only the benchmark loads."""
    return _MODULES / f"{name}.wasm"


def listener(name: str, chain: Sequence[Config] = (), **ours: object) -> Listener:
    """A listener with these filters, or with ours; it answers by itself."""
    answer = {"status": 200, "body": {"inline_string": "ok"}}
    options: dict[str, object] = {"module": None, "guard": False, "direct_remote_address": False, **ours}
    return Listener(
        name, before=chain, require_client_certificate=True, **options,  # type: ignore[arg-type]
        manager={
            "access_log": [],
            "route_config": {"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "direct_response": answer}],
            }]},
        },
    )


def ours(name: str, signer: tokens.Signer, source: str = "jwks", clients: int = 10, rules: int = 1, **more: object) -> Listener:
    """A listener with our filter."""
    return listener(name, module=artifacts.module(), policy=policy(signer, source, clients, rules), **more)


def all_variants(callers: Callers) -> list[Variant]:
    """Every variant, in the order of the table."""
    signer = callers.signer
    return [
        Variant(NO_FILTER, "no filter", listener(NO_FILTER), in_round=4),
        Variant(NO_FILTER_AGAIN, "no filter, another listener", listener(NO_FILTER_AGAIN)),
        Variant(FLOOR, "Wasm, one empty callback (no SDK)", listener(FLOOR, [_wasm("floor")])),
        Variant(EMPTY, "**empty Wasm filter** (SDK)", listener(EMPTY, [_wasm("empty")]), in_round=3),
        Variant(CALLS, "Wasm, our host calls and nothing else", listener(CALLS, [_wasm("calls")])),
        Variant(RBAC, "native RBAC: URI SAN, path, method", listener(RBAC, [_rbac()])),
        Variant(JWT_CACHED, "`jwt_authn`, token cache", listener(JWT_CACHED, [_jwt(signer, cached=True)])),
        Variant(JWT_UNCACHED, "`jwt_authn`, no cache", listener(JWT_UNCACHED, [_jwt(signer)]), 150, 1000, fresh=True),
        Variant(LUA, "`jwt_authn`, token cache + Lua that remembers certificates", listener(LUA, _scripted(signer))),
        Variant(LUA_TOKENS, "… that remembers tokens, too", listener(LUA_TOKENS, _scripted(signer, remember_tokens=True))),
        Variant(EXT_AUTHZ, "ext_authz (gRPC) to an empty server", listener(EXT_AUTHZ, [_ext_authz()]), 200, 1000),
        Variant(HOT, "**ours**, known token; 10 clients, 1 rule", ours(HOT, signer), in_round=2),
        Variant(SHIPPED, "ours, known token, and the filters around it as shipped",
                ours(SHIPPED, signer, guard=True, direct_remote_address=True)),
        Variant(CLIENTS_1000, "ours, known token; 1,000 clients", ours(CLIENTS_1000, signer, clients=1000)),
        Variant(CLIENTS_100000, "ours, known token; 100,000 clients", ours(CLIENTS_100000, signer, clients=100_000)),
        Variant(RULES_1000, "ours, known token; 1,000 rules", ours(RULES_1000, signer, rules=1000)),
        Variant(COLD, "ours, every token new", ours(COLD, signer), 150, 1000, fresh=True),
        Variant(BEHIND_JWT, "`jwt_authn`, token cache + ours",
                ours(BEHIND_JWT, signer, "jwt_authn", jwt=_jwt_authn(signer, cached=True, payload="payload", lenient=True))),
    ]


def quick(variant: Variant) -> Variant:
    """As much of it as shows that it works."""
    return replace(variant, requests=variant.requests // 5, warm_up=variant.warm_up // 10, in_round=1)


def _wasm(name: str) -> Config:
    return filters.wasm(module(name), "", vm_id=name)


def _rbac() -> Config:
    principals = [
        {"authenticated": {"principal_name": {"exact": spiffe_id(each)}}} for each in range(max(CALLERS, 10))
    ]
    path = {"url_path": {"path": {"prefix": PATH.rsplit("/", 1)[0] + "/"}}}
    method = {"header": {"name": ":method", "string_match": {"exact": "GET"}}}
    policies = {"partner": {"permissions": [{"and_rules": {"rules": [path, method]}}], "principals": principals}}
    return _filter("rbac", "rbac.v3.RBAC", {"rules": {"action": "ALLOW", "policies": policies}})


def _jwt_authn(signer: tokens.Signer, *, cached: bool = False, payload: str = "", lenient: bool = False) -> JwtAuthn:
    cache = {"jwt_cache_config": {"jwt_cache_size": 1000}} if cached else {}
    return JwtAuthn(
        (signer,), "allow_missing_or_failed" if lenient else "provider", payload_in_metadata=payload,
        options={"audiences": [tokens.AUDIENCE], **cache},
    )


def _jwt(signer: tokens.Signer, *, cached: bool = False, payload: str = "") -> Config:
    return _jwt_authn(signer, cached=cached, payload=payload).filter()


def _scripted(signer: tokens.Signer, *, remember_tokens: bool = False) -> list[Config]:
    script = {"default_source_code": {"inline_string": lua(remember_tokens)}}
    return [_jwt(signer, cached=True, payload="payload"), _filter("lua", "lua.v3.Lua", script)]


def _ext_authz() -> Config:
    service = {"envoy_grpc": {"cluster_name": EXT_AUTHZ_CLUSTER}, "timeout": "5s"}
    return _filter("ext_authz", "ext_authz.v3.ExtAuthz", {"grpc_service": service, "transport_api_version": "V3"})


def _filter(name: str, kind: str, config: Config) -> Config:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{_HTTP}.{kind}", **config}}
