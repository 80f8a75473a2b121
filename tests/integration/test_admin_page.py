"""The page in a real browser: an operator finds out why an event is not in Datadog, mends it and sends it.

Axe looks at every page, in light and dark and as wide as a phone. With SCREENSHOTS=folder pictures are kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from system import System, deployment, unique, until

from bridge.samples import samples

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHAPES = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}},
    "phone-dark": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no /usr/bin/chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # playwright brings a fresh --user-data-dir of its own
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def full(system: System) -> System:
    """A system with one of everything: delivered, waiting, ignored, and dead letters of several kinds."""
    system.start_web()
    _run(lambda: _fill(system))
    return system


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs a coroutine beside the browser, whose interface keeps this thread's event loop."""
    with ThreadPoolExecutor(1) as beside:
        beside.submit(lambda: asyncio.run(work())).result()


async def _fill(system: System) -> None:
    refusal = {"errors": ['attribute "service" has an invalid value']}
    async with httpx.AsyncClient(timeout=10) as client:
        for endpoint, (kind, body) in samples().items():
            assert (await system.post(client, endpoint, body, kind)).status_code == 202
        system.start_worker()
        await system.until_drained()
        system.script({"status": 400, "body": refusal, "times": 2})
        for service in ("chekout", "basket"):
            body = deployment(unique(), service=service)
            assert (await system.post(client, "github", body, "deployment_status")).status_code == 202
            await system.until_drained()
        assert (await system.post(client, "github", b'{"action":', "deployment_status")).status_code == 202
        assert (await system.post(client, "github", b"{}", "ping")).status_code == 202
        await _fail(system, client)


async def _fail(system: System, client: httpx.AsyncClient) -> None:
    """A deployment, an incident after it, and one of a service that was never deployed; neither names an env."""
    now = int(time.time())
    body = deployment(unique(), service="billing", at=now - 900)
    assert (await system.post(client, "github", body, "deployment_status")).status_code == 202
    for service in ("billing", "search"):
        incident = json.loads(samples((now - 300) * 10**9)["pagerduty"][1])
        incident["event"]["data"] |= {"id": f"P{service.upper()}", "service": {"id": "PX", "summary": service}}
        assert (await system.post(client, "pagerduty", json.dumps(incident).encode())).status_code == 202
    await system.until_drained()
    with redis.Redis.from_url(system.redis.url) as looked_at:
        until(lambda: not looked_at.exists("dora:linking"), 20, f"not linked; see {system.folder}")


def _open(browser: Browser, system: System, shape: str, *, scripts: bool = True) -> tuple[BrowserContext, Page]:
    context = browser.new_context(java_script_enabled=scripts, **SHAPES[shape])  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"http://{system.internal}/admin/")
    return context, page


def _log_in(page: Page) -> None:
    page.get_by_label("Admin token").fill("admin-token")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def _accessible(page: Page) -> None:
    page.wait_for_load_state()  # with its style sheet
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    results = Axe().run(page, options=options)
    assert results.violations_count == 0, f"{page.url}\n{results.generate_report()}"
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0, f"{page.url} is {wider} px wider than its window"


def _picture(page: Page, name: str) -> None:
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_why_one_event_is_not_in_datadog_and_mending_it(browser: Browser, full: System) -> None:
    """Without scripts, and with nothing but what the page shows."""
    context, page = _open(browser, full, "light", scripts=False)
    page.get_by_label("Admin token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("This is not an admin token.")
    _log_in(page)
    page.get_by_role("table", name="dead letters").get_by_role("link", name="chekout").click()
    expect(page.get_by_role("heading", name="Why it is not in Datadog")).to_be_visible()
    expect(page.get_by_role("blockquote")).to_contain_text('attribute "service" has an invalid value')
    page.get_by_label("Service", exact=True).fill("")
    page.get_by_role("button", name="Send to Datadog").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was sent. service:")
    page.get_by_label("Service", exact=True).fill("checkout")
    page.get_by_role("button", name="Send to Datadog").click()
    delivered_already = page.get_by_role("heading", name="It is in Datadog")
    expect(page.get_by_text("It is on its way to Datadog.").or_(delivered_already)).to_be_visible()

    def delivered() -> bool:
        page.reload()
        return page.get_by_role("heading", name="It is in Datadog").is_visible()

    until(delivered, 15, page.content())
    expect(page.get_by_role("list").filter(has_text="Received on")).to_contain_text("chekout → checkout")
    sent = full.requests()[-1]["body"]["data"]["attributes"]
    assert sent["service"] == "checkout"
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("table")).to_contain_text("service = checkout")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    context.close()


def test_with_the_keyboard_alone(browser: Browser, full: System) -> None:
    context, page = _open(browser, full, "light")
    expect(page.locator("input[autofocus]")).to_be_focused()
    page.keyboard.type("admin-token")
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent").startswith("chekout"):
            break
    page.keyboard.press("Enter")
    page.get_by_text("Discard …").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Discard for good")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Discarded. It will not be sent.")
    context.close()


def test_redriving_many(browser: Browser, full: System) -> None:
    context, page = _open(browser, full, "light", scripts=False)
    _log_in(page)
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Dead letters").click()
    page.get_by_label("Reason").select_option("invalid")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("button", name="Redrive what matches …").click()
    page.get_by_role("button", name="Redrive 2").click()
    expect(page.get_by_role("status")).to_have_text("Redriven: 2 of 2.")
    _run(full.until_drained)
    page.reload()
    expect(page.get_by_role("row")).to_have_count(2)  # the head and the note
    page.get_by_role("link", name="github deployment_status").click()
    page.get_by_role("button", name="Translate again").click()
    expect(page.get_by_role("status")).to_contain_text("still a dead letter")
    context.close()


def test_a_change_failure_is_applied_and_taken_back(browser: Browser, full: System) -> None:
    context, page = _open(browser, full, "light", scripts=False)
    _log_in(page)
    expect(page.get_by_text("failures without env in the last 7 days.")).to_be_visible()
    page.get_by_role("link", name="Apply or reject").click()
    row = page.get_by_role("row").filter(has_text="billing")
    expect(row).to_contain_text("The latest deployment of the service")
    row.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status")).to_contain_text("Recorded.")

    def applied() -> bool:
        page.goto(f"http://{full.internal}/admin/links?status=applied")
        return row.is_visible()

    until(applied, 15, page.content())
    _run(full.until_drained)
    row.get_by_role("link", name="gh-dep-").click()
    expect(page.get_by_text("Datadog was told that it failed.")).to_be_visible()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("status")).to_contain_text("Recorded.")

    def taken_back() -> bool:
        page.reload()
        return page.get_by_text("Datadog was told that it did not fail.").is_visible()

    until(taken_back, 15, page.content())
    page.get_by_role("link", name="Change failures").click()
    page.get_by_role("link", name="Without a deployment").click()
    expect(page.get_by_role("row").filter(has_text="search")).to_contain_text("No deployment of the service")
    context.close()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_page_is_accessible(browser: Browser, full: System, shape: str) -> None:
    context, page = _open(browser, full, shape)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    base = f"http://{full.internal}/admin"
    _accessible(page)
    _picture(page, f"{shape}-login")
    _log_in(page)
    table = page.get_by_role("table", name="dead letters")
    dead = table.get_by_role("link", name="chekout").get_attribute("href") or ""
    note = table.get_by_role("link", name="github deployment_status").get_attribute("href") or ""
    live = page.get_by_role("table").last.get_by_role("link").last.get_attribute("href") or ""
    pages = {
        "start": "/",
        "events": "/events",
        "dead-letters": "/dead-letters",
        "dead-letter": dead.removeprefix("/admin"),
        "note": note.removeprefix("/admin"),
        "event": live.removeprefix("/admin"),
        "links": "/links",
        "all-links": "/links?status=all",
        "incident": "/events/pagerduty-incident-PBILLING",
        "without-env": "/events?without_env=1",
        "none": "/dead-letters?q=nothing-has-this",
        "problem": "/events/nothing",
    }
    for name, path in pages.items():
        page.goto(base + path)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        _accessible(page)
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = false)")
        _picture(page, f"{shape}-{name}")
    page.goto(base + "/dead-letters")
    page.get_by_role("button", name="Redrive all …").click()
    _accessible(page)
    _picture(page, f"{shape}-redrive")
    page.goto(base + dead.removeprefix("/admin"))
    page.get_by_label("Service", exact=True).fill("")
    page.get_by_role("button", name="Send to Datadog").click()
    _accessible(page)
    _picture(page, f"{shape}-wrong")
    page.get_by_label("Service", exact=True).fill("checkout")
    page.get_by_role("button", name="Send to Datadog").click()
    _run(full.until_drained)
    page.reload()
    _accessible(page)
    _picture(page, f"{shape}-mended")
    page.goto(base + "/audit")
    _accessible(page)
    _picture(page, f"{shape}-audit")
    full.kill("worker", signal.SIGTERM)
    with redis.Redis.from_url(full.redis.url) as client:
        soon = int(time.time() * 1000) + 45_000
        client.hset("dora:destination:deployment", mapping={"state": "parked", "reason": "auth", "until": soon})
        for identifier in client.zrange("dora:dead", 0, 0):
            client.zadd("dora:dead", {identifier: soon - 88 * 86_400_000})
    page.goto(base + "/")
    expect(page.get_by_text("Datadog refuses the key.")).to_be_visible()
    expect(page.get_by_text("No worker is alive.")).to_be_visible()
    expect(page.get_by_text("Dead letters are about to be dropped:")).to_be_visible()
    _accessible(page)
    _picture(page, f"{shape}-trouble")
    assert [error for error in errors if "404" not in error and "422" not in error] == []
    context.close()
