"""A Llama on CUDA: the transformers engine writes what was asked for, and tuning in bfloat16 learns."""

from pathlib import Path
from typing import Any

import pytest
import torch

from llm.engines.base import Request, Sampling, complete
from llm.engines.transformers_engine import TransformersEngine
from llm.recgen.loss import IGNORED, ResponseLoss
from tests.tiny_llama import write

pytestmark = pytest.mark.gpu


def test_the_engine_writes_on_the_gpu(cuda: torch.device, tmp_path: Path) -> None:
    requests = [
        Request(number=number, prompt="is rain wet", max_new_tokens=9, min_new_tokens=9) for number in range(20)
    ]
    with TransformersEngine(write(tmp_path), Sampling(temperature=0)) as engine:
        made = {one.number: one for one in complete(engine, requests)}
        assert engine._model.device == cuda
        assert engine._model.dtype is torch.bfloat16
    assert sorted(made) == list(range(20))
    assert {one.tokens for one in made.values()} == {9}
    assert len({one.text for one in made.values()}) == 1, "greedy: the same question, the same answer"


def test_tuning_in_bfloat16_learns_what_it_is_shown(cuda: torch.device, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(write(tmp_path), dtype=torch.bfloat16)
    model.to(cuda).train()
    loss_of = ResponseLoss(model, noise=5.0, consistency=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    ids = torch.randint(7, 20, (4, 12), device=cuda)
    place = torch.arange(12, device=cuda).expand(4, -1)
    answer = place >= 8
    losses = []
    for number in range(100):
        shown = (ids, place, torch.zeros_like(ids), ids.masked_fill(~answer, IGNORED), answer.float() / 4, number)
        loss = loss_of(*shown)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
