"""What time it is for an online read, which a view's TTL is held against.

A data set is an archive, whose clock stopped at the last state that was brought online, or it is live.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.errors import UsageError
from llmcf.feature_store.registry import UNTIL


def now_for(materialized: Mapping[str, Any], given: datetime | None, *, live: bool) -> float:
    """The reader's clock in Unix seconds.

    Raises:
        UsageError: if `given` has no time zone.
    """
    if given is not None:
        if given.tzinfo is None:
            raise UsageError(f"the time {given.isoformat()} has no zone; give one, e.g. {given.isoformat()}+00:00")
        return given.timestamp()
    return time.time() if live else float(materialized[UNTIL])
