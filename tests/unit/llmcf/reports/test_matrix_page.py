"""Pages of tables: one file that needs nothing else, whose own script alone may run; a browser sorts its tables."""

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path

import pytest

from core import storage
from core.settings import Workspace
from llmcf.reports import made_of, matrix_page
from llmcf.reports.measured import Table
from llmcf.reports.section import Section, measured_by
from tests import chromium

WS = Workspace("shop", "global-time")
# Clicks on headers one after the other; the page tells the first column and what the headers say after each.
CLICKS = """
const heads = [...document.querySelectorAll("th")], told = [];
for (const column of [0, 1, 1, 1, 2, 2, 3]) {
  heads[column].querySelector("button").click();
  told.push([[...document.querySelectorAll("tbody tr")].map(row => row.cells[0].textContent).join(""),
             heads.map(head => head.getAttribute("aria-sort")).join()]);
}
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").textContent = JSON.stringify(told);
"""


@pytest.fixture
def sections(tmp_path: Path) -> list[Section]:
    rows = [
        ["c", "0.0543 ± 0.0011", "+0.0012 [-0.0047, +0.0071]", "2026-01-31"],
        ["a", "0.1", "", "2026-01-09"],
        ["d", "1,000", "-0.0300 [-0.1, +0.2]", "2025-12-31"],
        ["b", "< .0001", "+0.0002", ""],
    ]
    first = Table("First <table>", "Recipe `strict`, <i>.", ["name", "figure", "gap", "day"], rows)
    (tmp_path / "ranking").mkdir()
    (tmp_path / "ranking" / "a.svg").write_text('<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg viewBox="0 0 1 1"></svg>')
    ranking = Section(
        title="Ranking",
        made="By `llmcf report <x>`.",
        folder=tmp_path / "ranking",
        tables=[first],
        pictures={"A & B": "a.svg"},
        inputs={"shop/global-time/latest/data": "d1"},
    )
    retrieval = Section(title="Retrieval", made="", folder=tmp_path, missing=["Nothing: `llmcf x` measures it."])
    return [ranking, retrieval]


def write(sections: list[Section], folder: Path) -> str:
    matrix_page.write_all("All", sections, folder, verb="llmcf report", ws=WS, intro=["How to `read` it."])
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_page_is_one_file_with_contents_and_what_is_not_measured(sections: list[Section], tmp_path: Path) -> None:
    page = write(sections, tmp_path)
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets == {"ranking", "ranking-1", "retrieval"}
    assert targets <= set(re.findall(r'id="([^"]+)"', page))
    assert '<svg role="img" aria-label="A &amp; B" viewBox' in page and "DOCTYPE svg" not in page
    assert "<li>Nothing: <code>llmcf x</code> measures it.</li>" in page
    assert '<p class="made">By <code>llmcf report &lt;x&gt;</code>.</p>' in page
    assert '<p class="note">Recipe <code>strict</code>, &lt;i&gt;.</p>' in page
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "## Ranking\n" in markdown and "### First <table>\n" in markdown and "](ranking/a.svg)" in markdown


def test_the_policy_lets_the_one_script_run_and_nothing_else(sections: list[Section], tmp_path: Path) -> None:
    page = write(sections, tmp_path)
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in unescape(page)


def test_words_stand_to_the_left_and_nothing_is_markup(tmp_path: Path) -> None:
    rows = [["8", "DIN", "published", "", "0.1"], ["16", "", "<b>", "above both", "-0.1"]]
    table = Table("Sizes", "", ["size", "model", "order", "verdict", "gap"], rows)
    matrix_page.write("Sizes", "", [table], {}, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    heads = ['<th class="words">size', '<th class="words">model', "<th>order", '<th class="words">verdict', "<th>gap"]
    assert all(head in page for head in heads), "an order that begins with a bracket is no word"
    assert '<td class="words">16</td><td class="words"></td><td>&lt;b&gt;</td>' in page
    assert "<nav" not in page


def test_a_page_says_what_it_was_made_of(sections: list[Section], tmp_path: Path) -> None:
    write(sections, tmp_path)
    told = storage.read_json(tmp_path / made_of.FILE)
    assert told["inputs"] == {"shop/global-time/latest/data": "d1"} == made_of.of(tmp_path)
    assert (told["verb"], told["place"]) == ("llmcf report", ["shop", "global-time", "latest"])
    assert {file: storage.sha256(tmp_path / file) for file in told["outputs"]} == told["outputs"]
    assert set(told["outputs"]) == {"report.md", "report.html", "ranking/a.svg"}


def test_commands_are_told_once_with_the_machine_of_the_last() -> None:
    lines = [{"command": command, "machine": machine} for command, machine in (("b", "1"), ("a", "1"), ("a", "2"))]
    assert measured_by(lines).rows == [["`a`", "2", "2"], ["`b`", "1", "1"]]


def test_a_browser_sorts_by_the_number_that_a_cell_begins_with(sections: list[Section], tmp_path: Path) -> None:
    browser = chromium.find(tmp_path)
    page = write(sections, tmp_path)
    seen = browser.see((tmp_path / "report.html").as_uri())
    assert not seen.console, "the policy lets the script run"
    assert seen.dom.count('<button type="button">') == 4
    clicked = page.replace("</body>", f"<script>{CLICKS}</script></body>")
    clicked = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", clicked)
    (tmp_path / "clicked.html").write_text(clicked, encoding="utf-8")
    dom = browser.see((tmp_path / "clicked.html").as_uri()).dom
    told = re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)
    assert told
    assert json.loads(unescape(told[1])) == [
        ["abcd", "ascending,,,"],
        ["bcad", ",ascending,,"],
        ["dacb", ",descending,,"],
        ["cadb", ",,,"],
        ["dbca", ",,ascending,"],
        ["cbda", ",,descending,"],
        ["dacb", ",,,ascending"],
    ]


def test_another_script_does_not_run(sections: list[Section], tmp_path: Path) -> None:
    browser = chromium.find(tmp_path)
    page = write(sections, tmp_path).replace("</body>", "<script>document.title = 'taken'</script></body>")
    (tmp_path / "other.html").write_text(page, encoding="utf-8")
    seen = browser.see((tmp_path / "other.html").as_uri())
    assert "<title>All</title>" in seen.dom
    assert any("Content Security Policy" in line for line in seen.console)


@pytest.mark.parametrize("width", [1280, 520])
def test_nothing_sticks_out_of_a_window(sections: list[Section], tmp_path: Path, width: int) -> None:
    browser = chromium.find(tmp_path)
    size = browser.measure(write(sections, tmp_path), "", width)
    assert (size.width, size.out) == (size.window, [])
