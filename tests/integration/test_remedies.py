"""What an error says to run is run, through a shell, until the verb that was asked for succeeds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import PROJECT

pytestmark = pytest.mark.integration
BIN = Path(sys.executable).parent
PLACE = "--dataset shop --order global-time"
KNOWN = "--dataset movielens-100k --order global-time"


def shell(line: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LLMCF_HOME": str(home), "LLMCF_RUNS": str(home / "runs")}
    env |= {"PATH": f"{home / 'bin'}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(PROJECT)}
    return subprocess.run(["/bin/sh", "-c", line], env=env, capture_output=True, text=True, cwd=home)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an odd name, where `llmcf` is this checkout's."""
    home = tmp_path / "it's Müller's & co"
    (home / "bin").mkdir(parents=True)
    llmcf = home / "bin" / "llmcf"
    llmcf.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmcf "$@"\n')
    llmcf.chmod(0o755)
    return home


def test_following_the_errors_leads_to_success(home: Path) -> None:
    source = f"'{PROJECT / 'examples' / 'shop'}'"
    prepared = shell(f"llmcf data prepare {PLACE} --source {source} --max-rejects 1", home)
    assert prepared.returncode == 0, prepared.stderr
    wanted = [f"llmcf audit leaks {PLACE}", f"llmcf features join {PLACE}", f"llmcf features materialize {PLACE}"]
    followed = []
    while wanted:
        done = shell(wanted[-1], home)
        if done.returncode == 0:
            wanted.pop()
            continue
        assert done.returncode == 1, done.stderr
        assert len(followed) < 10, followed
        (remedy,) = re.findall(r"run `(.*)` first", done.stderr)
        followed.append(remedy)
        wanted.append(remedy)
    assert followed == [f"llmcf features {verb} {PLACE}" for verb in ("build", "apply")]


@pytest.mark.parametrize(
    ("asked", "remedy"),
    [
        ("cot index", f"llmcf features join {KNOWN}"),
        ("retrieve train --framework none", f"llmcf features join {KNOWN}"),
        ("report ranking", f"llmcf backfill ranking {KNOWN}"),
    ],
)
def test_a_verb_out_of_order_exits_with_1_and_a_command(asked: str, remedy: str, home: Path) -> None:
    done = shell(f"llmcf {asked} {KNOWN}", home)
    assert done.returncode == 1
    assert f"run `{remedy}` first" in done.stderr
    assert len(done.stderr.splitlines()) == 1
