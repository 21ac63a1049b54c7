"""Headers on every answer, pages of other sites kept out, and TLS."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl

import httpx
import pytest
from live_server import PATIENCE

from langrec.cli.serve import address, tls_of
from langrec.errors import SettingsError
from langrec.service.routes.pages import FOLDER
from langrec.settings import ServeSettings

ALWAYS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def policy(answer):
    parts = (part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    return {part[0]: part[1] for part in parts}


def test_every_answer_carries_the_headers_that_protect_it(shared):
    tries = [
        "/",
        "/docs",
        "/openapi.json",
        "/console/main.js",
        "/api/users",
        "/api/nothing",
        "/api/popular?n=x",
        "/metrics",
    ]
    for path in tries:
        answer = shared.client.get(path)
        assert ALWAYS.items() <= dict(answer.headers).items(), path
        assert "camera=()" in answer.headers["permissions-policy"] and "strict-transport-security" not in answer.headers
        found = policy(answer)
        assert found["default-src"] == found["script-src"] == found["style-src"] == found["connect-src"] == "'self'"
        assert found["object-src"] == found["base-uri"] == found["frame-ancestors"] == "'none'"
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert shared.client.get("/api/users").headers["cache-control"] == "no-store"
    assert shared.client.get("/console/main.js").headers["cache-control"] == "no-cache"


def test_the_page_holds_nothing_that_the_policy_forbids():
    page = (FOLDER / "index.html").read_text("utf-8")
    assert "<script>" not in page and " style=" not in page and " onclick=" not in page and "http" not in page
    for path in FOLDER.rglob("*.js"):
        text = path.read_text("utf-8")
        assert "innerHTML" not in text and "eval(" not in text and "document.write" not in text, path.name


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {"Origin": "https://evil.example"}, 403),
        ("DELETE", {"Origin": "null"}, 403),
        ("POST", {"Origin": "http://localhost:1"}, 403),
        ("POST", {"Origin": "http://["}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site"}, 403),
        ("GET", {"Sec-Fetch-Site": "none"}, 200),
        ("GET", {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 200),
        ("GET", {}, 200),
    ],
)
def test_a_server_without_keys_takes_no_wishes_of_other_sites(shared, method, headers, status):
    path = "/api/user/none" if method == "DELETE" else "/api/users"
    body = None if method == "GET" else []
    answer = shared.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert answer.json()["code"] == "not_allowed"


def test_its_own_pages_and_programs_may_change_things(live):
    event = [{"FeedbackType": "click", "UserId": "ann", "ItemId": "sea00"}]
    for headers in ({}, {"Origin": live.url, "Sec-Fetch-Site": "same-origin"}):
        assert live.client.post("/api/feedback", json=event, headers=headers).status_code == 200


def test_with_keys_the_origin_does_not_matter(serve):
    live = serve(keys="write:k")
    headers = {"Origin": "https://shop.example", "Sec-Fetch-Site": "cross-site", "X-API-Key": "k"}
    assert live.client.post("/api/users", json=[], headers=headers).status_code == 200
    assert live.client.post("/api/users", json=[], headers={"Origin": "https://shop.example"}).status_code == 401


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls_settings_that_do_not_fit_are_refused(certificate, tmp_path):
    cert, key = map(str, certificate)
    assert tls_of(ServeSettings()) == {}
    assert address(ServeSettings(tls_cert=cert)).startswith("https://")
    for wrong in (
        {"tls_cert": cert},
        {"tls_key": key},
        {"tls_cert": cert, "tls_key": str(tmp_path / "none")},
        {"tls_cert": key, "tls_key": key},
        {"tls_cert": cert, "tls_key": key, "tls_min": "1.1"},
    ):
        with pytest.raises(SettingsError, match=r"serve\.tls"):
            tls_of(ServeSettings(**wrong))


@pytest.mark.slow
def test_a_server_with_a_certificate_speaks_https_from_its_oldest_version_on(start_process, certificate):
    cert, key = map(str, certificate)
    server = start_process("--tls-cert", cert, "--tls-key", key, "--set", "serve.tls_min=1.3")
    trusted = ssl.create_default_context(cafile=cert)
    server.client.close()
    server.client = httpx.Client(base_url=f"https://127.0.0.1:{server.port}", verify=trusted, timeout=PATIENCE)
    server.wait()
    answer = server.client.get("/api/users")
    assert answer.status_code == 200 and "max-age" in answer.headers["strict-transport-security"]
    old = ssl.create_default_context(cafile=cert)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", server.port)) as plain, pytest.raises(ssl.SSLError):
        old.wrap_socket(plain, server_hostname="127.0.0.1")
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{server.port}/api/users")
