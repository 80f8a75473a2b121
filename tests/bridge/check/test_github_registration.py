"""Hooks at GitHub: what is wrong with each, and the command that mends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checking import GOOD, Hosts, found, told
from stand_ins.github import GitHub

from bridge.check.github_registration import faults_of

GOOD_TOKEN = "ghs_token"
HOOK = "repos/acme/shop/hooks/123"
API = "https://api.github.com"


@pytest.fixture
def github() -> GitHub:
    return GitHub()


async def look(
    github: GitHub, folder: Path, hook: str = HOOK, *, public_url: str = "", token: str = GOOD_TOKEN, more: str = ""
) -> list[tuple[str, str]]:
    hooks = f"hooks: [{hook}]" if hook else ""
    (folder / "bridge.yaml").write_text(f"endpoints: {{github: {{{more}{hooks}}}}}")
    environ = {**GOOD, "DORA_BRIDGE_CONFIG": str(folder / "bridge.yaml"), "DORA_BRIDGE_GITHUB_TOKEN": token}
    some = told(await found(Hosts(github=github.app), public_url, **environ), "github")
    assert not any("ghs_token" in detail or "hidden" in detail for _, detail in some)
    return some


@pytest.mark.parametrize("hook", [HOOK, "orgs/acme/hooks/4", "app/hook"])
async def test_as_it_should_be(github: GitHub, tmp_path: Path, hook: str) -> None:
    github.register(hook, "deployment_status", "push")
    for public_url in ("", "https://bridge.example.com"):
        assert await look(github, tmp_path, hook, public_url=public_url) == [
            ("ok", f"{hook} is active and posts deployment_status to github"),
            ("ok", f"failed deliveries of {hook} are asked for again"),
        ]


async def test_faults_of_a_hook(github: GitHub, tmp_path: Path) -> None:
    github.register(
        HOOK,
        "push",
        active=False,
        config={"url": "https://u:hidden@old.example.com/hooks?t=hidden", "content_type": "xml", "insecure_ssl": "1"},
        last_response={"code": 401, "status": "misconfigured", "message": "x"},
    )
    some = await look(github, tmp_path, more="failures_from: [issues], ")
    patch = f"gh api -X PATCH {HOOK}"
    assert some == [
        ("problem", f"{HOOK} is not active: {patch} -F active=true"),
        (
            "problem",
            f"{HOOK} posts to https://old.example.com/hooks and not to /webhooks/github:"
            f" {patch}/config -f url=https://YOUR-HOST/webhooks/github",
        ),
        ("problem", f"{HOOK} posts neither JSON nor forms: {patch}/config -f content_type=json"),
        ("problem", f'{HOOK} has no secret, so every delivery is refused: {patch}/config -f secret="$SECRET"'),
        ("warning", f"{HOOK} does not look at certificates: {patch}/config -f insecure_ssl=0"),
        (
            "problem",
            f"{HOOK} does not post deployment_status, issues:"
            f" {patch} -f 'add_events[]=deployment_status' -f 'add_events[]=issues'",
        ),
        ("warning", f"{HOOK} was answered 401 the last time: its secret is not one of github's"),
        ("ok", f"failed deliveries of {HOOK} are asked for again"),
    ]


async def test_public_url_is_compared(github: GitHub, tmp_path: Path) -> None:
    github.register(HOOK, "*")
    [(level, detail), _] = await look(github, tmp_path, public_url="https://new.example.com/")
    assert level == "problem"
    assert detail.endswith(f"gh api -X PATCH {HOOK}/config -f url=https://new.example.com/webhooks/github")


def fault(base_url: str, hook: str, **fields: Any) -> list[str]:
    config = {"url": "https://x/webhooks/github", "content_type": "form", "secret": "********"}
    registered: dict[str, Any] = {"active": True, "events": ["push"], "config": config, **fields}
    return [one.detail for one in faults_of(registered, base_url, hook, "github", {"deployment_status"})]


def test_commands_of_other_hooks() -> None:
    assert fault(API, "orgs/acme/hooks/4") == [
        "orgs/acme/hooks/4 does not post deployment_status: gh api -X PATCH orgs/acme/hooks/4"
        " -f 'events[]=deployment_status' -f 'events[]=push'"
    ]
    assert fault(API, "app/hook") == [
        "app/hook does not post deployment_status:"
        " add deployment_status in the settings of the App (Permissions & events)"
    ]
    [detail] = fault("https://ghe.example.com/api/v3", HOOK)
    assert f": GH_HOST=ghe.example.com gh api -X PATCH {HOOK} -f" in detail


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (404, "was answered 404 the last time: github has no secret, or the address is wrong"),
        (503, "was answered 503 the last time: Redis was away"),
        (502, "was answered 502 the last time: look at its recent deliveries"),
        (200, None),
        (None, None),
        (0, None),
    ],
)
def test_last_response(code: int | None, meaning: str | None) -> None:
    assert fault(API, HOOK, events=["*"], last_response={"code": code}) == ([f"{HOOK} {meaning}"] if meaning else [])


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (
            "",
            f"{HOOK} is listed for github, but failed deliveries are not asked for again without a token"
            " (DORA_BRIDGE_GITHUB_TOKEN)",
        ),
        ("wrong", f"GitHub answers 401 when asked for {HOOK} and its deliveries (hooks, DORA_BRIDGE_GITHUB_TOKEN)"),
        ("ghs_token", f"GitHub answers 404 when asked for {HOOK} and its deliveries (hooks, DORA_BRIDGE_GITHUB_TOKEN)"),
    ],
)
async def test_hook_that_cannot_be_read(github: GitHub, tmp_path: Path, token: str, expected: str) -> None:
    assert await look(github, tmp_path, token=token) == [("warning", expected)]


async def test_hook_of_another_shape(github: GitHub, tmp_path: Path) -> None:
    github.register(HOOK, config=None)
    some = await look(github, tmp_path)
    assert some[0] == ("warning", f"GitHub describes {HOOK} in a way that is not known")


async def test_token_without_hooks(github: GitHub, tmp_path: Path) -> None:
    detail = "no hook of github is listed: its registration is not checked, nor failures asked for again"
    assert await look(github, tmp_path, "") == [("warning", f"{detail} (endpoints.github.hooks)")]
    assert not github.gate.calls


async def test_only_reads(github: GitHub, tmp_path: Path) -> None:
    github.register(HOOK)
    await look(github, tmp_path)
    assert {call.method for call in github.gate.calls} == {"GET"}
