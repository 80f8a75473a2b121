"""Prints the loss matrix: fault × what it came to. `make loss-matrix`; arguments choose faults by name."""

from __future__ import annotations

import asyncio
import sys

from faults import FAULTS
from runs import NotPossibleHere, run

LASTS_S = 20.0


async def main(wanted: list[str]) -> int:
    """Exit code: 1 if anything was lost, changed or out of order."""
    print("| fault | accepted | delivered | lost | sent twice | other body | out of order | longest pause |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    sound = True
    for name, fault in FAULTS.items():
        if wanted and name not in wanted:
            continue
        try:
            one = await run(fault, before_s=5, lasts_s=LASTS_S, after_s=8, drain_s=180)
        except NotPossibleHere as error:
            print(f"| {name} | {error} |||||||", flush=True)
            continue
        sound = sound and one.is_sound
        print(
            f"| {name} | {one.accepted} | {one.delivered} | {one.lost} | {one.twice} | {one.changed}"
            f" | {one.disorder} | {one.pause_s:.1f} s |",
            flush=True,
        )
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
