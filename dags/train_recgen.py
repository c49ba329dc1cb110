"""Once a week, on the day that `train_recgen` names, or upon drift: tune the language model on the day's rows, check
it, pin it. Where the event of that day was lost, the next one's run does it.

The pinned model writes every day's texts until the next one is pinned; a model of each day would have all texts
written anew each day. One that is worse than the pinned one by more than `gates.toml` allows is not pinned: the run
fails with what it lacks, and the one before writes on. **In**: `llmcf_features`. **Out**: the pin, where the parameter
`llm` is `pinned`, and scores of rows that did not tune the model, where there are any, for distillation; no other task
reads these. **Cost**: the most expensive task there is, hours on a GPU. **Again**: goes on from the last checkpoint;
what was measured is not measured again.
"""

from datetime import timedelta

from airflow.sdk import PartitionedAssetTimetable, chain, dag
from assets import BASE_LLM, FEATURES, INSTRUCTIONS, SCORES, TABLES, TRAINING, TUNED_LLM, WRITER
from verbs import command, usual, verb

ALWAYS = '[ "$LLMCF_DAG_TRAIN_RECGEN" = always ]'
A_DAY = '[ -n "$LLMCF_DAG_WEEKDAY" ]'  # `latest` is none
EVER = f'[ "$LLMCF_DAG_TRAIN_RECGEN" != never ] && {{ {ALWAYS} || {A_DAY}; }}'
ON_ITS_DAY = f'{ALWAYS} || [ "$LLMCF_DAG_TRAIN_RECGEN" = "$LLMCF_DAG_WEEKDAY" ]'
PINNED = '[ "$LLMCF_DAG_LLM" = pinned ]'
SOME_ROWS = '[ "$LLMCF_DAG_RECGEN_ROWS" != 0 ]'  # of all that there are, none is left to be scored out of fold


@dag(schedule=PartitionedAssetTimetable(assets=FEATURES), **usual(__doc__, late_after=timedelta(hours=24)))
def train_recgen() -> None:
    tuning = {"--seed": "seed", "--rows": "recgen_rows", "--model": "recgen_model"}
    rows, seed = [TABLES, TRAINING], {"--seed": "seed"}
    train = verb(
        "recgen train",
        tuning,
        pool="llm",
        only_if=EVER,
        asks=f"{ON_ITS_DAY} || {command('llm due', {'--weekday': 'train_recgen'})}",
        reads=[*rows, BASE_LLM, INSTRUCTIONS],
        writes=[TUNED_LLM],
    )
    score = verb(
        "recgen score",
        seed,
        pool="llm",
        only_if=f"{PINNED} && {SOME_ROWS}",
        reads=[*rows, TUNED_LLM],
        writes=[SCORES],
    )
    check = verb(
        "llm check",
        seed,
        fixed="--model recgen",
        pool="llm",
        only_if=PINNED,
        quiet=True,
        reads=[*rows, TUNED_LLM, INSTRUCTIONS],
    )
    pin = verb("llm pin", seed, fixed="--model recgen --checked", only_if=PINNED, reads=[TUNED_LLM], writes=[WRITER])
    chain(train, check, pin)
    chain(train, score)  # a branch of its own: whether it is pinned does not depend on what it teaches


train_recgen()
