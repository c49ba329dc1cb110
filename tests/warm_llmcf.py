"""`llmcf` without its start: a process that has imported what verbs import, and a fork of it for every command.

A page's walk is dozens of commands, and each would import torch anew, or Feast. What a fork runs is the same module,
`python -m llmcf` or that of Feast's jobs, in the caller's folder, with the caller's variables and streams.
`llmcf serve`, which makes processes of its own, starts cold, and so does everything else.

    python -m tests.warm_llmcf SOCKET        the process; it says "ready", and ends with its standard input
"""

import array
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core import memory
from core.settings import PROJECT

_IMPORTED = (
    "faiss", "feast.repo_operations", "ibis.backends.duckdb", "matplotlib.pyplot", "milvus_lite", "onnx", "onnxruntime",
    "onnxscript", "openvino", "pymilvus", "sentence_transformers", "torch.onnx._internal.exporter._core", "torchrec",
    "tritonclient.http", "core.data.audit", "core.data.prepare", "ict.milvus", "llm.cot.generate", "llm.texts.encoder",
    "llmcf.cli", "llmcf.compare.comparison", "llmcf.daily.backfill", "llmcf.feature_store.jobs",
    "llmcf.feature_store.worker", "llmcf.gates.check", "llmcf.reports.ranking", "llmcf.serving.export",
    "llmcf.serving.refresh", "ranking.export", "ranking.trainer", "retrieval_stage.export", "retrieval_stage.trainer",
)  # fmt: skip
_CALL = """#!{python} -S
import array, json, os, socket, sys
words = {before!r} + sys.argv[1:]
if words[:1] != ["-m"] or words[1] not in {modules!r} or words[1:3] == ["llmcf", "serve"]:
    os.execv({python!r}, [{python!r}, *words])
with socket.socket(socket.AF_UNIX) as asked:
    asked.connect({place!r})
    told = json.dumps([words[1:], os.getcwd(), dict(os.environ)]).encode()
    asked.sendmsg([len(told).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
    asked.sendall(told)
    sys.exit((asked.recv(1) or b"\\1")[0])
"""
_WARM = ("llmcf", "llmcf.feature_store.worker")


@contextmanager
def warm_llmcf(folder: Path) -> Iterator[Path]:
    """A folder for PATH with `llmcf` and `python` in it, as long as the block runs."""
    place, commands = folder / "socket", folder / "bin"
    commands.mkdir()
    for name, before in {"llmcf": ["-m", "llmcf"], "python": []}.items():
        text = _CALL.format(python=sys.executable, place=str(place), before=before, modules=_WARM)
        (commands / name).write_text(text, encoding="utf-8")
        (commands / name).chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.warm_llmcf", str(place)],
        cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | memory.WITHOUT_CACHE,
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == "ready\n", "see what it said on stderr"
        yield commands
    finally:
        process.communicate(timeout=30)


def _serve(place: str) -> None:
    gc.disable()
    for name in _IMPORTED:
        __import__(name)
    gc.freeze()  # a look for garbage in a fork would write to, and so copy, all that it shares
    gc.enable()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(place)
        listening.listen()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
        print("ready", flush=True)
        listening.setblocking(False)
        while True:
            ready = select.select([listening, sys.stdin], [], [])[0]
            if sys.stdin in ready:
                return
            asked, _ = listening.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(asked, Path(place).parent / "bin" / "python")
            asked.close()


def _answer(asked: socket.socket, python: Path) -> None:
    """Run one command in a fork of its own and send its exit code."""
    asked.setblocking(True)
    size, held, _, _ = asked.recvmsg(4, socket.CMSG_SPACE(12))
    streams = array.array("i", held[0][2])
    words, folder, variables = json.loads(asked.makefile("rb").read(int.from_bytes(size, "big")))
    worker = os.fork()
    if worker == 0:
        asked.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.environ.clear()
        os.environ.update(variables | memory.WITHOUT_CACHE)  # a verb that trains finds itself started anew
        os.chdir(folder)
        sys.executable = str(python)  # which verbs start Feast's jobs with
        _run(words)
    asked.sendall(bytes([os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) % 256]))
    os._exit(0)


def _run(words: Sequence[str]) -> None:
    """A module as `python -m` runs it; the fork ends with its exit code."""
    code: object = 1
    sys.argv = list(words)
    warnings.simplefilter("ignore")  # what the imports have set is not what a cold start has
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
