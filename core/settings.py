"""Where things are. The only reader of os.environ; every variable is named LLMCF_*, and one set to nothing is unset.

Verbs of one stage pass data through a `Workspace`: one folder for one (dataset, order, as-of).
"""

import errno
import os
import re
import tempfile
import unicodedata
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from core.contracts import ORDERS
from core.errors import UsageError, check_choice

PROJECT = Path(__file__).resolve().parents[1]
LATEST = "latest"
_PROBE = 4096  # bytes that are written to see whether a disk has room


def _text(variable: str) -> str | None:
    """The value of a variable, or None where it is not set or blank."""
    value = os.environ.get(variable, "")
    return value if value.strip() else None


def _path(variable: str, default: Path) -> Path:
    """Raises UsageError for what cannot be written into a file of ours: control characters, bytes that are no UTF-8."""
    value = _text(variable)
    if value is None:
        return default.resolve()
    if any(unicodedata.category(sign) in {"Cc", "Cs"} for sign in value):
        raise UsageError(f"{variable} {value!r} holds control characters or bytes that are no UTF-8; rename the folder")
    try:
        return Path(value).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # an unknown ~user, a circle of links
        raise UsageError(f"{variable} {value!r} names no folder: {error}") from None


def places() -> dict[str, Path]:
    """The folders that verbs write to, by the variables that name them."""
    return {
        "LLMCF_HOME": home(),
        "LLMCF_RUNS": runs(),
        "LLMCF_RESULTS": results(),
        "LLMCF_TRITON_MODELS": triton_models(),
    }


def check_places() -> None:
    """Look at once whether what a verb makes can be written, not after minutes of work.

    Raises:
        UsageError: naming the variable, if its folder is a file, may not be written to, or lies on a full disk.
    """
    for variable in ("LLMCF_HOME", "LLMCF_RUNS"):
        folder = places()[variable]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(bytes(_PROBE))
                probe.flush()
        except OSError as error:
            raise UsageError(_unusable(variable, folder, error)) from None
    for variable, folder in places().items():
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{variable} {folder} is a file; name a folder")


def _unusable(variable: str, folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk of {variable} {folder} is full; make room, or name another folder"
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"{variable} {folder} is a file or lies under one; name a folder"
    return f"{variable} {folder} cannot be written to ({error.strerror}); name another folder"


def home() -> Path:
    """Everything the product makes (LLMCF_HOME)."""
    return _path("LLMCF_HOME", PROJECT / "var")


def runs() -> Path:
    """Reports and logs of runs (LLMCF_RUNS)."""
    return _path("LLMCF_RUNS", PROJECT / "runs")


def results() -> Path:
    """Measured figures that reports read and the project keeps (LLMCF_RESULTS)."""
    return _path("LLMCF_RESULTS", PROJECT / "results")


def shared() -> Path:
    """Optional local data: Amazon sets, general instructions, MMLU (LLMCF_SHARED)."""
    return _path("LLMCF_SHARED", PROJECT.parent / "shared")


def amazon_url() -> str:
    """Where UCSD's Amazon files are fetched from (LLMCF_AMAZON_URL)."""
    return _text("LLMCF_AMAZON_URL") or "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"


def triton_models() -> Path:
    """The Triton model repository that `llmcf export` fills (LLMCF_TRITON_MODELS)."""
    return _path("LLMCF_TRITON_MODELS", PROJECT / "triton_models")


def environments() -> Path:
    """Environments beside the main one (LLMCF_ENVS)."""
    return _path("LLMCF_ENVS", PROJECT / ".envs")


def milvus_uri() -> str | None:
    """A Milvus server's address or the path of a Milvus Lite (LLMCF_MILVUS_URI); None for the workspace's Milvus Lite.

    Raises:
        UsageError: for a path that is not absolute, which would be another file in each working folder.
    """
    uri = _text("LLMCF_MILVUS_URI")
    if uri is None or uri.startswith(("http://", "https://", "tcp://", "unix:")):
        return uri
    if re.fullmatch(r"[\w.-]+:\d+", uri):
        raise UsageError(f"LLMCF_MILVUS_URI {uri!r} lacks the scheme; name http://{uri}")
    path = Path(uri).expanduser()
    if path.suffix != ".db":
        raise UsageError(f"LLMCF_MILVUS_URI {uri!r} is no http://host:port, and no path that ends in .db")
    if not uri.startswith("/"):
        raise UsageError(f"LLMCF_MILVUS_URI {uri!r} is another file in each working folder; name {path.absolute()}")
    return uri


def milvus_token() -> str:
    """The Milvus server's credential (LLMCF_MILVUS_TOKEN); never logged."""
    return os.environ.get("LLMCF_MILVUS_TOKEN", "")


def redis_connection() -> str | None:
    """Feast's Redis online store (LLMCF_REDIS, `host:port[,options]`), or None for SQLite."""
    return _text("LLMCF_REDIS")


def llm_url() -> str:
    """An OpenAI-compatible server that generates (LLMCF_LLM_URL, `http://host:port/v1`)."""
    return (_text("LLMCF_LLM_URL") or "http://127.0.0.1:8000/v1").rstrip("/")


def llm_key() -> str:
    """That server's credential (LLMCF_LLM_KEY); never logged."""
    return os.environ.get("LLMCF_LLM_KEY", "")


def rendezvous() -> str | None:
    """Where the machines of one training run meet (LLMCF_RENDEZVOUS, `host:port` of one of them)."""
    return _text("LLMCF_RENDEZVOUS")


def spark_master() -> str:
    """Where `data prepare --engine spark` runs (LLMCF_SPARK_MASTER); this machine's cores unless set."""
    return _text("LLMCF_SPARK_MASTER") or "local[*]"


def feast_ui() -> str | None:
    """Feast's own web page, which the service's page then links to (LLMCF_FEAST_UI, `http://host:port`).

    Raises:
        UsageError: for what is no web address.
    """
    address = _text("LLMCF_FEAST_UI")
    if address is not None and not re.fullmatch(r"https?://[^\s/]+\S*", address):
        raise UsageError(f"LLMCF_FEAST_UI {address!r} is no http:// or https:// address")
    return address


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of one (dataset, order, as-of); `as_of` is "latest" or a day (data before that day only).

    A day may be spelt 2026-10-01, 20261001 or 2026-W40-4, and is kept in the first form.
    """

    dataset: str
    order: str
    as_of: str = LATEST

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)
        if self.as_of != LATEST:
            try:
                day = date.fromisoformat(self.as_of).isoformat()
            except ValueError:
                raise UsageError(f"--as-of {self.as_of!r} is neither {LATEST!r} nor a date like 2026-01-31") from None
            object.__setattr__(self, "as_of", day)  # frozen for everybody else

    @property
    def root(self) -> Path:
        return home() / self.dataset / self.order / self.as_of

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def cot(self, part: str, cot_set: str = "") -> Path:
        """A folder of a set of chains of thought, such as texts or vectors; "" is the main set, the one that serves.

        Raises:
            UsageError: for a name that is no folder's.
        """
        if cot_set and not cot_set.replace("-", "").isalnum():
            raise UsageError(f"the set {cot_set!r} is not named with letters, digits and hyphens")
        return self.path("cot", *(("sets", cot_set) if cot_set else ()), part)
