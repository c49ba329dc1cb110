"""Where things are. The only reader of LLMCF_ addresses and secrets; a variable that is set to nothing is unset.

Each is named LLMCF_*, but for those by which Kubernetes and Slurm tell a process its place among its like (`shard`),
and those of OpenLineage (`lineage_namespace`).

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
from urllib.parse import urlsplit

from core.contracts import ORDERS
from core.errors import UsageError, check_choice

PROJECT = Path(__file__).resolve().parents[1]
LATEST = "latest"
_SHORTEST_LEASE_S, _LONGEST_LEASE_S = 0.5, 3600
_MANY = 10_000  # workers, or their GPUs
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


def lineage_namespace() -> str | None:
    """The namespace of our OpenLineage events, or None where none are sent: OpenLineage's own variables say to whom."""
    disabled = (_text("OPENLINEAGE_DISABLED") or "").strip().lower() == "true"
    places = ("OPENLINEAGE_URL", "OPENLINEAGE_CONFIG", "OPENLINEAGE__TRANSPORT")
    if disabled or not any(name.startswith(places) and _text(name) for name in os.environ):
        return None
    return _text("OPENLINEAGE_NAMESPACE") or "llmcf"


def llm_url() -> str:
    """An OpenAI-compatible server that generates (LLMCF_LLM_URL, `http://host:port/v1`).

    Raises:
        UsageError: if it is no such address, or holds a credential, which would stand in errors and logs.
    """
    url = (_text("LLMCF_LLM_URL") or "http://127.0.0.1:8000/v1").rstrip("/")
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if "@" in url:
        raise UsageError("LLMCF_LLM_URL holds a user or a password; LLMCF_LLM_KEY is the place of a credential")
    if not whole:
        raise UsageError(f"LLMCF_LLM_URL is {url!r}; it is an address such as http://127.0.0.1:8000/v1")
    return url


def llm_key() -> str:
    """That server's credential (LLMCF_LLM_KEY); never logged."""
    return os.environ.get("LLMCF_LLM_KEY", "")


def rendezvous() -> str | None:
    """Where the machines of one training run meet (LLMCF_RENDEZVOUS, `host:port` of one of them)."""
    return _text("LLMCF_RENDEZVOUS")


def spark_master() -> str:
    """Where `data prepare --engine spark` runs (LLMCF_SPARK_MASTER); this machine's cores unless set."""
    return _text("LLMCF_SPARK_MASTER") or "local[*]"


def lease_seconds() -> float:
    """After how many seconds without a sign of life a worker's texts are another's (LLMCF_LEASE_SECONDS).

    A sign is given three times as often. Longer than the pauses of a file system or a process, or live workers lose
    what they hold.

    Raises:
        UsageError: for what is no number of seconds between a half and an hour.
    """
    value = _text("LLMCF_LEASE_SECONDS") or "30"
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not _SHORTEST_LEASE_S <= seconds <= _LONGEST_LEASE_S:
        raise UsageError(
            f"LLMCF_LEASE_SECONDS {value!r} is no number of seconds between {_SHORTEST_LEASE_S} and {_LONGEST_LEASE_S}"
        )
    return seconds


def shard() -> tuple[str, str] | None:
    """Which part of the texts to write where no option says so (LLMCF_SHARD, as --shard takes it).

    Asked in this order: LLMCF_SHARD, which a task of Airflow sets from its map index; Kubernetes' completion index with
    LLMCF_SHARDS for how many there are; Slurm's array.

    Returns:
        The part as `i/N` or `off`, and who says so.

    Raises:
        UsageError: if Kubernetes or Slurm gives an index, and nothing says of how many.
    """
    if own := _text("LLMCF_SHARD"):
        return own, "LLMCF_SHARD"
    if index := _text("JOB_COMPLETION_INDEX"):
        if count := shard_count():
            return f"{index}/{count}", "JOB_COMPLETION_INDEX"
        raise UsageError(
            f"JOB_COMPLETION_INDEX {index!r} does not say of how many: set LLMCF_SHARDS to the Job's completions, or "
            "name --shard i/N, or --shard off for the queue that all workers share"
        )
    if index := _text("SLURM_ARRAY_TASK_ID"):
        return _slurm_shard(index), "SLURM_ARRAY_TASK_ID"
    return None


def shard_count() -> str | None:
    """How many parts there are, for Kubernetes, which tells a pod its index alone (LLMCF_SHARDS)."""
    return _text("LLMCF_SHARDS")


def _slurm_shard(index: str) -> str:
    """Slurm's array may begin anywhere and count in steps; the part counts from 0 in ones."""
    count = _text("SLURM_ARRAY_TASK_COUNT")
    least, step = _text("SLURM_ARRAY_TASK_MIN") or "0", _text("SLURM_ARRAY_TASK_STEP") or "1"
    if not count:
        raise UsageError(
            f"SLURM_ARRAY_TASK_ID {index!r} does not say of how many (SLURM_ARRAY_TASK_COUNT is not set); name "
            "--shard i/N, or --shard off for the queue that all workers share"
        )
    try:
        place, rest = divmod(int(index) - int(least), int(step))
    except (ValueError, ZeroDivisionError):
        place, rest = -1, 1
    if rest or place < 0:
        raise UsageError(f"SLURM_ARRAY_TASK_ID {index!r} is no place in an array from {least} in steps of {step}")
    return f"{place}/{count}"


def ray_address() -> str | None:
    """The Ray cluster of `--engine ray` (LLMCF_RAY_ADDRESS, `auto` or `host:port`); one of this machine if not set.

    Raises:
        UsageError: for anything else.
    """
    value = _text("LLMCF_RAY_ADDRESS")
    if value not in (None, "auto") and not re.fullmatch(r"(\[[\da-fA-F:.]+\]|[^\s/:\[\]]+):\d{1,5}", value):
        raise UsageError(f"LLMCF_RAY_ADDRESS {value!r} is neither auto nor host:port")
    return value


def for_writers_elsewhere() -> dict[str, str]:
    """The variables that a writer on another machine must see as we do; secrets are that machine's own."""
    told = {"LLMCF_HOME": str(home()), "LLMCF_ENVS": str(environments()), "LLMCF_LLM_URL": llm_url()}
    return {name: value for name, value in told.items() if name == "LLMCF_HOME" or _text(name)}


def ray_actors() -> int:
    """How many workers write on it at once (LLMCF_RAY_ACTORS); each has an engine and a CPU of its own."""
    return int(_number("LLMCF_RAY_ACTORS", _text("LLMCF_RAY_ACTORS") or "1", least=1, whole=True))


def ray_gpus() -> float:
    """How many GPUs each of these workers has (LLMCF_RAY_GPUS), such as 1 with vLLM, or a part of one."""
    return _number("LLMCF_RAY_GPUS", _text("LLMCF_RAY_GPUS") or "0", least=0)


def _number(variable: str, value: str, *, least: float, whole: bool = False) -> float:
    try:
        number = float(int(value) if whole else value)
    except ValueError:
        number = -1.0
    if not least <= number <= _MANY:
        kind = "whole number" if whole else "number"
        raise UsageError(f"{variable} {value!r} is no {kind} from {least:g} to {_MANY}")
    return number


def feast_ui() -> str | None:
    """Feast's own web page, which the service's page then links to (LLMCF_FEAST_UI, `http://host:port`).

    Raises:
        UsageError: for what is no web address.
    """
    return _web_address("LLMCF_FEAST_UI")


def otlp_endpoint() -> str | None:
    """Where the service sends OpenTelemetry spans, by OTLP over HTTP (LLMCF_OTLP_ENDPOINT, `http://host:port`).

    Raises:
        UsageError: for what is no web address.
    """
    address = _web_address("LLMCF_OTLP_ENDPOINT")
    return address and address.rstrip("/")


def requests_per_second() -> float:
    """How many requests of one key each worker of the service takes (LLMCF_REQUESTS_PER_SECOND); twice that at once.

    A batch counts as its entries.

    Raises:
        UsageError: for what is no positive number.
    """
    text = _text("LLMCF_REQUESTS_PER_SECOND") or "200"
    if not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text) or not float(text):
        raise UsageError(f"LLMCF_REQUESTS_PER_SECOND {text!r} is no positive number, such as 200")
    return float(text)


def requests_at_once() -> int:
    """How many requests each worker of the service works on at once (LLMCF_REQUESTS_AT_ONCE).

    More of them help where their parts are far away; on the machine itself they keep each other, and refusals, waiting.
    """
    return int(_number("LLMCF_REQUESTS_AT_ONCE", _text("LLMCF_REQUESTS_AT_ONCE") or "2", least=1, whole=True))


def alert_webhook() -> str | None:
    """Where alerts are posted as JSON (LLMCF_ALERT_WEBHOOK, `https://host/path`); never logged.

    Raises:
        UsageError: for what is no web address.
    """
    return _web_address("LLMCF_ALERT_WEBHOOK", secret=True)


def _web_address(variable: str, *, secret: bool = False) -> str | None:
    address = _text(variable)
    if address is not None and not re.fullmatch(r"https?://[^\s/]+\S*", address):
        raise UsageError(f"{variable}{'' if secret else f' {address!r}'} is no http:// or https:// address")
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
