"""RecBole reads what we write it, and its death is told with what it said."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pytest

from benchmarks import recbole
from core import schemas
from core.errors import LlmcfError
from retrieval_stage.recipes import resolve

ABOUT = {"targets": 2}


@pytest.fixture
def log() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        yield file


def worker(program: str, log: IO[bytes]) -> "subprocess.Popen[str]":
    start = f"import json, sys; print('{json.dumps(ABOUT)}', flush=True)\n"
    command = [sys.executable, "-c", start + program]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)


def test_the_atomic_file(tmp_path: Path) -> None:
    columns = {"user": [2, 2, 3], "item": [7, 5, 7], "position": [0, 1, 0], "timestamp": [9, 9, 9], "day": [1, 1, 1]}
    interactions = pa.table({**columns, "rating": [None, 5.0, None]}).cast(schemas.INTERACTIONS)
    path = recbole.write_atomic(interactions, tmp_path, "beauty")
    assert path == tmp_path / "beauty" / "beauty.inter"
    assert path.read_text().splitlines() == [
        "user_id:token\titem_id:token\ttimestamp:float",
        "2\t7\t0",
        "2\t5\t1",
        "3\t7\t0",
    ]


def test_settings_are_of_the_same_model() -> None:
    config = resolve(model="sasrec", framework="none", recipe="strict", seed=1)
    own = recbole.settings(config, alike=False)
    assert own["hidden_size"] == config.width
    assert not {"n_heads", "inner_size", "MAX_ITEM_LIST_LENGTH", "train_batch_size"} & set(own), "as RecBole has them"
    alike = recbole.settings(config, alike=True, history=20)
    assert alike == own | {"n_heads": 1, "inner_size": config.width, "MAX_ITEM_LIST_LENGTH": 20}


def test_a_turn_is_asked_for_and_answered(log: IO[bytes]) -> None:
    answering = "for line in sys.stdin: print(json.dumps({'targets': 10 * json.loads(line)['steps']}), flush=True)"
    with worker(answering, log) as process:
        theirs = recbole.Process(process, log)
        assert theirs.about == ABOUT
        assert theirs.turn(3) == {"targets": 30}
        assert process.stdin
        process.stdin.close()


def test_a_death_says_why(log: IO[bytes]) -> None:
    with worker("sys.stdin.readline(); sys.exit('no such field')", log) as process:
        theirs = recbole.Process(process, log)
        with pytest.raises(LlmcfError, match="exit code 1:\nno such field"):
            theirs.turn(1)
