"""Cells of a matrix in processes of their own: each gives its memory back, and several run side by side."""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from core import processor
from core.errors import LlmcfError
from core.progress import Named
from core.torchrun import end_with_parent


class Cell(Protocol):
    """The configuration of a run, which can be pickled."""

    @property
    def name(self) -> str:
        """Of its folder."""
        ...


C = TypeVar("C", bound=Cell)
T = TypeVar("T")


def each(work: Callable[[C], T], cells: Sequence[C], workers: int) -> Iterator[tuple[C, T]]:
    """Yield every cell with what `work` makes of it, as they end; `workers` at a time share the cores.

    The first that fails cancels those that have not begun; what runs beside it ends first.

    Args:
        work: can be pickled.

    Raises:
        LlmcfError: if a process was killed, as the system does when memory runs out; else what `work` raises.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        running = {pool.submit(_run, work, config, workers): config for config in cells}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool:
            raise LlmcfError(
                "a process of the matrix was killed, perhaps for want of memory; what has ended is kept: run the same "
                "again, with fewer --workers"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _run(work: Callable[[C], T], config: C, workers: int) -> T:
    end_with_parent()  # killed, it leaves nobody who goes on
    import torch

    processor.flush_denormals(torch.set_flush_denormal)
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    if workers > 1:
        sys.stderr = Named(sys.stderr, config.name)
    return work(config)
