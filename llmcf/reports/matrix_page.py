"""Pages of tables and pictures, as Markdown and as one HTML file that needs nothing else.

The HTML runs one script, which lets a reader sort tables; the page's own policy allows that script by its hash and
nothing else, and without it the page reads the same.
"""

import base64
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core import storage
from core.data.tables import remedy
from core.result import Result
from core.settings import Workspace
from llmcf.reports import made_of
from llmcf.reports.measured import Table
from llmcf.reports.section import Section

TEMPLATE = Path(__file__).with_name("matrix_page.html")
SCRIPT = Path(__file__).with_name("sorting.js")
MARKDOWN, HTML = "report.md", "report.html"


def made(ws: Workspace, lines: Sequence[dict[str, Any]], *, left_out: int) -> str:
    """What the page rests on; `left_out` runs are of recipes, rows or texts as they were before."""
    last = lines[-1]
    words = f"Order {ws.order}, rows {last['data']}. {len(lines)} measured runs, the last by `{last['command']}` on "
    words += f"{last['machine']}."
    return words + (f" Left out: {left_out} of recipes, rows or texts as they were before." if left_out else "")


def report(section: Section, ws: Workspace, verb: str, start: float, *, options: str = "") -> Result:
    """Write the page of one section beside its pictures, and hand back what the verb says.

    Args:
        verb: its words; `options` those that it had besides the workspace's, as a shell takes them.
        start: when it began, by time.monotonic().
    """
    command = remedy(ws, f"{verb} {options}".rstrip())
    write_all(section.title, [section], section.folder, verb=command, ws=ws)
    return Result(
        verb=verb,
        workspace=ws,
        seconds=time.monotonic() - start,
        artifacts={"report": str(section.folder / MARKDOWN), "page": str(section.folder / HTML)},
        details=dict(section.details),
    )


def write(
    title: str,
    made: str,
    tables: Sequence[Table],
    pictures: Mapping[str, str],
    folder: Path,
    *,
    verb: str = "",
    ws: Workspace | None = None,
    inputs: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a page of one part, as `write_all` does, into `folder`, which holds the pictures, by title."""
    part = Section(title=title, made=made, folder=folder, tables=tables, pictures=pictures, inputs=inputs)
    write_all(title, [part], folder, verb=verb, ws=ws)


def write_all(
    title: str,
    sections: Sequence[Section],
    folder: Path,
    *,
    verb: str,
    ws: Workspace | None,
    intro: Sequence[str] = (),
) -> None:
    """Write report.md, report.html and the manifest of what they were made of into `folder`.

    Args:
        sections: of a page with several, each has its title and a line in the table of contents.
        verb: the command that makes the page.
        intro: what stands before all sections, a paragraph each.
    """
    for name, text in {
        MARKDOWN: _markdown(title, sections, folder, intro),
        HTML: _html(title, sections, intro),
    }.items():
        with storage.atomic_path(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")
    inputs = {name: digest for one in sections for name, digest in one.inputs.items()}
    pictures = [one.folder / file for one in sections for file in one.pictures.values()]
    outputs = [folder / MARKDOWN, folder / HTML, *pictures]
    made_of.write(folder / made_of.FILE, verb=verb, ws=ws, inputs=inputs, outputs=outputs)


def _markdown(title: str, sections: Sequence[Section], folder: Path, intro: Sequence[str]) -> str:
    lines, level = [f"# {title}", ""], "##"
    lines += [line for paragraph in intro for line in (paragraph, "")]
    for section in sections:
        if len(sections) > 1:
            lines, level = [*lines, f"## {section.title}", ""], "###"
        lines += [line for told in (section.made, *section.missing) if told for line in (told, "")]
        for name, file in section.pictures.items():
            lines += [f"![{name}]({(section.folder / file).relative_to(folder)})", ""]
        lines += [line for table in section.tables for line in table.markdown(level)]
        lines += [line for remark in section.remarks for line in (remark, "")]
    return "\n".join(lines)


def _html(title: str, sections: Sequence[Section], intro: Sequence[str]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["anchor"] = _anchor
    environment.tests["of_words"] = _of_words
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=title, sections=sections, intro=intro, picture=_picture, script=script(), policy=policy()
    )


def script() -> str:
    """The text of the script, as it stands between its tags."""
    return SCRIPT.read_text(encoding="utf-8")


def policy() -> str:
    """The Content-Security-Policy of a page: its own styles, and the script by its hash."""
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _of_words(column: int, table: Table) -> bool:
    """Whether a column stands to the left: the first does, and those of which no cell begins as a number does."""
    return column == 0 or all(row[column][:1].isalpha() for row in table.rows if row[column])


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _picture(section: Section, file: str, title: str) -> str:
    """An SVG file as a part of the page, without the lines that only a file has."""
    text = (section.folder / file).read_text(encoding="utf-8")
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
