"""Opening a feature store in this process, in a third of the time that importing Feast takes, and without torch."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from feast import FeatureStore

T = TypeVar("T")


def open_store(folder: Path) -> "FeatureStore":
    """The store configured by `folder`/feature_store.yaml."""
    with _quickly():
        from feast import FeatureStore

        return FeatureStore(repo_path=str(folder.absolute()))


def import_feast() -> None:
    """Import what opening a store will: for a process that has to wait for something else before it can."""
    with _quickly():
        import feast

        from llmcf.feature_store import asof_store

        del feast, asof_store


@contextmanager
def _quickly() -> Iterator[None]:
    with _unchecked(), _alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Feast's own classes
        yield


@contextmanager
def _unchecked() -> Iterator[None]:
    """Feast decorates its classes with typeguard, which recompiles their source at every import: 3 of 7 seconds."""
    import typeguard

    checked = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        typeguard.typechecked = checked


@contextmanager
def _alone() -> Iterator[None]:
    """Feast imports torch where there is one, to offer tensors: seconds and 300 MiB that serving can spare."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # pyright: ignore[reportArgumentType] - an import of it fails, which Feast minds not
    try:
        yield
    finally:
        del sys.modules["torch"]


def _as_it_is(target: T) -> T:
    return target
