"""Folders with odd names work or are refused at once; what is set to nothing is not set; a day is one day."""

import errno
import os
from pathlib import Path

import pytest

from core import settings
from core.errors import UsageError
from core.settings import Workspace

PATHS = {
    "LLMCF_HOME": settings.home,
    "LLMCF_RUNS": settings.runs,
    "LLMCF_RESULTS": settings.results,
    "LLMCF_TRITON_MODELS": settings.triton_models,
    "LLMCF_SHARED": settings.shared,
    "LLMCF_ENVS": settings.environments,
}
TEXTS = {
    "LLMCF_MILVUS_URI": settings.milvus_uri,
    "LLMCF_REDIS": settings.redis_connection,
    "LLMCF_LLM_URL": settings.llm_url,
    "LLMCF_AMAZON_URL": settings.amazon_url,
    "LLMCF_RENDEZVOUS": settings.rendezvous,
    "LLMCF_SPARK_MASTER": settings.spark_master,
    "LLMCF_LEASE_SECONDS": settings.lease_seconds,
    "LLMCF_SHARD": settings.shard,
    "LLMCF_SHARDS": settings.shard_count,
    "LLMCF_RAY_ADDRESS": settings.ray_address,
    "LLMCF_RAY_ACTORS": settings.ray_actors,
    "LLMCF_RAY_GPUS": settings.ray_gpus,
}


@pytest.mark.parametrize("variable", [*PATHS, *TEXTS])
def test_set_to_nothing_means_unset(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = (PATHS | TEXTS)[variable]
    monkeypatch.delenv(variable, raising=False)
    unset = read()
    for nothing in ("", "  "):
        monkeypatch.setenv(variable, nothing)
        assert read() == unset


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLMCF_RAY_ACTORS", "0"),
        ("LLMCF_RAY_ACTORS", "1.5"),
        ("LLMCF_RAY_ACTORS", "many"),
        ("LLMCF_RAY_GPUS", "-1"),
        ("LLMCF_RAY_GPUS", "nan"),
    ],
)
def test_what_is_no_number_of_workers_is_refused(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=f"{variable} '{value}' is no (whole )?number from [01] to 10000"):
        TEXTS[variable]()


@pytest.mark.parametrize(
    ("value", "taken"),
    [("auto", True), ("head:6379", True), ("[::1]:6379", True), ("head", False), ("ray://head:1", False)],
)
def test_the_address_of_a_cluster(value: str, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_RAY_ADDRESS", value)
    if taken:
        assert settings.ray_address() == value
    else:
        with pytest.raises(UsageError, match=f"LLMCF_RAY_ADDRESS '{value}' is neither auto nor host:port"):
            settings.ray_address()


def test_writers_elsewhere_see_the_same_home_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder they start in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMCF_HOME", "home")
    monkeypatch.setenv("LLMCF_LLM_KEY", "a secret")
    monkeypatch.setenv("LLMCF_LLM_URL", "")
    monkeypatch.delenv("LLMCF_ENVS", raising=False)
    assert settings.for_writers_elsewhere() == {"LLMCF_HOME": str(tmp_path / "home")}


@pytest.mark.parametrize(
    "name", ["with a blank", "Müller & Söhne", "it's", "日本", "50%", "$HOME", "semi;colon", "[2026]"]
)
def test_odd_names_are_taken_as_they_are(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, read in PATHS.items():
        monkeypatch.setenv(variable, str(tmp_path / name))
        assert read() == tmp_path / name
    settings.check_places()
    assert (tmp_path / name).is_dir()
    assert list((tmp_path / name).iterdir()) == [], "the look leaves nothing behind"


@pytest.mark.parametrize("name", ["new\nline", os.fsdecode(b"latin\xe9"), "~nobody-of-this-name/x"])
def test_a_name_that_cannot_be_written_down_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_HOME", name)
    with pytest.raises(UsageError, match=r"^LLMCF_HOME ") as caught:
        settings.home()
    str(caught.value).encode()


@pytest.mark.parametrize("variable", ["LLMCF_HOME", "LLMCF_RUNS", "LLMCF_RESULTS", "LLMCF_TRITON_MODELS"])
def test_a_file_is_refused(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    with pytest.raises(UsageError, match=rf"^{variable} .*file.*name a folder"):
        settings.check_places()


def test_a_folder_under_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMCF_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UsageError, match="lies under one"):
        settings.check_places()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full; make room"),
        (errno.EROFS, r"cannot be written to \(Read-only"),
        (errno.EACCES, "denied"),
    ],
)
def test_a_folder_that_takes_nothing_is_refused(
    number: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setenv("LLMCF_HOME", str(tmp_path))
    monkeypatch.setattr(settings.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UsageError, match=words):
        settings.check_places()


@pytest.mark.parametrize("spelt", ["2026-10-01", "20261001", "2026-W40-4", "2026W404"])
def test_a_day_is_one_workspace_however_it_is_spelt(spelt: str):
    place = Workspace("movielens-100k", "published", spelt)
    assert place == Workspace("movielens-100k", "published", "2026-10-01")
    assert (place.as_of, place.root.name) == ("2026-10-01", "2026-10-01")


@pytest.mark.parametrize("spelt", ["yesterday", "", "2026-13-01", "2026-10-01T00:00", "Latest", "2026-10"])
def test_what_is_no_day_is_named(spelt: str):
    with pytest.raises(UsageError, match="is neither 'latest' nor a date"):
        Workspace("movielens-100k", "published", spelt)


def test_spans_go_to_a_web_address(monkeypatch: pytest.MonkeyPatch):
    assert settings.otlp_endpoint() is None
    monkeypatch.setenv("LLMCF_OTLP_ENDPOINT", "http://collector:4318/")
    assert settings.otlp_endpoint() == "http://collector:4318"
    monkeypatch.setenv("LLMCF_OTLP_ENDPOINT", "collector:4318")
    with pytest.raises(UsageError, match="LLMCF_OTLP_ENDPOINT 'collector:4318' is no http"):
        settings.otlp_endpoint()


def test_feasts_own_page_is_a_web_address(monkeypatch: pytest.MonkeyPatch):
    assert settings.feast_ui() is None
    monkeypatch.setenv("LLMCF_FEAST_UI", "https://feast:8888/ui")
    assert settings.feast_ui() == "https://feast:8888/ui"
    for wrong in ("feast:8888", "javascript:alert(1)", "http:///x", "http://a b"):
        monkeypatch.setenv("LLMCF_FEAST_UI", wrong)
        with pytest.raises(UsageError, match="LLMCF_FEAST_UI"):
            settings.feast_ui()


def test_a_webhook_is_a_web_address_and_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLMCF_ALERT_WEBHOOK", raising=False)
    assert settings.alert_webhook() is None
    monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", "https://hooks:443/a/b")
    assert settings.alert_webhook() == "https://hooks:443/a/b"
    for wrong in ("hooks/a", "ftp://secret", "https:///secret"):
        monkeypatch.setenv("LLMCF_ALERT_WEBHOOK", wrong)
        with pytest.raises(UsageError) as refused:
            settings.alert_webhook()
        assert wrong not in str(refused.value)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1e9", "nan"])
def test_a_rate_is_a_positive_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_PER_SECOND", text)
    with pytest.raises(UsageError, match=f"LLMCF_REQUESTS_PER_SECOND '{text}' is no positive number"):
        settings.requests_per_second()
    monkeypatch.setenv("LLMCF_REQUESTS_PER_SECOND", "0.5")
    assert settings.requests_per_second() == 0.5


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "nan"])
def test_requests_at_once_are_a_whole_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMCF_REQUESTS_AT_ONCE", text)
    with pytest.raises(UsageError, match=f"LLMCF_REQUESTS_AT_ONCE '?{text}"):
        settings.requests_at_once()
    monkeypatch.setenv("LLMCF_REQUESTS_AT_ONCE", "8")
    assert settings.requests_at_once() == 8


@pytest.mark.parametrize(
    ("told", "namespace"),
    [
        ({}, None),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:5000"}, "llmcf"),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "console", "OPENLINEAGE_NAMESPACE": "plant"}, "plant"),
        ({"OPENLINEAGE_CONFIG": " ", "OPENLINEAGE_NAMESPACE": "plant"}, None),
        ({"OPENLINEAGE_URL": "http://127.0.0.1:5000", "OPENLINEAGE_DISABLED": "True"}, None),
    ],
)
def test_lineage_is_told_where_openlineages_variables_say_to_whom(
    told: dict[str, str], namespace: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert settings.lineage_namespace() == namespace
