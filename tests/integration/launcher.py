"""Runs a process of the product with a wrong clock, or as a later version of itself.

python launcher.py [--clock SECONDS] [--envelope-version N] MODULE [ARGUMENT …]
"""

from __future__ import annotations

import argparse
import runpy
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--clock", type=int, default=0)
parser.add_argument("--envelope-version", type=int)
parser.add_argument("module")
parser.add_argument("arguments", nargs="*")
given = parser.parse_args()

if given.clock:
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + given.clock
    time.time_ns = lambda: real_ns() + given.clock * 10**9
if given.envelope_version:
    import bridge.envelope

    bridge.envelope.VERSION = given.envelope_version  # type: ignore[misc]
sys.argv = [given.module, *given.arguments]
runpy.run_module(given.module, run_name="__main__", alter_sys=True)
