"""What the DAGs share: parameters, the day of a run, `llmcf` verbs as tasks.

A parameter reaches the shell through the environment, never as part of a command, so that none becomes shell code.

The day of a run is its partition's key: a run that an asset started has no logical date and no data interval, and its
own date is another one when it is repeated. A run by hand names a partition, or the parameter `as_of`.

`LLMCF_DAG_PARAMETERS` may name a JSON file with a deployment's own values in place of the defaults below. It has to be
the same for every process of Airflow; runs that assets start have no other way to be told. `LLMCF_DAG_RETRIES` is how
often a task that failed is tried again; every task is safe to repeat. A request that is wrong, and a
check that is not passed, fail at once.
"""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import (
    Asset,
    AsyncCallback,  # pyright: ignore[reportAttributeAccessIssue] - these three are there, and not in Airflow's stub
    CronPartitionTimetable,
    DeadlineAlert,  # pyright: ignore[reportAttributeAccessIssue]
    DeadlineReference,  # pyright: ignore[reportAttributeAccessIssue]
    Param,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from alerts import failed
from assets import TABLES, TEXTS, TRAINING, VECTORS, datasets

ENGINES = ["vllm", "openvino", "transformers", "server"]
ENGINES += ["ray", *(f"ray:{engine}" for engine in ENGINES)]  # by workers of a Ray cluster
RANKERS = ["deepfm", "xdeepfm", "autoint", "dcn", "dcnv2", "din"]
RETRIEVERS = ["sasrec", "youtubednn", "gru4rec", "srgnn"]
RECIPES = ["strict", "paper", "best"]
ORDERS = ["shuffled-ties", "published", "global-time"]
FRAMEWORKS = ["none", "llm-cf"]  # those that need no other verbs than these
DAY = r"^(|latest|\d{4}-\d{2}-\d{2})$"

PARAMETERS = {
    "dataset": Param("movielens-100k", type="string", minLength=1, description="The data set, by name."),
    "order": Param("", enum=["", *ORDERS], description="How interactions are ordered; empty: as the data set says."),
    "as_of": Param("", type="string", pattern=DAY, description="Data before this day; empty: the run's partition."),
    "seed": Param(2023, type="integer", minimum=0),
    "events": Param("", type="string", description="Folder of hourly files, 2026-01-31T05.jsonl; empty: none come."),
    "data_engine": Param("duckdb", enum=["duckdb", "spark"], description="What `data prepare` runs on."),
    "quiet_days": Param(-1, type="integer", minimum=-1, description="Last days without data that pass; -1: warn."),
    "negative_draws": Param(1, type="integer", minimum=1, maximum=499, description="Negatives of a training row."),
    "train_recgen": Param(
        "1", enum=["never", "always", *map(str, range(1, 8))], description="On which day, beside drift; 1: Monday."
    ),
    "recgen_rows": Param(0, type="integer", minimum=0, description="Rows that tune it; 0 is all, the paper's epoch."),
    "recgen_model": Param("smollm2-135m-instruct", type="string", minLength=1, description="What is tuned."),
    "llm": Param("pinned", type="string", minLength=1, description="Who writes: pinned, recgen, base or a folder."),
    "engine": Param(ENGINES[0], enum=ENGINES, description="What runs the language model."),
    "cot_limit": Param(0, type="integer", minimum=0, description="Rows that get a text; 0 is a tenth of them."),
    "cot_style": Param("guided", enum=["guided", "led", "free"]),
    "cot_workers": Param(1, type="integer", minimum=1, maximum=64, description="Tasks that write side by side."),
    "encoder": Param("all-minilm-l6-v2", type="string", minLength=1, description="What makes vectors of texts."),
    "ranker": Param("deepfm", enum=RANKERS),
    "retriever": Param("sasrec", enum=RETRIEVERS),
    "framework": Param("llm-cf", enum=FRAMEWORKS, description="What is released; none is trained beside it."),
    "retriever_framework": Param("", enum=["", *FRAMEWORKS], description="Of the retriever; the same if empty."),
    "recipe": Param("best", enum=RECIPES),
    "release_check": Param("always", enum=["always", "never"], description="Hold it against what is live before."),
    "keep_days": Param(14, type="integer", minimum=1, description="Days whose workspaces stay."),
}


def _own() -> dict[str, Any]:
    path = os.environ.get("LLMCF_DAG_PARAMETERS")
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def _with_defaults(own: Mapping[str, Any]) -> dict[str, Param]:
    if odd := sorted(set(own) - set(PARAMETERS)):
        raise ValueError(f"LLMCF_DAG_PARAMETERS names {', '.join(odd)}; there are {', '.join(PARAMETERS)}")
    return {
        name: Param(own.get(name, param.value), description=param.description, **param.schema)
        for name, param in PARAMETERS.items()
    }


PARAMETERS = _with_defaults(_own())

MADE_OF = {  # what a release is made of, as options
    "--ranker": "ranker",
    "--retriever": "retriever",
    "--framework": "framework",
    "--retriever-framework": "tower_framework",
    "--recipe": "recipe",
    "--seed": "seed",
}
_DAY = "params.as_of or partition_key or ''"
AS_OF = f"{{{{ {_DAY} }}}}"
TOWER = {"tower_framework": "{{ params.retriever_framework or params.framework }}"}  # what MADE_OF is given
WEEKDAY = f"{{{{ macros.ds_format({_DAY}, '%Y-%m-%d', '%u') if ({_DAY}) | length == 10 else '' }}}}"
_USUAL = DeadlineReference.AVERAGE_RUNTIME(10, 1)  # where DAGRUN_QUEUED_AT is, nothing can be cleared: airflow #70368
_LONGEST = timedelta(days=2)  # a run that never gets its turn, as where a pool is missing, fails and is told
_SKIP = 99  # the exit code that BashOperator takes for "skipped"
_NOT_THE_LAST = timedelta(0)  # Airflow's default is the last time, where that is a tenth of the distance ago
_FINAL = {"2": "the request is wrong", "3": "it does not pass"}  # exit codes of verbs that another try would not mend


def days(cron: str, *, before: int = 0) -> CronPartitionTimetable:
    """A run a day, whose partition is the day on which it starts, data before its midnight; or so many days before."""
    return partitions(cron, before=before, form="%Y-%m-%d")


def partitions(cron: str, *, before: int, form: str) -> CronPartitionTimetable:
    """A run each time, of the time so many before. What is switched on waits for its next time, whatever the hour."""
    return CronPartitionTimetable(
        cron, timezone="UTC", run_offset=-before, run_immediately=_NOT_THE_LAST, key_format=form
    )


def usual(doc: str | None, *, late_after: timedelta) -> dict[str, Any]:
    """Arguments that all DAGs have.

    Args:
        late_after: a run that has not ended so much later after its creation than the last ones that succeeded took is
            told, once.
    """
    return {
        "catchup": False,
        "max_active_runs": 1,
        "dagrun_timeout": _LONGEST,
        "params": PARAMETERS,
        "tags": ["llmcf"],
        "doc_md": doc,
        "on_failure_callback": failed,
        "deadline": DeadlineAlert(
            reference=_USUAL,
            interval=late_after,
            callback=AsyncCallback("alerts.late", kwargs={"dataset": PARAMETERS["dataset"].value}),
        ),
        "default_args": {
            "retries": int(os.environ.get("LLMCF_DAG_RETRIES") or 2),
            "retry_delay": timedelta(minutes=1),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(minutes=30),
            "execution_timeout": timedelta(hours=12),
        },
    }


def _variable(parameter: str) -> str:
    return f"LLMCF_DAG_{parameter.upper()}"


ENVIRONMENT = {
    **{_variable(name): f"{{{{ params.{name} }}}}" for name in PARAMETERS},
    _variable("as_of"): AS_OF,
    _variable("partition"): "{{ partition_key or '' }}",
    _variable("weekday"): WEEKDAY,
}


def command(name: str, options: Mapping[str, str] | None = None, *, fixed: str = "", placed: bool = True) -> str:
    """The command line of a verb.

    Args:
        options: parameters by the option that takes them.
        fixed: further options as they are.
        placed: data set, order and day go along.
    """
    place = {"--dataset": "dataset", "--order": "order", "--as-of": "as_of"} if placed else {}
    given = (f'{option} "${_variable(parameter)}"' for option, parameter in (place | dict(options or {})).items())
    return " ".join(["llmcf", name, *given, *([fixed] if fixed else [])])


class Verb(BashOperator):
    """A command that fails for good where another try would not mend it: a wrong request, a check that is not passed.

    It tells OpenLineage, where that is switched on, what its inlets and outlets are.

    Args:
        also_writes: what it writes and is no outlet: Airflow loses the events of a mapped task's outlets
            (apache/airflow#54659).
    """

    def __init__(self, *, also_writes: Sequence[Asset] = (), **arguments: Any) -> None:
        super().__init__(**arguments)
        self.also_writes = list(also_writes)

    def execute(self, context: Any) -> Any:
        """Run it.

        Raises:
            AirflowFailException: for exit codes 2 and 3; the scheduler does not try again.
            AirflowException: for others; it does, as often as `retries` says.
        """
        try:
            return super().execute(context)
        except AirflowException as failure:
            code = str(failure).removesuffix(".").rpartition(" exit code ")[2]  # BashOperator tells it nowhere else
            if code in _FINAL:
                raise AirflowFailException(f"{_FINAL[code]}, another try would not mend it: {failure}") from failure
            raise

    def get_openlineage_facets_on_start(self) -> Any:
        """What is read. What is written is told when it is there: a task may be skipped, or fail."""
        return self._lineage([])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What was read, and what was written unless the task was skipped or has failed."""
        done = task_instance.state == "success"
        return self._lineage([*self.outlets, *self.also_writes] if done else [])

    def _lineage(self, written: Sequence[Asset]) -> Any:
        from airflow.providers.openlineage.extractors import OperatorLineage

        given = {name.removeprefix(_variable("")).lower(): value for name, value in (self.env or {}).items()}
        return OperatorLineage(inputs=_told(self.inlets, given), outputs=_told(written, given))


def _told(assets: Sequence[Asset], given: Mapping[str, str]) -> list[Any]:
    from openlineage.client.event_v2 import Dataset
    from openlineage.client.facet_v2 import dataset_version_dataset

    found = []
    for one in datasets(assets, given):
        facet = dataset_version_dataset.DatasetVersionDatasetFacet(one.version)
        found.append(Dataset(namespace=one.namespace, name=one.name, facets={"version": facet} if one.version else {}))
    return found


def trained_on(framework: str | None = None) -> list[Asset]:
    """What a training reads, by the deployment's own recipe and framework, or another one."""
    framework = framework or PARAMETERS["framework"].value
    texts = [TEXTS, VECTORS] if framework == "llm-cf" else [VECTORS] if PARAMETERS["recipe"].value == "best" else []
    return [TABLES, TRAINING, *texts]


def verb(
    name: str,
    options: Mapping[str, str] | None = None,
    *,
    fixed: str = "",
    placed: bool = True,
    task: str | None = None,
    only_if: str = "",
    asks: str = "",
    told: bool = False,
    given: Mapping[str, str] | None = None,
    quiet: bool = False,
    reads: Sequence[Asset] = (),
    writes: Sequence[Asset] = (),
    **arguments: Any,
) -> Verb:
    """A verb as a task.

    Args:
        only_if: a shell condition, without which the task is skipped.
        asks: a shell condition that ends with a verb: by its exit code the task is skipped, or fails.
        told: what the verb prints as JSON is the task's last line, which `output` reads, whatever else ends on stderr.
        given: further values by the name that an option gives as its parameter; templates.
        quiet: an alert of the verb's own is in the log alone: the run that fails with it tells one.
        reads: its inlets.
        writes: its outlets, what a day's run of it renews.
        arguments: of the operator: pool, retries, trigger_rule.
    """
    line = command(name, options, fixed=f"{fixed} --json".strip() if told else fixed, placed=placed)
    line = f'told=$(\n{line}\n) || exit\necho "$told"' if told else line
    line = f"{asks} || exit\n{line}" if asks else line
    alone = {"LLMCF_ALERT_WEBHOOK": ""} if quiet else {}
    return Verb(
        task_id=task or name.replace(" ", "_"),
        bash_command=f"{only_if} || exit {_SKIP}\n{line}" if only_if else line,
        env={**ENVIRONMENT, **alone, **{_variable(name): value for name, value in (given or {}).items()}},
        append_env=True,
        inlets=list(reads),
        outlets=list(writes),
        **arguments,
    )
