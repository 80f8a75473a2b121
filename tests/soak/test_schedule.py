"""The schedule is the same for the same seed, keeps to its bounds, and lets no part meet two harms at once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from bridge.sandbox.script import Script
from soak.schedule import EVERYTHING, FIRST_S, HARMS, ROLL_OUT_S, WORKERS, Planned, schedule
from soak.scripts import SCRIPTS, UNHEARD, USUALLY

SEEDS = range(40)


def test_a_seed_says_it_all() -> None:
    assert schedule(7, 300) == schedule(7, 300)
    assert schedule(7, 300) != schedule(8, 300)


@pytest.mark.parametrize("seconds", [40, 300])
@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_in_order_within_its_time_and_of_known_harms(seed: int, seconds: float) -> None:
    planned = schedule(seed, seconds)
    assert planned == sorted(planned, key=lambda one: one.at_s)
    for one in planned:
        (harm,) = [harm for harm in HARMS[one.part] if harm.name == one.harm]
        assert harm.least_s <= one.lasts_s <= harm.most_s
        assert one.at_s >= FIRST_S
        assert one.at_s + one.lasts_s <= seconds + 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_has_one_harm_at_a_time_and_is_left_alone_in_a_roll_out(seed: int) -> None:
    planned = schedule(seed, 600)
    for part in HARMS:
        mine = [one for one in planned if one.part == part]
        assert all(before.at_s + before.lasts_s <= after.at_s for before, after in pairwise(mine))
    replaced = [one for one in planned if one.part in ("web", *WORKERS)]
    for roll_out in (one for one in planned if one.part == EVERYTHING):
        assert not [one for one in replaced if roll_out.at_s <= one.at_s < roll_out.at_s + ROLL_OUT_S]


def test_harms_of_different_parts_overlap() -> None:
    planned = schedule(1, 300)
    assert any(before.at_s + before.lasts_s > after.at_s for before, after in pairwise(planned))


def test_half_an_hour_has_all_of_them_and_none_much_oftener() -> None:
    met = Counter((one.part, one.harm) for one in schedule(1, 1800))
    assert set(met) == {(part, harm.name) for part, harms in HARMS.items() for harm in harms}
    datadog = [met["datadog", harm.name] for harm in HARMS["datadog"]]
    assert max(datadog) - min(datadog) <= 1


def test_the_sandbox_takes_the_script_of_every_harm_to_datadog() -> None:
    told = {harm.name for harm in HARMS["datadog"]} - {"refuses connections"}  # the wire does that
    assert told == set(SCRIPTS)
    assert all(Script(list(steps)).left()["steps"] for steps in SCRIPTS.values())
    assert told | {"refuses connections"} >= set(UNHEARD)


@pytest.mark.parametrize("harm", ["cuts before it answers about incidents", "slow about incidents"])
def test_what_harms_incidents_leaves_their_list_and_all_else_alone(harm: str) -> None:
    def met(method: str, path: str) -> object:
        step = Script(list(SCRIPTS[harm])).reach(method, path, b"")
        return step and step.raw

    for method, path in (("POST", ""), ("PATCH", "/uuid"), ("DELETE", "/uuid")):
        assert met(method, f"/api/v2/incidents{path}") not in (None, USUALLY)
    assert met("GET", "/api/v2/incidents") == USUALLY
    assert met("POST", "/api/v2/dora/failure") == USUALLY


def test_forty_seconds_have_several() -> None:
    assert all(len(schedule(seed, 40)) >= 6 for seed in SEEDS)


def test_one_is_told_in_a_few_words() -> None:
    assert str(Planned(12.5, "redis", "paused", 3.0)) == "12.5 redis paused 3.0 s"
    assert str(Planned(60.0, EVERYTHING, "rolled out", 0)) == "60.0 everything rolled out"
