"""The page of a matrix of runs: its tables and pictures as Markdown and as one HTML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core import storage
from core.settings import Workspace
from llmcf.reports.measured import Table

TEMPLATE = Path(__file__).with_name("matrix_page.html")


def made(ws: Workspace, lines: Sequence[dict[str, Any]], *, left_out: int) -> str:
    """What the page rests on; `left_out` runs are of recipes, rows or texts as they were before."""
    last = lines[-1]
    words = f"Order {ws.order}, rows {last['data']}. {len(lines)} measured runs, the last by `{last['command']}` on "
    words += f"{last['machine']}."
    return words + (f" Left out: {left_out} of recipes, rows or texts as they were before." if left_out else "")


def write(title: str, made: str, tables: Sequence[Table], pictures: dict[str, str], folder: Path) -> None:
    """Write report.md and report.html into `folder`, which holds the pictures, by title."""
    for name, text in {
        "report.md": _markdown(title, made, tables, pictures),
        "report.html": _html(title, made, tables, pictures, folder),
    }.items():
        with storage.atomic_path(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")


def _markdown(title: str, made: str, tables: Sequence[Table], pictures: dict[str, str]) -> str:
    shown = [line for name, file in pictures.items() for line in (f"![{name}]({file})", "")]
    body = [line for table in tables for line in table.markdown()]
    return "\n".join([f"# {title}", "", made, "", *shown, *body])


def _html(title: str, made: str, tables: Sequence[Table], pictures: dict[str, str], folder: Path) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.tests["of_words"] = _of_words
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    drawn = {name: (folder / file).read_text(encoding="utf-8") for name, file in pictures.items()}
    return template.render(title=title, made=made, tables=tables, pictures=drawn)


def _of_words(column: int, table: Table) -> bool:
    """Whether a column stands to the left: the first does, and those of which no cell begins as a number does."""
    return column == 0 or all(row[column][:1].isalpha() for row in table.rows if row[column])
