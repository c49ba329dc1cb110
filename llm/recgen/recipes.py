"""How the language model is tuned, and on what."""

from dataclasses import asdict, dataclass

from core.errors import UsageError, check_choice
from llm.defaults import LLM, SEED
from llm.methods import Method, method

SAMPLINGS = ("uniform", "by-source")
ORDERS = ("mixed", "general-first", "general-last")
PRECISIONS = ("auto", "float32", "bfloat16")
ZERO_STAGES = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """What a model is tuned on.

    Args:
        rows: recommendation rows of a whole run; None for all training rows, which is the paper's epoch.
        share: how much of them this method takes.
        general_share: general instructions as a share of a whole run's samples; 0 for none.
        sampling: of general instructions, each alike or each source alike.
        order: general instructions among the rows, before or after them.
    """

    seed: int
    rows: int | None
    share: float = 1.0
    general_share: float = 0.0
    sampling: str = SAMPLINGS[0]
    order: str = ORDERS[0]

    def __post_init__(self) -> None:
        check_choice("sampling", self.sampling, SAMPLINGS)
        check_choice("order of the mix", self.order, ORDERS)
        if not 0 <= self.general_share < 1:
            raise UsageError(f"a general share of {self.general_share} is not between 0 and 1")
        if self.rows is not None and self.rows < 2:
            raise UsageError(f"--rows {self.rows}: a run needs two recommendation rows or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningConfig:
    """A run. The paper's: all rows, one epoch, 1,024 tokens, 16 sequences on each of 8 GPUs, learning rate 1e-5, bf16.

    The defaults are for a model of 135M parameters on two cores, which learns little at the paper's rate.

    Args:
        rows: recommendation rows of the method `full`; None for all.
        batch: sequences a process and micro-batch; a step takes batch * accumulation * processes * nodes.
        warmup: share of the steps.
        general_share: of the samples of a method that mixes general instructions in.
        precision: of the matrix products, one of PRECISIONS; weights, gradients' sums and the optimizer stay float32.
            `auto` is bfloat16 on a GPU and float32 on a CPU, so that a result does not depend on the kind of CPU;
            bfloat16 pays on a CPU that has instructions for it (avx512_bf16, amx) and is slower on others.
        zero_stage, offload: DeepSpeed's ZeRO; 3 and offload are for models that do not fit otherwise.
    """

    method: str = "recgen"
    seed: int = SEED
    rows: int | None = 32
    model: str = LLM
    batch: int = 8
    accumulation: int = 1
    processes: int = 1
    nodes: int = 1
    max_tokens: int = 256
    learning_rate: float = 1e-4
    warmup: float = 0.05
    general_share: float = 0.25
    general_sampling: str = SAMPLINGS[0]
    order: str = ORDERS[0]
    precision: str = PRECISIONS[0]
    zero_stage: int = 2
    offload: bool = False
    checkpoint_steps: int = 200

    def __post_init__(self) -> None:
        method(self.method)
        counts = {
            "--batch": self.batch,
            "--accumulation": self.accumulation,
            "--processes": self.processes,
            "--nodes": self.nodes,
            "checkpoint_steps": self.checkpoint_steps,
        }
        for name, value in counts.items():
            if value < 1:
                raise UsageError(f"{name} {value} is less than 1")
        check_choice("precision", self.precision, PRECISIONS)
        if self.zero_stage not in ZERO_STAGES:
            raise UsageError(f"--zero-stage {self.zero_stage}: choose one of: {', '.join(map(str, ZERO_STAGES))}")
        if self.max_tokens < 64:
            raise UsageError(f"--max-tokens {self.max_tokens}: an instruction alone needs 64")

    @property
    def how(self) -> Method:
        return method(self.method)

    @property
    def mix(self) -> Mix:
        return Mix(
            seed=self.seed,
            rows=self.rows,
            share=self.how.share,
            general_share=self.general_share if self.how.general else 0.0,
            sampling=self.general_sampling,
            order=self.order,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of a tuned model's abilities is looked at.

    Args:
        pairs: held-out positives, each with its negative.
        questions: of each MMLU subject; None for all there are, 0 leaves MMLU out.
        instructions: held-out general instructions whose answers are scored.
        texts: of them that are answered, to see whether texts degenerate.
    """

    pairs: int = 200
    questions: int | None = 4
    instructions: int = 48
    texts: int = 24

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < (0 if name == "questions" else 1):
                raise UsageError(f"--{name} {value} is less than 1")
