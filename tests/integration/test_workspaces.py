"""Old days go, with what they hold in Milvus and in the online store; what a release names stays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core import settings, storage
from core.contracts import CONTRACT
from core.data import features
from core.data.prepare import prepare
from core.errors import LlmcfError, UsageError
from core.settings import PROJECT, Workspace
from ict import milvus
from llmcf import workspaces
from llmcf.feature_store import jobs, redis_address, registry
from llmcf.serving import manifest
from tests import official_files
from tests.redis_server import RedisServer
from tests.synthetic_release import write_release

pytestmark = pytest.mark.integration
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04", "latest")
LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("LLMCF_HOME", str(home))
    monkeypatch.setenv("LLMCF_TRITON_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("LLMCF_REDIS", raising=False)
    return home


def day(as_of: str, order: str = "published") -> Workspace:
    return Workspace("movielens-100k", order, as_of)


def publish(ws: Workspace, kind: str = "items") -> str:
    records = milvus.Records(ids=np.arange(1, 6), vectors={"vector": np.eye(5, 8, dtype=np.float32)})
    with milvus.connect(ws) as client:
        return milvus.publish(client, ws, kind, records)


@pytest.fixture
def days(home: Path) -> list[Workspace]:
    made = [day(as_of) for as_of in DAYS]
    for ws in made:
        ws.path("data").mkdir(parents=True)
        ws.path("data", "rows.parquet").write_bytes(bytes(1000))
    return made


def prune(keep: int, *, dry_run: bool = False) -> dict:
    done = workspaces.prune(keep=keep, dataset=None, order=None, dry_run=dry_run, confirm=None)
    return dict(done.details)


def left_alone(ws: Workspace) -> None:
    """As if nobody had made anything of it for days."""
    for path in (ws.root, *ws.root.rglob("*")):
        os.utime(path, (LONG_AGO, LONG_AGO))


def there() -> list[str]:
    return sorted(path.name for path in settings.home().glob("movielens-100k/published/*"))


def test_the_newest_days_stay_and_latest_is_no_day(days: list[Workspace]) -> None:
    publish(days[0])
    left_alone(days[0])
    day("2026-01-01", "global-time").path("data").mkdir(parents=True)  # the only day of its order
    found = prune(2)
    assert [each["as_of"] for each in found["days"]] == ["2026-01-01", "2026-01-02"]
    assert there() == ["2026-01-03", "2026-01-04", "latest"]
    assert day("2026-01-01", "global-time").root.is_dir()
    assert prune(2)["days"] == []


@pytest.mark.parametrize("what", ["data/step.json", ".data.lock", "ranking/.run.1-ab.new/weights"])
def test_a_day_that_something_is_made_of_stays_a_day_longer(days: list[Workspace], what: str) -> None:
    """As where days are made up for, which are old from the start."""
    path = days[0].root / what
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"config": {}}')
    found = prune(2)
    assert [each["as_of"] for each in found["days"]] == ["2026-01-02"]
    assert ([each["as_of"] for each in found["busy_days"]], found["kept_days"]) == (["2026-01-01"], 3)
    assert "movielens-100k published 2026-01-01 stays: something was made of it within the last day" in found["text"]
    left_alone(days[0])
    assert [each["as_of"] for each in prune(2)["days"]] == ["2026-01-01"]


def test_a_dry_run_says_what_it_would_free_and_leaves_it(
    days: list[Workspace], capsys: pytest.CaptureFixture[str]
) -> None:
    found = prune(1, dry_run=True)
    assert [each["bytes"] for each in found["days"]] == [1000] * 3
    assert "MiB  movielens-100k published 2026-01-01" in capsys.readouterr().err
    assert there() == sorted(DAYS)


def test_nothing_goes_without_a_yes(days: list[Workspace]) -> None:
    with pytest.raises(UsageError, match="--yes"):
        workspaces.prune(keep=1, dataset=None, order=None, dry_run=False, confirm=lambda _: False)
    done = subprocess.run(
        [sys.executable, "-m", "llmcf", "workspace", "prune", "--keep", "1"],
        cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert there() == sorted(DAYS)
    done = subprocess.run(
        [sys.executable, "-m", "llmcf", "workspace", "prune", "--keep", "1", "--yes", "--json"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(done.stdout)["details"]["days"]) == 3


def test_what_a_release_names_is_never_touched(days: list[Workspace]) -> None:
    collection = publish(days[0])
    write_release(days[0], collections={"items": collection})
    assert [each["as_of"] for each in prune(1)["days"]] == ["2026-01-02", "2026-01-03"]
    with milvus.connect(days[0]) as client:
        assert milvus.versions(client, days[0], "items") == [collection]
    (line,) = [each for each in workspaces.listing(None).details["workspaces"] if each["releases"]]
    assert (line["as_of"], line["releases"]) == ("2026-01-01", [1])


def test_a_release_that_is_made_during_the_question_keeps_its_day(days: list[Workspace]) -> None:
    def confirm(_: str) -> bool:
        write_release(days[0], collections={})
        return True

    done = workspaces.prune(keep=1, dataset=None, order=None, dry_run=False, confirm=confirm).details
    assert [each["as_of"] for each in done["days"]] == ["2026-01-02", "2026-01-03"]
    assert there() == ["2026-01-01", "2026-01-04", "latest"]
    assert done["kept_days"] == 2


def test_only_days_of_the_data_set_that_was_asked_for_are_counted(days: list[Workspace]) -> None:
    Workspace("amazon-toys", "published", "2026-01-01").path("data").mkdir(parents=True)
    done = workspaces.prune(keep=3, dataset="movielens-100k", order=None, dry_run=True, confirm=None).details
    assert (len(done["days"]), done["kept_days"]) == (1, 3)


def test_what_a_release_of_another_contract_names_is_not_touched_either(days: list[Workspace]) -> None:
    path = write_release(days[0]).folder / manifest.FILE
    storage.write_json(path, storage.read_json(path) | {"contract": CONTRACT - 1})
    assert [each["as_of"] for each in prune(1)["days"]] == ["2026-01-02", "2026-01-03"]
    (line,) = [each for each in workspaces.listing(None).details["workspaces"] if each["releases"]]
    assert (line["as_of"], line["releases"]) == ("2026-01-01", [1])


def test_a_release_that_does_not_say_what_it_needs_is_named(days: list[Workspace]) -> None:
    (write_release(days[0]).folder / manifest.FILE).unlink()
    assert len(workspaces.listing(None).details["workspaces"]) == len(DAYS)
    with pytest.raises(LlmcfError, match=r"releases/movielens-100k/1 does not say which workspace it reads; remove it"):
        prune(1)
    assert there() == sorted(DAYS)


def test_collections_of_a_shared_milvus_are_dropped(
    days: list[Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMCF_MILVUS_URI", str(tmp_path / "shared.db"))
    made = {ws: {publish(ws, kind) for kind in ("cot", "items")} for ws in days}
    prune(1)
    with milvus.connect(days[0]) as client:
        left = milvus.names(client)
    assert left == set.union(*(made[ws] for ws in days[3:]))


def test_a_killed_run_is_finished_by_the_next(days: list[Workspace], monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[Workspace] = []

    def killed(ws: Workspace) -> None:
        removed.append(ws)
        if len(removed) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(registry, "forget", killed)
        prune(1)
    assert there() == sorted(DAYS[1:])
    (days[1].root.parent / ".2025-12-31.1-ab.old").mkdir()  # killed after the rename
    prune(1)
    assert {path.name for path in days[1].root.parent.iterdir()} == {"2026-01-04", "latest"}


def cache(kind: str, name: str, model: str | None, written: int) -> Path:
    folder = settings.home() / kind / name
    folder.mkdir(parents=True)
    if model:
        storage.write_json(folder / "key.json", {"model": model})
    for path in (*folder.iterdir(), folder):
        os.utime(path, (written, written))
    return folder


def test_caches_that_no_kept_day_reads_go(days: list[Workspace]) -> None:
    for ws, model in ((days[0], "a" * 64), (days[3], "b" * 64)):
        storage.write_json(ws.path("cot", "texts", "step.json"), {"config": {"model": model}})
        storage.write_json(ws.path("cot", "vectors", "step.json"), {"config": {"hash": model}})
    old = [cache("cot-cache", "1", "a" * 64, LONG_AGO), cache("vector-cache", "a" * 16, None, LONG_AGO)]
    storage.write_json(days[3].path("scores", "recgen", "step.json"), {"config": {"model": "d" * 64}})
    scores = storage.digest("recgen score", "d" * 64)[:16]
    read = [
        cache("vector-cache", scores, None, LONG_AGO),
        cache("cot-cache", "2", "b" * 64, LONG_AGO),
        cache("vector-cache", "b" * 16, None, LONG_AGO),
    ]
    fresh = cache("cot-cache", "3", "c" * 64, 4_000_000_000)
    left_alone(days[0])
    assert prune(4)["caches"] == [], "as long as a day reads them"
    assert set(prune(1)["caches"]) == set(map(str, old))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*read, fresh))


def test_redis_forgets_the_day(redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REDIS", redis_server.connection)
    source = official_files.write(tmp_path / "source", users=12, items=40, seed=1)
    days = [day(as_of) for as_of in ("2026-01-01", "2026-01-02")]
    with redis_address.client(redis_server.connection) as client:
        client.flushdb()
        client.set(b"foreign", b"stays")
        for ws in days:
            prepare(ws, source=source, seed=7)
            features.build(ws)
            jobs.apply(ws)
            jobs.materialize(ws)
        left_alone(days[0])
        both = len(client.keys())  # pyright: ignore[reportArgumentType]
        prune(1)
        assert client.get(b"foreign") == b"stays"
        left = len(client.keys())  # pyright: ignore[reportArgumentType]
    assert (both - 1) == 2 * (left - 1), "one project of two alike is gone"
    assert left > 1
