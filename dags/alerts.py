"""What is told when a run failed or is late: a line in the log and a POST where `LLMCF_ALERT_WEBHOOK` is set.

One alert a run: it fails once, and has one deadline. A run that was cleared and fails again is another matter. The
message is that of `llmcf monitor`'s alerts, and each kind has an entry in docs/runbook.md. The address may hold a
credential and is never logged.
"""

import asyncio
import hashlib
import http.client
import json
import logging
import os
import time
import urllib.error
import urllib.request
from typing import Any

log = logging.getLogger("llmcf.alerts")


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without its message: an alert goes where it is addressed, or is lost."""

    def redirect_request(self, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: the redirection is an error."""


KINDS = ("run-failed", "run-late")
_SECONDS = 5
_WAITS_S = (0.5, 1.0)  # before another attempt; as core/alerts.py, which is not there where DAGs are read
_OPENER = urllib.request.build_opener(_Stay)
_PASSING = {408, 425, 429}


def failed(context: Any) -> None:
    """A run has failed: Airflow calls it once a run, with the task that failed last where it knows one."""
    dag, run, task = context["dag"].dag_id, context["run_id"], context.get("ti")
    dataset = (context.get("params") or context["dag"].params)["dataset"]
    reason = context.get("reason", "")
    if task is None:
        tell(f"run-failed:{dag}:{run}", dataset, f"{dag} failed: {reason}", {"dag": dag, "run": run})
        return
    place = {"dag": dag, "run": run, "task": task.task_id, "try": task.try_number}
    number = f"run-failed:{dag}:{run}:{task.task_id}:{task.try_number}"
    tell(number, dataset, f"{dag} failed in {task.task_id}: {reason}", place)


async def late(context: Any, dataset: str, **_: Any) -> None:
    """A run has not ended by its deadline: the triggerer calls it, with the run as Airflow's API gives it.

    Args:
        dataset: the deployment's, where a run by hand names none.
    """
    run = context["dag_run"]
    dag, name = run["dag_id"], run["dag_run_id"]
    dataset, text = (run.get("conf") or {}).get("dataset") or dataset, f"{dag} is late: {name} has not ended"
    await asyncio.to_thread(tell, f"run-late:{dag}:{name}", dataset, text, {"dag": dag, "run": name})


def tell(number: str, dataset: str, text: str, figures: dict[str, Any]) -> None:
    """Log an alert and send it; a receiver that does not take it fails nothing.

    Args:
        number: begins with its kind; the same for the same matter, so that a receiver can drop repetitions.
    """
    log.error("alert %s: %s", number, text)
    if address := os.environ.get("LLMCF_ALERT_WEBHOOK"):
        kind = number.partition(":")[0]
        told = {"id": number, "kind": kind, "dataset": dataset, "text": text, "figures": figures}
        key = hashlib.sha256(number.encode()).hexdigest()[:32]
        headers = {"content-type": "application/json", "idempotency-key": key}
        try:  # what is wrong with an address says the address
            _post(urllib.request.Request(address, json.dumps(told).encode(), headers))  # noqa: S310
        except urllib.error.HTTPError as error:
            log.error("the alert's receiver does not take it: it answered %s", error.code)
        except (OSError, ValueError, http.client.HTTPException) as error:
            log.error("the alert's receiver does not answer: %s", type(error).__name__)


def _post(request: urllib.request.Request) -> None:
    """Send it, again where the receiver may take it later; raises what urllib does."""
    for wait in (*_WAITS_S, None):
        try:
            _OPENER.open(request, timeout=_SECONDS).close()
            return
        except urllib.error.HTTPError as error:
            if wait is None or not (error.code >= 500 or error.code in _PASSING):
                raise
        except (OSError, http.client.HTTPException):
            if wait is None:
                raise
        time.sleep(wait)
