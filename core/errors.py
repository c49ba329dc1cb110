"""The error tree. Whatever a user can cause ends here, with the bad value, the place and the choices.

    LlmcfError      work that failed although the request was right; exit code 1
      UsageError    the request itself is wrong; exit code 2
      NotPassed     what was checked does not pass; exit code 3
      Missing       a step has not run, or what it made is out of date; carries the command that makes it
      Unavailable   a server, or a file that another process holds, does not answer; later it may

The command line prints one line for each. A service answers UsageError with 400, Unavailable with 503, others with 500.
"""

from collections.abc import Iterable
from typing import Any


class LlmcfError(Exception):
    """A failure the user can mend. The command line prints the message without a traceback."""

    exit_code = 1


class UsageError(LlmcfError):
    """The request itself is wrong: an unknown name, a value out of range, options that exclude each other."""

    exit_code = 2


class NotPassed(LlmcfError):  # noqa: N818 - it is an answer
    """What was asked to be checked does not pass. To check it again would be to look for luck."""

    exit_code = 3


class Missing(LlmcfError):  # noqa: N818 - reads better where it is raised
    """Something that a step makes is not there, or is older than what it is made from.

    Args:
        what: what is the matter, as the beginning of a sentence.
        remedy: the command line that makes it; it can be pasted.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)  # both, so that it survives being sent from a process to another
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.args[0]}; run `{self.remedy}` first"


class Unavailable(LlmcfError):  # noqa: N818
    """A server, or a file that another process holds, does not answer; the same request may succeed later."""


def unknown(kind: str, value: object, choices: Iterable[object]) -> UsageError:
    """The error for a name that is not one of `choices`."""
    return UsageError(f"unknown {kind} {str(value)!r}; choose one of: {', '.join(filter(None, map(str, choices)))}")


def check_choice(kind: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        UsageError: otherwise, naming the value and the choices.
    """
    options = list(choices)
    if value not in options:
        raise unknown(kind, value, options)
    return value


def as_json(error: LlmcfError) -> dict[str, Any]:
    """The error as a child process tells it to its parent; `from_json` makes it again."""
    return {"kind": type(error).__name__, "arguments": list(error.args)}


def from_json(told: dict[str, Any]) -> LlmcfError:
    kinds = {kind.__name__: kind for kind in (LlmcfError, UsageError, Missing, Unavailable)}
    return kinds.get(told["kind"], LlmcfError)(*told["arguments"])
