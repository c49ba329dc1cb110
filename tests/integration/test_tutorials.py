"""The tutorials, block by block as a reader would type them, in one shell a page; one home for all, in their order."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import pytest

from core.settings import PROJECT
from tests.warm_llmcf import warm_llmcf

pytestmark = pytest.mark.integration

PAGES = ("data-engineer", "online-service", "analyst")  # the others go on with what the first has made
FENCE = re.compile(r"^```(sh|python|text)\n(.*?)^```\n", flags=re.MULTILINE | re.DOTALL)
END = "__the_end_of_a_block__"
LONGEST_S = 600  # of a block, on a machine that does much else
SHELL = "set -o pipefail; trap 'failed=$?' ERR; failed=0\n"


@dataclass(frozen=True, slots=True)
class Block:
    """What is typed, and what the page shows of it; "" is nothing."""

    kind: str
    typed: str
    shown: str = ""


def blocks(text: str) -> list[Block]:
    """The blocks of a page that are typed, each with the block of text that follows it before the next."""
    found: list[Block] = []
    for kind, content in FENCE.findall(text):
        if kind == "text":
            assert found and not found[-1].shown, f"nothing was typed that says this:\n{content}"
            found[-1] = Block(found[-1].kind, found[-1].typed, content)
        else:
            found.append(Block(kind, content))
    return found


def says(shown: str, came: str) -> bool:
    """Whether that came which a page shows; its `...` are any characters of a line or, alone, any lines."""
    parts = []
    for line in shown.splitlines():
        anything = ".*".join(re.escape(part) for part in line.split("..."))
        parts.append(r"(?:.*\n)*?" if line == "..." else rf"{anything} *\n")
    return re.fullmatch("".join(parts), came) is not None


class Shell:
    """A bash that is told block after block; stdout and stderr come as one."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            ["bash", "-s"], cwd=folder, env=variables, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._tell(SHELL)

    def _tell(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def type(self, block: Block) -> str:
        """Run a block; raises AssertionError if a command of it fails. Returns what came."""
        typed = block.typed
        if block.kind == "python":
            (self._folder / "block.py").write_text(typed, encoding="utf-8")
            typed = "python block.py\n"
        self._tell(f"failed=0\n{typed}echo; echo {END} $failed\n")
        came = ""
        assert self._process.stdout
        late = Timer(LONGEST_S, os.killpg, (self._process.pid, signal.SIGKILL))
        late.start()
        try:
            for line in self._process.stdout:
                if line.startswith(END):
                    assert line.split()[1] == "0", f"{block.typed}\n{came[-6000:]}"
                    return came.rstrip("\n") + "\n"
                came += line
        finally:
            late.cancel()
        raise AssertionError(f"the shell ended, or took {LONGEST_S} s:\n{block.typed}\n{came[-6000:]}")

    def end(self) -> None:
        """With all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def folder(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like the project's, with a home in it that has fetched models and nothing else."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("examples", "dags"):
        (folder / name).symlink_to(PROJECT / name)
    real = language_model.parents[2]
    for name in ("wheels", "models"):
        (folder / "var").mkdir(exist_ok=True)
        (folder / "var" / name).symlink_to(real / name)
    return folder


@pytest.fixture(scope="module")
def variables(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A reader's environment, but that `llmcf` starts in no time."""
    home = folder / "var"
    own = {"HOME": home, "RUNS": folder / "runs", "RESULTS": folder / "results", "TRITON_MODELS": folder / "models"}
    with warm_llmcf(tmp_path_factory.mktemp("warm")) as commands:
        yield {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LLMCF_", "AIRFLOW_"))},
            **{f"LLMCF_{name}": str(path) for name, path in own.items()},
            "PATH": os.pathsep.join([str(commands), str(PROJECT / ".venv" / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": str(PROJECT),
            "NO_COLOR": "1",
        }


@pytest.fixture(scope="module")
def port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def walk(page: str, folder: Path, variables: dict[str, str], port: str) -> None:
    text = (PROJECT / "docs" / "tutorials" / f"{page}.md").read_text(encoding="utf-8").replace("8080", port)
    shell = Shell(folder, variables)
    try:
        for block in blocks(text):
            came = shell.type(block)
            assert not block.shown or says(block.shown, came), f"after\n{block.typed}\ncame\n{came}"
    finally:
        shell.end()


@pytest.fixture(scope="module")
def engineered(folder: Path, variables: dict[str, str], port: str) -> None:
    walk(PAGES[0], folder, variables, port)


@pytest.mark.usefixtures("engineered")
def test_what_a_data_engineer_types() -> None:
    """The fixture is the test: the other pages go on where it ends."""


@pytest.mark.usefixtures("engineered")
@pytest.mark.parametrize("page", PAGES[1:])
def test_what_others_type(page: str, folder: Path, variables: dict[str, str], port: str) -> None:
    walk(page, folder, variables, port)


def test_every_tutorial_is_walked() -> None:
    assert {path.stem for path in (PROJECT / "docs" / "tutorials").glob("*.md")} == set(PAGES)


@pytest.mark.parametrize(
    ("shown", "came", "fits"),
    [
        ("a\nb\n", "a\nb\n", True),
        ("a\n", "a\nb\n", False),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n...\nc\n", "a\nc\n", True),
        ("AUC ..., x\n", "AUC 0.5 [1], x\n", True),
        ("AUC ..., x\n", "AUC 0.5\n, x\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_dots_are_what_changes(shown: str, came: str, fits: bool) -> None:
    assert says(shown, came) is fits


def test_text_belongs_to_what_was_typed_before() -> None:
    page = "```sh\ntrue\n```\nand\n```python\n1\n```\nor\n```text\nsaid\n```\n```\nno\n```\n"
    assert blocks(page) == [Block("sh", "true\n"), Block("python", "1\n", "said\n")]
    with pytest.raises(AssertionError, match="nothing was typed"):
        blocks("```text\nsaid\n```\n")


def test_a_block_that_fails_or_does_not_end_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = Shell(tmp_path, {"PATH": os.environ["PATH"]})
    try:
        assert shell.type(Block("sh", "A=1\necho x\n")) == "x\n"
        assert shell.type(Block("sh", 'false || echo "$A"\n')) == "1\n"
        with pytest.raises(AssertionError, match="false"):
            shell.type(Block("sh", "false\ntrue\n"))
        monkeypatch.setitem(globals(), "LONGEST_S", 0.5)
        with pytest.raises(AssertionError, match="or took"):
            shell.type(Block("sh", "while true; do sleep 0.1; done\n"))
    finally:
        shell.end()
