"""Forty seconds of mixed traffic with harm at random moments; `make soak` plays minutes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak.report import as_text
from soak.run import soak

SEED, SECONDS, A_SECOND = 24, 40, 25
"""A seed with which every part is harmed, several at a time, and workers while incidents are created slowly."""
KINDS = {"PATCH deployments", "DELETE failure", "POST incidents", "PATCH incidents", "DELETE incidents"}
"""Of what Datadog has to be told in every run, those that depend on what it was told before."""

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


async def test_the_account_comes_out_even(tmp_path: Path) -> None:
    heard: list[float] = []
    result = await soak(SEED, SECONDS, A_SECOND, tmp_path, lambda told: heard.append(told.seconds))
    assert result.is_sound, f"{as_text(result)}\nsee {tmp_path}"
    assert {one.part for one in result.planned} >= {"web", "worker-1", "worker-2", "redis", "datadog"}
    assert len(result.done) + result.skipped == len(result.planned)
    assert len(result.done) > len(result.planned) / 2
    assert result.account.accepted["delivered"] > 50
    assert result.account.told.keys() >= KINDS
    assert result.account.webhooks["401"] > 0
    assert heard
