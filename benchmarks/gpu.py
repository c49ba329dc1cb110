"""What a GPU gives: texts written and tuning steps of a Llama of 135M and one of 7B, and steps of a ranker's modules.

    python -m benchmarks.gpu [--tiny]

Asks for torch, transformers, safetensors and numpy alone. Weights are random, as speed and memory do not depend on
them: the 7B model takes 14 GB of disk for the while. Generation goes through the product's own transformers engine,
tuning through its own loss, with weights, gradients and Adam's state in bfloat16, which is what lets 7B fit into 80 GB.
Writes benchmarks/results/gpu.{json,md}; `--tiny` only shows that all of it runs, on a CPU too.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core import machine
from ict.config import IctConfig
from ict.module import InContext
from llm.engines.base import Request, Sampling, complete
from llm.engines.transformers_engine import TransformersEngine
from llm.recgen.loss import IGNORED, ResponseLoss
from ranking.layers import FIELDS, Inputs, Widths
from ranking.registry import BACKBONES

RESULTS = Path(__file__).with_name("results")
SEED = 2023
SIZES: dict[str, dict[str, Any]] = {
    "135M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
             "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True},
    "7B": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
           "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False},
}  # fmt: skip
TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "vocab_size": 500, "tie_word_embeddings": True}  # fmt: skip
REQUESTS, PROMPT, NEW = 256, 256, 112  # texts asked for, tokens of a prompt, tokens of a text
BATCH, LENGTH, RESPONSE = 4, 512, 64  # of a tuning step
ROWS, WIDTH, TEXT, EXAMPLES, DISTINCT = 2048, 32, 384, 4, 1500  # of a ranker's step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="two small layers and little text; writes nothing")
    tiny = parser.parse_args().tiny
    if not (tiny or torch.cuda.is_available()):
        print("torch sees no CUDA device here: nothing was measured", file=sys.stderr)
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(SEED)
    sizes = {"tiny": TINY} if tiny else SIZES
    account = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU",
        "cuda": torch.version.cuda,
        "machine": machine.describe(),
        "language": {name: language(size, device, texts=4 if tiny else REQUESTS) for name, size in sizes.items()},
        "modules": modules(device, rows=64 if tiny else ROWS),
    }
    words = page(account)
    print(words)
    if not tiny:
        (RESULTS / "gpu.json").write_text(json.dumps(account, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        (RESULTS / "gpu.md").write_text(words, encoding="utf-8")


def language(size: dict[str, Any], device: torch.device, *, texts: int) -> dict[str, Any]:
    """Tokens a second and peak memory of generating and of tuning a Llama of this size."""
    with tempfile.TemporaryDirectory(prefix="llmcf-gpu-") as folder:
        parameters = write_model(Path(folder), size, device)
        return {
            "parameters": parameters,
            "generation": generation(Path(folder), texts, device),
            "tuning": tuning(Path(folder), size["vocab_size"], device),
        }


def write_model(folder: Path, size: dict[str, Any], device: torch.device) -> int:
    """A model folder of random weights in bfloat16, and a tokenizer of as many words; return its parameters."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = {"[unk]": 0, "[eos]": 1} | {f"w{number}": number for number in range(2, size["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[unk]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[unk]", eos_token="[eos]").save_pretrained(folder)
    config = LlamaConfig(max_position_embeddings=2048, bos_token_id=None, eos_token_id=1, pad_token_id=1, **size)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def generation(folder: Path, texts: int, device: torch.device) -> dict[str, float]:
    """Of `texts` texts of NEW tokens through the transformers engine, after one batch that warms up."""
    start_peak(device)
    with TransformersEngine(folder, Sampling()) as engine:
        requests = [
            Request(number=number, prompt=" ".join(f"w{2 + (7 * number + place) % 400}" for place in range(PROMPT)),
                    max_new_tokens=NEW, min_new_tokens=NEW, seed=number)
            for number in range(2 * texts)
        ]  # fmt: skip
        for _ in complete(engine, requests[: min(texts, 16)]):
            pass
        start = time.perf_counter()
        tokens = sum(made.tokens for made in complete(engine, requests[texts:]))
        seconds = time.perf_counter() - start
        return {"tokens_a_second": round(tokens / seconds, 1), "batch": engine.batch, "peak_gib": peak(device)}


def tuning(folder: Path, vocabulary: int, device: torch.device) -> dict[str, float]:
    """Of steps on BATCH samples of LENGTH tokens, the last RESPONSE of which carry the loss."""
    from transformers import AutoModelForCausalLM

    start_peak(device)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.bfloat16)
    model.to(device).train()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    loss_of = ResponseLoss(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=device.type == "cuda")
    ids = torch.randint(2, vocabulary, (BATCH, LENGTH), device=device)
    place = torch.arange(LENGTH, device=device).expand(BATCH, -1)
    answer = place >= LENGTH - RESPONSE
    labels, weights = ids.masked_fill(~answer, IGNORED), answer.float() / RESPONSE

    def step() -> None:
        loss = loss_of(ids, place, torch.zeros_like(ids), labels, weights, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seconds = timed(step, device, times=8)
    return {
        "ms_a_step": round(1e3 * seconds, 1),
        "tokens_a_second": round(BATCH * LENGTH / seconds),
        "peak_gib": peak(device),
    }


def modules(device: torch.device, *, rows: int) -> dict[str, dict[str, float]]:
    """Milliseconds of forward and backward of the in-context module and each backbone, on the CPU and on `device`."""
    ict = InContext(IctConfig(), width=WIDTH, text_width=TEXT).train()
    slots = torch.randint(1, DISTINCT, (rows, EXAMPLES))
    parts = [torch.randn(rows, WIDTH), torch.randn(DISTINCT, WIDTH), torch.randn(DISTINCT, TEXT),
             torch.randint(0, 2, (DISTINCT,)), slots]  # fmt: skip

    def in_context(r: Tensor, r_U: Tensor, cot: Tensor, label: Tensor, slots: Tensor) -> Tensor:
        w_BW, predict_BKW = ict(r, ict.tokens(r_U, cot, label), slots)
        return w_BW.square().mean() + ict.added_loss(predict_BKW, slots, cot)

    found = {"in-context module": on_both(ict, in_context, parts, device)}
    for name, backbone in BACKBONES.items():
        if backbone.attends:
            continue  # it reads histories, which a batch holds apart
        model = backbone.module(Widths(fields=len(FIELDS), width=WIDTH), backbone.config()).train()
        given = [torch.randn(rows, len(FIELDS), WIDTH), torch.randn(rows)]
        call = lambda emb, first, model=model: model(Inputs(emb_BFD=emb, first_B=first)).square().mean()  # noqa: E731
        found[name] = on_both(model, call, given, device)
    return found


def on_both(
    model: nn.Module, loss_of: Callable[..., Tensor], parts: list[Tensor], device: torch.device
) -> dict[str, float]:
    """Milliseconds a step, by device."""
    found = {}
    for name, place in {"cpu": torch.device("cpu"), device.type: device}.items():
        model.to(place)
        inputs = [part.to(place) for part in parts]

        def step(inputs: list[Tensor] = inputs) -> None:
            model.zero_grad(set_to_none=True)
            loss_of(*inputs).backward()

        found[name] = round(1e3 * timed(step, place, times=20), 2)
    return found


def timed(step: Callable[[], None], device: torch.device, *, times: int) -> float:
    """Median seconds of a step, after three that warm up."""
    spent = []
    for number in range(times + 3):
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 3:
            spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def start_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> float:
    """GiB of the GPU's memory that were held at once; 0 on a CPU."""
    return round(torch.cuda.max_memory_allocated(device) / 2**30, 1) if device.type == "cuda" else 0.0


def page(account: dict[str, Any]) -> str:
    """The figures as Markdown."""
    here = account["machine"]
    lines = [
        "# What a GPU gives",
        "",
        f"`python -m benchmarks.gpu` on {account['device']} (CUDA {account['cuda']}), {here['processor']}, "
        f"{here['cores']} cores, torch {here['libraries']['torch']}, {here['date']}; seed {SEED}, random weights.",
        "",
        f"Generation: {REQUESTS} texts of {NEW} tokens after prompts of {PROMPT}, in batches that half of the free "
        f"memory holds. Tuning: {BATCH} samples of {LENGTH} tokens, gradients checkpointed, weights, gradients and "
        "Adam's state in bfloat16.",
        "",
        "| model | parameters | written, tokens/s | batch | GiB | tuned, tokens/s | ms a step | GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in account["language"].items():
        made, tuned = found["generation"], found["tuning"]
        lines.append(
            f"| {name} | {found['parameters'] / 1e6:,.0f}M | {made['tokens_a_second']:,} | {made['batch']} "
            f"| {made['peak_gib']} | {tuned['tokens_a_second']:,} | {tuned['ms_a_step']:,} | {tuned['peak_gib']} |"
        )
    devices = list(next(iter(account["modules"].values())))
    lines += ["", f"Forward and backward of {ROWS:,} rows, milliseconds, float32, without tables:", ""]
    lines += [f"| | {' | '.join(devices)} |", "|---" * (len(devices) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(str(ms[one]) for one in devices)} |" for name, ms in account["modules"].items()]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
