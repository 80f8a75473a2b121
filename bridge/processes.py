"""What each process under one supervisor uses: the usual `process_*` metrics, with the process as a label.

Not their sum: CPU seconds of a process that is started again begin at zero, and a sum that falls would be read as a
counter that began anew, with all seconds of the others as its increase.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class ProcessesCollector(Collector):
    """Reads /proc at each scrape; of a process that has just ended there is nothing to tell."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """`pids`: value of the label `process` -> process id, as of now."""
        self._pids = pids

    def describe(self) -> Iterable[Metric]:
        """Names are told when there are values."""
        return ()

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for name, pid in self._pids().items():
            for one in _of(pid):
                family = families.setdefault(one.name, Metric(one.name, one.documentation, one.type))
                for sample in one.samples:
                    family.add_sample(sample.name, {**sample.labels, "process": name}, sample.value)
        return families.values()


def _of(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
