"""The same ranker on several processes: TorchRec's DistributedModelParallel over gloo on CPUs, NCCL on GPUs."""

from collections import OrderedDict

import torch
from torch import distributed
from torchrec.distributed.model_parallel import DistributedModelParallel, get_default_sharders
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.distributed.types import ShardingType

from ranking.ranker import Ranker


def distribute(ranker: Ranker) -> DistributedModelParallel:
    """Replicate the tables and the dense weights on every process, as they are; gradients are averaged over them.

    The process group must be up. Each process then feeds its own share of a batch, and any torch optimizer works, as
    the tables have dense gradients.
    """
    weights = OrderedDict((name, value.clone()) for name, value in ranker.state_dict().items())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    names = [config.name for config in ranker.fields.tables.embedding_bag_configs()]
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=distributed.get_world_size(), compute_device=device.type),
        constraints={name: ParameterConstraints(sharding_types=[ShardingType.DATA_PARALLEL.value]) for name in names},
    )
    sharders = get_default_sharders()
    sharded = DistributedModelParallel(ranker, device=device, plan=planner.plan(ranker, sharders), sharders=sharders)
    sharded.load_state_dict(weights)  # sharding draws the tables anew
    return sharded
