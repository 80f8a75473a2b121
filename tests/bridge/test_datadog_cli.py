"""The commands `dora-bridge datadog …` as they are typed: what they refuse, print and record without a worker."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from redis import Redis

from bridge import cli
from bridge.embedded_redis import PrivateRedis

ID = "gh-dep-0000004242-001795255180"
UUID = "00000000-aaaa-4000-8000-000000000001"
BY_VERSION = ("--service", "shop", "--env", "prod", "--version", "v1.2.3")
NOWHERE = "redis://127.0.0.1:1/0"


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `dora-bridge datadog` in this process."""
    for name in os.environ:
        if name.startswith(("DORA_BRIDGE_", "DD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DORA_BRIDGE_REDIS_URL", NOWHERE)
    monkeypatch.setenv("DORA_BRIDGE_DATADOG_URL", "http://127.0.0.1:1")

    def run(*arguments: str, **environ: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["dora-bridge", "datadog", *arguments])
            for name, value in environ.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


@pytest.mark.parametrize(
    ("arguments", "method", "path", "attributes"),
    [
        (("delete", "deployment", ID), "DELETE", f"/api/v2/dora/deployment/{ID}", None),
        (("delete", "failure", "a:b"), "DELETE", "/api/v2/dora/failure/a%3Ab", None),
        (("delete", "incident", UUID), "DELETE", f"/api/v2/incidents/{UUID}", None),
        (("mark-failure", ID), "PATCH", f"/api/v2/dora/deployments/{ID}", {"change_failure": True}),
        (("mark-failure", ID, "--undo"), "PATCH", f"/api/v2/dora/deployments/{ID}", {"change_failure": False}),
        (
            ("mark-failure", ID, "--remediation-id", "other", "--type", "rollback"),
            "PATCH",
            f"/api/v2/dora/deployments/{ID}",
            {"change_failure": True, "remediation": {"id": "other", "type": "rollback"}},
        ),
        (
            ("mark-failure", *BY_VERSION, "--remediation-version", "v1.2.4", "--type", "rollforward"),
            "PATCH",
            "/api/v2/dora/deployments",
            {
                "service": "shop",
                "env": "prod",
                "version": "v1.2.3",
                "change_failure": True,
                "remediation": {"version": "v1.2.4", "type": "rollforward"},
            },
        ),
    ],
)
def test_a_dry_run_shows_the_call_and_needs_nothing(
    run: Run, arguments: tuple[str, ...], method: str, path: str, attributes: Any
) -> None:
    done = run(*arguments, "--dry-run")
    assert (done.code, done.err) == (0, "")
    shown = json.loads(done.out)
    assert (shown["method"], shown["path"]) == (method, path)
    assert (shown["body"] and shown["body"]["data"]["attributes"]) == attributes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("mark-failure",), "say which"),
        (("mark-failure", "--service", "shop", "--env", "prod"), "say which"),
        (("mark-failure", ID, *BY_VERSION), "say which"),
        (("mark-failure", ID, "--service", "shop"), "say which"),
        (("mark-failure", ID, "--remediation-id", "other"), "--type"),
        (("mark-failure", ID, "--type", "rollback"), "--type"),
        (("mark-failure", ID, "--remediation-version", "v1", "--type", "rollback"), "--remediation-version"),
        (
            ("mark-failure", *BY_VERSION, "--remediation-version", "v", "--remediation-id", "x", "--type", "rollback"),
            "--remediation-version",
        ),
        (("mark-failure", ID, "--undo", "--remediation-id", "other", "--type", "rollback"), "--undo"),
        (("mark-failure", ID, "--remediation-id", ID, "--type", "rollback"), "itself"),
        (("mark-failure", *BY_VERSION, "--remediation-version", "v1.2.3", "--type", "rollback"), "itself"),
        (("mark-failure", "a/b"), "ID"),
        (("mark-failure", ID, "--remediation-id", "..", "--type", "rollback"), "ID"),
        (("mark-failure", ID, "--by", "a\nb"), "--by"),
        (("delete", "incident", "pagerduty-incident-P1"), "UUID"),
        (("get", "deployment", ".."), "ID"),
        (("list", "deployments", "--since", "2h", "--until", "3h"), "since"),
        (("list", "deployments", "--since", "soon"), "since"),
    ],
)
def test_what_makes_no_sense_is_a_wrong_use(run: Run, arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments, DD_API_KEY="k", DD_APP_KEY="k")
    assert (done.code, done.out) == (2, "")
    assert words in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "deployments"),
        ("list", "incidents"),
        ("get", "failure", ID),
        ("delete", "deployment", ID),
        ("mark-failure", *BY_VERSION),
    ],
)
def test_without_a_key_it_says_which(run: Run, arguments: tuple[str, ...]) -> None:
    for given, missing in (({"DD_API_KEY": "k"}, "DD_APP_KEY"), ({"DD_APP_KEY": "k"}, "DD_API_KEY")):
        done = run(*arguments, **given)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith(f"dora-bridge: {missing} is not set")


def test_without_redis_it_says_so(run: Run) -> None:
    done = run("mark-failure", ID, DD_API_KEY="k", DD_APP_KEY="k")
    assert done.code == 1
    assert done.err.startswith("dora-bridge: ConnectionError")


def test_without_a_worker_it_is_recorded_and_waits(run: Run, redis_server: PrivateRedis) -> None:
    keys = {"DD_API_KEY": "k", "DD_APP_KEY": "k", "DORA_BRIDGE_REDIS_URL": redis_server.url}
    Redis.from_url(redis_server.url).flushdb()
    deployment = "sent-by-something-else"
    done = run("mark-failure", deployment, "--by", "ada", "--timeout", "0.1", **keys)
    assert (done.code, done.out) == (1, f"{deployment}~verdict-1: waiting\n")
    assert "no worker is alive" in done.err
    assert f"dora-bridge events show {deployment}~verdict-1" in done.err
    again = run("mark-failure", deployment, "--undo", "--no-wait", "--json", "--by", "ada", **keys)
    assert again.code == 0
    told = json.loads(again.out)
    assert (told["id"], told["state"], told["by"], told["kind"]) == (
        f"{deployment}~verdict-2",
        "waiting",
        "ada",
        "mark-stable",
    )
