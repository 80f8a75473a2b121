"""The web process: both listeners in one event loop, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from bridge import redis_url
from bridge.admin import create_internal_app
from bridge.app import create_app
from bridge.commit import GroupCommit
from bridge.dead_letters import DeadLetters
from bridge.last_heard import LastHeard
from bridge.ledger import Ledger
from bridge.links import Links
from bridge.logs import log
from bridge.probes import RedisAnswers
from bridge.settings import Settings
from bridge.wakeup import Doorbell

COMMIT_TIMEOUT_S = 1.5
"""How long a request waits for Redis; with reading and answering it stays below the 2 s that senders are promised."""
GRACE_S = 20
"""How long requests under way may take after SIGTERM; below Kubernetes' 30 s."""


class Listener(uvicorn.Server):
    """A uvicorn server that leaves signals to `serve`, which has two of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def bound(address: str) -> socket.socket:
    """A socket on HOST:PORT. Raises: OSError, where uvicorn would end the process with a code of its own."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host.strip("[]"), int(port)), family=family)


def listener(app: ASGIApp) -> Listener:
    """A server of the app, without access log: it costs a quarter of the rate."""
    return Listener(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # nothing here asks who the sender says it is
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=GRACE_S,
            backlog=2048,
        )
    )


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then finishes the requests under way. Raises: OSError for an address in use."""
    sockets = [bound(address) for address in (settings.environment.listen, settings.environment.internal_listen)]
    redis, bell_redis = (redis_url.impatient(settings.environment.redis_url) for _ in range(2))
    bell = Doorbell(bell_redis)
    ledger = Ledger(redis, settings.configuration.retention)
    commit = GroupCommit(ledger, bell.ring, timeout_s=COMMIT_TIMEOUT_S)
    heard = LastHeard(redis, memory_days=settings.configuration.retention.memory_days)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    public = listener(
        create_app(
            settings,
            commit.record,
            hear=heard.note,
            place=commit.place,
            draining=stopping.is_set,
            redis_failed=RedisAnswers(redis.ping),
        )
    )
    dead_letters = DeadLetters(redis, settings.configuration.retention)
    links = Links(redis, settings.configuration.retention)
    internal = listener(create_internal_app(settings, ledger, dead_letters, links, bell.ring, heard))
    servers = [
        asyncio.create_task(one.serve(sockets=[socket_]))
        for one, socket_ in zip((public, internal), sockets, strict=True)
    ]
    stop = asyncio.create_task(stopping.wait())
    # what is there now stays for good: looked through for garbage again and again, it would hold up acks for 30 ms
    gc.freeze()
    log("process.started", listen=settings.environment.listen, endpoints=", ".join(sorted(settings.secrets)))
    await asyncio.wait([stop, *servers], return_when=asyncio.FIRST_COMPLETED)
    log("process.stopping")
    public.should_exit = internal.should_exit = True
    await asyncio.gather(*servers)
    stop.cancel()
    await commit.close()
    await heard.close()
    await redis.aclose()
    await bell_redis.aclose()
    log("process.stopped")
