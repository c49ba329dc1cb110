"""Who may ask what: keys with roles, kept as digests in `<home>/service/keys.json`.

An empty file `.keyed` beside it says that there was a key once, should that file be lost.

A key is 32 random bytes, so a plain SHA-256 of it cannot be turned back; it is shown once, when it is made.
"""

import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from core import settings, storage
from core.errors import LlmcfError, UsageError, check_choice

HEADER = "X-API-Key"
ROLES = ("read", "write", "admin")  # each may do what those before it may
_PREFIX = "llmcf_"


@dataclass(frozen=True, slots=True)
class Key:
    """What is kept of a key."""

    name: str
    role: str
    digest: str
    created: str

    def allows(self, role: str) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


def path() -> Path:
    return settings.home() / "service" / "keys.json"


def read() -> list[Key]:
    """All keys, oldest first.

    Raises:
        LlmcfError: if their file cannot be read.
    """
    try:
        return [Key(**one) for one in storage.read_json(path())]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LlmcfError(f"{path()} cannot be read ({error.strerror}); it belongs to who runs the service") from error
    except (ValueError, TypeError) as error:
        raise LlmcfError(f"{path()} holds no keys ({error}); bring it back, or remove it and make them anew") from error


def were_made() -> bool:
    """Whether there was ever a key."""
    return path().exists() or _mark().exists()


def remember() -> None:
    """There are keys, or were: whatever becomes of their file, the door stays closed."""
    _mark().touch()


def add(name: str, role: str) -> str:
    """Make a key and return it; nobody can read it again.

    Raises:
        UsageError: for an unknown role, or a name that is empty or taken.
    """
    check_choice("role", role, ROLES)
    with _locked():
        kept = read()
        if not name.strip() or name in {one.name for one in kept}:
            raise UsageError(f"a key needs a name that no other has, not {name!r}; `llmcf key list` shows them")
        key = _PREFIX + secrets.token_urlsafe(32)
        _write([*kept, Key(name, role, digest(key), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")])
    return key


def remove(name: str) -> None:
    """Whoever has it is refused from then on.

    Raises:
        UsageError: if there is none of that name.
    """
    with _locked():
        kept = read()
        left = [one for one in kept if one.name != name]
        if len(left) == len(kept):
            raise UsageError(f"no key is named {name!r}; there are: {', '.join(one.name for one in kept) or 'none'}")
        _write(left)


def find(key: str, among: list[Key]) -> Key | None:
    """Whose key it is; takes as long whether there is one or not."""
    wanted, found = digest(key), None
    for one in among:
        if hmac.compare_digest(one.digest, wanted):
            found = one
    return found


def digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _mark() -> Path:
    return path().with_name(".keyed")


def _locked() -> FileLock:
    path().parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path().with_name(".keys.lock"))


def _write(kept: list[Key]) -> None:
    remember()
    storage.write_json(path(), [asdict(one) for one in kept])
    path().chmod(0o600)
