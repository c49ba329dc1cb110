"""The K in-context examples of every training row: an exact, batched, masked top-K over the CoT set.

Suffixes: N training rows, B rows of one batch, M examples + 1, K examples a row, L history length, E text width.
"""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import steps
from core.contracts import EXAMPLES
from core.data import tables
from core.errors import check_choice
from core.progress import track
from core.settings import Workspace
from ict.examples import Candidates, ExampleSet, Requests, eligible, history_vectors

STAGES = ("ranking", "retrieval")
_BATCH = 4096
_FILE = "neighbours.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourConfig:
    """How examples are chosen. `count` is K: half positives, half negatives."""

    stage: str
    recipe: str
    seed: int
    count: int = EXAMPLES


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of every training row, in order: numbers into the example set (0 = none) and their similarity (0 for none)."""

    folder: Path
    examples_NK: Tensor
    similarity_NK: Tensor


def neighbours(ws: Workspace, *, stage: str, recipe: str, seed: int) -> Neighbours:
    """Find, or read if nothing has changed, the neighbours of all training rows.

    Raises:
        LlmcfError: if the CoT vectors or the training rows are missing, naming the verb.
    """
    config = NeighbourConfig(stage=check_choice("stage", stage, STAGES), recipe=recipe, seed=seed)
    outcome = steps.run(neighbours_step(ws, config), lambda folder: _work(ws, config, folder))
    stored = load_file(outcome.folder / _FILE)
    return Neighbours(outcome.folder, stored["examples"], stored["similarity"])


def neighbours_step(ws: Workspace, config: NeighbourConfig) -> steps.Step:
    for folder, verb in (("texts", "cot generate"), ("vectors", "cot embed")):
        steps.require(ws.path("cot", folder), tables.remedy(ws, verb))
    return steps.Step(
        folder=ws.path("neighbours", f"{config.stage}-{config.recipe}-s{config.seed}"),
        config=config,
        inputs=[ws.path("training"), ws.path("cot", "texts"), ws.path("cot", "vectors")],
        code=["ict/neighbours.py", "ict/examples.py"],
    )


def _work(ws: Workspace, config: NeighbourConfig, folder: Path) -> dict[str, object]:
    requests = Requests.of(tables.training_rows(ws))
    examples_NK, similarity_NK = find(ExampleSet.load(ws), requests, config)
    save_file({"examples": examples_NK, "similarity": similarity_NK}, folder / _FILE)
    found = (examples_NK > 0).sum(dim=1)
    return {"rows": len(requests), "complete": int((found == config.count).sum()), "empty": int((found == 0).sum())}


def find(examples: ExampleSet, requests: Requests, config: NeighbourConfig) -> tuple[Tensor, Tensor]:
    """The neighbours of every request: example numbers (N, K) and similarities (N, K)."""
    search = ExactSearch(examples.candidates(), examples.item_vectors_VE, config)
    starts = range(0, len(requests), _BATCH)
    parts = [
        search(requests.slice(start, start + _BATCH))
        for start in track(starts, total=len(starts), what=f"{config.stage} neighbours, batches")
    ]
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


class ExactSearch:
    """Scores all examples for a batch of requests and keeps the best eligible ones of each label."""

    def __init__(self, candidates: Candidates, item_vectors_VE: Tensor, config: NeighbourConfig) -> None:
        self.candidates = candidates
        self.item_vectors_VE = item_vectors_VE
        self.config = config
        self.history_keys_EM, self.item_keys_EM = candidates.key_MX.T.contiguous().chunk(2)
        self.of_label = [torch.nonzero(candidates.label_M == label).flatten() for label in (1, 0)]

    def __call__(self, requests: Requests) -> tuple[Tensor, Tensor]:
        """Return example numbers (B, K), in a seeded random order, and similarities (B, K)."""
        score_BM = self.scores(requests)
        score_BM.masked_fill_(~eligible(self.config.recipe, self.candidates, requests), -torch.inf)
        numbers, scores = zip(*(self._best(score_BM, members_X) for members_X in self.of_label), strict=True)
        return arrange(torch.cat(numbers, dim=1), torch.cat(scores, dim=1), requests, self.config)

    def scores(self, requests: Requests) -> Tensor:
        """Inner products of the requests' keys with all examples' keys, (B, M).

        A row and its negative, and all candidates of a live request, share their history: it is scored once.
        """
        history_XL, of_B = torch.unique_consecutive(requests.history_BL, dim=0, return_inverse=True)
        history_XE = history_vectors(self.item_vectors_VE, history_XL)
        if self.config.stage == "retrieval":
            return (history_XE @ self.history_keys_EM / sqrt(0.5))[of_B]
        item_X, item_of_B = torch.unique(requests.item_B, return_inverse=True)
        score_BM = (history_XE @ self.history_keys_EM)[of_B]
        return score_BM.add_((self.item_vectors_VE[item_X] @ self.item_keys_EM)[item_of_B]).mul_(sqrt(0.5))

    def _best(self, score_BM: Tensor, members_X: Tensor) -> tuple[Tensor, Tensor]:
        """The K/2 best of one label; an example set too small for them is filled up with "no example"."""
        wanted = self.config.count // 2
        score_BX, place_BX = score_BM[:, members_X].topk(min(wanted, len(members_X)), dim=1)
        short = wanted - score_BX.shape[1]
        number_BX = F.pad(members_X[place_BX], (0, short))
        return number_BX, F.pad(score_BX, (0, short), value=-torch.inf)


def arrange(
    examples_BK: Tensor, similarity_BK: Tensor, requests: Requests, config: NeighbourConfig
) -> tuple[Tensor, Tensor]:
    """Turn what was found into what is shown: -inf similarity becomes "no example", the order a seeded random one."""
    missing_BK = similarity_BK == -torch.inf
    item_B = requests.item_B if config.stage == "ranking" else torch.zeros_like(requests.item_B)
    order_BK = shuffled_order(examples_BK, requests.user_B, item_B, config.seed)
    shown_BK, similarity_BK = examples_BK.masked_fill(missing_BK, 0), similarity_BK.masked_fill(missing_BK, 0)
    return shown_BK.gather(1, order_BK), similarity_BK.gather(1, order_BK)


def shuffled_order(examples_BK: Tensor, user_B: Tensor, item_B: Tensor, seed: int) -> Tensor:
    """A random order of each request's examples, (B, K), from a hash of seed, request and example number.

    A hash and not a generator, so that a request sees the same order in training, on-line and out of Milvus.
    """
    mixed_BK = (
        examples_BK * 0x9E3779B1 + user_B[:, None] * 0x85EBCA6B + item_B[:, None] * 0xC2B2AE35 + seed * 0x27D4EB2F
    )
    for shift in (33, 29):  # a multiplicative hash in wrapping 64-bit arithmetic
        mixed_BK = (mixed_BK ^ (mixed_BK >> shift)) * 0x1B873593CC9E2D51
    return (mixed_BK ^ (mixed_BK >> 32)).argsort(dim=1, stable=True)
