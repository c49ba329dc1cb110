"""Feast's own OpenLineage events, in one namespace with those of the DAGs.

Feast names namespace and jobs after the project, whose name changes with the features' content; here it is told the
data set's name, so that they stay. By Feast's rule the namespace is then `<namespace>/<data set>`, as in `dags/`.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from feast.openlineage import FeastOpenLineageEmitter, OpenLineageConfig


class Emitter:
    """Feast's emitter, for which the data set is the project. Where events go to, OpenLineage's variables say."""

    def __init__(self, namespace: str, dataset: str) -> None:
        self._emitter = FeastOpenLineageEmitter(OpenLineageConfig(namespace=namespace))
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._emitter, name)
        return partial(self._call, found) if callable(found) else found

    def _call(self, method: Callable[..., Any], *args: Any, **named: Any) -> Any:
        given = inspect.signature(method).bind(*args, **named)
        if "project" in given.arguments:
            given.arguments["project"] = self._dataset
        return method(*given.args, **given.kwargs)
