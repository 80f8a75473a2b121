"""A stand-in for Datadog: a test aid, to try the bridge without a key and to see how it takes failure.

It answers the DORA and Incident Management calls in Datadog's shapes (`endpoints.py`), refuses what
Datadog is known to refuse (`rules.py`), keeps what it got in memory, and fails on command
(`script.py`). It knows no keys: any value will do, only a missing one is refused. Nothing in the
delivery code knows that it exists.

Beside Datadog's paths, without any key:

`GET /`
    What this is, and the last requests, for eyes.
`GET /sandbox/requests`
    A JSON list of the requests to `/api`, newest last: `n`, `time`, `method`, `path`, `query`, `body`,
    `status` (null: not answered), `note` (why it was refused, what is doubtful about it, which step of the
    script it met). `?path=` only those at or below a path, `?since=N` only those after number N. Headers,
    so keys too, are not kept.
`DELETE /sandbox/requests`
    Forgets the requests and everything stored; the script stays and the numbers go on.
`POST /sandbox/script`
    Takes a JSON list of steps, see `script.py`; 400 names the bad key.
`GET /sandbox/script`, `DELETE /sandbox/script`
    What is left of it; removes it.

Order for a request to `/api`: the API key; the rate limit; the script; path and method; the application
key; the rules. So a request without an API key, or above the limit, uses up no step.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bridge.sandbox.endpoints import Answer, Call, Store, refusal
from bridge.sandbox.script import Script, Step, is_under

_TRANSPORT = "dora_bridge.transport"
_KEYS_IN_QUERY = ("api_key", "application_key", "app_key")
_ROWS_AT_ONCE = 500
_ROWS_ON_PAGE = 25


@dataclass(slots=True)
class Seen:
    """One request to `/api` as it is recorded; `time` in seconds since the epoch."""

    n: int
    time: float
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    is_json: bool
    status: int | None = None
    note: str | None = None

    def as_json(self) -> str:
        """The record as JSON; a JSON body goes in as it came, so that no number changes on the way."""
        body = self.body.decode() if self.is_json else json.dumps(self.body.decode(errors="replace") or None)
        when = datetime.fromtimestamp(self.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        head = {"n": self.n, "time": when, "method": self.method, "path": self.path, "query": self.query}
        tail = {"status": self.status, "note": self.note}
        return f'{json.dumps(head)[:-1]}, "body": {body}, {json.dumps(tail)[1:]}'


class Sandbox:
    """What one sandbox got, what it keeps of it, and what it was told to do."""

    def __init__(self, keep: int, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.script = Script()
        self._keep = keep
        self._n = 0
        self.forget()

    def forget(self) -> None:
        """Forgets the requests and everything stored."""
        self.requests: deque[Seen] = deque(maxlen=self._keep)
        self.store = Store(self._keep)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application below `/api`: plain ASGI, because benchmarks lean on its speed."""
        body = await _read(receive)
        if body is None:
            return
        parsed, is_json = _parse(body)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        now = self.clock()
        # Recorded before anything is awaited again, so that the list is in the order of arrival.
        self._n += 1
        shown = query | {name: "(not kept)" for name in _KEYS_IN_QUERY if name in query}
        seen = Seen(self._n, now, scope["method"], scope["path"], shown, body, is_json)
        self.requests.append(seen)
        keys = {name for name, value in scope["headers"] if value}
        call = Call(parsed, body, query, b"dd-application-key" in keys, now)
        answer, headers, step = self._decide(seen, call, has_api_key=b"dd-api-key" in keys)
        seen.note = "; ".join(answer.notes) or None
        if step is not None and step.delay_s:
            await asyncio.sleep(step.delay_s)
        if step is not None and step.drop in ("before_processing", "before_reply"):
            await _cut(scope, receive)
            return
        if step is not None and step.drop == "mid_reply":
            await _send(send, answer, headers, only_half=True)
            await _cut(scope, receive)
            return
        seen.status = answer.status
        await _send(send, answer, headers)

    def _decide(self, seen: Seen, call: Call, *, has_api_key: bool) -> tuple[Answer, dict[str, str], Step | None]:
        """The answer to a request, its extra headers, and the step of the script it met. Awaits nothing."""
        if not has_api_key:
            return refusal(403, seen.path, note="DD-API-KEY is missing"), {}, None
        step = self.script.reach(seen.method, seen.path, call.body)
        headers: dict[str, str] = {}
        if self.script.rate_limit is not None:
            allowed, headers = self.script.rate_limit.take(call.now)
            if not allowed:
                return refusal(429, seen.path, note="above the rate limit"), headers, None
        if step is None:
            return self.store.answer(seen.method, seen.path, call), headers, None
        self.script.use(step)
        return self._scripted(seen, call, step), headers | step.headers, step

    def _scripted(self, seen: Seen, call: Call, step: Step) -> Answer:
        notes = [step.describe()]
        if step.drop == "before_processing":
            return Answer(0, notes=notes)
        if step.status is None or step.status < 300:
            # A lost request meets an empty store and its answer is as good as any other's.
            store = Store(1) if step.lose else self.store
            answer = store.answer(seen.method, seen.path, call)
            notes += answer.notes
            if step.status is None or answer.status >= 300:
                return replace(answer, notes=notes)
            answer = replace(answer, status=step.status)
        else:
            answer = refusal(step.status, seen.path)
        if isinstance(step.raw.get("body"), str):
            answer = replace(answer, body=step.raw["body"].encode(), media_type="text/plain; charset=utf-8")
        elif "body" in step.raw:
            answer = replace(answer, body=json.dumps(step.raw["body"]).encode())
        return replace(answer, notes=notes, body=b"" if answer.status in (204, 304) else answer.body)

    async def get_requests(self, request: Request) -> Response:
        """`GET /sandbox/requests`, sent in pieces, because a hundred thousand of them may be asked for."""
        under, since = request.query_params.get("path", "/"), request.query_params.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            return _bad("bad_query", '"since" must be a number')
        rows = [seen for seen in self.requests if seen.n > int(since) and is_under(seen.path, under)]
        return StreamingResponse(_as_list(rows), media_type="application/json")

    async def delete_requests(self, request: Request) -> Response:
        """`DELETE /sandbox/requests`."""
        self.forget()
        return Response(status_code=204)

    async def post_script(self, request: Request) -> Response:
        """`POST /sandbox/script`."""
        try:
            self.script = Script(json.loads(await request.body()))
        except ValueError as error:
            return _bad("bad_script", str(error))
        return JSONResponse(self.script.left())

    async def get_script(self, request: Request) -> Response:
        """`GET /sandbox/script`."""
        return JSONResponse(self.script.left())

    async def delete_script(self, request: Request) -> Response:
        """`DELETE /sandbox/script`."""
        self.script = Script()
        return Response(status_code=204)

    async def page(self, request: Request) -> Response:
        """`GET /`."""
        return HTMLResponse(_page(self))


class SandboxProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which also hands the connection to the application.

    ASGI has no way to cut a connection: an application that raises gets a 500 sent in its name.
    """

    def on_message_begin(self) -> None:
        """Called by the parser when a request begins; uvicorn makes its scope here."""
        super().on_message_begin()
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}


def create_sandbox(*, keep: int = 200_000, clock: Callable[[], float] = time.time) -> Starlette:
    """The sandbox as an application with a state of its own.

    It keeps the newest `keep` requests and as many of each kind of record; `clock` gives seconds since the
    epoch. To cut connections it must be served by `SandboxProtocol`, see `sandbox_config`; elsewhere a `drop`
    raises ConnectionResetError.
    """
    sandbox = Sandbox(keep, clock)
    app = Starlette(
        routes=[
            Mount("/api", sandbox),
            Route("/", sandbox.page),
            Route("/sandbox/requests", sandbox.get_requests, methods=["GET"]),
            Route("/sandbox/requests", sandbox.delete_requests, methods=["DELETE"]),
            Route("/sandbox/script", sandbox.post_script, methods=["POST"]),
            Route("/sandbox/script", sandbox.get_script, methods=["GET"]),
            Route("/sandbox/script", sandbox.delete_script, methods=["DELETE"]),
        ]
    )
    app.router.redirect_slashes = False  # a wrong path is an error to be seen, not one to be mended
    return app


def sandbox_config(host: str, port: int) -> uvicorn.Config:
    """How uvicorn serves a new sandbox; port 0 takes a free one."""
    return uvicorn.Config(
        create_sandbox(),
        host=host,
        port=port,
        http=SandboxProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        # Longer than any client keeps an idle connection: the sandbox cuts none that it was not told to cut.
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )


def serve_sandbox(host: str, port: int) -> None:
    """Serves a sandbox until SIGINT (returns) or SIGTERM (ends the process).

    Raises: SystemExit when the address cannot be had; uvicorn has logged why.
    """
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(sandbox_config(host, port)).run()


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or None when the client went away before it was complete."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def _parse(body: bytes) -> tuple[Any, bool]:
    """The JSON of a body and whether it is any. As RFC 8259 has it: UTF-8, no NaN, no Infinity."""
    try:
        return json.loads(body.decode(), parse_constant=_refuse_constant), True
    except (ValueError, RecursionError):
        return None, False


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


async def _send(send: Send, answer: Answer, extra: dict[str, str], *, only_half: bool = False) -> None:
    headers = {"content-type": answer.media_type, "content-length": str(len(answer.body))}
    headers |= {name.lower(): value for name, value in extra.items()}
    if answer.status in (204, 304):
        del headers["content-length"]
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    body = answer.body[: len(answer.body) // 2] if only_half else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": only_half})


async def _cut(scope: Scope, receive: Receive) -> None:
    """Closes the connection, after what was already written, and waits until it is closed."""
    extension = scope.get("extensions", {}).get(_TRANSPORT)
    if extension is None:
        raise ConnectionResetError("the script of the sandbox says: drop")
    extension["transport"].close()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _as_list(rows: list[Seen]) -> AsyncIterator[str]:
    yield "["
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        text = ",\n".join(seen.as_json() for seen in rows[start : start + _ROWS_AT_ONCE])
        yield f",\n{text}" if start else text
        await asyncio.sleep(0)  # others want answers too
    yield "]\n"


def _bad(reason: str, detail: str) -> Response:
    return JSONResponse({"error": {"reason": reason, "detail": detail}}, 400)


def _page(sandbox: Sandbox) -> str:
    store = sandbox.store
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{html.escape(str(cell))}</td>"
            for cell in (seen.n, seen.method, seen.path, seen.status or "–", seen.note or "")
        )
        + f"<td><code>{html.escape(seen.body.decode(errors='replace')[:600])}</code></td></tr>"
        for seen in list(sandbox.requests)[: -_ROWS_ON_PAGE - 1 : -1]
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>dora-bridge sandbox</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2em }}
td, th {{ padding: .2em .8em .2em 0; text-align: left; vertical-align: top }}
code {{ word-break: break-all }}
</style>
<h1>The sandbox of dora-bridge</h1>
<p>This is not Datadog. It is a test aid that answers like Datadog's DORA and Incident APIs, keeps what it
gets in memory, accepts any key and fails on command.</p>
<p>It holds {len(store.deployments.events)} deployments, {len(store.failures.events)} failures and
{len(store.incidents.by_id)} incidents, from {len(sandbox.requests)} requests:
<a href="/sandbox/requests">all of them as JSON</a>.
What it was told to do: <a href="/sandbox/script">script</a>.</p>
<pre>
curl -X POST $URL/sandbox/script -d '[{{"status": 429, "headers": {{"X-RateLimit-Reset": "2"}}}}]'
curl -X DELETE $URL/sandbox/requests
</pre>
<h2>The last requests, newest first</h2>
<table><tr><th>n</th><th>method</th><th>path</th><th>status</th><th>note</th><th>body</th></tr>
{rows}</table></html>
"""
