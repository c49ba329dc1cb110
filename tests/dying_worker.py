"""`llm.recgen.worker`, killed as a machine would kill it when it asks for the batch LLMCF_TEST_DIES_AT."""

import os
import signal
from typing import Any

from llm.recgen import worker


class Batches(worker.Batches):
    def __getitem__(self, number: int) -> dict[str, Any]:
        if number == int(os.environ["LLMCF_TEST_DIES_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


worker.Batches = Batches

if __name__ == "__main__":
    worker.main()
