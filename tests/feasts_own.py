"""What Feast's own online reader is asked, for tests and benchmarks that hold ours beside it."""

from collections.abc import Iterable

from llmcf.online.views import View


def references(stored: Iterable[View]) -> list[str]:
    """The fields of views, `view:field`."""
    return [f"{view.name}:{field}" for view in stored for field in view.fields]
