"""`rules test`: folders of webhooks and what they shall become, as users keep them, and as the command tells it."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge import cli
from bridge.rule_cases import Case, as_text, cases, tried
from bridge.samples import samples
from bridge.settings import read

FIXTURES = Path(__file__).parents[1] / "fixtures"
NOW = time.time_ns()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DORA_BRIDGE_REDIS_URL", "redis://127.0.0.1:1/0")
    (tmp_path / "bridge.yaml").write_text(
        "rules:\n"
        "  - {name: shop, match: {repository: acme/checkout}, set: {service: shop, tags: ['tier:1']}}\n"
        "  - {match: {environment: 'preview-*'}, drop: not production}\n"
    )
    monkeypatch.setenv("DORA_BRIDGE_CONFIG", str(tmp_path / "bridge.yaml"))


def a_case(directory: Path, name: str = "github/deployed", **files: Any) -> Path:
    """A folder with the sample of its sender, and these files besides."""
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    kind = name.partition("/")[0]
    given = {"body": json.loads(samples(NOW)[kind][1]), **files}
    for file, value in given.items():
        content = value if isinstance(value, str) else json.dumps(value)
        (folder / f"{file}.json").write_text(content)
    return folder


def deployed(**deployment: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(samples(NOW)["github"][1])
    body["deployment"] |= deployment
    return body


def command(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(cli.commands, ["rules", "test", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_one_line_for_each_that_passes_and_what_differs_for_the_others(tmp_path: Path) -> None:
    a_case(tmp_path / "cases", "github/right", expected={"outcome": "events", "rule": "shop"})
    a_case(tmp_path / "cases", "github/deeper/right", expected={})
    wrong = {"rule": "shop", "events": [{"id": "x"}]}
    a_case(tmp_path / "cases", "github/wrong", expected=wrong)
    done = command(tmp_path / "cases")
    assert done.return_value == 1
    lines = done.stdout.splitlines()
    assert lines[:3] == ["passed   github/deeper/right", "passed   github/right", "failed   github/wrong"]
    assert lines[3].startswith('         events[0].id: expected "x", got "gh-dep-')
    assert lines[-1] == "2 passed, 1 failed"


def test_as_json(tmp_path: Path) -> None:
    a_case(tmp_path / "cases", expected={"outcome": "ignored", "reason": "", "rule": "shop"})
    done = command(tmp_path / "cases", "--json")
    assert json.loads(done.stdout) == {
        "cases": [
            {
                "case": "github/deployed",
                "status": "failed",
                "problem": "",
                "differences": [{"place": "outcome", "expected": "ignored", "got": "events"}],
            }
        ],
        "passed": 0,
        "failed": 1,
    }


def test_what_translate_prints_is_what_is_expected(tmp_path: Path) -> None:
    folder = a_case(tmp_path / "cases")
    body = str(folder / "body.json")
    printed = CliRunner().invoke(cli.commands, ["translate", "github", body], standalone_mode=False).stdout
    expected = {name: value for name, value in json.loads(printed).items() if name != "file"}
    assert (expected["rule"], expected["events"][0]["body"]["data"]["attributes"]["service"]) == ("shop", "shop")
    (folder / "expected.json").write_text(json.dumps(expected))
    assert command(tmp_path / "cases").return_value == 0


def test_a_changed_rule_fails_the_case_that_it_changes_and_no_other(tmp_path: Path) -> None:
    a_case(tmp_path / "cases", "github/ours")
    a_case(tmp_path / "cases", "github/preview", body=deployed(environment="preview-7"))
    a_case(tmp_path / "cases", "pagerduty/opened")
    config = tmp_path / "bridge.yaml"
    before = config.read_text()
    config.write_text(before.replace("acme/checkout", "acme/none"))
    assert command(tmp_path / "cases", "--update").return_value == 0
    assert command(tmp_path / "cases").stdout.splitlines()[-1] == "3 passed, 0 failed"
    config.write_text(before.replace("acme/checkout", "acme/none").replace("preview-*", "preview-?"))
    assert command(tmp_path / "cases").stdout.splitlines()[-1] == "3 passed, 0 failed"
    config.write_text(before.replace("acme/checkout", "acme/none").replace("preview-*", "staging"))
    failed = [line for line in command(tmp_path / "cases").stdout.splitlines() if line.startswith("failed")]
    assert failed == ["failed   github/preview"]


def test_missing_expectation_fails_and_is_written_if_asked_for(tmp_path: Path) -> None:
    folder = a_case(tmp_path / "cases")
    assert "expected.json is missing" in command(tmp_path / "cases").stdout
    assert not (folder / "expected.json").exists()
    done = command(tmp_path / "cases", "--update")
    assert (done.return_value, done.stdout) == (0, "updated  github/deployed\n0 passed, 0 failed, 1 updated\n")
    written = (folder / "expected.json").read_text()
    assert list(json.loads(written)) == ["kind", "outcome", "reason", "rule", "events"]
    assert command(tmp_path / "cases", "--update").stdout == "passed   github/deployed\n1 passed, 0 failed\n"
    assert (folder / "expected.json").read_text() == written


def test_update_keeps_which_keys_are_compared(tmp_path: Path) -> None:
    folder = a_case(tmp_path / "cases", expected={"outcome": "ignored", "rule": ""})
    assert command(tmp_path / "cases", "--update").return_value == 0
    assert json.loads((folder / "expected.json").read_text()) == {"outcome": "events", "rule": "shop"}


def test_update_of_what_was_short_is_long(tmp_path: Path) -> None:
    folder = a_case(tmp_path / "cases", expected={"invalid": "x", "rule": ""})
    assert command(tmp_path / "cases", "--update").return_value == 0
    written = json.loads((folder / "expected.json").read_text())
    assert list(written) == ["kind", "outcome", "reason", "rule", "events"]
    assert (written["outcome"], written["rule"]) == ("events", "shop")


@pytest.mark.parametrize(
    ("expected", "passes"),
    [
        ({"ignored": "not production"}, True),
        ({"ignored": "production"}, True),
        ({"ignored": ""}, True),
        ({"ignored": "staging"}, False),
        ({"invalid": ""}, False),
        ({"outcome": "ignored", "reason": "not production", "rule": "rule 2", "events": [], "origins": []}, True),
        ({"reason": "production"}, False),
    ],
)
def test_short_for_ignored(tmp_path: Path, expected: dict[str, Any], passes: bool) -> None:
    a_case(tmp_path / "cases", body=deployed(environment="preview-7"), expected=expected)
    config = tmp_path / "bridge.yaml"
    config.write_text(config.read_text().replace("acme/checkout", "acme/none"))
    assert command(tmp_path / "cases").return_value == (0 if passes else 1)


def test_headers_are_the_senders_unless_given(tmp_path: Path) -> None:
    a_case(tmp_path / "cases", "github/made", expected={"kind": "deployment_status"})
    a_case(tmp_path / "cases", "github/given", headers={"X-GitHub-Event": "ping"}, expected={"ignored": "this kind of"})
    a_case(tmp_path / "cases", "github/none", headers={"dd_env": "x"}, expected={"invalid": "x-github-event"})
    assert command(tmp_path / "cases").stdout.splitlines()[-1] == "3 passed, 0 failed"


def test_context(tmp_path: Path) -> None:
    env = {"events": [{"body": {"data": {"attributes": {"env": "prod"}}}}]}
    a_case(tmp_path / "cases", "pagerduty/env", context={"query": {"env": "prod"}}, expected=env)
    low = {"options": {"urgencies": ["low"]}}
    a_case(tmp_path / "cases", "pagerduty/urgency", context=low, expected={"ignored": "option urgencies"})
    done = command(tmp_path / "cases", "--json")
    wrong, ignored = json.loads(done.stdout)["cases"]
    assert not [one for one in wrong["differences"] if one["place"] == "events[0].body.data.attributes.env"]
    assert ignored["status"] == "passed"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"expected": "{"}, "expected.json: not JSON, or not readable"),
        ({"expected": "[]"}, "expected.json: not a JSON object"),
        (
            {"expected": {"evnts": []}},
            "expected.json: unknown key evnts; known are kind, outcome, reason, rule, events",
        ),
        ({"expected": {}, "headers": "["}, "headers.json: not JSON"),
        ({"expected": {}, "context": {"env": "x"}}, "context.json: unknown key env; known are query, options"),
        ({"expected": {}, "context": {"query": "x"}}, "context.json: query is not an object"),
        ({"expected": {}, "context": {"options": {"wrong": "secret"}}}, "context.json: no such options, or not such"),
    ],
)
def test_a_broken_case_fails_and_says_why(tmp_path: Path, files: dict[str, Any], problem: str) -> None:
    a_case(tmp_path / "cases", **files)
    a_case(tmp_path / "cases", "pagerduty/opened", expected={})
    done = command(tmp_path / "cases")
    assert done.return_value == 1
    assert f"failed   github/deployed\n         {problem}" in done.stdout
    assert "passed   pagerduty/opened" in done.stdout
    assert "secret" not in done.stdout


def test_expectation_without_body_fails(tmp_path: Path) -> None:
    a_case(tmp_path / "cases", expected={})
    (tmp_path / "cases/github/deployed/body.json").unlink()
    assert "body.json: No such file or directory" in command(tmp_path / "cases").stdout


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '"text"'])
def test_a_body_that_is_no_json_is_a_case_too(tmp_path: Path, body: str) -> None:
    a_case(tmp_path / "cases", "pagerduty/broken", body=body, expected={"invalid": ""})
    assert command(tmp_path / "cases").return_value == 0


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("cases", "cases: no cases; one is a folder like "),
        ("missing", "missing' does not exist."),
        ("others", "others: folders in it are named after endpoints: no source 'gitlab'; known are argocd, github, "),
        ("others/gitlab", "gitlab: folders in it are named after endpoints: no source 'a'; known are "),
    ],
)
def test_wrong_usage(tmp_path: Path, folder: str, line: str) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "others/gitlab/a").mkdir(parents=True)
    (tmp_path / "others/gitlab/a/body.json").write_text("{}")
    result = CliRunner().invoke(cli.commands, ["rules", "test", str(tmp_path / folder)])
    assert result.exit_code == 2
    assert line in result.stderr


def test_whatever_the_age_and_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case says the same years later, and on machines with other keys."""
    shutil.copytree(FIXTURES / "argocd" / "degraded.single-source", tmp_path / "cases/argocd/degraded")
    case = Case("argocd/degraded", tmp_path / "cases/argocd/degraded")
    (case.folder / "expected.json").unlink()
    told = set()
    for environ, years in (({}, 0), ({"DD_APP_KEY": "k"}, 0), ({}, 40)):
        settings = read(environ)
        now = time.time_ns() + years * 365 * 86_400 * 10**9
        tried(case, settings.endpoints["argocd"], (), now=now, update=True)
        told.add((case.folder / "expected.json").read_text())
        (case.folder / "expected.json").unlink()
    assert len(told) == 1


def test_our_own_fixtures_are_such_cases() -> None:
    endpoints = read({}).endpoints
    verdicts = [tried(case, endpoints[case.endpoint], (), now=NOW) for case in cases(FIXTURES)]
    assert len(verdicts) > 250
    assert [as_text(one) for one in verdicts if one.status != "passed"] == []
