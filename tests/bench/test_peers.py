from __future__ import annotations

from pathlib import Path

import pytest

from bench.peers import datadog_ci, installed, queues, webhook
from bench.upstream import Got


@pytest.fixture
def _nothing_to_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "FOLDER", tmp_path / "peers")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(installed, "_LOCK", tmp_path / "no.lock")
    (tmp_path / "no.lock").write_text("a-package-that-is-not-there==1.0 --hash=sha256:00\n")
    monkeypatch.setattr("sys.executable", "/nowhere/python3")


@pytest.mark.usefixtures("_nothing_to_be_had")
def test_each_peer_that_cannot_be_had_is_skipped_with_one_line(tmp_path: Path) -> None:
    results = [
        datadog_ci.measure(tmp_path),
        queues.measure(tmp_path, rounds=1, seconds=1),
        webhook.measure(tmp_path, rounds=1, seconds=1),
    ]
    assert [result.rows for result in results] == [[], [], []]
    notes = [note for result in results for note in result.notes]
    assert notes[0] == "Skipped. datadog-ci: node is missing; Debian: apt install nodejs npm"
    assert notes[1].startswith("Skipped. Dramatiq, Celery, RQ: python3 failed: ")
    assert notes[2] == "Skipped. webhook: apt-get is missing; put a program `webhook` on the PATH"
    assert all("\n" not in note for note in notes)


def came(
    *, delivered: int = 0, cut: int = 0, ids: tuple[str, ...] = (), exit_code: int | None = None
) -> datadog_ci.Came:
    got = Got(delivered=[0.0] * delivered, refused=0, cut=cut, ids=list(ids))
    return datadog_ci.Came(got, exit_code, 1.0)


@pytest.mark.parametrize(
    ("one", "late_s", "word"),
    [
        (came(delivered=1, ids=("a",)), None, "delivered"),
        (came(delivered=1, cut=1, ids=("", "")), None, "**doubled**"),
        (came(delivered=1, cut=1, ids=("a", "b")), None, "**doubled**"),
        (came(delivered=1, cut=1, ids=("a", "a")), None, "sent twice under one id"),
        (came(exit_code=0), None, "**lost**, and the pipeline is green"),
        (came(exit_code=1), None, "lost unless the pipeline runs again"),
        (came(), 21.0, "delivered 21 s after Datadog was back"),
    ],
)
def test_what_became_of_an_event(one: datadog_ci.Came, late_s: float | None, word: str) -> None:
    assert datadog_ci._became(one, late_s).startswith(word)
