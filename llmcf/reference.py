"""`python -m llmcf.reference`: docs/reference.md, every verb with its options, every variable, every setting of a file.

What is told is read from the command line itself, from the docstrings of core/settings.py and of the classes that
gates.toml and monitor.toml fill, and from the source of the DAGs, which need Airflow to be loaded; a test holds the
file to it. Options that many verbs share are told once.
"""

import ast
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from core import settings, storage
from core.markdown import table
from llmcf.cli import app
from llmcf.monitoring import limits
from llmcf.serving import thresholds
from llmcf.serving.thresholds import Limit, Thresholds

Verb = TyperCommand | TyperGroup  # a group may be a verb itself
PLACE = settings.PROJECT / "docs" / "reference.md"
_COMMON = 8  # verbs that take an option: told once from so many on
_DAGS = settings.PROJECT / "dags" / "verbs.py"
_ARGUMENT = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", flags=re.MULTILINE)
_VARIABLE = re.compile(r"\s*\((LLMCF_\w+)(?:, ([^)]*))?\)")
_HEAD = """\
# Verbs, options, variables, settings

Written by `python -m llmcf.reference`; a test holds this page to what the code says.

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


def verbs() -> dict[str, Verb]:
    """The verbs by their words, in the order of the help."""
    command = typer.main.get_command(app)
    assert isinstance(command, TyperGroup)
    return dict(_verbs(command, ""))


def _verbs(group: TyperGroup, words: str) -> Iterator[tuple[str, Verb]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            if command.invoke_without_command:
                yield f"{words}{name}", command
            yield from _verbs(command, f"{words}{name} ")
        elif isinstance(command, TyperCommand):
            yield f"{words}{name}", command


def options(verb: Verb) -> list[Option]:
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
    lines += [*_settings(), "## Options that many verbs share", ""]
    lines += [*table(["option", "if not given", "what it does"], [option.row for option in common]), ""]
    for words, verb in verbs().items():
        lines += [f"## llmcf {words}", "", (verb.help or "").strip(), "", *_of_verb(told[words], common)]
    return "\n".join(lines).rstrip() + "\n"


def _settings() -> Iterator[str]:
    """The files of a data set, and the parameters of the DAGs."""
    gates, others = gate_rows()
    yield from ["## Gates of a release and a language model", ""]
    yield from [
        f"`<home>/<data set>/{thresholds.FILE}`; [serve.md](serve.md#checking-a-release) says how they decide.",
        "",
    ]
    yield from [*table(["setting", "if not set", "what it is"], others), ""]
    yield from [*table(["section", "`bound`", "`margin`", "what it is of"], gates), ""]
    yield from ["## Limits of monitoring", ""]
    yield from [f"`<home>/<data set>/{limits.FILE}`, the limits below `[limits]`; [monitoring.md](monitoring.md).", ""]
    yield from [*table(["setting", "if not set", "what it is"], limit_rows()), ""]
    yield from ["## Parameters of the DAGs", "", f"{_of_deployments()} See [daily.md](daily.md#parameters).", ""]
    yield from [*table(["parameter", "if not set", "one of", "what it is"], parameter_rows()), ""]


def arguments(kind: type) -> dict[str, str]:
    """What the docstring of a class says of each of its fields."""
    found = _ARGUMENT.findall((inspect.getdoc(kind) or "").partition("Args:\n")[2])
    return {name: " ".join(text.split()) for names, text in found for name in names.split(", ")}


def gate_rows() -> tuple[list[list[str]], list[list[str]]]:
    """A row for each section of gates.toml, and for each setting besides."""
    told, gates, others = arguments(Thresholds), [], []
    for one in fields(Thresholds):
        if isinstance(limit := one.default, Limit):
            gates.append([f"`[{one.name}]`", f"{limit.bound:g}", f"{limit.margin:g}", _sentence(told[one.name])])
        else:
            others.append([f"`{one.name}`", f"`{_toml(one.default)}`", _sentence(told[one.name])])
    return gates, others


def limit_rows() -> list[list[str]]:
    """A row for each setting of monitor.toml."""
    given, said = limits.Settings(), arguments(limits.Settings)
    rows = [
        [f"`{name}`", f"`{json.dumps(sorted(getattr(given, name)))}`", _sentence(text)]
        for name, text in said.items()
        if name != "limits"
    ]
    told = arguments(limits.Limits)
    return rows + [[f"`{one.name}`", f"`{one.default}`", _sentence(told[one.name])] for one in fields(limits.Limits)]


def parameter_rows() -> list[list[str]]:
    """A row for each parameter of the DAGs, as dags/verbs.py defines it."""
    known: dict[str, Any] = {}
    for node in ast.parse(_DAGS.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name == "PARAMETERS" and isinstance(node.value, ast.Dict):
                pairs = zip(node.value.keys, node.value.values, strict=True)
                return [_parameter(_value(key, known), call, known) for key, call in pairs]
            known[name] = _value(node.value, known)
    raise AssertionError(f"{_DAGS} defines no PARAMETERS")


def _parameter(name: str, call: Any, known: dict[str, Any]) -> list[str]:
    given = {one.arg: _value(one.value, known) for one in call.keywords}
    bounds = [f"{word} {given[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in given]
    choices = ", ".join(f"`{one}`" for one in given.get("enum", []) if one) or " ".join(bounds)
    default = _value(call.args[0], known)
    return [f"`{name}`", f"`{default}`" if default != "" else "empty", choices, given.get("description", "")]


def _value(node: Any, known: dict[str, Any]) -> Any:
    """Of an expression as the DAGs have it: a literal, the name or a part of an earlier one, numbers as texts."""
    if isinstance(node, ast.List):
        parts = [
            (_value(one.value, known), True) if isinstance(one, ast.Starred) else (_value(one, known), False)
            for one in node.elts
        ]
        return [value for part, many in parts for value in (part if many else [part])]
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Subscript):
        return _value(node.value, known)[_value(node.slice, known)]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "map":
        of_range = node.args[1]
        assert isinstance(of_range, ast.Call), ast.unparse(node)
        return [str(one) for one in range(*(_value(part, known) for part in of_range.args))]
    return node.value if isinstance(node, ast.Constant) else None


def _of_deployments() -> str:
    """The paragraph of dags/verbs.py about a deployment's own values."""
    told = ast.get_docstring(ast.parse(_DAGS.read_text(encoding="utf-8"))) or ""
    return " ".join(next(one for one in told.split("\n\n") if one.startswith("`LLMCF_DAG_")).split())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _toml(value: Any) -> str:
    """A setting as its file would say it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(list(value) if isinstance(value, tuple) else value)


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
