"""What a release is held against before it goes live, and a language model before it is pinned: defaults, and a data
set's own in a file.

    required = true             # nothing goes live whose check has not passed
    decide_by = "estimate"      # the figure itself must keep to it; "interval" (default): the worse end of its interval
    off = ["skew"]              # gates that are left out
    users = 2000                # of the day's held-out users, at most so many are asked for
    uncompared = true           # passes by the bounds alone where the live release cannot be asked

    [auc]
    bound = 0.7                 # never worse than this
    margin = 0.01               # at most so much worse than the live release, on the same rows

    [llm_auc]                   # of the language model, whose margin is to the pinned one
    margin = 0.05

The file is TOML, `<home>/<data set>/gates.toml`; what it leaves out stays as it is below. `inf` as a margin, or a bound
that every figure keeps to (`-inf`, `inf`), asks nothing. A file with a fault is refused as a whole.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import inf, isnan
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from core import settings, storage
from core.errors import UsageError

FILE = "gates.toml"
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=True)
_EXACTLY = Field(strict=True)  # no "yes" for true, no true for 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Of one figure.

    Args:
        bound: what it must reach, or must not pass where less is better; needs no other release.
        margin: by how much it may be worse than the live release's or the pinned model's; of latencies, by which share.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    bound: Annotated[float, _EXACTLY]
    margin: Annotated[float, _EXACTLY, Field(ge=0)] = inf

    @field_validator("bound", "margin")
    @classmethod
    def _number(cls, value: float) -> float:
        if isnan(value):
            raise ValueError("NaN is no threshold")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Of a data set. The defaults let through what is about as good as the live release and better than chance.

    Margins are a little wider than what two seeds of one model and 5,000 users leave open: on Beauty the 95 % interval
    of the difference reaches .004 of AUC, .009 of GAUC, .006 of LogLoss and .007 of ECE to either side. How often they
    turn away another seed of the same model is measured in benchmarks/margins.py.

    Args:
        required: whether nothing goes live, or is pinned, whose check has not passed.
        decide_by: what must keep to the limits, the worse end of a figure's `interval` or the `estimate` itself.
        off: gates that are left out.
        uncompared: whether a release may pass by the bounds alone where the live release cannot be asked.
        users: of the day's held-out users, at most so many are asked for.
        draws: of the bootstrap over users.
        level: of the intervals.
        requests: that each release is timed with.
        auc, gauc: of the ranker, over all rows and by user.
        logloss, ece: of the ranker; ece is its calibration.
        hit, ndcg: HIT@10 and NDCG@10 over the catalogue, seen items left out.
        leaks: violations of the leak rule.
        skew: share of served values that are not what they are offline.
        recall: of the exact answer's rows, what the release's vector indexes find.
        p50, p99: milliseconds of a request; their margins are shares of the live release's.
        llm_auc: of the language model's P(Yes) on held-out rows; these four decide on no release (docs/daily.md).
        llm_nats: a token, of the answers to held-out general instructions.
        llm_degenerate: share of the texts it writes that are empty or repeat themselves.
        llm_mmlu: share of MMLU's questions that it answers rightly, where they are asked.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    required: Annotated[bool, _EXACTLY] = False
    decide_by: Literal["interval", "estimate"] = "interval"
    off: tuple[str, ...] = ()
    uncompared: Annotated[bool, _EXACTLY] = False
    users: Annotated[int, _EXACTLY, Field(ge=2)] = 10_000
    draws: Annotated[int, _EXACTLY, Field(ge=20)] = 1000
    level: Annotated[float, _EXACTLY, Field(gt=0.5, lt=1)] = 0.95
    requests: Annotated[int, _EXACTLY, Field(ge=20)] = 200

    auc: Limit = Limit(bound=0.55, margin=0.008)
    gauc: Limit = Limit(bound=0.55, margin=0.02)
    logloss: Limit = Limit(bound=0.693, margin=0.012)  # that of a coin, of as many negatives as positives
    ece: Limit = Limit(bound=0.1, margin=0.02)
    hit: Limit = Limit(bound=0.002, margin=0.01)
    ndcg: Limit = Limit(bound=0.001, margin=0.006)
    leaks: Limit = Limit(bound=0.0)
    skew: Limit = Limit(bound=0.0)
    recall: Limit = Limit(bound=0.97)
    p50: Limit = Limit(bound=100.0, margin=0.5)
    p99: Limit = Limit(bound=500.0, margin=1.0)
    llm_auc: Limit = Limit(bound=0.5, margin=0.1)
    llm_nats: Limit = Limit(bound=5.0, margin=0.1)
    llm_degenerate: Limit = Limit(bound=0.5)
    llm_mmlu: Limit = Limit(bound=0.0, margin=0.1)

    @field_validator("off")
    @classmethod
    def _gates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = (*GATES, *LLM_GATES)
        if strange := sorted(set(value) - set(known)):
            raise ValueError(f"no gate is called {', '.join(map(repr, strange))}; there are {', '.join(known)}")
        return value

    def of(self, gate: str) -> Limit | None:
        """The limit of a gate; None of one that only passes or fails."""
        return getattr(self, gate) if gate in LIMITED else None

    @property
    def digest(self) -> str:
        """Of what decides on a release; whether a check is demanded is no part of it."""
        return self._digest(GATES, but=("required",))

    @property
    def llm_digest(self) -> str:
        """Of what decides on a language model."""
        return self._digest(LLM_GATES, but=("required", "uncompared", "users", "requests"))

    def _digest(self, gates: Sequence[str], *, but: Sequence[str]) -> str:
        others = {*LIMITED, *but} - {*gates}
        decides = {name: value for name, value in asdict(self).items() if name not in others}
        return storage.digest(decides | {"off": [name for name in self.off if name in gates]})[:16]


LIMITED = tuple(one.name for one in fields(Thresholds) if one.type is Limit)
LLM_GATES = tuple(name for name in LIMITED if name.startswith("llm_"))  # in the order in which they are told
_RELEASE = LIMITED[: -len(LLM_GATES)]
GATES = (*_RELEASE[:-2], "canary", *_RELEASE[-2:])  # of a release


def path(dataset: str) -> Path:
    return settings.home() / dataset / FILE


def load(dataset: str) -> Thresholds:
    """The thresholds of a data set.

    Raises:
        UsageError: naming the file, and each fault with its place.
    """
    file = path(dataset)
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Thresholds()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
    try:
        return TypeAdapter(Thresholds).validate_python(_over_defaults(told))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
        raise UsageError(f"{file} holds thresholds that cannot be: {'; '.join(faults)}") from None


def _over_defaults(told: dict[str, Any]) -> dict[str, Any]:
    """What the file says, a table of it over the defaults of its gate."""
    defaults = asdict(Thresholds())
    return {
        name: {**defaults[name], **value} if name in LIMITED and isinstance(value, dict) else value
        for name, value in told.items()
    }
