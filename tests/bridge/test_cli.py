"""The commands: what they print, where, and with which exit code. Never a traceback."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from bridge import __version__, cli
from bridge.samples import samples

FIXTURES = Path(__file__).parents[1] / "fixtures"
DEPLOYED = FIXTURES / "github" / "deployment_status.actions-after-approval" / "body.json"
IGNORED = FIXTURES / "github" / "deployment_status.state-queued" / "body.json"
NOWHERE = "redis://127.0.0.1:1/0"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("DORA_BRIDGE_", "DD_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DORA_BRIDGE_REDIS_URL", NOWHERE)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script in this process."""

    def run(*arguments: str | Path, stdin: bytes = b"", **environ: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["dora-bridge", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environ.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                cli.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


def subprocess_run(*arguments: str | Path, stdin: bytes = b"", **environ: str) -> Done:
    environ = {**os.environ, "DORA_BRIDGE_REDIS_URL": NOWHERE, **environ}
    done = subprocess.run(
        [sys.executable, "-m", "bridge", *arguments], env=environ, input=stdin, capture_output=True, timeout=60
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


# -- help


def every_command() -> Iterator[list[str]]:
    def walk(command: click.Command, path: list[str]) -> Iterator[list[str]]:
        yield path
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from walk(inner, [*path, name])

    yield from walk(cli.commands, [])


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_help(path: list[str]) -> None:
    for option in ("--help", "-h"):
        result = CliRunner().invoke(cli.commands, [*path, option])
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: ")
        assert len(result.stdout.splitlines()) > 3


def test_every_command_and_option_is_described() -> None:
    for path in every_command():
        command: click.Command = cli.commands
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert command.help, path
        for parameter in command.params:
            assert isinstance(parameter, click.Argument) or parameter.help, (path, parameter.name)  # type: ignore[attr-defined]


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"dora-bridge, version {__version__}\n", "")


def test_without_arguments_it_helps(run: Run) -> None:
    done = run()
    assert done.code == 2
    assert "Commands:" in done.out + done.err


# -- translate


def test_translate_prints_an_object_for_each_file(run: Run) -> None:
    done = run("translate", "github", DEPLOYED, IGNORED)
    event, ignored = done.objects
    assert (done.code, done.err) == (0, "")
    expected = json.loads((DEPLOYED.parent / "expected.json").read_bytes())
    assert event == {
        "file": str(DEPLOYED),
        "kind": "deployment_status",
        "outcome": "events",
        "reason": "",
        "rule": "",
        "events": expected["events"],
    }
    assert (ignored["outcome"], ignored["events"]) == ("ignored", [])
    assert ignored["reason"] == "deployment_status.state is queued; only success is a deployment"


def test_translate_standard_input(run: Run) -> None:
    done = run("translate", "github", "-", stdin=DEPLOYED.read_bytes())
    assert done.code == 0
    assert (done.objects[0]["file"], done.objects[0]["outcome"]) == ("-", "events")


def test_translate_as_text(run: Run) -> None:
    done = run("translate", "github", "--text", DEPLOYED, IGNORED)
    assert done.code == 0
    assert f"{DEPLOYED}: deployment_status: events\n  POST /api/v2/dora/deployment\n" in done.out
    assert "    service: checkout\n" in done.out
    assert f"{IGNORED}: deployment_status: ignored deployment_status.state is queued" in done.out


def test_translate_uses_rules_and_endpoints_of_the_configuration(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bridge.yaml").write_text(
        "endpoints: {mobile: {kind: github, instance: eu}}\n"
        "rules:\n"
        "  - {name: ours, match: {endpoint: mobile}, set: {service: app}}\n"
        "  - {match: {endpoint: github}, drop: not ours}\n"
    )
    config = {"DORA_BRIDGE_CONFIG": str(tmp_path / "bridge.yaml")}
    (found,) = run("translate", "mobile", DEPLOYED, **config).objects
    assert (found["rule"], found["events"][0]["key"]) == ("ours", "deployment:app:production")
    assert found["events"][0]["id"].startswith("gh-dep-eu-")
    (found,) = run("translate", "github", DEPLOYED, **config).objects
    assert (found["outcome"], found["reason"], found["rule"], found["events"]) == ("ignored", "not ours", "rule 2", [])


def test_translate_shows_calls_that_need_an_application_key(run: Run) -> None:
    body = FIXTURES / "argocd" / "degraded.single-source" / "body.json"
    for environ in ({}, {"DD_APP_KEY": "x"}):
        (found,) = run("translate", "argocd", body, **environ).objects
        assert (found["outcome"], [call["method"] for call in found["events"]]) == ("events", ["PATCH"])
        old = "posted now it would be ignored: it finished longer ago than ignore_older_than_hours"
        assert found["reason"] == (old if environ else "this call needs an application key (DD_APP_KEY is not set)")


def test_translate_of_a_later_statement_takes_the_ledger_for_empty(run: Run) -> None:
    folder = FIXTURES / "pagerduty"
    done = run(
        "translate",
        "pagerduty",
        folder / "incident.resolved.merged" / "body.json",
        folder / "incident.resolved.2021-without-created_at" / "body.json",
    )
    merged, unknown = done.objects
    assert (merged["outcome"], len(merged["events"])) == ("events", 1)
    assert merged["reason"] == "only if its opening was reported"
    assert (unknown["outcome"], unknown["events"]) == ("invalid", [])
    assert unknown["reason"].startswith("no start time in the webhook")
    assert done.code == 1


def test_translate_takes_the_kind(run: Run) -> None:
    (told,) = run("translate", "github", "--kind", "ping", DEPLOYED).objects
    assert (told["kind"], told["outcome"]) == ("ping", "ignored")


@pytest.mark.parametrize(
    ("source", "content", "reason"),
    [
        ("github", b"{not json", "the header x-github-event is missing"),
        ("github --kind deployment_status", b"{not json", "body: not JSON"),
        ("github --kind push", b"\xff", "the body is not JSON"),
        ("github", b"{}", "the header x-github-event is missing"),
        ("pagerduty", b"{", "event.event_type is missing, or the body is not JSON"),
        ("argocd", b"Application x is healthy", "the body is not JSON: has the template a section webhook."),
        ("jsm", b"", "action is missing, or the body is not JSON"),
    ],
)
def test_translate_of_what_makes_no_event(run: Run, tmp_path: Path, source: str, content: bytes, reason: str) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    done = run("translate", *source.split(), tmp_path / "bad.json")
    (found,) = done.objects
    assert (done.code, found["outcome"]) == (1, "invalid")
    assert found["reason"].startswith(reason)
    assert done.err == f"dora-bridge: {tmp_path}/bad.json: {found['reason']}\n"


def test_one_invalid_file_of_several(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = run(
        "translate", "pagerduty", tmp_path / "bad.json", FIXTURES / "pagerduty" / "pagey.ping.test-event/body.json"
    )
    assert done.code == 1
    assert [one["outcome"] for one in done.objects] == ["invalid", "ignored"]


# -- wrong usage and settings: one line


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "line"),
    [
        ("translate", {}, 2, "Missing argument 'SOURCE'."),
        ("translate github", {}, 2, "Missing argument 'FILES...'."),
        (
            "translate gitlab x.json",
            {},
            2,
            "no source 'gitlab'; known are argocd, github, jsm, opsgenie, pagerduty",
        ),
        ("translate github /missing.json", {}, 2, "/missing.json: No such file or directory"),
        ("translate github /", {}, 2, "/: Is a directory"),
        ("translate github --knd x -", {}, 2, "No such option '--knd'. Did you mean '--kind'?"),
        ("send github /missing.json --secret x", {}, 2, "/missing.json: No such file or directory"),
        ("send gitlab - --secret x", {}, 2, "no source 'gitlab'; known are argocd, github, jsm, opsgenie, pagerduty"),
        ("send github -", {}, 2, "no secret to sign with: give --secret or set DORA_BRIDGE_SECRETS__GITHUB"),
        ("send github - --secret x --url localhost:1", {}, 1, "UnsupportedProtocol: Request URL is missing an 'http"),
        ("send github - --secret x --url http://h:x", {}, 1, "InvalidURL: Invalid port: 'x'"),
        ("send argocd - --secret é --url http://127.0.0.1:1", {}, 1, "ConnectError: "),
        ("frobnicate", {}, 2, "No such command 'frobnicate'."),
        ("events frobnicate", {}, 2, "No such command 'frobnicate'."),
        ("worker --processes 0", {}, 2, "Invalid value for '--processes': 0 is not in the range"),
        ("worker --processes x", {}, 2, "Invalid value for '--processes': 'x' is not a valid integer"),
        ("sandbox --listen nowhere", {}, 2, "--listen: not HOST:PORT"),
        ("demo --port 70000", {}, 2, "Invalid value for '--port': 70000 is not in the range"),
        ("events list", {}, 1, "ConnectionError: Error 111 connecting to 127.0.0.1:1."),
        ("events show x", {}, 1, "ConnectionError: Error 111 connecting to 127.0.0.1:1."),
        ("translate github -", {"DORA_BRIDGE_LISTEN": "hidden"}, 2, "DORA_BRIDGE_LISTEN: not HOST:PORT"),
        ("serve", {"DORA_BRIDGE_CONCURRENCY": "hidden"}, 2, "DORA_BRIDGE_CONCURRENCY: Input should be a valid integer"),
        ("check", {"DORA_BRIDGE_REDIS_URL": "redis://:hid/den@h"}, 2, "DORA_BRIDGE_REDIS_URL: not a redis://"),
        ("check", {"DORA_BRIDGE_CONFIG": "/missing.yaml"}, 2, "/missing.yaml: No such file or directory"),
        ("check", {"DORA_BRIDGE_SECRETS__GITLAB": "hidden"}, 2, "DORA_BRIDGE_SECRETS__GITLAB: there is no such"),
        ("serve", {"DORA_BRIDGE_SECRETS__GITHUB": "[hidden"}, 2, "DORA_BRIDGE_SECRETS__GITHUB: neither one secret"),
        ("serve", {"DORA_BRIDGE_LISTEN": "256.0.0.1:80"}, 1, "OSError: "),
    ],
)
def test_one_clear_line(run: Run, arguments: str, environ: dict[str, str], code: int, line: str) -> None:
    done = run(*arguments.split(), **environ)
    assert done.code == code
    assert done.out == ""
    *before, last = done.err.splitlines()
    assert last.startswith("dora-bridge: ")
    assert line in last
    assert not [other for other in before if not json.loads(other)], "a log line may come before"
    assert "hid" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "err"),
    [
        (["translate", "github", str(DEPLOYED)], {}, 0, ""),
        (
            ["translate", "pagerduty", "-"],
            {},
            1,
            "dora-bridge: -: event.event_type is missing, or the body is not JSON\n",
        ),
        (["translate", "github", "/missing"], {}, 2, "dora-bridge: /missing: No such file or directory\n"),
        (["check"], {"DD_SITE": "Hidden"}, 2, "dora-bridge: DD_SITE: String should match pattern '^[a-z0-9.-]+$'\n"),
    ],
)
def test_exit_codes_of_a_real_process(arguments: list[str], environ: dict[str, str], code: int, err: str) -> None:
    done = subprocess_run(*arguments, **environ)
    assert (done.code, done.err) == (code, err)


def test_console_script_is_installed() -> None:
    script = Path(sys.executable).with_name("dora-bridge")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dora-bridge, version {__version__}\n"


def test_address_in_use_is_one_line() -> None:
    taken = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    try:
        address = f"127.0.0.1:{taken.server_port}"
        done = subprocess_run("serve", DORA_BRIDGE_LISTEN=address, DORA_BRIDGE_SECRETS__GITHUB="x")
    finally:
        taken.server_close()
    assert done.code == 1
    assert done.err.startswith("dora-bridge: OSError: [Errno ")
    assert str(taken.server_port) in done.err
    assert done.err.count("\n") == 1


def test_output_cut_short_by_head_is_no_error() -> None:
    command = f"{sys.executable} -m bridge translate github {' '.join([str(DEPLOYED)] * 200)} | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ('{"file": "', "")


# -- send


class Receiver:
    """A receiver that checks signatures the way the vendors describe it, without our code."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.answer = 202, b'{"status":"accepted","events":[]}'
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append((self.path, headers, body))
                self.send_response(receiver.status)
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


@pytest.mark.parametrize("name", ["github", "argocd", "pagerduty", "opsgenie", "jsm"])
def test_send_signs_as_the_sender_would(run: Run, receiver: Receiver, name: str) -> None:
    body = samples()["opsgenie" if name == "jsm" else name][1]
    secret = {f"DORA_BRIDGE_SECRETS__{name.upper()}": '["the first", "another"]'}
    done = run("send", name, "-", stdin=body, DORA_BRIDGE_LISTEN=receiver.address, **secret)
    assert (done.code, done.err) == (0, "")
    assert done.out == '202 {\n  "status": "accepted",\n  "events": []\n}\n'
    ((path, headers, received),) = receiver.requests
    assert (path, received) == (f"/webhooks/{name}", body)
    assert headers["content-type"] == "application/json"
    digest = hmac.new(b"the first", received, hashlib.sha256).hexdigest()
    if name == "github":
        assert headers["x-hub-signature-256"] == f"sha256={digest}"
        assert headers["x-github-event"] == "deployment_status"
        assert len(headers["x-github-delivery"]) == 36
    elif name == "pagerduty":
        assert headers["x-pagerduty-signature"] == f"v1={digest}"
    else:
        assert headers["authorization"] == "Bearer the first"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://{}", "/webhooks/github"),
        ("http://{}/", "/webhooks/github"),
        ("http://{}/behind/a/proxy", "/behind/a/proxy/webhooks/github"),
        ("http://{}/webhooks/other?env=prod", "/webhooks/other?env=prod"),
    ],
)
def test_send_elsewhere_with_another_secret(run: Run, receiver: Receiver, url: str, path: str) -> None:
    done = run("send", "github", DEPLOYED, "--url", url.format(receiver.address), "--secret", "zwölf", "--kind", "ping")
    assert done.code == 0
    ((got, headers, body),) = receiver.requests
    assert got == path
    assert headers["x-github-event"] == "ping"
    digest = hmac.new("zwölf".encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={digest}"
    assert body == DEPLOYED.read_bytes()


def test_send_a_token_that_is_no_ascii(run: Run, receiver: Receiver) -> None:
    assert run("send", "argocd", "-", "--url", f"http://{receiver.address}", "--secret", "zwölf").code == 0
    assert receiver.requests[0][1]["authorization"].encode("latin-1") == "Bearer zwölf".encode()


@pytest.mark.parametrize(
    ("status", "answer", "code", "told"),
    [
        (200, b'{"a":1}', 0, {"status": 200, "answer": {"a": 1}}),
        (302, b"", 1, {"status": 302, "answer": ""}),
        (401, b'{"error":{"reason":"x"}}', 1, {"status": 401, "answer": {"error": {"reason": "x"}}}),
        (502, b"<html>Bad Gateway", 1, {"status": 502, "answer": "<html>Bad Gateway"}),
    ],
)
def test_send_tells_status_and_answer(
    run: Run, receiver: Receiver, status: int, answer: bytes, code: int, told: dict[str, Any]
) -> None:
    receiver.status, receiver.answer = status, answer
    url = f"http://{receiver.address}"
    done = run("send", "github", DEPLOYED, "--url", url, "--secret", "x", "--json")
    assert (done.code, done.objects) == (code, [told])
    done = run("send", "github", DEPLOYED, "--url", url, "--secret", "x")
    assert (done.code, done.out[:4]) == (code, f"{status} ")


# -- samples


def test_samples_go_to_each_sender_s_endpoint_that_has_a_secret(run: Run, receiver: Receiver) -> None:
    secrets = {"DORA_BRIDGE_SECRETS__GITHUB": '["the first", "another"]', "DORA_BRIDGE_SECRETS__OPSGENIE": "token"}
    done = run("samples", "--url", f"http://{receiver.address}/", **secrets)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[:2] for line in done.out.splitlines()] == [["github", "202"], ["opsgenie", "202"]]
    (path, headers, body), (other, others, _) = receiver.requests
    assert (path, other) == ("/webhooks/github", "/webhooks/opsgenie")
    assert headers["x-hub-signature-256"] == f"sha256={hmac.new(b'the first', body, hashlib.sha256).hexdigest()}"
    assert others["authorization"] == "Bearer token"


def test_samples_that_are_refused_are_exit_code_1(run: Run, receiver: Receiver) -> None:
    receiver.status = 401
    done = run("samples", DORA_BRIDGE_LISTEN=receiver.address, DORA_BRIDGE_SECRETS__ARGOCD="token")
    assert (done.code, len(receiver.requests)) == (1, 1)


def test_samples_need_a_secret(run: Run) -> None:
    done = run("samples")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "dora-bridge: no secret to sign with: set DORA_BRIDGE_SECRETS__GITHUB, or that of another endpoint\n"
    )
