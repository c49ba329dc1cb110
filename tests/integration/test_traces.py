"""Spans of a service as it runs, as a collector of OpenTelemetry sees them."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from core.data import features, tables
from core.settings import Workspace
from llmcf.feature_store import jobs
from tests.online_release import make_release
from tests.running_service import Running, run_service

pytestmark = pytest.mark.integration
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STAGES = {"features", "user vector", "item search", "examples", "ranker", "rules"}


class Collector(ThreadingHTTPServer):
    """Takes what is sent to /v1/traces."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    def of(self, trace: str, wanted: set[str], seconds: float = 90.0) -> dict[str, Span]:
        """The spans of a trace by name, once those that are wanted are among them; of several, the last."""
        end = time.monotonic() + seconds
        while wanted - (found := {one.name: one for one in self.spans if one.trace_id.hex() == trace}).keys():
            assert time.monotonic() < end, [one.name for one in self.spans]
            time.sleep(0.1)
        return found


class Taking(BaseHTTPRequestHandler):
    server: Collector  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        told = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for one in told.resource_spans:
            self.server.resources.append({each.key: each.value.string_value for each in one.resource.attributes})
            self.server.spans += [span for scope in one.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def service(
    own: Workspace, collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMCF_TRITON_MODELS", str(tmp_path_factory.mktemp("models")))
        patch.setenv("LLMCF_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("LLMCF_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        features.build(own)
        jobs.apply(own)
        jobs.materialize(own)
        make_release(own, 0)
        with run_service(own.dataset, tmp_path_factory.mktemp("service") / "log", "--workers", "1") as running:
            yield running, tables.users(own)["raw_id"][3].as_py()


def test_a_request_is_a_trace_of_its_caller(service: tuple[Running, str], collector: Collector) -> None:
    running, user = service
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "shop=7", "X-Request-Id": "r-1"}
    answer = running.http.post("/recommendations", json={"user": user, "k": 3}, headers=headers)
    assert answer.headers["X-Request-Id"] == "r-1"
    found = collector.of(TRACE, {"POST /recommendations", "release", *STAGES})
    whole, release = found["POST /recommendations"], found["release"]
    assert whole.parent_span_id.hex() == SPAN
    assert whole.kind == Span.SPAN_KIND_SERVER
    assert whole.trace_state == "shop=7"
    said = {one.key: one.value for one in whole.attributes}
    assert said["llmcf.request_id"].string_value == "r-1"
    assert said["http.response.status_code"].int_value == 200
    assert release.parent_span_id == found["rules"].parent_span_id == whole.span_id
    assert {one.key: one.value.string_value for one in release.attributes}["llmcf.arm"] == "live"
    for name in STAGES - {"rules"}:
        assert found[name].parent_span_id == release.span_id
        took = (found[name].end_time_unix_nano - found[name].start_time_unix_nano) / 1e6
        assert took == pytest.approx(answer.json()["served_by"]["milliseconds"][name], abs=5)
    assert collector.resources[0]["service.name"] == "llmcf"


def test_what_is_not_valid_or_not_sampled_is_no_ones_trace(service: tuple[Running, str], collector: Collector) -> None:
    running, user = service
    other, silent = "a" * 32, "b" * 32
    for told in (f"00-{other}-{SPAN}-01-more", f"00-{silent}-{SPAN}-00"):
        assert running.http.post(
            "/scores", json={"user": user, "items": ["1"]}, headers={"traceparent": told}
        ).is_success
    assert running.http.get("/health/live").is_success
    last = "c" * 32
    running.http.post("/scores", json={"user": user, "items": ["1"]}, headers={"traceparent": f"00-{last}-{SPAN}-01"})
    collector.of(last, {"POST /scores"})
    assert not {other, silent} & {one.trace_id.hex() for one in collector.spans}
    assert sum(one.name == "POST /scores" for one in collector.spans) == 2, "the invalid one began a trace of its own"
    assert not any("health" in one.name for one in collector.spans)


def test_a_log_line_names_the_request_and_its_trace(service: tuple[Running, str], collector: Collector) -> None:
    running, user = service
    headers = {"traceparent": f"00-{'d' * 32}-{SPAN}-01", "X-Request-Id": "r-2"}
    refused = running.http.post("/recommendations", json={"user": user, "scene": "nowhere"}, headers=headers)
    assert refused.status_code == 400
    assert running.said(f"request r-2, trace {'d' * 32}: unknown scene")


def test_a_collector_that_is_gone_costs_nobody_an_answer(service: tuple[Running, str], collector: Collector) -> None:
    running, user = service
    collector.server_close()
    for _ in range(5):
        assert running.http.post("/recommendations", json={"user": user, "k": 3}).status_code == 200
