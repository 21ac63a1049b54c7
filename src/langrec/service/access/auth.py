"""Who asks: callers and what they may do, and the keys that the settings give."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from langrec.errors import LangrecError, SettingsError
from langrec.service.access.scopes import ACTS
from langrec.settings import ServeSettings

ROLES = ACTS
_log = logging.getLogger("langrec.service")


class NotAllowed(LangrecError):  # noqa: N818 - reads as a sentence where it is raised
    """A request without the key, or with a key that may not do this."""

    code = "not_allowed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        role: read, write or admin; "scopes" for a key that may do just what its scopes say; empty for nobody.
        name: the id of the key, which is the start of its digest; "local" where no keys are needed.
        scopes: `area:act` of a key with the role "scopes".
        tenant: whose key it is, where a server has tenants.
        rate: requests a second; None as the settings say.
        burst: requests at once; None as the settings say.
    """

    role: str
    name: str
    scopes: frozenset[str] = frozenset()
    tenant: str = ""
    rate: float | None = None
    burst: int | None = None

    @property
    def operates(self) -> bool:
        """Whether the caller runs the server, and so may be told where it keeps what."""
        return self.role == "admin" and not self.tenant

    def may(self, act: str, area: str) -> bool:
        """Whether an act in an area is allowed. A role holds the acts below it; a scope is that act alone."""
        if self.role in ROLES:
            return ROLES.index(act) <= ROLES.index(self.role)
        return f"{area}:{act}" in self.scopes


NOBODY = Caller("", "")
LOCAL = Caller("admin", "local")


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of the settings as sha256 digests with their roles; without any, everyone on this machine is admin."""

    roles: Mapping[bytes, str] = field(default_factory=dict)

    def caller(self, key: str | None) -> Caller:
        """Who holds a key. Every known digest is compared, in constant time each."""
        if not self.roles:
            return LOCAL
        if not key:
            return NOBODY
        digest = digest_of(key)
        role = ""
        for known, its_role in self.roles.items():
            if hmac.compare_digest(known, digest):
                role = its_role
        return Caller(role, digest.hex()[:12]) if role else NOBODY


def load_keys(settings: ServeSettings) -> Keys:
    """The keys of the settings and of the keys file.

    Raises:
        SettingsError: a key is not `role:key`, or the file cannot be read.
    """
    roles: dict[bytes, str] = {}
    for place, line in _lines(settings):
        role, colon, key = line.partition(":")
        if not colon or role.strip() not in ROLES or not key.strip():
            raise SettingsError(f"{place}: a key is written as role:key with role read, write or admin", field=place)
        roles[digest_of(key.strip())] = role.strip()
    return Keys(roles)


def check_reach(settings: ServeSettings, needed: bool) -> None:
    """Raises SettingsError where others can reach the address and no key is needed."""
    if not needed and not is_loopback(settings.host):
        raise SettingsError(
            f"serve.host: {settings.host} can be reached by others, so keys are needed: make one with "
            "`langrec keys add`, give serve.keys_file, or LANGREC_SERVE_KEYS=admin:<key>",
            field="serve.host",
        )


def is_loopback(host: str) -> bool:
    """True where only this machine can reach an address."""
    name = host.strip("[]").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def warn_where_open(path: Path, setting: str) -> None:
    """Says in the log that a file of secrets is open to every user of the machine, to read or to write."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # reading it says what is wrong
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        _log.warning(
            "%s: %s is open to every user of this machine (mode %03o); chmod o-rwx", setting, path, mode & 0o777
        )


def digest_of(key: str) -> bytes:
    """The sha256 of a key, which is all that is kept of it.

    A key that `langrec keys add` makes is drawn from 2**256: nobody can try them all, so a slow hash or a salt, which
    are for secrets that people choose, would add time to every request and nothing else.
    """
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _lines(settings: ServeSettings) -> list[tuple[str, str]]:
    found = [("serve.keys", part.strip()) for part in settings.keys.split(",") if part.strip()]
    if settings.keys_file:
        path = Path(settings.keys_file)
        warn_where_open(path, "serve.keys_file")
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
