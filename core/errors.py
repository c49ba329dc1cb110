"""The error tree. Whatever a user can cause ends here, with the bad value, the place and the choices."""

from collections.abc import Iterable


class LlmcfError(Exception):
    """A failure the user can mend. The command line prints the message without a traceback.

    `exit_code` is 2 for a wrong request and 1 for work that failed although the request was right.
    """

    exit_code = 1


class UsageError(LlmcfError):
    """The request itself is wrong: an unknown name, a value out of range, a step run out of order."""

    exit_code = 2


def unknown(kind: str, value: object, choices: Iterable[object]) -> UsageError:
    """The error for a name that is not one of `choices`."""
    return UsageError(f"unknown {kind} {str(value)!r}; choose one of: {', '.join(map(str, choices))}")


def check_choice(kind: str, value: str, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises:
        UsageError: otherwise, naming the value and the choices.
    """
    options = list(choices)
    if value not in options:
        raise unknown(kind, value, options)
    return value
