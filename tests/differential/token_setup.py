"""What tokens are judged by: sets of keys, policies, and the certificates that are presented with them."""

from __future__ import annotations

import functools
import hashlib
from typing import Any

from . import certificates
from .issuer import base64url, signers
from .token_reference import SCOPES, Key, Presented, Rules


@functools.cache
def key_sets() -> dict[str, list[Key]]:
    """Sets in which every key can be used."""
    by_name = signers()
    a = {algorithm: signer for name, signer in by_name.items() if name.endswith("-a") for algorithm in signer.algorithms}
    rsa, p256, p384, ed = a["RS256"], a["ES256"], a["ES384"], a["EdDSA"]
    return {
        "all": [*(Key(a[alg], f"{alg}-key", alg) for alg in a), Key(by_name["rsa-b"], "other-key", "RS256")],
        "without alg": [Key(rsa, "RS256-key"), Key(p256, "ES256-key"), Key(p384, "ES384-key"), Key(ed, "EdDSA-key")],
        "one name": [Key(rsa, "key"), Key(p256, "key"), Key(ed, "key")],
        "nameless": [Key(rsa), Key(p256), Key(p384), Key(ed)],
        "nameless twins": [Key(p256), Key(by_name["p256-b"]), Key(ed), Key(by_name["ed-b"], "ed-b")],
        "rsa": [Key(rsa)],
        "p256": [Key(p256)],
        "ed": [Key(ed, None, "EdDSA", {"use": "sig", "key_ops": ["verify"]})],
        "pss": [Key(rsa, "RS256-key", "PS256"), Key(by_name["rsa-b"], "RS384-key", "RS384")],
    }


@functools.cache
def fetched_sets() -> dict[str, list[Key]]:
    """Those, and sets with keys that must not be used."""
    by_name = signers()
    rsa, p256, ed = by_name["rsa-a"], by_name["p256-a"], by_name["ed-a"]
    other = Key(by_name["p384-b"], "unrelated")
    return {
        **key_sets(),
        "for encryption": [Key(rsa, "RS256-key", None, {"use": "enc"}), Key(p256, None, None, {"use": "enc"}), other],
        "for signing": [Key(rsa, "RS256-key", None, {"key_ops": ["sign"]}), Key(ed, None, None, {"key_ops": []}), other],
        "small": [Key(by_name["rsa-small"], "RS256-key"), other],
        "another alg": [Key(rsa, "RS256-key", "RSA-OAEP"), Key(p256, "ES256-key", "ES384"), other],
    }


@functools.cache
def policies() -> dict[str, Rules]:
    """The filter's `token`, for every set of keys and with every other setting for the first."""
    found = {}
    # What a token alone is enough for must name its audience.
    meant = {"audiences": ["https://api.example"]}
    for name, keys in key_sets().items():
        found[f"{name}, required"] = Rules(keys)
        found[f"{name}, optional"] = Rules(keys, optional=True, **meant)
    keys = key_sets()["all"]
    strict = {"issuers": ["https://auth.example"], **meant}
    found["all, strict"] = Rules(keys, **strict)
    found["all, strict, optional"] = Rules(keys, optional=True, **strict)
    found["all, es256"] = Rules(keys, algorithms=["ES256"])
    found["all, no claims"] = Rules(keys, client_claims=[])
    found["all, by sub"] = Rules(keys, optional=True, client_claims=["sub"], **meant)
    found["all, no leeway"] = Rules(keys, leeway=0)
    return found


def configuration(rules: Rules, clients: dict[str, Any]) -> dict[str, Any]:
    """The filter's configuration of these rules."""
    paths = [{"paths": [path], "methods": ["GET"], **({"scopes": [scope]} if scope else {})} for path, scope in SCOPES.items()]
    return {
        "mode": "bearer_plus_mtls_optional" if rules.optional else "bearer_plus_mtls_required",
        "clients": clients,
        "profiles": {"all": {"allow": paths}},
        "token": {
            "source": "jwks",
            "jwks": {"keys": [key.jwk for key in rules.keys]},
            "algorithms": list(rules.algorithms),
            # An empty list would mean any, and is an error.
            **({"issuers": list(rules.issuers)} if rules.issuers else {}),
            **({"audiences": list(rules.audiences)} if rules.audiences else {}),
            "leeway_seconds": rules.leeway,
            "client_id_claims": list(rules.client_claims),
        },
    }


@functools.cache
def presented() -> dict[str, Presented]:
    """The two clients' certificates."""
    digest = lambda client: hashlib.sha256(certificates.good(client)).digest()  # noqa: E731
    return {client: Presented(client, base64url(digest(client))) for client in ("acme", "globex")}
