"""Our side of an engine that runs in another environment: start its worker, talk JSON lines, explain its death."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from core.errors import LlmcfError
from llm.engines.base import Generation, prompt_seed

_WORKER = Path(__file__).with_name("worker.py")
_TAIL_BYTES = 2000
_GRACE_S = 10


def command(python: Path, engine: str, model: Path, options: dict[str, Any]) -> list[str | Path]:
    """The command line of `engine`'s worker over the folder `model`; `options` are the worker's `Options`."""
    return [python, "-P", _WORKER, engine, model, json.dumps(options)]


class WorkerProcess:
    """The `Engine` over a worker. `prepare` is called on entry, does what must precede it and returns its command.

    Args:
        variables: added to the worker's environment.
    """

    def __init__(
        self, name: str, prepare: Callable[[], Sequence[str | Path]], variables: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._prepare = prepare
        self._variables = variables or {}
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        command = [str(part) for part in self._prepare()]
        self._log = tempfile.TemporaryFile()  # closed by __exit__
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            encoding="utf-8",
            env={**os.environ, **self._variables},
        )
        try:
            if not self._read().get("ready"):
                raise LlmcfError(f"the {self.name} worker did not report that it is ready")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            if kind is not None:
                self._process.terminate()
            _close(self._process.stdin)
            try:
                self._process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            _close(self._process.stdout)
            self._process = None
        if self._log:
            self._log.close()
            self._log = None

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int, seed: int) -> Iterator[Generation]:
        """See `Engine.generate`."""
        seeds = [prompt_seed(prompt, seed) for prompt in prompts]
        self._send({"prompts": list(prompts), "seeds": seeds, "seed": seed, "max_new_tokens": max_new_tokens})
        for _ in prompts:
            yield self._generation(len(prompts))
        if not self._read().get("done"):
            raise LlmcfError(f"the {self.name} worker wrote more texts than it was asked for")

    def _generation(self, prompts: int) -> Generation:
        answer = self._read()
        try:
            made = Generation(**answer)
        except TypeError:
            raise LlmcfError(f"the {self.name} worker answered {_short(json.dumps(answer))}, not a text") from None
        if not 0 <= made.index < prompts:
            raise LlmcfError(f"the {self.name} worker answered prompt {made.index} of {prompts}")
        return made

    def _send(self, job: dict[str, Any]) -> None:
        assert self._process and self._process.stdin, "use the engine in a with statement"
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _read(self) -> dict[str, Any]:
        assert self._process and self._process.stdout, "use the engine in a with statement"
        line = self._process.stdout.readline()
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


def _close(stream: IO[str] | None) -> None:
    if stream:
        with contextlib.suppress(BrokenPipeError):  # unsent input of a worker that is gone
            stream.close()


def _short(text: str) -> str:
    return repr(text.strip()[:120])
