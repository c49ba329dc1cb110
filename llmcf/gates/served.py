"""A release on a real Triton: whether it answers rightly, and how long a request takes beside the live release.

Suffixes: R requests.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from core.errors import LlmcfError
from core.progress import say
from llmcf.gates.answering import Answering
from llmcf.gates.held_out import Moment
from llmcf.serving import held
from llmcf.serving.triton_client import Client, canary
from llmcf.serving.triton_server import run_triton

_WARM_UP = 10  # requests to each, not counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Milliseconds of the same requests, (R,), to each release; `live_R` is None without one, `why` says why."""

    taken_R: np.ndarray
    live_R: np.ndarray | None
    why: str = ""


def answer(answering: Answering, live: Answering | None, moments: Sequence[Moment], requests: int) -> Timed:
    """Hold the release's server against ONNX Runtime, then time so many requests, each to both releases in turn.

    A request is all but the reading of the feature store: user vector, item search, examples, 100 candidates ranked.

    Raises:
        LlmcfError: if a file is not as it was made, Milvus lacks what the release names, or it does not answer as it
            should.
    """
    release = answering.release
    release.require_whole()
    held.check(release)
    with ExitStack() as stack:
        say(f"trying release {release.number} on a Triton server")
        asked = [(answering, _client(stack, answering))]
        why = ""
        try:
            asked += [(live, _client(stack, live))] if live else []
        except LlmcfError as error:
            why = str(error)
        taken = _times(asked, moments, requests)
    return Timed(taken_R=taken[0], live_R=taken[1] if len(taken) > 1 else None, why=why)


def _client(stack: ExitStack, answering: Answering) -> Client:
    """To a server of the release's own, which a canary has tried."""
    release = answering.release
    server = stack.enter_context(run_triton(release.models))
    canary(server, release.models, release.stages)
    return stack.enter_context(Client(server, release.stages))


def _times(asked: Sequence[tuple[Answering, Client]], moments: Sequence[Moment], requests: int) -> list[np.ndarray]:
    """Milliseconds of each release's requests; who goes first changes from one to the next."""
    drawn = np.random.default_rng(0).integers(0, len(moments), requests + _WARM_UP)
    times = np.empty((len(asked), len(drawn)))
    for turn, at in enumerate(drawn.tolist()):
        for place in range(len(asked))[:: 1 if turn % 2 else -1]:
            answering, client = asked[place]
            start = time.perf_counter()
            answering.answer(client, moments[at])
            times[place, turn] = (time.perf_counter() - start) * 1e3
    return list(times[:, _WARM_UP:])
