"""A writer without a cache, told what to write line by line: `python -m llm.texts.remote`, as actors of Ray start it.

in:  {"manner", "model"}, then batches {"tasks": [[name, prompt, [opening, ...]], ...]} until stdin ends
out: {"ready": true}; of each batch {"text": [name, [part, ...], tokens, [finish, ...]]} as they finish, then
     {"batch": {"again"}}; {"error"} before it ends with one
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core.errors import LlmcfError, as_json
from llm import engines
from llm.engines import Engine, Sampling
from llm.texts.cache import Entry
from llm.texts.queue import OwnPart, Part
from llm.texts.recipes import Budget, Manner
from llm.texts.writing import Task, Writer

Send = Callable[[dict[str, Any]], None]


class _Sheet:
    """Takes the place of the cache: what is finished goes to whoever has asked."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def add(self, entry: Entry) -> None:
        self._send({"text": [entry.prompt_hash, list(entry.parts), entry.tokens, list(entry.finish)]})


def batch(engine: Engine, manner: Manner, tasks: list[Any], send: Send) -> None:
    """Write one batch."""
    wanted = {
        name: Task(name=name, prompt=prompt, openings=tuple(openings), manner=manner)
        for name, prompt, openings in tasks
    }
    account = Writer(engine, _Sheet(send), OwnPart(wanted, Part(0, 1)), wanted, Budget()).run()
    send({"batch": {"again": account.again}})


def manner_of(stored: Mapping[str, Any]) -> Manner:
    """What JSON keeps of a manner."""
    return Manner(**{**stored, "sampling": Sampling(**stored["sampling"])})


def main() -> None:
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")  # what libraries print goes to stderr
    os.dup2(2, 1)

    def send(value: dict[str, Any]) -> None:
        sink.write(json.dumps(value) + "\n")
        sink.flush()

    try:
        told = json.loads(sys.stdin.readline())
        manner = manner_of(told["manner"])
        with engines.open_engine(manner.engine, Path(told["model"]), manner.sampling) as engine:
            send({"ready": True})
            for line in sys.stdin:
                batch(engine, manner, json.loads(line)["tasks"], send)
    except LlmcfError as error:
        send({"error": as_json(error)})
        sys.exit(error.exit_code)
    except BrokenPipeError:  # nobody listens any more
        sys.exit(1)


if __name__ == "__main__":
    main()
