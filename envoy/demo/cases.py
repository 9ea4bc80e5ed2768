"""The requests of the demonstration: what is sent, and what must come back."""

from __future__ import annotations

from dataclasses import dataclass, field

from stack import OUT, Ports, mint

PRINCIPALS = {
    "acme-mobile": "arn:example:iam::acme:client/mobile",
    "globex-batch": "arn:example:iam::globex:client/batch",
}
IDENTITIES = {
    "acme-mobile": "spiffe://prod.example/ns/acme/sa/mobile",
    "globex-batch": "dns:batch.globex.example",
    "initech-erp": "cn:initech-erp",
    "wallet-app": "spiffe://prod.example/ns/wallet/sa/app",
}


@dataclass(frozen=True)
class Answer:
    """What must come back."""

    status: int
    reason: str = ""
    client: str = ""
    profile: str = ""
    certificate: bool = True
    """Whether the upstream is told of a certificate."""
    headers: dict[str, str] = field(default_factory=dict)
    """Patterns of headers in the answer."""
    version: str = ""
    """`h1` or `h2`, where that is the point."""

    def __str__(self) -> str:
        if self.status == 0:
            return f"TLS alert: {self.reason}"
        if self.reason:
            return f"{self.status} {self.reason}"
        caller = f"{self.client}/{self.profile}" if self.client else "nobody"
        return f"{self.status} {caller} ({self.version})" if self.version else f"{self.status} {caller}"

    def identity(self) -> dict[str, str]:
        """All that the upstream is told of the caller, by header."""
        told = {"x-client-id": self.client, "x-profile-id": self.profile,
                "x-client-principal": PRINCIPALS.get(self.client, "")}
        if self.certificate and self.client:
            told["x-client-identity"] = IDENTITIES[self.client]
            told["x-client-cert-thumbprint"] = mint.thumbprint(OUT / "certs" / f"{self.client}.pem")
        return {name: value for name, value in told.items() if value}


@dataclass(frozen=True)
class Case:
    """One request, sent `times` times; the last answer counts, and those before it must be 200."""

    what: str
    curl: list[str]
    expected: Answer
    times: int = 1


@dataclass(frozen=True)
class KeptOpen:
    """A connection of this client, on which a request is sent again and again."""

    client: str
    path: str

    def cases(self, ports: Ports) -> list[tuple[str, str, bool, Answer]]:
        """What is asked; what the reader types; whether the client's certificate is on the list; what must come back."""
        cert, thumbprint = f"certs/{self.client}", mint.thumbprint(OUT / "certs" / f"{self.client}.pem")
        answer = Answer(200, client=self.client, profile="internal")
        ask = rf"while sleep 1; do printf 'GET {self.path} HTTP/1.1\r\nHost: localhost\r\n\r\n'; done"
        connect = f"openssl s_client -quiet -connect localhost:{ports.mtls} -CAfile certs/root.pem"
        keep_open = f"{ask} | {connect} -cert {cert}.pem -cert_chain {cert}.pem -key {cert}.key"

        def move(entries: str) -> str:
            return f"""(cd certs/revoked && echo '{{"sha256": [{entries}]}}' >new && mv new revoked.json)"""

        return [
            ("a request on a connection that stays open", keep_open, False, answer),
            ("the same connection, its certificate revoked", move(f'"{thumbprint}"'), True,
             Answer(401, "certificate_revoked")),
            ("the same connection, off the list again", move(""), False, answer),
        ]


KEPT_OPEN = KeptOpen("initech-erp", "/ledger/2026/06")


def cases(ports: Ports) -> list[Case]:
    """All of them, in an order that tells a story."""
    url = f"https://localhost:{ports.mtls}"
    root = ["--cacert", "certs/root.pem"]

    def send(path: str, *options: str, cert: str | None = None, token: str | None = None, base: str = url) -> list[str]:
        client = ["--cert", f"certs/{cert}.pem", "--key", f"certs/{cert}.key"] if cert else []
        bearer = ["-H", f"@tokens/{token}"] if token else []
        return [*root, *client, *bearer, *options, base + path]

    def acme(path: str, *options: str) -> list[str]:
        return send(path, *options, cert="acme-mobile", token="acme")

    payment = "/payments/42"
    partner = {"client": "acme-mobile", "profile": "partner"}
    return [
        Case("a health check with a spoofed X-Client-ID", send("/health", "-H", "X-Client-ID: acme-mobile"), Answer(200)),
        Case("a token and the certificate it is bound to", acme(payment, "--http2"), Answer(200, **partner, version="h2")),
        Case("the same, and other people's identity headers",
             acme(payment, "--http1.1", "-H", f"X-Client-Principal: {PRINCIPALS['globex-batch']}",
                  "-H", "X-Client-Cert-Thumbprint: forged", "-H", "X-Forwarded-Client-Cert: Hash=00;URI=forged"),
             Answer(200, **partner, version="h1")),
        Case("no certificate", send(payment, token="acme"), Answer(401, "certificate_missing")),
        # With TLS 1.3 a client is done before the server has looked at its certificate, and then curl may or may not come to
        # read the alert.
        Case("an untrusted certificate: refused by Envoy",
             send(payment, "--tls-max", "1.2", cert="impostor", token="impostor"), Answer(0, "unknown ca")),
        Case("the same, where the listener lets it in",
             send(payment, cert="impostor", token="impostor", base=f"https://localhost:{ports.untrusted}"),
             Answer(401, "certificate_untrusted")),
        Case("no token", send(payment, cert="acme-mobile"),
             Answer(401, "token_missing", headers={"www-authenticate": r'Bearer realm="[^"]+"'})),
        Case("another client's certificate: a stolen token", send(payment, cert="globex-batch", token="acme"),
             Answer(401, "sender_binding_mismatch", headers={"www-authenticate": 'Bearer .*error="invalid_token".*'})),
        Case("a token without cnf", send(payment, cert="acme-mobile", token="acme-without-cnf"),
             Answer(401, "sender_binding_missing")),
        Case("a token whose cnf is in hexadecimal", send(payment, cert="acme-mobile", token="acme-cnf-in-hex"),
             Answer(401, "sender_binding_malformed")),
        Case("an expired token", send(payment, cert="acme-mobile", token="acme-expired"), Answer(401, "token_expired")),
        Case("two Authorization headers", acme(payment, "-H", "@tokens/wallet"), Answer(400, "authorization_malformed")),
        Case("/payments/%2e%2e;/admin", acme("/payments/%2e%2e;/admin", "--path-as-is"), Answer(400, "path_malformed")),
        Case("a trusted certificate of no client", send(payment, cert="stranger", token="stranger"),
             Answer(403, "identity_not_mapped")),
        Case("a token that names another client", send(payment, cert="acme-mobile", token="globex-for-acme"),
             Answer(403, "client_profile_mismatch")),
        Case("X-Client-ID of another client", acme(payment, "-H", "X-Client-ID: globex-batch"),
             Answer(403, "client_mismatch")),
        Case("a profile that is not the client's", acme(payment, "-H", "X-Profile-ID: internal"),
             Answer(403, "client_profile_mismatch")),
        Case("two profiles and none named", send(payment, cert="globex-batch", token="globex"),
             Answer(403, "profile_required")),
        Case("a path that no rule has", acme("/admin"), Answer(403, "path_denied")),
        Case("a denied path, its colon escaped", acme("/payments/all%3Aexport"), Answer(403, "path_denied")),
        Case("a path of another client", acme("/reports/daily"), Answer(403, "collection_denied")),
        Case("a scope that the token lacks", acme("/payments", "-X", "POST"), Answer(403, "insufficient_scope")),
        Case("a method that the rule does not have", acme(payment, "-X", "DELETE"),
             Answer(405, "method_not_allowed", headers={"allow": "GET, HEAD"})),
        Case("four requests, of which three may come at once",
             send("/reports/daily", "-H", "X-Profile-ID: reports", cert="globex-batch", token="globex"),
             Answer(429, "rate_limited", headers={"retry-after": r"\d+"}), times=4),
        Case("internal: a certificate alone will do",
             send("/ledger/2026/05", "-H", "X-Forwarded-For: 203.0.113.9", cert="initech-erp"),
             Answer(200, client="initech-erp", profile="internal")),
        Case("app: a token alone will do", send("/balance", token="wallet"),
             Answer(200, client="wallet-app", profile="app", certificate=False)),
        Case("app: a token alone on a listed path", send("/transfers", "-X", "POST", token="wallet"),
             Answer(401, "certificate_missing")),
        Case("app: a bound token without its certificate", send("/balance", token="wallet-bound"),
             Answer(401, "certificate_missing")),
        Case("app: both, on the listed path",
             send("/transfers", "-X", "POST", cert="wallet-app", token="wallet-bound"),
             Answer(200, client="wallet-app", profile="app")),
        Case("app: its issuer's key in the other's name", send(payment, cert="acme-mobile", token="acme-by-login"),
             Answer(401, "token_issuer_mismatch")),
    ]
