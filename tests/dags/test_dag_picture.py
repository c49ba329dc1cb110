"""The picture of the DAGs shows them as Airflow reads them now."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from core.errors import LlmcfError
from llmcf import dag_picture, dag_test
from llmcf.dag_picture import Dag
from tests.meta.test_layout import PROJECT

HELPERS = {"verbs", "alerts", "assets"}
SVG = "{http://www.w3.org/2000/svg}"
TWO = [
    Dag(name="first", cron="0 2 * * *", read=[], after={"a": [], "b": ["a"], "c": ["a"]}, renewed={"c": ["made"]}),
    Dag(name="second", cron="", read=["made"], after={"d": []}, renewed={}, mapped=["d"], pools={"d": "llm"}),
]


def named(picture: str) -> dict[str, str]:
    """The texts of a picture by the name of what they stand for."""
    root = ElementTree.fromstring(picture)
    groups = [one for one in root.iter(f"{SVG}g") if one.find(f"{SVG}text") is not None]
    return {one.get("id", ""): "".join(one.find(f"{SVG}text").itertext()) for one in groups}  # pyright: ignore[reportOptionalMemberAccess]


@pytest.fixture(scope="module")
def dags() -> list[Dag]:
    return dag_picture.read()


def test_the_picture_is_what_is_drawn(dags: list[Dag]) -> None:
    told = dag_picture.PLACE.read_text(encoding="utf-8")
    assert told == dag_picture.draw(dags), "run `python -m llmcf.dag_picture`"


def test_it_names_every_task_and_asset_of_every_dag(dags: list[Dag]) -> None:
    texts = named(dag_picture.PLACE.read_text(encoding="utf-8"))
    assert {dag.name for dag in dags} == {path.stem for path in (PROJECT / "dags").glob("*.py")} - HELPERS
    for dag in dags:
        assert texts[dag.name] == dag.name
        for task in dag.after:
            assert texts[f"{dag.name}/{task}"].removesuffix(" × n") == task
            for asset in dag.renewed.get(task, []):
                assert texts[f"{dag.name}/{task}>{asset}"] == asset
        for asset in dag.read:
            assert texts[f"{dag.name}<{asset}"] == asset


def test_only_assets_that_start_a_dag_are_shown(dags: list[Dag]) -> None:
    read = {asset for dag in dags for asset in dag.read}
    assert read == {asset for dag in dags for told in dag.renewed.values() for asset in told}


def test_a_days_chain_comes_first(dags: list[Dag]) -> None:
    assert [dag.name for dag in dags][: len(dag_test.CHAIN)] == list(dag_test.CHAIN)


def test_the_same_dags_are_the_same_picture_and_others_another() -> None:
    assert dag_picture.draw(TWO) == dag_picture.draw(TWO)
    assert dag_picture.draw(TWO) != dag_picture.draw(TWO[:1])
    texts = named(dag_picture.draw(TWO))
    assert texts["second/d"] == "d × n"
    assert texts["second<made"] == texts["first/c>made"] == "made"


def test_tasks_stand_behind_all_that_they_follow() -> None:
    dag = Dag(name="x", cron="", read=[], after={"a": [], "b": ["a"], "c": [], "d": ["b", "c"]}, renewed={})
    assert dag.columns() == [["a", "c"], ["b"], ["d"]]


def test_no_arrow_goes_past_a_task_that_lies_between() -> None:
    after = {"a": [], "b": ["a"], "c": ["a", "b"], "d": ["a", "c"], "e": ["a"]}
    dag = Dag(name="x", cron="", read=[], after=after, renewed={})
    assert {task: dag.just_before(task) for task in after} == {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": ["a"]}


@pytest.mark.parametrize(
    ("cron", "said"),
    [("0 2 * * *", "02:00 UTC"), ("5 * * * *", "every hour, :05"), ("0 2 * * 1", "0 2 * * 1")],
)
def test_a_cron_in_words(cron: str, said: str) -> None:
    assert dag_picture.when(cron) == said


def test_a_dag_that_airflow_cannot_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "broken.py").write_text("1 / 0  # dag airflow")
    monkeypatch.setattr(dag_picture, "PROJECT", tmp_path)
    with pytest.raises(LlmcfError, match="division by zero"):
        dag_picture.read()
