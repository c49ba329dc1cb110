"""A span around each request, under its caller's, outside of everything else; plain ASGI."""

from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmcf.serving import tracing

_UNTRACED = ("/health/", "/metrics")  # what only asks whether the service is well


class Traced:
    """Reads the caller's trace context and leaves the trace's id, or "", in the request's state as `trace`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        above, status = tracing.parent(scope["headers"]), 500
        state = scope.setdefault("state", {})
        state["trace"] = tracing.trace_id(above, None)
        if scope["path"].startswith(_UNTRACED):
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        with tracing.request(scope["method"], above) as span:
            state["trace"] = tracing.trace_id(above, span)
            try:
                await self._app(scope, receive, answer)
            finally:
                if span:
                    _describe(span, scope, status)


def _describe(span: Any, scope: Scope, status: int) -> None:
    """What OpenTelemetry's conventions for HTTP want to be said, known only afterwards; and the request's id."""
    route = getattr(scope.get("route"), "path_format", "")
    span.update_name(f"{scope['method']} {route}".strip())
    span.set_attributes(
        {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": status,
            "llmcf.request_id": scope["state"].get("request_id", ""),
            **({"error.type": str(status)} if status >= 500 else {}),
        }
    )
