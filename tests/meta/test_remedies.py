"""Every command that an error or a page prints can be pasted: it is collected from the source, and parsed."""

import ast
import re
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from core.data.tables import remedy
from core.remedies import _VERBS, cot_verbs, maker
from core.settings import Workspace
from llmcf.cli import app
from tests.meta.test_layout import PACKAGES, PROJECT, sources

WS = Workspace("movielens-100k", "global-time", "2026-01-31")
FILLED = {
    "seed": "7",
    "number": "7",
    "version": "7",
    "names": "--model deepfm --seed 7",
}  # what stands for a value in an f-string; else a word
WORD = "word"
COMMAND = typer.main.get_command(app)
TARGETS = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
GROUPS = {
    f"{name} {verb}"
    for name, group in COMMAND.commands.items()  # pyright: ignore[reportAttributeAccessIssue]
    if isinstance(group, TyperGroup)
    for verb in group.commands
}


def parse(line: str) -> dict:
    """The values of a command line that `llmcf` would run; raises the parser's error where it would refuse."""
    program, *words = shlex.split(line)
    assert program == "llmcf", line
    name, command, parent = "llmcf", COMMAND, None
    while True:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = command.make_context(name, words, parent=parent)
            rest = [*context._protected_args, *context.args]
            if not isinstance(command, TyperGroup) or (command.invoke_without_command and not rest):
                return context.params
            found, inner, words = command.resolve_command(context, rest)
        assert inner is not None, line
        name, command, parent = found or "", inner, context


def text(node: ast.expr) -> str | None:
    """A string of the source, with words in place of its values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return FILLED.get(ast.unparse(node.value).rsplit(".", 1)[-1], WORD)
    return None


def strings() -> Iterator[tuple[Path, ast.AST, str]]:
    """Every string of the project but docstrings."""
    for package in (*PACKAGES, "dags"):
        for path in sources(package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in inside and (said := text(node)):
                    yield path, node, said


def calls(name: str) -> Iterator[tuple[Path, ast.Call]]:
    for package in PACKAGES:
        for path in sources(package):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).rsplit(".", 1)[-1] == name:
                    yield path, node


PRINTED = sorted(
    {line for _, _, said in strings() for line in re.findall(r"`(llmcf [a-z][^`]*)`", said) if "--help" not in line}
)
ASKED = sorted({said for _, call in calls("remedy") if len(call.args) == 2 and (said := text(call.args[1]))})
WHOLE = sorted({said for _, _, said in strings() if " ".join(said.split()[:2]) in GROUPS and "--" in said})


def test_something_was_collected() -> None:
    assert len(ASKED) > 15
    assert "llmcf serve" in PRINTED
    assert "cot embed --items-only" in WHOLE


@pytest.mark.parametrize(
    "verb",
    sorted({*ASKED, *WHOLE, *_VERBS.values(), *cot_verbs(""), *cot_verbs("paper"), *cot_verbs("facts")} - {WORD}),
)
def test_a_remedy_parses(verb: str) -> None:
    given = parse(remedy(WS, verb)) if verb != "demo" else parse(f"llmcf {verb}")
    if verb != "demo":
        assert (given["dataset"], given["order"], given["as_of"]) == (WS.dataset, WS.order, WS.as_of)


@pytest.mark.parametrize("line", PRINTED)
def test_a_printed_command_parses(line: str) -> None:
    if line.split()[-1] in COMMAND.commands or " ".join(line.split()[1:3]) in GROUPS:  # pyright: ignore[reportAttributeAccessIssue]
        parse(line)


def test_commands_of_missing_things_exist() -> None:
    """`Missing(what, command)` and `require(folder, command)`: `llmcf ...`, a target of make, or apt-get."""
    found = [text(call.args[1]) for name in ("Missing", "require") for _, call in calls(name) if len(call.args) == 2]
    for line in filter(None, found):
        program, *words = shlex.split(line)
        if program == "llmcf":
            parse(line)
        elif program == "make":
            assert words[0].replace(WORD, "main") in TARGETS, line
        else:
            assert program in {"apt-get", WORD}, line  # a word is a call of `remedy`, which see
    assert "make env-redis" in found


def test_no_message_names_a_verb_without_its_command() -> None:
    """`run `features apply` again` cannot be pasted."""
    for path, node, said in strings():
        for verb in re.findall(r"run `([a-z]+ [a-z]+)", said):
            assert verb not in GROUPS, f"{path}:{getattr(node, 'lineno', '?')}: {said}"


@pytest.mark.parametrize("name", ["my shop", "it's", "Müller & Söhne", "$(touch x)"])
def test_names_are_quoted(name: str) -> None:
    ws = Workspace(name, "published", "2026-01-31")
    assert parse(remedy(ws, "export"))["dataset"] == name
    assert parse(maker(ws.path("features")))["dataset"] == name
