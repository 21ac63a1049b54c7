"""API keys and what their holders may do: read < write < admin."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from langrec.errors import LangrecError, SettingsError
from langrec.service import schema
from langrec.service.store import Store
from langrec.settings import ServeSettings

ROLES = ("read", "write", "admin")


class NotAllowed(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """A request without the key, or with a key whose role is too low."""

    code = "not_allowed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        role: read, write or admin; empty for nobody.
        name: start of the key's digest, for the audit; "local" where no keys are needed.
    """

    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Keys:
    """Known keys as sha256 digests with their roles; without any, everyone on this machine is admin."""

    roles: Mapping[bytes, str]

    def caller(self, key: str | None) -> Caller:
        """Who holds a key. Every known digest is compared, in constant time each."""
        if not self.roles:
            return Caller("admin", "local")
        if not key:
            return Caller("", "")
        digest = _digest(key)
        role = ""
        for known, its_role in self.roles.items():
            if hmac.compare_digest(known, digest):
                role = its_role
        return Caller(role, digest.hex()[:12] if role else "")


def load_keys(settings: ServeSettings, store: Store | None = None) -> Keys:
    """The keys of the settings, of the keys file and of the store.

    Raises:
        SettingsError: a key is not `role:key`, the file cannot be read, or the address is not loopback and there is
            no key at all.
    """
    roles: dict[bytes, str] = {}
    for place, line in _lines(settings):
        role, colon, key = line.partition(":")
        if not colon or role.strip() not in ROLES or not key.strip():
            raise SettingsError(f"{place}: a key is written as role:key with role read, write or admin", field=place)
        roles[_digest(key.strip())] = role.strip()
    if store is not None:
        with store.read() as connection:
            for digest, role in connection.execute(sa.select(schema.keys.c.digest, schema.keys.c.role)):
                roles[bytes.fromhex(digest)] = role
    if not roles and not is_loopback(settings.host):
        raise SettingsError(
            f"serve.host: {settings.host} can be reached by others, so keys are needed: "
            "give serve.keys_file, or LANGREC_SERVE_KEYS=admin:<key>",
            field="serve.host",
        )
    return Keys(roles)


def is_loopback(host: str) -> bool:
    """True where only this machine can reach an address."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _lines(settings: ServeSettings) -> list[tuple[str, str]]:
    found = [("serve.keys", part.strip()) for part in settings.keys.split(",") if part.strip()]
    if settings.keys_file:
        path = Path(settings.keys_file)
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"serve.keys_file: {path}: cannot be read ({error})", field="serve.keys_file"
            ) from error
        for i, line in enumerate(lines, start=1):
            if line.strip() and not line.lstrip().startswith("#"):
                found.append((f"{path}:{i}", line.strip()))
    return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
