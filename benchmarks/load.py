"""Closed-loop load on a running service, by a process of its own: each client asks, waits for the answer, asks again.

    .venv/bin/python -m benchmarks.load PLAN OUTCOME

PLAN is a `Plan` as JSON, OUTCOME becomes an `Outcome`: every request, and each answer that was another than before.
"""

import http.client
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any

PATIENCE_S = 10.0  # of a client, whatever the deadline is
_PAUSE_S = 0.1  # after a refusal
_LOCK = Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is asked: `k` items for one of the users at a time, within `timeout_ms`; `keys` are dealt to the clients.

    Clients that are refused wait a tenth of a second; `patient` ones as long as they are told, and up to half as long
    again.
    """

    host: str
    port: int
    users: Sequence[str]
    clients: int
    seconds: float
    k: int = 10
    timeout_ms: int = 1000
    keys: Sequence[str] = ()
    stages: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it began (Unix seconds), milliseconds to its end, the status (0: the connection ended), which
    of the answers it got (-1: none), and the milliseconds of the stages where the plan wants them."""

    at: float
    ms: float
    status: int
    answer: int
    stages: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to a user; scores None where no model was asked."""

    user: str
    release: int
    rung: str
    items: list[str]
    scores: list[float] | None


@dataclass(slots=True)
class Outcome:
    """The requests in the order of their ends, and the answers that they got, each once."""

    asked: list[Asked] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


def start(plan: Plan, folder: Path) -> "subprocess.Popen[bytes]":
    """The process of a plan; `read` what it leaves in the folder when it has ended."""
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.load", str(folder / "plan.json"), str(folder / "outcome.json")]
    return subprocess.Popen(command)


def read(folder: Path) -> Outcome:
    told = json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    return Outcome([Asked(*one) for one in told["asked"]], [Answer(**one) for one in told["answers"]])


def drive(plan: Plan) -> Outcome:
    """Carry a plan out in this process."""
    outcome, places = Outcome(), {}
    clients = [Thread(target=_client, args=(plan, number, outcome, places)) for number in range(plan.clients)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return outcome


def _client(plan: Plan, number: int, outcome: Outcome, places: dict[Any, int]) -> None:
    draw, end = random.Random(number), time.monotonic() + plan.seconds
    headers = {"Content-Type": "application/json", "X-Timeout-Ms": str(plan.timeout_ms)}
    if plan.keys:
        headers["X-API-Key"] = plan.keys[number % len(plan.keys)]
    connection = http.client.HTTPConnection(plan.host, plan.port, timeout=PATIENCE_S)
    while time.monotonic() < end:
        user, at = draw.choice(plan.users), time.time()
        body, begun = json.dumps({"user": user, "k": plan.k}).encode(), time.perf_counter()
        told_to_wait = 0.0
        try:
            connection.request("POST", "/recommendations", body, headers)
            response = connection.getresponse()
            status, told = response.status, response.read()
            told_to_wait = float(response.getheader("Retry-After", "0"))
        except (OSError, http.client.HTTPException):
            connection.close()
            status, told = 0, b""
        spent = (time.perf_counter() - begun) * 1e3
        place, stages = -1, {}
        if status == 200:
            found = json.loads(told)
            place = _place(found, user, outcome, places)
            stages = found["served_by"]["milliseconds"] if plan.stages else {}
        outcome.asked.append(Asked(at, round(spent, 3), status, place, stages))
        if status != 200:
            time.sleep(told_to_wait * draw.uniform(1.0, 1.5) if plan.patient and told_to_wait else _PAUSE_S)
    connection.close()


def _place(found: dict[str, Any], user: str, outcome: Outcome, places: dict[Any, int]) -> int:
    """Where the answer lies among those that were another; two that differ by rounding are one."""
    served, items = found["served_by"], [one["item"] for one in found["items"]]
    scores = [one["score"] for one in found["items"]]
    known = None if None in scores else [round(one, 4) for one in scores]
    key = user, served["release"], served["rung"], tuple(items), known and tuple(known)
    with _LOCK:
        if key not in places:
            outcome.answers.append(Answer(user, served["release"], served["rung"], items, known))
            places[key] = len(outcome.answers) - 1
        return places[key]


def main() -> None:
    plan = Plan(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    outcome = drive(plan)
    rows = [(one.at, one.ms, one.status, one.answer, one.stages) for one in outcome.asked]
    told = {"asked": rows, "answers": [asdict(one) for one in outcome.answers]}
    Path(sys.argv[2]).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
