"""Every day: write the chains of thought that are new, embed them, index them, flip the alias once it is verified.

**In**: `llmcf_features` and the pinned model. **Out**: `llmcf_cot_index` of the day, in Milvus. **Cost**: the new texts
alone, by `cot_workers` tasks that share one queue; a worker that dies leaves its rest to the others. **Again**: nothing
is written, embedded or indexed twice.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, chain, dag, get_current_context, task
from assets import COT_INDEX, ENCODER, FEATURES, TABLES, TEXTS, TRAINING, VECTORS, WRITER
from verbs import ENVIRONMENT, Verb, command, usual, verb

WRITE = {
    "--recipe": "recipe",
    "--seed": "seed",
    "--engine": "engine",
    "--model": "llm",
    "--limit": "cot_limit",
    "--style": "cot_style",
}


@task
def cot_workers() -> list[str]:
    """The same command for each worker: they share one queue of texts, and the last one puts the table together."""
    params = get_current_context()["params"]  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return [command("cot generate", WRITE)] * int(params["cot_workers"])


@dag(schedule=PartitionedAssetTimetable(assets=FEATURES), **usual(__doc__, late_after=timedelta(hours=12)))
def refresh_cot_index() -> None:
    workers = cot_workers()
    generate = Verb.partial(
        task_id="cot_generate",
        env=ENVIRONMENT,
        append_env=True,
        pool="llm",
        inlets=[TABLES, TRAINING, WRITER],
        also_writes=[TEXTS],
    ).expand(bash_command=workers)
    embed = verb("cot embed", {"--encoder": "encoder"}, pool="llm", reads=[TABLES, TEXTS, ENCODER], writes=[VECTORS])
    index = verb("cot index", pool="milvus", reads=[TRAINING, TEXTS, VECTORS], writes=[COT_INDEX])
    chain(workers, generate, embed, index)


refresh_cot_index()
