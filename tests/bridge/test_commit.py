"""Group commit over a ledger that answers, hangs and fails as told."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from bridge.commit import MOST_BYTES, MOST_ENTRIES, GroupCommit
from bridge.dora import Failure, Occurrence
from bridge.envelope import Envelope, identity
from bridge.errors import LedgerUnavailable
from bridge.intake import Receipt
from bridge.ledger import Entry


def entries(*names: str, raw: bytes = b"") -> list[Entry]:
    return [Entry(Envelope(id=name, endpoint="e", source="s", kind="k", received_at=1), raw) for name in names]


class FakeLedger:
    """Answers each entry with its own id. `gate` is awaited before each write, and may raise."""

    def __init__(self, gate: Callable[[], Awaitable[None]] | None = None, ring: bool = False) -> None:
        self.writes: list[list[str]] = []
        self.begun: list[list[str]] = []
        self.rings = 0
        self._gate = gate
        self._ring = ring
        self._busy = False

    async def record(self, wanted: Sequence[Entry]) -> tuple[list[str], bool]:
        assert not self._busy, "two writes at once"
        self._busy = True
        try:
            names = [entry.envelope.id for entry in wanted]
            self.begun.append(names)
            await asyncio.sleep(0)
            if self._gate is not None:
                await self._gate()
            self.writes.append(names)
            return [f"answer to {name}" for name in names], self._ring
        finally:
            self._busy = False

    async def ring(self) -> None:
        await asyncio.sleep(0)
        self.rings += 1


def committer(ledger: FakeLedger, timeout_s: float = 30) -> GroupCommit:
    return GroupCommit(ledger, ledger.ring, timeout_s=timeout_s)  # type: ignore[arg-type]


class Gate:
    """Holds writes until `open`; then each takes the next of `results`, an error or None."""

    def __init__(self, *results: Exception | None) -> None:
        self.open = asyncio.Event()
        self._results = list(results)

    async def __call__(self) -> None:
        await self.open.wait()
        if self._results and (error := self._results.pop(0)) is not None:
            raise error


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_caller_gets_its_own_answers_and_what_waits_goes_together() -> None:
    gate = Gate()
    ledger = FakeLedger(gate)
    commit = committer(ledger)
    first = asyncio.create_task(commit.record(entries("a")))
    await turns()
    others = [asyncio.create_task(commit.record(entries(f"b{n}", f"c{n}"))) for n in range(3)]
    await turns()
    assert ledger.begun == [["a"]]
    gate.open.set()
    assert await first == ["answer to a"]
    assert await asyncio.gather(*others) == [[f"answer to b{n}", f"answer to c{n}"] for n in range(3)]
    assert ledger.writes == [["a"], ["b0", "c0", "b1", "c1", "b2", "c2"]]


async def test_requests_of_one_moment_share_a_write() -> None:
    ledger = FakeLedger()
    commit = committer(ledger)
    answers = await asyncio.gather(*(commit.record(entries(f"{n}")) for n in range(10)))
    assert answers == [[f"answer to {n}"] for n in range(10)]
    assert len(ledger.writes) == 1


async def test_a_later_request_is_written_after_an_idle_time() -> None:
    ledger = FakeLedger()
    commit = committer(ledger)
    assert await commit.record(entries("a")) == ["answer to a"]
    await turns()
    assert await commit.record(entries("b")) == ["answer to b"]
    assert ledger.writes == [["a"], ["b"]]


async def test_a_request_that_comes_while_the_writer_ends_is_not_forgotten() -> None:
    """Whatever the number of turns of the loop between the two."""
    for count in range(12):
        ledger = FakeLedger()
        commit = committer(ledger, timeout_s=5)
        first = asyncio.create_task(commit.record(entries("a")))
        await turns(count)
        assert await commit.record(entries("b")) == ["answer to b"]
        assert await first == ["answer to a"]


async def test_batches_are_bounded_by_number() -> None:
    gate = Gate()
    gate.open.set()
    ledger = FakeLedger(gate)
    commit = committer(ledger)
    await asyncio.gather(*(commit.record(entries(f"{n}")) for n in range(3 * MOST_ENTRIES + 1)))
    assert [len(write) for write in ledger.writes] == [MOST_ENTRIES] * 3 + [1]


async def test_batches_are_bounded_by_bytes() -> None:
    ledger = FakeLedger()
    commit = committer(ledger)
    half = b"x" * (MOST_BYTES // 2)
    await asyncio.gather(*(commit.record(entries(f"{n}", raw=half)) for n in range(5)))
    assert [len(write) for write in ledger.writes] == [2, 2, 1]


async def test_one_large_request_is_still_written_and_whole() -> None:
    ledger = FakeLedger()
    commit = committer(ledger)
    names = [f"{n}" for n in range(MOST_ENTRIES + 5)]
    large = entries(*names, raw=b"x" * MOST_BYTES)
    answers = await asyncio.gather(commit.record(large), commit.record(entries("next")))
    assert answers == [[f"answer to {name}" for name in names], ["answer to next"]]
    assert ledger.writes == [names, ["next"]]


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), RedisError("OOM"), OSError("reset"), TimeoutError()])
async def test_a_failing_write_fails_its_batch_and_no_other(error: Exception) -> None:
    gate = Gate(error, None)
    ledger = FakeLedger(gate)
    commit = committer(ledger)
    failing = asyncio.create_task(commit.record(entries("a")))
    await turns()
    passing = asyncio.create_task(commit.record(entries("b")))
    await turns()
    gate.open.set()
    with pytest.raises(LedgerUnavailable) as caught:
        await failing
    assert caught.value.detail == f"Redis cannot take it ({type(error).__name__})"
    assert caught.value.__cause__ is error
    assert await passing == ["answer to b"]


async def test_an_error_of_ours_reaches_its_callers_and_the_writer_goes_on() -> None:
    gate = Gate(KeyError("a bug"), None)
    ledger = FakeLedger(gate)
    commit = committer(ledger)
    failing = [asyncio.create_task(commit.record(entries("a"))) for _ in range(2)]
    await turns()
    passing = asyncio.create_task(commit.record(entries("b")))
    gate.open.set()
    for one in failing:
        with pytest.raises(KeyError):
            await one
    assert await passing == ["answer to b"]


async def test_out_of_time_while_under_way() -> None:
    """It may have been written all the same, and the one behind it was not."""
    gate = Gate()
    ledger = FakeLedger(gate)
    commit = committer(ledger, timeout_s=0.02)
    one = asyncio.create_task(commit.record(entries("under way")))
    await turns()
    other = asyncio.create_task(commit.record(entries("behind")))
    for task in (one, other):
        with pytest.raises(LedgerUnavailable, match="did not answer in time"):
            await task
    later = asyncio.create_task(commit.record(entries("later")))
    await turns()
    gate.open.set()
    assert await later == ["answer to later"]
    assert ledger.writes == [["under way"], ["later"]], "given up before it was taken: never written"


async def test_nothing_is_written_when_all_that_waited_gave_up() -> None:
    gate = Gate()
    ledger = FakeLedger(gate)
    commit = committer(ledger, timeout_s=0.02)
    tasks = [asyncio.create_task(commit.record(entries(f"{n}"))) for n in range(3)]
    await turns()
    tasks += [asyncio.create_task(commit.record(entries(f"behind {n}"))) for n in range(3)]
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, LedgerUnavailable) for one in done)
    gate.open.set()
    await commit.close()
    assert ledger.begun == [["0", "1", "2"]]


async def test_a_caller_that_is_cancelled_takes_nobody_with_it() -> None:
    gate = Gate()
    ledger = FakeLedger(gate)
    commit = committer(ledger)
    first = asyncio.create_task(commit.record(entries("a")))
    await turns()
    gone, stays = (asyncio.create_task(commit.record(entries(name))) for name in ("gone", "stays"))
    await turns()
    gone.cancel()
    first.cancel()
    await turns()
    gate.open.set()
    assert await stays == ["answer to stays"]
    assert ledger.writes == [["a"], ["stays"]]
    assert gone.cancelled()
    assert first.cancelled()


async def test_a_hanging_redis_holds_nobody_longer_than_the_time_out() -> None:
    ledger = FakeLedger(Gate())
    commit = committer(ledger, timeout_s=0.05)
    loop = asyncio.get_running_loop()
    start = loop.time()
    done = await asyncio.gather(*(commit.record(entries(f"{n}")) for n in range(200)), return_exceptions=True)
    assert loop.time() - start < 2
    assert all(isinstance(one, LedgerUnavailable) for one in done)


# -- ringing


async def test_rings_only_when_the_ledger_asks() -> None:
    for ring in (False, True):
        ledger = FakeLedger(ring=ring)
        commit = committer(ledger)
        await commit.record(entries("a"))
        await commit.close()
        assert ledger.rings == int(ring)


async def test_the_answer_does_not_wait_for_the_bell() -> None:
    class SlowBell(FakeLedger):
        async def ring(self) -> None:
            await asyncio.sleep(0.05)
            await super().ring()

    ledger = SlowBell(ring=True)
    commit = committer(ledger)
    await commit.record(entries("a"))
    assert ledger.rings == 0
    await commit.close()
    assert ledger.rings == 1


async def test_close_waits_for_the_last_write_and_its_ring() -> None:
    gate = Gate()
    ledger = FakeLedger(gate, ring=True)
    commit = committer(ledger)
    task = asyncio.create_task(commit.record(entries("a")))
    await turns()
    closing = asyncio.create_task(commit.close())
    await turns()
    assert not closing.done()
    gate.open.set()
    await closing
    assert (ledger.writes, ledger.rings) == ([["a"]], 1)
    assert await task == ["answer to a"]


async def test_close_without_any_request() -> None:
    await committer(FakeLedger()).close()


# -- whatever happens at the same time


@settings(max_examples=200)
@given(
    posts=st.lists(
        st.tuples(
            st.integers(0, 12),  # when, in turns of the loop
            st.integers(1, 4),  # entries
            st.sampled_from([0, 0, 0, MOST_BYTES // 3, MOST_BYTES + 1]),
            st.booleans() | st.none(),  # None: the caller goes away
        ),
        min_size=1,
        max_size=40,
    ),
    fates=st.lists(st.sampled_from([None, None, "before", "after", "bug"]), max_size=12),
    pauses=st.lists(st.integers(0, 6), max_size=12),
)
def test_nothing_is_lost_and_nothing_doubled(posts: list[Any], fates: list[str | None], pauses: list[int]) -> None:
    """Whoever got an answer got his own, and all of it is written once; whoever did not got an error."""

    class Unruly(FakeLedger):
        async def record(self, wanted: Sequence[Entry]) -> tuple[list[str], bool]:
            assert wanted, "an empty write"
            fate = fates.pop() if fates else None
            await turns(pauses.pop() if pauses else 0)
            if fate == "before":
                raise RedisConnectionError("before it was written")
            found = await super().record(wanted)
            if fate == "bug":
                raise ZeroDivisionError("a bug")
            if fate == "after":
                raise RedisConnectionError("it was written, and the answer was lost")
            return found

    async def run() -> None:
        ledger = Unruly()
        commit = committer(ledger)
        outcomes: dict[int, Any] = {}

        async def post(number: int, when: int, count: int, size: int, stays: bool | None) -> None:
            await turns(when)
            names = [f"{number}.{n}" for n in range(count)]
            task = asyncio.create_task(commit.record(entries(*names, raw=b"x" * size)))
            if stays is None:
                await turns(3)
                task.cancel()
            try:
                outcomes[number] = await task
            except (LedgerUnavailable, ZeroDivisionError, asyncio.CancelledError) as error:
                outcomes[number] = error

        await asyncio.gather(*(post(number, *one) for number, one in enumerate(posts)))
        await commit.close()
        written = [name for write in ledger.writes for name in write]
        assert len(written) == len(set(written))
        for number, (_, count, _, _) in enumerate(posts):
            names = [f"{number}.{n}" for n in range(count)]
            if isinstance(outcomes[number], list):
                assert outcomes[number] == [f"answer to {name}" for name in names]
                assert set(names) <= set(written)
            assert len(set(names) & set(written)) in (0, count), "half a request was written"
        assert all(len(write) < MOST_ENTRIES + 4 for write in ledger.writes)

    asyncio.run(run())


async def test_no_error_is_left_behind_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio logs errors that nobody fetched, with their texts."""
    gate = Gate(RedisConnectionError("redis://user:password@host"))
    commit = committer(FakeLedger(gate), timeout_s=0.01)
    task = asyncio.create_task(commit.record(entries("a")))
    with pytest.raises(LedgerUnavailable):
        await task
    gate.open.set()
    await commit.close()
    del task, commit
    await turns()
    with caplog.at_level(logging.WARNING):
        gc.collect()
        await turns()
    assert not caplog.records


def about_an_incident() -> Receipt:
    failure = Failure(id="pagerduty-incident-P1", started_at=1, finished_at=2, occurrence=Occurrence("P1", 2))
    return Receipt([Envelope(endpoint="e", source="s", received_at=1, **identity(failure))], "in-1")


@pytest.mark.parametrize("error", [RedisConnectionError("gone"), RedisError("OOM"), OSError("reset"), None])
async def test_where_an_incident_belongs_cannot_be_found_without_redis(error: Exception | None) -> None:
    class Lost(FakeLedger):
        async def reopened(self, first: str) -> dict[str, int]:
            if error is not None:
                raise error
            await asyncio.Event().wait()  # it hangs
            raise AssertionError

    commit = committer(Lost(), timeout_s=0.05)
    with pytest.raises(LedgerUnavailable):
        await commit.place(about_an_incident())
    nothing_of_one = Receipt([entry.envelope for entry in entries("a")], "in-1")
    assert await commit.place(nothing_of_one) is nothing_of_one
