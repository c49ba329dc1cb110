"""The data sets by name: the built-in ones, and those that users described (`llmcf data add`).

Readers of files load inside `find`, so that asking for names costs nothing.
"""

from typing import TYPE_CHECKING

from core.data import kept

if TYPE_CHECKING:
    from core.data.dataset import Dataset

BUILT_IN = kept.BUILT_IN


def names() -> tuple[str, ...]:
    """Every known name, the built-in ones first."""
    return kept.names()


def find(name: str) -> "Dataset":
    """The data set of that name.

    Raises:
        UsageError: for an unknown name, with the known ones and how to add one.
    """
    found = kept.read(name)
    if found is not None:
        from core.data import described

        return described.dataset_of(name, found)
    kept.check(name)
    if name.startswith("amazon-"):
        from core.data.amazon import AMAZON

        return AMAZON[name]
    from core.data.movielens import MOVIELENS_100K

    return MOVIELENS_100K
