"""Identities without Entra: an endpoint for managed identities as a function app has it, whose tokens say
what a test wants, and a certificate for storage that is asked with tokens.

The tokens are signed by nobody. Azurite looks at what they say: issuer, audience, from when and until when.
"""

import base64
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CLIENT_ID = "00000000-0000-0000-0000-0000000000c1"
_HEADER = "of this endpoint"


def token(audience: str = "https://storage.azure.com", valid_from: int = -60, valid_until: int = 3600) -> str:
    """A token for an audience, from and until so many seconds from now."""
    now = int(time.time())
    claims = {
        "aud": audience,
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000001/",
        "iat": now + valid_from,
        "nbf": now + valid_from,
        "exp": now + valid_until,
    }
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmVk"])


@dataclass
class Identity:
    """What the endpoint answers: its ``token``, or 400 if there is none; and who asked for what."""

    token: str | None
    asked: list[dict[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def identity(given: str | None) -> Iterator[Identity]:
    """An endpoint that gives this token; its ``environment`` is what the host sets for its worker."""
    known = Identity(given)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("X-IDENTITY-HEADER") != _HEADER:
                self.send_error(403)
                return
            known.asked.append(
                {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            )
            answer: dict[str, Any] = {"error": "no such identity"}
            if known.token:
                answer = {"access_token": known.token, "token_type": "Bearer"}
                answer |= {
                    "expires_on": str(int(time.time()) + 3600),
                    "resource": "https://storage.azure.com",
                }
            self.send_response(200 if known.token else 400)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        running = threading.Thread(target=server.serve_forever, args=(0.02,))
        running.start()
        endpoint = f"http://127.0.0.1:{server.server_port}/token"
        known.environment = {"IDENTITY_ENDPOINT": endpoint, "IDENTITY_HEADER": _HEADER}
        try:
            yield known
        finally:
            server.shutdown()
            running.join()


def certify(folder: Path) -> None:
    """Write cert.pem and key.pem for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
