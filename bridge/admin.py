"""The internal listener: metrics, and the admin endpoints behind a token."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.ledger import Ledger
from bridge.metrics import REGISTRY
from bridge.settings import Settings


def create_internal_app(settings: Settings, ledger: Ledger) -> Starlette:
    """The application of the internal listener."""

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    return Starlette(routes=[Route("/metrics", metrics, methods=["GET"]), Route("/livez", livez, methods=["GET"])])
