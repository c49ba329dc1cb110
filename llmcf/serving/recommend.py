"""`llmcf recommend`: ask a release, through the server that runs or one started for the call."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from core.errors import UsageError
from core.result import Result
from llmcf.serving import answers, serve
from llmcf.serving.manifest import Release
from llmcf.serving.question import CANDIDATES
from llmcf.serving.recommender import Recommender
from llmcf.serving.triton_client import Client


def recommend(release: Release, *, users: Sequence[str], k: int = 10) -> Result:
    """Recommend `k` items to each of `users` (raw ids), through the server that runs or one started for this call.

    Raises:
        UsageError: if `k` is not between 1 and the number of candidates, or of items, or no user is named.
        LlmcfError: if a part of the release is missing, naming the verb.
    """
    if not 1 <= k <= CANDIDATES:
        raise UsageError(f"k {k} is not between 1 and {CANDIDATES}, the number of candidates that are ranked")
    if not users:
        raise UsageError("no user is named; give --user at least once")
    start = time.monotonic()
    recommender = Recommender.load(release)
    if k > (count := len(recommender.items.exact.ids_N)):
        raise UsageError(f"k {k} is above the {count} items that release {release.number} can recommend")
    with serve.connect(release) as server, Client(server, release.stages) as client:
        given = [recommender.recommend(client, user, k) for user in users]
    return Result(
        verb="recommend",
        workspace=release.workspace,
        seconds=time.monotonic() - start,
        details={
            "release": release.number,
            "framework": release.stages["ranker"].framework,
            "answers": [asdict(answer) for answer in given],
            "text": answers.text(given),
        },
    )
