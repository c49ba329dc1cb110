"""Rules of the house, by scene: what may come up at all, and what is done to a ranking before it is shown.

    [scenes.home]
    deny = ["p7"]                       # never these
    available = "stock.txt"             # only what this file lists, an id a line; it is read again when it changes
    drop_duplicates = true              # of two items of one title only the pinned one, or the better

    [scenes.home.cap]
    brand = 2                           # at most two items of one brand in an answer, and on each further page of it;
                                        # where others are too few for that, it is shorter

    [[scenes.home.boost]]
    brand = "Acme"                      # or category = "...", or items = ["..."]
    factor = 1.2                        # of the odds by which it is ordered

    [[scenes.home.pin]]
    items = ["p3", "p9"]
    share = 0.2                         # of the places of an answer, at most

The file is TOML, `<home>/<data set>/rules.toml`. A request without a scene gets `default`, which may be left out. A
file with a fault is refused as a whole, with the place of each fault; a running service goes on with the one it has
(llmcf/service/house.py), as it does with what a list said that is gone.

Suffixes: C candidates, best first.
"""

import math
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core import settings
from core.errors import UsageError, unknown
from llmcf.serving.catalogue import Catalogue

DEFAULT = "default"
FILE = "rules.toml"
Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Which(_Part):
    """Items by exactly one of brand, category and id."""

    brand: str | None = None
    category: str | None = None
    items: Names | None = None

    @model_validator(mode="after")
    def _one(self) -> "Which":
        named = [name for name in ("brand", "category", "items") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"name one of brand, category and items, not {' and '.join(named) or 'none'}")
        return self


class Boost(Which):
    factor: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Pin(_Part):
    items: Names
    share: Annotated[float, Field(gt=0, le=1)]


class Cap(_Part):
    brand: Annotated[int, Field(ge=1)] | None = None
    category: Annotated[int, Field(ge=1)] | None = None


class Scene(_Part):
    """The rules of one scene, in the order in which they are applied."""

    allow: Names | None = None
    deny: list[str] = []
    available: Annotated[str, Field(pattern=r"^[\w.-]+$")] | None = None
    include_seen: bool = False
    boost: list[Boost] = []
    drop_duplicates: bool = False
    cap: Cap = Cap()
    pin: list[Pin] = []


NONE = {DEFAULT: Scene()}


class _File(_Part):
    scenes: dict[str, Scene] = {}


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules ask of an item, by its row: brand, categories, title; and the row of a raw id, None for none."""

    brand: Callable[[int], str]
    categories: Callable[[int], Sequence[str]]
    title: Callable[[int], str]
    row: Callable[[str], int | None]


def facts(names: Catalogue) -> Facts:
    """Of a release's items."""
    return Facts(names.brands.__getitem__, names.categories.__getitem__, names.names.__getitem__, names.rows.get)


def path(dataset: str) -> Path:
    return settings.home() / dataset / FILE


def load(file: Path, facts: Facts | None = None) -> dict[str, Scene]:
    """The scenes of a rules file; without a file there is `default`, which does nothing.

    Args:
        facts: of a release; with them, an item that it does not have is a fault.

    Raises:
        UsageError: naming the file, and each fault with its place.
    """
    try:
        scenes = _File.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).scenes
    except FileNotFoundError:
        return NONE
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
        raise UsageError(f"{file} holds rules that cannot be: {'; '.join(faults)}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    if facts and (faults := list(_strangers(scenes, facts))):
        raise UsageError(f"{file} names what the release does not have: {'; '.join(faults)}")
    return NONE | scenes


def find(scenes: Mapping[str, Scene], name: str) -> Scene:
    """The scene of a request; "" is `default`. Raises UsageError for one that is not there, with the choices."""
    if (name or DEFAULT) not in scenes:
        raise unknown("scene", name, sorted(scenes))
    return scenes[name or DEFAULT]


def listed(file: Path) -> list[str]:
    """The ids of a file that a scene names as `available`.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}, which a rule names, cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Arranged:
    """Places of candidates in the order in which they are shown, and what put each there: "" is the ranking.

    `ends` says where each page ends, in places from 0; without any, a page is as long as was asked.
    """

    order: list[int]
    placed_by: list[str]
    ends: list[int] = field(default_factory=list)


def arrange(scene: Scene, item_C: np.ndarray, worth_C: np.ndarray, k: int, facts: Facts) -> Arranged:
    """Apply a scene's rules to ranked candidates; of what is left, the first `k`, and the rest behind them.

    Caps hold for each page, of `k` or of fewer; pins take the first places of the first page.
    """
    order = np.argsort(-worth_C * _factors(scene, item_C.tolist(), facts), kind="stable").tolist()
    pinned = _pinned(scene, item_C, k, facts)
    order = [*pinned, *(at for at in order if at not in pinned)]
    if scene.drop_duplicates:
        order = _first_of_each(order, lambda at: facts.title(int(item_C[at])).casefold())
    order, ends = _capped(scene.cap, order, item_C, k, facts)
    return Arranged(order, ["pin" if at in pinned else "" for at in order], ends)


def _factors(scene: Scene, items: list[int], facts: Facts) -> np.ndarray:
    """What the worth of each is multiplied by."""
    factor_C = np.ones(len(items))
    for rule in scene.boost:
        meant = _meant(rule, facts)
        factor_C[[meant(item) for item in items]] *= rule.factor
    return factor_C


def _meant(which: Which, facts: Facts) -> Callable[[int], bool]:
    """Whether it means an item."""
    if which.brand is not None:
        return lambda item: facts.brand(item) == which.brand
    if which.category is not None:
        return lambda item: which.category in facts.categories(item)
    rows = {facts.row(one) for one in which.items or ()}
    return rows.__contains__


def _pinned(scene: Scene, item_C: np.ndarray, k: int, facts: Facts) -> dict[int, None]:
    """Places of pinned candidates, each rule's within its share of `k`; what may not come up is no candidate."""
    at = {int(item): place for place, item in enumerate(item_C)}
    found: dict[int, None] = {}
    for rule in scene.pin:
        rows = [facts.row(one) for one in rule.items]
        there = [at[row] for row in rows if row is not None and row in at]
        found |= dict.fromkeys(there[: math.floor(rule.share * k)])
    return found


def _first_of_each(order: list[int], key: Callable[[int], str]) -> list[int]:
    kept: dict[str, int] = {}
    for at in order:
        kept.setdefault(key(at), at)
    return list(kept.values())


def _capped(cap: Cap, order: list[int], item_C: np.ndarray, k: int, facts: Facts) -> tuple[list[int], list[int]]:
    """Fill page after page with the first candidates that a page's caps let in; the order, and where each page ends."""
    if not (cap.brand or cap.category):
        return order, []
    left, shown, ends = order, list[int](), list[int]()
    while left:
        counts: Counter[tuple[str, str]] = Counter()
        page = [at for at in left if _enters(cap, int(item_C[at]), counts, k, facts)]
        shown += page
        ends.append(len(shown))
        taken = set(page)
        left = [at for at in left if at not in taken]
    return shown, ends


def _enters(cap: Cap, item: int, counts: Counter[tuple[str, str]], k: int, facts: Facts) -> bool:
    """Whether an item fits into the page that `counts` tells of; if so it is counted."""
    if counts["", ""] == k:
        return False
    groups = [("brand", facts.brand(item))] if cap.brand and facts.brand(item) else []
    groups += [("category", one) for one in facts.categories(item)] if cap.category else []
    limits: dict[str, Any] = {"brand": cap.brand, "category": cap.category}
    if any(counts[group] >= limits[group[0]] for group in groups):
        return False
    counts.update([*groups, ("", "")])
    return True


def _strangers(scenes: Mapping[str, Scene], facts: Facts) -> Sequence[str]:
    found = []
    for name, scene in scenes.items():
        lists = {"allow": scene.allow or [], "deny": scene.deny}
        lists |= {f"boost.{at}.items": one.items or [] for at, one in enumerate(scene.boost)}
        lists |= {f"pin.{at}.items": one.items for at, one in enumerate(scene.pin)}
        for place, items in lists.items():
            found += [f"scenes.{name}.{place}: {item!r}" for item in items if facts.row(item) is None]
    return found
