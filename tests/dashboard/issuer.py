"""A local OpenID Connect provider for tests. Every login gets the configured account."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, PASSWORD = "trimcore-tests", "a-password-of-a-test"  # pragma: allowlist secret


class Issuer(ThreadingHTTPServer):
    """`account`: the claims of the next login. `asked`: the requested paths."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)
        self.account = {"sub": "1", "email": "ada@example.org", "email_verified": True, "name": "Ada"}
        self.codes: dict[str, dict] = {}
        self.asked: list[str] = []


class _Answer(BaseHTTPRequestHandler):
    server: Issuer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        place = urlsplit(self.path)
        self.server.asked.append(place.path)
        if place.path == "/.well-known/openid-configuration":
            url = self.server.url
            self._json({
                "issuer": url, "authorization_endpoint": f"{url}/authorize", "token_endpoint": f"{url}/token",
                "jwks_uri": f"{url}/jwks", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"], "scopes_supported": ["openid", "email", "profile"],
            })  # fmt: skip
        elif place.path == "/jwks":
            self._json({"keys": [self.server.key.as_dict(private=False)]})
        elif place.path == "/authorize":
            asked = {name: values[0] for name, values in parse_qs(place.query).items()}
            code = secrets.token_urlsafe(16)
            self.server.codes[code] = {**asked, "account": dict(self.server.account)}
            self.send_response(302)
            back = {"code": code, "state": asked["state"]}
            self.send_header("Location", f"{asked['redirect_uri']}?{urlencode(back)}")
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        sent = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.server.asked.append(urlsplit(self.path).path)
        granted = self.server.codes.pop(sent["code"][0], None)
        if granted is None or not self._proved(granted, sent):
            self.send_error(400)
            return
        now = int(time.time())
        claims = {"iss": self.server.url, "aud": CLIENT, "iat": now, "exp": now + 600, **granted["account"]}
        claims |= {"nonce": granted["nonce"]} if "nonce" in granted else {}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.server.key)
        self._json({"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "id_token": token})

    def _proved(self, granted: dict, sent: dict) -> bool:
        """Whether the client has its password and passes the code challenge (PKCE), if it sent one."""
        basic = base64.b64encode(f"{CLIENT}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {basic}" and sent.get("client_secret") != [PASSWORD]:
            return False
        if "code_challenge" not in granted:
            return True
        digest = hashlib.sha256(sent["code_verifier"][0].encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=") == granted["code_challenge"]

    def _json(self, value: dict) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        issuer.shutdown()
        issuer.server_close()
        thread.join(10)
