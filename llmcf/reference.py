"""`python -m llmcf.reference`: docs/reference.md, every verb with its options, every LLMCF_* variable.

What is told is read from the command line itself and from the docstrings of core/settings.py; a test holds the file to
it. Options that many verbs share are told once.
"""

import ast
import inspect
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from core import settings, storage
from core.markdown import table
from llmcf.cli import app

PLACE = settings.PROJECT / "docs" / "reference.md"
_COMMON = 8  # verbs that take an option: told once from so many on
_VARIABLE = re.compile(r"\s*\((LLMCF_\w+)(?:, ([^)]*))?\)")
_HEAD = """\
# Verbs, options, variables

Written by `python -m llmcf.reference`; a test holds this page to what the command line says.

Every verb says what it does with `--help`. Exit codes: 0 done, 1 it failed although the request was right, 2 the
request is wrong, 130 interrupted.
"""


@dataclass(frozen=True, slots=True)
class Option:
    """One option or argument of a verb: how it is written, what it is if not given, what it means."""

    name: str
    default: str
    text: str

    @property
    def row(self) -> list[str]:
        return [f"`{self.name}`", self.default, self.text]


def verbs() -> dict[str, TyperCommand]:
    """The verbs by their words, in the order of the help."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return dict(_verbs(command, ""))


def _verbs(group: TyperGroup, words: str) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _verbs(command, f"{words}{name} ")
        elif isinstance(command, TyperCommand):
            yield f"{words}{name}", command


def options(verb: TyperCommand) -> list[Option]:
    """What a verb takes, arguments first; --help is left out, as all have it."""
    found = []
    for one in verb.params:
        if isinstance(one, TyperArgument):
            found.append(Option((one.name or "").upper(), "must be given", one.help or ""))
        elif isinstance(one, TyperOption) and one.name != "help":
            names = " / ".join([*one.opts, *one.secondary_opts])
            found.append(Option(names, _default(one), one.help or ""))
    return found


def _default(option: TyperOption) -> str:
    if option.required:
        return "must be given"
    if option.is_flag and not option.secondary_opts:
        return ""
    if option.is_flag:
        return f"`{option.opts[0] if option.default else option.secondary_opts[0]}`"
    return f"`{option.default}`" if option.default not in (None, "") else ""


def variables() -> list[list[str]]:
    """A row for each LLMCF_* variable: its name, what it is if not set, what it is for."""
    rows = []
    readers = [reader for _, reader in inspect.getmembers(settings, inspect.isfunction)]
    for function in sorted(readers, key=lambda reader: reader.__code__.co_firstlineno):
        text = inspect.getdoc(function) or ""
        if (found := _VARIABLE.search(text)) and function.__module__ == settings.__name__:
            told = " ".join(_VARIABLE.sub("", text.split("\n\n")[0]).split()).replace("None", "not set")
            form = f" Written {found[2]}." if found[2] else ""
            rows.append([f"`{found[1]}`", _otherwise(inspect.getsource(function)), told + form])
    return rows


def _otherwise(source: str) -> str:
    """What the source of a reader takes where its variable is not set; empty if nothing."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "_path":
            place = ast.unparse(node.args[1]).replace("'", "").replace(" / ", "/")
            return f"`{place.replace('PROJECT.parent', '..').removeprefix('PROJECT/')}`"
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and isinstance(node.values[-1], ast.Constant):
            return f"`{node.values[-1].value}`"
    return ""


def page() -> str:
    """The whole page."""
    told = {words: options(verb) for words, verb in verbs().items()}
    counts = Counter(option for taken in told.values() for option in taken)
    common = [option for option, count in counts.items() if count >= _COMMON]
    lines = [_HEAD, "## Variables", "", "One that is set to nothing counts as not set. Paths may be relative.", ""]
    lines += [*table(["variable", "if not set", "what it is"], variables()), ""]
    lines += ["## Options that many verbs share", ""]
    lines += [*table(["option", "if not given", "what it does"], [option.row for option in common]), ""]
    for words, verb in verbs().items():
        lines += [f"## llmcf {words}", "", (verb.help or "").strip(), "", *_of_verb(told[words], common)]
    return "\n".join(lines).rstrip() + "\n"


def _of_verb(taken: Sequence[Option], common: Sequence[Option]) -> Iterator[str]:
    if shared := [f"`{option.name}`" for option in taken if option in common]:
        yield from [f"Shared: {', '.join(shared)}.", ""]
    if own := [option.row for option in taken if option not in common]:
        yield from [*table(["option", "if not given", "what it does"], own), ""]


def write(place: Path = PLACE) -> None:
    with storage.atomic_path(place) as beside:
        beside.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write()
