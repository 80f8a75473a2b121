"""The internal listener: who gets in, what it answers, and the gauges; called in process over a real Redis."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from linked import DEPLOYMENT, happened, look
from openapi_schema_validator import OAS31Validator
from undelivered import NOW, closed, deployed, failed, github, heads, received, record, refused, settings, settle

from bridge import redis_url
from bridge.access import COOKIE, SESSION_S, Access
from bridge.admin import create_internal_app
from bridge.corrections import statement
from bridge.dead_letters import DeadLetters
from bridge.dora import ChangeFailure, Withdrawal
from bridge.embedded_redis import PrivateRedis
from bridge.ids import one_of_several
from bridge.intake import Delivery
from bridge.last_heard import LastHeard
from bridge.ledger import Entry, Ledger
from bridge.links import Links
from bridge.openapi import document
from bridge.settings import Settings

TOKEN = "token-of-ada-1234"
HTML = {"accept": "text/html"}
ID = deployed(1).id


@dataclass
class Inside:
    redis: Any
    ledger: Ledger
    make: Callable[..., httpx.AsyncClient]
    client: httpx.AsyncClient
    rung: list[int] = field(default_factory=list)

    async def get(self, path: str, **parameters: Any) -> Any:
        answer = await self.client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ids(self, **parameters: Any) -> list[str]:
        return [row["id"] for row in (await self.get("/admin/dead-letters", **parameters))["dead_letters"]]


@pytest.fixture
async def inside(redis_server: PrivateRedis) -> AsyncIterator[Inside]:
    redis = redis_url.patient(redis_server.url)
    await redis.flushdb()
    ledger = Ledger(redis)
    rung: list[int] = []
    clients: list[httpx.AsyncClient] = []

    async def ring() -> None:
        rung.append(1)

    def make(made: Settings | None = None, address: str = "10.0.0.1", **headers: str) -> httpx.AsyncClient:
        app = create_internal_app(made or settings(), ledger, DeadLetters(redis), Links(redis), ring, LastHeard(redis))
        transport = httpx.ASGITransport(app, client=(address, 1))
        clients.append(httpx.AsyncClient(transport=transport, base_url="http://inside", headers=headers))
        return clients[-1]

    yield Inside(redis, ledger, make, make(authorization=f"Bearer {TOKEN}"), rung)
    for client in clients:
        await client.aclose()
    await redis.aclose()


# -- who gets in

PATHS = [path for path in document()["paths"] if "{" not in path]


@pytest.mark.parametrize("path", [*PATHS, "/admin/", "/admin/events/x", "/admin/dead-letters/x"])
async def test_nothing_without_a_token(inside: Inside, path: str) -> None:
    stranger = inside.make()
    method = "POST" if path.endswith("redrive") else "GET"
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
    ):
        answer = await stranger.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.json()["error"]["reason"].startswith("token_")
    off = inside.make(settings({"DORA_BRIDGE_ADMIN_TOKEN": ""}))
    answer = await off.request(method, path, headers={"authorization": "Bearer "})
    assert answer.status_code == 404
    assert "DORA_BRIDGE_ADMIN_TOKEN" in answer.json()["error"]["detail"]


async def test_tokens_have_names(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1), deployed(2))
    plain = inside.make(authorization="Bearer a-token-without-name")
    await plain.delete(f"/admin/dead-letters/{deployed(1).id}")
    await inside.client.delete(f"/admin/dead-letters/{deployed(2).id}")
    assert [line["who"] for line in (await inside.get("/admin/audit"))["audit"]] == ["ada", "token 2"]


async def test_too_many_different_wrong_tokens_have_to_wait(inside: Inside) -> None:
    guesser = inside.make(address="10.9.9.9")
    codes = [
        (await guesser.get("/admin/status", headers={"authorization": f"Bearer guess-{n}"})).status_code
        for n in range(12)
    ]
    assert codes == [401] * 10 + [429] * 2
    login = await guesser.post("/admin/login", data={"token": TOKEN})
    assert login.status_code == 401
    assert (await inside.client.get("/admin/status")).status_code == 200, "from elsewhere all is well"
    stale = inside.make(address="10.8.8.8")
    for _ in range(30):
        assert (await stale.get("/admin/status", headers={"authorization": "Bearer of-last-year"})).status_code == 401
    right = {"authorization": f"Bearer {TOKEN}"}
    assert (await stale.get("/admin/status", headers=right)).status_code == 200, "an old token guesses nothing"


async def _login(inside: Inside) -> httpx.AsyncClient:
    browser = inside.make(**HTML)
    answer = await browser.post("/admin/login", data={"token": TOKEN, "next": "/admin/events"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/events")
    return browser


def _form_token(page: httpx.Response) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page.text)
    assert found
    return found[1]


async def test_a_session_is_a_strict_cookie_that_another_replica_knows(inside: Inside) -> None:
    browser = await _login(inside)
    cookie = next(cookie for cookie in browser.cookies.jar if cookie.name == COOKIE)
    assert cookie.path == "/admin"
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    assert TOKEN not in str(cookie.value)
    sent = {"cookie": f"{COOKIE}={cookie.value}", **HTML}
    replica = inside.make(**sent)
    page = await replica.get("/admin/")
    assert page.status_code == 200
    without_ada = inside.make(settings({"DORA_BRIDGE_ADMIN_TOKEN": "another-token"}), **sent)
    answer = await without_ada.get("/admin/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/login")
    out = await browser.post("/admin/logout", data={"form_token": _form_token(page)})
    assert out.status_code == 303
    assert not browser.cookies


def test_a_session_ends_and_cannot_be_made_up() -> None:
    now = [1_000_000.0]
    access = Access(lambda: (b"ada:token-of-ada-1234",), lambda: now[0])
    cookie = access.open(TOKEN.encode())
    session = access.session(cookie)
    assert session is not None
    assert session.who == "ada"
    for forged in (
        "",
        ".",
        "..",
        cookie[:-1] + ("A" if cookie[-1] != "A" else "B"),
        "9" + cookie,
        "ü" + cookie,
        cookie + "ü",
    ):
        assert access.session(forged) is None
    now[0] += SESSION_S + 1
    assert access.session(cookie) is None


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/admin/events?q=x", "/admin/events?q=x"),
        ("https://evil.example/", "/admin/"),
        ("//evil.example/admin/", "/admin/"),
        ("/admin/\\evil", "/admin/"),
        ("/admin/..//evil.example", "/admin/"),
        ("/webhooks/github", "/admin/"),
        ("", "/admin/"),
    ],
)
async def test_the_login_leads_nowhere_else(inside: Inside, wanted: str, leads_to: str) -> None:
    answer = await inside.make(**HTML).post("/admin/login", data={"token": TOKEN, "next": wanted})
    assert answer.headers["location"] == leads_to


async def test_a_form_needs_its_token_and_json_needs_the_bearer(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    browser = await _login(inside)
    for form_token in ({}, {"form_token": ""}, {"form_token": "guess"}, {"form_token": "ü"}):
        answer = await browser.post(f"/admin/dead-letters/{ID}/discard", data={"x": "1", **form_token})
        assert answer.status_code == 403
    answer = await browser.post(f"/admin/dead-letters/{ID}/redrive", json={})
    assert answer.status_code == 401, "a cookie is no proof that a person wanted this"
    assert (await browser.delete(f"/admin/dead-letters/{ID}")).status_code == 401
    assert await inside.ids() == [ID]


async def test_answers_stay_out_of_caches_frames_and_other_sites(inside: Inside) -> None:
    browser = await _login(inside)
    for path in ("/admin/", "/admin/login", "/admin/static/page.css", "/admin/nothing"):
        headers = (await browser.get(path)).headers
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


# -- what it answers


def _valid(path: str, method: str, answer: httpx.Response) -> Any:
    described = document()
    schema = described["paths"][path][method]["responses"][str(answer.status_code)]["content"]["application/json"]
    whole = {**schema["schema"], "components": described["components"]}
    OAS31Validator(whole).validate(answer.json())
    return answer.json()


async def test_every_answer_is_as_described(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1), deployed(2), failed())
    await record(inside.ledger, deployed(3), closed())
    [note] = await received(inside.ledger, Delivery(github().headers, {}, b"{"))
    for path in ("/admin/status", "/admin/events", "/admin/dead-letters", "/admin/audit"):
        _valid(path, "get", await inside.client.get(path))
        if path != "/admin/status":
            _valid(path, "get", await inside.client.get(path, params={"limit": "x"}))
    for identifier in (ID, note, failed().id):
        _valid("/admin/events/{id}", "get", await inside.client.get(f"/admin/events/{identifier}"))
        _valid("/admin/dead-letters/{id}", "get", await inside.client.get(f"/admin/dead-letters/{identifier}"))
    _valid("/admin/events/{id}", "get", await inside.client.get("/admin/events/nothing"))
    one, many = "/admin/dead-letters/{id}/redrive", "/admin/dead-letters/redrive"
    for body in ({"attributes": {"service": "checkout"}}, {}, {"mode": "no"}, {"x": 1}):
        _valid(one, "post", await inside.client.post(f"/admin/dead-letters/{ID}/redrive", json=body))
    for body in ({"filter": {}, "dry_run": True}, {"filter": {"service": "chekout"}}, {}, {"filter": {"servce": "x"}}):
        _valid(many, "post", await inside.client.post(many, json=body))
    await record(inside.ledger, deployed(4, version=None, service="cart", env=None))
    for number in (5, 6):
        await happened(inside.ledger, number, services=("cart",), env="production" if number == 5 else None)
    await look(Links(inside.redis), "cart")
    _valid("/admin/status", "get", await inside.client.get("/admin/status"))
    for asked in ({}, {"status": "no_link", "limit": 1}, {"status": "x"}):
        _valid("/admin/links", "get", await inside.client.get("/admin/links", params=asked))
    for word in ("apply", "reject"):
        for incident in (failed(5).id, "unknown"):
            answer = await inside.client.post(f"/admin/links/{incident}/{word}")
            _valid(f"/admin/links/{{incident}}/{word}", "post", answer)
    _valid("/admin/events/{id}", "get", await inside.client.get(f"/admin/events/{failed(5).id}"))
    _valid("/admin/dead-letters/{id}", "delete", await inside.client.delete(f"/admin/dead-letters/{note}"))
    _valid("/admin/audit", "get", await inside.client.get("/admin/audit"))


def test_the_description_is_of_the_routes_there_are(redis_server: PrivateRedis) -> None:
    async def ring() -> None: ...

    redis = redis_url.patient(redis_server.url)
    app = create_internal_app(settings(), Ledger(redis), DeadLetters(redis), Links(redis), ring, LastHeard(redis))
    for_eyes = ("/admin", "/admin/", "/admin/login", "/admin/logout", "/admin/static/{name}")
    routes = {
        (route.path, method.lower())
        for route in app.routes
        for method in route.methods - {"HEAD"}  # type: ignore[attr-defined]
        if route.path.startswith("/admin") and route.path not in for_eyes  # type: ignore[attr-defined]
    } - {("/admin/openapi.json", "get"), ("/admin/dead-letters/{id}/discard", "post")}
    assert routes == {(path, method) for path, methods in document()["paths"].items() for method in methods}


async def test_the_status(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1), deployed(2))
    await record(inside.ledger, deployed(3))
    until = int(time.time() * 1000) + 60_000
    state = {"state": "parked", "until": until, "reason": "auth"}
    await inside.redis.hset("dora:destination:failure", mapping=state)
    seen = await inside.get("/admin/status")
    assert seen["destination"]["state"] == "parked"
    assert seen["destination"]["reason"] == "auth"
    assert seen["destination"]["until"].endswith("Z")
    assert seen["destinations"]["deployment"] == {"state": "open", "until": None, "reason": None, "became": {}}
    assert (seen["waiting"], seen["dead_letters"], seen["workers"]) == (1, {"invalid": 2}, 0)
    assert seen["oldest_age_s"] >= 0


async def test_one_is_redriven_with_an_empty_body(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    whole = await inside.get(f"/admin/dead-letters/{ID}")
    assert (whole["reason"], whole["detail"], whole["attempts"]) == ("invalid", "400: Invalid service", 1)
    assert whole["answer"] == {"status": 400, "answer": '{"errors":["Invalid service"]}'}
    answer = await inside.client.post(f"/admin/dead-letters/{ID}/redrive")
    assert (answer.status_code, answer.json()["status"]) == (200, "redriven")
    assert inside.rung == [1]
    again = await inside.client.post(f"/admin/dead-letters/{ID}/redrive")
    assert (again.status_code, again.json()["error"]["reason"]) == (409, "not_now")
    assert (await inside.client.post("/admin/dead-letters/nothing/redrive")).status_code == 404
    assert len(await heads(inside.ledger)) == 1


async def test_curl_needs_no_content_type(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "*/*"}
    answer = await inside.client.post(
        f"/admin/dead-letters/{ID}/redrive", content='{"attributes":{"service":"x"}}', headers=headers
    )
    assert answer.status_code == 200


async def test_a_bad_edit_says_which_field(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    answer = await inside.client.post(f"/admin/dead-letters/{ID}/redrive", json={"attributes": {"env": 5}})
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "env"
    assert await inside.ids() == [ID]


async def test_many_are_counted_before_they_go(inside: Inside) -> None:
    await refused(inside.ledger, *(deployed(n, service=f"s{n % 2}") for n in range(1, 21)))
    many = "/admin/dead-letters/redrive"
    wanted = {"filter": {"service": "s1"}, "dry_run": True}
    assert (await inside.client.post(many, json=wanted)).json() == {"matched": 10, "redriven": 0, "dry_run": True}
    wanted = {"filter": {"service": "s1"}}
    done = (await inside.client.post(many, json=wanted)).json()
    assert (done["matched"], done["redriven"], done["complete"]) == (10, 10, True)
    assert len(await inside.ids()) == 10


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'"x"', b"{}", b'{"filter":[]}', b'{"filter":{},"dry_run":"no"}', b"x" * 300_000]
)
async def test_a_slip_redrives_nothing(inside: Inside, body: bytes) -> None:
    await refused(inside.ledger, deployed(1))
    answer = await inside.client.post("/admin/dead-letters/redrive", content=body)
    assert answer.status_code == 422
    assert await inside.ids() == [ID]


async def test_lists_filter_and_page(inside: Inside) -> None:
    await refused(inside.ledger, *(deployed(n) for n in range(1, 8)))
    await record(inside.ledger, deployed(100, service="checkout"))
    await settle(inside.ledger, verdict="delivered")
    first = await inside.get("/admin/dead-letters", limit=5)
    second = await inside.get("/admin/dead-letters", limit=5, cursor=first["next_cursor"])
    assert len({row["id"] for row in first["dead_letters"] + second["dead_letters"]}) == 7
    assert second["next_cursor"] is None
    assert set(first["dead_letters"][0]) >= {"id", "source", "kind", "service", "env", "reason", "since", "attempts"}
    events = (await inside.get("/admin/events", state="delivered"))["events"]
    assert [row["id"] for row in events] == [deployed(100).id]
    assert await inside.ids(since="1h", until="2h") == []
    assert len(await inside.ids(since="1h", reason="invalid", source="github", env="production")) == 7
    for wrong in ({"sevice": "x"}, {"limit": "0"}, {"cursor": "!"}, {"cursor": "eA"}, {"since": "soon"}):
        assert (await inside.client.get("/admin/dead-letters", params=wrong)).status_code == 422


async def test_the_export_is_everything_a_line_each(inside: Inside) -> None:
    await received(inside.ledger, github())
    await settle(inside.ledger)
    await refused(inside.ledger, deployed(2))
    answer = await inside.client.get("/admin/dead-letters/export")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert len(lines) == 2
    assert json.loads(lines[0]["body"])["deployment"]
    assert lines[0]["request"]["body"]["data"]["attributes"]["service"]
    assert "sha256=secret" not in answer.text


async def test_no_secret_is_told(inside: Inside) -> None:
    [identifier] = await received(inside.ledger, github())
    await settle(inside.ledger)
    whole = await inside.client.get(f"/admin/dead-letters/{identifier}")
    assert "sha256=secret" not in whole.text
    assert whole.json()["delivery"]["secret"] == 1
    assert whole.json()["delivery"]["headers"]["x-github-event"] == "deployment_status"


async def test_links_are_listed_and_a_person_says_which_hold(inside: Inside) -> None:
    links = Links(inside.redis)
    await record(inside.ledger, deployed(1))
    incident = await happened(inside.ledger)
    await look(links)
    (link,) = (await inside.get("/admin/links", status="suggested"))["links"]
    assert (link["incident"], link["deployment"], link["env"]) == (incident, DEPLOYMENT, "production")
    assert link["at"].endswith("Z")
    assert (await inside.get("/admin/status"))["link_suggestions"] == 1
    answer = await inside.client.post(f"/admin/links/{incident}/apply")
    assert (answer.status_code, answer.json()["status"]) == (200, "recorded")
    assert answer.json()["links"] == [{**link, "override": "apply"}]
    await look(links)
    (link,) = (await inside.get(f"/admin/events/{incident}"))["links"]
    assert link["status"] == "applied"
    assert (await inside.get(f"/admin/events/{DEPLOYMENT}"))["links"] == [link]
    assert (await inside.get("/admin/audit"))["audit"][0]["who"] == "ada"
    assert (await inside.client.post("/admin/links/unknown/reject")).status_code == 404
    for wrong in ({"status": "open"}, {"limit": "0"}, {"cursor": "!"}, {"service": "x"}):
        assert (await inside.client.get("/admin/links", params=wrong)).status_code == 422


async def test_what_names_no_env_is_counted_and_found(inside: Inside) -> None:
    await record(inside.ledger, deployed(1, env=None), deployed(2), failed(1, env=None))
    assert (await inside.get("/admin/status"))["without_env"] == {"deployments": 1, "failures": 1}
    rows = (await inside.get("/admin/events", without_env="1"))["events"]
    assert {row["id"] for row in rows} == {deployed(1).id, f"{failed(1).id}~open"}
    assert (await inside.client.get("/admin/events", params={"without_env": "perhaps"})).status_code == 422


# -- the page without a browser


async def test_links_are_applied_by_a_form(inside: Inside) -> None:
    await record(inside.ledger, deployed(1))
    incident = await happened(inside.ledger)
    await look(Links(inside.redis))
    browser = await _login(inside)
    page = await browser.get("/admin/links")
    assert f'action="/admin/links/{incident}/apply"' in page.text
    assert (await browser.post(f"/admin/links/{incident}/apply", data={"x": "1"})).status_code == 403
    assert (await browser.post(f"/admin/links/{incident}/apply", json={})).status_code == 401
    form = {"form_token": _form_token(page), "back": "/admin/links?status=suggested"}
    done = await browser.post(f"/admin/links/{incident}/apply", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/admin/links?status=suggested&done=apply")
    page = await browser.get(done.headers["location"])
    assert 'role="status">Recorded.' in page.text
    assert f'action="/admin/links/{incident}/apply"' not in page.text
    elsewhere = await browser.post(f"/admin/links/{incident}/reject", data={**form, "back": "https://evil.example/"})
    assert elsewhere.headers["location"] == "/admin/links?done=reject"
    assert (await browser.post("/admin/links/unknown/apply", data=form)).status_code == 404
    assert (await browser.get("/admin/links?status=nonsense")).status_code == 422


async def test_the_page_says_what_to_mend_before_datadog_can_be_told(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    await happened(inside.ledger)
    await look(Links(inside.redis), mode="auto")
    await record(inside.ledger, ChangeFailure(deployment_id=DEPLOYMENT, service="chekout", env=None, revision=1))
    browser = await _login(inside)
    for path in ("/admin/links?status=applied", f"/admin/events/{DEPLOYMENT}"):
        page = await browser.get(path)
        assert "Datadog is not told yet" in page.text
        assert f'Mend <a class="mono" href="/admin/events/{DEPLOYMENT}">{DEPLOYMENT}</a>' in page.text
        assert "Datadog was told that" not in page.text
    asked = {"status": "applied"}
    _valid("/admin/links", "get", await inside.client.get("/admin/links", params=asked))


async def test_what_senders_wrote_is_escaped(inside: Inside) -> None:
    nasty = "<script>alert(1)</script>"
    [identifier] = await received(inside.ledger, github(payload={"service": nasty}, ref=nasty))
    await settle(inside.ledger, answer=json.dumps({"errors": [nasty]}))
    browser = await _login(inside)
    for path in ("/admin/", "/admin/events", "/admin/dead-letters", f"/admin/events/{identifier}"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "&lt;script&gt;" in page.text
        assert "<script" not in page.text
    page = await browser.get("/admin/dead-letters", params={"q": '"><script>'})
    assert "<script" not in page.text


async def test_what_a_person_asked_for_names_them(inside: Inside) -> None:
    deletion = statement(Withdrawal(record_id=ID), by="ada@<host>", now=NOW)
    await inside.ledger.record([Entry(deletion)])
    await settle(inside.ledger, verdict="delivered", status=202)
    page = await (await _login(inside)).get(f"/admin/events/{deletion.id}")
    assert "ada@&lt;host&gt; asked for it: delete" in page.text
    assert "Datadog was told to delete it" in page.text
    assert "/webhooks/" not in page.text


async def test_a_deployment_that_other_rules_call_otherwise_is_shown_under_either_id(inside: Inside) -> None:
    later = one_of_several(ID, "chekout")
    assert await record(inside.ledger, deployed(1), deployed(1, id=later, twin=ID)) == ["accepted", "duplicate"]
    answer = await inside.client.get(f"/admin/events/{later}")
    _valid("/admin/events/{id}", "get", answer)
    assert (answer.json()["id"], answer.json()["called"]) == (ID, {ID: later})
    page = await (await _login(inside)).get(f"/admin/events/{later}")
    assert f'Called <span class="mono">{later}</span> by rules under which' in page.text
    assert "Called" not in (await (await _login(inside)).get(f"/admin/events/{ID}")).text


async def test_the_form_mends_and_sends(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1))
    browser = await _login(inside)
    page = await browser.get(f"/admin/dead-letters/{ID}")
    form = {"form_token": _form_token(page), "mode": "as_sent", "service": "", "env": "production"}
    wrong = await browser.post(f"/admin/dead-letters/{ID}/redrive", data=form)
    assert wrong.status_code == 422
    assert 'aria-invalid="true"' in wrong.text
    done = await browser.post(f"/admin/dead-letters/{ID}/redrive", data={**form, "service": "checkout"})
    assert (done.status_code, done.headers["location"]) == (303, f"/admin/events/{ID}?done=redriven")
    [head] = await heads(inside.ledger)
    assert head.envelope.attributes == {**deployed(1).body["data"]["attributes"], "service": "checkout"}
    page = await browser.get(done.headers["location"])
    assert "It is on its way" in page.text


async def test_a_form_that_changes_nothing_is_no_edit(inside: Inside) -> None:
    from bridge.dora import Git

    git = Git("a" * 40, "https://github.com/acme/checkout")
    incident = failed(2, team="web", severity="SEV-1", name="Slow", send_as="incident")
    await refused(inside.ledger, deployed(1, git=git, custom_tags=("a:b", "c:d")), failed(team="web", severity="SEV-1"))
    await refused(inside.ledger, incident)
    browser = await _login(inside)
    for identifier in (ID, f"{failed().id}~open", f"{incident.id}~open"):
        page = await browser.get(f"/admin/dead-letters/{identifier}")
        fields = dict(re.findall(r'<input id="f-\w+" name="(\w+)" value="([^"]*)"', page.text))
        fields |= {
            name: text.replace("\n", "\r\n")
            for name, text in re.findall(r'<textarea id="f-\w+" name="(\w+)"[^>]*>([^<]*)<', page.text)
        }
        form = {**fields, "form_token": _form_token(page), "mode": "as_sent"}
        assert (await browser.post(f"/admin/dead-letters/{identifier}/redrive", data=form)).status_code == 303
        assert fields["env"] == "production"
    assert '<th scope="row">title</th><td>Slow' in page.text
    lines = (await inside.get("/admin/audit"))["audit"]
    assert not any("edits" in line for line in lines)


async def test_many_by_the_form(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1), deployed(2, service="other"))
    browser = await _login(inside)
    page = await browser.get("/admin/dead-letters", params={"service": "chekout"})
    form = {"form_token": _form_token(page), "service": "chekout"}
    sure = await browser.post("/admin/dead-letters/redrive", data=form)
    assert "Redrive 1<" in sure.text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', sure.text))
    done = await browser.post("/admin/dead-letters/redrive", data={**hidden, "mode": ""})
    assert done.status_code == 303
    assert "Redriven: 1 of 1" in (await browser.get(done.headers["location"])).text
    assert await inside.ids() == [deployed(2).id]


async def test_no_session_leads_to_the_login_and_back(inside: Inside) -> None:
    answer = await inside.make(**HTML).get("/admin/dead-letters?q=x")
    assert answer.headers["location"] == "/admin/login?next=%2Fadmin%2Fdead-letters%3Fq%3Dx"
    off = await inside.make(settings({"DORA_BRIDGE_ADMIN_TOKEN": ""}), **HTML).get("/admin/")
    assert off.status_code == 404
    assert "DORA_BRIDGE_ADMIN_TOKEN" in off.text


# -- when Redis is away, and when there is much


async def test_a_hanging_redis_hangs_nothing(redis_server: PrivateRedis) -> None:
    async def ring() -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as silent:
        redis = redis_url.impatient(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        app = create_internal_app(settings(), Ledger(redis), DeadLetters(redis), Links(redis), ring, LastHeard(redis))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://inside") as client:
            started = time.monotonic()
            scrapes = await asyncio.gather(*(client.get("/metrics") for _ in range(5)))
            assert time.monotonic() - started < 2.5
            assert all("dora_bridge_redis_up 0.0" in scrape.text for scrape in scrapes)
            answer = await client.get("/admin/status", headers={"authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 503
            browser = {"cookie": f"{COOKIE}={Access(settings().admin_tokens).open(TOKEN.encode())}", **HTML}
            assert (await client.get("/admin/", headers=browser)).status_code == 503
        await redis.aclose()


async def test_gauges(inside: Inside) -> None:
    await refused(inside.ledger, deployed(1), deployed(2))
    await record(inside.ledger, deployed(3))
    await inside.ledger.sign_of_life("w")
    text = (await inside.client.get("/metrics")).text
    for line in (
        "dora_bridge_redis_up 1.0",
        'dora_bridge_events_waiting{state="waiting"} 1.0',
        'dora_bridge_destination_state{state="open"} 1.0',
        'dora_bridge_dead_letters{reason="invalid"} 2.0',
        'dora_bridge_workers{state="alive"} 1.0',
        "dora_bridge_oldest_waiting_age_seconds ",
        "dora_bridge_lanes_overdue 0.0",
        'dora_bridge_events_without_env{fact="deployment"} 0.0',
        'dora_bridge_events_without_env{fact="failure"} 0.0',
        "dora_bridge_link_suggestions 0.0",
        "dora_bridge_build_info",
    ):
        assert line in text


async def test_much_waiting_costs_no_more_than_little(inside: Inside) -> None:
    many = 100_000
    now = int(time.time() * 1000)
    async with inside.redis.pipeline(transaction=False) as pipe:
        for start in range(0, many, 10_000):
            ids = [f"gh-dep-0000000001-{number:012d}" for number in range(start, start + 10_000)]
            pipe.zadd("dora:waiting", {id_: now - number for number, id_ in enumerate(ids)})
            pipe.zadd("dora:dead", {id_: now - start - number for number, id_ in enumerate(ids)})
        await pipe.execute()
    await refused(inside.ledger, *(deployed(200_000 + n, service="needle") for n in range(1000)))
    browser = await _login(inside)
    for client, path in (
        (browser, "/admin/"),
        (inside.client, "/admin/status"),
        (inside.client, "/admin/events"),
        (inside.client, "/admin/dead-letters"),
        (inside.client, "/admin/dead-letters?service=needle&limit=500"),
        (inside.client, "/metrics"),
    ):
        before = (await inside.redis.info("stats"))["total_commands_processed"]
        answer = await client.get(path)
        commands = (await inside.redis.info("stats"))["total_commands_processed"] - before
        assert answer.status_code == 200
        assert commands < many / 4, (path, commands)  # it looks at 10,000, however many wait
    counts = (await inside.get("/admin/status"))["dead_letters"]
    assert sum(counts.values()) == many + 1000
