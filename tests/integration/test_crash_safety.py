"""Every fault once, for a short time. `make loss-matrix` runs them longer and prints what they come to."""

from __future__ import annotations

import pytest
from faults import FAULTS
from runs import NotPossibleHere, run

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_changed_or_out_of_order(fault: str) -> None:
    try:
        account = await run(FAULTS[fault])
    except NotPossibleHere as error:
        pytest.skip(str(error))
    assert account.is_sound, account
