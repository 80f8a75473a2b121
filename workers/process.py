"""One worker process: an RQ worker in the main thread, and beside it one event loop for the life of the process.

The loop keeps the connections to Redis and Datadog, tells each second that the process lives, and looks for lanes
that have work and no holder. The RQ worker waits for jobs; the only job there is runs a drain on that loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import secrets
import signal
import socket
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from bridge import metrics, redis_url
from bridge.datadog_calls import Keys
from bridge.dead_letters import DeadLetters
from bridge.errors import ConfigurationError
from bridge.ledger import FAMILIES, Head, Ledger, Settlement
from bridge.links import Links
from bridge.logs import log
from bridge.proxies import proxy_for
from bridge.settings import Settings
from bridge.wakeup import DRAIN, QUEUE, Doorbell
from bridge.worker_listener import BEAT_S, DRAINS, WorkerListener
from workers import linker
from workers.courier import Courier
from workers.datadog import build_request, incidents_request
from workers.destination import Destination
from workers.drain import Drain
from workers.incidents import Incidents
from workers.readback import FIRST_LOOK_S, ReadBack
from workers.redelivery import TRY_S, Redelivery

SWEEP_S = 1.0
WATCH_S = 0.25
TAKE_AGAIN_S = 1.5
"""How long after Redis was away no lane is taken: longer than it takes every process to put down its outcomes."""
SETTLE_S = 0.1
"""How often outcomes that Redis did not take are offered to it: before another process can send those events."""
AGAIN_S = 1.0
"""How long after RQ's worker gave up another one begins."""
PRUNE_S = 60.0
KEYS_S = 1.0
"""How often Datadog's keys are looked at, which may stand in files that change."""
COMPLAIN_S = 10.0
"""How often a Redis that is away is logged."""


class Process:
    """What a worker process keeps between drains. `start` before the first job, `stop` after the last."""

    current: Process

    def __init__(self, settings: Settings) -> None:
        if settings.api_key is None:
            raise ConfigurationError("DD_API_KEY: the worker needs Datadog's API key")
        settings.check_application_key()
        self._settings = settings
        self._proxy = proxy_for(settings.datadog_url)
        self._tried_keys: tuple[str | None, str | None] | None = None
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._alive = 1
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=DRAINS, daemon=True)
        self._stopping = asyncio.Event()
        self._is_asked_to_stop = False
        self._unsettled: list[Settlement] = []
        self._settling = asyncio.Lock()
        self._take_again_at = 0.0
        self._complained_at = float("-inf")
        self._rounds: list[concurrent.futures.Future[None]] = []

    def start(self) -> None:
        metrics.deliveries_from_zero({one.source.name for one in self._settings.endpoints.values()}, FAMILIES)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._set_up(), self._loop).result()
        rounds = [
            (BEAT_S, self._beat),
            (WATCH_S, self._watch),
            (SETTLE_S, self._settle_rest),
            (SWEEP_S, self._sweep),
            (PRUNE_S, self._dead_letters.prune),
            (KEYS_S, self._notice_keys),
            (linker.ROUND_S, self._linker.round),
        ]
        if self._readback is not None:
            rounds.append((FIRST_LOOK_S / 2, self._readback.round))
        if self._redelivery.is_on:
            rounds.append((TRY_S, self._redelivery.round))
        self._rounds = [asyncio.run_coroutine_threadsafe(self._every(*one), self._loop) for one in rounds]
        log("process.started", worker=self._name, datadog=self._settings.datadog_url)

    def request_stop(self) -> None:
        """Lets a drain under way finish what is in flight and no more. Safe in a signal handler."""
        self._is_asked_to_stop = True  # at once: the loop may take its time
        self._loop.call_soon_threadsafe(self._stopping.set)

    @property
    def is_stopping(self) -> bool:
        return self._is_asked_to_stop

    def stop(self) -> None:
        for one in self._rounds:
            one.cancel()
        asyncio.run_coroutine_threadsafe(self._tear_down(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        log("process.stopped", worker=self._name)

    def drain(self) -> None:
        """Runs one drain; the job's time-out, raised here in the main thread, ends it too."""
        running = asyncio.run_coroutine_threadsafe(self._drain(), self._loop)
        try:
            running.result()
        except BaseException:
            running.cancel()
            raise

    async def _set_up(self) -> None:
        environment = self._settings.environment
        redis = redis_url.patient(environment.redis_url)
        self._redis = redis
        self._watcher = redis_url.impatient(environment.redis_url)
        can_patch = self._settings.application_key
        self._ledger = Ledger(redis, self._settings.configuration.retention, can_patch=can_patch)
        self._dead_letters = DeadLetters(redis, self._settings.configuration.retention)
        self._bell = Doorbell(redis)
        self._destination = Destination(redis)
        self._linker = linker.Linker(
            Links(redis, self._settings.configuration.retention),
            self._ledger,
            self._bell,
            configuration=self._settings.configuration,
            endpoints=self._settings.endpoints,
            application_key=can_patch,
        )
        self._courier = Courier(environment.concurrency, proxy=self._proxy)
        self._looker = Courier(1, proxy=self._proxy)
        self._redelivery = Redelivery(redis, self._settings)
        self._readback = None
        if self._settings.application_key:
            self._readback = ReadBack(self._ledger, self._looker, self._keys)

    async def _tear_down(self) -> None:
        with contextlib.suppress(RedisError, OSError):  # it is forgotten anyway when it gives no sign of life
            await self._settle_rest()
            await self._ledger.farewell(self._name)
        await self._courier.close()
        await self._looker.close()
        await self._redis.aclose()
        await self._watcher.aclose()

    def _build(self, head: Head) -> httpx.Request:
        return build_request(
            head.envelope,
            opening=head.opening,
            adjustment=head.adjustment,
            uuid=head.uuid,
            **self._keys(),
        )

    def _page_of_incidents(self, offset: int) -> httpx.Request:
        return incidents_request(offset, **self._keys())

    def _keys(self) -> Keys:
        """Where to call, and with what, as of now. Calls that need an application key are not made without one."""
        settings = self._settings
        return {"base_url": settings.datadog_url, "api_key": settings.api_key or "", "app_key": settings.app_key or ""}

    async def _notice_keys(self) -> None:
        """A destination that refused the keys is probed soon once there are others: so too after a start."""
        keys = (self._settings.api_key, self._settings.app_key)
        if keys == self._tried_keys:
            return
        await self._destination.probe_soon()
        if self._tried_keys is not None:
            log("keys.changed")
        self._tried_keys = keys

    async def _drain(self) -> None:
        await self._settle_rest()
        await self._ledger.hush()  # first: whoever has work from now on may ring again
        drain = Drain(
            self._ledger,
            self._destination,
            self._courier,
            self._build,
            Incidents(self._ledger, self._courier, self._build, self._page_of_incidents),
            owner=f"{self._name}-{secrets.token_hex(3)}",
            concurrency=self._settings.environment.concurrency,
            unsettled=self._unsettled,
            sample_percent=self._settings.configuration.read_back.sample_percent
            if self._settings.application_key
            else 0.0,
        )
        await drain.run(self._stopping, self._alive_now)
        if not self._stopping.is_set() and await self._ledger.sweep():
            await self._bell.ring()

    async def _settle_rest(self) -> None:
        """Records outcomes that Redis did not take when they came: nothing that was delivered is to go out again."""
        async with self._settling:
            if self._unsettled:
                rest = list(self._unsettled)
                await self._ledger.settle(self._name, rest)
                del self._unsettled[: len(rest)]

    async def _beat(self) -> None:
        """For the liveness probe: this loop goes round. Asks nobody."""
        metrics.HEARTBEAT.labels(DRAINS).set_to_current_time()

    async def _watch(self) -> None:
        """Notes when Redis was away: leases ran out meanwhile, and others may hold outcomes of calls they made."""
        try:
            await self._watcher.ping()
        except (RedisError, OSError):
            self._take_again_at = time.monotonic() + TAKE_AGAIN_S
            raise

    def _alive_now(self) -> int:
        return self._alive if time.monotonic() >= self._take_again_at else 0

    async def _sweep(self) -> None:
        """A sign of life, and a drain for work that nobody holds."""
        self._alive = await self._ledger.sign_of_life(self._name)
        if await self._ledger.sweep():
            await self._bell.ring()

    async def _every(self, seconds: float, round_: Callable[[], Awaitable[None]]) -> None:
        """Rounds for as long as the process lives, whatever happens in one of them."""
        while True:
            try:
                await round_()
            except (RedisError, OSError) as error:
                if time.monotonic() - self._complained_at > COMPLAIN_S:
                    self._complained_at = time.monotonic()
                    log("redis.unavailable", logging.WARNING, reason=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - one bad round must not end all later ones
                log("process.round_failed", logging.ERROR, reason=type(error).__name__)
            await asyncio.sleep(seconds)


class DrainJob(Job):
    """A job that can only be a drain: the function's name is data in Redis, so it is not imported but compared."""

    @property
    def func(self) -> Any:
        """The drain. Raises: PermissionError for a job that names anything else."""
        if self.func_name != DRAIN or self.instance or self.args or self.kwargs:
            raise PermissionError("this worker runs no function but its own drain")
        return Process.current.drain

    # callbacks are names of functions as well, and RQ's webhooks are URLs to call: a drain has none
    success_callback = failure_callback = stopped_callback = None

    @property
    def webhooks(self) -> list[Any]:
        return []

    @webhooks.setter
    def webhooks(self, _: object) -> None:
        """RQ sets what it finds in Redis."""


class Worker(SimpleWorker):
    """RQ's worker without a fork for each job, for one queue of drains."""

    job_class = DrainJob

    def __init__(self, process: Process, settings: Settings) -> None:
        connection = redis_url.blocking(settings.environment.redis_url)
        queue = Queue(QUEUE, connection=connection, job_class=DrainJob, serializer=JSONSerializer)
        with warnings.catch_warnings():
            # RQ warns where it may not list the clients of Redis, of which it only wants its own address for `rq info`
            warnings.filterwarnings("ignore", message="CLIENT ")
            super().__init__(
                [queue],
                connection=connection,
                serializer=JSONSerializer,
                worker_ttl=20,
                maintenance_interval=5,
                job_class=DrainJob,
                log_job_description=False,
            )
        self._process = process

    def _install_signal_handlers(self) -> None:
        """RQ does so after it greeted Redis, which takes seconds while that is away: who asked in between was heard by
        the process alone, and this worker would work for ever."""
        super()._install_signal_handlers()
        self._stop_requested = self._stop_requested or self._process.is_stopping

    def request_stop(self, signum: int, frame: Any) -> None:
        self._process.request_stop()
        super().request_stop(signum, frame)


def run(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT, with a listener if there is to be one. Raises: ConfigurationError."""
    address = settings.environment.worker_listen
    if address is None:
        _work(settings)
        return
    try:
        listener = WorkerListener(address, metrics.REGISTRY)
    except OSError as error:
        raise ConfigurationError(f"DORA_BRIDGE_WORKER_LISTEN: {error.strerror or error}") from error
    with listener:
        _work(settings)


def _work(settings: Settings) -> None:
    """Works until SIGTERM or SIGINT. RQ's worker gives up when Redis refuses a write (its disk is full, say) or is away
    for long, and then returns as if it had been asked to: another one begins, on the same connections to Datadog."""
    Process.current = process = Process(settings)
    _heed_signals(process)  # before it says that it started: who hears that may ask it to end
    process.start()
    try:
        while not process.is_stopping:
            _heed_signals(process)  # RQ's worker before this one had its own handlers
            reason = "the RQ worker ended"
            try:
                Worker(process, settings).work(with_scheduler=False, logging_level="WARNING")
            except (RedisError, OSError) as error:
                reason = type(error).__name__
            if not process.is_stopping:
                log("redis.unavailable", logging.WARNING, reason=reason)
                time.sleep(AGAIN_S)
    finally:
        process.stop()


def _heed_signals(process: Process) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: process.request_stop())
