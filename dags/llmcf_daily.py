"""The daily refresh of LLM-CF: data, features, chain of thought, both recommenders, release.

Every task is one `llmcf` verb, the same that an analyst runs by hand. A task whose inputs have not changed answers at
once, so clearing or re-running the DAG is cheap and safe. Nothing is released whose rows break the leak rule: the
audit comes before the export. `as_of` bounds what a run may see: interactions before that day, 00:00 UTC. Left empty it
is the end of the run's data interval; "latest" takes everything there is.

The language model that writes is pinned: a model tuned anew each day would change every question's answer and have all
texts written again. `train_recgen` tunes it by choice, for instance weekly; the parameter `llm` then names it.

Texts are written by `cot_workers` tasks that share one queue (locks in LLMCF_HOME, which all workers see), so
no text is written twice and a worker that dies leaves its rest to the others.

Pools: `llm` keeps one language-model job at a time on a machine, `milvus` one writer of a Milvus Lite file. Create
them once with `airflow pools import dags/pools.json`. Retries are the deployment's choice: every task is safe to
repeat, so set AIRFLOW__CORE__DEFAULT_TASK_RETRIES=2 in production; a local `airflow dags test` still fails at once.
"""

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import TriggerRule, chain, dag, get_current_context, task
from verbs import ENVIRONMENT, PARAMETERS, command, verb

WRITE = {
    "--recipe": "recipe",
    "--seed": "seed",
    "--engine": "engine",
    "--model": "llm",
    "--limit": "cot_limit",
    "--style": "cot_style",
}
TRAIN = {"--recipe": "recipe", "--seed": "seed"}


@task(trigger_rule=TriggerRule.NONE_FAILED)  # tuning may have been skipped
def cot_workers() -> list[str]:
    """The same command for each worker: they share one queue of texts, and the last one puts the table together."""
    params = get_current_context()["params"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return [command("cot generate", WRITE)] * int(params["cot_workers"])


def trained(stage: str, backbone: str) -> list[BashOperator]:
    """The plain model, which the other is measured against, and the one that is released."""
    options = {"--model": backbone, **TRAIN}
    plain = verb(f"{stage} train", options, fixed="--framework none", task=f"{stage}_train_none")
    return [plain, verb(f"{stage} train", {**options, "--framework": "framework"})]


@dag(
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    params=PARAMETERS,
    tags=["llmcf"],
    doc_md=__doc__,
)
def llmcf_daily() -> None:
    prepare = verb("data prepare", {"--seed": "seed", "--negative-draws": "negative_draws"})
    features = [verb(f"features {name}") for name in ("build", "apply", "join", "materialize")]
    tuning = {"--seed": "seed", "--rows": "recgen_rows", "--model": "recgen_model"}
    recgen = verb("recgen train", tuning, pool="llm", only_if="train_recgen")
    workers = cot_workers()
    generate = BashOperator.partial(task_id="cot_generate", env=ENVIRONMENT, append_env=True, pool="llm").expand(
        bash_command=workers
    )
    embed = verb("cot embed", {"--encoder": "encoder"}, pool="llm")
    index = verb("cot index", pool="milvus")
    rankers, retrievers = trained("rank", "ranker"), trained("retrieve", "retriever")
    audit = verb("audit leaks")
    released = {"--ranker": "ranker", "--retriever": "retriever", "--framework": "framework", **TRAIN}
    export = verb("export", released, pool="milvus")
    canary = verb("serve", fixed="--check")

    chain(prepare, verb("data report"))
    chain(prepare, *features, recgen, workers, generate, embed, index)
    chain(index, [rankers[0], retrievers[0]], [rankers[1], retrievers[1]], audit, export, canary)


llmcf_daily()
