"""The W3C trace context, and that nothing of OpenTelemetry is loaded where no spans are sent."""

import subprocess
import sys

import pytest

from llmcf.serving import tracing
from llmcf.serving.question import Stopwatch
from llmcf.serving.tracing import Parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def read(*values: str, state: tuple[str, ...] = ()) -> Parent | None:
    headers = [(b"host", b"x"), *((b"traceparent", one.encode("latin-1")) for one in values)]
    return tracing.parent([*headers, *((b"tracestate", one.encode()) for one in state)])


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f" 00-{TRACE}-{SPAN}-01 ", 1),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", 1),
    ],
)
def test_a_valid_one_is_taken(told: str, flags: int) -> None:
    assert read(told) == Parent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "told",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"01-{TRACE}-{SPAN}-01.more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-0g",
    ],
)
def test_an_invalid_one_is_ignored(told: str) -> None:
    assert read(told, state=("a=b",)) is None


def test_two_parents_are_none_and_states_are_put_together() -> None:
    assert read(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01") is None
    found = read(f"00-{TRACE}-{SPAN}-01", state=("a=b", " c=d "))
    assert found is not None
    assert found.state == "a=b,c=d"


def test_nothing_is_loaded_where_no_spans_are_sent() -> None:
    code = """
import sys
from llmcf.service import app
from llmcf.serving import tracing
tracing.start(None)
with tracing.request("GET", None) as made, tracing.span("a part"):
    assert made is None
tracing.stop()
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_stage_is_timed_with_or_without_spans() -> None:
    watch = Stopwatch()
    with watch.stage("features"), watch.stage("within"):
        pass
    assert set(watch.taken) == {"features", "within"}
