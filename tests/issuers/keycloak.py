"""A real Keycloak, set up as docs/issuers.md says."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.artifacts import REPOSITORY, MissingArtifact
from harness.https_keys import HOST
from harness.pki import Authority
from harness.shipped import ENVOY

from issuer import Issuer

REALM = "partners"
_KEYS = "org.keycloak.keys.KeyProvider"


class Keycloak(Issuer):
    """Keycloak with a database in memory and the shipped realm. `clients` is the authority of the clients' certificates."""

    token_path = f"/realms/{REALM}/protocol/openid-connect/token"
    keys_path = f"/realms/{REALM}/protocol/openid-connect/certs"
    ready_path = f"/realms/{REALM}"

    def __init__(self, directory: Path, authority: Authority, clients: Authority) -> None:
        super().__init__(directory, authority)
        self._clients = clients
        self._password = secrets.token_hex(16)

    def command(self) -> tuple[Sequence[str], Mapping[str, str]]:
        folder = _folder()
        imported = folder / "keycloak/data/import"
        imported.mkdir(parents=True, exist_ok=True)
        shutil.copy(ENVOY / "issuers/partners-realm.json", imported)
        command = [
            str(folder / "keycloak/bin/kc.sh"), "start", "--optimized", "--import-realm", f"--hostname=https://{HOST}",
            "--http-host=127.0.0.1", f"--https-port={self.port}",
            f"--https-certificate-file={self.server.chain_file}", f"--https-certificate-key-file={self.server.key_file}",
            f"--https-trust-store-file={self._clients.trust_file}", "--cache=local",
        ]
        return command, {
            "JAVA_HOME": str(folder / "default-jre-headless/usr/lib/jvm/default-java"),
            "JAVA_OPTS_KC_HEAP": "-Xms64m -Xmx512m",
            "KC_BOOTSTRAP_ADMIN_USERNAME": "admin", "KC_BOOTSTRAP_ADMIN_PASSWORD": self._password,
        }

    def add_client(self, **client: Any) -> None:
        """One more client of the realm."""
        self._admin("POST", f"/admin/realms/{REALM}/clients", client)

    def signing_keys(self) -> dict[str, dict[str, Any]]:
        """The realm's providers of RSA keys for signatures, by their names."""
        found = self._admin("GET", f"/admin/realms/{REALM}/components?type={_KEYS}")
        return {each["name"]: each for each in found if each["providerId"] == "rsa-generated"}

    def add_signing_key(self, name: str, priority: int) -> None:
        """One more signing key. That of the highest priority signs, all are published."""
        realm = self._admin("GET", f"/admin/realms/{REALM}")["id"]
        self._admin("POST", f"/admin/realms/{REALM}/components", {
            "name": name, "providerId": "rsa-generated", "providerType": _KEYS, "parentId": realm,
            "config": {"priority": [str(priority)], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"],
                       "keySize": ["2048"]},
        })

    def change_signing_key(self, name: str, **config: str) -> None:
        """Other settings of a signing key: `priority`, `active`, `enabled`."""
        key = self.signing_keys()[name]
        key["config"] |= {member: [value] for member, value in config.items()}
        self._admin("PUT", f"/admin/realms/{REALM}/components/{key['id']}", key)

    def remove_signing_key(self, name: str) -> None:
        """The key is gone."""
        self._admin("DELETE", f"/admin/realms/{REALM}/components/{self.signing_keys()[name]['id']}")

    def _admin(self, method: str, path: str, value: Any = None) -> Any:
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self._password}
        token = self.post_form("/realms/master/protocol/openid-connect/token", form).json()["access_token"]
        headers = [("authorization", f"Bearer {token}"), ("content-type", "application/json")]
        response = self.request(method, path, headers, b"" if value is None else json.dumps(value).encode())
        assert response.status in (200, 201, 204), f"{method} {path}: {response.status} {response.body!r}"
        return response.json() if response.body else None


def _folder() -> Path:
    path = Path(os.environ.get("KEYCLOAK") or REPOSITORY / ".tools" / "keycloak")
    if not (path / "keycloak/bin/kc.sh").is_file():
        raise MissingArtifact(f"{path}/keycloak/bin/kc.sh does not exist: run `make test-keycloak`, or set $KEYCLOAK")
    return path.resolve()
