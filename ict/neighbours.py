"""The K in-context examples of every training row: an exact, batched, masked top-K over the CoT set.

Suffixes: N training rows, B rows of one batch, M examples + 1, K examples a row, L history length, E text width.
"""

from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from core import processor, steps
from core.contracts import EXAMPLES
from core.data import tables
from core.errors import UsageError, check_choice
from core.progress import track
from core.remedies import cot_verbs
from core.settings import Workspace
from ict.config import IctConfig
from ict.examples import Candidates, ExampleSet, Requests, eligible, history_vectors

STAGES = ("ranking", "retrieval")
SOURCES = ("ict/config.py", "ict/examples.py", "ict/filters.py", "ict/neighbours.py")
_BATCH = 4096  # rows that are searched at once, at most
_SCORES = 1 << 26  # and their scores: 256 MiB, and twice that of masks and parts beside them, however many examples
_FILE = "neighbours.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourConfig:
    """How examples are chosen.

    Args:
        seed: of their order alone: which they are does not depend on it.
        count: K.
        constrained: half of them positives, half negatives; otherwise the nearest, whatever their label.
        cot_set: which set they are drawn from; "" is the main one.
    """

    stage: str
    recipe: str
    seed: int
    count: int = EXAMPLES
    constrained: bool = True
    cot_set: str = ""

    @classmethod
    def of(cls, config: IctConfig, *, stage: str, recipe: str, seed: int) -> "NeighbourConfig":
        """As a run's module asks for them."""
        return cls(
            stage=stage,
            recipe=recipe,
            seed=seed,
            count=config.examples,
            constrained=config.constrained,
            cot_set=config.cot_set,
        )

    def __post_init__(self) -> None:
        check_choice("stage", self.stage, STAGES)
        if self.count < 0 or (self.constrained and self.count % 2):
            raise UsageError(f"{self.count} examples do not split into as many positives as negatives")

    @property
    def folder(self) -> str:
        """Name of what is found under this configuration, whatever the seed."""
        rule = "paper" if self.recipe == "paper" else "strict"
        count = f"-k{self.count}" if self.count != EXAMPLES else ""
        constraint = "" if self.constrained else "-unconstrained"
        return f"{self.stage}-{rule}{count}{constraint}{self.cot_set and f'-{self.cot_set}'}"


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of every training row, in order: numbers into the example set (0 = none) and their similarity (0 for none)."""

    examples_NK: Tensor
    similarity_NK: Tensor


def neighbours(ws: Workspace, config: NeighbourConfig, requests: Requests, examples: ExampleSet) -> Neighbours:
    """Find, or read if nothing has changed, the neighbours of all training rows, which are `requests`.

    Args:
        examples: the workspace's set that `config` names.

    Raises:
        LlmcfError: if the CoT vectors or the training rows are missing, naming the verb.
    """
    done = steps.run(neighbours_step(ws, config), lambda folder: _work(config, requests, examples, folder))
    stored = load_file(done.folder / _FILE)
    return Neighbours(*arrange(stored["examples"], stored["similarity"], requests, config))


def prepare(ws: Workspace, config: NeighbourConfig) -> None:
    """Find the neighbours where they are not current, for several processes that read them later; errors as above."""
    if neighbours_step(ws, config).current() is None:
        rows = tables.training_rows(ws)
        neighbours(ws, config, Requests.of(rows), ExampleSet.load(ws, config.cot_set, rows))


def neighbours_step(ws: Workspace, config: NeighbourConfig) -> steps.Step:
    """What they depend on; to ask finds nothing."""
    inputs = [ws.cot("texts", config.cot_set), ws.cot("vectors", config.cot_set)]
    for folder, verb in zip(inputs, cot_verbs(config.cot_set), strict=True):
        steps.require(folder, tables.remedy(ws, verb))
    return steps.Step(
        folder=ws.path("neighbours", config.folder),
        config=replace(config, seed=0, recipe="paper" if config.recipe == "paper" else "strict"),
        inputs=[ws.path("training"), *inputs],
        code=SOURCES,
    )


def _work(config: NeighbourConfig, requests: Requests, examples: ExampleSet, folder: Path) -> dict[str, object]:
    processor.flush_denormals(torch.set_flush_denormal)
    examples_NK, similarity_NK = _best_of_all(examples, requests, config)
    there_NK = similarity_NK > -torch.inf
    save_file({"examples": (examples_NK * there_NK).int(), "similarity": similarity_NK}, folder / _FILE)
    found = there_NK.sum(dim=1)
    return {"rows": len(requests), "complete": int((found == config.count).sum()), "empty": int((found == 0).sum())}


def search_exact(examples: ExampleSet, requests: Requests, config: NeighbourConfig) -> tuple[Tensor, Tensor]:
    """The neighbours of every request as they are shown: example numbers (N, K) and similarities (N, K)."""
    return arrange(*_best_of_all(examples, requests, config), requests, config)


def _best_of_all(examples: ExampleSet, requests: Requests, config: NeighbourConfig) -> tuple[Tensor, Tensor]:
    """The neighbours of every request, best first, positives first: as `ExactSearch.best`."""
    search = ExactSearch(examples.candidates(), examples.item_vectors_VE, config)
    starts = range(0, len(requests), search.batch)
    parts = [
        search.best(requests.slice(start, start + search.batch))
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
        of_label = [torch.nonzero(candidates.label_M == label).flatten() for label in (1, 0)]
        self.groups = of_label if config.constrained else [torch.arange(len(candidates.label_M))]

    @property
    def batch(self) -> int:
        """How many requests to ask for at once: fewer, the more examples there are, so that scores are bounded."""
        return max(1, min(_BATCH, _SCORES // len(self.candidates.label_M)))

    def __call__(self, requests: Requests) -> tuple[Tensor, Tensor]:
        """Return example numbers (B, K), in a seeded random order, and similarities (B, K)."""
        return arrange(*self.best(requests), requests, self.config)

    def best(self, requests: Requests) -> tuple[Tensor, Tensor]:
        """Return example numbers (B, K) and similarities (B, K), -inf where an example is missing."""
        score_BM = self.scores(requests)
        score_BM.masked_fill_(~eligible(self.config.recipe, self.candidates, requests), -torch.inf)
        numbers, scores = zip(*(self._of_group(score_BM, members_X) for members_X in self.groups), strict=True)
        return torch.cat(numbers, dim=1), torch.cat(scores, dim=1)

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

    def _of_group(self, score_BM: Tensor, members_X: Tensor) -> tuple[Tensor, Tensor]:
        """The K/2 best of one label, or K of any; a set too small for them is filled up with "no example"."""
        wanted = self.config.count // len(self.groups)
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
    shown_BK, similarity_BK = examples_BK.long().masked_fill(missing_BK, 0), similarity_BK.masked_fill(missing_BK, 0)
    order_BK = shuffled_order(shown_BK, requests.user_B, item_B, config.seed)
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
