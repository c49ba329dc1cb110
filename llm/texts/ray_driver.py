"""Missing prompts through Ray Data: a program of the `ray` environment, which imports Ray alone.

Each actor starts our own writer (`llm.texts.remote`) as a child and hands it batch after batch; Ray places the actors,
starts them again where a machine is lost, and gives a batch that was lost with one to another.

in:  {"address", "actors", "gpus", "batch", "command", "folder", "variables", "start"}, then a task a line, to the end
out: {"ready": true} or {"doubt": "..."}, {"texts": [...], "again": n} of each batch, {"alive": true} meanwhile;
     {"done": true} or {"error"}
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

_ALIVE_S = 5.0
_SAID = "llmcf-error:"  # before what a writer said, in the words of an exception
_TRIES = 2  # of a batch on one actor, with a new child


class ChildDied(Exception):  # noqa: N818
    """The writer ended without an answer."""


class Writing:
    """The actor: batches of tasks in, batches of finished texts out, both as JSON in a column."""

    def __init__(self, command: list[str], folder: str, variables: dict[str, str], start: dict[str, Any]) -> None:
        self._command, self._folder, self._variables, self._start = command, folder, variables, start
        self._child: Any = None
        self._open()

    def end(self) -> None:
        """End the child, if there is one."""
        if self._child:
            self._child.kill()
            with contextlib.suppress(BrokenPipeError):
                self._child.communicate()

    def _open(self) -> None:
        self.end()
        self._child = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env={**os.environ, **self._variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._send(self._start)
        self._read()

    def _send(self, value: Any) -> None:
        with contextlib.suppress(BrokenPipeError):  # `_read` says why
            self._child.stdin.write(json.dumps(value) + "\n")
            self._child.stdin.flush()

    def _read(self) -> dict[str, Any]:
        line = self._child.stdout.readline()
        if not line:
            raise ChildDied(f"the writer on {os.uname().nodename} died with code {self._child.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(_SAID + json.dumps(answer["error"]))
        return answer

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        left = {task[0]: task for task in map(json.loads, batch["task"])}
        texts: list[Any] = []
        answer: dict[str, Any] = {"texts": texts, "again": 0}
        for tried in range(1, _TRIES + 1):
            try:
                if tried > 1:
                    self._open()
                answer["again"] = self._write(left, texts)
                break
            except ChildDied as error:
                if tried == _TRIES:
                    answer["error"] = reason(error)
            except RuntimeError as error:  # beside the texts: what is raised, Ray tells before what was finished
                answer["error"] = reason(error)
                break
        return {"answer": [json.dumps(answer)]}

    def _write(self, left: dict[str, Any], texts: list[Any]) -> int:
        """Move what is finished from `left` to `texts`; how many texts were asked for again."""
        self._send({"tasks": list(left.values())})
        while "batch" not in (answer := self._read()):
            texts.append(answer["text"])
            left.pop(answer["text"][0])
        return answer["batch"]["again"]


def run(options: dict[str, Any], tasks: list[str], ready: Any, send: Any) -> None:
    """Write all tasks on a cluster; `ready` is told once there is one."""
    import ray  # pyright: ignore[reportMissingImports] -- of another environment

    local = options["address"] is None
    try:
        ray.init(
            address=options["address"] or "local",  # not the one of RAY_ADDRESS, or one that others have started here
            num_cpus=max(os.cpu_count() or 1, options["actors"]) if local else None,
            include_dashboard=False if local else None,
            logging_level=logging.ERROR,
        )
    except ConnectionError:
        where = "a Ray cluster, and this machine runs none" if options["address"] == "auto" else "one that answers"
        words = f"LLMCF_RAY_ADDRESS {options['address']!r} wants {where}; `ray start` of the same environment makes one"
        raise told("Unavailable", words) from None
    except (RuntimeError, ValueError) as error:  # another version, another token
        raise told(
            "LlmcfError", f"Ray at {options['address'] or 'this machine'}: {' '.join(str(error).split())}"
        ) from None
    lacking = wanting(options, ray.cluster_resources())
    if lacking and local:
        raise told("UsageError", f"this machine {lacking}")
    ready({"doubt": f"the cluster {lacking}; waiting for more of it"} if lacking else {"ready": True})
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    written = ray.data.from_items(
        [{"task": task} for task in tasks], override_num_blocks=-(-len(tasks) // options["batch"])
    ).map_batches(
        Writing,
        fn_constructor_args=(options["command"], options["folder"], options["variables"], options["start"]),
        batch_size=options["batch"],
        compute=ray.data.ActorPoolStrategy(size=options["actors"]),
        num_cpus=1,
        num_gpus=options["gpus"],
    )
    for row in written.iter_rows():
        answer = json.loads(row["answer"])
        failed = answer.pop("error", None)
        send(answer)
        if failed:
            raise RuntimeError(_SAID + json.dumps(failed))


def wanting(options: dict[str, Any], there: dict[str, float]) -> str:
    """What a cluster lacks of what its workers are to have; empty if nothing. Ray would wait for it without a word."""
    for kind, each in (("CPU", 1), ("GPU", options["gpus"])):
        if (found := there.get(kind, 0)) < options["actors"] * each:
            workers = f"{options['actors']} workers of {each:g} each (LLMCF_RAY_ACTORS, LLMCF_RAY_GPUS)"
            return f"has {found:g} {kind}s for {workers}"
    return ""


def told(kind: str, words: str) -> RuntimeError:
    """What ends the run, in words of ours."""
    return RuntimeError(_SAID + json.dumps({"kind": kind, "arguments": [words]}))


def reason(error: BaseException) -> dict[str, Any]:
    """What a writer said of its failure, which Ray wraps in words of its own; else the last of these words."""
    words = str(error)
    if (place := words.rfind(_SAID)) >= 0:
        with contextlib.suppress(ValueError):
            return json.JSONDecoder().raw_decode(words, place + len(_SAID))[0]
    lines = [line.strip() for line in words.splitlines() if line.strip()] or [type(error).__name__]
    line = next((line for line in lines if "ChildDied" in line), lines[-1])
    return {"kind": "LlmcfError", "arguments": [f"Ray: {line}"]}


def main() -> None:
    sink = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock, ended = threading.Lock(), threading.Event()

    def send(value: dict[str, Any]) -> None:
        with lock:
            sink.write(json.dumps(value) + "\n")
            sink.flush()

    def stay_alive() -> None:
        while not ended.wait(_ALIVE_S):
            try:
                send({"alive": True})
            except OSError:  # who has started us was killed: nobody takes what is written any more
                os.kill(os.getpid(), signal.SIGTERM)
                return

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the cluster of this machine ends too
    options = json.loads(sys.stdin.readline())
    tasks = [line.strip() for line in sys.stdin]

    def ready(value: dict[str, Any]) -> None:
        send(value)
        threading.Thread(target=stay_alive, daemon=True).start()

    try:
        run(options, tasks, ready, send)
        send({"done": True})
    except Exception as error:
        send({"error": reason(error)})
        sys.exit(1)
    finally:
        ended.set()
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()


if __name__ == "__main__":
    main()
