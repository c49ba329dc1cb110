"""One process of a fine-tuning run, started by torchrun: `-m llm.recgen.worker JOB.json`, or `build` to compile only.

DeepSpeed ZeRO; the job says in which precision. A checkpoint every few steps lets a killed run go on with the very
losses it would have had: data and noise depend on the seed and the step alone. Rank 0 writes the model, the tokenizer
and `losses.json`.

Suffixes: B sequences, T tokens.
"""

import json
import math
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core import memory, processor, torchrun
from llm.recgen.loss import IGNORED, PADDING, ResponseLoss

Example = dict[str, list[Any]]  # input_ids, position_ids, branch, labels, weights: a number each token
_BUCKET = 32  # batches among which samples are sorted by length


def main() -> None:
    if sys.argv[1] == "build":
        build()
    else:
        torchrun.end_with_parent()
        processor.flush_denormals(torch.set_flush_denormal)
        run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))


def build() -> None:
    """Compile the operator that DeepSpeed's communication loads on a CPU, where there is one."""
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    assert accelerator is not None
    builder = accelerator.create_op_builder("ShareMemCommBuilder") if accelerator.device_name() == "cpu" else None
    if builder is not None:
        builder.load()


def run(job: dict[str, Any]) -> None:
    memory.keep_freed()
    torch.manual_seed(job["seed"])
    import deepspeed

    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    tokenizer, model = load(job)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = count_steps(len(job["lengths"]), job["batch"] * job["accumulation"] * world)
    optimizer = torch.optim.AdamW(trained, lr=job["learning_rate"], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(steps, max(1, round(steps * job["warmup"]))))
    engine, *_ = deepspeed.initialize(
        model=ResponseLoss(model, noise=job["noise"], consistency=job["consistency"]),
        optimizer=optimizer,
        lr_scheduler=schedule,  # pyright: ignore[reportArgumentType] - its stub names torch's older base class
        config=deepspeed_config(job),
    )
    losses = train(engine, Batches(job, tokenizer, rank, world), steps, job)
    save(engine, tokenizer, losses, Path(job["out"]), rank, lora=bool(job["lora_rank"]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def load(job: dict[str, Any]) -> tuple[Any, Any]:
    """The tokenizer, and the model with low-rank updates where the method asks for them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(job["model"], local_files_only=True, dtype=torch.float32)
    if job["lora_rank"]:
        from peft import LoraConfig, get_peft_model

        rank, targets = job["lora_rank"], ["q_proj", "v_proj"]
        model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets)).base_model.model
    return tokenizer, model


def deepspeed_config(job: dict[str, Any]) -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": job["zero_stage"], "overlap_comm": False}
    if job["offload"]:
        zero["offload_optimizer"] = {"device": "cpu"}
        if job["zero_stage"] == 3:
            zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": job["batch"],
        "gradient_accumulation_steps": job["accumulation"],
        "gradient_clipping": 1.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # torch's own AdamW; DeepSpeed's CPU Adam would be compiled first
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": torch.cuda.is_available() and bfloat16(job)},
        "steps_per_print": 1_000_000,
    }


def bfloat16(job: dict[str, Any]) -> bool:
    """Whether matrix products are computed in bfloat16: by DeepSpeed on a GPU, by autocast on a CPU."""
    return job["precision"] == "bfloat16" or (job["precision"] == "auto" and torch.cuda.is_available())


def cosine(steps: int, warmup: int) -> Any:
    """Linear warm-up, then half a cosine down to zero, as a factor of the learning rate."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    return factor


def count_steps(samples: int, global_batch: int) -> int:
    """Optimizer steps of one epoch; the samples that do not fill the last batch are left out."""
    return samples // global_batch


def encode(tokenizer: Any, sample: dict[str, Any], limit: int) -> Example:
    """One sample in at most about `limit` tokens: what its branches share, then each branch and its answer.

    What is shared and too long is cut from its middle, which keeps the head (the instruction) and the tail (the newest
    history, the question); an answer keeps at least half of `limit`. Positions in a branch go on from what is shared.
    """

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    shared = ids(sample["text"])
    branches = [(ids(tail), [*ids(answer), tokenizer.eos_token_id]) for tail, answer in sample["branches"]]
    room = max(limit // 2, limit - len(shared) - sum(len(tail) for tail, _ in branches)) // len(branches)
    branches = [(tail, answer[:room]) for tail, answer in branches]
    spare = max(limit - sum(len(tail) + len(answer) for tail, answer in branches), limit // 4)
    if len(shared) > spare:
        shared = shared[: spare // 2] + shared[-(spare - spare // 2) :]
    out: Example = {"input_ids": list(shared), "position_ids": list(range(len(shared))), "branch": [0] * len(shared)}
    out |= {"labels": [IGNORED] * len(shared), "weights": [0.0] * len(shared)}
    for number, (tail, answer) in enumerate(branches, start=1):
        count = len(tail) + len(answer)
        out["input_ids"] += tail + answer
        out["position_ids"] += range(len(shared), len(shared) + count)
        out["branch"] += [number] * count
        out["labels"] += [IGNORED] * len(tail) + answer
        out["weights"] += [0.0] * len(tail) + [1 / len(answer)] * len(answer)
    return out


class Batches:
    """This process's micro-batches, by their number; samples of like length share a batch, so little is padding."""

    def __init__(self, job: dict[str, Any], tokenizer: Any, rank: int, world: int) -> None:
        self.job, self.tokenizer, self.rank, self.world = job, tokenizer, rank, world
        self.pad = tokenizer.pad_token_id or 0
        self.order = bucketed(job["lengths"], job["batch"] * world, job["seed"])
        with Path(job["samples"]).open("rb") as stream:  # read by offset: a full epoch does not fit into memory
            self.offsets = [0]
            for line in stream:
                self.offsets.append(self.offsets[-1] + len(line))

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        size = self.job["batch"]
        start = (number * self.world + self.rank) * size
        with Path(self.job["samples"]).open("rb") as stream:
            examples = [self._example(stream, place) for place in self.order[start : start + size]]
        return collate(examples, self.pad)

    def _example(self, stream: Any, place: int) -> Example:
        stream.seek(self.offsets[place])
        return encode(self.tokenizer, json.loads(stream.readline()), self.job["max_tokens"])


def bucketed(lengths: Sequence[int], batch: int, seed: int) -> list[int]:
    """Places of the samples such that each batch has like lengths, and the batches of a bucket come in random order."""
    order, rng = [], random.Random(seed)  # noqa: S311 - an order, not secrets
    for start in range(0, len(lengths), batch * _BUCKET):
        bucket = sorted(range(start, min(start + batch * _BUCKET, len(lengths))), key=lengths.__getitem__)
        batches = [bucket[at : at + batch] for at in range(0, len(bucket), batch)]
        torn = [batches.pop()] if len(batches[-1]) < batch else []
        rng.shuffle(batches)
        order += [place for one in batches + torn for place in one]
    return order


_PADS = {"position_ids": 0, "branch": PADDING, "labels": IGNORED, "weights": 0.0}


def collate(batch: Sequence[Example], pad: int) -> dict[str, Tensor]:
    """The examples padded on the right: each name's numbers, (B, T)."""
    length = max(len(one["input_ids"]) for one in batch)
    pads = {"input_ids": pad, **_PADS}
    return {
        name: torch.tensor([one[name] + [value] * (length - len(one[name])) for one in batch])
        for name, value in pads.items()
    }


def train(engine: Any, data: Batches, steps: int, job: dict[str, Any]) -> list[float]:
    """One pass over the data, from the last checkpoint on; returns the loss of each step, the mean of the processes."""
    losses = resume(engine, Path(job["checkpoints"]))
    engine.train()
    start, begun = time.monotonic(), len(losses)
    precision = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16(job) and engine.device.type == "cpu")
    for step in range(len(losses), steps):
        total = torch.zeros((), device=engine.device)
        for part in range(job["accumulation"]):
            number = step * job["accumulation"] + part
            inputs = {name: tensor.to(engine.device) for name, tensor in data[number].items()}
            with precision:
                loss = engine(**inputs, seed=(job["seed"] * 1_000_003 + number) * data.world + data.rank)
            engine.backward(loss)
            engine.step()
            total += loss.detach() / job["accumulation"]
        torch.distributed.all_reduce(total)
        losses.append(float(total) / data.world)
        if data.rank == 0:
            pace = (time.monotonic() - start) / (step + 1 - begun)
            left = f"{pace * (steps - step - 1):.0f} s left"
            print(f"recgen: step {step + 1}/{steps}, loss {losses[-1]:.4f}, {left}", file=sys.stderr, flush=True)
        if (step + 1) % job["checkpoint_steps"] == 0 and step + 1 < steps:
            checkpoint(engine, Path(job["checkpoints"]), losses)
    return losses


def checkpoint(engine: Any, folder: Path, losses: list[float]) -> None:
    from llm.recgen.checkpoint import SafetensorsCheckpointEngine

    engine.checkpoint_engine = SafetensorsCheckpointEngine()
    tag = f"step-{len(losses):08}"
    engine.save_checkpoint(str(folder), tag=tag, client_state={"losses": losses})
    torch.distributed.barrier()
    if torch.distributed.get_rank() == 0:
        for old in folder.glob("step-*"):
            if old.name != tag:
                shutil.rmtree(old, ignore_errors=True)


def resume(engine: Any, folder: Path) -> list[float]:
    """Go back to the last checkpoint, if there is one; the losses up to there."""
    from llm.recgen.checkpoint import SafetensorsCheckpointEngine, newest

    if (tag := newest(folder)) is None:
        return []
    engine.checkpoint_engine = SafetensorsCheckpointEngine()
    _, state = engine.load_checkpoint(str(folder), tag=tag)
    return list(state["losses"])


def save(engine: Any, tokenizer: Any, losses: list[float], out: Path, rank: int, *, lora: bool) -> None:
    """The whole model in rank 0's hands: ZeRO-3 gathers it, the other stages hold it everywhere."""
    import deepspeed

    model = engine.module.model
    with deepspeed.zero.GatheredParameters(list(model.parameters()), enabled=engine.zero_optimization_stage() == 3):
        if rank == 0:
            if lora:
                _merge_lora(model)
            model.save_pretrained(out, state_dict={name: t.detach().cpu() for name, t in model.state_dict().items()})
            tokenizer.save_pretrained(out)
            (out / "losses.json").write_text(json.dumps({"train": losses}), encoding="utf-8")


def _merge_lora(model: Any) -> None:
    """Add the low-rank updates to the weights, so that every engine reads an ordinary model."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, module.get_base_layer())


if __name__ == "__main__":
    main()
