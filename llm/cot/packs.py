"""`llmcf cot pack` and `llmcf cot restore`: chains of thought of a real run as a small file, see `llm.texts.packs`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.result import Result
from core.settings import Workspace
from llm import models
from llm.contexts import training_split
from llm.cot import generate
from llm.cot.recipes import GenerateConfig
from llm.packs import PACKS
from llm.texts import packs
from llm.texts.job import Question, TextJob, stored_fields


def pack(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Keep what `cot generate` has written as the pack `name`; errors as `packs.keep`."""
    return packs.keep(ws, name, generate.VERB, ws.cot("texts"), lambda stored: _job(ws, stored), folder)


def restore(ws: Workspace, name: str, *, cot_set: str = "", limit: int | None = None, folder: Path = PACKS) -> Result:
    """Fill cot/texts, or those of a named set, from the pack `name`; errors as `packs.restore`.

    Args:
        limit: M, as if so many rows had been chosen when the texts were written; None for all.

    Raises:
        UsageError: also for a set badly named, a limit above the pack's rows, and one of rows that are not drawn.
    """
    into = ws.cot("texts", cot_set)
    job_of = partial(_limited, ws, name=name, limit=limit)
    return packs.restore(ws, name, generate.VERB, job_of, into=into, limit=limit, folder=folder)


def asked_again(ws: Workspace, stamp: Mapping[str, Any]) -> list[Question]:
    """The questions that the texts of a stamp answer, whether they were generated here or restored.

    Raises:
        UsageError, LlmcfError: if their pack or their model is gone.
    """
    config, summary = stamp["config"], stamp["summary"]
    if "pack" in config:
        held = packs.Pack(ws, config["pack"], generate.VERB, PACKS)
        job = _limited(ws, held.manifest["config"], name=held.name, limit=config.get("limit"))
        model = held.tokenizer()
    else:
        job = _job(ws, {**config, "model": summary["model_option"]})
        _, model = models.find_model(ws, job.config.model, seed=job.config.seed)
    return job.ask(model)


def _limited(ws: Workspace, stored: Mapping[str, Any], *, name: str, limit: int | None) -> TextJob:
    """The job of a pack, or of the first `limit` rows of its draw."""
    if limit is None:
        return _job(ws, stored)
    if stored["selection"] != "uniform":
        raise UsageError(f"--limit: the rows of pack {name!r} are {stored['selection']}, not drawn one after the other")
    rows = stored["limit"] or training_split(ws).num_rows // generate.SHARE
    if not 1 <= limit <= rows:
        raise UsageError(f"--limit {limit} is not between 1 and {rows:,}, the rows of pack {name!r}")
    return _job(ws, {**stored, "limit": limit})


def _job(ws: Workspace, stored: Mapping[str, Any]) -> TextJob:
    """The job of a stored configuration; one that says nothing of comments was asked without."""
    return generate.job(ws, GenerateConfig(**stored_fields(GenerateConfig, {"comments": "none", **stored})))
