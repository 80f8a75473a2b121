"""The page at /admin/: the admin for eyes. Server-rendered forms and tables, useful without scripts."""

from __future__ import annotations

import importlib.resources
import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bridge import __version__, explain, link_review, search
from bridge.access import COOKIE, SESSION_S, Access, Session
from bridge.edits import editable
from bridge.envelope import STATES, Envelope
from bridge.errors import AdminError, Invalid
from bridge.incident_management import is_incident, spelled
from bridge.logs import log
from bridge.status import status
from bridge.times import from_rfc3339, to_rfc3339

if TYPE_CHECKING:
    from bridge.admin import Admin

FOR_S = 20.0
"""One click redrives many for so long; then the page says how far it came and asks whether to go on."""
_STATIC = {"page.css": "text/css", "icon.svg": "image/svg+xml"}
_LINKS = {
    "suggested": "Suggested",
    "applied": "Applied",
    "rejected": "Rejected",
    "no_link": "Without a deployment",
    "all": "All",
}
_AGES = {"": "any time", "1h": "last hour", "1d": "last day", "7d": "last 7 days", "30d": "last 30 days"}
_DONE = {
    "redriven": ("good", "It is on its way to Datadog."),
    "superseded": ("note", "It was not sent: a later statement about it stands."),
    "ignored": ("note", "Translated again, there is nothing to report."),
    "dead_lettered": ("bad", "Translated again, it is still a dead letter."),
    "discarded": ("note", "Discarded. It will not be sent."),
    "apply": ("note", "Recorded. The worker has Datadog told in a moment."),
    "reject": ("note", "Recorded. It marks no deployment, and if it did, the worker takes that back."),
}


class Page:
    """Renders what `Admin` knows."""

    def __init__(self, admin: Admin, access: Access) -> None:
        self._admin = admin
        self._access = access
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("bridge", "templates"),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.ChainableUndefined,
        )
        self._templates.filters |= {"ago": _ago, "plainly": _plainly, "pretty": _pretty, "path": _path, "words": _words}
        self._templates.filters |= {"clock": to_rfc3339, "sentence": _sentence, "spelled": spelled}
        self._templates.filters["verdict"] = link_review.verdict_said
        self._templates.tests["waiting_link"] = link_review.waits
        self._templates.globals |= {"version": __version__, "duration": explain.duration}
        self._files = {name: _read(name) for name in _STATIC}

    # -- without a session

    async def to_start(self, request: Request) -> Response:
        return RedirectResponse("/admin/", 307)

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            return Response(status_code=404)
        return Response(self._files[name], media_type=_STATIC[name])

    def off(self, why: str) -> Response:
        return self._plain("problem.html", 404, title="The admin is off", text=why)

    def problem(self, request: Request, code: int, text: str) -> Response:
        """A page that says what is wrong."""
        return self._plain("problem.html", code, title=_words(code), text=_sentence(text))

    def to_login(self, request: Request) -> Response:
        """To the login, and from there back to where they wanted to go."""
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        to = f"?{urlencode({'next': wanted})}" if request.method == "GET" and wanted != "/admin/" else ""
        return RedirectResponse(f"/admin/login{to}", 303)

    async def login_form(self, request: Request) -> Response:
        from bridge.admin import OFF

        if not self._access.is_on:
            return self.off(OFF)
        return self._plain(
            "login.html", 200, title="Log in", next=_local(request.query_params.get("next", "")), wrong=""
        )

    async def login(self, request: Request) -> Response:
        from bridge.admin import OFF, form_of

        if not self._access.is_on:
            return self.off(OFF)
        try:
            fields = await form_of(request)
        except Invalid as problem:
            return self.problem(request, 422, problem.detail)
        address = request.client.host if request.client else ""
        presented = fields.get("token", "").strip().encode("utf-8", "replace")
        wanted = _local(fields.get("next", ""))
        wrong = "This is not an admin token."
        if self._access.must_wait(address):
            wrong, who = "Too many wrong tokens. Wait a minute.", None
        else:
            who = self._access.who(presented)
        if who is None:
            self._access.failed(address, presented)
            log("admin.refused", logging.WARNING, reason="token_wrong", address=address)
            return self._plain("login.html", 401, title="Log in", next=wanted, wrong=wrong)
        log("admin.logged_in", who=who, address=address)
        answer = RedirectResponse(wanted, 303)
        answer.set_cookie(
            COOKIE,
            self._access.open(presented),
            max_age=SESSION_S,
            path="/admin",
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer

    async def logout(self, request: Request) -> Response:
        answer = RedirectResponse("/admin/login", 303)
        answer.delete_cookie(COOKIE, path="/admin", httponly=True, samesite="strict")
        return answer

    # -- with one

    async def start(self, request: Request) -> Response:
        seen = await status(self._admin.ledger, self._admin.dead_letters, self._admin.links)
        ledger = self._admin.ledger
        events = await search.page(ledger, search.EVENTS, search.Filter(), limit=8)
        dead = await search.page(ledger, search.DEAD_LETTERS, search.Filter(), limit=5)
        return await self._render(
            request,
            "start.html",
            title="Overview",
            status=seen,
            without_env=await ledger.without_env(),
            events=explain.listing("events", events)["events"],
            dead_letters=explain.listing("dead_letters", dead)["dead_letters"],
        )

    async def events(self, request: Request) -> Response:
        wanted = request.query_params.get("q", "").strip()
        if wanted and " " not in wanted and "/" not in wanted and len(wanted) >= 16:
            record = await self._admin.ledger.find(wanted)
            if record is not None:
                return RedirectResponse(f"/admin/events/{_path(record.envelope.id)}", 303)
        return await self._list(request, "events", search.EVENTS)

    async def dead_letters(self, request: Request) -> Response:
        return await self._list(request, "dead_letters", search.DEAD_LETTERS)

    async def _list(self, request: Request, name: str, indexes: tuple[str, ...]) -> Response:
        parameters = {key: value for key, value in request.query_params.items() if value}
        done = {key: parameters.pop(key) for key in ("done", "redriven", "matched") if key in parameters}
        problem = ""
        try:
            asked, limit, cursor = search.asked_for(parameters)
            page = await search.page(self._admin.ledger, indexes, asked, limit=limit, cursor=cursor)
        except Invalid as error:
            problem, page = error.detail, search.Page([], None, 0)
        given = {key: value for key, value in parameters.items() if key != "cursor"}
        more = {**given, "cursor": page.next_cursor} if page.next_cursor else None
        return await self._render(
            request,
            f"{name}.html",
            422 if problem else 200,
            title="Dead letters" if name == "dead_letters" else "Events",
            rows=explain.listing(name, page)[name],
            given=given,
            filtered={key: value for key, value in given.items() if key != "limit"},
            problem=problem,
            first="cursor" not in parameters,
            first_page=_query(given),
            next_page=_query(more) if more else "",
            looked_through=page.looked_through,
            reasons=await self._admin.dead_letters.by_reason() if name == "dead_letters" else {},
            states=STATES,
            ages=_AGES,
            done=done,
        )

    async def event(self, request: Request) -> Response:
        done = _DONE.get(request.query_params.get("done", ""))
        return await self._event(request, request.path_params["id"], done=done)

    async def _event(
        self,
        request: Request,
        identifier: str,
        *,
        code: int = 200,
        done: tuple[str, str] | None = None,
        entered: Mapping[str, str] | None = None,
        problem: tuple[str, str] | None = None,
    ) -> Response:
        whole = await self._admin.explained(identifier)
        record = await self._admin.ledger.find(whole["id"])
        body = explain.body_of(record) if record is not None else {}
        fields = _fields(record.envelope, whole) if record is not None and whole["state"] == "dead_lettered" else []
        for field in fields:
            field["value"] = (entered or {}).get(field["name"], field["value"])
            field["problem"] = problem[1] if problem and problem[0] and problem[0] in field["about"] else ""
        return await self._render(
            request,
            "event.html",
            code,
            title=_title(whole),
            event=whole,
            body=body,
            fields=fields,
            problem=problem[1] if problem else "",
            problem_at=next((field["name"] for field in fields if field["problem"]), ""),
            done=done,
            edited=bool(whole["edits"]),
        )

    async def redrive_one(self, request: Request) -> Response:
        form, identifier, by = request.state.form, request.path_params["id"], request.state.who
        redrive = self._admin.redrive
        mode = form.get("mode", "")
        try:
            edits = {}
            if mode == "as_sent":
                record = await redrive.find(identifier)
                edits = _edits(record.envelope, await self._admin.explained(record.envelope.id), form)
            result = await redrive.one(identifier, by=by, mode=mode, edits=edits)
        except AdminError as error:
            field = error.field if isinstance(error, Invalid) else ""
            code = 422 if isinstance(error, Invalid) else 409
            return await self._event(request, identifier, code=code, entered=form, problem=(field, error.detail))
        log("admin.acted", who=by, what="redrive", id=result.id, outcome=result.status)
        shown = result.events[0] if len(result.events) == 1 else result.id
        return RedirectResponse(f"/admin/events/{_path(shown)}?done={result.status}", 303)

    async def discard(self, request: Request) -> Response:
        identifier, by = request.path_params["id"], request.state.who
        await self._admin.redrive.discard(identifier, by=by)
        log("admin.acted", who=by, what="discard", id=identifier)
        return RedirectResponse(f"/admin/events/{_path(identifier)}?done=discarded", 303)

    async def redrive_many(self, request: Request) -> Response:
        """First how many, then, with `sure`, does it."""
        form, by = dict(request.state.form), request.state.who
        sure, mode, cursor = form.pop("sure", ""), form.pop("mode", ""), form.pop("cursor", "")
        before = int(form.pop("redriven", "0") or 0) if form.get("redriven", "0").isdigit() else 0
        given = {name: value for name, value in form.items() if value and name != "limit"}
        asked = search.parse(given, time.time_ns())
        narrowed = {name: value for name, value in given.items() if name != "until"}
        if not sure:
            # what becomes a dead letter between the counting and the click is not meant
            given.setdefault("until", to_rfc3339(time.time_ns() // 1_000_000 * 1_000_000))
            matched = await self._admin.redrive.matching(asked)
            return await self._render(
                request,
                "redrive.html",
                title="Redrive",
                given=given,
                narrowed=narrowed,
                matched=matched,
                redriven=0,
                cursor="",
                mode="",
            )
        redrive = self._admin.redrive
        progress = await redrive.many(asked, by=by, mode=mode, cursor=cursor, for_s=FOR_S)
        log("admin.acted", who=by, what="redrive many", matched=progress.matched, redriven=progress.redriven)
        total = before + progress.redriven
        if progress.next_cursor is not None:
            return await self._render(
                request,
                "redrive.html",
                title="Redrive",
                given=given,
                narrowed=narrowed,
                matched=0,
                redriven=total,
                cursor=progress.next_cursor,
                mode=mode,
            )
        about = {"done": "many", "redriven": total, "matched": before + progress.matched}
        return RedirectResponse(f"/admin/dead-letters?{urlencode(about)}", 303)

    async def links(self, request: Request) -> Response:
        parameters = {key: value for key, value in request.query_params.items() if value}
        done = _DONE.get(parameters.pop("done", ""))
        shown = parameters.pop("status", "suggested")
        status = {} if shown == "all" else {"status": shown}
        listed = await link_review.listing(self._admin.links, self._admin.ledger, {**parameters, **status})
        next_cursor = listed["next_cursor"]
        return await self._render(
            request,
            "links.html",
            title="Change failures",
            rows=listed["links"],
            shown=shown,
            statuses=_LINKS,
            done=done,
            first="cursor" not in parameters,
            first_page=_query({"status": shown}),
            next_page=_query({"status": shown, "cursor": next_cursor}) if next_cursor else "",
        )

    async def apply_link(self, request: Request) -> Response:
        return await self._say_of_link(request, "apply")

    async def reject_link(self, request: Request) -> Response:
        return await self._say_of_link(request, "reject")

    async def _say_of_link(self, request: Request, word: link_review.Word) -> Response:
        await self._admin.say_of_link(request, word)
        back = _local(request.state.form.get("back", ""))
        if back == "/admin/":
            back = "/admin/links"
        return RedirectResponse(f"{back}{'&' if '?' in back else '?'}done={word}", 303)

    async def audit(self, request: Request) -> Response:
        cursor = search.audit_cursor(request.query_params.get("cursor", ""))
        lines, next_cursor = await self._admin.dead_letters.audit(limit=search.DEFAULT_ROWS, cursor=cursor)
        rows = [explain.audited(line) for line in lines]
        next_page = _query({"cursor": next_cursor}) if next_cursor else ""
        return await self._render(
            request, "audit.html", title="Audit", rows=rows, next_page=next_page, first=not cursor
        )

    # -- rendering

    async def _render(self, request: Request, name: str, code: int = 200, **values: Any) -> Response:
        session: Session = request.state.session
        counts = {
            "dead_count": await self._admin.dead_letters.count(),
            "suggested_count": await self._admin.links.suggestions(),
        }
        html = self._templates.get_template(name).render(session=session, here=request.url.path, **counts, **values)
        return HTMLResponse(html, code)

    def _plain(self, name: str, code: int, **values: Any) -> Response:
        html = self._templates.get_template(name).render(session=None, here="", dead_count=0, **values)
        return HTMLResponse(html, code)


# -- the form of an edit

_LABELS = {
    "service": ("Service", ""),
    "services": ("Services", "separated by commas"),
    "env": ("Environment", ""),
    "version": ("Version", ""),
    "team": ("Team", ""),
    "name": ("Name", ""),
    "severity": ("Severity", ""),
    "started_at": ("Started", "UTC, as in 2030-01-31T12:00:00Z"),
    "finished_at": ("Finished", "UTC, as in 2030-01-31T12:05:00Z"),
    "commit_sha": ("Commit", "40 hex digits"),
    "repository_url": ("Repository", "its web address"),
    "custom_tags": ("Tags", "key:value, one a line"),
}
_ORDER = tuple(_LABELS)


def _fields(envelope: Envelope, whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What can be edited, as it goes to Datadog now."""
    names = [name for name in _ORDER if name in editable(envelope)]
    if "git" in editable(envelope):
        names += ["commit_sha", "repository_url"]
    names.sort(key=_ORDER.index)
    if "finished_at" in names and envelope.path != "/api/v2/dora/deployment" and envelope.rank[:1] == "0":
        names.remove("finished_at")
    shown = _shown(envelope, whole)
    return [
        {
            "name": name,
            "label": _LABELS[name][0],
            "hint": _LABELS[name][1],
            "value": shown.get(name, ""),
            "about": (name, "git") if name in ("commit_sha", "repository_url") else (name,),
            "long": name == "custom_tags",
            "main": name in ("service", "services", "env"),
        }
        for name in names
    ]


def _shown(envelope: Envelope, whole: Mapping[str, Any]) -> dict[str, str]:
    """attribute -> its text in the form."""
    request = whole["request"] or {}
    attributes = dict((request.get("body") or {}).get("data", {}).get("attributes", {}))
    if is_incident(envelope):  # what is edited is the failure, of which the call is made
        attributes = dict(envelope.attributes)
    attributes |= attributes.pop("git", None) or {}
    shown = {}
    for name, value in attributes.items():
        if name in ("started_at", "finished_at"):
            shown[name] = to_rfc3339(value)
        elif name == "custom_tags":
            shown[name] = "\n".join(value)
        elif isinstance(value, list):
            shown[name] = ", ".join(value)
        else:
            shown[name] = str(value)
    return shown


def _edits(envelope: Envelope, whole: Mapping[str, Any], form: Mapping[str, str]) -> dict[str, Any]:
    """What a person changed in the form."""
    shown = _shown(envelope, whole)
    names = {field["name"] for field in _fields(envelope, whole)} & form.keys()
    texts = {name: form[name].replace("\r\n", "\n").strip() for name in names}
    changed = {name for name, text in texts.items() if text != shown.get(name, "").strip()}
    edits: dict[str, Any] = {}
    if changed & {"commit_sha", "repository_url"}:
        git = {name: texts.get(name, "") for name in ("commit_sha", "repository_url")}
        edits["git"] = git if any(git.values()) else None
    for name in changed - {"commit_sha", "repository_url"}:
        text = texts[name]
        if not text:
            edits[name] = None
        elif name == "services":
            edits[name] = [one.strip() for one in text.split(",") if one.strip()]
        elif name == "custom_tags":
            edits[name] = [line.strip() for line in text.splitlines() if line.strip()]
        else:
            edits[name] = text
    return edits


# -- how things are told


def _title(whole: Mapping[str, Any]) -> str:
    if whole["service"]:
        return " in ".join(filter(None, (whole["service"], whole["env"])))
    return f"{whole['source']} {whole['kind']}".strip()


def _ago(text: str) -> str:
    """An RFC 3339 time as how long ago it was, or how soon it is."""
    seconds = (time.time_ns() - from_rfc3339(text)) / 1e9
    if -1 <= seconds < 1:
        return "just now"
    size = round(abs(seconds))
    about = explain.duration(size - size % 86_400 if size >= 2 * 86_400 else size)
    return f"{about} ago" if seconds > 0 else f"in {about}"


def _plainly(text: str) -> str:
    """An RFC 3339 time for reading: to the second, in UTC."""
    return datetime.fromtimestamp(from_rfc3339(text) // 1_000_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _path(identifier: str) -> str:
    return quote(identifier, safe="~")


def _words(name: str | int) -> str:
    codes = {404: "Not found", 403: "Not allowed", 409: "Not possible now", 422: "Not valid", 503: "Redis is away"}
    if isinstance(name, int):
        return codes.get(name, "Something is wrong")
    return explain.REASONS.get(name, name.replace("_", " "))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def _query(values: Mapping[str, Any]) -> str:
    return f"?{urlencode(values)}" if values else ""


def _local(wanted: str) -> str:
    """A path of the admin; its start for anything else, so that nobody is led elsewhere."""
    plain = wanted.startswith("/admin/") and not any(one in wanted for one in ("\\", "\r", "\n", "//", "/login"))
    return wanted if plain else "/admin/"


def _read(name: str) -> bytes:
    return (importlib.resources.files("bridge") / "templates" / name).read_bytes()
