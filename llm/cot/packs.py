"""Texts of real runs, small enough to keep: `llmcf cot pack` makes a pack, `llmcf cot restore` fills cot/texts from it.

A pack names a text by what was asked, so it fits wherever data, seed and wording are the same, without any model: a
restored row is one whose prompt is the very prompt that the text was written for. It holds the model's own words; the
openings come back with the prompts.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core import steps, storage
from core.data import tables
from core.errors import LlmcfError, UsageError, unknown
from core.runs import Result
from core.settings import PROJECT, Workspace
from llm import models
from llm.cot import generate, wording
from llm.cot.generate import GenerateConfig, Job
from llm.cot.text_cache import Entry, TextCache
from llm.cot.writing import Budget
from llm.engines import Sampling
from llm.recgen import tuning

PACKS = PROJECT / "llm" / "packs"
_SCHEMA = pa.schema(
    [
        ("name", pa.binary(16)),  # the prompt's hash
        ("parts", pa.list_(pa.string())),
        ("tokens", pa.int16()),
        ("finish", pa.list_(pa.string())),
    ]
)


class Pack:
    """The texts of one pack, and the manifest that says how they were made."""

    def __init__(self, name: str, folder: Path = PACKS) -> None:
        known = names(folder)
        if name not in known:
            raise unknown("pack", name, known or ["none here"])
        self.path = folder / f"{name}.parquet"
        self.manifest: dict[str, Any] = storage.read_json(folder / f"{name}.json")
        if storage.sha256(self.path) != self.manifest["sha256"]:
            raise LlmcfError(f"{self.path} is not the file that its manifest describes; fetch it again")
        self._entries: Mapping[str, Entry] = {
            row["name"].hex(): Entry(
                prompt_hash=row["name"].hex(),
                parts=tuple(row["parts"]),
                tokens=row["tokens"],
                finish=tuple(row["finish"]),
            )
            for row in pq.read_table(self.path).to_pylist()
        }

    @property
    def config(self) -> GenerateConfig:
        fields: dict[str, Any] = dict(self.manifest["config"])
        fields["sampling"] = Sampling(**fields["sampling"])
        return GenerateConfig(**fields)

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)


def names(folder: Path = PACKS) -> list[str]:
    """The packs there are."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


def pack(ws: Workspace, name: str, config: GenerateConfig, *, folder: Path = PACKS) -> Result:
    """Keep the texts that `cot generate` has written under `config` as the pack `name`.

    Raises:
        UsageError: if the name would not be a plain file name.
        LlmcfError: if nothing was written under this configuration.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--name {name!r}: use letters, digits, - and _")
    author, path = tuning.find_model(ws, config.model, seed=config.seed)
    key = models.model_hash(path)
    cache = TextCache(config.cache_key(key))
    asked = generate.ask(ws, config, path)
    found = {n: entry for one in asked for n in one.names if (entry := cache.get(n))}
    if not found:
        raise LlmcfError(f"nothing is written yet; run `{tables.remedy(ws, 'cot generate')}` as you would pack it")
    rows = [
        {"name": bytes.fromhex(n), "parts": list(e.parts), "tokens": e.tokens, "finish": list(e.finish)}
        for n, e in sorted(found.items())
    ]
    with storage.atomic_path(folder / f"{name}.parquet") as beside:
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        pq.write_table(table, beside, compression="zstd", compression_level=19)
    stamp = steps.Step(folder=path, config=None).stamp() or {}
    manifest = {
        "dataset": ws.dataset,
        "order": ws.order,
        "as_of": ws.as_of,
        "config": asdict(config),
        "prompt": wording.VERSION,
        "author": f"{author}@{key[:12]}",
        "tuning": {"config": stamp.get("config"), "summary": stamp.get("summary")},
        "rows_asked": len(asked),
        "texts": len(found),
        "tokens": sum(entry.tokens for entry in found.values()),
        "sha256": storage.sha256(folder / f"{name}.parquet"),
        "rebuild": _commands(ws, config, stamp.get("config")),
        "terms": "written by the named model (see NOTICE); parts may repeat words of item titles",
    }
    storage.write_json(folder / f"{name}.json", manifest)
    return Result(
        verb="cot pack",
        workspace=ws,
        recipe=config.recipe,
        seed=config.seed,
        artifacts={"pack": str(folder / f"{name}.parquet")},
        details={"texts": len(found), "bytes": (folder / f"{name}.parquet").stat().st_size},
    )


def _commands(ws: Workspace, config: GenerateConfig, tuning: dict[str, Any] | None) -> list[str]:
    """What makes the texts anew: the model, where it was tuned, then the texts."""
    write = f"{tables.remedy(ws, 'cot generate')} --model {config.model} --limit {config.limit or 0}"
    write += f" --recipe {config.recipe} --style {config.style} --seed {config.seed} --engine {config.engine}"
    if not tuning or "method" not in tuning:
        return [write]
    names = ("method", "seed", "model", "batch", "accumulation", "learning_rate", "max_tokens", "general_share")
    options = [f"--{name.replace('_', '-')} {tuning[name]}" for name in (*names, "precision") if name in tuning]
    return [" ".join([tables.remedy(ws, "recgen train"), f"--rows {tuning['rows'] or 0}", *options]), write]


def restore(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Fill cot/texts from the pack `name`.

    Raises:
        UsageError: for an unknown pack, or one of another data set, order or day.
        LlmcfError: if the data or the wording is not what the texts were written for.
    """
    kept = Pack(name, folder)
    config, made = kept.config, kept.manifest
    place = (made["dataset"], made["order"], made["as_of"])
    if place != (ws.dataset, ws.order, ws.as_of):
        raise UsageError(f"pack {name!r} is of {', '.join(place)}, not of {ws.dataset}, {ws.order}, {ws.as_of}")
    tokenizer = models.llm_path(models.LLM)  # prompts are cut to tokens; no text is generated
    job = Job(ws, config, Budget(), made["author"], tokenizer, kept)
    tables.training_rows(ws)

    def work(target: Path) -> dict[str, Any]:
        missing = sum(kept.get(n) is None for one in job.asked for n in one.names)
        if missing > 0.01 * len(job.asked) + made["rows_asked"] - made["texts"]:
            raise LlmcfError(
                f"{missing:,} of {len(job.asked):,} rows ask what the pack {name!r} does not answer: it is of other "
                f"data, another seed of `data prepare`, or wording {made['prompt']} (this is {wording.VERSION})"
            )
        return job.assemble(target) | {"pack": name}

    step = steps.Step(
        folder=ws.path("cot", "texts"),
        config={"pack": name, "sha256": made["sha256"], "recipe": config.recipe},
        inputs=[ws.path("data"), ws.path("training")],
        code=generate.CODE,
    )
    done = steps.run(step, work)
    return Result(
        verb="cot restore",
        workspace=ws,
        recipe=config.recipe,
        seed=config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )
