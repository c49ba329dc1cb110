"""Which examples exist, and which of them a request may see.

The CoT set is a sample of training rows, each with a chain of thought. Examples are numbered from 1; index 0 is "no
example", so every tensor below has a first row that stands for nothing.

Suffixes: B requests, M examples + 1, L history length, E text-embedding width, V items.
"""

from dataclasses import dataclass
from math import sqrt

import pyarrow as pa
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from core import schemas, steps, storage
from core.contracts import FIRST_ID, RECIPES
from core.data import tables
from core.errors import Missing, check_choice
from core.remedies import cot_verbs
from core.settings import Workspace
from ict.filters import Filter

NEVER = torch.iinfo(torch.int64).max  # the day of "no example": later than every request


@dataclass(frozen=True, slots=True)
class Requests:
    """Training rows, or live requests, as tensors: all (B,), `history_BL` newest last and padded on the left."""

    user_B: Tensor
    item_B: Tensor
    position_B: Tensor
    day_B: Tensor
    history_BL: Tensor

    def __len__(self) -> int:
        return len(self.user_B)

    @classmethod
    def of(cls, rows: pa.Table) -> "Requests":
        """From a table with the columns of `schemas.TRAINING_ROWS`."""
        user_B, item_B, position_B, day_B = (integers(rows, name) for name in ("user", "item", "position", "day"))
        return cls(user_B, item_B, position_B, day_B, _histories(rows))

    def slice(self, start: int, stop: int) -> "Requests":
        return Requests(
            self.user_B[start:stop],
            self.item_B[start:stop],
            self.position_B[start:stop],
            self.day_B[start:stop],
            self.history_BL[start:stop],
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """What choosing examples needs to know of them; row 0 means "no example". `key_MX` is (M, 2E)."""

    row_M: Tensor
    user_M: Tensor
    position_M: Tensor
    day_M: Tensor
    label_M: Tensor
    key_MX: Tensor


@dataclass(frozen=True, slots=True)
class ExampleSet:
    """The CoT set, row 0 meaning "no example". Vectors are L2-normalised; `row_M` is the training row (-1 for none)."""

    row_M: Tensor
    user_M: Tensor
    item_M: Tensor
    position_M: Tensor
    day_M: Tensor
    label_M: Tensor
    history_ML: Tensor
    cot_ME: Tensor
    item_vectors_VE: Tensor

    @property
    def count(self) -> int:
        """Real examples, without "no example"."""
        return len(self.row_M) - 1

    @classmethod
    def load(cls, ws: Workspace, cot_set: str = "", rows: pa.Table | None = None) -> "ExampleSet":
        """Read a CoT set of a workspace.

        Args:
            rows: the workspace's training rows, where they are at hand.

        Raises:
            Missing: if a step that makes it has not run, or not since the rows have changed, which its texts belong to
                by number; or there are no texts. Names the verb.
        """
        make, embed = (tables.remedy(ws, verb) for verb in cot_verbs(cot_set))
        steps.require_current(ws.cot("texts", cot_set), make)
        vectors = text_vectors(ws, embed, cot_set)
        path = ws.cot("texts", cot_set) / "texts.parquet"
        texts = storage.read_table(path, schemas.COT_TEXTS, make)
        if not len(texts):
            raise Missing(f"{path} holds no chain of thought", make)
        if len(texts) != len(vectors["cot"]):
            raise Missing(f"{path} has changed since it was embedded", embed)
        rows = tables.training_rows(ws) if rows is None else rows
        return cls.of(rows, integers(texts, "row"), vectors["cot"], vectors["items"])

    @classmethod
    def of(cls, rows: pa.Table, sample_N: Tensor, cot_NE: Tensor, item_vectors_VE: Tensor) -> "ExampleSet":
        """The examples of the training rows numbered `sample_N`; `cot_NE` are their vectors, in the same order."""
        at_N = torch.searchsorted(integers(rows, "row"), sample_N)
        sampled = rows.take(pa.array(at_N.numpy()))
        assert torch.equal(integers(sampled, "row"), sample_N), "the CoT set names rows that do not exist"
        requests = Requests.of(sampled)
        return cls(
            row_M=with_none(sample_N, -1),
            user_M=with_none(requests.user_B, 0),
            item_M=with_none(requests.item_B, 0),
            position_M=with_none(requests.position_B, 0),
            day_M=with_none(requests.day_B, NEVER),
            label_M=with_none(integers(sampled, "label"), 0),
            history_ML=with_none(requests.history_BL, 0),
            cot_ME=with_none(cot_NE, 0),
            item_vectors_VE=item_vectors_VE,
        )

    def candidates(self) -> Candidates:
        """The examples with their keys, which are what Milvus stores and a query is compared with."""
        key_MX = keys(self.item_vectors_VE, self.history_ML, self.item_M)
        return Candidates(self.row_M, self.user_M, self.position_M, self.day_M, self.label_M, key_MX)


def text_vectors(ws: Workspace, remedy: str, cot_set: str = "") -> dict[str, Tensor]:
    """A set's vectors: `items`, a row for every item there is, and `cot` unless items alone were embedded.

    Raises:
        Missing: if the step has not run, or what it read has changed since; `remedy` is the command that runs it.
    """
    folder = ws.cot("vectors", cot_set)
    steps.require_current(folder, remedy)
    vectors, items = load_file(folder / "vectors.safetensors"), tables.items(ws).num_rows + FIRST_ID
    if len(vectors["items"]) != items:
        known = len(vectors["items"]) - FIRST_ID
        raise Missing(f"the text vectors of {folder} are of {known} items, and there are {items - FIRST_ID}", remedy)
    return vectors


def history_vectors(item_vectors_VE: Tensor, history_BL: Tensor) -> Tensor:
    """The normalised mean of each history's item vectors, (B, E); zero for an empty history.

    A bag never forms the vectors of every position; in an exported graph, ONNX would run it as a loop.
    """
    if torch.compiler.is_exporting():
        sums_BE = F.embedding(history_BL, item_vectors_VE).sum(dim=1)
    else:
        sums_BE = F.embedding_bag(history_BL, item_vectors_VE, mode="sum")  # pad and unknown items are zero rows
    return F.normalize(sums_BE, dim=-1)


def keys(item_vectors_VE: Tensor, history_BL: Tensor, item_B: Tensor) -> Tensor:
    """Factorised keys, (B, 2E): inner product = 0.5 cos(history, history) + 0.5 cos(item, item)."""
    history_BE = history_vectors(item_vectors_VE, history_BL)
    return sqrt(0.5) * torch.cat([history_BE, item_vectors_VE[item_B]], dim=-1)


def eligible(recipe: str, examples: Candidates, requests: Requests) -> Tensor:
    """The one rule of who may see what: True where a request may be shown an example, (B, M).

    `strict` and `best`: examples of strictly earlier days, which excludes the row itself, its paired negative and
    every other row of the same user and position. `paper`: all but the same user's strictly later positions, so a
    row may find itself, label and all (the flaw is the published protocol's).
    """
    check_choice("recipe", recipe, RECIPES)
    if recipe == "paper":
        same_user_BM = examples.user_M == requests.user_B[:, None]
        later_BM = examples.position_M > requests.position_B[:, None]
        return ~(same_user_BM & later_BM) & (examples.row_M >= 0)
    return examples.day_M < requests.day_B[:, None]


def rule(recipe: str, request: Requests, label: int | None = None) -> Filter:
    """The same rule for a single request, and with `label` examples of that label, as a filter of an index."""
    check_choice("recipe", recipe, RECIPES)
    user, position, day = (int(part[0]) for part in (request.user_B, request.position_B, request.day_B))
    if recipe == "paper":
        return Filter(label=label, seen_from=(user, position))
    return Filter(label=label, before=day)


def with_none(values_N: Tensor, none: int) -> Tensor:
    """With the row of "no example" before them."""
    return torch.cat([values_N.new_full((1, *values_N.shape[1:]), none), values_N])


def integers(table: pa.Table, name: str) -> Tensor:
    """A column as an int64 tensor of its own memory."""
    return torch.from_numpy(table[name].to_numpy().astype("int64"))


def _histories(table: pa.Table) -> Tensor:
    column = table["history"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().reshape(len(table), -1).copy())
