"""What the check of a release found, as it is kept beside the manifest, and whether a promotion may rest on it.

`<release>/check.json` is written by `llmcf release check` (llmcf/gates/), whole or not at all. It says which release
was live, which manifest and which thresholds it was made with: of others it says nothing.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from core import storage
from core.errors import LlmcfError
from core.result import plain
from llmcf.serving import manifest, releases, thresholds
from llmcf.serving.manifest import Release

FILE = "check.json"
PAGE = "check"  # the folder of its page
PASSED, FAILED, NOT_APPLICABLE = STATES = ("passed", "failed", "not applicable")
UNCHECKED, OUT_OF_DATE = "unchecked", "out of date"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate's decision, of a release or a model. Numbers that were not measured, or are not asked for, are None.

    Args:
        state: one of STATES; `reason` says why, with the figures.
        value: of the release, with the interval `low` to `high`; `live` is the live release's on the same rows, of a
            language model that of the model it is held against.
        gap: value less live, of latencies as a share of live; `gap_low` to `gap_high` is the paired interval.
        bound, margin: the thresholds (llmcf/serving/thresholds.py).
        higher: whether more is better.
    """

    name: str
    state: str
    reason: str
    higher: bool = True
    value: float | None = None
    low: float | None = None
    high: float | None = None
    live: float | None = None
    gap: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    bound: float | None = None
    margin: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one release.

    Args:
        manifest: digest of the release's manifest; `thresholds` of what decided.
        against: the release that was live, None if none was or it is this one.
        compared: why it, or its timings, was not compared with that, "" if all was.
        rows: what was scored: rows of the ranker, requests of the retriever, users.
    """

    release: int
    manifest: str
    against: int | None
    compared: str
    thresholds: str
    checked: str
    rows: dict[str, int] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the gates that failed."""
        return [gate.name for gate in self.gates if gate.state == FAILED]

    def as_json(self) -> dict[str, Any]:
        return plain({**asdict(self), "passed": self.passed, "failed": self.failed})

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        told = {name: one for name, one in value.items() if name not in ("passed", "failed")}
        return cls(**{**told, "gates": tuple(Gate(**gate) for gate in told["gates"])})


def digest(release: Release) -> str:
    """Of the release's manifest."""
    return storage.sha256(release.folder / manifest.FILE)


def write(release: Release, verdict: Verdict) -> Path:
    storage.write_json(release.folder / FILE, verdict.as_json())
    return release.folder / FILE


def read(dataset: str, number: int) -> Verdict | None:
    """What was found of a release; None if it was not checked, or by a version that tells of it otherwise."""
    try:
        return Verdict.of(storage.read_json(manifest.folder(dataset, number) / FILE))
    except (OSError, KeyError, TypeError, ValueError):
        return None


def against(release: Release) -> int | None:
    """The live release that this one has to be compared with, None if there is no other."""
    found = releases.pointer(release.dataset)
    return None if found is None or found.release == release.number else found.release


def state(dataset: str, number: int) -> str:
    """In a few words, for lists: passed, failed and by which gates, unchecked."""
    found = read(dataset, number)
    if found is None:
        return UNCHECKED
    return PASSED if found.passed else f"{FAILED}: {', '.join(found.failed)}"


def require_passed(release: Release) -> None:
    """Raises LlmcfError unless the check of this release passed, against what is live now, by today's thresholds."""
    found, name = read(release.dataset, release.number), f"release {release.number} of {release.dataset}"
    again = f"run `llmcf release check --dataset {release.dataset} --release {release.number}`"
    if found is None:
        raise LlmcfError(f"{name} is not checked, so it does not go live; {again}")
    if stale := _stale(release, found):
        raise LlmcfError(f"the check of {name} is out of date, so it does not go live: {stale}; {again}")
    if not found.passed:
        reasons = "; ".join(f"{gate.name}: {gate.reason}" for gate in found.gates if gate.state == FAILED)
        raise LlmcfError(f"{name} did not pass its check, so it does not go live: {reasons}")


def _stale(release: Release, found: Verdict) -> str:
    """What has changed since a check; empty for nothing. One that is live was compared with what it followed."""
    now, pointer = against(release), releases.pointer(release.dataset)
    if found.manifest != digest(release):
        return "the release is another than the one that was checked"
    if found.thresholds != thresholds.load(release.dataset).digest:
        return "the thresholds have changed"
    if found.against != now and not (pointer is not None and pointer.release == release.number):
        return f"it was compared with release {found.against or 'none'}, and {now or 'none'} is live"
    return ""
