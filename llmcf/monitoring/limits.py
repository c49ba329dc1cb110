"""Where an alert begins, and which alerts there are.

Defaults are below; `<home>/<data set>/monitor.toml` changes them for a data set:

    off = ["popularity-bias"]           # alerts that are not wanted
    unwatched = ["ranking.item_age"]    # features whose drift is no alert, as the dashboard calls them
    tune_on = ["distant-examples"]      # alerts upon which the language model is tuned before its weekday
    [limits]
    psi = 0.25
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from core import settings
from core.errors import UsageError
from llmcf.monitoring.samples import NAMES

FILE = "monitor.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From which value on a figure is an alert.

    Args:
        days: the newest days of interactions that are looked at.
        least_rows: below so many values nothing is compared.
        least_shown: below so many shown items what is recommended is not judged.
        psi: population stability index of a feature, and more than chance explains; 0.1 is commonly called a moderate
            change and 0.25 a great one.
        missing_rise: share of values that are missing, above the reference's.
        new_values: share of a category's values that the reference does not have.
        new_keys: share of the newest interactions whose user, or whose item, the reference does not have.
        centre_shift: 1 less the cosine of the mean vectors.
        norm_change: of the vectors' mean length, relative.
        similarity_drop: of the nearest example's mean similarity.
        lonely_rise: share of requests without an example, above the reference's.
        text_days: since the texts were put together, and how far the newest example is behind the data.
        flagged_rise: share of texts that their words speak against, above the reference's.
        score_drop: of the texts' four-part score of `report cot`.
        ece: expected calibration error of the ranker's scores.
        auc_drop: of the ranker's AUC.
        coverage_drop: share of the catalogue that is recommended, relative to the reference's.
        popularity_rise: of the popularity lift, above the reference's.
        online_hours: age of what is online.
        expired_rise: share of online rows beyond their TTL, above the reference's.
    """

    days: int = 30
    least_rows: int = 200
    least_shown: int = 1000
    psi: float = 0.2
    missing_rise: float = 0.05
    new_values: float = 0.1
    new_keys: float = 0.5
    centre_shift: float = 0.02
    norm_change: float = 0.02
    similarity_drop: float = 0.05
    lonely_rise: float = 0.1
    text_days: float = 14.0
    flagged_rise: float = 0.05
    score_drop: float = 0.05
    ece: float = 0.05
    auc_drop: float = 0.02
    coverage_drop: float = 0.3
    popularity_rise: float = 0.5
    online_hours: float = 36.0
    expired_rise: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a figure is an alert: `value` above the limit, or it has risen or fallen by more since the reference.

    Args:
        how: above; rise, fall (differences); relative_fall, relative_change.
    """

    figure: str
    how: str
    limit: str


# The kinds of alert, each with an entry in docs/runbook.md.
KINDS: dict[str, tuple[Rule, ...]] = {
    "feature-drift": (Rule(figure="psi", how="above", limit="psi"),),
    "missing-values": (Rule(figure="missing", how="rise", limit="missing_rise"),),
    "new-values": (
        Rule(figure="new", how="above", limit="new_values"),
        Rule(figure="new_keys", how="above", limit="new_keys"),
    ),
    "vector-drift": (Rule(figure="centre_shift", how="above", limit="centre_shift"),),
    "vector-norms": (Rule(figure="norm", how="relative_change", limit="norm_change"),),
    "distant-examples": (
        Rule(figure="similarity", how="fall", limit="similarity_drop"),
        Rule(figure="lonely", how="rise", limit="lonely_rise"),
    ),
    "old-texts": (
        Rule(figure="text_days", how="above", limit="text_days"),
        Rule(figure="text_days_behind", how="above", limit="text_days"),
    ),
    "poor-texts": (
        Rule(figure="flagged", how="rise", limit="flagged_rise"),
        Rule(figure="text_score", how="fall", limit="score_drop"),
    ),
    "calibration": (Rule(figure="ece", how="above", limit="ece"),),
    "ranking-quality": (Rule(figure="auc", how="fall", limit="auc_drop"),),
    "coverage": (Rule(figure="coverage", how="relative_fall", limit="coverage_drop"),),
    "popularity-bias": (Rule(figure="popularity_lift", how="rise", limit="popularity_rise"),),
    "stale-features": (
        Rule(figure="online_hours", how="above", limit="online_hours"),
        Rule(figure="expired", how="rise", limit="expired_rise"),
    ),
}


# And what they may hold.
_LISTS: dict[str, Sequence[str]] = {"off": list(KINDS), "unwatched": list(NAMES), "tune_on": list(KINDS)}


@dataclass(frozen=True, slots=True)
class Settings:
    """Of a data set.

    Args:
        limits: from which value on a figure is an alert.
        off: alerts that are not wanted.
        unwatched: features whose figures raise no alert, as the dashboard calls them.
        tune_on: alerts upon which the language model is tuned before its weekday (`llmcf llm due`).
    """

    limits: Limits = Limits()
    off: frozenset[str] = field(default_factory=frozenset)
    unwatched: frozenset[str] = field(default_factory=frozenset)
    tune_on: frozenset[str] = frozenset({"new-values", "distant-examples"})


def path(dataset: str) -> Path:
    return settings.home() / dataset / FILE


def load(dataset: str) -> Settings:
    """The settings of a data set; the defaults where it has no file.

    Raises:
        UsageError: for a file with a fault, with the place of each.
    """
    file = path(dataset)
    if not file.exists():
        return Settings()
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 at byte {error.start}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is no TOML: {error}") from error
    if faults := list(_faults(told)):
        raise UsageError(f"{file}: " + "; ".join(faults))
    kinds = {one.name: type(one.default) for one in fields(Limits)}
    limits: dict[str, Any] = {name: kinds[name](value) for name, value in told.get("limits", {}).items()}
    lists = {name: frozenset(told[name]) for name in _LISTS if name in told}
    return Settings(Limits(**limits), **lists)


def _faults(told: dict[str, Any]) -> Iterator[str]:
    for name in sorted(set(told) - {*_LISTS, "limits"}):
        yield f"{name}: there is no such key; there are {', '.join(_LISTS)} and limits"
    for name, known in _LISTS.items():
        some = told.get(name, [])
        if not isinstance(some, list):
            yield f"{name}: must be a list"
            continue
        for place, one in enumerate(some):
            if not isinstance(one, str) or one not in known:
                yield f"{name}[{place}]: unknown {one!r}; choose of {', '.join(known)}"
    limits = told.get("limits", {})
    if not isinstance(limits, dict):
        yield "limits: must be a table"
        return
    known = {one.name: one.default for one in fields(Limits)}
    for name, value in limits.items():
        if name not in known:
            yield f"limits.{name}: unknown limit; choose of {', '.join(known)}"
        elif isinstance(value, bool) or not isinstance(value, int | float):
            yield f"limits.{name}: must be a number, not {value!r}"
        elif isinstance(known[name], int) and (not isinstance(value, int) or value < 1):
            yield f"limits.{name}: must be a whole number from 1 on, not {value!r}"
        elif not 0 <= value < float("inf"):
            yield f"limits.{name}: must be a number from 0 on, not {value!r}"
