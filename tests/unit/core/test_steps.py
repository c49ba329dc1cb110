"""Steps: skipped when nothing changed, whole or absent, stale when an input or the configuration changes."""

import errno
import sqlite3
from pathlib import Path

import pytest
from safetensors import SafetensorError

from core import steps, storage
from core.errors import LlmcfError, Missing, UsageError
from core.settings import Workspace
from core.steps import Step


def make(folder: Path, text: str = "a", config: object = 1, inputs: tuple[Path, ...] = ()) -> steps.Outcome:
    def work(inside: Path) -> dict:
        (inside / "out.txt").write_text(text)
        return {"text": text}

    return steps.run(Step(folder=folder, config=config, inputs=inputs), work)


def test_the_second_run_is_skipped_and_keeps_its_summary(tmp_path: Path) -> None:
    assert not make(tmp_path / "a").skipped
    again = make(tmp_path / "a", text="b")
    assert again.skipped
    assert again.summary == {"text": "a"}


def test_another_configuration_or_input_makes_it_stale(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("1")
    make(tmp_path / "a", inputs=(source,))
    assert not make(tmp_path / "a", config=2, inputs=(source,)).skipped
    source.write_text("2")
    assert not make(tmp_path / "a", config=2, inputs=(source,)).skipped


def test_equal_content_upstream_leaves_downstream_current(tmp_path: Path) -> None:
    make(tmp_path / "up")
    make(tmp_path / "down", inputs=(tmp_path / "up",))
    make(tmp_path / "up", config="other, but the same bytes")
    assert make(tmp_path / "down", inputs=(tmp_path / "up",)).skipped


def test_what_was_made_of_another_input_is_not_current_and_an_input_that_is_gone_proves_nothing(tmp_path: Path) -> None:
    make(tmp_path / "up")
    make(tmp_path / "down", inputs=(tmp_path / "up",))
    assert steps.require_current(tmp_path / "down", "llmcf make down")["summary"] == {"text": "a"}
    make(tmp_path / "up", text="b", config=2)
    with pytest.raises(Missing, match=r"down was made before .*up changed; run `llmcf make down`"):
        steps.require_current(tmp_path / "down", "llmcf make down")
    storage.remove(tmp_path / "up")
    steps.require_current(tmp_path / "down", "llmcf make down")


def test_a_failed_run_leaves_the_old_result(tmp_path: Path) -> None:
    make(tmp_path / "a")

    def fails(inside: Path) -> dict:
        (inside / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        steps.run(Step(folder=tmp_path / "a", config=2), fails)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"out.txt", "step.json"}
    assert not any(path.is_dir() and path.name.startswith(".") for path in tmp_path.iterdir())


def test_left_overs_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    left_over = tmp_path / ".a.12345.tmp"
    left_over.mkdir()
    make(tmp_path / "a")
    assert not left_over.exists()


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    make(tmp_path / "a")
    (tmp_path / "a" / "out.txt").unlink()
    assert not make(tmp_path / "a").skipped


def test_a_missing_step_names_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="run `llmcf data prepare` first") as caught:
        steps.require(tmp_path / "data", "llmcf data prepare")
    assert caught.value.remedy == "llmcf data prepare"


def test_a_missing_input_names_the_verb_that_makes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    ws = Workspace("custom", "global-time", "2026-01-31")
    step = steps.Step(folder=tmp_path / "a", config=None, inputs=[ws.path("training")])
    with pytest.raises(Missing) as caught:
        steps.run(step, lambda _: {})
    assert caught.value.remedy == "llmcf features join --dataset custom --order global-time --as-of 2026-01-31"


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        sqlite3.OperationalError("database or disk is full"),
        _caused(ValueError("the table cannot be written"), OSError(errno.ENOSPC, "No space left on device")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_is_named_and_the_old_stays_whichever_library_says_it(tmp_path: Path, error: Exception) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    for made, path in ((storage.atomic_path, file), (storage.atomic_folder, folder)):
        with pytest.raises(LlmcfError, match=f"no space left on the disk while writing {path}"), made(path):
            raise error
    assert file.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [file, folder]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ValueError("error 28 of 30"),
        UsageError("an error in line 3: {'title': 'When the disk is full'}"),
    ],
)
def test_another_failure_of_writing_is_no_full_disk(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error), match="rror"), storage.atomic_path(tmp_path / "file"):
        raise error


@pytest.mark.parametrize(
    ("log", "full"),
    [
        ("Traceback:\n  File ...\nsqlite3.OperationalError: database or disk is full\n\n", True),
        ("OSError: [Errno 28] No space left on device: 'x'\n", True),
        ("a title says the disk is full\nValueError: row 3\n", False),
        ("", False),
    ],
)
def test_of_what_a_process_printed_its_last_line_says_that_the_disk_is_full(log: str, full: bool) -> None:
    assert storage.last_says_full(log) is full


def test_a_stamp_names_its_inputs_and_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "home"))
    raw, up = tmp_path / "raw.txt", tmp_path / "home" / "up"
    raw.write_text("1")
    make(up)
    stamp = storage.read_json(make(tmp_path / "home" / "down", inputs=(raw, up)).folder / steps.STAMP)
    assert stamp["inputs"] == {str(raw): storage.sha256(raw), "up": storage.read_json(up / steps.STAMP)["content"]}
    assert [steps.located(name) for name in stamp["inputs"]] == [raw, up]
    assert stamp["made"].endswith("Z")


def test_a_stamp_of_before_is_completed_where_its_key_proves_it(tmp_path: Path) -> None:
    source, path = tmp_path / "in.txt", tmp_path / "a" / steps.STAMP
    source.write_text("1")
    make(tmp_path / "a", inputs=(source,))
    whole = storage.read_json(path)
    storage.write_json(path, {name: whole[name] for name in whole if name not in ("inputs", "source", "made")})
    assert make(tmp_path / "a", inputs=(source,)).skipped
    assert storage.read_json(path) | {"made": ""} == whole | {"made": ""}


def test_changed_sources_are_seen(tmp_path: Path) -> None:
    step = Step(folder=tmp_path / "a", config=1, code=("core/steps.py",))
    steps.run(step, lambda _: {})
    stamp = storage.read_json(tmp_path / "a" / steps.STAMP)
    assert not steps.source_changed(stamp)
    assert steps.source_changed(stamp | {"source": {"files": ["core/steps.py"], "digest": "0"}})
    assert steps.source_changed(stamp | {"source": {"files": ["core/gone.py"], "digest": "0"}})
    assert not steps.source_changed({"key": "of before"})
