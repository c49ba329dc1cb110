"""The daily refresh of LLM-CF: data, features, chain of thought, both recommenders, release.

Every task is one `llmcf` verb, the same that an analyst runs by hand. A task whose inputs have not changed answers at
once, so clearing or re-running the DAG is cheap and safe. Nothing is released whose rows break the leak rule: the
audit comes before the export. `as_of` bounds what a run may see: interactions before that day, 00:00 UTC. Left empty it
is the end of the run's data interval; "latest" takes everything there is.

Texts are written by `cot_workers` tasks that share one queue (locks in LLMCF_HOME, which all workers see), so
no text is written twice and a worker that dies leaves its rest to the others.

Pools: `llm` keeps one language-model job at a time on a machine, `milvus` one writer of a Milvus Lite file. Create
them once with `airflow pools import dags/pools.json`. Retries are the deployment's choice: every task is safe to
repeat, so set AIRFLOW__CORE__DEFAULT_TASK_RETRIES=2 in production; a local `airflow dags test` still fails at once.
"""

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param, chain, dag, get_current_context, task

AS_OF = "{{ params.as_of or (data_interval_end or logical_date or dag_run.run_after).date() }}"


ENVIRONMENT = {  # parameters reach the shell through it, never as part of the command
    "LLMCF_DAG_DATASET": "{{ params.dataset }}",
    "LLMCF_DAG_ORDER": "{{ params.order }}",
    "LLMCF_DAG_AS_OF": AS_OF,
}


def command(name: str, *arguments: str) -> str:
    place = '--dataset "$LLMCF_DAG_DATASET" --order "$LLMCF_DAG_ORDER" --as-of "$LLMCF_DAG_AS_OF"'
    return " ".join(["llmcf", name, place, *arguments])


def verb(name: str, *arguments: str, pool: str = "default_pool", task: str | None = None) -> BashOperator:
    """One `llmcf` verb as a task."""
    return BashOperator(
        task_id=task or name.replace(" ", "_"),
        bash_command=command(name, *arguments),
        env=ENVIRONMENT,
        append_env=True,
        pool=pool,
    )


@task
def cot_workers() -> list[str]:
    """The same command for each worker: they share one queue of texts, and the last one puts the table together."""
    params = get_current_context()["params"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return [command("cot generate")] * int(params["cot_workers"])


@dag(
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params={
        "dataset": Param("movielens-100k", type="string"),
        "order": Param("shuffled-ties", enum=["shuffled-ties", "published", "global-time"]),
        "cot_workers": Param(1, type="integer", minimum=1, maximum=64),
        "as_of": Param("", type="string", pattern=r"^(|latest|\d{4}-\d{2}-\d{2})$"),
    },
    tags=["llmcf"],
    doc_md=__doc__,
)
def llmcf_daily() -> None:
    prepare = verb("data prepare")
    features = [verb(f"features {name}") for name in ("build", "apply", "join", "materialize")]
    recgen = verb("recgen train", pool="llm")
    workers = cot_workers()
    generate = BashOperator.partial(task_id="cot_generate", env=ENVIRONMENT, append_env=True, pool="llm").expand(
        bash_command=workers
    )
    embed = verb("cot embed", pool="llm")
    index = verb("cot index", pool="milvus")
    rankers = [
        verb("rank train", f"--framework {framework}", task=f"rank_train_{framework.replace('-', '_')}")
        for framework in ("none", "llm-cf")
    ]
    retrievers = [
        verb("retrieve train", f"--framework {framework}", task=f"retrieve_train_{framework.replace('-', '_')}")
        for framework in ("none", "llm-cf")
    ]
    audit = verb("audit leaks")
    export = verb("export", pool="milvus")
    canary = verb("serve", "--check")

    chain(prepare, verb("data report"))
    chain(prepare, *features, recgen, workers, generate, embed, index)
    chain(index, [rankers[0], retrievers[0]], [rankers[1], retrievers[1]], audit, export, canary)


llmcf_daily()
