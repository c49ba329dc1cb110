"""The processes that train one model together: gloo on CPUs, NCCL on GPUs. Suffixes: B rows of a batch, N rows."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import torch
from torch import Tensor, distributed, nn
from torch.distributed import ReduceOp
from torch.distributed.distributed_c10d import get_node_local_rank
from torch.nn.parallel import DistributedDataParallel

from ict.device import device

_CPU = torch.device("cpu")
_PATIENCE = timedelta(days=1)  # the others wait while the first ranks everything; of a dead one torchrun tells


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a run, of which this is number `rank`. All call alike, in one order."""

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @classmethod
    def join(cls, *, gpus: bool = True) -> Self:
        """The group that torchrun has started this process for; on GPUs where there are any, if it uses them."""
        own = device(get_node_local_rank()) if gpus else _CPU
        if own.type == "cuda":
            torch.cuda.set_device(own)
        distributed.init_process_group("nccl" if own.type == "cuda" else "gloo", timeout=_PATIENCE)
        return cls(distributed.get_rank(), distributed.get_world_size(), own)

    def shard(self, at_B: Tensor) -> Tensor:
        """This process's rows of a batch. All get as many: where `size` does not divide it, the rest is left out."""
        return at_B[self.rank : len(at_B) // self.size * self.size : self.size]

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
        return value if self.size == 1 else self.extreme(value, ReduceOp.MIN)

    def extreme(self, value: int, which: ReduceOp.RedOpType) -> int:
        """The smallest or largest of the processes' values, of several processes."""
        found = torch.tensor(value, device=self.device)
        distributed.all_reduce(found, which)
        return int(found)

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

    def replicate(self, module: nn.Module, state: Tensor) -> nn.Module:
        """The module as several processes train it, each on its share: their gradients are averaged.

        Args:
            state: of torch's generator, from which the first process draws on.
        """
        if self.size == 1:
            return module
        replica = DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)
        self.go_apart(state)
        return replica

    def go_apart(self, state: Tensor) -> None:
        """The first process draws on from a state of torch's generator, and each of the others something else."""
        torch.set_rng_state(state)
        if self.rank:
            torch.manual_seed(torch.initial_seed() + self.rank)


ALONE = Group()
