"""The product's web process with another webhook route: `python -m bench.web ROUTE`.

Command, settings, event loop, sockets, uvicorn and its options are the product's own; only what answers
`POST /webhooks/github` differs. `durable` is the product as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge import app, cli, serve
from bridge.intake import Delivery, verify
from bridge.ledger import Entry
from bridge.settings import Settings

_ACCEPTED = b'{"status":"accepted"}'
_create_app = app.create_app


def bare(settings: Settings, _: app.Record) -> Any:
    """Reads the body and answers."""

    async def route(request: Request) -> Response:
        await request.body()
        return JSONResponse({"status": "accepted"}, 202)

    return route


def hmac(settings: Settings, _: app.Record) -> Any:
    """Reads the body, verifies it as the product does, and answers."""
    endpoint, secrets = settings.endpoints["github"], settings.secrets["github"]

    async def route(request: Request) -> Response:
        body = await request.body()
        verify(endpoint, Delivery(dict(request.headers), {}, body), secrets())
        return JSONResponse({"status": "accepted"}, 202)

    return route


class HmacAsgi:
    """The same without Starlette's request and response, which the product's route goes without as well."""

    def __init__(self, settings: Settings, _: app.Record) -> None:
        self._endpoint, self._secrets = settings.endpoints["github"], settings.secrets["github"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        verify(self._endpoint, Delivery(headers, {}, body), self._secrets())
        length = str(len(_ACCEPTED)).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 202, "headers": fields})
        await send({"type": "http.response.body", "body": _ACCEPTED})


async def _not_written(entries: Sequence[Entry]) -> list[str]:
    return ["accepted" for _ in entries]


OTHER: dict[str, Callable[[Settings, app.Record], Any]] = {"bare": bare, "hmac": hmac, "hmac-asgi": HmacAsgi}
ROUTES = [*OTHER, "translated", "durable"]


def main(route: str) -> None:
    def create_app(settings: Settings, record: app.Record, **more: Any) -> Starlette:
        if route == "translated":
            return _create_app(settings, _not_written, **more)
        made = _create_app(settings, record, **more)
        kept = [one for one in made.router.routes if getattr(one, "path", "") != "/webhooks/{endpoint}"]
        if len(kept) != len(made.router.routes) - 1:
            raise AssertionError("the product's webhook route is not where it was")
        made.router.routes = [Route("/webhooks/{endpoint}", OTHER[route](settings, record), methods=["POST"]), *kept]
        return made

    if route != "durable":
        setattr(serve, "create_app", create_app)  # noqa: B010 - the name that `serve` has of it
    sys.argv = ["dora-bridge", "serve"]
    cli.main()


if __name__ == "__main__":
    if sys.argv[1:] not in [[one] for one in ROUTES]:
        sys.exit(f"usage: python -m bench.web {'|'.join(ROUTES)}")
    main(sys.argv[1])
