"""A ranker on several processes: TorchRec's DistributedModelParallel over gloo on CPUs, NCCL on GPUs.

Tables are sharded by rows, so that each process holds its part of every table, its gradient and what the
optimizer keeps for it; the dense weights are replicated and their gradients averaged. Suffixes: B rows of a batch.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
from torchrec.distributed.types import ModuleSharder, ShardingPlan

from ict import group as processes
from ranking import big_tables
from ranking.bags import lengthened
from ranking.batch import Batch
from ranking.configs import RankerConfig
from ranking.layers import SIDES
from ranking.ranker import Ranker

_TABLES = "fields.tables"  # of a ranker


@dataclass(frozen=True, slots=True)
class Group(processes.Group):
    """The processes that train one ranker together."""

    def to_device(self, batch: Batch) -> Batch:
        """The batch on this process's device; sharded tables want as many bags of all, so that empty ones are added."""
        if self.size == 1:
            return batch.to(self.device)
        rows = batch.sparse.stride() // SIDES
        return replace(batch, sparse=lengthened(batch.sparse, self.extreme(rows, ReduceOp.MAX))).to(self.device)

    def distribute(self, ranker: Ranker, config: RankerConfig) -> nn.Module:
        """The ranker as it is trained: on this process's device; with its tables sharded, in place, by several
        processes or if any is big.

        The first then draws what it would have drawn alone, and each of the others something else.
        """
        if self.size == 1 and not big_tables.names(ranker, config):
            return ranker.to(self.device)
        state = torch.get_rng_state()
        sharded = shard_tables(ranker, self, config)
        self.go_apart(state)
        return sharded


ALONE = Group()


def shard_tables(ranker: Ranker, group: Group, config: RankerConfig) -> DistributedModelParallel:
    """Share the rows of the tables among the processes, with the weights they have; the ranker is changed in place.

    A process computes with its own share of a batch, and its gradients are those of the mean over all of it. Any torch
    optimizer works on what a process holds, as the tables have dense gradients; big ones train themselves.
    """
    weights = ranker.state_dict()
    dense, fused = (
        row_wise(compute_kernel=kernel.value) for kernel in (EmbeddingComputeKernel.DENSE, EmbeddingComputeKernel.FUSED)
    )
    big = big_tables.names(ranker, config)
    plan = construct_module_sharding_plan(
        ranker.fields.tables,
        {table.name: fused if table.name in big else dense for table in ranker.fields.tables.embedding_bag_configs()},
        world_size=group.size,
        device_type=group.device.type,
    )
    sharder = EmbeddingBagCollectionSharder(fused_params=big_tables.fused_parameters(config))
    sharded = DistributedModelParallel(
        ranker,
        device=group.device,
        plan=ShardingPlan({_TABLES: plan}),
        sharders=[cast(ModuleSharder[nn.Module], sharder)],
    )
    with torch.no_grad():  # sharding draws the tables anew
        for name, value in ranker.state_dict().items():
            for part, place in _local(value):
                part.copy_(weights[name][place])
    return sharded


def local_weights(model: nn.Module) -> dict[str, Tensor]:
    """What this process holds of a model's state, by name: of a sharded table its rows. They are no copies."""
    state: dict[str, Any] = model.state_dict()
    return {
        f"{name}/{number}" if isinstance(value, ShardedTensor) else name: part
        for name, value in state.items()
        for number, (part, _) in enumerate(_local(value))
    }


def whole_weights(model: nn.Module, group: Group) -> dict[str, Tensor]:
    """A model's state on the first process's CPU; in other processes, which must call too, sharded tables are empty."""
    weights: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if isinstance(value, ShardedTensor):
            out = torch.empty(value.size(), device=group.device) if group.rank == 0 else None
            value.gather(0, out)
            value = torch.empty(0) if out is None else out
        weights[name] = value.cpu()
    return weights


def _local(value: Tensor | ShardedTensor) -> list[tuple[Tensor, tuple[slice, ...]]]:
    """The parts of a value that are held here, each with its place in the whole."""
    if not isinstance(value, ShardedTensor):
        return [(value, tuple(slice(size) for size in value.shape))]
    return [(part.tensor, _place(part.metadata)) for part in value.local_shards()]


def _place(of: ShardMetadata) -> tuple[slice, ...]:
    return tuple(slice(at, at + size) for at, size in zip(of.shard_offsets, of.shard_sizes, strict=True))
