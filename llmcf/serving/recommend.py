"""`llmcf recommend`: ask the release, through the server that runs or one started for the call."""

import time
from collections.abc import Sequence
from dataclasses import asdict

from core.errors import UsageError
from core.result import Result
from core.settings import Workspace
from llmcf.serving import answers, releases, serve
from llmcf.serving.recommender import CANDIDATES, Recommender
from llmcf.serving.triton_client import Client


def recommend(ws: Workspace, *, users: Sequence[str], k: int = 10) -> Result:
    """Recommend `k` items to each of `users` (raw ids), through the server that runs or one started for this call.

    Raises:
        UsageError: if `k` is not between 1 and the number of candidates, or no user is named.
        LlmcfError: if there is no release of `ws`, or a part of it is missing, naming the verb.
    """
    if not 1 <= k <= CANDIDATES:
        raise UsageError(f"k {k} is not between 1 and {CANDIDATES}, the number of candidates that are ranked")
    if not users:
        raise UsageError("no user is named; give --user at least once")
    start = time.monotonic()
    release = releases.require(ws)
    recommender = Recommender.load(ws, release)
    with serve.connect(release) as server, Client(server) as client:
        given = [recommender.recommend(client, user, k) for user in users]
    return Result(
        verb="recommend",
        workspace=ws,
        recipe=release.recipe,
        seed=release.seed,
        seconds=time.monotonic() - start,
        details={
            "release": release.number,
            "framework": release.framework,
            "answers": [asdict(answer) for answer in given],
            "text": answers.text(given),
        },
    )
