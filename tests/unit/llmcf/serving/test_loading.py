"""What a recommender tells when it is loaded."""

from dataclasses import replace
from pathlib import Path

import pytest

from core import storage
from core.settings import Workspace
from llmcf.feature_store import registry
from llmcf.serving.loading import tell_of_other_features
from tests.synthetic_release import write_release

WS = Workspace("movielens-100k", "shuffled-ties")


@pytest.mark.parametrize(("online", "told"), [("a", False), ("b", True)])
def test_other_feature_definitions_are_told(
    repository: Path, capsys: pytest.CaptureFixture[str], online: str, told: bool
) -> None:
    storage.write_json(WS.path("feast", registry.MATERIALIZED), {"release": {"repo": online}, registry.UNTIL: 0})
    tell_of_other_features(replace(write_release(WS), features={"project": "p", "repo": "a"}))
    assert ("by another feature_repo/ than release 1 was made with" in capsys.readouterr().err) == told
