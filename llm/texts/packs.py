"""Texts of a real run as a pack, see `llm.packs`.

A pack names a text by what was asked, so it fits wherever data, seed and wording are the same, without any model: a
restored row is one whose prompt is the very prompt that the text was written for. It holds the model's own words; the
openings come back with the prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from core import steps
from core.data import tables
from core.errors import LlmcfError, Missing, UsageError
from core.result import Result
from core.settings import Workspace
from llm import models, packs, prompt_form
from llm.packs import PACKS
from llm.texts import machine
from llm.texts.cache import Entry, TextCache
from llm.texts.job import TextJob, options

JobOf = Callable[[Mapping[str, Any]], TextJob]  # the job of a stored configuration
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

    def get(self, prompt_hash: str) -> Entry | None:
        return self._entries.get(prompt_hash)

    def tokenizer(self) -> Path:
        """The model by whose template and tokens the prompts are put as they were; no text is generated.

        Raises:
            Missing: if it is not here; the remedy fetches it.
            LlmcfError: if the model of that name writes prompts in another way by now.
        """
        base, form = models.llm_path(models.LLM), self.manifest.get("form")  # older packs are the carried model's
        if form is None or form == prompt_form.of(base):
            return base
        written = models.llm_path(self.manifest["llm"])
        if prompt_form.of(written) != form:
            raise LlmcfError(
                f"the prompts of pack {self.name!r} are in another form than those of {self.manifest['llm']}: its chat "
                "template or tokenizer has changed since; bring that version of it"
            )
        return written

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


def keep(ws: Workspace, name: str, verb: str, texts: Path, job_of: JobOf, folder: Path = PACKS) -> Result:
    """Keep what `verb` has written into the folder `texts` as the pack `name`, under the configuration noted there.

    Raises:
        UsageError: if the name would not be a plain file name, or the texts came from a pack.
        LlmcfError: if there are no texts, or their data or their model is another by now.
    """
    packs.check_name(name)
    stamp = steps.require(texts, tables.remedy(ws, verb))
    job, path = _written(ws, verb, stamp, job_of)
    cache = TextCache(job.config.manner.cache_key(stamp["config"]["model"]))
    asked = list(dict.fromkeys(name for one in job.ask(path) for name in one.names))
    found = {name: entry for name in asked if (entry := cache.get(name))}
    if not found:
        raise LlmcfError(f"{cache.folder} holds none of these texts any more; remove {texts} and write them again")
    manifest = {
        "verb": verb,
        "config": asdict(job.config),
        "prompt": job.wording,
        "author": stamp["summary"]["model"],
        "asked": len(asked),
        "texts": len(found),
        "tokens": sum(entry.tokens for entry in found.values()),
        "terms": "written by the named model (see NOTICE); parts may repeat words of item titles and comments",
        "form": prompt_form.of(path),
        "llm": _base(path),
        **packs.origin(ws, path, verb, options(job.config)),
    }
    file = packs.save(ws, name, _table(found), manifest, folder)
    return Result(
        verb=f"{verb.split()[0]} pack",
        workspace=ws,
        seed=job.config.seed,
        artifacts={"pack": str(file)},
        details={"texts": len(found), "bytes": file.stat().st_size},
    )


def restore(
    ws: Workspace,
    name: str,
    verb: str,
    job_of: JobOf,
    *,
    into: Path | None = None,
    limit: int | None = None,
    folder: Path = PACKS,
) -> Result:
    """Fill the job's folder from the pack `name`.

    Args:
        into: another folder in its place.
        limit: what `job_of` has made of the stored one, so that another is made anew.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day.
        LlmcfError: if the data or the wording is not what the texts were written for.
    """
    held = Pack(ws, name, verb, folder)
    job = job_of(held.manifest["config"])
    texts = machine.TextMachine(job, held, author=held.manifest["author"], model=held.tokenizer())

    def work(target: Path) -> dict[str, Any]:
        held.check_answers([name for one in texts.asked for name in one.names], job.wording)
        return texts.assemble(target) | {"pack": name}

    config = {"pack": name, "sha256": held.manifest["sha256"], "recipe": job.recipe}
    config |= {} if limit is None else {"limit": limit}
    step = steps.Step(folder=into or job.folder, config=config, inputs=job.inputs, code=job.code)
    return machine.result(ws, job, f"{verb.split()[0]} restore", steps.run(step, work))


def _written(ws: Workspace, verb: str, stamp: Mapping[str, Any], job_of: JobOf) -> tuple[TextJob, Path]:
    """The job that has written the texts of a stamp, and its model's folder."""
    config, remedy = stamp["config"], tables.remedy(ws, verb)
    if "pack" in config:
        raise UsageError(f"these texts came from the pack {config['pack']!r}; only what was generated here is packed")
    if "model_option" not in stamp["summary"]:
        raise Missing("these texts were written by another version", remedy)
    job = job_of({**config, "model": stamp["summary"]["model_option"]})
    remedy = packs.command(remedy, options(job.config))
    if job.step(config).current() is None:
        raise Missing("these texts are of other data or another version", remedy)
    _, path = models.find_model(ws, job.config.model, seed=job.config.seed)
    if models.model_hash(path) != config["model"]:
        raise Missing(f"{job.config.model} is another model than the one that wrote these texts", remedy)
    return job, path


def _base(model: Path) -> str:
    """What to fetch for a model's chat template and tokens: itself, or what it was tuned from."""
    stamp = steps.Step(folder=model, config=None).stamp() or {}
    config, summary = stamp.get("config"), stamp.get("summary") or {}
    if isinstance(config, dict) and "method" in config:
        return config["model"]
    return summary.get("name", str(model))


def _table(found: Mapping[str, Entry]) -> pa.Table:
    rows = [
        {"name": bytes.fromhex(name), "parts": list(e.parts), "tokens": e.tokens, "finish": list(e.finish)}
        for name, e in sorted(found.items())
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)
