"""What App Service does for an app with a managed identity, and Azure for its storage's https: gives tokens on
loopback, and a certificate of an authority that clients are told to trust.

Usage: platform.py FOLDER, with IDENTITY_HEADER in the environment. Writes authority.pem, server.pem and server.key
there, then the endpoint's address to `endpoint`; serves until it is ended.

A token is what Azurite's `--oauth basic` looks at (issuer, audience, times) with a signature that nobody made.
"""

import base64
import datetime
import http.server
import ipaddress
import json
import os
import pathlib
import sys
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

FOLDER = pathlib.Path(sys.argv[1])
HEADER = os.environ["IDENTITY_HEADER"]
AUDIENCE = "https://storage.azure.com"
ISSUER = "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/"
HOUR_S = 3600


def certified(name, key, issuer, issuer_key, *extensions):
    """A day's certificate; an authority and its servers must not be one and the same for every TLS stack."""
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    for extension in extensions:
        built = built.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return built.sign(issuer_key, hashes.SHA256())


def certificates():
    named = lambda name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    authority, server = named("authority of a judge"), named("storage on loopback")
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    names = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    )
    basic = x509.BasicConstraints(ca=True, path_length=None)
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    own = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    write("authority.pem", certified(authority, authority_key, authority, authority_key, basic, usage, own))
    write("server.pem", certified(server, key, authority, authority_key, names, of_authority))
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (FOLDER / "server.key").write_bytes(private)


def write(name, certificate):
    (FOLDER / name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def token(audience):
    encoded = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    now = int(time.time())
    claims = {"aud": audience, "iss": ISSUER, "iat": now - 60, "nbf": now - 60, "exp": now + HOUR_S, "ver": "1.0"}
    return f"{encoded({'typ': 'JWT', 'alg': 'RS256'})}.{encoded(claims)}.bm9ib2R5", claims["exp"]


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(asked.query))
        known = self.headers.get("x-identity-header") == HEADER and query.get("api-version") == "2019-08-01"
        if not known or query.get("resource", "").rstrip("/") != AUDIENCE:
            return self.answer(400, {"error": "invalid_request"})
        given, ends = token(query["resource"])
        self.answer(200, {"access_token": given, "expires_on": str(ends), "resource": AUDIENCE, "token_type": "Bearer"})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    certificates()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    ready = FOLDER / "endpoint.new"
    ready.write_text(f"http://127.0.0.1:{server.server_port}/msi/token")
    ready.rename(FOLDER / "endpoint")
    server.serve_forever()


if __name__ == "__main__":
    main()
