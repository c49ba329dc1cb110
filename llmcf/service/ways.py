"""By which releases a request is answered: its arm's, and those that stand in for it. Rungs of the ladder by name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmcf.serving.arms import LIVE

if TYPE_CHECKING:
    from llmcf.service.engine import Loaded

FULL, LAST_KNOWN, POPULAR = "full", "last known features", "popular"
WITHOUT_EXAMPLES = "without examples"
LIVE_RELEASE, PREVIOUS = "live release", "previous release"  # in place of an arm's; in place of the live one


@dataclass(frozen=True, slots=True)
class Way:
    """The releases that a request may ask, in this order, each with the rung of its answer; they stay to its end.

    Args:
        judges: how many of them, from the first on, may say that a request names what is not there: the arm's own
            release and the live one.
    """

    experiment: str
    arm: str
    releases: "tuple[tuple[Loaded, str], ...]"
    judges: int = 1

    def attributes(self, loaded: "Loaded") -> dict[str, Any]:
        """What a span says of a try of one of them."""
        return {
            "llmcf.release": loaded.release.number,
            "llmcf.arm": self.arm,
            "llmcf.experiment": self.experiment,
        }


def way(experiment: str, arm: str, own: "Loaded | None", loaded: "tuple[Loaded, ...]") -> Way:
    """Of a request of `arm`, which has a release of its `own` unless it is LIVE; `loaded` are the live one and earlier
    ones."""
    live, *before = loaded
    if arm == LIVE or own is live:
        return Way(experiment, arm, ((live, FULL), *((one, PREVIOUS) for one in before)))
    found = ((live, LIVE_RELEASE), *((one, PREVIOUS) for one in before if one is not own))
    return Way(experiment, arm, ((own, FULL), *found), judges=2) if own else Way(experiment, arm, found)
