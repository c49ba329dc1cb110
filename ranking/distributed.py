"""A ranker on several processes: TorchRec's DistributedModelParallel over gloo on CPUs, NCCL on GPUs.

Tables are sharded by rows, so that each process holds its part of every table, its gradient and what the
optimizer keeps for it; the dense weights are replicated and their gradients averaged. Suffixes: B rows of a batch,
N rows.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed import ReduceOp
from torch.distributed._shard.metadata import ShardMetadata
from torch.distributed._shard.sharded_tensor.api import ShardedTensor
from torch.distributed.distributed_c10d import get_node_local_rank
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
from torchrec.distributed.types import ModuleSharder, ShardingPlan

from ict.device import device
from ranking import big_tables
from ranking.bags import lengthened
from ranking.batch import Batch
from ranking.configs import RankerConfig
from ranking.layers import SIDES
from ranking.ranker import Ranker

_TABLES = "fields.tables"  # of a ranker
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train one ranker together, of which this is number `rank`. All call alike, in one order."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @classmethod
    def join(cls) -> "Group":
        """The group that torchrun has started this process for."""
        own = device(get_node_local_rank())
        if own.type == "cuda":
            torch.cuda.set_device(own)
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
        return cls(distributed.get_rank(), distributed.get_world_size(), own)

    def shard(self, at_B: Tensor) -> Tensor:
        """This process's rows of a batch. All get as many, so up to size - 1 rows of a last batch are left out."""
        return at_B[self.rank : len(at_B) // self.size * self.size : self.size]

    def to_device(self, batch: Batch) -> Batch:
        """The batch on this process's device; sharded tables want as many bags of all, so that empty ones are added."""
        if self.size == 1:
            return batch.to(self.device)
        rows = batch.sparse.stride() // SIDES
        return replace(batch, sparse=lengthened(batch.sparse, self._extreme(rows, ReduceOp.MAX))).to(self.device)

    def broadcast(self, value: Tensor) -> Tensor:
        """The first process's `value`, which has one shape everywhere."""
        if self.size > 1:
            value = value.to(self.device)
            distributed.broadcast(value, 0)
        return value.cpu()

    def mean(self, value: float) -> float:
        """The mean of the processes' values."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        return total.item() / self.size

    def minimum(self, value: int) -> int:
        """The smallest of the processes' values."""
        return value if self.size == 1 else self._extreme(value, ReduceOp.MIN)

    def distribute(self, ranker: Ranker, config: RankerConfig) -> nn.Module:
        """The ranker as it is trained: on this process's device; with its tables sharded, in place, by several
        processes or if any is big.

        The first then draws what it would have drawn alone, and each of the others something else.
        """
        if self.size == 1 and not big_tables.names(ranker, config):
            return ranker.to(self.device)
        state = torch.get_rng_state()
        sharded = shard_tables(ranker, self, config)
        torch.set_rng_state(state)
        if self.rank:
            torch.manual_seed(torch.initial_seed() + self.rank)
        return sharded

    def gather(self, parts_N: Tensor, count: int) -> Tensor:
        """What each process has made of `padded_shard`, put back into the order of the `count` rows."""
        if self.size == 1:
            return parts_N
        found = [torch.empty_like(parts_N) for _ in range(self.size)]
        distributed.all_gather(found, parts_N)
        return torch.stack(found, dim=1).flatten()[:count]

    def padded_shard(self, at_N: Tensor) -> Tensor:
        """This process's rows of all that are to be scored; some are scored twice, so that all get as many."""
        missing = -len(at_N) % self.size
        return torch.cat([at_N, at_N[:1].expand(missing)])[self.rank :: self.size]

    def _extreme(self, value: int, which: ReduceOp.RedOpType) -> int:
        found = torch.tensor(value, device=self.device)
        distributed.all_reduce(found, which)
        return int(found)


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
