"""Tables of many rows, whose step changes the rows that were looked up and touches no other.

TorchRec shards them as it does the others, with fbgemm's fused kernel: the backward pass applies row-wise Adagrad (one
number of state a row) to the summed gradient of each row. Dense Adam moves every row at every step, by its momentum and
its weight decay; here a step that looks a row up takes a fixed share of it away, and another leaves it as it is.

Suffixes: R rows of a table that a step looks up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fbgemm_gpu.split_embedding_configs import EmbOptimType
from torch import Tensor, distributed, nn
from torchrec import KeyedJaggedTensor
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.optim.optimizers import in_backward_optimizer_filter

from ranking.ranker import Ranker
from ranking.recipes import RankerConfig

_EPSILON = 1e-8


def names(ranker: Ranker, config: RankerConfig) -> list[str]:
    """The tables that are big enough; of a ranker that is not sharded yet."""
    tables = ranker.fields.tables.embedding_bag_configs()
    least = config.sparse_rows_from
    return [table.name for table in tables if least and table.num_embeddings >= least]


def fused_parameters(config: RankerConfig) -> dict[str, Any]:
    """Of fbgemm's kernel, which on a CPU ignores a weight decay."""
    return {"optimizer": EmbOptimType.EXACT_ROWWISE_ADAGRAD, "learning_rate": config.sparse_rate, "eps": _EPSILON}


@contextmanager
def process_group() -> Iterator[None]:
    """A process group, of this process alone where it has none: TorchRec shards nothing without one."""
    if distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
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


def watch(ranker: Ranker, before: Callable[[str, Tensor], None], decay: float) -> None:
    """Have `before` told each big table's rows that a training step looks up, (R,), and then decay these.

    Args:
        before: takes the table and the rows, before the step changes them.
        decay: what share of a row is taken away.
    """
    tables, big = ranker.fields.tables, weights(ranker)
    if not big:
        return
    assert isinstance(tables, ShardedEmbeddingBagCollection)

    def tell(features: KeyedJaggedTensor, *_: object) -> None:
        if not torch.is_grad_enabled():
            return
        with torch.no_grad():
            for name, weight in big.items():
                rows_R = features[name].values().unique()
                before(name, rows_R)
                weight[rows_R] *= 1 - decay  # their gradient does not ask what they are

    tables.register_post_lookup_tracker_fn(tell)
