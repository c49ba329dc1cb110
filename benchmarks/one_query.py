"""One vector times many rows, by how the rows lie: a row after the other, or a number of all rows after the other.

    .venv/bin/python -m benchmarks.one_query

Of a request the service asks two such products: its history with those of all examples, and its user's vector with all
items. Both layouts take turns in one thread. Writes benchmarks/results/one_query.{json,md}.
"""

import argparse
import time

import numpy as np

from benchmarks import measured
from core import processor
from core.markdown import table
from core.progress import say

SIZES = {
    "examples' histories, of Beauty's 30,585": (30_586, 384),
    "items of Beauty, recipe strict": (12_101, 64),
    "items of Beauty, recipe best": (12_101, 449),
}
ALONG, ACROSS = "rows along", "rows across"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="of each (default: %(default)s)")
    calls = parser.parse_args().calls
    processor.multiply_in_one_thread()
    found = {name: measure(*size, calls) for name, size in SIZES.items()}
    command = f"python -m benchmarks.one_query --calls {calls}"
    text = page(found, command)
    measured.write("one_query", {"command": command, "seed": 0, "milliseconds": found}, text)
    say(text)


def measure(rows: int, width: int, calls: int) -> dict[str, list[float]]:
    """Milliseconds of each layout: the tenth and the fiftieth percentile."""
    generator = np.random.default_rng(0)
    along_NX = generator.standard_normal((rows, width), dtype=np.float32)
    across_XN = np.ascontiguousarray(along_NX.T)
    taken: dict[str, list[float]] = {ALONG: [], ACROSS: []}
    for _ in range(calls):
        query_X = generator.standard_normal(width, dtype=np.float32)
        for name, call in ((ALONG, lambda q=query_X: along_NX @ q), (ACROSS, lambda q=query_X: q @ across_XN)):
            start = time.perf_counter()
            call()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {name: np.percentile(times, (10, 50)).round(3).tolist() for name, times in taken.items()}


def page(found: dict[str, dict[str, list[float]]], command: str) -> str:
    """The figures with what they were measured on, as Markdown."""
    rows = [
        [
            name,
            *(f"{ms[way][0]:.2f} / {ms[way][1]:.2f}" for way in (ALONG, ACROSS)),
            f"{ms[ALONG][1] / ms[ACROSS][1]:.1f}",
        ]
        for name, ms in found.items()
    ]
    lines = [
        "# One vector times many rows",
        "",
        "NumPy's product in one thread, p10 / p50 in ms, invented rows (seed 0), layouts taking turns.",
        f"{measured.sentence()}. `{command}`",
        "",
        *table(["rows", ALONG, ACROSS, "times as fast across"], rows),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
