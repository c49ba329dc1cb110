"""`llmcf cot pack` and `llmcf cot restore`: chains of thought of a real run as a small file, see `llm.texts.packs`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.result import Result
from core.settings import Workspace
from llm import models
from llm.cot import generate
from llm.cot.recipes import GenerateConfig
from llm.packs import PACKS
from llm.texts import packs
from llm.texts.job import Question, TextJob, stored_fields


def pack(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Keep what `cot generate` has written as the pack `name`; errors as `packs.keep`."""
    return packs.keep(ws, name, generate.VERB, ws.cot("texts"), lambda stored: _job(ws, stored), folder)


def restore(ws: Workspace, name: str, *, cot_set: str = "", folder: Path = PACKS) -> Result:
    """Fill cot/texts, or those of a named set, from the pack `name`; errors as `packs.restore`.

    Raises:
        UsageError: also for a set badly named.
    """
    into = ws.cot("texts", cot_set)
    return packs.restore(ws, name, generate.VERB, lambda stored: _job(ws, stored), into=into, folder=folder)


def asked_again(ws: Workspace, stamp: Mapping[str, Any]) -> list[Question]:
    """The questions that the texts of a stamp answer, whether they were generated here or restored.

    Raises:
        UsageError, LlmcfError: if their pack or their model is gone.
    """
    config, summary = stamp["config"], stamp["summary"]
    if "pack" in config:
        job, model = (
            _job(ws, packs.Pack(ws, config["pack"], generate.VERB, PACKS).manifest["config"]),
            models.llm_path(models.LLM),
        )
    else:
        job = _job(ws, {**config, "model": summary["model_option"]})
        _, model = models.find_model(ws, job.config.model, seed=job.config.seed)
    return job.ask(model)


def _job(ws: Workspace, stored: Mapping[str, Any]) -> TextJob:
    """The job of a stored configuration; one that says nothing of comments was asked without."""
    return generate.job(ws, GenerateConfig(**stored_fields(GenerateConfig, {"comments": "none", **stored})))
