"""Feast's jobs, each in a process of its own: `python -m llmcf.feature_store.worker JOB [ARGUMENT ...]`.

It runs with a workspace's feast/ as working folder, because Feast's DuckDB store resolves paths against it, and alone,
because Feast imports feature_repo as top-level modules. Progress goes to stdout, a line at a time, everything else to
stderr; `llmcf.feature_store.registry.run` is the only caller.
"""

import sys
import warnings
from contextlib import redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from core import settings
from core.torchrun import end_with_parent
from llmcf.feature_store.opening import open_store
from llmcf.feature_store.writing import write_rows

if TYPE_CHECKING:
    from feast import FeatureStore

REPO = Path()
ROWS_A_CHUNK = 65_536  # with the sources of the on-demand view a row takes about 3 KB


def apply(dataset: str) -> None:
    """Register what the folder defines and drop what it no longer defines."""
    store = _told(open_store(REPO), dataset)
    from feast.repo_operations import apply_total_with_repo_instance, parse_repo

    contents = parse_repo(REPO.absolute())
    apply_total_with_repo_instance(store, store.project, store.registry, contents, skip_source_validation=False)


def _told(store: "FeatureStore", dataset: str) -> "FeatureStore":
    """A store of whose work OpenLineage is told, where that is switched on."""
    if namespace := settings.lineage_namespace():
        from llmcf.feature_store.lineage import Emitter  # needs Feast

        store._openlineage_emitter = Emitter(namespace, dataset)
    return store


def teardown() -> None:
    """Remove the registry and everything in the online store that belongs to it."""
    open_store(REPO).teardown()


def join(service: str, entities: str, joined: str) -> None:
    """The point-in-time join of the entity rows in one Parquet file, written to another in any order."""
    store = open_store(REPO)
    features = store.get_feature_service(service)
    wanted = [field.name for view in features.feature_view_projections for field in view.features]
    rows = pq.read_table(entities)
    parts = []
    for start in range(0, rows.num_rows, ROWS_A_CHUNK):
        part = rows.slice(start, ROWS_A_CHUNK)
        found = store.get_historical_features(entity_df=part.to_pandas(), features=features).to_arrow()
        parts.append(found.select(["row", *wanted]))  # the on-demand view's sources come along and are large
        print(f"joined {start + len(part):,} of {rows.num_rows:,} rows", file=sys.__stdout__, flush=True)
    pq.write_table(pa.concat_tables(parts), joined)


def materialize(dataset: str, start: str, end: str) -> None:
    """Bring the newest state of every entity in [start, end] into the online store."""
    store = _told(open_store(REPO), dataset)
    store.materialize(datetime.fromisoformat(start), datetime.fromisoformat(end))


def push(name: str, rows: str) -> None:
    """Write rows into the online store, through a push source or into a view."""
    write_rows(open_store(REPO), name, pq.read_table(rows))


JOBS = {"apply": apply, "teardown": teardown, "join": join, "materialize": materialize, "push": push}


def main() -> None:
    """Run one job; it ends with the verb that asked for it, whose lock is free from then on."""
    end_with_parent()
    sys.path.insert(0, str(REPO.absolute()))  # feature_repo's modules import each other flat
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):  # Feast prints in colours
        JOBS[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
