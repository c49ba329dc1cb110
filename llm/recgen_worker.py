"""One process of a RecGen run, started by torchrun: `-m llm.recgen_worker JOB.json`, or `build` to compile only.

Full-parameter fine-tuning with DeepSpeed ZeRO-2; the loss covers the response only. bf16 where the hardware has it,
float32 on a CPU. Rank 0 writes the model, the tokenizer and `losses.json`.

Suffixes: B sequences, T tokens.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

IGNORED = -100  # the label of a token that carries no loss

Example = tuple[list[int], list[int]]  # token ids and labels


def main() -> None:
    if sys.argv[1] == "build":
        build()
    else:
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
    torch.manual_seed(job["seed"])
    import deepspeed
    from transformers import AutoModelForCausalLM, AutoTokenizer

    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo")
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    tokenizer = AutoTokenizer.from_pretrained(job["model"], local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(job["model"], local_files_only=True, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"], weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, cosine(job["steps"], job["warmup"]))
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        lr_scheduler=schedule,  # pyright: ignore[reportArgumentType] - its stub names torch's older base class
        config=deepspeed_config(job, torch.cuda.is_available()),
    )
    examples = [encode(tokenizer, sample, job["max_tokens"]) for sample in job["samples"]]
    losses = train(engine, batches(examples, job["batch"], rank, world), pad=tokenizer.pad_token_id or 0, rank=rank)
    save(engine.module, tokenizer, losses, Path(job["out"]), rank)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def deepspeed_config(job: dict[str, Any], cuda: bool) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": job["batch"],
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "zero_optimization": {"stage": 2, "overlap_comm": False},
        "zero_allow_untested_optimizer": True,  # torch's own AdamW; DeepSpeed's CPU Adam would be compiled first
        "bf16": {"enabled": cuda},
        "steps_per_print": 1_000_000,
    }


def cosine(steps: int, warmup: int) -> Any:
    """Linear warm-up, then half a cosine down to zero, as a factor of the learning rate."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    return factor


def encode(tokenizer: Any, sample: dict[str, Any], limit: int) -> Example:
    """Token ids and labels of one conversation; a general prompt that is too long is cut from its middle.

    The cut keeps the head (the instruction) and the tail (the target and the question) of the prompt, and the
    response whole up to half of `limit`.
    """
    prompt = tokenizer.apply_chat_template(sample["messages"], tokenize=False, add_generation_prompt=True)
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer(sample["answer"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    answer_ids = answer_ids[: limit // 2]
    room = limit - len(answer_ids)
    if len(prompt_ids) > room:
        prompt_ids = prompt_ids[: room // 2] + prompt_ids[-(room - room // 2) :]
    return prompt_ids + answer_ids, [IGNORED] * len(prompt_ids) + answer_ids


def batches(examples: Sequence[Example], size: int, rank: int, world: int) -> Iterator[list[Example]]:
    """This process's share of each global batch of `size * world` examples."""
    for start in range(0, len(examples) - size * world + 1, size * world):
        yield list(examples[start + rank * size : start + (rank + 1) * size])


def collate(batch: Sequence[Example], pad: int) -> dict[str, Tensor]:
    """Pad on the right: input_ids, attention_mask and labels, each (B, T)."""
    length = max(len(ids) for ids, _ in batch)
    rows = [(ids + [pad] * (length - len(ids)), labels + [IGNORED] * (length - len(ids))) for ids, labels in batch]
    lengths = torch.tensor([len(ids) for ids, _ in batch])
    return {
        "input_ids": torch.tensor([ids for ids, _ in rows]),
        "attention_mask": (torch.arange(length)[None, :] < lengths[:, None]).long(),
        "labels": torch.tensor([labels for _, labels in rows]),
    }


def train(engine: Any, data: Iterator[list[Example]], *, pad: int, rank: int) -> list[float]:
    """One pass over `data`; returns the loss of each step, averaged over the processes."""
    losses = []
    engine.train()
    for batch in data:
        inputs = {name: tensor.to(engine.device) for name, tensor in collate(batch, pad).items()}
        loss = engine(**inputs, use_cache=False).loss
        engine.backward(loss)
        engine.step()
        mean = loss.detach().clone()
        torch.distributed.all_reduce(mean)
        losses.append(float(mean) / torch.distributed.get_world_size())
        if rank == 0:
            print(f"recgen: step {len(losses)}, loss {losses[-1]:.4f}", file=sys.stderr, flush=True)
    return losses


def save(model: Any, tokenizer: Any, losses: list[float], out: Path, rank: int) -> None:
    """ZeRO-2 shards gradients and optimizer states only: every process holds the whole model, rank 0 writes it."""
    if rank == 0:
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        (out / "losses.json").write_text(json.dumps({"train": losses}), encoding="utf-8")


if __name__ == "__main__":
    main()
