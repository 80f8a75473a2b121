"""What several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.embedded_redis import PrivateRedis


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A real server for the whole run; without one the tests fail, in one line that says what to install."""
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server
