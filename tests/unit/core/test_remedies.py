"""Each folder of a workspace has the verb that fills it."""

from pathlib import Path

import pytest

from core.remedies import maker
from core.settings import Workspace

WS = Workspace("amazon-beauty", "published")
PLACE = "--dataset amazon-beauty --order published"


@pytest.mark.parametrize(
    ("parts", "command"),
    [
        (("data",), f"llmcf data prepare {PLACE}"),
        (("cot", "vectors"), f"llmcf cot embed {PLACE}"),
        (("ranking", "deepfm-none-strict-s1"), f"llmcf rank train {PLACE}"),
        (("cot", "sets", "paper", "vectors"), f"llmcf cot embed --set paper {PLACE}"),
        (("cot", "sets", "paper", "texts"), f"llmcf cot restore --pack PACK --set paper {PLACE}"),
        (("nowhere",), "llmcf demo"),
    ],
)
def test_the_command_of_a_folder(parts: tuple[str, ...], command: str) -> None:
    assert maker(WS.path(*parts)) == command


def test_a_folder_outside_of_any_workspace(tmp_path: Path) -> None:
    assert maker(tmp_path / "elsewhere") == "llmcf demo"
