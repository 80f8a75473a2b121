"""Logs: one JSON object a line, a closed list of names, and no text of an exception."""

from __future__ import annotations

import ast
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bridge import logs
from bridge.logs import JsonLines, log

ROOT = Path(__file__).parents[2]


def record(message: str, *arguments: object, fields: dict[str, Any] | None = None, error: Any = None) -> str:
    one = logging.LogRecord("x", logging.WARNING, "file.py", 1, message, arguments, error)
    if fields is not None:
        one.fields = fields
    return JsonLines().format(one)


def test_line() -> None:
    line = record("webhook.refused", fields={"endpoint": "github", "status": 401, "duration_ms": 1.5})
    assert "\n" not in line
    told = json.loads(line)
    assert list(told) == ["at", "level", "event", "endpoint", "status", "duration_ms"]
    assert (told["level"], told["event"], told["endpoint"]) == ("warning", "webhook.refused", "github")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told["at"])
    assert abs(datetime.fromisoformat(told["at"]).timestamp() - datetime.now().astimezone().timestamp()) < 60


def test_line_feeds_and_other_scripts_stay_in_one_line() -> None:
    line = record("event", fields={"reason": "a\nb\r\u2028c \x1b[31m ü ☕ \udc80"})
    assert line.isascii()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["reason"] == "a\nb\r\u2028c \x1b[31m ü ☕ \udc80"


def test_exception_is_its_type_and_place() -> None:
    def deep() -> None:
        raise KeyError("a value of the payload")

    try:
        try:
            deep()
        except KeyError as error:
            raise ValueError("another value") from error
    except ValueError:
        told = json.loads(record("it failed", error=sys.exc_info()))
    assert told["exception"] == "ValueError"
    assert re.fullmatch(rf"{re.escape(__file__)}:\d+", told["where"])
    assert "value" not in json.dumps(told).replace("ValueError", "")


def test_message_of_a_library_is_its_first_line() -> None:
    """asyncio puts the representation of an exception into the second one."""
    message = "Task exception was never retrieved\nfuture: <Task exception=ValueError('a value of the payload')>"
    assert json.loads(record(message))["event"] == "Task exception was never retrieved"
    assert json.loads(record("%d of %s", 1, "x"))["event"] == "1 of x"


def test_empty_fields_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dora-bridge"):
        log("webhook.accepted", endpoint="github", kind="", reason=None, status=0, flag=False)
    (one,) = caplog.records
    told = json.loads(JsonLines().format(one))
    assert {name: told[name] for name in told if name != "at"} == {
        "level": "info",
        "event": "webhook.accepted",
        "endpoint": "github",
        "status": 0,
        "flag": False,
    }


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="dora-bridge"):
        log("webhook.accepted")
        log("webhook.refused", logging.WARNING)
    assert [one.getMessage() for one in caplog.records] == ["webhook.refused"]


_PROCESS = """
import asyncio, logging
from bridge import logs
logs.set_up()
logs.log("process.started", listen="x")
logging.getLogger("some.library").info("chatter")
logging.getLogger("some.library").warning("%s is odd", "it")
logging.getLogger("httpx").info("HTTP Request: GET https://example.com/?secret")

async def main():
    async def fails():
        raise ValueError("a value of the payload")
    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task
    import gc; gc.collect()
asyncio.run(main())
"""


def test_everything_of_a_process_goes_to_standard_error_as_json_lines() -> None:
    done = subprocess.run([sys.executable, "-c", _PROCESS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    told = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["event"] for one in told] == ["process.started", "it is odd", "Task exception was never retrieved"]
    assert told[2]["exception"] == "ValueError"
    assert "payload" not in done.stderr


# -- the list of names

LISTED = set(re.findall(r"\b[a-z_]+\.[a-z_]+\b", (logs.__doc__ or "").partition("payload.\n")[2]))


def names() -> Iterator[tuple[str, str]]:
    """File and event name of every call of `log`; of an f-string with `*` for what varies."""
    for path in sorted([*(ROOT / "bridge").rglob("*.py"), *(ROOT / "workers").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or path.name == "logs.py":
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            of_math = isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") != "logs"
            if called == "log" and not of_math:
                yield from ((path.name, name) for name in texts(node.args[0]))


def texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in values)
        case ast.IfExp(body=one, orelse=other):
            yield from texts(one)
            yield from texts(other)
        case _:
            raise AssertionError(f"an event name that is not written out: {ast.unparse(node)}")


def test_every_name_is_listed() -> None:
    used = set(names())
    assert len(used) > 10
    patterns = {(file, name.replace(".", r"\.").replace("*", r"\w+")) for file, name in used}
    assert [one for one in patterns if not any(re.fullmatch(one[1], name) for name in LISTED)] == []


def test_every_listed_name_is_used() -> None:
    patterns = {name.replace(".", r"\.").replace("*", r"\w+") for _, name in names()}
    assert [name for name in LISTED if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []
