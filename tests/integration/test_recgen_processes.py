"""Two processes of DeepSpeed ZeRO-2 on gloo take real steps; a killed one is reported and leaves nothing behind."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from core.errors import LlmcfError
from core.settings import Workspace
from llm import recgen
from tests.tiny_llama import write

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tiny-llama"))


def samples(count: int) -> list[dict]:
    ask = [{"role": "user", "content": "is rain wet"}]
    return [{"messages": ask, "answer": "yes" if number % 2 else "no"} for number in range(count)]


def run(model: Path, out: Path, processes: int) -> tuple[list[float], dict[str, torch.Tensor]]:
    out.mkdir()
    batch = 4 // processes
    config = recgen.RecGenConfig(
        recipe="strict", seed=1, steps=3, batch=batch, processes=processes, warmup=0, learning_rate=1e-2
    )
    recgen.launch(config, samples(12), model=model, out=out)
    return json.loads((out / "losses.json").read_text())["train"], load_file(out / "model.safetensors")


def test_two_processes_train_like_one(model: Path, tmp_path: Path) -> None:
    before = load_file(model / "model.safetensors")
    losses_two, weights_two = run(model, tmp_path / "two", 2)
    losses_one, weights_one = run(model, tmp_path / "one", 1)
    assert len(losses_two) == 3
    assert losses_two[-1] < losses_two[0]
    assert any(not torch.equal(before[name], weights_two[name]) for name in before)
    assert losses_two == pytest.approx(losses_one, rel=1e-3)
    for name, weight in weights_one.items():
        torch.testing.assert_close(weight, weights_two[name], rtol=1e-2, atol=1e-3)


def test_a_dead_process_is_reported_and_nothing_is_left(tiny: Workspace, model: Path, monkeypatch) -> None:
    broken = model.parent / "broken"
    broken.mkdir(exist_ok=True)
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").write_bytes(b"not weights")
    monkeypatch.setattr(recgen.models, "llm_path", lambda _: broken)
    (broken / "step.json").write_text(
        json.dumps({"content": "x", "outputs": {}, "key": "", "summary": {}, "seconds": 0})
    )
    with pytest.raises(LlmcfError, match="the training process ended with code"):
        recgen.train(tiny, recipe="strict", seed=99)
    assert not recgen.model_folder(tiny, recipe="strict", seed=99).exists()
    assert not list(tiny.path("recgen").glob(".*tmp*"))
