"""Files over HTTP: resumed where they broke off, whole or not there, and the same at every later use."""

import gzip
import zlib
from pathlib import Path

import httpx
from filelock import FileLock
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from core import settings, storage
from core.errors import LlmcfError, Unavailable
from core.progress import say

_CHUNK = 1 << 20
_ATTEMPTS = 5


def fetch(base: str, name: str, *, wait: float = 1.0) -> Path:
    """The file `base`/`name` in home()/downloads, fetched if it is not there.

    No checksums of UCSD's files are published: the first download's own, taken after gzip's had been verified, is kept
    beside the file, and every later use must have it.

    Args:
        wait: seconds before the second attempt; doubled for each further one.

    Raises:
        Unavailable: if the server cannot be reached.
        LlmcfError: if it answers with an error, or the file on disk is not the one that was fetched.
    """
    path = settings.home() / "downloads" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    stamp = path.with_name(f"{name}.sha256")
    with FileLock(path.with_name(f".{name}.lock")):
        if path.exists() and stamp.exists():
            if storage.sha256(path) == stamp.read_text(encoding="ascii").strip():
                return path
            raise LlmcfError(f"{path} has changed since it was fetched; remove it and {stamp.name} to fetch it again")
        part = path.with_name(f"{name}.part")
        _download(f"{base.rstrip('/')}/{name}", part, wait)
        _verify(part)
        with storage.atomic_path(stamp) as beside:
            beside.write_text(storage.sha256(part) + "\n", encoding="ascii")
        return part.rename(path)


def _download(url: str, part: Path, wait: float) -> None:
    attempts = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=wait),
        retry=retry_if_exception_type((httpx.TransportError, _IncompleteError)),
    )
    try:
        for attempt in attempts:
            with attempt:
                _continue(url, part)
    except RetryError as error:
        cause = error.last_attempt.exception()
        raise Unavailable(
            f"{url} could not be fetched: {cause}; run again to go on, or give the file by --source"
        ) from None
    except httpx.HTTPStatusError as error:
        raise LlmcfError(f"{url} answers {error.response.status_code}; give the file by --source") from None


class _IncompleteError(Exception):
    """The connection ended before the announced length."""


def _continue(url: str, part: Path) -> None:
    """Fetch what `part` lacks."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    say(f"fetching {url}" + (f" from byte {have:,}" if have else ""))
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:  # it was whole already
            return
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        expected = int(response.headers.get("Content-Length", -1)) + (have if resumed else 0)
        with part.open("ab" if resumed else "wb") as out:
            for chunk in response.iter_bytes():  # as they come: what a broken connection has brought is kept
                out.write(chunk)
    if "Content-Length" in response.headers and part.stat().st_size < expected:
        raise _IncompleteError(f"{part.stat().st_size:,} of {expected:,} bytes")


def _verify(part: Path) -> None:
    """gzip carries a checksum of its own; reading the file to the end compares it."""
    try:
        with gzip.open(part) as stream:
            while stream.read(_CHUNK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        part.unlink()
        raise LlmcfError(f"what came is no whole gzip file ({error}); run again to fetch it anew") from None
