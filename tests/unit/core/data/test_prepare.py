import subprocess
import sys

import pytest
from typer.testing import CliRunner

from core import environments
from core.contracts import FIRST_ID
from core.data import relational, tables
from core.data.prepare import prepare
from core.errors import LlmcfError, Missing, Unavailable, UsageError
from core.settings import Workspace
from llmcf.cli import app
from tests.shop import Shop, describe


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    return Workspace("movielens-100k", "published")


def test_a_negative_follows_its_positive_in_the_same_moment(tiny):
    rows, interactions = tables.rows(tiny), tables.interactions(tiny)
    base = rows.slice(0, 2 * interactions.num_rows)
    for name in ("user", "position", "timestamp", "day"):
        positive, negative = (base[name].to_numpy()[start::2] for start in (0, 1))
        assert (positive == negative).all()
        assert (positive == interactions[name].to_numpy()).all()
    assert base["row"].to_pylist() == list(range(base.num_rows))
    assert base["label"].to_pylist() == [1, 0] * interactions.num_rows
    assert (base["item"].to_numpy()[::2] == interactions["item"].to_numpy()).all()
    assert set(rows["split"].to_pylist()[base.num_rows :]) == {"test_on_sale"}


def test_ids_are_table_places(tiny):
    for table, name in ((tables.items(tiny), "item"), (tables.users(tiny), "user")):
        assert table[name].to_pylist() == list(range(FIRST_ID, FIRST_ID + table.num_rows))
        assert table["raw_id"].null_count == 0


def test_interactions_are_what_the_source_says(tiny, source):
    users, items = (tables.users(tiny)["raw_id"].to_pylist(), tables.items(tiny)["raw_id"].to_pylist())
    found = {
        (users[row["user"] - FIRST_ID], items[row["item"] - FIRST_ID], row["timestamp"], row["rating"])
        for row in tables.interactions(tiny).to_pylist()
    }
    lines = [line.split("\t") for line in (source / "u.data").read_text().splitlines()]
    assert found == {(user, item, int(time), float(rating)) for user, item, rating, time in lines}


def test_a_source_without_comments_gives_an_empty_table(tiny):
    assert tables.comments(tiny).num_rows == 0


def test_an_earlier_as_of_keeps_the_ids(fresh, source):
    prepare(fresh, source=source, seed=1)
    early = Workspace(fresh.dataset, fresh.order, "1997-11-20")
    prepare(early, source=source, seed=1)
    times = tables.interactions(early)["timestamp"].to_numpy()
    assert 0 < len(times) < tables.interactions(fresh).num_rows
    assert times.max() < 879_984_000  # 1997-11-20 00:00 UTC
    for load in (tables.items, tables.users):
        kept, all_ids = load(early)["raw_id"].to_pylist(), load(fresh)["raw_id"].to_pylist()
        assert kept == all_ids[: len(kept)]


def test_nothing_before_as_of_is_an_error(fresh, source):
    with pytest.raises(UsageError, match="no interaction before --as-of 1990-01-01"):
        prepare(Workspace(fresh.dataset, fresh.order, "1990-01-01"), source=source, seed=1)
    assert not Workspace(fresh.dataset, fresh.order, "1990-01-01").path("data").exists()


def test_an_unknown_dataset_names_the_choices(fresh):
    with pytest.raises(UsageError, match="'netflix'; choose one of: movielens-100k"):
        prepare(Workspace("netflix", "published"), source=None, seed=1)


def test_a_second_run_is_skipped_and_another_seed_is_not(fresh, source):
    assert not prepare(fresh, source=source, seed=1).skipped
    assert prepare(fresh, source=source, seed=1).skipped
    first = tables.rows(fresh)["item"].to_pylist()
    assert not prepare(fresh, source=source, seed=2).skipped
    assert tables.rows(fresh)["item"].to_pylist() != first


def test_a_repeated_line_counts_once(fresh, source, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for name in ("u.data", "u.item", "u.user"):
        (again / name).write_bytes((source / name).read_bytes())
    lines = (source / "u.data").read_text().splitlines(keepends=True)
    (again / "u.data").write_text("".join([*lines, lines[3]]))
    prepare(fresh, source=again, seed=1)
    assert tables.interactions(fresh).num_rows == len(lines)


@pytest.mark.parametrize("error", [UsageError("u"), LlmcfError("e"), Unavailable("later"), Missing("gone", "llmcf x")])
def test_an_error_on_spark_is_told_as_the_same_error(fresh, source, monkeypatch, capsys, error):
    def fails(job):
        raise error

    def child(*_, **__):
        relational.main()
        return subprocess.CompletedProcess([], 0, capsys.readouterr().out, "")

    monkeypatch.setattr(relational, "run", fails)
    monkeypatch.setattr(relational, "end_with_parent", lambda: None)
    monkeypatch.setattr(relational.Job, "load", lambda path: None)
    monkeypatch.setattr(sys, "argv", ["", "job.json"])
    monkeypatch.setattr(environments, "python", lambda name: sys.executable)
    monkeypatch.setattr(subprocess, "run", child)
    with pytest.raises(LlmcfError) as caught:
        prepare(fresh, source=source, seed=1, engine="spark")
    assert (type(caught.value), str(caught.value)) == (type(error), str(error))


def test_a_last_day_without_data_is_told_and_refused_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    """The shop's data end on 5 March."""
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    source = Shop().write(tmp_path / "export")
    whole, late = (Workspace("shop", "published", day) for day in ("2025-03-06", "2025-03-08"))
    assert prepare(whole, source=source, seed=1, quiet_days=0).details["quiet_days"] == 0
    said = "nothing was taken on 2025-03-07, the last day before 2025-03-08; the newest interaction is of 2025-03-05"
    with pytest.raises(Unavailable, match=f"{said}, and --quiet-days allows 1: .* allow it by --quiet-days 2"):
        prepare(late, source=source, seed=1, quiet_days=1)
    assert not late.path("data").exists()
    assert said not in capsys.readouterr().err
    done = prepare(late, source=source, seed=1)
    assert (done.details["quiet_days"], said in capsys.readouterr().err) == (2, True)
    assert prepare(late, source=source, seed=1, quiet_days=2).skipped
    with pytest.raises(Unavailable, match=said):
        prepare(late, source=source, seed=1, quiet_days=0)
    assert prepare(Workspace("shop", "published"), source=source, seed=1, quiet_days=0).details["quiet_days"] == 0


def test_a_renamed_folder_of_a_partition_is_other_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    made = Shop()
    source = made.write(tmp_path / "export")
    lines = (source / "clicks.csv").read_text().splitlines()
    (source / "clicks.csv").unlink()
    made.toml["interactions"] |= {"file": "clicks", "timestamp": "day"}
    describe(source, made.toml)
    rows = [line.split(",") for line in lines]
    at, who, sku = (rows[0].index(name) for name in ("at", "who", "sku"))
    for number in range(1, 4):
        part = source / "clicks" / f"day=2025-03-0{number}" / "part.csv"
        part.parent.mkdir(parents=True)
        some = [row for row in rows[1:] if row[at].startswith(f"2025-03-0{number}")]
        part.write_text("\n".join(["who,sku", *(f"{row[who]},{row[sku]}" for row in some)]) + "\n")
    ws = Workspace("shop", "published")
    assert not prepare(ws, source=source, seed=1).skipped
    assert prepare(ws, source=source, seed=1).skipped
    (source / "clicks" / "day=2025-03-03").rename(source / "clicks" / "day=2025-03-09")
    assert not prepare(ws, source=source, seed=1).skipped


def test_a_dry_run_changes_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    prepare(Workspace("shop", "published"), source=Shop().write(tmp_path / "export"), seed=1)
    before = (tmp_path / "home" / "shop" / "dataset.json").read_text()
    other = str(Shop().write(tmp_path / "other"))
    asked = ["data", "prepare", "--dataset", "shop", "--source", other, "--dry-run"]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert (tmp_path / "home" / "shop" / "dataset.json").read_text() == before


def test_a_bad_line_of_a_file_that_serves_two_tables_counts_once(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    made = Shop()
    source = made.write(tmp_path / "export")
    made.toml["users"] = {"file": "clicks.csv", "user": "who"}
    describe(source, made.toml)
    names = (source / "clicks.csv").read_text().splitlines()[0].split(",")
    nobody = {"at": "2025-03-05T00:00:00Z", "who": "x" * 257, "sku": "g1"}
    with (source / "clicks.csv").open("a") as stream:
        stream.write(",".join(nobody[name] for name in names) + "\n")
    found = prepare(Workspace("shop", "published"), source=source, seed=1, max_rejects=0.05).details
    assert found["rejects"] == {"bad_id": 1}


def test_what_was_taken_under_another_limit_is_judged_again(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    made = Shop()
    for turn in range(6):
        made.click("x" * 257, "g1", 1 + turn / 10)
    source, ws = made.write(tmp_path / "export"), Workspace("shop", "published")
    assert prepare(ws, source=source, seed=1, max_rejects=1).details["rejects"] == {"bad_id": 6}
    with pytest.raises(UsageError, match=r"9.1% of the lines .* --max-rejects allows 1.0%"):
        prepare(ws, source=source, seed=1)
    assert prepare(ws, source=source, seed=1, max_rejects=0.1).skipped
