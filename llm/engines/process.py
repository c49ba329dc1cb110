"""Our side of an engine that runs in another environment: start its worker, talk JSON lines, explain its death."""

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from core.errors import LlmcfError
from llm.engines.base import Generation, Request

_WORKER = Path(__file__).with_name("worker.py")
_TAIL_BYTES = 2000
_GRACE_S = 10
START_S = 900.0  # a large model loads slowly
STALL_S = 900.0  # without any text finished, while some are under way


def command(python: Path, engine: str, model: Path, options: dict[str, Any]) -> list[str | Path]:
    """The command line of `engine`'s worker over the folder `model`; `options` are the worker's `Options`."""
    return [python, "-P", _WORKER, engine, model, json.dumps(options)]


class LinesProcess:
    """A process that reads and writes a JSON object a line; use it in a with statement.

    Args:
        name: what errors call it.
        variables: added to its environment.
    """

    def __init__(self, name: str, variables: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._variables = variables or {}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def start(self, command: Sequence[str | Path], *, folder: Path | None = None) -> None:
        """Start it; what it says on stderr is kept for the case that it dies."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**os.environ, **self._variables},
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(self._process.stdout, self._lines), daemon=True).start()

    def send(self, value: Any) -> None:
        """Write one line.

        Raises:
            LlmcfError: if it is dead, with what it said.
        """
        assert self._process and self._process.stdin, "use it in a with statement"
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def read(self, seconds: float) -> dict[str, Any]:
        """The next line.

        Raises:
            LlmcfError: if none comes in so many seconds, it is dead, or what it writes is no JSON object.
        """
        assert self._process, "use it in a with statement"
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise LlmcfError(
                f"the {self.name} worker has said nothing for {seconds:.0f} s; finished texts are kept, run again"
            ) from None
        if not line:
            raise self._died()
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:
            answer = None
        if not isinstance(answer, dict):
            raise LlmcfError(f"the {self.name} worker wrote {_short(line)}, not a JSON object")
        return answer

    def _died(self) -> LlmcfError:
        assert self._process and self._log
        code = self._process.wait()
        self._log.seek(max(0, self._log.seek(0, os.SEEK_END) - _TAIL_BYTES))
        tail = self._log.read().decode("utf-8", "replace").strip().splitlines()[-6:]
        reason = "it was killed, perhaps for want of memory" if code in (-9, 137) else f"exit code {code}"
        return LlmcfError(
            f"the {self.name} worker died ({reason}); finished texts are kept, run again to go on. It said:\n"
            + "\n".join(tail or ["nothing"])
        )

    def end_input(self) -> None:
        """Tell it that no more lines come."""
        assert self._process and self._process.stdin, "use it in a with statement"
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, *, kill: bool) -> None:
        """End it: by the end of its input, or at once where `kill`."""
        if self._process:
            if kill:
                self._process.terminate()
            with contextlib.suppress(BrokenPipeError):  # unsent input of a worker that is gone
                if self._process.stdin:
                    self._process.stdin.close()
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._log:
            self._log.close()
            self._log = None


class WorkerProcess:
    """The `Engine` over a worker. `prepare` is called on entry, does what must precede it and returns its command.

    Args:
        variables: added to the worker's environment.
        stall: seconds without an answer after which the worker is given up.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[], Sequence[str | Path]],
        variables: dict[str, str] | None = None,
        *,
        window: int = 64,
        stall: float = STALL_S,
    ) -> None:
        self.name, self.window = name, window
        self._prepare, self._stall = prepare, stall
        self._live: set[int] = set()
        self._child = LinesProcess(name, variables)

    def __enter__(self) -> Self:
        self._child.start(self._prepare())
        try:
            if not self._child.read(START_S).get("ready"):
                raise LlmcfError(f"the {self.name} worker did not report that it is ready")
        except BaseException:
            self._close(kill=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(kill=kind is not None or bool(self._live))

    def submit(self, request: Request) -> None:
        """See `Engine.submit`."""
        assert request.number not in self._live, "a number names one request at a time"
        self._child.send(asdict(request))
        self._live.add(request.number)

    def poll(self) -> Generation:
        """See `Engine.poll`."""
        answer = self._child.read(self._stall)
        try:
            made = Generation(**{**answer, "choices": tuple(answer.get("choices", ()))})
        except TypeError:
            raise LlmcfError(f"the {self.name} worker answered {_short(json.dumps(answer))}, not a text") from None
        if made.number not in self._live:
            raise LlmcfError(f"the {self.name} worker answered request {made.number}, which nobody made")
        self._live.remove(made.number)
        return made

    def _close(self, *, kill: bool) -> None:
        self._child.close(kill=kill)
        self._live.clear()


def _listen(stream: IO[str], lines: "queue.SimpleQueue[str]") -> None:
    """Pass every line on, and an empty one when the worker is gone."""
    with contextlib.suppress(ValueError), stream:  # closed under our hands
        for line in stream:
            lines.put(line)
    lines.put("")


def _short(text: str) -> str:
    return repr(text.strip()[:120])
