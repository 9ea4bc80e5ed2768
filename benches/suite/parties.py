"""Who takes part: certificates, the tokens of their holders, and policies that know them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import pki, tokens
from harness.filters import Config

CALLERS = 8
"""Connections of the load client, each with a certificate of its own."""
PATH = "/payments/42"
PROFILE = "partner"
SCOPE = "payments:read"


def spiffe_id(number: int) -> str:
    """The identity of a client."""
    return f"spiffe://prod.example/ns/bench/sa/client-{number:06}"


def client_id(number: int) -> str:
    """The name of a client."""
    return f"client-{number:06}"


def principal(number: int) -> str:
    """The principal of a client."""
    return f"arn:example:iam::bench:client/{number:06}"


class Callers:
    """The clients that the load client stands for: the same eight for every variant."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority = pki.Authority.create(directory)
        self.server = self.authority.issue_server()
        self.signer = tokens.Signer("ES256")
        issuer = self.authority.intermediate()
        self.credentials = [
            issuer.issue(
                [("CN", client_id(each)), ("OU", PROFILE), ("O", "ExampleCorp")], sans=[pki.uri(spiffe_id(each))]
            )
            for each in range(CALLERS)
        ]
        self._serial = 0

    def tokens(self, each: int) -> list[Path]:
        """A file for each caller with so many tokens that nobody has seen."""
        files = []
        for number, credential in enumerate(self.credentials):
            file = self._directory / f"tokens-{number}"
            file.write_text("".join(f"{self._token(number, credential)}\n" for _ in range(each)))
            files.append(file)
        return files

    def _token(self, number: int, credential: pki.Credential) -> str:
        self._serial += 1
        claims = tokens.claims(client_id(number), credential, scope=f"{SCOPE} payments:write", jti=f"{self._serial:016x}")
        return self.signer.sign(claims)


def policy(signer: tokens.Signer, source: str, clients: int = 10, rules: int = 1) -> Config:
    """The filter's configuration; the callers' own entries are spread over the registry.

    Of several rules, the last is the one that allows the request.
    """
    registered: dict[str, Any] = {}
    callers = set(range(CALLERS))
    others = iter(range(CALLERS, clients))
    for place in range(clients):
        if place % (clients // CALLERS) == 0 and callers:
            number = callers.pop()
            more = {"principal": principal(number)}
        else:
            number, more = next(others), {}
        registered[client_id(number)] = {"identities": [spiffe_id(number)], "profiles": [PROFILE], **more}
    unused = [
        {"paths": [f"/service-{number:04}/orders/*"], "methods": ["GET"], "scopes": [SCOPE]} for number in range(rules - 1)
    ]
    token: dict[str, Any] = {"source": source, "issuers": [tokens.ISSUER], "audiences": [tokens.AUDIENCE]}
    if source == "jwks":
        token["jwks"] = json.loads(tokens.jwks(signer))
    return {
        "policy_id": "bench",
        "clients": registered,
        "profiles": {PROFILE: {"allow": [*unused, {"paths": ["/payments/*"], "methods": ["GET"], "scopes": [SCOPE]}]}},
        "token": token,
    }


def lua(remember_tokens: bool, clients: int = 10) -> str:
    """The script that does the same behind `jwt_authn`."""
    known = "\n".join(
        f'  ["{spiffe_id(each)}"] = {{ id = "{client_id(each)}", profile = "{PROFILE}", principal = "{principal(each)}" }},'
        for each in range(clients)
    )
    profiles = f'{{ {PROFILE} = {{ ["/payments"] = {{ methods = {{ GET = true }}, scope = " {SCOPE} " }} }} }}'
    script = (Path(__file__).parent / "check.lua").read_text()
    settings = f"local REMEMBER_TOKENS = {str(remember_tokens).lower()}\n"
    return f"{settings}local CLIENTS = {{\n{known}\n}}\nlocal PROFILES = {profiles}\n{script}"
