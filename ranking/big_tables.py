"""Tables of many rows, whose step changes the rows that it looks up and touches no other.

TorchRec shards them as it does the others, with fbgemm's fused kernel: the backward pass applies row-wise Adagrad (one
number of state a row) to the summed gradient of each row. Then every row would lose a fixed share of itself and take
part in a moving average. A row that is x after step s, and is not looked up in n more, is q^n x by then, q = 1 - decay,
and its average a becomes share^n a + (1 - share) (sum over j of share^(n-j) q^j) x: both are computed when the row is
looked up again, and before all are read. So the weights are those of a table that is decayed and averaged as a whole.

Suffixes: V rows of a table that are held here, R some of them, Y columns.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, distributed, nn
from torchrec import KeyedJaggedTensor
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.optim.optimizers import in_backward_optimizer_filter

from ranking.configs import RankerConfig
from ranking.ranker import Ranker

_EPSILON = 1e-8
_CPU = torch.device("cpu")


def names(ranker: Ranker, config: RankerConfig) -> list[str]:
    """The tables that are big enough; of a ranker that is not sharded yet."""
    tables = ranker.fields.tables.embedding_bag_configs()
    least = config.sparse_rows_from
    return [table.name for table in tables if least and table.num_embeddings >= least]


def fused_parameters(config: RankerConfig) -> dict[str, Any]:
    """Of fbgemm's kernel, which on a CPU ignores a weight decay."""
    return {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": config.sparse_rate, "eps": _EPSILON}


@contextmanager
def process_group(device: torch.device = _CPU) -> Iterator[None]:
    """A process group, of this process alone where it has none: TorchRec shards nothing without one."""
    if distributed.is_initialized():
        yield
        return
    store = distributed.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=0, world_size=1)
    try:
        with warnings.catch_warnings(action="ignore"):  # of torch about TorchRec, at every use of a sharded tensor
            yield
    finally:
        distributed.destroy_process_group()


def weights(ranker: Ranker) -> dict[str, Tensor]:
    """The rows of big tables that this process holds, by table; they are no copies."""
    fused = in_backward_optimizer_filter(ranker.named_parameters(), include=True)
    return {name.split(".")[-2]: weight.data for name, weight in fused}


def others(ranker: Ranker) -> list[nn.Parameter]:
    """The weights that an optimizer of torch's has to train."""
    return [weight for _, weight in in_backward_optimizer_filter(ranker.named_parameters())]


def state(ranker: Ranker) -> dict[str, Tensor]:
    """What Adagrad has gathered for the rows that this process holds; they are no copies."""
    tables = ranker.fields.tables
    if not isinstance(tables, ShardedEmbeddingBagCollection):
        return {}
    moments = [one for of in tables.fused_optimizer.state_dict()["state"].values() for one in of.items()]
    return {
        f"{name}/{number}": shard.tensor for name, value in moments for number, shard in enumerate(value.local_shards())
    }


class Rows:
    """The rows of big tables, each with its average, brought up to date when it is needed.

    Args:
        tables: their weights, (V, Y), by name.
        share: of an average, that a step keeps; 0 for no averages.
        decay: what share of a row a step takes away.
    """

    def __init__(self, tables: dict[str, Tensor], *, share: float, decay: float) -> None:
        self.weights, self._share, self._keep = tables, share, 1.0 - decay
        self.averages = {name: weight.clone() for name, weight in tables.items()} if share else {}
        self._as_of = {name: torch.zeros_like(weight[:, 0], dtype=torch.int32) for name, weight in tables.items()}
        self._steps = torch.zeros((), dtype=torch.int64)

    def watch(self, ranker: Ranker) -> None:
        """Bring rows up to date before each look-up of a training step."""
        if not self.weights:
            return
        tables = ranker.fields.tables
        assert isinstance(tables, ShardedEmbeddingBagCollection)

        def look_up(_: nn.Module, inputs: tuple[KeyedJaggedTensor]) -> None:
            if torch.is_grad_enabled():
                for name in self.weights:
                    self.catch_up_with(name, inputs[0][name].values().unique())

        for lookup in tables._lookups:  # where its own trackers look, too
            lookup.register_forward_pre_hook(look_up)

    def step(self) -> None:
        """Count a step; averages begin with the first one's weights."""
        self._steps += 1
        if self._steps == 1:
            self.catch_up()
            for name, average in self.averages.items():
                average.copy_(self.weights[name])

    def catch_up(self) -> None:
        """Bring all rows up to date."""
        for name, weight in self.weights.items():
            self.catch_up_with(name, torch.arange(len(weight), device=weight.device))

    def state(self) -> dict[str, Tensor]:
        """Everything that changes beside the weights; they are no copies."""
        if not self.weights:
            return {}
        kept = {f"average of {name}": average for name, average in self.averages.items()}
        return kept | {f"as of {name}": steps for name, steps in self._as_of.items()} | {"steps": self._steps}

    @torch.no_grad()
    def catch_up_with(self, name: str, rows_R: Tensor) -> None:
        """Bring distinct rows of a table up to date."""
        as_of_V, weight_VY = self._as_of[name], self.weights[name]
        missed_R1 = (self._steps - as_of_V[rows_R]).double().unsqueeze(1)
        weight_RY, left_R1 = weight_VY[rows_R], self._keep**missed_R1
        if self.averages:
            share_R1 = self._share**missed_R1
            taken_R1 = (1 - self._share) * _convolved(self._keep, self._share, missed_R1)
            average_VY = self.averages[name]
            average_VY[rows_R] = share_R1.float() * average_VY[rows_R] + taken_R1.float() * weight_RY
        weight_VY[rows_R] = left_R1.float() * weight_RY
        as_of_V[rows_R] = int(self._steps)


def _convolved(one: float, other: float, count_R1: Tensor) -> Tensor:
    """Sum of one^j other^(n-j) over j from 1 to n."""
    if one == other:
        return count_R1 * one**count_R1
    return one * (one**count_R1 - other**count_R1) / (one - other)
