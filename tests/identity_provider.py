"""A real OpenID Connect provider on this machine, which signs in whoever `person` says.

It knows discovery, authorization with a code, tokens signed with RS256, its keys, and the end of
a session; nobody types a password.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "ranklens"
COOKIE_SECRET = "q7Zb2mT9xKf4LwNc8vRh3sYd6pGj1aUe"


@dataclass
class Provider:
    """The running provider. `person` has the claims of who signs in next."""

    address: str
    person: dict[str, Any] = field(default_factory=dict)
    # Signs what the provider's published keys do not fit, as somebody else would.
    forged: bool = False
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    other_key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1"}))
    nonces: dict[str, str] = field(default_factory=dict)

    def id_token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.address, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 600}
        claims |= {"nonce": nonce, "email_verified": True, **self.person}
        key = self.other_key if self.forged else self.key
        return jwt.encode({"alg": "RS256", "kid": "1"}, claims, key)

    def write_secrets(self, path: Path, origin: str = "http://127.0.0.1:{port}") -> Path:
        """Write the `secrets.toml` of a page at `origin` that lets this provider sign in."""
        path.write_text(
            "[auth]\n"
            f'redirect_uri = "{origin}/oauth2callback"\n'
            f'cookie_secret = "{COOKIE_SECRET}"\n'
            f'client_id = "{CLIENT}"\n'
            f'client_secret = "{secrets.token_urlsafe(24)}"\n'
            f'server_metadata_url = "{self.address}/.well-known/openid-configuration"\n'
        )
        return path


class _Connection(BaseHTTPRequestHandler):
    provider: Provider

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        own = self.provider.address
        if address.path == "/.well-known/openid-configuration":
            self._answer(
                {
                    "issuer": own,
                    "authorization_endpoint": f"{own}/authorize",
                    "token_endpoint": f"{own}/token",
                    "jwks_uri": f"{own}/jwks",
                    "end_session_endpoint": f"{own}/end",
                    "id_token_signing_alg_values_supported": ["RS256"],
                    "code_challenge_methods_supported": ["S256"],
                }
            )
        elif address.path == "/jwks":
            self._answer({"keys": [self.provider.key.as_dict(private=False)]})
        elif address.path == "/authorize":
            code = secrets.token_urlsafe(16)
            self.provider.nonces[code] = asked["nonce"]
            back = urlencode({"code": code, "state": asked["state"]})
            self._redirect(f"{asked['redirect_uri']}?{back}")
        elif address.path == "/end":
            self._redirect(asked["post_logout_redirect_uri"])
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = parse_qs(body.decode())["code"][0]
        token = self.provider.id_token(self.provider.nonces.pop(code))
        self._answer({"access_token": "a", "token_type": "Bearer", "id_token": token})

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _redirect(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the output of the tests free of requests."""


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider on a free port."""
    handler = type("_Handler", (_Connection,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    provider = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    handler.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
