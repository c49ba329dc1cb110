"""What a piped verb says of how far it is."""

import io
import sys

import pytest

from core import progress
from core.progress import Named, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its last number is the time."""
    times = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: times[-1])
    return times


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_every_tenth_is_told_with_what_is_left(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for number in track(range(100), total=100, what="epoch 1, batches"):
        clock.append(float(number + 1))  # a second each
    told = lines(capsys)
    assert told[0] == "epoch 1, batches: 10 of 100 after 10 s, about 90 s left"
    assert [line.split()[3] for line in told] == [str(tenth) for tenth in range(10, 101, 10)]


def test_a_slow_tenth_is_told_of_all_the_same(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for number in track(range(1000), total=10_000, what="texts"):
        clock.append(number + 1.0)
    told = lines(capsys)
    assert told[0].startswith("texts: 30 of 10,000 after 30 s")
    assert len(told) == 34  # the last one is the first tenth


def test_what_is_over_at_once_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track(range(50), total=50, what="batches")) == list(range(50))
    assert lines(capsys) == []


def test_a_process_among_several_is_named(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", Named(out, "rank train"))
    for _ in track(range(2), total=2, what="batches"):
        clock.append(clock[-1] + 60)
    assert out.getvalue().splitlines()[0] == "rank train: batches: 1 of 2 after 60 s, about 60 s left"
