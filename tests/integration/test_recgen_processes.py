"""DeepSpeed really trains: on two processes as on one, killed and resumed as unbroken, on every ZeRO stage."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import storage
from core.errors import LlmcfError, UsageError
from core.settings import Workspace
from llm import models
from llm.recgen import launch, train
from llm.recgen.recipes import TuningConfig

pytestmark = pytest.mark.integration
Run = tuple[list[float], dict[str, torch.Tensor]]  # losses and weights


def job(model: Path, out: Path, **changes: Any) -> Path:
    """The file of a job of 12 samples."""
    out.mkdir(exist_ok=True)
    samples = [{"text": "is rain wet", "branches": [["", "yes" if n % 3 else "no the film"]]} for n in range(12)]
    (out / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    value: dict[str, Any] = {
        "model": str(model),
        "out": str(out),
        "samples": str(out / "samples.jsonl"),
        "checkpoints": str(out / "checkpoints"),
        "lengths": [11] * 12,
        "seed": 1,
        "batch": 4,
        "accumulation": 1,
        "learning_rate": 1e-2,
        "warmup": 0.0,
        "max_tokens": 64,
        "precision": "float32",
        "zero_stage": 2,
        "offload": False,
        "checkpoint_steps": 100,
        "lora_rank": 0,
        "noise": 0.0,
        "consistency": 0.0,
        **changes,
    }
    storage.write_json(out / "job.json", value)
    return out / "job.json"


def run(model: Path, out: Path, processes: int = 1, **changes: Any) -> Run:
    launch.worker(job(model, out, **changes), processes=processes)
    return json.loads((out / "losses.json").read_text())["train"], load_file(out / "model.safetensors")


def killed(job: Path, monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    """Run a job whose process is killed before its batch `at`, counted from 0."""
    with monkeypatch.context() as patch:
        patch.setattr(launch, "_WORKER", "tests.dying_worker")
        patch.setenv("LLMCF_TEST_DIES_AT", str(at))
        with pytest.raises(LlmcfError, match="the training process ended"):
            launch.worker(job, processes=1)


@pytest.fixture(scope="module")
def unbroken(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(model, tmp_path_factory.mktemp("unbroken"))


def test_two_processes_train_like_one(model: Path, tmp_path: Path, unbroken: Run) -> None:
    before = load_file(model / "model.safetensors")
    losses_two, weights_two = run(model, tmp_path, 2, batch=2)
    losses_one, weights_one = unbroken
    assert len(losses_two) == 3
    assert losses_two[-1] < losses_two[0]
    assert any(not torch.equal(before[name], weights_two[name]) for name in before)
    assert losses_two == pytest.approx(losses_one, rel=1e-3)
    for name, weight in weights_one.items():
        torch.testing.assert_close(weight, weights_two[name], rtol=1e-2, atol=1e-3)


def test_accumulated_micro_batches_are_one_batch(model: Path, tmp_path: Path, unbroken: Run) -> None:
    losses, _ = run(model, tmp_path, batch=2, accumulation=2)
    assert losses == pytest.approx(unbroken[0], rel=1e-4)


@pytest.mark.parametrize(("stage", "precision"), [(3, "float32"), (2, "bfloat16")])
def test_a_killed_run_goes_on_with_the_very_losses_it_would_have_had(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, precision: str
) -> None:
    plan = {"batch": 2, "checkpoint_steps": 2, "zero_stage": stage, "precision": precision}
    whole, weights = run(model, tmp_path / "whole", **plan)
    broken = tmp_path / "broken"
    killed(job(model, broken, **plan), monkeypatch, at=3)
    assert not (broken / "losses.json").exists()
    assert (broken / "checkpoints" / "latest").read_text() == "step-00000002"
    resumed, again = run(model, broken, **plan)
    assert resumed == whole
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not list((broken / "checkpoints").rglob("*.pkl"))


def test_a_checkpoint_holds_nothing_but_safetensors(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import safe_open

    killed(job(model, tmp_path, checkpoint_steps=1), monkeypatch, at=1)
    files = [path for path in (tmp_path / "checkpoints").rglob("*") if path.is_file() and path.name != "latest"]
    files = [path for path in files if path.suffix != ".py"]  # DeepSpeed lays its own script beside them
    assert files
    for path in files:
        with safe_open(path, framework="pt") as stored:
            assert "tree" in stored.metadata()


def test_bfloat16_products_change_the_losses_a_little_and_leave_float32_weights(
    model: Path, tmp_path: Path, unbroken: Run
) -> None:
    losses, weights = run(model, tmp_path, precision="bfloat16")
    assert losses != unbroken[0]
    assert losses == pytest.approx(unbroken[0], rel=0.02)
    assert all(weight.dtype == torch.float32 for weight in weights.values())


def test_low_rank_updates_come_back_as_an_ordinary_model(model: Path, tmp_path: Path) -> None:
    _, weights = run(model, tmp_path, lora_rank=2)
    before = load_file(model / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], weights[name])}
    assert weights.keys() == before.keys()
    assert changed == {f"model.layers.{n}.self_attn.{p}_proj.weight" for n in (0, 1) for p in "qv"}


def test_two_machines_meet_and_train_together(
    model: Path, tmp_path: Path, unbroken: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two torchrun agents on loopback, one process each: what two machines with a shared home do."""
    import socket
    from concurrent.futures import ThreadPoolExecutor

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("LLMCF_RENDEZVOUS", f"127.0.0.1:{free.getsockname()[1]}")
    path = job(model, tmp_path, batch=2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: launch.worker(path, processes=1, nodes=2), range(2)))
    assert json.loads((tmp_path / "losses.json").read_text())["train"] == pytest.approx(unbroken[0], rel=1e-3)


def test_several_machines_need_a_place_to_meet(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMCF_RENDEZVOUS", raising=False)
    with pytest.raises(UsageError, match="set LLMCF_RENDEZVOUS"):
        launch.worker(job(model, tmp_path), processes=1, nodes=2)


def config(model: Path, method: str, **changes: Any) -> TuningConfig:
    return TuningConfig(**{"method": method, "seed": 5, "rows": 16, "batch": 4, "model": str(model), **changes})


@pytest.fixture
def stamped(model: Path, tmp_path: Path) -> Path:
    """The model as `llm fetch` leaves it: with the stamp of a step."""
    folder = tmp_path / "stamped"
    shutil.copytree(model, folder)
    (folder / "step.json").write_text('{"content": "x", "outputs": {}, "key": "", "summary": {}, "seconds": 0}')
    return folder


def test_wise_ft_lies_between_base_and_full(tiny: Workspace, stamped: Path, tmp_path: Path) -> None:
    with pytest.raises(LlmcfError, match="recgen train --method full --seed 5"):
        train.train(tiny, config(stamped, "wise-ft-0.5"))
    full = train.train(tiny, config(stamped, "full"))
    assert full.details["samples"] == 8
    between = train.train(tiny, config(stamped, "wise-ft-0.5"))
    ends = [load_file(Path(path) / "model.safetensors") for path in (stamped, full.artifacts["model"])]
    for name, weight in load_file(Path(between.artifacts["model"]) / "model.safetensors").items():
        torch.testing.assert_close(weight, (ends[0][name] + ends[1][name]) / 2)
    assert train.train(tiny, config(stamped, "full")).skipped

    other = shutil.copytree(stamped, tmp_path / "other")
    weights = {name: weight + 1 for name, weight in ends[0].items()}
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LlmcfError, match=rf"full-s5 was tuned from {stamped}, not from this {other}; run `.*--model"):
        train.train(tiny, config(other, "wise-ft-0.5"))


def test_a_dead_process_is_reported_and_nothing_is_left(tiny: Workspace, stamped: Path) -> None:
    (stamped / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(LlmcfError, match="the training process ended with code"):
        train.train(tiny, config(stamped, "half", seed=99))
    assert not models.tuned_folder(tiny, method="half", seed=99).exists()
    assert not list(tiny.path("recgen").glob(".*tmp*"))


def test_base_has_nothing_to_train(tiny: Workspace, stamped: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train"):
        train.train(tiny, config(stamped, "base"))
