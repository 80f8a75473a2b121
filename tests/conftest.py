"""What several tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

from bridge.embedded_redis import PrivateRedis

# A busy machine is slow at times, which says nothing about an example. With CI set, each run tries the same ones.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRedis]:
    """A real server for the whole run; without one the tests fail, in one line that says what to install."""
    with PrivateRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server
