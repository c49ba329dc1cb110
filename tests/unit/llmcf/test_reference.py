"""What the page of verbs, options and variables is made of."""

from typing import Annotated

import pytest
import typer
from typer.core import TyperCommand

from llmcf import reference
from llmcf.reference import Option


def verb(
    name: Annotated[str, typer.Argument(help="What to call it.")],
    source: Annotated[str, typer.Option(help="Where it is.")],
    limit: Annotated[int, typer.Option(help="How many.")] = 0,
    order: Annotated[str | None, typer.Option(help="Which order.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look.")] = False,
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="Make it live.")] = True,
) -> None:
    del name, source, limit, order, dry_run, promote


def test_options_are_told_as_the_command_line_takes_them() -> None:
    app = typer.Typer(add_completion=False)
    app.command()(verb)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    assert reference.options(command) == [
        Option("NAME", "must be given", "What to call it."),
        Option("--source", "must be given", "Where it is."),
        Option("--limit", "`0`", "How many."),
        Option("--order", "", "Which order."),
        Option("--dry-run", "", "Only look."),
        Option("--promote / --no-promote", "`--promote`", "Make it live."),
    ]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ('def f():\n    return _path("X", PROJECT / "var")', "`var`"),
        ('def f():\n    return _path("X", PROJECT.parent / "shared")', "`../shared`"),
        ('def f():\n    return _text("X") or "local[*]"', "`local[*]`"),
        ('def f():\n    return _text("X")', ""),
    ],
)
def test_what_a_variable_is_if_not_set_is_read_from_its_reader(source: str, told: str) -> None:
    assert reference._otherwise(source) == told


def test_a_variables_form_is_told_and_its_name_is_not_repeated() -> None:
    rows = {row[0]: row for row in reference.variables()}
    assert rows["`LLMCF_HOME`"][1:] == ["`var`", "Everything the product makes."]
    assert rows["`LLMCF_REDIS`"][2].endswith("Written `host:port[,options]`.")


def test_a_shared_option_is_told_once() -> None:
    page = reference.page()
    assert page.count("Print one JSON object on stdout.") == 1
    assert "Shared: `--dataset`, `--json`." in page
