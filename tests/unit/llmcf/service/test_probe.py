"""A flood of questions whether a worker is ready costs one look a second, and a part that hangs holds nobody up."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast

from core import deadlines
from llmcf.service.probe import SILENT, Probe
from llmcf.service.service import Service
from llmcf.service.store import Store


class Parts:
    """Those that answer at once, or hang until their time is over."""

    def __init__(self) -> None:
        self.asked, self.hang = 0, False

    def __call__(self) -> dict[str, str]:
        self.asked += 1
        if self.hang:
            time.sleep(max(0.0, min(deadlines.left(), 5.0)))
            return {"triton": "no answer"}
        return {"triton": "ok"}


def test_many_who_ask_share_one_look() -> None:
    parts = Parts()
    probe = Probe(parts, fresh_s=0.2)
    assert [probe.look() for _ in range(50)] == [{"triton": "ok"}] * 50
    assert parts.asked == 1
    time.sleep(0.25)
    probe.look()
    assert parts.asked == 2, "and the next one a while later"
    probe.close()


def test_a_part_that_hangs_ends_in_a_second() -> None:
    parts = Parts()
    parts.hang, probe, start = True, Probe(parts), time.monotonic()
    assert probe.look() == {"triton": "no answer"}
    assert time.monotonic() - start < 1.5
    probe.close()


def test_who_has_less_time_is_told_in_it(tmp_path: Any) -> None:
    parts = Parts()
    parts.hang = True
    engine = SimpleNamespace(probe=parts, close=lambda: None)
    service = Service(cast(Any, engine), Store(tmp_path / "service.db"), cast(Any, None))

    async def flood() -> list[dict[str, str]]:
        return list(await asyncio.gather(*(service.checks(0.1) for _ in range(200))))

    start = time.monotonic()
    assert asyncio.run(flood()) == [SILENT] * 200
    assert time.monotonic() - start < 0.8
    assert parts.asked == 1
    service.close()
