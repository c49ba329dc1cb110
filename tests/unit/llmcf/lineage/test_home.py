"""What a user calls something is found, or what is near it is named."""

from pathlib import Path

import pytest

from core import steps, storage
from core.errors import UsageError
from core.settings import Workspace
from llmcf.lineage import home
from llmcf.lineage.graph import Graph, Link, Node
from llmcf.serving import releases
from tests import trained_runs

HOME = "movielens-100k/shuffled-ties/latest"
RANKER = f"{HOME}/ranking/deepfm-none-strict-s2023"


@pytest.fixture
def graph(ws: Workspace) -> Graph:
    trained_runs.release(ws, trained_runs.rank(ws), trained_runs.retrieve(ws))
    return home.read()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("deepfm-none-strict-s2023", RANKER),
        (RANKER, RANKER),
        ("ranking/deepfm-none-strict-s2023/scores.parquet", RANKER),
        ("data", f"{HOME}/data"),
        ("data/rows.parquet", f"{HOME}/data"),
        ("release:1", "release:movielens-100k/1"),
        ("release:live", "release:movielens-100k/1"),
        ("release:movielens-100k/1", "release:movielens-100k/1"),
        ("tiny_items_v1_0123456789ab", "collection:tiny_items_v1_0123456789ab"),
        ("amazon-beauty-base", "pack:amazon-beauty-base"),
    ],
)
def test_by_name(graph: Graph, asked: str, found: str) -> None:
    assert home.find(graph, asked) == found


def test_by_a_path_on_the_disk_and_by_how_a_digest_begins(graph: Graph, ws: Workspace, raw: Path) -> None:
    assert home.find(graph, str(ws.path("training", "rows.parquet"))) == f"{HOME}/training"
    assert home.find(graph, "u.item") == "raw/u.item"
    assert home.find(graph, storage.sha256(raw / "u.user")[:9]) == "raw/u.user"
    assert home.find(graph, steps.content_of(ws.path("features"))[:9]) == f"{HOME}/features"


def test_nothing_of_that_name(graph: Graph) -> None:
    with pytest.raises(UsageError, match="nothing here is called 'deepfm-non-strict-s2023'; near it: deepfm-none-str"):
        home.find(graph, "deepfm-non-strict-s2023")
    with pytest.raises(UsageError, match="near it: release:1"):
        home.find(graph, "release:7")
    with pytest.raises(UsageError, match=r"there are, among others: .*data, deepfm-none-strict-s2023"):
        home.find(graph, "?" * 30, ("movielens-100k", None, None))


@pytest.mark.parametrize("asked", ["~nobody-has-this-name/x", "a" * 300, f"data/{'a' * 300}"])
def test_what_can_be_no_path_is_no_name_either(graph: Graph, asked: str) -> None:
    with pytest.raises(UsageError, match="nothing here is called"):
        home.find(graph, asked)


def test_a_release_is_of_the_data_set_that_is_named() -> None:
    """Not of another one whose name begins alike."""
    ids = ("release:shop/2", "release:shop-eu/2", "release:shop-eu/3")
    nodes = {name: Node(id=name, kind="release", place=("", "", "")) for name in ids}
    assert home.find(Graph(nodes), "release:shop/2") == "release:shop/2"
    assert home.find(Graph(nodes), "release:3") == "release:shop-eu/3"
    with pytest.raises(UsageError, match="nothing here is called 'release:shop/3'"):
        home.find(Graph(nodes), "release:shop/3")


def test_the_live_release_is_of_the_data_set_that_is_named(
    home_of_its_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "datasets", lambda: ["shop", "shop-eu"])
    monkeypatch.setattr(releases, "pointer", lambda dataset: releases.Pointer(release=2, versions={}))
    nodes = {name: Node(id=name, kind="release") for name in ("release:shop/2", "release:shop-eu/2")}
    assert home.find(Graph(nodes), "release:shop/live") == "release:shop/2"


def test_an_empty_home(home_of_its_own: Path) -> None:
    with pytest.raises(UsageError, match="nothing here is called 'data'"):
        home.find(home.read(), "data")


def test_more_than_one_of_that_name() -> None:
    nodes = {
        name: Node(id=name, kind="tables", place=tuple(name.split("/")[:3]))
        for name in ("a/published/latest/data", "b/published/latest/data", "c/published/2026-01-31/data")
    }
    nodes["d/published/latest/data"] = Node(id="d/published/latest/data", kind="tables", there=False)
    with pytest.raises(UsageError, match="may be a/published/latest/data, b/published/latest/data, c/"):
        home.find(Graph(nodes), "data")
    assert home.find(Graph(nodes), "data", ("b", None, None)) == "b/published/latest/data"
    assert home.find(Graph(nodes), "data", (None, None, "2026-01-31")) == "c/published/2026-01-31/data"


def test_a_circle_is_walked_once() -> None:
    nodes = {name: Node(id=name, kind="tables", links=(Link(to=other),)) for name, other in ("ab", "ba")}
    assert list(Graph(nodes).walk("a", up=True)) == ["a", "b"]
    assert Graph(nodes).state("a").word == "current"


def test_links_in_the_home_are_followed_and_end(ws: Workspace, tmp_path: Path) -> None:
    trained_runs.rank(ws)
    aside = tmp_path / "aside"
    ws.path("ranking").rename(aside)
    ws.path("ranking").symlink_to(aside)
    (aside / "around").symlink_to(ws.root)
    assert [name for name in home.read().nodes if "deepfm" in name] == [RANKER]
