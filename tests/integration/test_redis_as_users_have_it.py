"""The whole system on a Redis as users have it: an ACL user of few rights; TLS, with a certificate each way."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from redis import Redis
from redis.exceptions import RedisError
from stand_ins.tls_front import Certificates, behind_tls, make_certificates
from system import System, free_port

from bridge.check.redis_rights import COMMANDS
from bridge.embedded_redis import PrivateRedis, find_server
from bridge.samples import samples

pytestmark = pytest.mark.integration

RULES = (Path(__file__).parents[2] / "deploy" / "redis" / "users.acl").read_text("utf-8").split()[2:]
OF_CONNECTIONS = {"acl", "auth", "client", "config", "discard", "exec", "hello", "multi", "ping", "select", "unwatch"}
"""What every user may do, what checks ask, and what can be refused without harm: RQ asks for its address by CLIENT."""


@contextlib.asynccontextmanager
async def running(url: str, folder: Path, **environ: str) -> AsyncIterator[System]:
    """The system on this Redis, which only the URL is known of."""
    system = System(cast(PrivateRedis, SimpleNamespace(url=url)), folder)
    system.environ |= environ
    try:
        system.start_sandbox()
        system.start_web()
        system.start_worker()
        yield system
    finally:
        system.stop()


async def deliver_one_of_each(system: System) -> None:
    async with httpx.AsyncClient() as client:
        for endpoint, (kind, body) in samples(time.time_ns()).items():
            answer = await system.post(client, endpoint, body, kind)
            assert answer.status_code == 202, answer.text
        headers = {"Authorization": "Bearer admin-token"}
        deadline = time.monotonic() + 30
        while True:
            status = (await client.get(f"http://{system.internal}/admin/status", headers=headers)).json()
            if status["waiting"] == 0:
                break
            assert time.monotonic() < deadline, f"{status}; see {system.folder}"
        for path in ("events", "dead-letters", "links"):
            answer = await client.get(f"http://{system.internal}/admin/{path}", headers=headers)
            assert answer.status_code == 200, answer.text
    assert len(system.sent_ids()) >= 4


def checked(system: System) -> tuple[int, str]:
    command = [sys.executable, "-m", "bridge", "check"]
    done = subprocess.run(command, env=system.environ, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.returncode, done.stdout


async def test_user_with_the_shipped_rights(tmp_path: Path) -> None:
    with PrivateRedis(tmp_path / "redis") as server, Redis.from_url(server.url) as admin:
        admin.execute_command(
            "ACL", "SETUSER", "dora-bridge", "reset", *(rule.replace("CHANGE-ME", "secret") for rule in RULES)
        )
        url = f"redis://dora-bridge:secret@127.0.0.1:{server.port}/0"
        admin.config_resetstat()
        async with running(url, tmp_path) as system:
            await deliver_one_of_each(system)
            used = {name.removeprefix("cmdstat_").partition("|")[0] for name in admin.info("commandstats")}
            code, out = checked(system)
            assert (code, "problem" in out) == (0, False), out
            assert "Datadog takes the application key" in out
            assert system.kill("worker", 15) == 0
            assert system.kill("web", 15) == 0
        log = (tmp_path / "worker.log").read_text() + (tmp_path / "web.log").read_text()
        assert "NOPERM" not in log
        assert "redis.unavailable" not in log
        assert "Warning" not in log
    looked_at = {command.split()[0] for command in COMMANDS}
    assert used - OF_CONNECTIONS <= looked_at | {"unsubscribe", "watch"}, "check looks at every command that is used"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: nothing makes the certificates (apt install openssl)")
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["in front", "of its own"])
def tls_port(request: pytest.FixtureRequest, tmp_path: Path, certificates: Certificates) -> Iterator[tuple[int, str]]:
    """Port and password of a Redis with TLS, once in front of it as a managed service has it, once of its own."""
    if request.param == "in front":
        with PrivateRedis(tmp_path / "redis") as server, behind_tls(server.port, certificates) as port:
            yield port, server.url.partition("://:")[2].partition("@")[0]
        return
    port, program = free_port(), find_server()
    options = {
        "bind": "127.0.0.1",
        "port": 0,
        "tls-port": port,
        "tls-cert-file": certificates.certificate,
        "tls-key-file": certificates.key,
        "tls-ca-cert-file": certificates.ca,
        "requirepass": "hidden",
        "dir": tmp_path,
        "save": "",
        "appendonly": "yes",
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    with (tmp_path / "redis.log").open("wb") as log:
        server = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        tls = {"ssl_ca_certs": certificates.ca, "ssl_certfile": certificates.certificate}
        client = Redis(port=port, password="hidden", ssl=True, ssl_keyfile=str(certificates.key), **tls)
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(RedisError):
                client.ping()
                break
            if server.poll() is not None:
                words = (tmp_path / "redis.log").read_text()
                assert "tls" in words.lower(), words
                pytest.skip(f"{program} is built without TLS (apt install redis-server)")
            assert time.monotonic() < deadline
            time.sleep(0.05)
        client.close()
        yield port, "hidden"
    finally:
        server.terminate()
        server.wait(20)


async def test_tls(tmp_path: Path, tls_port: tuple[int, str], certificates: Certificates) -> None:
    port, password = tls_port
    url = f"rediss://:{password}@localhost:{port}/0?ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    async with running(url, tmp_path, DORA_BRIDGE_REDIS_CA=str(certificates.ca)) as system:
        await deliver_one_of_each(system)
        code, out = checked(system)
        assert (code, "problem" in out) == (0, False), out
        del system.environ["DORA_BRIDGE_REDIS_CA"]
        code, out = checked(system)
        assert code == 1
        assert "certificate is not trusted" in out, out
        assert password not in out
