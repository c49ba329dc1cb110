import pytest
import yaml

from core import homes, steps, storage
from core.data import features
from core.data.prepare import prepare
from core.errors import LlmcfError
from core.settings import Workspace
from llmcf.feature_store import jobs, registry


@pytest.fixture
def built(tmp_path, monkeypatch, source):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.delenv("LLMCF_REDIS", raising=False)
    ws = Workspace("movielens-100k", "published")
    prepare(ws, source=source, seed=1)
    features.build(ws)
    return ws


@pytest.fixture
def asked(monkeypatch):
    """The jobs that Feast would have been given."""
    given = []
    monkeypatch.setattr(registry, "run", lambda ws, *job, folder=None: given.append(job[0]))
    return given


def change_content(ws, digit="0"):
    """Features with other content, as a later preparation would leave them."""
    stamp = storage.read_json(ws.path("features", steps.STAMP))
    storage.write_json(ws.path("features", steps.STAMP), stamp | {"content": digit * 64})


def test_apply_before_build_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    with pytest.raises(LlmcfError, match="llmcf features build --dataset movielens-100k --order published"):
        jobs.apply(Workspace("movielens-100k", "published"))


def test_the_folder_is_a_feast_repository_of_its_own(built, asked):
    jobs.apply(built)
    config = yaml.safe_load(built.path("feast", "feature_store.yaml").read_text())
    assert asked == ["apply"]
    assert config["project"].startswith(f"movielens_100k_published_latest_{homes.home_id()[:8]}_"), "Redis is shared"
    assert config["online_store"]["type"] == "sqlite"
    assert {path.name for path in built.path("feast", "data").iterdir()} == {
        f"{name}.parquet" for name in features.SCHEMAS
    }


def test_who_has_no_llmcf_finds_the_same_store_without_ours(built, asked, monkeypatch):
    jobs.apply(built)
    whole, online = (
        yaml.safe_load(built.path("feast", *folder, "feature_store.yaml").read_text())
        for folder in ((), (registry.ONLINE,))
    )
    assert "offline_store" not in online
    assert {**online["registry"], "path": "registry.db"} == whole["registry"]
    assert (online["project"], online["online_store"]["path"]) == (whole["project"], "../online.db")
    built.path("feast", registry.ONLINE, "feature_store.yaml").unlink()
    assert jobs.apply(built).skipped
    assert built.path("feast", registry.ONLINE, "feature_store.yaml").exists(), "also where it was applied before"
    monkeypatch.setenv("LLMCF_REDIS", "localhost:6379,password=secret")
    jobs.apply(built)
    text = built.path("feast", registry.ONLINE, "feature_store.yaml").read_text()
    assert yaml.safe_load(text)["online_store"] == {"type": "redis", "connection_string": "${LLMCF_REDIS}"}


def test_other_features_are_another_release(built, asked, source):
    first = jobs.apply(built).details["project"]
    built.path("feast", "online.db").write_text("old states")
    prepare(built, source=source, seed=2)  # in published order the seed draws negatives only: the same features
    assert not features.build(built).skipped
    assert jobs.apply(built).skipped
    change_content(built)
    assert jobs.apply(built).details["project"] != first
    assert not built.path("feast", "online.db").exists()


def serve(ws, rows):
    """As `features materialize` leaves it."""
    ws.path("feast", "online.db").write_text(rows)
    storage.write_json(ws.path("feast", registry.MATERIALIZED), {"release": registry.release(ws)})


def test_what_serves_is_set_aside_until_the_new_release_is_materialized(built, asked):
    """A service may be started at any moment between the two, and finds rows."""
    jobs.apply(built)
    serve(built, "old states")
    change_content(built)
    jobs.apply(built)
    assert (registry.serving(built) / "online.db").read_text() == "old states"
    change_content(built, "1")
    jobs.apply(built)  # once more, before anything of the second was online
    assert (registry.serving(built) / "online.db").read_text() == "old states"
    serve(built, "new states")
    registry.drop_before(built)
    assert (registry.serving(built) / "online.db").read_text() == "new states"
    assert not built.path(registry.BEFORE).exists()


def test_of_two_that_were_online_the_newer_is_set_aside(built, asked):
    """A kill between marking the new one and removing the old one leaves both."""
    for content, rows in (("2", "first"), ("3", "second"), ("4", None)):
        change_content(built, content)
        jobs.apply(built)
        if rows:
            serve(built, rows)
    assert (registry.serving(built) / "online.db").read_text() == "second"


def test_redis_is_configured_without_writing_its_credential(built, asked, monkeypatch):
    monkeypatch.setenv("LLMCF_REDIS", "cache:6379,password=hush")
    assert jobs.apply(built).details["online_store"] == "redis"
    config = yaml.safe_load(built.path("feast", "feature_store.yaml").read_text())
    assert config["online_store"] == {"type": "redis", "connection_string": "${LLMCF_REDIS}"}
    assert not [path for path in built.path("feast").rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    change_content(built)
    jobs.apply(built)
    assert asked == ["apply", "teardown", "apply"], "a release that was never online leaves nothing that others share"
    serve(built, "")
    change_content(built, "1")
    jobs.apply(built)
    assert asked[3:] == ["apply"], "what serves keeps its rows"
    serve(built, "")
    registry.drop_before(built)
    assert asked[4:] == ["teardown"]
    jobs.apply(built)
    change_content(built, "2")
    jobs.apply(built)
    serve(built, "")
    change_content(built, "3")
    jobs.apply(built)
    del asked[:]
    registry.forget(built)
    assert asked == ["teardown", "teardown"], "what answers until the new one is materialized goes with its day, too"
    registry.forget(built)
    assert len(asked) == 2
