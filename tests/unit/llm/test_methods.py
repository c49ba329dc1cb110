"""The methods of Figure 4 by their names."""

import pytest

from core.errors import UsageError
from llm import methods


@pytest.mark.parametrize(
    ("name", "says"),
    [("fine", "unknown method 'fine'; choose one of: base, half, full"), ("wise-ft-2", "not a number between 0 and 1")],
)
def test_an_unknown_method_is_answered_with_the_choices(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        methods.method(name)


def test_figure_4_has_eleven_methods() -> None:
    assert len(methods.METHODS) == 11
    assert methods.method("wise-ft-0.45").alpha == 0.45
    assert [name for name in methods.METHODS if not methods.METHODS[name].trains] == [
        "base", "wise-ft-0.3", "wise-ft-0.6", "wise-ft-0.9",
    ]  # fmt: skip
