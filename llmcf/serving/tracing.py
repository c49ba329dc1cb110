"""Traces: the caller's W3C trace context, and OpenTelemetry's spans where an endpoint for them is set.

Without one nothing of OpenTelemetry is imported, and a span costs a function call. What a caller sends as `traceparent`
is read in either case (https://www.w3.org/TR/trace-context/): log lines name its trace.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from core.errors import LlmcfError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_EXPORT_S = 5  # for a batch of spans to be taken
_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Parent:
    """What a caller says of its trace: ids in hexadecimal digits, flags, and `state`, which is others' matter."""

    trace: str
    span: str
    flags: int
    state: str = ""


@dataclass(slots=True)
class _Export:
    """Where spans go, while they do."""

    provider: "TracerProvider"
    tracer: "Tracer"


_export: _Export | None = None


def parent(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """The trace context of a request's headers, with names in lower case; None if there is none, or an invalid one.

    Of a version that is not known yet, what the first one has is read, as the standard wants it.
    """
    told = list(headers)
    parents = [value.decode("latin-1").strip(" \t") for name, value in told if name == b"traceparent"]
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    states = (value.decode("latin-1").strip(" \t") for name, value in told if name == b"tracestate")
    return Parent(found[2], found[3], int(found[4], 16), ",".join(one for one in states if one))


def check(endpoint: str | None) -> None:
    """Raises LlmcfError if spans are to be sent and OpenTelemetry is not installed."""
    if endpoint is not None and not all(find_spec(name) for name in ("opentelemetry", "opentelemetry.sdk")):
        raise LlmcfError(
            'LLMCF_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: `pip install "<checkout>[tracing]"`'
        )


def start(endpoint: str | None, **resource: str) -> None:
    """Send spans of this process to `endpoint` by OTLP over HTTP, in the background; None sends none.

    OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES) hold, too.

    Args:
        resource: what is said of this process with every span.
    """
    global _export
    if endpoint is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "llmcf", **resource}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", timeout=_EXPORT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _export = _Export(provider, provider.get_tracer("llmcf"))


def stop() -> None:
    """Send what is left, and no more."""
    global _export
    export, _export = _export, None
    if export:
        export.provider.shutdown()


def span(name: str, **attributes: Any) -> AbstractContextManager[Any]:
    """Around a part of a request; what is called within, in this thread, lies under it."""
    if _export is None:
        return _NOTHING
    return _export.tracer.start_as_current_span(name, attributes=attributes)


@contextmanager
def request(name: str, above: Parent | None, **attributes: Any) -> Iterator["Span | None"]:
    """Around a whole request, under the caller's span; the span itself, None where none are sent."""
    if _export is None:
        yield None
        return
    from opentelemetry import trace

    context = trace.set_span_in_context(trace.NonRecordingSpan(_context(above))) if above else None
    kind = trace.SpanKind.SERVER
    with _export.tracer.start_as_current_span(name, context=context, kind=kind, attributes=attributes) as made:
        yield made


def trace_id(above: Parent | None, made: "Span | None") -> str:
    """Of a request's trace, "" where it has none."""
    return above.trace if above else f"{made.get_span_context().trace_id:032x}" if made else ""


def _context(above: Parent) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    return SpanContext(
        trace_id=int(above.trace, 16),
        span_id=int(above.span, 16),
        is_remote=True,
        trace_flags=TraceFlags(above.flags),
        trace_state=TraceState.from_header([above.state]) if above.state else TraceState(),
    )
