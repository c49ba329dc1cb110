"""What the page of verbs, options and variables is made of."""

import re
from typing import Annotated

import pytest
import typer
from typer.core import TyperCommand

from llmcf import reference
from llmcf.reference import Option
from llmcf.serving.thresholds import LIMITED


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


def test_every_setting_of_a_file_is_told_with_its_default() -> None:
    gates, others = reference.gate_rows()
    sections = {row[0]: row[1:3] for row in gates}
    assert list(sections) == [f"`[{name}]`" for name in LIMITED]
    assert sections["`[auc]`"] == ["0.55", "0.008"] and sections["`[leaks]`"] == ["0", "inf"]
    assert ["`off`", "`[]`", "Gates that are left out."] in others
    assert ["`psi`", "`0.2`"] in [row[:2] for row in reference.limit_rows()]
    assert all(all(row) for row in (*gates, *others, *reference.limit_rows()))


def test_the_parameters_of_the_dags_are_those_that_they_define() -> None:
    rows = {row[0]: row[1:3] for row in reference.parameter_rows()}
    defined = re.findall(r'^    "(\w+)": Param\(', reference._DAGS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert list(rows) == [f"`{name}`" for name in defined]
    assert rows["`dataset`"] == ["`movielens-100k`", ""]
    assert rows["`order`"] == ["empty", "`shuffled-ties`, `published`, `global-time`"]
    assert rows["`train_recgen`"][1].endswith("`6`, `7`")
    assert rows["`cot_workers`"] == ["`1`", "from 1 to 64"]
    assert rows["`engine`"][0] in rows["`engine`"][1]


def test_a_group_that_is_a_verb_is_told() -> None:
    assert {"report", "report ranking"} < set(reference.verbs())
    assert "lineage" not in reference.verbs()
