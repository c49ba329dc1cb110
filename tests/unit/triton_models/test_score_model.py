"""Triton's model `score` over a release's files, under a stand-in for the module that only exists inside Triton."""

import importlib.util
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from core.contracts import CATEGORIES, DENSE, HISTORY, SCORE, UNKNOWN
from core.settings import Workspace
from ict.examples import Requests
from ict.replica import Selection, ServingReplica
from llmcf.serving import scorer
from llmcf.serving.triton_client import open_locally
from tests import in_memory
from tests.synthetic_release import TEXT, write_release
from tests.triton_stub import Response, Tensor, TritonError

ROWS = in_memory.training_rows(users=12, items=30, length=8)
REQUESTS = Requests.of(ROWS)
EXAMPLES = in_memory.example_set(ROWS, count=90)
VECTORS = EXAMPLES.item_vectors_VE.numpy()
USERS = {"u2": 2, "u5": 5, "ü€": 7, "after the weights": 13}
USERS_END, ITEMS_END = 13, 32
ITEMS = {f"p{row}": row for row in range(2, ITEMS_END)} | {"プ": 3}
REPLICA = ServingReplica(
    in_memory.stored(EXAMPLES),
    VECTORS,
    ranking=Selection(recipe="strict", seed=0),
    retrieval=Selection(recipe="strict", seed=0),
)


@dataclass
class Request:
    arrays: Mapping[str, np.ndarray]
    wanted: Sequence[str] = ("score", "user", "item")

    def requested_output_names(self) -> list[str]:
        return list(self.wanted)


@dataclass
class Session:
    """Keeps what the real session is given."""

    real: Any
    fed: list[dict[str, np.ndarray]] = field(default_factory=list)

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed.append(feed)
        return self.real.run(outputs, feed)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model's version folder in a release of invented weights; the examples are those of the in-memory world."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_HOME", str(home))
        patch.setenv("LLMCF_TRITON_MODELS", str(home / "models"))
        ws = Workspace("movielens-100k", "shuffled-ties")
        release = write_release(ws, item_vectors=VECTORS, users_end=USERS_END, items_end=ITEMS_END)
        scorer.write(release.folder, release, USERS, ITEMS, in_memory.stored(EXAMPLES))
        yield release.models / SCORE / "1"


@pytest.fixture(scope="module")
def graph(place: Path) -> Any:
    return open_locally(place.parents[1] / "ranker" / "1" / "model.onnx", "ranker")


@pytest.fixture
def model(place: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loaded from its folder as Triton does, which has that on the path."""
    utilities: Any = ModuleType("triton_python_backend_utils")
    utilities.Tensor, utilities.TritonError, utilities.InferenceResponse = Tensor, TritonError, Response
    utilities.get_input_tensor_by_name = lambda request, name: (
        Tensor(name, request.arrays[name]) if name in request.arrays else None
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utilities)
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("nearest", "shown"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("score_model", place / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded = module.TritonPythonModel()
    loaded.initialize({})
    loaded.session = Session(loaded.session)
    return loaded


def strings(*values: str) -> np.ndarray:
    return np.array([one.encode() for one in values], dtype=np.object_)


def asking(user: str, *items: str, row: int = 60, **changed: Any) -> Request:
    """A question with the history and day of one of the world's rows."""
    one = REQUESTS.slice(row, row + 1)
    arrays = {
        "user_id": strings(user),
        "item_id": strings(*items),
        "history": one.history_BL[0].numpy(),
        "activity": np.log1p([int(one.position_B)], dtype=np.float32),
        "day": np.array([int(one.day_B)]),
        "dense": np.random.default_rng(1).random((len(items), len(DENSE)), dtype=np.float32),
        **changed,
    }
    return Request({name: values for name, values in arrays.items() if values is not None})


def found(response: Response) -> dict[str, np.ndarray]:
    assert response.error is None, response.error
    return {one.name: one.values for one in response.tensors}


def expected(graph: Any, request: Request, user: int, items: Sequence[int]) -> np.ndarray:
    """What the service would say of items that the release has."""
    item_C, given = np.array(items), request.arrays
    day, position = int(given["day"][0]), round(float(np.expm1(given["activity"][0])))
    who = {"user": user, "position": position, "day": day, "history_L": given["history"]}
    shown = REPLICA.for_ranking(**who, items_C=item_C)
    count = len(items)
    return graph(
        {
            "user": np.full(count, user),
            "item": item_C,
            "history": np.tile(given["history"], (count, 1)),
            "dense": given["dense"],
            "examples": shown.examples_CK,
            "similarity": shown.similarity_CK,
            "brand": np.zeros(count, dtype=np.int64),
            "categories": np.zeros((count, CATEGORIES), dtype=np.int64),
            "text": np.zeros((count, TEXT), dtype=np.float32),
        }
    )["score"]


def test_scores_are_the_graphs_with_the_examples_that_the_service_finds(model: Any, graph: Any) -> None:
    asked = asking("u5", "p9", "p2", "プ", "p9", dense=np.ones((4, len(DENSE)), dtype=np.float32))
    (response,) = model.execute([asked])
    answer = found(response)
    assert answer["user"].tolist() == [5]
    assert answer["item"].tolist() == [9, 2, 3, 9]
    np.testing.assert_allclose(answer["score"], expected(graph, asked, 5, [9, 2, 3, 9]), atol=1e-6)
    assert model.session.fed[0]["examples"].any()
    assert answer["score"][0] == pytest.approx(answer["score"][3], abs=1e-6)


def test_no_example_of_the_day_or_later_is_shown(model: Any) -> None:
    days = np.unique(EXAMPLES.day_M[1:].numpy())
    for day in (int(days[0]), int(days[len(days) // 2])):
        model.execute([asking("u5", "p9", "p2", day=np.array([day]))])
        numbers = model.session.fed[-1]["examples"]
        assert (EXAMPLES.day_M.numpy()[numbers[numbers > 0]] < day).all()
        assert numbers.any() == (day > days[0])


def test_recipe_paper_keeps_its_own_rule(model: Any) -> None:
    chosen = Selection(recipe="paper", seed=0)
    replica = ServingReplica(in_memory.stored(EXAMPLES), VECTORS, ranking=chosen, retrieval=chosen)
    model.showing = replace(model.showing, recipe="paper")
    asked = asking("u5", "p9", "p2", row=20)
    model.execute([asked])
    position, day = round(float(np.expm1(asked.arrays["activity"][0]))), int(asked.arrays["day"][0])
    who = {"user": 5, "position": position, "day": day, "history_L": asked.arrays["history"]}
    wanted = replica.for_ranking(**who, items_C=np.array([9, 2]))
    np.testing.assert_array_equal(model.session.fed[0]["examples"], wanted.examples_CK)
    assert (EXAMPLES.day_M.numpy()[wanted.examples_CK] >= day).any(), "later ones, too"


def test_a_stranger_and_who_came_after_the_weights_are_unknown_to_the_graph(model: Any, graph: Any) -> None:
    for user, row in (("nobody", UNKNOWN), ("", UNKNOWN), ("after the weights", 13)):
        asked = asking(user, "p9", "p4")
        answer = found(model.execute([asked])[0])
        assert answer["user"].tolist() == [row]
        np.testing.assert_allclose(answer["score"], expected(graph, asked, UNKNOWN, [9, 4]), atol=1e-6)


def test_an_empty_history_has_a_score_and_items_after_the_weights_are_unknown_in_one(model: Any, graph: Any) -> None:
    nothing = asking("u2", "p9", history=np.zeros(HISTORY, dtype=np.int64), activity=np.zeros(1, dtype=np.float32))
    answer = found(model.execute([nothing])[0])
    np.testing.assert_allclose(answer["score"], expected(graph, nothing, 2, [9]), atol=1e-6)
    late, known = (np.pad([last], (HISTORY - 1, 0)) for last in (ITEMS_END + 3, UNKNOWN))
    model.execute([asking("u2", "p9", history=late)])
    np.testing.assert_array_equal(model.session.fed[-1]["history"][0], known)


def test_an_item_that_the_release_does_not_have_is_scored_by_what_is_said_of_it(model: Any) -> None:
    text_NE = VECTORS[[9, 11]]
    told = {"brand": np.array([4, 5]), "categories": np.full((2, CATEGORIES), 6), "text": text_NE}
    answer = found(model.execute([asking("u5", "p9", "newer", **told)])[0])
    assert answer["item"].tolist() == [9, UNKNOWN]
    fed = model.session.fed[-1]
    assert fed["brand"].tolist() == [0, 5], "what is known of p9 is the release's"
    assert fed["categories"].any(axis=1).tolist() == [False, True]
    np.testing.assert_array_equal(fed["text"], [np.zeros(TEXT), text_NE[1]])
    request = asking("u5", "p9", "newer").arrays
    who = {"user": 5, "position": round(float(np.expm1(request["activity"][0]))), "day": int(request["day"][0])}
    shown = REPLICA.for_new_items(**who, history_L=request["history"], text_CE=text_NE[1:])
    np.testing.assert_array_equal(fed["examples"][1], shown.examples_CK[0])
    alone = found(model.execute([asking("u5", "newer")])[0])
    assert np.isfinite(alone["score"]).all(), "with nothing said of it"


def test_more_items_than_a_run_of_the_graph_takes(model: Any) -> None:
    names = [f"p{2 + place % 30}" for place in range(1500)]
    whole = asking("u5", *names, dense=np.tile(np.linspace(0, 1, len(DENSE), dtype=np.float32), (1500, 1)))
    scores = found(model.execute([whole])[0])["score"]
    assert [len(feed["item"]) for feed in model.session.fed] == [1024, 476]
    np.testing.assert_allclose(scores, np.tile(scores[:30], 50), atol=1e-6)
    assert len(np.unique(scores[:30])) > 20


def test_rows_alone_need_no_features_and_no_graph(model: Any) -> None:
    asked = Request({"user_id": strings("ü€"), "item_id": strings("p3", "?", "p")}, wanted=["user", "item"])
    answer = found(model.execute([asked])[0])
    assert (answer["user"].tolist(), answer["item"].tolist()) == ([7], [3, UNKNOWN, UNKNOWN])
    assert set(answer) == {"user", "item"}
    assert not model.session.fed


def test_every_id_is_found_and_no_other(model: Any) -> None:
    for ids, rows in ((model.users, USERS), (model.items, ITEMS)):
        for raw_id, row in rows.items():
            assert ids.row(raw_id.encode()) == row
            assert ids.row(raw_id.encode() + b"\0") == UNKNOWN
            assert ids.row(raw_id.encode()[:-1]) in {UNKNOWN, rows.get(raw_id[:-1], UNKNOWN)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"history": None}, "input 'history' is missing"),
        ({"day": None, "dense": None}, "input 'day', 'dense' is missing"),
        ({"history": np.full(HISTORY, -1)}, "'history' holds -1"),
        ({"day": np.array([-4])}, "'day' holds -4"),
        ({"dense": np.full((2, len(DENSE)), np.nan, dtype=np.float32)}, "'dense' holds a value that is not finite"),
        ({"activity": np.full(1, np.inf, dtype=np.float32)}, "'activity' holds a value that is not finite"),
        ({"dense": np.zeros((3, len(DENSE)), dtype=np.float32)}, "'dense' has 3 rows for 2 items"),
        ({"brand": np.zeros(1, dtype=np.int64)}, "'brand' has 1 rows for 2 items"),
        ({"text": np.zeros((2, 5), dtype=np.float32)}, r"'text' is \(5,\) wide, and this release reads \(16,\)"),
    ],
)
def test_a_wrong_request_is_refused_and_spoils_no_other(model: Any, change: dict[str, Any], words: str) -> None:
    bad, good = model.execute([asking("u5", "p9", "p2", **change), asking("u5", "p9", "p2")])
    assert bad.error is not None
    assert re.search(words, bad.error.message)
    assert len(found(good)["score"]) == 2


def test_the_canarys_question_is_answered_as_it_is_expected(model: Any, place: Path, graph: Any) -> None:
    from llmcf.serving.manifest import Release

    release = Release.read(place.parents[2])
    ranker = release.stages["ranker"]
    question = scorer.question(place, ranker)
    answer, wanted = found(model.execute([Request(question)])[0]), scorer.expected(place, ranker, question, graph)
    assert wanted["item"].tolist()[1] == UNKNOWN
    for name, values in wanted.items():
        np.testing.assert_allclose(answer[name], values, atol=1e-6)
    assert model.session.fed[-1]["examples"].all(), "it tries the search, too"
