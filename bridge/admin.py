"""The internal listener: metrics, and the admin behind a token, as JSON and (`page.py`) for eyes.

One address serves both: whoever asks for `text/html`, as browsers do, gets the page.
"""

from __future__ import annotations

import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import pydantic_core
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bridge import explain, link_review, search
from bridge.access import COOKIE, Access, Session, bearer
from bridge.dead_letters import DeadLetters
from bridge.errors import AdminError, BridgeError, Invalid, LedgerUnavailable, NotNow, Unknown
from bridge.last_heard import LastHeard
from bridge.ledger import Ledger
from bridge.links import Links
from bridge.logs import log
from bridge.metrics import REGISTRY
from bridge.openapi import document
from bridge.page import Page
from bridge.redrive import Redrive
from bridge.settings import Settings
from bridge.status import Gauges, last_accepted, status

STATUSES: Mapping[type[BridgeError], int] = {Unknown: 404, NotNow: 409, Invalid: 422, LedgerUnavailable: 503}
FOR_S = 50.0
"""One request redrives many for so long, below the usual time-out of a minute; the answer says where to go on."""
_LARGEST_REQUEST = 256 * 1024
OFF = "the admin is off: set DORA_BRIDGE_ADMIN_TOKEN (or DORA_BRIDGE_ADMIN_TOKEN_FILE) to a token"

Handler = Callable[[Request], Awaitable[Response]]


class Admin:
    """The endpoints below /admin/, over one ledger."""

    def __init__(self, ledger: Ledger, dead_letters: DeadLetters, links: Links, redrive: Redrive) -> None:
        self.ledger = ledger
        self.dead_letters = dead_letters
        self.links = links
        self.redrive = redrive

    async def status(self, request: Request) -> Response:
        return JSONResponse(await status(self.ledger, self.dead_letters, self.links))

    async def events(self, request: Request) -> Response:
        return await self._list(request, "events", search.EVENTS)

    async def dead(self, request: Request) -> Response:
        return await self._list(request, "dead_letters", search.DEAD_LETTERS)

    async def _list(self, request: Request, name: str, indexes: tuple[str, ...]) -> Response:
        asked, limit, cursor = search.asked_for(request.query_params)
        page = await search.page(self.ledger, indexes, asked, limit=limit, cursor=cursor)
        return JSONResponse(explain.listing(name, page))

    async def event(self, request: Request) -> Response:
        return JSONResponse(await self.explained(request.path_params["id"]))

    async def dead_letter(self, request: Request) -> Response:
        record = await self.redrive.find(request.path_params["id"])
        whole = await self.explained(record.envelope.id)
        last = record.story[-1] if record.story else {}
        answer = (
            {"status": last.get("status") or None, "answer": last.get("answer") or None} if "verdict" in last else None
        )
        return JSONResponse({**whole, "answer": answer, **explain.body_of(record)})

    async def explained(self, identifier: str) -> dict[str, Any]:
        """The explanation of one event. Raises: Unknown."""
        whole = await explain.explained(self.ledger, self.dead_letters, identifier, self.links)
        if whole is None:
            raise Unknown(f"the ledger knows no event {identifier}")
        return whole

    async def redrive_one(self, request: Request) -> Response:
        wanted = await _json(request, ("mode", "attributes"))
        edits = wanted.get("attributes") or {}
        if not isinstance(edits, dict):
            raise Invalid("attributes: not an object", "attributes")
        by, identifier = request.state.who, request.path_params["id"]
        result = await self.redrive.one(identifier, by=by, mode=_mode(wanted), edits=edits)
        log("admin.acted", who=by, what="redrive", id=result.id, outcome=result.status)
        return JSONResponse(result.json())

    async def redrive_many(self, request: Request) -> Response:
        wanted = await _json(request, ("filter", "dry_run", "mode", "attributes", "cursor"))
        if not isinstance(wanted.get("filter"), dict):
            raise Invalid('filter: missing; {"filter": {}} selects all dead letters', "filter")
        asked = search.parse(wanted["filter"], time.time_ns())
        if not isinstance(wanted.get("dry_run", False), bool):
            raise Invalid("dry_run: neither true nor false", "dry_run")
        mode = _mode(wanted)
        if wanted.get("dry_run"):
            return JSONResponse({"matched": await self.redrive.matching(asked), "redriven": 0, "dry_run": True})
        edits, cursor = wanted.get("attributes") or {}, wanted.get("cursor") or ""
        if not isinstance(edits, dict) or not isinstance(cursor, str):
            raise Invalid("attributes: not an object, or cursor: not a text")
        by = request.state.who
        progress = await self.redrive.many(asked, by=by, mode=mode, edits=edits, cursor=cursor, for_s=FOR_S)
        log("admin.acted", who=by, what="redrive many", matched=progress.matched, redriven=progress.redriven)
        return JSONResponse(progress.json())

    async def discard(self, request: Request) -> Response:
        by, identifier = request.state.who, request.path_params["id"]
        await self.redrive.discard(identifier, by=by)
        log("admin.acted", who=by, what="discard", id=identifier)
        return JSONResponse({"id": identifier, "status": "discarded"})

    async def linked(self, request: Request) -> Response:
        return JSONResponse(await link_review.listing(self.links, self.ledger, request.query_params))

    async def apply_link(self, request: Request) -> Response:
        return JSONResponse({"status": "recorded", "links": await self.say_of_link(request, "apply")})

    async def reject_link(self, request: Request) -> Response:
        return JSONResponse({"status": "recorded", "links": await self.say_of_link(request, "reject")})

    async def say_of_link(self, request: Request, word: link_review.Word) -> list[dict[str, Any]]:
        """Records what whoever asks says to the links of an incident. Raises: Unknown, NotNow."""
        by, incident = request.state.who, request.path_params["incident"]
        said = await link_review.say(self.links, self.ledger, incident, word, by=by)
        log("admin.acted", who=by, what=f"{word} link", id=incident)
        return said

    async def export(self, request: Request) -> Response:
        """All that a filter selects, one JSON object a line, read as fast as it is taken."""
        asked, _, cursor = search.asked_for(request.query_params)
        search.place_of(cursor)  # once the answer has begun, nothing could be said about it any more
        headers = {"content-disposition": 'attachment; filename="dead-letters.jsonl"'}
        lines = explain.exported(self.ledger, self.dead_letters, asked, cursor)
        return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)

    async def audit(self, request: Request) -> Response:
        lines, next_cursor = await self.dead_letters.audit(
            limit=search.rows_wanted(request.query_params.get("limit", "")),
            cursor=search.audit_cursor(request.query_params.get("cursor", "")),
        )
        return JSONResponse({"audit": [explain.audited(line) for line in lines], "next_cursor": next_cursor})

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(document())


def _mode(wanted: Mapping[str, Any]) -> str:
    mode = wanted.get("mode") or ""
    if not isinstance(mode, str):
        raise Invalid("mode: not a text", "mode")
    return mode


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_REQUEST:
            raise Invalid("the request is too large")
    return body


async def form_of(request: Request) -> dict[str, str]:
    """The fields of a posted form."""
    return dict(parse_qsl((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True))


async def _json(request: Request, known: tuple[str, ...]) -> dict[str, Any]:
    """The object that was posted; empty for an empty body. Raises: Invalid, also for names that are not known."""
    body = await _body(request)
    if not body.strip():
        return {}
    try:
        wanted = pydantic_core.from_json(body)
        # an answer, or the audit trail, could not repeat a number that is not finite
        json.dumps(wanted, allow_nan=False)
    except ValueError as error:
        raise Invalid("the request is not JSON") from error
    if not isinstance(wanted, dict):
        raise Invalid("the request is not a JSON object")
    for name in wanted:
        if name not in known:
            raise Invalid(f"{name[:40]}: not known; known are {', '.join(known)}", name[:40])
    return wanted


class Guard:
    """Lets only holders of a token or of a session through, and puts every error of the admin into words."""

    def __init__(self, access: Access, page: Page) -> None:
        self._access = access
        self._page = page

    def behind(self, as_json: Handler | None, for_eyes: Handler | None = None, form: Handler | None = None) -> Handler:
        """A handler that asks who it is first, and chooses by what they want back.

        Posted forms need a session and its form token; JSON that changes something needs the bearer token itself,
        since a browser sends a cookie along with whatever made it post.
        """

        async def handle(request: Request) -> Response:
            safe = request.method in ("GET", "HEAD")
            eyes = for_eyes if safe else form
            with_token = "authorization" in request.headers
            wants_page = eyes is not None and not with_token and (wants_html(request) if safe else is_form(request))
            if not self._access.is_on:
                return self._page.off(OFF) if wants_page else error(404, "off", OFF)
            session = self._access.session(request.cookies.get(COOKIE, ""))
            request.state.session = session
            if wants_page and eyes is not None:
                return await self._for_eyes(request, session, eyes, safe)
            token = bearer(request.headers)
            if token is None and session is not None and safe:
                request.state.who = session.who
            else:
                refusal = self._refusal(request, token)
                if refusal is not None:
                    return refusal
            if as_json is None:
                return error(406, "not_acceptable", "this is a page for browsers")
            return await self._answered(request, as_json)

        return handle

    def _refusal(self, request: Request, token: bytes | None) -> Response | None:
        """Why the token does not open; None, with `request.state.who` set, if it does."""
        challenge = {"www-authenticate": 'Bearer realm="dora-bridge admin"'}
        if token is None:
            return error(401, "token_missing", "send Authorization: Bearer <DORA_BRIDGE_ADMIN_TOKEN>", challenge)
        address = request.client.host if request.client else ""
        if self._access.must_wait(address):
            log("admin.refused", logging.WARNING, reason="too_many_tries", address=address)
            return error(429, "too_many_tries", "too many wrong tokens; wait a minute", {"retry-after": "60"})
        who = self._access.who(token)
        if who is None:
            self._access.failed(address, token)
            log("admin.refused", logging.WARNING, reason="token_wrong", address=address)
            return error(401, "token_wrong", "this is not the admin token", challenge)
        request.state.who = who
        return None

    async def _for_eyes(self, request: Request, session: Session | None, eyes: Handler, safe: bool) -> Response:
        if session is None:
            return self._page.to_login(request)
        request.state.who = session.who
        if not safe:
            fields = await form_of(request)
            if not hmac.compare_digest(session.form_token.encode(), fields.pop("form_token", "").encode()):
                return self._page.problem(request, 403, "This form is not from your session. Open the page again.")
            request.state.form = fields
        try:
            return await eyes(request)
        except BridgeError as problem:
            return self._page.problem(request, STATUSES.get(type(problem), 400), problem.detail)
        except (RedisError, OSError, TimeoutError) as problem:
            log("admin.failed", logging.WARNING, reason=type(problem).__name__)
            return self._page.problem(request, 503, "Redis does not answer. Nothing is lost; try again in a moment.")

    async def _answered(self, request: Request, handler: Handler) -> Response:
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=400)
        except AdminError as problem:
            field = {"field": problem.field} if isinstance(problem, Invalid) and problem.field else {}
            return error(STATUSES[type(problem)], problem.reason, problem.detail, None, **field)
        except (RedisError, OSError, TimeoutError) as problem:
            log("admin.failed", logging.WARNING, reason=type(problem).__name__)
            return error(503, "ledger_unavailable", "Redis does not answer", {"retry-after": "5"})


def wants_html(request: Request) -> bool:
    """Whether a browser asks, which says so."""
    return "text/html" in request.headers.get("accept", "")


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded")


def error(
    status_code: int, reason: str, detail: str, headers: Mapping[str, str] | None = None, **more: str
) -> Response:
    return JSONResponse({"error": {"reason": reason, "detail": detail, **more}}, status_code, headers=headers)


class Careful:
    """Adds to every answer below /admin what keeps it out of caches, frames and other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/admin"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_CAREFUL]
            await send(message)

        await self._app(scope, receive, send_with_headers)


_CAREFUL = [
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"vary", b"Accept, Cookie"),
]


def create_internal_app(
    settings: Settings,
    ledger: Ledger,
    dead_letters: DeadLetters,
    links: Links,
    ring: Callable[[], Awaitable[None]],
    heard: LastHeard,
) -> Starlette:
    """The application of the internal listener; `ring` asks for a drain."""

    async def look() -> Mapping[str, Any]:
        return {**await status(ledger, dead_letters, links), "accepted": await last_accepted(heard, settings.endpoints)}

    gauges = Gauges(look)
    redrive = Redrive(settings, ledger, dead_letters, ring)
    admin = Admin(ledger, dead_letters, links, redrive)
    access = Access(settings.admin_tokens)
    page = Page(admin, access)
    behind = Guard(access, page).behind

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(REGISTRY) + await gauges.text(), media_type=CONTENT_TYPE_LATEST)

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def refused(request: Request, problem: Exception) -> Response:
        if not isinstance(problem, HTTPException):
            raise problem
        if request.url.path.startswith("/admin") and wants_html(request):
            return page.problem(request, problem.status_code, "There is no such page.")
        reason = {404: "not_found", 405: "method_not_allowed"}.get(problem.status_code, "refused")
        return error(problem.status_code, reason, problem.detail, problem.headers)

    async def failed(request: Request, problem: Exception) -> Response:
        log("admin.failed", logging.ERROR, reason=type(problem).__name__)
        return error(500, "internal", "an error of the bridge; its log names the place")

    get, post = ["GET"], ["POST"]
    app = Starlette(
        routes=[
            Route("/metrics", metrics, methods=get),
            Route("/livez", livez, methods=get),
            Route("/admin", page.to_start, methods=get),
            Route("/admin/static/{name}", page.static, methods=get),
            Route("/admin/login", page.login_form, methods=get),
            Route("/admin/login", page.login, methods=post),
            Route("/admin/logout", behind(None, form=page.logout), methods=post),
            Route("/admin/", behind(admin.status, page.start), methods=get),
            Route("/admin/status", behind(admin.status, page.start), methods=get),
            Route("/admin/openapi.json", behind(admin.openapi), methods=get),
            Route("/admin/audit", behind(admin.audit, page.audit), methods=get),
            Route("/admin/events", behind(admin.events, page.events), methods=get),
            Route("/admin/events/{id}", behind(admin.event, page.event), methods=get),
            Route("/admin/dead-letters", behind(admin.dead, page.dead_letters), methods=get),
            Route("/admin/dead-letters/redrive", behind(admin.redrive_many, form=page.redrive_many), methods=post),
            Route("/admin/dead-letters/export", behind(admin.export), methods=get),
            Route("/admin/dead-letters/{id}", behind(admin.dead_letter, page.event), methods=get),
            Route("/admin/dead-letters/{id}", behind(admin.discard), methods=["DELETE"]),
            Route("/admin/dead-letters/{id}/redrive", behind(admin.redrive_one, form=page.redrive_one), methods=post),
            Route("/admin/dead-letters/{id}/discard", behind(None, form=page.discard), methods=post),
            Route("/admin/links", behind(admin.linked, page.links), methods=get),
            Route("/admin/links/{incident}/apply", behind(admin.apply_link, form=page.apply_link), methods=post),
            Route("/admin/links/{incident}/reject", behind(admin.reject_link, form=page.reject_link), methods=post),
        ],
        exception_handlers={HTTPException: refused, Exception: failed},
    )
    app.router.redirect_slashes = False
    app.add_middleware(Careful)
    return app
