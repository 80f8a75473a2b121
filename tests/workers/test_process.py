"""A worker process heeds a signal from the moment on at which it says that it started."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from bridge.settings import read
from workers import process as process_


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_asked_to_end_as_soon_as_it_started_ends_well(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    class AskedToEnd:
        is_stopping = False

        def __init__(self, settings: Any) -> None:
            pass

        def start(self) -> None:
            os.kill(os.getpid(), number)

        def request_stop(self) -> None:
            self.is_stopping = True

        def stop(self) -> None:
            told.append("stopped")

    monkeypatch.setattr(process_, "Process", AskedToEnd)
    monkeypatch.setattr(process_, "Worker", lambda *_: pytest.fail("it takes up work"))
    before = {
        one: signal.signal(one, lambda *_: told.append("nobody heeds it")) for one in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        process_.run(read({"DD_API_KEY": "key"}))
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert told == ["stopped"]
