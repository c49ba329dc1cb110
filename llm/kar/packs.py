"""`llmcf kar pack` and `llmcf kar restore`: KAR's texts of a real run as a small file, see `llm.texts.packs`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.result import Result
from core.settings import Workspace
from llm.kar import generate
from llm.kar.recipes import KarConfig
from llm.packs import PACKS
from llm.texts import packs
from llm.texts.job import TextJob, stored_fields


def pack(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Keep what `kar generate` has written as the pack `name`; errors as `packs.keep`."""
    return packs.keep(ws, name, generate.VERB, ws.path("kar", "texts"), lambda stored: _job(ws, stored), folder)


def restore(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Fill kar/texts from the pack `name`; errors as `packs.restore`."""
    return packs.restore(ws, name, generate.VERB, lambda stored: _job(ws, stored), folder=folder)


def _job(ws: Workspace, stored: Mapping[str, Any]) -> TextJob:
    return generate.job(ws, KarConfig(**stored_fields(KarConfig, stored)))
