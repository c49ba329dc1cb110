"""`llmcf cot pack` and `llmcf cot restore`: texts of a real run as a pack, see `llm.packs`.

A pack names a text by what was asked, so it fits wherever data, seed and wording are the same, without any model: a
restored row is one whose prompt is the very prompt that the text was written for. It holds the model's own words; the
openings come back with the prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from core import steps
from core.data import tables
from core.errors import LlmcfError, Missing
from core.result import Result
from core.settings import Workspace
from llm import models, packs
from llm.cot import generate, wording
from llm.cot.generate import GenerateConfig, Job
from llm.cot.text_cache import Entry, TextCache
from llm.cot.writing import Budget
from llm.engines import Sampling
from llm.packs import PACKS
from llm.recgen import train

VERB = "cot generate"
_SCHEMA = pa.schema(
    [
        ("name", pa.binary(16)),  # the prompt's hash
        ("parts", pa.list_(pa.string())),
        ("tokens", pa.int16()),
        ("finish", pa.list_(pa.string())),
    ]
)


class Pack:
    """The texts of one pack, and the manifest that says how they were made.

    Raises:
        UsageError, LlmcfError: as `packs.opened`.
    """

    def __init__(self, ws: Workspace | None, name: str, verb: str, folder: Path = PACKS) -> None:
        table, self.manifest = packs.opened(ws, name, verb, folder)
        self.name = name
        self._entries: Mapping[str, Entry] = {
            row["name"].hex(): Entry(
                prompt_hash=row["name"].hex(),
                parts=tuple(row["parts"]),
                tokens=row["tokens"],
                finish=tuple(row["finish"]),
            )
            for row in table.to_pylist()
        }

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the configuration the texts were written under."""
        fields: dict[str, Any] = dict(self.manifest["config"])
        return fields | {"sampling": Sampling(**fields["sampling"])}

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)

    def check_answers(self, asked: Sequence[str], prompt: str) -> None:
        """Whether the pack answers what is asked now, but for what it never held and one text in a hundred.

        Raises:
            LlmcfError: if not: the data or the wording is not what the texts were written for.
        """
        made, asked = self.manifest, list(dict.fromkeys(asked))
        missing = sum(self.get(name) is None for name in asked)
        if missing > 0.01 * len(asked) + made["asked"] - made["texts"]:
            raise LlmcfError(
                f"{missing:,} of {len(asked):,} texts are not in the pack {self.name!r}: it is of other "
                f"data, another seed of `data prepare`, or wording {made['prompt']} (this is {prompt})"
            )


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
    packs.check_name(name)
    config: Config = content.config
    author, path = train.find_model(ws, config.model, seed=config.seed)
    key = models.model_hash(path)
    cache, asked = TextCache(config.cache_key(key)), list(dict.fromkeys(content.ask(path)))
    found = {name: entry for name in asked if (entry := cache.get(name))}
    if not found:
        raise Missing("nothing is written yet under these options", tables.remedy(ws, content.verb))
    manifest = {
        "verb": content.verb,
        "config": asdict(content.config),
        "prompt": content.prompt,
        "author": f"{author}@{key[:12]}",
        "asked": len(asked),
        "texts": len(found),
        "tokens": sum(entry.tokens for entry in found.values()),
        "terms": "written by the named model (see NOTICE); parts may repeat words of item titles",
        **packs.origin(ws, path, content.verb, content.options),
    }
    file = packs.save(ws, name, _table(found), manifest, folder)
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
        verb=VERB,
        config=config,
        ask=lambda path: [name for one in generate.ask(ws, config, path) for name in one.names],
        options={name: getattr(config, name) or 0 for name in names},
        prompt=wording.VERSION,
    )
    return keep(ws, name, content, folder)


def restore(ws: Workspace, name: str, *, cot_set: str = "", folder: Path = PACKS) -> Result:
    """Fill cot/texts, or those of a named set, from the pack `name`.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day, or a set badly named.
        LlmcfError: if the data or the wording is not what the texts were written for.
    """
    held = Pack(ws, name, VERB, folder)
    config = GenerateConfig(**held.config)
    tokenizer = models.llm_path(models.LLM)  # prompts are cut to tokens; no text is generated
    job = Job(ws, config, Budget(), held.manifest["author"], tokenizer, held)
    tables.training_rows(ws)

    def work(target: Path) -> dict[str, Any]:
        held.check_answers([name for one in job.asked for name in one.names], wording.VERSION)
        return job.assemble(target) | {"pack": name}

    step = steps.Step(
        folder=ws.cot("texts", cot_set),
        config={"pack": name, "sha256": held.manifest["sha256"], "recipe": config.recipe},
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
