"""Triton's configurations say what core.contracts says, read as Triton reads them."""

import ast
from dataclasses import replace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from core.contracts import SCORE, SCORE_INPUTS, SCORE_OUTPUTS, TRITON_MODELS, Tensor
from core.settings import PROJECT
from llmcf.serving.manifest import Stage
from llmcf.serving.triton_config import MAX_BATCH, render, render_score, render_stage, write

DTYPES = {"int64": "TYPE_INT64", "float32": "TYPE_FP32", "string": "TYPE_STRING"}


def tracked(name: str) -> str:
    return (PROJECT / "triton_models" / name / "config.pbtxt").read_text(encoding="utf-8")


def parsed(name: str) -> model_config_pb2.ModelConfig:  # pyright: ignore[reportAttributeAccessIssue]
    return text_format.Parse(tracked(name), model_config_pb2.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]


def facts(tensor: Tensor, *, optional: bool) -> tuple[str, str, list[int], bool, bool]:
    return tensor.name, DTYPES[tensor.dtype], list(tensor.shape or (1,)), not tensor.shape, optional


@pytest.mark.parametrize("name", TRITON_MODELS)
def test_inputs_and_outputs_are_the_contract(name: str) -> None:
    config = parsed(name)
    inputs, outputs = TRITON_MODELS[name]
    for stated, wanted, optional in ((config.input, inputs, True), (config.output, outputs, False)):
        said = [
            (
                tensor.name,
                model_config_pb2.DataType.Name(tensor.data_type),  # pyright: ignore[reportAttributeAccessIssue]
                list(tensor.dims),
                tensor.HasField("reshape") and list(tensor.reshape.shape) == [],
                getattr(tensor, "optional", False),  # outputs have no such field
            )
            for tensor in stated
        ]
        assert said == [facts(tensor, optional=optional) for tensor in wanted]


def test_the_model_itself_knows_what_may_be_missing() -> None:
    """The configuration is for versions of every release, so it calls all inputs optional."""
    source = (PROJECT / "triton_models" / "onnx_model.py").read_text(encoding="utf-8")
    (stated,) = (line for line in source.splitlines() if line.startswith("OPTIONAL = "))
    optional = {tensor.name for inputs, _ in TRITON_MODELS.values() for tensor in inputs if tensor.optional}
    assert set(ast.literal_eval(stated.partition("(")[2].partition(")")[0])) == optional


@pytest.mark.parametrize("name", TRITON_MODELS)
def test_a_hundred_candidates_fit_and_requests_are_batched(name: str) -> None:
    config = parsed(name)
    assert (config.name, config.backend, config.max_batch_size) == (name, "python", MAX_BATCH)
    assert MAX_BATCH >= 100
    assert config.HasField("dynamic_batching")
    assert config.version_policy.HasField("all")


@pytest.mark.parametrize("name", [*TRITON_MODELS, SCORE])
def test_the_tracked_file_is_what_is_rendered(name: str) -> None:
    assert tracked(name) == render(name), "run `python -m llmcf.serving.triton_config`"


def test_only_what_differs_is_written(tmp_path) -> None:
    write(tmp_path)
    kept, changed = (tmp_path / name / "config.pbtxt" for name in ("ranker", "user_vector"))
    changed.write_text("stale")
    before = kept.stat().st_mtime_ns
    write(tmp_path)
    assert kept.stat().st_mtime_ns == before
    assert changed.read_text() == render("user_vector")


def test_a_release_asks_for_what_its_graph_reads_in_its_exact_version() -> None:
    inputs, outputs = TRITON_MODELS["ranker"]
    read = (inputs[0], replace(inputs[-1], shape=(384,)))
    stage = Stage(
        framework="none", backbone="x", recipe="best", seed=1, version=7, inputs=read, outputs=outputs, run=""
    )
    config = text_format.Parse(render_stage("ranker", stage), model_config_pb2.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]
    assert [(tensor.name, list(tensor.dims)) for tensor in config.input] == [("user", [1]), ("text", [384])]
    assert list(config.version_policy.specific.versions) == [7]
    (first,) = config.model_warmup
    assert first.batch_size == 200, "as many as the service has ranked"
    zeros = {name: (value.data_type, list(value.dims), value.zero_data) for name, value in first.inputs.items()}
    assert zeros == {tensor.name: (tensor.data_type, list(tensor.dims), True) for tensor in config.input}


def test_a_request_for_scores_is_whole_and_the_contract() -> None:
    config = parsed(SCORE)
    assert (config.name, config.backend, config.max_batch_size) == (SCORE, "python", 0)
    assert not config.HasField("dynamic_batching")
    for stated, wanted in ((config.input, SCORE_INPUTS), (config.output, SCORE_OUTPUTS)):
        said = [
            (
                tensor.name,
                model_config_pb2.DataType.Name(tensor.data_type),  # pyright: ignore[reportAttributeAccessIssue]
                tuple(tensor.dims),
                getattr(tensor, "optional", False),
            )
            for tensor in stated
        ]
        assert said == [(one.name, DTYPES[one.dtype], one.shape, one.optional) for one in wanted]
        assert not any(tensor.HasField("reshape") for tensor in stated)
    exact = text_format.Parse(render_score(7), model_config_pb2.ModelConfig())  # pyright: ignore[reportAttributeAccessIssue]
    assert list(exact.version_policy.specific.versions) == [7]


def test_the_model_that_scores_says_what_the_contract_says() -> None:
    source = ast.parse((PROJECT / "triton_models" / "score_model.py").read_text(encoding="utf-8"))
    said = {
        node.targets[0].id: node.value  # pyright: ignore[reportAttributeAccessIssue]
        for node in source.body
        if isinstance(node, ast.Assign)
    }
    whose, optional = ast.literal_eval(said["NEEDED"]), {one.name for one in SCORE_INPUTS if one.optional}
    assert set(whose) <= optional
    assert ast.literal_eval(said["ROWS"]) == MAX_BATCH
    integers = {one.name for one in SCORE_INPUTS if one.dtype == "int64"}
    assert set(ast.literal_eval(said["INTEGERS"].args[0])) == integers  # pyright: ignore[reportAttributeAccessIssue]
    (inputs,) = (node for node in source.body if isinstance(node, ast.FunctionDef) and node.name == "_inputs")
    read = {node.value for node in ast.walk(inputs) if isinstance(node, ast.Constant)} & {
        one.name for one in SCORE_INPUTS
    }
    assert read | set(whose) == {one.name for one in SCORE_INPUTS}
