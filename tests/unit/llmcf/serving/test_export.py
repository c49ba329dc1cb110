"""What is asked of an export before it does anything."""

from dataclasses import replace

import pytest

from core.errors import UsageError
from core.settings import Workspace
from llmcf.serving.assemble import Choice
from llmcf.serving.export import export

WS = Workspace("movielens-100k", "shuffled-ties")
RANKER = Choice(backbone="deepfm", framework="llm-cf", recipe="strict", seed=1)
TOWER = replace(RANKER, backbone="sasrec")


@pytest.mark.parametrize(
    ("ranker", "tower", "words"),
    [
        ({"backbone": "foo"}, {}, r"unknown ranker 'foo'; choose one of: deepfm, "),
        ({"framework": "foo"}, {}, r"unknown framework 'foo'; choose one of: none, kd, "),
        ({"recipe": "foo"}, {}, r"unknown recipe 'foo'; choose one of: "),
        ({}, {"backbone": "deepfm"}, r"unknown retriever 'deepfm'; choose one of: sasrec"),
        ({}, {"framework": "kar"}, r"unknown framework of the user tower 'kar'; choose one of: none, llm-cf"),
        ({}, {"recipe": "foo"}, r"unknown recipe 'foo'; choose one of: "),
    ],
)
def test_a_name_that_no_training_knows_is_refused_with_the_choices(ranker: dict, tower: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        export(WS, replace(RANKER, **ranker), replace(TOWER, **tower))
