"""A worker process heeds a signal from the moment on at which it says that it started."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
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
    with _handled(lambda *_: told.append("nobody heeds it")):
        process_.run(read({"DD_API_KEY": "key"}))
    assert told == ["stopped"]


def test_one_that_is_asked_to_end_while_rq_greets_redis_does_not_begin_to_work() -> None:
    process = process_.Process(read({"DD_API_KEY": "key"}))
    worker = process_.Worker.__new__(process_.Worker)
    worker._process, worker._stop_requested = process, False
    with _handled(lambda *_: None):
        worker._install_signal_handlers()
        assert not worker._stop_requested
        process.request_stop()
        worker._install_signal_handlers()
    assert worker._stop_requested
    process._loop.close()


@contextlib.contextmanager
def _handled(handler: Callable[..., None]) -> Iterator[None]:
    """With this handler for the signals, and the ones of before when it is over."""
    before = {one: signal.signal(one, handler) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, earlier in before.items():
            signal.signal(one, earlier)
