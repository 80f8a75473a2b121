"""The product's web process with another webhook route: `python -m bench.web ROUTE`.

Command, settings, event loop, sockets, uvicorn and its options are the product's own; only what answers
`POST /webhooks/github` differs. `durable` is the product as it is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from bridge import app, cli, redis_url, serve
from bridge.commit import GroupCommit
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

    async def handle(self, body: bytes) -> None:
        """What is done with an authentic body before the answer: nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        verify(self._endpoint, Delivery(headers, {}, body), self._secrets())
        await self.handle(body)
        length = str(len(_ACCEPTED)).encode()
        fields = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 202, "headers": fields})
        await send({"type": "http.response.body", "body": _ACCEPTED})


@dataclass(frozen=True, slots=True)
class _Body:
    """As much of an entry as `GroupCommit` looks at."""

    raw: bytes


class _Bodies:
    """As much of a ledger as `GroupCommit` asks for: each body under a number of its own, and nothing else."""

    def __init__(self, settings: Settings) -> None:
        self._redis = redis_url.impatient(settings.environment.redis_url)
        self._count = 0

    async def record(self, entries: Sequence[_Body]) -> tuple[list[str], bool]:
        first, self._count = self._count, self._count + len(entries)
        await self._redis.mset({str(first + number): entry.raw for number, entry in enumerate(entries)})
        return ["accepted"] * len(entries), False


async def _nobody_rings() -> None:
    """No worker waits."""


class Kept(HmacAsgi):
    """The same, and the body is in Redis before the answer: no less can be durable."""

    def __init__(self, settings: Settings, record: app.Record) -> None:
        super().__init__(settings, record)
        bodies: Any = _Bodies(settings)
        self._write: Any = GroupCommit(bodies, _nobody_rings, timeout_s=serve.COMMIT_TIMEOUT_S).record

    async def handle(self, body: bytes) -> None:
        await self._write([_Body(body)])


class Parsed(Kept):
    """The same, and what the bridge reads of it is parsed and checked: no less can say what it came to."""

    async def handle(self, body: bytes) -> None:
        self._endpoint.source.models["deployment_status"].model_validate_json(body)
        await super().handle(body)


async def _not_written(entries: Sequence[Entry]) -> list[str]:
    return ["accepted" for _ in entries]


OTHER: dict[str, Callable[[Settings, app.Record], Any]] = {
    "bare": bare,
    "hmac": hmac,
    "hmac-asgi": HmacAsgi,
    "kept": Kept,
    "parsed": Parsed,
}
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
