"""`llmcf data add`: a data set of one's own gets a name, and keeps it."""

import time
from dataclasses import asdict
from pathlib import Path

from core import settings
from core.data import datasets, kept
from core.progress import say
from core.result import Result


def adopt(name: str, source: Path | None) -> list[str]:
    """Keep the description at `source`, if one is given, under a name that is not built in; what has changed."""
    if source is None or name in datasets.BUILT_IN:
        return []
    from core.data import described

    settings.check_places()
    changes = described.adopt(name, source)
    for change in changes:
        say(f"{name}: {change}")
    return changes


def add(name: str, source: Path) -> Result:
    """`llmcf data add`: keep a description under a name, or the changes of one that is kept.

    Raises:
        UsageError: for a name that cannot be given, or a description that does not fit its files.
    """
    start = time.monotonic()
    kept.check_new(name)
    changes = adopt(name, source)
    found = datasets.find(name)
    return Result(
        verb="data add",
        skipped=not changes,
        seconds=time.monotonic() - start,
        artifacts={"description": str(kept.place(name))},
        details={
            "dataset": name,
            "changes": changes,
            "files": [str(path) for path in found.files(None)],
            "order": found.order,
            "words": asdict(found.words),
        },
    )
