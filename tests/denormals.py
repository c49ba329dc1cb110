"""What is left of denormal numbers after common operations, in every thread: nothing where all of them flush.

As a module it is a worker of `ranking.trainer` that looks when it is done, or a verb's process that does.
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

REPORT = "LLMCF_TEST_DENORMALS"  # the folder that a worker's report goes to


def left() -> dict[str, int]:
    """How many elements each operation has left; the tensors are large enough for all threads to have a part."""
    small = torch.full((2048, 2048), 71_362, dtype=torch.int32).view(torch.float32)  # 1e-40, written as bits
    weight = torch.ones(2048, 2048, requires_grad=True)
    (weight * small).sum().backward()
    assert weight.grad is not None
    made = {"mul": small * 1.0, "add": small + small, "mm": small @ torch.eye(2048), "backward": weight.grad}
    moments = torch.nn.Parameter(torch.zeros(2048, 2048))
    moments.grad = torch.full((2048, 2048), 5e-38)
    adam = torch.optim.Adam([moments], fused=True)
    adam.step()
    made["adam"] = adam.state[moments]["exp_avg"]
    return {name: _count(value) for name, value in made.items()}


def start_pool() -> None:
    """One parallel loop: the threads then have the switch as it is now."""
    assert torch.ones(2048, 2048).mul(2.0).sum() > 0


def _count(value: Tensor) -> int:
    return int((value.view(torch.int32) & 0x7FFFFFFF).count_nonzero())


if __name__ == "__main__":
    from ict import shared_run
    from ranking import worker
    from ranking.distributed import Group

    start_pool()
    shared_run.take_part(Group.join, worker.fit, shown=worker.SHOWN)
    report = {"threads": torch.get_num_threads(), "left": left()}
    Path(os.environ[REPORT], f"{os.environ['RANK']}.json").write_text(json.dumps(report))
    sys.exit()
