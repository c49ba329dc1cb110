"""Which releases answer beside the live one, and whom: `<home>/<data set>/arms.toml`.

    experiment = "text-tower"           # another name draws the users anew

    [arms.tower]                        # who is in no arm has the live release: arm `live`, the control
    release = 4
    percent = 10

    [shadow]                            # is asked too, after the answer has left; nobody sees what it says
    release = 5
    percent = 2                         # of the requests

    [watch]                             # of promotions and of arms; what is left out is as here
    seconds = 600                       # after a promotion, and of one look at an arm; 0 watches nothing
    least = 50                          # requests before anything is judged
    failures = 0.02                     # share of failed requests above the control's
    slower = 1.5                        # an answer is slow from so many times the control's 95th percentile on
    slow = 0.1                          # share of slow answers

A file with a fault is refused as a whole, with the place of each fault; a running service goes on as it was.
"""

import hashlib
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core import settings
from core.errors import UsageError

FILE = "arms.toml"
LIVE, SHADOW = RESERVED = "live", "shadow"
_SCALE = 1 << 64

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Arm(_Part):
    """A release, and the part of the users (of a shadow: of the requests) in percent that it gets."""

    release: Annotated[int, Field(ge=0)]
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]


class Watch(_Part):
    """When a release is taken back; the docstring of this file says what each means."""

    seconds: Annotated[float, Field(ge=0, le=86_400)] = 600.0
    least: Annotated[int, Field(ge=1)] = 50
    failures: Share = 0.02
    slower: Annotated[float, Field(ge=1, le=100)] = 1.5
    slow: Share = 0.1


class Arms(_Part):
    """A whole file."""

    experiment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    arms: dict[Name, Arm] = {}
    shadow: Arm | None = None
    watch: Watch = Watch()

    @model_validator(mode="after")
    def _can_be(self) -> "Arms":
        if self.arms and not self.experiment:
            raise ValueError("arms need the name of an experiment, by which users are drawn")
        if taken := sorted(set(self.arms) & set(RESERVED)):
            raise ValueError(f"an arm cannot be called {' or '.join(taken)}")
        if (total := sum(one.percent for one in self.arms.values())) > 100:
            raise ValueError(f"the arms have {total:g} percent of the users together")
        return self

    @property
    def releases(self) -> set[int]:
        """All that are named."""
        return {one.release for one in [*self.arms.values(), *([self.shadow] if self.shadow else [])]}

    def pick(self, unit: str) -> str:
        """The arm of a user or a session. The same one everywhere and always, as long as nobody changes the arms.

        Arms lie side by side in the order of the file, so that the last one grows and shrinks without moving anybody
        between two others.
        """
        place, end = _percentile(self.experiment, unit), 0.0
        for name, arm in self.arms.items():
            end += arm.percent
            if place < end:
                return name
        return LIVE

    def shadowed(self, request: str) -> bool:
        """Whether the shadow is asked what this request asked."""
        return self.shadow is not None and _percentile(SHADOW, request) < self.shadow.percent


NONE = Arms()


def path(dataset: str) -> Path:
    return settings.home() / dataset / FILE


def load(file: Path, there: Collection[int] | None = None) -> Arms:
    """What the file says; without a file there are no arms.

    Args:
        there: numbers of the releases that exist; with them, another one is a fault.

    Raises:
        UsageError: naming the file, and each fault with its place.
    """
    try:
        found = Arms.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return NONE
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, one['loc'])) or 'the file'}: {one['msg']}" for one in error.errors()]
        raise UsageError(f"{file} holds what cannot be: {'; '.join(faults)}") from None
    if there is not None and (gone := _missing(found, there)):
        listed = ", ".join(map(str, sorted(there))) or "none"
        raise UsageError(f"{file} names releases that are not there: {'; '.join(gone)}; there are: {listed}")
    return found


def named(dataset: str) -> set[int]:
    """The releases that the file of a data set names; none of a file with a fault."""
    try:
        return load(path(dataset)).releases
    except UsageError:
        return set()


def _missing(found: Arms, there: Collection[int]) -> list[str]:
    places = {f"arms.{name}": arm for name, arm in found.arms.items()}
    places |= {SHADOW: found.shadow} if found.shadow else {}
    return [f"{place}.release: {one.release}" for place, one in places.items() if one.release not in there]


def _percentile(salt: str, unit: str) -> float:
    """From 0 to below 100, the same for the same salt and unit; of another salt it is independent."""
    told = f"{salt}\0{unit}".encode("utf-8", "surrogatepass")
    return 100.0 * int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big") / _SCALE
