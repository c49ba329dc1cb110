"""The figures as text for Prometheus: a file that node_exporter's textfile collector reads."""

import errno
import math
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from core.contracts import DAY
from core.errors import UsageError
from core.settings import Workspace
from llmcf.monitoring.figures import Part
from llmcf.monitoring.limits import KINDS, Settings

FRESHNESS = "feast_feature_freshness_seconds"  # the name that Feast's feature server gives it, out of the same registry
_HOURS = "materialized_hours"
_HELP = {
    "unmeasured": "How many things a part could not measure.",
    "alert": "1 where a kind of alert is raised.",
    "day_timestamp_seconds": "The end of the day that was monitored last.",
    "run_timestamp_seconds": "When it was monitored.",
}


class _Gauges:
    """Gauges of one file, each made when it is first set."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._made: dict[str, Gauge] = {}

    def set(self, name: str, value: float, **labels: str) -> None:
        if name not in self._made:
            plain = name.removeprefix("llmcf_monitor_")
            told = _HELP.get(plain, f"The figure {plain} of the day that was monitored last.")
            self._made[name] = Gauge(name, told, list(labels), registry=self.registry)
        self._made[name].labels(**labels).set(value)


def write(
    path: Path,
    ws: Workspace,
    parts: Sequence[Part],
    raised: Collection[str],
    settings: Settings,
    *,
    end: int,
    now: float,
) -> None:
    """Replace the file as a whole. A figure that is not known has no sample.

    Args:
        raised: kinds of alert.
        end: the first day that the workspace does not see, from 1970-01-01.
        now: in Unix seconds.

    Raises:
        UsageError: for a path that no collector would read, or that cannot be written.
    """
    check(path)
    gauges, place = _Gauges(), {"dataset": ws.dataset, "order": ws.order}
    for part in parts:
        gauges.set("llmcf_monitor_unmeasured", len(part.missing), **place, part=part.name)
        for figure in part.figures:
            if math.isfinite(figure.value):
                gauges.set(f"llmcf_monitor_{figure.name}", figure.value, **place, of=figure.of)
            if figure.name == _HOURS:
                feast = {"feature_view": figure.of, "project": part.drawn["project"]}
                gauges.set(FRESHNESS, figure.value * 3600, **feast)
    for kind in KINDS:
        if kind not in settings.off:
            gauges.set("llmcf_monitor_alert", kind in raised, **place, kind=kind)
    gauges.set("llmcf_monitor_day_timestamp_seconds", end * DAY, **place)
    gauges.set("llmcf_monitor_run_timestamp_seconds", now, **place)
    with _told(path):
        write_to_textfile(str(path), gauges.registry)


def check(path: Path) -> None:
    """Try whether a file can be replaced there, and make its folder.

    Raises:
        UsageError: for a path that no collector would read, or that cannot be written.
    """
    if path.suffix != ".prom":
        raise UsageError(f"{path} does not end in .prom, so that no textfile collector reads it")
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        TemporaryFile(dir=path.parent).close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
