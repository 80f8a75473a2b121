"""The listener of workers over real processes: counters of all of them, also after one was killed, and of one alone."""

from __future__ import annotations

import os
import re
import signal

import httpx
import pytest
from system import System, deployment, free_port, unique, until

LOG = "workers.log"

pytestmark = pytest.mark.integration


def text_of(url: str) -> str:
    answer = httpx.get(url, timeout=10)
    assert answer.status_code == 200
    return answer.text


def total(text: str, name: str) -> float:
    """The sum of a metric over its labels."""
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


def listening(system: System) -> str:
    """The address of the workers' listener, from now on."""
    system.environ["DORA_BRIDGE_WORKER_LISTEN"] = address = f"127.0.0.1:{free_port()}"
    return f"http://{address}"


async def deliver(system: System, count: int) -> None:
    async with httpx.AsyncClient(timeout=20) as client:
        for number in range(count):
            body = deployment(unique(), service=f"service-{number}")
            assert (await system.post(client, "github", body)).status_code == 202
    await system.until_drained()


def started(system: System) -> list[int]:
    """The process ids of all workers that began, as their log names them."""
    return [int(pid) for pid in re.findall(r'"worker":"[^"]*-(\d+)-[0-9a-f]{6}"', (system.folder / LOG).read_text())]


async def test_counters_of_several_processes_are_added_up_and_outlive_one(system: System) -> None:
    base = listening(system)
    system.start_web()
    system.start("workers", "-m", "bridge", "worker", "--processes", "2")
    system.until_answers(f"{base}/livez")
    await deliver(system, 12)

    def delivered() -> float:
        return total(text_of(f"{base}/metrics"), "dora_bridge_deliveries_total")

    until(lambda: delivered() == 12, 10, "12 were delivered")
    text = text_of(f"{base}/metrics")
    assert total(text, "dora_bridge_delivery_attempts_total") == 12
    assert total(text, "dora_bridge_event_age_seconds_count") == 12
    assert total(text, "dora_bridge_build_info") == 1, "one for all of them"
    assert "pid=" not in text
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert set(re.findall(rf'^{name}{{process="(\w+)"}} ', text, re.MULTILINE)) == {"supervisor", "0", "1"}

    before = started(system)
    assert len(before) == 2
    for pid in before:  # whichever of them counted
        os.kill(pid, signal.SIGKILL)
    until(lambda: len(started(system)) == 4, 20, "both are started again")
    assert delivered() == 12
    await deliver(system, 5)
    until(lambda: delivered() == 17, 10, "those who took their place count on")
    assert "alive" in text_of(f"{base}/livez")
    assert system.kill("workers", signal.SIGTERM) == 0


async def test_one_process_listens_itself(system: System) -> None:
    base = listening(system)
    system.start_web()
    system.start("worker", "-m", "bridge", "worker")
    system.until_answers(f"{base}/livez")
    left = {"X-RateLimit-Reset": "1", "X-RateLimit-Remaining": "7"}
    system.script({"status": 429, "headers": {"X-RateLimit-Reset": "1"}}, {"status": 200, "headers": left, "times": 3})
    await deliver(system, 3)

    def metrics() -> str:
        return text_of(f"{base}/metrics")

    until(lambda: total(metrics(), "dora_bridge_deliveries_total") == 3, 10, "3 were delivered")
    text = metrics()
    assert total(text, "dora_bridge_rate_limit_wait_seconds_total") > 0
    assert 'dora_bridge_rate_limit_remaining{endpoint="deployment"} 7.0' in text
    assert re.search(r'delivery_attempts_total{endpoint="deployment",status="429",verdict="errored"} [1-9]', text)
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE), "of one process there is no label"
    # what is read from Redis is the web's to tell
    assert "dora_bridge_events_waiting" not in text
    seen = text_of(f"http://{system.internal}/metrics")
    assert re.search(r'dora_bridge_last_accepted_timestamp_seconds{source="github"} 1\.\d+e\+09', seen)
    assert total(seen, "dora_bridge_webhooks_total") == 3
    assert system.kill("worker", signal.SIGTERM) == 0


def test_an_address_in_use_ends_the_worker(system: System) -> None:
    system.environ["DORA_BRIDGE_WORKER_LISTEN"] = system.datadog
    for arguments in (["-m", "workers"], ["-m", "bridge", "worker", "--processes", "2"]):
        process = system.start("worker", *arguments)
        assert process.wait(30) in (1, 2)
        assert "in use" in (system.folder / "worker.log").read_text()
