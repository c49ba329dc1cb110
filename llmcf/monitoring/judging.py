"""Which figures are alerts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.alerts import Alert
from core.settings import Workspace
from llmcf.monitoring.figures import Figure, Part
from llmcf.monitoring.limits import KINDS, Limits, Rule, Settings

_NAMED = 3  # figures that an alert's sentence names


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A figure that is beyond its limit, by `gap`: the value itself, or how far it has gone from the reference's."""

    figure: Figure
    rule: Rule
    gap: float
    limit: float

    @property
    def text(self) -> str:
        one = self.figure
        of = f" of {one.of}" if one.of else ""
        before = f", was {one.before:.4g}" if one.before is not None and self.rule.how != "above" else ""
        return f"{one.name}{of} {one.value:.4g}{before} (limit {self.limit:g})"


def exceeded(figure: Figure, rule: Rule, limits: Limits) -> Exceeded | None:
    """The figure as an alert by a rule, None if it is none: within the limit, explained by chance, or not known."""
    gap, limit = _gap(figure, rule.how), float(getattr(limits, rule.limit))
    if gap is None or math.isnan(gap) or gap <= max(limit, figure.chance):
        return None
    return Exceeded(figure, rule, gap, limit)


def _gap(figure: Figure, how: str) -> float | None:
    value, before = figure.value, figure.before
    if how == "above":
        return value
    if before is None:
        return None
    if how == "rise":
        return value - before
    if how == "fall":
        return before - value
    if not before:
        return None
    return (before - value) / before if how == "relative_fall" else abs(value / before - 1)


def judge(parts: Sequence[Part], settings: Settings) -> dict[str, list[Exceeded]]:
    """What is beyond its limit, by kind of alert, the farthest first; kinds that are off are left out."""
    figures = [figure for part in parts for figure in part.figures if figure.of not in settings.unwatched]
    found = {}
    for kind, rules in KINDS.items():
        of_kind = [
            one
            for rule in rules
            for figure in figures
            if figure.name == rule.figure and (one := exceeded(figure, rule, settings.limits))
        ]
        if of_kind and kind not in settings.off:
            found[kind] = sorted(of_kind, key=lambda one: -one.gap / (one.limit or 1))
    return found


def alerts(ws: Workspace, reference: Workspace | None, found: dict[str, list[Exceeded]]) -> list[Alert]:
    """One alert a kind and day."""
    held = f" against {reference.as_of}" if reference else ""
    made = []
    for kind, some in found.items():
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        named = "; ".join(one.text for one in some[:_NAMED])
        made.append(
            Alert(
                id=f"monitor {ws.dataset} {ws.order} {ws.as_of} {kind}",
                kind=kind,
                dataset=ws.dataset,
                text=f"{ws.order} {ws.as_of}{held}: {named}{more}",
                figures={"exceeded": [_told(one) for one in some]},
            )
        )
    return made


def _told(one: Exceeded) -> dict[str, Any]:
    return one.figure.as_json() | {"gap": one.gap, "limit": one.limit}
