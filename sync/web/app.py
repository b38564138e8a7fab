"""The paths that can be asked for, and what stands behind each. The document of them is docs/openapi.yaml."""

from collections.abc import Callable
from datetime import datetime

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from state.errors import StateError
from sync.web.door import Door
from sync.web.health import Health, readiness
from sync.web.ledger import Ledger
from sync.web.runner import Runner

log = structlog.get_logger()

LATER = {"retry-after": "5"}
ASKED_TO_WAIT = frozenset({429, 503})


def web_app(runner: Runner, door: Door, ledger: Ledger, now: Callable[[], datetime]) -> Starlette:
    """Put the paths together. Nothing that is answered holds an address, a name of a person or a secret."""
    health = Health(runner)

    async def healthz(_request: Request) -> Response:
        trouble = await health.trouble()
        return JSONResponse({"status": trouble or "good"}, 503 if trouble else 200)

    async def readyz(_request: Request) -> Response:
        told = readiness(runner, now())
        return JSONResponse(told, 200 if told["ready"] else 503)

    async def webhook(request: Request) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            outcome = await door.take(request.path_params["store"], headers, request.stream())
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        later = LATER if outcome.status in ASKED_TO_WAIT else None
        return JSONResponse({"status": outcome.words}, outcome.status, later)

    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", _metrics(runner, door, ledger, now)),
            Route("/webhooks/{store}", webhook, methods=["POST"]),
        ],
        exception_handlers={Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


def _metrics(
    runner: Runner, door: Door, ledger: Ledger, now: Callable[[], datetime]
) -> Callable[[Request], object]:
    from sync.web.metrics import CONTENT_TYPE_LATEST, Metrics  # noqa: PLC0415 - only where somebody looks

    metrics = Metrics(runner, door, ledger)

    async def answer(_request: Request) -> Response:
        try:
            return Response(await metrics.text(now()), media_type=CONTENT_TYPE_LATEST)
        except StateError:
            return Response("the state store cannot be read\n", 503, media_type="text/plain")

    return answer


async def _failed(_request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw; its text may hold what a store sent, so only its kind is told."""
    log.error("request_failed", kind=type(error).__name__)
    return JSONResponse({"status": "failed"}, 500)
