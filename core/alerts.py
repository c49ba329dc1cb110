"""What somebody should look at: a line in the log and, where LLMCF_ALERT_WEBHOOK is set, a message to it, once."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from core import settings, storage
from core.progress import say
from core.result import plain

_TIMEOUT_S = 5.0
_ATTEMPTS = 3
_WAIT_S = 0.5  # before the second attempt, twice that before the third
_PASSING = {408, 425, 429}  # answers after which another attempt makes sense, beside those of a broken server


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert.

    Args:
        id: which it is; a second one of that id is not sent.
        kind: names its entry in docs/runbook.md.
        text: what is the matter, in a sentence.
        figures: JSON-serialisable.
    """

    id: str
    kind: str
    dataset: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)


class _Passing(Exception):  # noqa: N818
    """The receiver may answer later."""


class _Refused(Exception):  # noqa: N818
    """The receiver wants no such message, however often it is sent."""


def send(alert: Alert) -> bool:
    """Say the alert and post it as JSON; whether it is new to the log and, where there is one, to the webhook.

    One that the webhook did not take is logged, with why but never where, and is sent again the next time.
    """
    note = _note(alert.id)
    note.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(note.with_suffix(".lock")):
        before, webhook = (storage.read_json(note) if note.exists() else None), settings.alert_webhook()
        if before is not None and (before["delivered"] or webhook is None):
            return False
        if before is None:
            say(f"ALERT {alert.kind} ({alert.dataset}): {alert.text}")
        delivered = webhook is not None and _delivered(webhook, alert)
        storage.write_json(note, {"delivered": delivered, "alert": plain(asdict(alert))})
        return before is None or delivered


def _note(identity: str) -> Path:
    """What is kept of an alert that was sent."""
    return settings.home() / "alerts" / f"{storage.digest(identity)[:32]}.json"


def _delivered(webhook: str, alert: Alert) -> bool:
    import httpx
    from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

    attempts = Retrying(
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_exponential(multiplier=_WAIT_S),
        retry=retry_if_exception_type((httpx.TransportError, _Passing)),
    )
    try:
        with _quiet():
            attempts(_post, webhook, alert)
    except RetryError as error:
        cause = error.last_attempt.exception()
        why = str(cause) if isinstance(cause, _Passing) else type(cause).__name__
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        why = type(error).__name__
    except _Refused as error:
        why = str(error)
    else:
        return True
    say(f"the webhook (LLMCF_ALERT_WEBHOOK) did not take the alert {alert.kind}: {why}; it is sent again the next time")
    return False


def _post(webhook: str, alert: Alert) -> None:
    import httpx

    answer = httpx.post(
        webhook, json=plain(asdict(alert)), timeout=_TIMEOUT_S, headers={"Idempotency-Key": _note(alert.id).stem}
    )
    if answer.status_code in _PASSING or answer.is_server_error:
        raise _Passing(f"it answered {answer.status_code}")
    if not answer.is_success:
        raise _Refused(f"it answered {answer.status_code}")


@contextmanager
def _quiet() -> Iterator[None]:
    """These log addresses, and a webhook's is a secret."""
    loggers = [logging.getLogger(name) for name in ("httpx", "httpcore")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
