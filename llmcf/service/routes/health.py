"""Whether the service lives, whether it can answer, and what it counts."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess

from llmcf.service.access import Apart
from llmcf.service.messages import Health
from llmcf.service.middleware import seconds_left
from llmcf.service.openapi import problems_of
from llmcf.service.service import Service

router = APIRouter(tags=["health"])
_COUNTED = 'llmcf_service_answers_total{route="/recommendations",status="200"} 7.0'
_TEXT = {"text/plain": {"schema": {"type": "string"}, "example": _COUNTED}}


@router.get("/health/live")
async def live() -> Health:
    """This worker runs."""
    return Health(status="ok")


@router.get("/health/ready", responses={503: {"description": "A part fails.", "model": Health}, **problems_of(504)})
async def ready(request: Request, response: Response) -> Health:
    """The live release answers a canary: Triton itself says ready while its model process is dead."""
    service: Service = request.app.state.service
    checks = await service.checks(seconds_left(request.state))
    failing = any(found != "ok" for found in checks.values())
    response.status_code = 503 if failing else 200
    return Health(status="failing" if failing else "ok", checks=checks)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": _TEXT}, **problems_of(404)},
    dependencies=[Apart],
)
def metrics() -> Response:
    """Prometheus' text format, of all workers together."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
