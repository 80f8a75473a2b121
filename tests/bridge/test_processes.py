"""What processes under one supervisor use, read from /proc as it is now."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from bridge.processes import ProcessesCollector

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def test_each_process_has_the_usual_metrics_and_its_label() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    pids = {"supervisor": os.getpid(), "0": child.pid}
    registry = CollectorRegistry()
    registry.register(ProcessesCollector(lambda: pids))
    try:
        usual = {one.name for one in ProcessCollector(registry=None).collect()}
        assert {one.name for one in registry.collect()} == usual >= {"process_cpu_seconds", "process_open_fds"}
        text = generate_latest(registry).decode()
        assert text.count("# TYPE process_resident_memory_bytes gauge") == 1
        memory = {name: registry.get_sample_value("process_resident_memory_bytes", {"process": name}) for name in pids}
        assert all(memory.values())
        assert registry.get_sample_value("process_start_time_seconds", {"process": "0"}) is not None
    finally:
        child.communicate()
    pids["0"] = child.pid  # it has ended, and nobody has started another one yet
    assert registry.get_sample_value("process_resident_memory_bytes", {"process": "0"}) is None
    assert registry.get_sample_value("process_resident_memory_bytes", {"process": "supervisor"})
