"""URLs of Redis: what becomes of them in clients."""

from __future__ import annotations

from typing import Any

from bridge import redis_url

URL = (
    "rediss+sentinel://user:p%2Fw@one:26380,[::1],two/main/3?ssl_ca_certs=/ca%20x.pem&ssl_certfile=/c&ssl_keyfile=/k"
    "&ssl_check_hostname=false&sentinel_username=watcher&sentinel_password=of%20its%20own"
)


async def test_sentinel_with_everything() -> None:
    redis_url.check(URL)
    for client in (redis_url.impatient(URL), redis_url.patient(URL), redis_url.blocking(URL)):
        pool: Any = client.connection_pool
        tls = {"ssl_ca_certs": "/ca x.pem", "ssl_certfile": "/c", "ssl_keyfile": "/k", "ssl_check_hostname": False}
        expected = {**tls, "username": "user", "password": "p/w", "db": 3}
        assert {name: pool.connection_kwargs[name] for name in expected} == expected
        assert pool.service_name == "main"
        asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
        assert [(one["host"], one["port"]) for one in asked] == [("one", 26380), ("::1", 26379), ("two", 26379)]
        expected = {**tls, "username": "watcher", "password": "of its own"}
        for one in asked:
            assert {name: one[name] for name in expected} == expected


async def test_sentinel_without_tls_and_password() -> None:
    pool: Any = redis_url.impatient("redis+sentinel://one/main").connection_pool
    [asked] = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert (asked.get("password"), asked.get("username")) == (None, None)
    assert "ssl_ca_certs" not in asked
