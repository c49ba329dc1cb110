"""How a verb's result reaches people (a short text) and programs (one JSON object)."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from core import settings
from core.result import Estimate, Result


@contextmanager
def result_stream() -> Iterator[TextIO]:
    """Yield the real stdout, while everything that libraries print to stdout goes to stderr."""
    sys.stdout.flush()
    keep = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(keep, "w", encoding="utf-8", errors="backslashreplace", closefd=False) as stream:
            yield stream
    finally:
        sys.stdout.flush()
        os.dup2(keep, 1)
        os.close(keep)


def run(
    work: Callable[[], Result],
    *,
    as_json: bool,
    estimate: Callable[[], Estimate] | None = None,
    verify: Callable[[Result], None] | None = None,
) -> None:
    """Do `work`, or only estimate it, print what came of it on stdout, and only then let `verify` object.

    Raises:
        UsageError: at once, if a folder that LLMCF_* names cannot be written to.
    """
    settings.check_places()
    with result_stream() as stdout:
        outcome = estimate() if estimate else work()
        if as_json:
            print(json.dumps(outcome.as_json(), ensure_ascii=False, allow_nan=False), file=stdout)
        elif isinstance(outcome, Estimate):
            print(estimate_text(outcome), file=stdout)
        else:
            print(result_text(outcome), file=stdout)
    if verify and isinstance(outcome, Result):
        verify(outcome)


def estimate_text(estimate: Estimate) -> str:
    return (
        f"about {estimate.seconds:.0f} s, {estimate.memory_mib:,.0f} MiB of memory, "
        f"{estimate.disk_mib:,.0f} MiB of disk\n  ({estimate.basis})"
    )


def result_text(result: Result) -> str:
    """A few aligned lines; a verb with text of its own puts it under `details["text"]`."""
    state = "up to date, made in" if result.skipped else "done in"
    lines = [f"{result.verb}: {state} {result.seconds:.1f} s"]
    for split, values in result.metrics.items():
        lines += _metric_lines(split, values)
    details = dict(result.details)
    text = details.pop("text", None)
    if text:  # says in words what lists and objects hold
        details = {name: value for name, value in details.items() if not isinstance(value, (dict, list))}
    lines += [f"  {name}: {_short(value)}" for name, value in details.items()]
    lines += [f"  {name}: {path}" for name, path in result.artifacts.items()]
    return "\n".join([*lines, text] if text else lines)


def _metric_lines(split: str, values: dict[str, object]) -> list[str]:
    nested = {name: value for name, value in values.items() if isinstance(value, dict)}
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)}
    lines = [f"  {split}: " + "  ".join(f"{name} {_short(value)}" for name, value in flat.items())] if flat else []
    for name, inner in nested.items():
        lines += _metric_lines(f"{split} {name}", inner)
    return lines


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 100 else f"{value:,.0f}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:197] + "..."
