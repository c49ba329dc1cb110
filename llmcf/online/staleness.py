"""Which views had rows that were too old to use, told to the thread that read them: so an answer can say so."""

from collections.abc import Iterable
from threading import local


class _Seen(local):
    views: frozenset[str] = frozenset()


_OWN = _Seen()


def watch() -> None:
    """From here on `seen` tells of what this thread reads."""
    _OWN.views = frozenset()


def note(views: Iterable[str]) -> None:
    """This thread has read stale rows of these views."""
    _OWN.views |= frozenset(views)


def seen() -> list[str]:
    """The views since the last `watch`, by name."""
    return sorted(_OWN.views)
