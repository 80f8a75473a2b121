"""A Redis that is found through Sentinel."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from redis.exceptions import RedisError
from system import free_port

from bridge import redis_url
from bridge.embedded_redis import PrivateRedis, find_server

pytestmark = pytest.mark.integration


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis with a password, by way of one sentinel that watches it and has another one."""
    with PrivateRedis(tmp_path / "redis") as redis:
        password, port = urlsplit(redis.url).password, free_port()
        configuration = tmp_path / "sentinel.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nrequirepass of-the-sentinel\n"
            f"sentinel monitor main 127.0.0.1 {redis.port} 1\nsentinel auth-pass main {password}\n"
        )
        sentinel = subprocess.Popen([find_server(), configuration, "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    Redis(port=port, password="of-the-sentinel").ping()
                    break
                except RedisError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            yield f"redis+sentinel://:{password}@127.0.0.1:{port}/main/3?sentinel_password=of-the-sentinel"
        finally:
            sentinel.terminate()
            sentinel.wait()


async def test_every_client_finds_the_master_and_the_database(url: str) -> None:
    redis_url.blocking(url).set("here", "3")
    for connect in (redis_url.impatient, redis_url.patient):
        client = connect(url)
        assert await client.get("here") == b"3"
        assert client.connection_pool.connection_kwargs["db"] == 3
        pool: Any = client.connection_pool
        for sentinel in pool.sentinel_manager.sentinels:  # redis-py leaves these to the garbage collector
            await sentinel.aclose()
        await client.aclose()
