"""The page of a matrix: what stands to the left, and what of a note is code."""

from pathlib import Path

from llmcf.reports import matrix_page
from llmcf.reports.measured import Table


def test_words_stand_to_the_left_commands_are_code_and_nothing_is_markup(tmp_path: Path) -> None:
    rows = [["8", "DIN", "published", "", "0.1"], ["16", "", "<b>", "above both", "-0.1"]]
    table = Table("Sizes", "Recipe `strict`, <i>.", ["size", "model", "order", "verdict", "gap"], rows)
    matrix_page.write("Sizes", "by `llmcf report <x>`", [table], {}, tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<p class="made">by <code>llmcf report &lt;x&gt;</code></p>' in page
    assert '<p class="note">Recipe <code>strict</code>, &lt;i&gt;.</p>' in page
    heads = ['<th class="words">size', '<th class="words">model', "<th>order", '<th class="words">verdict', "<th>gap"]
    assert all(head in page for head in heads), "an order that begins with a bracket is no word"
    assert '<td class="words">16</td><td class="words"></td><td>&lt;b&gt;</td>' in page
