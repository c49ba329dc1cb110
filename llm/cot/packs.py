"""Texts of real runs, small enough to keep: `pack` makes a pack of them, `restore` fills a workspace from it.

A pack names a text by what was asked, so it fits wherever data, seed and wording are the same, without any model: a
restored row is one whose prompt is the very prompt that the text was written for. It holds the model's own words; the
openings come back with the prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

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
_VERB = "cot generate"
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
    def config(self) -> dict[str, Any]:
        """The fields of the configuration the texts were written under."""
        fields: dict[str, Any] = dict(self.manifest["config"])
        return fields | {"sampling": Sampling(**fields["sampling"])}

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)

    def check_place(self, ws: Workspace, verb: str) -> None:
        """Whether the pack is this verb's and of this workspace.

        Raises:
            UsageError: if not.
        """
        made = self.manifest
        if made["verb"] != verb:
            raise UsageError(f"pack {self.path.stem!r} holds the texts of `{made['verb']}`, not of `{verb}`")
        place = (made["dataset"], made["order"], made["as_of"])
        if place != (ws.dataset, ws.order, ws.as_of):
            name, there = self.path.stem, (ws.dataset, ws.order, ws.as_of)
            raise UsageError(f"pack {name!r} is of {', '.join(place)}, not of {', '.join(there)}")

    def check_answers(self, asked: Sequence[str], prompt: str) -> None:
        """Whether the pack answers what is asked now, but for what it never held and one text in a hundred.

        Raises:
            LlmcfError: if not: the data or the wording is not what the texts were written for.
        """
        made = self.manifest
        asked = list(dict.fromkeys(asked))
        missing = sum(self.get(name) is None for name in asked)
        if missing > 0.01 * len(asked) + made["asked"] - made["texts"]:
            raise LlmcfError(
                f"{missing:,} of {len(asked):,} texts are not in the pack {self.path.stem!r}: it is of other "
                f"data, another seed of `data prepare`, or wording {made['prompt']} (this is {prompt})"
            )


def names(folder: Path = PACKS) -> list[str]:
    """The packs there are."""
    return sorted(path.stem for path in folder.glob("*.parquet"))


class Config(Protocol):
    """What the configurations of the verbs that write have in common."""

    @property
    def model(self) -> str: ...
    @property
    def seed(self) -> int: ...
    def cache_key(self, model_hash: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is packed: the texts of `verb` under `config`.

    Args:
        ask: the names of the texts that were asked for, of the model's folder.
        options: of the verb, to write them again.
        prompt: version of the wording.
    """

    verb: str
    config: Any
    ask: Callable[[Path], Sequence[str]]
    options: Mapping[str, Any]
    prompt: str


def keep(ws: Workspace, name: str, content: Content, folder: Path = PACKS) -> Result:
    """Keep what was written as the pack `name`.

    Raises:
        UsageError: if the name would not be a plain file name.
        LlmcfError: if nothing was written under this configuration.
    """
    if not name.replace("-", "").replace("_", "").isalnum():
        raise UsageError(f"--name {name!r}: use letters, digits, - and _")
    config: Config = content.config
    author, path = tuning.find_model(ws, config.model, seed=config.seed)
    key = models.model_hash(path)
    cache, asked = TextCache(config.cache_key(key)), list(dict.fromkeys(content.ask(path)))
    found = {name: entry for name in asked if (entry := cache.get(name))}
    if not found:
        raise LlmcfError(f"nothing is written yet; run `{tables.remedy(ws, content.verb)}` as you would pack it")
    file = folder / f"{name}.parquet"
    with storage.atomic_path(file) as beside:
        pq.write_table(_table(found), beside, compression="zstd", compression_level=19)
    stamp = steps.Step(folder=path, config=None).stamp() or {}
    manifest = {
        "verb": content.verb,
        "dataset": ws.dataset,
        "order": ws.order,
        "as_of": ws.as_of,
        "config": asdict(content.config),
        "prompt": content.prompt,
        "author": f"{author}@{key[:12]}",
        "tuning": {"config": stamp.get("config"), "summary": stamp.get("summary")},
        "asked": len(asked),
        "texts": len(found),
        "tokens": sum(entry.tokens for entry in found.values()),
        "sha256": storage.sha256(file),
        "rebuild": [*_training(ws, stamp.get("config")), _command(tables.remedy(ws, content.verb), content.options)],
        "terms": "written by the named model (see NOTICE); parts may repeat words of item titles",
    }
    storage.write_json(folder / f"{name}.json", manifest)
    return Result(
        verb=f"{content.verb.split()[0]} pack",
        workspace=ws,
        seed=config.seed,
        artifacts={"pack": str(file)},
        details={"texts": len(found), "bytes": file.stat().st_size},
    )


def pack(ws: Workspace, name: str, config: GenerateConfig, *, folder: Path = PACKS) -> Result:
    """Keep the texts that `cot generate` has written under `config` as the pack `name`; errors as `keep`."""
    names = ("model", "limit", "recipe", "style", "seed", "engine")
    content = Content(
        verb=_VERB,
        config=config,
        ask=lambda path: [name for one in generate.ask(ws, config, path) for name in one.names],
        options={name: getattr(config, name) or 0 for name in names},
        prompt=wording.VERSION,
    )
    return keep(ws, name, content, folder)


def restore(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Fill cot/texts from the pack `name`.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day.
        LlmcfError: if the data or the wording is not what the texts were written for.
    """
    kept = Pack(name, folder)
    kept.check_place(ws, _VERB)
    config = GenerateConfig(**kept.config)
    tokenizer = models.llm_path(models.LLM)  # prompts are cut to tokens; no text is generated
    job = Job(ws, config, Budget(), kept.manifest["author"], tokenizer, kept)
    tables.training_rows(ws)

    def work(target: Path) -> dict[str, Any]:
        kept.check_answers([name for one in job.asked for name in one.names], wording.VERSION)
        return job.assemble(target) | {"pack": name}

    step = steps.Step(
        folder=ws.path("cot", "texts"),
        config={"pack": name, "sha256": kept.manifest["sha256"], "recipe": config.recipe},
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


def _table(found: Mapping[str, Entry]) -> pa.Table:
    rows = [
        {"name": bytes.fromhex(name), "parts": list(e.parts), "tokens": e.tokens, "finish": list(e.finish)}
        for name, e in sorted(found.items())
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _training(ws: Workspace, config: dict[str, Any] | None) -> list[str]:
    """The command that tuned the model, if it was tuned."""
    if not config or "method" not in config:
        return []
    names = ("method", "seed", "model", "batch", "accumulation", "learning_rate", "max_tokens", "general_share")
    options = {name: config[name] for name in (*names, "precision") if name in config}
    return [_command(tables.remedy(ws, "recgen train"), {"rows": config["rows"] or 0} | options)]


def _command(start: str, options: Mapping[str, Any]) -> str:
    return " ".join([start, *(f"--{name.replace('_', '-')} {value}" for name, value in options.items())])
