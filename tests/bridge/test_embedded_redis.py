"""The private Redis is a real server, so these tests start real ones."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bridge import embedded_redis
from bridge.embedded_redis import PORTS, PrivateRedis, find_server
from bridge.errors import ConfigurationError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PrivateRedis]:
    with PrivateRedis(tmp_path / "a folder with 'quotes\" and spaces") as server:
        yield server


def ask(server: PrivateRedis, *command: str) -> object:
    with closing(redis.Redis.from_url(server.url, decode_responses=True)) as client:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def falls_silent(port: int) -> bool:
    """Whether nobody listens there any more, within five seconds."""
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.01)
    return False


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No server in the wheel, and a PATH of one empty folder, which is given back."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(embedded_redis, "_WHEEL", "a-wheel-nobody-has")
    return folder


class TestServer:
    def test_keeps_what_the_bridge_needs_kept(self, server: PrivateRedis) -> None:
        wanted = {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        with closing(redis.Redis.from_url(server.url, decode_responses=True)) as client:
            assert client.config_get().items() >= wanted.items()
            assert client.eval("return redis.call('INCR', KEYS[1])", 1, "scripts work") == 1
        assert server.port in PORTS
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700

    def test_keeps_its_data_over_kill_9(self, server: PrivateRedis) -> None:
        ask(server, "SET", "key", "kept")
        url, pid = server.url, server.pid
        server.kill()
        assert not alive(pid)
        with pytest.raises(redis.ConnectionError):
            ask(server, "PING")
        server.start()
        assert (server.url, ask(server, "GET", "key")) == (url, "kept")
        assert server.pid != pid

    def test_keeps_its_data_over_stop(self, server: PrivateRedis) -> None:
        ask(server, "SET", "key", "kept")
        server.stop()
        server.stop()  # a second time does nothing
        server.start()
        assert ask(server, "GET", "key") == "kept"

    def test_two_at_once(self, server: PrivateRedis, tmp_path: Path) -> None:
        with PrivateRedis(tmp_path / "other") as other:
            assert other.port != server.port
            ask(other, "SET", "key", "other")
            assert ask(server, "GET", "key") is None

    def test_only_its_owner_gets_in_and_nobody_sees_the_password(self, server: PrivateRedis) -> None:
        with (
            closing(redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0))) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        assert server._process is not None
        assert server.url.split("@")[0].rpartition(":")[2] not in str(server._process.args)

    def test_a_ctrl_c_for_its_owner_does_not_reach_it(self, server: PrivateRedis) -> None:
        assert os.getpgid(server.pid) != os.getpgid(0)

    def test_a_paused_server_can_be_stopped(self, server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_redis, "STOP_TIMEOUT_S", 0.1)
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
        server.stop()
        assert not alive(pid)

    def test_a_second_start_is_refused(self, server: PrivateRedis) -> None:
        with pytest.raises(RuntimeError, match="running already"):
            server.start()

    def test_says_so_when_it_is_not_there(self, tmp_path: Path) -> None:
        server = PrivateRedis(tmp_path)
        with pytest.raises(RuntimeError, match="never started"):
            _ = server.url
        with pytest.raises(RuntimeError, match="not running"):
            _ = server.pid


class TestStart:
    def test_takes_another_port_when_the_first_was_just_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = embedded_redis._free_port()
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = iter([taken.getsockname()[1], free])
            monkeypatch.setattr(embedded_redis, "_free_port", lambda: next(ports))
            with PrivateRedis(tmp_path) as server:
                assert server.port == free

    def test_a_restart_keeps_its_port_or_fails_in_one_line(self, server: PrivateRedis) -> None:
        server.stop()
        with (
            socket.create_server(("127.0.0.1", server.port)),
            pytest.raises(ConfigurationError, match=f"did not start: .*{server.port}.*redis.log") as caught,
        ):
            server.start()
        assert "\n" not in str(caught.value)
        server.start()
        assert ask(server, "PING") is True

    def test_gives_up_on_a_server_that_never_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embedded_redis, "START_TIMEOUT_S", 0.1)
        program(tmp_path / "mute", "exec sleep 60")
        with pytest.raises(ConfigurationError, match="did not answer in time"):
            PrivateRedis(tmp_path / "data", server=tmp_path / "mute").start()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
    def test_leaves_nothing_behind_when_its_owner_dies(self, tmp_path: Path, number: signal.Signals) -> None:
        script = (
            "import sys, time, pathlib; from bridge.embedded_redis import PrivateRedis\n"
            "server = PrivateRedis(pathlib.Path(sys.argv[1])); server.start()\n"
            "print(server.port, flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE) as owner:
            assert owner.stdout is not None
            port = int(owner.stdout.readline())
            with socket.create_connection(("127.0.0.1", port)):
                pass
            owner.send_signal(number)
        assert falls_silent(port)


class TestFindServer:
    def test_prefers_the_path_and_redis(self, nothing_installed: Path) -> None:
        program(nothing_installed / "valkey-server", "echo Valkey server v=8.1.3 sha=0")
        assert find_server() == nothing_installed / "valkey-server"
        program(nothing_installed / "redis-server", "echo Redis server v=6.2.0 sha=0")
        assert find_server() == nothing_installed / "redis-server"

    def test_says_what_to_do_when_there_is_none(self, nothing_installed: Path) -> None:
        with pytest.raises(ConfigurationError, match=r"apt install redis-server.*docker run") as caught:
            find_server()
        assert "\n" not in str(caught.value)

    def test_refuses_what_is_too_old(self, nothing_installed: Path) -> None:
        program(nothing_installed / "redis-server", "echo Redis server v=6.0.16 sha=0")
        with pytest.raises(ConfigurationError, match=r"redis-server has version 6\.0\."):
            find_server()
        program(nothing_installed / "valkey-server", "echo Valkey server v=9.1.2 sha=0")
        assert find_server() == nothing_installed / "valkey-server"

    @pytest.mark.parametrize("script", ["exit 1", "echo something else"])
    def test_passes_over_what_is_no_server(self, nothing_installed: Path, script: str) -> None:
        program(nothing_installed / "redis-server", script)
        with pytest.raises(ConfigurationError, match="newer found"):
            find_server()
