"""What the check of a language model found, as it is kept beside the model, and whether a pin may rest on it.

`<workspace>/recgen/<model>.check.json` is written by `llmcf llm check` (llmcf/gates/model_check.py). It says which
model it is of, what was pinned and which limits decided: of others it says nothing.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from core import storage
from core.errors import LlmcfError
from core.result import plain
from core.settings import Workspace
from llm import pins
from llmcf.gates import deciding
from llmcf.serving import thresholds
from llmcf.serving.verdicts import FAILED, PASSED, Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one model.

    Args:
        model: its hash; `name` is how texts name it.
        pinned: hash of the model that was pinned, None if none was.
        against: which model it was held against, "" if none.
        compared: what of it could not be compared, and why; "" if all was.
        limits: digest of what decided.
        size: how much was looked at (llm.recgen.recipes.Size); `rows` what there was.
    """

    name: str
    model: str
    pinned: str | None
    against: str
    compared: str
    limits: str
    checked: str
    size: dict[str, int | None] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the gates that failed."""
        return [gate.name for gate in self.gates if gate.state == FAILED]

    @property
    def state(self) -> str:
        """In a few words."""
        return PASSED if self.passed else f"{FAILED}: {', '.join(self.failed)}"

    def as_json(self) -> dict[str, Any]:
        return plain({**asdict(self), "passed": self.passed, "failed": self.failed})

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        told = {name: one for name, one in value.items() if name not in ("passed", "failed")}
        return cls(**{**told, "gates": tuple(Gate(**gate) for gate in told["gates"])})


def file(ws: Workspace, name: str) -> Path:
    return ws.path("recgen", f"{name}.check.json")


def write(ws: Workspace, verdict: Verdict) -> Path:
    place = file(ws, verdict.name)
    place.parent.mkdir(parents=True, exist_ok=True)
    storage.write_json(place, verdict.as_json())
    return place


def read(ws: Workspace, name: str) -> Verdict | None:
    """What was found of a model; None if it was not checked, or by a version that tells of it otherwise."""
    try:
        return Verdict.of(storage.read_json(file(ws, name)))
    except (OSError, KeyError, TypeError, ValueError):
        return None


def require_passed(ws: Workspace, name: str, model: str, *, again: str) -> dict[str, Any]:
    """What speaks for the model of that name and hash: the gist of its check, for the note of the pin.

    Args:
        again: the command that checks it.

    Raises:
        LlmcfError: unless its check passed, by today's limits, beside the model that is pinned now.
    """
    found = read(ws, name)
    if found is None:
        raise LlmcfError(f"{name} is not checked, so it is not pinned; run `{again}`")
    if stale := _stale(ws, found, model):
        raise LlmcfError(f"the check of {name} is out of date, so it is not pinned: {stale}; run `{again}`")
    if not found.passed:
        raise LlmcfError(f"{name} did not pass its check, so it is not pinned: {deciding.reasons(found.gates)}")
    figures = {gate.name: gate.value for gate in found.gates if gate.value is not None}
    return {"when": found.checked, "against": found.against, "figures": figures}


def _stale(ws: Workspace, found: Verdict, model: str) -> str:
    """What has changed since a check; empty for nothing. What is pinned already was compared with what it followed."""
    pin = pins.read(ws)
    now = pin.hash if pin else None
    if found.model != model:
        return f"it is of the model {found.model[:12]}, this one is {model[:12]}"
    if found.limits != thresholds.load(ws.dataset).llm_digest:
        return "the limits have changed"
    if now not in (found.pinned, model):
        return f"{_short(found.pinned)} was pinned then, and {_short(now)} is now"
    return ""


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "nothing"
