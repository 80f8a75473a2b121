"""The web process: both listeners in one event loop, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Generator

import uvicorn
from starlette.types import ASGIApp

from bridge import redis_url
from bridge.admin import create_internal_app
from bridge.app import create_app
from bridge.commit import GroupCommit
from bridge.ledger import Ledger
from bridge.logs import log
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


def listener(app: ASGIApp, address: str) -> Listener:
    """A server of the app on HOST:PORT, without access log: it costs a quarter of the rate."""
    host, _, port = address.rpartition(":")
    return Listener(
        uvicorn.Config(
            app,
            host=host.strip("[]"),
            port=int(port),
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_S,
            backlog=2048,
        )
    )


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then finishes the requests under way."""
    redis = redis_url.impatient(settings.environment.redis_url)
    bell = Doorbell(redis_url.impatient(settings.environment.redis_url))
    ledger = Ledger(redis, settings.configuration.retention)
    commit = GroupCommit(ledger, bell.ring, timeout_s=COMMIT_TIMEOUT_S)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    public = listener(create_app(settings, commit.record, draining=stopping.is_set), settings.environment.listen)
    internal = listener(create_internal_app(settings, ledger), settings.environment.internal_listen)
    servers = [asyncio.create_task(one.serve()) for one in (public, internal)]
    stop = asyncio.create_task(stopping.wait())
    log("process.started", listen=settings.environment.listen, endpoints=", ".join(sorted(settings.secrets)))
    await asyncio.wait([stop, *servers], return_when=asyncio.FIRST_COMPLETED)
    log("process.stopping")
    public.should_exit = internal.should_exit = True
    await asyncio.gather(*servers)
    stop.cancel()
    await commit.close()
    await redis.aclose()
    log("process.stopped")
