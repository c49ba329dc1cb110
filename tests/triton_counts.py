"""What Triton counted. It counts a run of a Python model after the answer has left, so a reader may be too early."""

from time import monotonic, sleep

from llmcf.serving.triton_client import Client


def counted(client: Client, model: str, requests: int, seconds: float = 10.0) -> tuple[int, int]:
    """Requests and runs of `model` as soon as `requests` are counted, or as they are when the seconds have passed."""
    end = monotonic() + seconds
    while (found := client.executions(model))[0] < requests and monotonic() < end:
        sleep(0.01)
    return found
