"""The driver's actor, which needs no Ray: children that die are started again, what they said of a failure is found."""

import json
import sys

import pytest

from core.errors import LlmcfError, UsageError, from_json
from llm import engines
from llm.texts.ray_driver import Writing, reason, told, wanting

CHILD = """
import json, os, sys
start = json.loads(sys.stdin.readline())
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    for name, prompt, _ in json.loads(line)["tasks"]:
        died = start["note"] + prompt
        if prompt.startswith("die") and not (prompt == "die once" and os.path.exists(died)):
            open(died, "w").close()
            os._exit(9)
        if prompt == "fail":
            print(json.dumps({"error": {"kind": "UsageError", "arguments": ["no such thing"]}}), flush=True)
        print(json.dumps({"text": [name, [prompt], 3, ["stop"]]}), flush=True)
    print(json.dumps({"batch": {"again": 1}}), flush=True)
"""


def actor(folder: object) -> Writing:
    return Writing([sys.executable, "-c", CHILD], ".", {}, {"note": f"{folder}/"})


def asked(writing: Writing, *prompts: str) -> dict:
    tasks = [json.dumps([str(number), prompt, []]) for number, prompt in enumerate(prompts)]
    (answer,) = writing({"task": tasks})["answer"]
    return json.loads(answer)


def test_an_actor_writes_batch_after_batch(tmp_path: object) -> None:
    writing = actor(tmp_path)
    assert asked(writing, "a", "b") == {"texts": [["0", ["a"], 3, ["stop"]], ["1", ["b"], 3, ["stop"]]], "again": 1}
    assert [text[1] for text in asked(writing, "c")["texts"]] == [["c"]]
    writing.end()


def test_a_writer_that_dies_once_is_started_again_and_asked_for_the_rest(tmp_path: object) -> None:
    writing = actor(tmp_path)
    first = writing._child.pid
    assert [text[:2] for text in asked(writing, "a", "die once", "b")["texts"]] == [
        ["0", ["a"]],
        ["1", ["die once"]],
        ["2", ["b"]],
    ]
    assert writing._child.pid != first
    writing.end()


def test_a_writer_that_dies_of_a_batch_again_and_again_is_an_error(tmp_path: object) -> None:
    writing = actor(tmp_path)
    answer = asked(writing, "a", "die")
    writing.end()
    assert [text[0] for text in answer["texts"]] == ["0"], "what was finished is kept"
    assert "died with code 9" in str(from_json(answer["error"]))


def test_what_a_writer_said_of_its_failure_is_told_whatever_is_put_around_it(tmp_path: object) -> None:
    writing = actor(tmp_path)
    answer = asked(writing, "a", "fail")
    writing.end()
    assert [text[0] for text in answer["texts"]] == ["0"], "what was finished is kept"
    words = str(told(answer["error"]["kind"], *answer["error"]["arguments"]))
    found = from_json(reason(RuntimeError(f"Traceback ...\n  {words}\nTo change retries, see elsewhere")))
    assert isinstance(found, UsageError)
    assert str(found) == "no such thing"
    plain = from_json(reason(ValueError("one\n\n the last \n")))
    assert type(plain) is LlmcfError
    assert str(plain) == "Ray: the last"


@pytest.mark.parametrize(
    ("actors", "gpus", "there", "said"),
    [
        (2, 0.0, {"CPU": 2.0}, ""),
        (4, 0.5, {"CPU": 4.0, "GPU": 2.0}, ""),
        (3, 0.0, {"CPU": 2.0}, "has 2 CPUs for 3 workers of 1 each"),
        (2, 1.0, {"CPU": 8.0}, "has 0 GPUs for 2 workers of 1 each"),
        (4, 0.5, {"CPU": 8.0, "GPU": 1.0}, "has 1 GPUs for 4 workers of 0.5 each"),
    ],
)
def test_what_a_cluster_lacks_is_told(actors: int, gpus: float, there: dict[str, float], said: str) -> None:
    lacking = wanting({"actors": actors, "gpus": gpus}, there)
    assert lacking.startswith(said)
    assert bool(lacking) == bool(said)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("vllm", ("vllm", False)), ("ray", ("openvino", True)), ("ray:vllm", ("vllm", True))],
)
def test_where_an_engine_runs(name: str, expected: tuple[str, bool]) -> None:
    assert engines.placed(name) == expected


@pytest.mark.parametrize("name", ["ray:ray", "ray:spark", "spark", "vllm:ray", ""])
def test_an_engine_that_is_not_there_is_answered_with_the_choices(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown engine.*vllm, openvino, transformers, server"):
        engines.placed(name)
