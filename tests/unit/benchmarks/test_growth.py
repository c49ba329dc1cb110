"""What the page about growth says of sizes, of stages that failed and of slopes."""

from pathlib import Path

from benchmarks.growth import Figure, exponent, page, plot


def figure(copies: int, **changes: object) -> Figure:
    seconds = {"prepare": 2.0 * copies, "build": 3.0 * copies**2, "join": 1.0, "neighbours": 5.0}
    made = Figure(copies=copies, interactions=1000 * copies, rows=2000 * copies, seconds=seconds)
    made.peak_mib = dict.fromkeys(seconds, 1500 * copies)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_slopes_are_of_the_sizes_that_ran() -> None:
    figures = [figure(1), figure(2), figure(4, seconds={"prepare": 8.0})]
    assert exponent(figures, "prepare") == 1.0
    assert exponent(figures, "build") == 2.0
    assert exponent(figures, "join") == 0.0
    assert exponent(figures[:1], "prepare") is None
    assert exponent([figure(1), figure(2, seconds={})], "build") is None


def test_the_page_tells_what_failed_where_and_leaves_the_rest_empty() -> None:
    failed = figure(
        4, seconds={"prepare": 8.0}, peak_mib={"prepare": 6000}, failed={"build": "died | of memory"}, rows=0
    )
    text = page([figure(1), figure(2), failed])
    assert "| 4 | 4,000 | 0 | 8.0 | died   of memory |  |  |" in text
    assert "| 2 | 2,000 | 4,000 | 4.0 | 12.0 | 1.0 | 5.0 |" in text
    assert "| 4 | 4,000 | 0 | 6,000 |" in text
    assert "to the power of: prepare 1.00, build 2.00" in text
    assert "One size alone." in page([figure(1)])


def test_the_plot_is_drawn_with_a_stage_that_never_ran(tmp_path: Path) -> None:
    figures = [figure(1, seconds={"prepare": 1.0}), figure(2, seconds={"prepare": 2.0})]
    plot(figures, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text(encoding="utf-8").startswith("<?xml")
