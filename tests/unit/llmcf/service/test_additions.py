"""What workers read of items that came after the release."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from llmcf.service import additions
from llmcf.service.additions import NONE, Additions, Followed


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))


def three(width: int = 4) -> Additions:
    return Additions(
        encoder="model@0123" if width else "",
        row_N=np.array([12, 9, 40]),
        raw_ids=["a", "b", "c"],
        titles=["A lamp", "", "A sofa"],
        brands=["m1", "", ""],
        categories=[["Light", "Home"], [], ["Home"]],
        texts=["A lamp (m1). Light, Home", "x", "A sofa. Home"],
        brand_N=np.array([3, 0, 0]),
        categories_NC=np.arange(18).reshape(3, 6),
        text_NE=np.arange(3 * width, dtype=np.float32).reshape(3, width),
    )


def assert_equal(found: Additions, expected: Additions) -> None:
    for one in dataclasses.fields(Additions):
        left, right = getattr(found, one.name), getattr(expected, one.name)
        if isinstance(right, np.ndarray):
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype
        else:
            assert list(left) == list(right)


@pytest.mark.parametrize("width", [4, 0])
def test_what_was_written_is_read(width: int):
    additions.write("shop", three(width))
    assert_equal(additions.read("shop"), three(width))


def test_without_a_file_there_is_nothing():
    assert len(additions.read("shop")) == 0
    assert_equal(additions.read("shop"), NONE)
    additions.write("shop", NONE)
    assert_equal(additions.read("shop"), NONE)


def test_it_is_looked_up_by_id_and_by_row_and_has_a_name_without_a_title():
    found = three()
    assert (found.at["b"], found.at_row[40]) == (1, 2)
    assert found.names == ["A lamp", "b", "A sofa"]


def test_those_that_a_release_does_not_know():
    found = three().beyond({"a"})
    assert found.raw_ids == ["b", "c"]
    np.testing.assert_array_equal(found.row_N, [9, 40])
    np.testing.assert_array_equal(found.text_NE, three().text_NE[1:])
    assert len(found.beyond({"b", "c"})) == 0


def test_it_is_read_once_until_it_is_replaced(monkeypatch: pytest.MonkeyPatch):
    followed = Followed("shop")
    assert followed.current() is NONE
    additions.write("shop", three())
    first = followed.current()
    assert len(first) == 3
    with monkeypatch.context() as patch:
        patch.setattr(additions, "read", lambda dataset: pytest.fail("read again"))
        assert followed.current() is first
    additions.write("shop", three().take([1]))
    assert followed.current().raw_ids == ["b"]
