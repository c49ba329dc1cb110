"""`llmcf kar pack` and `llmcf kar restore`: KAR's texts of a real run as a small file, see `llm.cot.packs`."""

from pathlib import Path
from typing import Any

from core import steps
from core.result import Result
from core.settings import Workspace
from llm import models
from llm.cot.packs import Content, Pack, keep
from llm.kar import generate, wording
from llm.kar.generate import KarConfig
from llm.packs import PACKS

_VERB = "kar generate"


def pack(ws: Workspace, name: str, config: KarConfig, *, folder: Path = PACKS) -> Result:
    """Keep the texts that `kar generate` has written under `config` as the pack `name`; errors as `keep`."""
    names = ("model", "users", "items", "prefix", "seed", "engine")
    content = Content(
        verb=_VERB,
        config=config,
        ask=lambda path: [one.name for one in generate.ask(ws, config, path)],
        options={name: getattr(config, name) or 0 for name in names},
        prompt=wording.VERSION,
    )
    return keep(ws, name, content, folder)


def restore(ws: Workspace, name: str, *, folder: Path = PACKS) -> Result:
    """Fill kar/texts from the pack `name`.

    Raises:
        UsageError: for an unknown pack, or one of another verb, data set, order or day.
        LlmcfError: if the data or the wording is not what the texts were written for.
    """
    held = Pack(ws, name, _VERB, folder)
    config = KarConfig(**held.config)
    asked = generate.ask(ws, config, models.llm_path(models.LLM))  # prompts are cut to tokens; nothing is generated

    def work(target: Path) -> dict[str, Any]:
        names = [one.name for one in asked]
        held.check_answers(names, wording.VERSION)
        found = {name: held.get(name) for name in names}
        return generate.assemble(target, asked, found, config, held.manifest["author"]) | {"pack": name}

    done = steps.run(generate.step(ws, {"pack": name, "sha256": held.manifest["sha256"]}), work)
    return Result(
        verb="kar restore",
        workspace=ws,
        seed=config.seed,
        skipped=done.skipped,
        seconds=done.seconds,
        artifacts={"texts": str(done.folder / "texts.parquet")},
        details=done.summary,
    )
