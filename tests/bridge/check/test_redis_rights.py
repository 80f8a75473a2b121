"""What the Redis user may do: seen on a real server, without running anything."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from checking import GOOD, found, told

from bridge import redis_url
from bridge.check.redis_rights import COMMANDS, redis_rights
from bridge.embedded_redis import PrivateRedis

RULES = (Path(__file__).parents[3] / "deploy" / "redis" / "users.acl").read_text("utf-8").split()[2:]


@pytest.fixture
async def admin(redis_server: PrivateRedis) -> AsyncIterator[Any]:
    redis: Any = redis_url.impatient(redis_server.url)
    await redis.flushdb()
    yield redis
    await redis.execute_command("ACL", "DELUSER", "limited")
    await redis.aclose()


async def rights(redis_server: PrivateRedis, admin: Any, *more: str) -> list[tuple[str, str]]:
    """The findings for a user with the shipped rules and these."""
    rules = [rule.replace("CHANGE-ME", "secret") for rule in RULES]
    await admin.execute_command("ACL", "SETUSER", "limited", "reset", *rules, *more)
    limited: Any = redis_url.impatient(f"redis://limited:secret@127.0.0.1:{redis_server.port}/0")
    try:
        some = [(one.level, one.detail) for one in await redis_rights(limited)]
    finally:
        await limited.aclose()
    assert await admin.dbsize() == 0, "nothing was run"
    return some


def problem(detail: str) -> list[tuple[str, str]]:
    return [("problem", detail)]


async def test_shipped_rules_are_enough(redis_server: PrivateRedis, admin: Any) -> None:
    assert await rights(redis_server, admin) == []
    some = [one.detail for one in await redis_rights(admin)]
    assert some == [], "nor does the default user lack anything"


async def test_what_is_lacking_is_named(redis_server: PrivateRedis, admin: Any) -> None:
    assert await rights(redis_server, admin, "-blmove", "-info", "-set") == problem(
        "the user may not run set, info, blmove (ACL SETUSER … +set +info +blmove)"
    )
    keys = "the user may not use all keys that begin with dora: or rq: (ACL SETUSER … ~dora:* ~rq:*)"
    assert await rights(redis_server, admin, "resetkeys", "~dora:*") == problem(keys)
    assert await rights(redis_server, admin, "resetkeys", "~rq:*") == problem(keys)
    assert await rights(redis_server, admin, "resetchannels") == problem(
        "the user may not use the channels of RQ (ACL SETUSER … &rq:pubsub:*)"
    )
    assert await rights(redis_server, admin, "-multi") == problem("the user may not run multi (ACL SETUSER … +multi)")


async def test_a_user_who_may_do_nothing(redis_server: PrivateRedis, admin: Any) -> None:
    await rights(redis_server, admin, "-@all")
    url = f"redis://limited:secret@127.0.0.1:{redis_server.port}/0"
    some = told(await found(**GOOD, DORA_BRIDGE_REDIS_URL=url), "redis")
    assert [one for one in some if one[0] == "problem"]
    assert not any("not reachable" in detail for _, detail in some)


async def test_what_the_shipped_rules_leave_out(redis_server: PrivateRedis, admin: Any) -> None:
    await rights(redis_server, admin)
    limited: Any = redis_url.impatient(f"redis://limited:secret@127.0.0.1:{redis_server.port}/0")
    try:
        for command in ("FLUSHALL", "KEYS *", "CONFIG SET save x", "SET other 1", "PUBLISH other x", "SHUTDOWN"):
            with pytest.raises(Exception, match=r"(?i)no permissions|NOPERM|permission"):
                await limited.execute_command(*command.split())
    finally:
        await limited.aclose()


def test_every_command_of_the_scripts_is_looked_at() -> None:
    scripts = resources.files("bridge") / "lua"
    called = {
        name.lower()
        for script in scripts.iterdir()
        for name in re.findall(r"redis\.call\('([A-Z]+)'", script.read_text("utf-8"))
    }
    assert len(called) > 20
    assert called <= {command.split()[0] for command in COMMANDS}
