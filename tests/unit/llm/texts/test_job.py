"""What a verb that writes fills in: questions with names, options that ask for a configuration again, its sources."""

import ast
from dataclasses import asdict
from pathlib import Path

import pytest

from core.settings import PROJECT
from llm.contexts import Context, Item
from llm.cot import generate as cot
from llm.cot.recipes import GenerateConfig
from llm.kar import generate as kar
from llm.kar.recipes import KarConfig
from llm.prompts import chat
from llm.texts.job import options, questions, stored_fields
from llm.texts.wording import TextPrompt
from tests import tiny_llama

RAIN = Item(title="rain", brand="", kind="")
CONTEXT = Context(row=3, profile="", history=(RAIN,) * 9, target=RAIN, label=1)
# Where models and texts lie, and who writes which, decides nothing about them.
NO_MATTER = {"models", "methods", "pins", "defaults", "texts/cache", "texts/encoder", "texts/queue"}
NO_MATTER |= {"texts/ray_writing", "texts/status", "texts/worklog"}


def put(context: Context) -> TextPrompt:
    said = " ".join(item.title for item in context.history)
    return TextPrompt(messages=chat("is", f"{said} {context.row}"), openings=("the film", "yes"))


def test_a_question_is_cut_to_its_budget_and_named_by_what_is_asked(tmp_path: Path) -> None:
    model = tiny_llama.write(tmp_path)
    first, same = questions([({"row": 1}, CONTEXT), ({"row": 2}, CONTEXT)], put, model, newest=4, tokens=100)
    assert (first.row, same.row) == ({"row": 1}, {"row": 2})
    assert first.prompt == "[system] is [end] [user] rain rain rain rain 3 [end] [assistant] "
    assert first.names == same.names
    assert len(first.names) == 1
    (short,) = questions([({}, CONTEXT)], put, model, newest=4, tokens=len(first.prompt.split()) + 1)
    assert short.prompt.count("rain") == 3  # the openings are two more words
    (three,) = questions([({}, CONTEXT)], put, model, newest=4, tokens=100, candidates=3)
    assert len(set(three.names)) == 3
    assert three.names[0] == first.names[0]


@pytest.mark.parametrize(
    ("config", "given"),
    [
        (GenerateConfig(), {}),
        (GenerateConfig(style="led", limit=None, attempts=3), {"style": "led", "limit": 0, "attempts": 3}),
        (KarConfig(model="recgen", users=None, prefix=5), {"model": "recgen", "users": 0, "prefix": 5}),
    ],
)
def test_options_ask_for_a_configuration_again(config: GenerateConfig | KarConfig, given: dict[str, object]) -> None:
    always = {"engine": config.engine, "model": config.model, "seed": config.seed}
    assert options(config) == always | given


def test_a_stored_configuration_comes_back_whatever_is_stored_beside_it() -> None:
    config = GenerateConfig(style="free", part_tokens=9)
    stored = asdict(config) | {"prompt": "cot-5", "limits": {}}
    assert GenerateConfig(**stored_fields(GenerateConfig, stored)) == config


def imported(name: str, seen: set[str]) -> set[str]:
    """The modules of llm that a module leads to, as paths in llm/ without an ending, engines left out."""
    seen.add(name)
    for node in ast.walk(ast.parse((PROJECT / "llm" / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "llm":
            folder = node.module.split(".")[1:]
            for path in ("/".join(folder), *("/".join([*folder, alias.name]) for alias in node.names)):
                if (PROJECT / "llm" / f"{path}.py").is_file() and not path.startswith("engines") and path not in seen:
                    imported(path, seen)
    return seen


@pytest.mark.parametrize(("name", "code"), [("cot/generate", cot.CODE), ("kar/generate", kar.CODE)])
def test_whatever_decides_about_texts_makes_them_stale(name: str, code: tuple[str, ...]) -> None:
    decides = {f"llm/{path}.py" for path in imported(name, set()) - NO_MATTER}
    assert decides == {path for path in code if path.startswith("llm/") and path != "llm/engines"}
    assert "llm/engines" in code
