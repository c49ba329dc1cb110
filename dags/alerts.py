"""What is told when a run failed or is late: a line in the log, and a POST where `LLMCF_ALERT_WEBHOOK` is set.

One alert a run: a run fails once, and has one deadline. The message is that of `llmcf monitor`'s alerts, and each kind
has an entry in docs/runbook.md. The address may hold a credential and is never logged.
"""

import asyncio
import hashlib
import json
import logging
import os
import urllib.request
from typing import Any

log = logging.getLogger("llmcf.alerts")
KINDS = ("run-failed", "run-late")
_SECONDS = 10


def failed(context: Any) -> None:
    """A run has failed: Airflow calls it once a run."""
    dag, run = context["dag"].dag_id, context["run_id"]
    tell("run-failed", dag, run, context["dag"].params["dataset"], f"{dag} failed: {context.get('reason', '')}")


async def late(context: Any, dataset: str, **_: Any) -> None:
    """A run has not ended by its deadline: the triggerer calls it, with the run as Airflow's API gives it."""
    dag, run = context["dag_run"]["dag_id"], context["dag_run"]["dag_run_id"]
    await asyncio.to_thread(tell, "run-late", dag, run, dataset, f"{dag} is late: {run} has not ended")


def tell(kind: str, dag: str, run: str, dataset: str, text: str) -> None:
    """Log an alert and send it; a receiver that does not answer fails nothing."""
    number = f"{kind}:{dag}:{run}"  # the same for the same matter, so that a receiver can drop repetitions
    log.error("alert %s: %s", number, text)
    if address := os.environ.get("LLMCF_ALERT_WEBHOOK"):
        told = {"id": number, "kind": kind, "dataset": dataset, "text": text, "figures": {"dag": dag, "run": run}}
        key = hashlib.sha256(number.encode()).hexdigest()[:32]
        headers = {"content-type": "application/json", "idempotency-key": key}
        try:  # what is wrong with an address says the address
            request = urllib.request.Request(address, json.dumps(told).encode(), headers)  # noqa: S310
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310 - the operator's own address
        except (OSError, ValueError) as error:
            log.error("the alert's receiver does not answer: %s", type(error).__name__)
