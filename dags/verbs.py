"""What the DAGs share: their parameters, and `llmcf` verbs as tasks. Airflow puts this folder on the path.

A parameter reaches the shell through the environment, never as part of a command, so that none becomes shell code.
"""

from collections.abc import Mapping

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Param

ENGINES = ["vllm", "openvino", "transformers", "server"]
RANKERS = ["deepfm", "xdeepfm", "autoint", "dcn", "dcnv2", "din"]
RETRIEVERS = ["sasrec", "youtubednn", "gru4rec", "srgnn"]
RECIPES = ["strict", "paper", "best"]
ORDERS = ["shuffled-ties", "published", "global-time"]
FRAMEWORKS = ["none", "llm-cf"]  # those that need no other verbs than these
DAY = r"^(|latest|\d{4}-\d{2}-\d{2})$"

PARAMETERS = {
    "dataset": Param("movielens-100k", type="string", minLength=1, description="The data set, by name."),
    "order": Param("", enum=["", *ORDERS], description="How interactions are ordered; empty: as the data set says."),
    "as_of": Param("", type="string", pattern=DAY, description="Data before this day; empty: the run's own day."),
    "seed": Param(2023, type="integer", minimum=0),
    "negative_draws": Param(1, type="integer", minimum=1, description="Negatives that a training row has."),
    "train_recgen": Param(False, type="boolean", description="Tune the language model; else the pinned one writes."),
    "recgen_rows": Param(0, type="integer", minimum=0, description="Rows that tune it; 0 is all, the paper's epoch."),
    "recgen_model": Param("smollm2-135m-instruct", type="string", minLength=1, description="What is tuned."),
    "llm": Param("pinned", type="string", minLength=1, description="Who writes: pinned, recgen, base or a folder."),
    "engine": Param(ENGINES[0], enum=ENGINES, description="What runs the language model."),
    "cot_limit": Param(0, type="integer", minimum=0, description="Rows that get a text; 0 is a tenth of them."),
    "cot_style": Param("guided", enum=["guided", "suited", "compared", "led", "free"]),
    "cot_workers": Param(1, type="integer", minimum=1, maximum=64, description="Tasks that write side by side."),
    "encoder": Param("all-minilm-l6-v2", type="string", minLength=1, description="What makes vectors of texts."),
    "ranker": Param("deepfm", enum=RANKERS),
    "retriever": Param("sasrec", enum=RETRIEVERS),
    "framework": Param("llm-cf", enum=FRAMEWORKS, description="What is released; none is trained beside it."),
    "recipe": Param("best", enum=RECIPES),
}

AS_OF = "{{ params.as_of or (data_interval_end or logical_date or dag_run.run_after).date() }}"
_SKIP = 99  # the exit code that BashOperator takes for "skipped"


def _variable(parameter: str) -> str:
    return f"LLMCF_DAG_{parameter.upper()}"


ENVIRONMENT = {_variable(name): f"{{{{ params.{name} }}}}" for name in PARAMETERS} | {_variable("as_of"): AS_OF}


def command(name: str, options: Mapping[str, str] | None = None, *, fixed: str = "") -> str:
    """The command line of a verb.

    Args:
        options: parameters by the option that takes them; data set, order and day always go along.
        fixed: further options as they are.
    """
    taken = {"--dataset": "dataset", "--order": "order", "--as-of": "as_of", **(options or {})}
    given = (f'{option} "${_variable(parameter)}"' for option, parameter in taken.items())
    return " ".join(["llmcf", name, *given, *([fixed] if fixed else [])])


def verb(
    name: str,
    options: Mapping[str, str] | None = None,
    *,
    fixed: str = "",
    task: str | None = None,
    pool: str = "default_pool",
    only_if: str | None = None,
) -> BashOperator:
    """A verb as a task; skipped unless the parameter `only_if`, if one is named, is true."""
    line = command(name, options, fixed=fixed)
    return BashOperator(
        task_id=task or name.replace(" ", "_"),
        bash_command=f'[ "${_variable(only_if)}" = True ] || exit {_SKIP}\n{line}' if only_if else line,
        env=ENVIRONMENT,
        append_env=True,
        pool=pool,
    )
