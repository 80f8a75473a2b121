"""A whole system of real processes for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from system import System

from bridge.embedded_redis import PrivateRedis


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Redis and the sandbox run; web and workers are for the test to start."""
    with PrivateRedis(tmp_path / "redis") as redis:
        running = System(redis, tmp_path)
        try:
            running.start_sandbox()
            yield running
        finally:
            running.stop()
