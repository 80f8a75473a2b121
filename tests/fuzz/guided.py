"""A run that is led by coverage, over the same targets as the ordinary suite: `make fuzz`.

    python tests/fuzz/guided.py [--seconds N] [TARGET …]

One process after the other, each for so long. What breaks a target is written to `findings/<target>/`: once it is
mended, the file stays, as the ordinary suite tries it from then on. Exits with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

HERE = Path(__file__).parent
LONGEST_INPUT = 8_000
SLOW_S = 60
"""An input that takes longer hangs; the machine may be busy."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("No ready-made atheris for this machine (it has wheels for glibc Linux on x86_64): skipped.")
        return 0
    if given.alone:
        _run(given.targets[0], given.seconds)
        return 0
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    from fuzz.seeds import FINDINGS, seeds
    from fuzz.targets import TARGETS

    if unknown := set(given.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(unknown)}; known are {', '.join(TARGETS)}")
    found = []
    for target in given.targets or TARGETS:
        folder = FINDINGS / target
        before = set(folder.glob("*"))
        with tempfile.TemporaryDirectory() as corpus:
            for number, data in enumerate(seeds(target)):
                (Path(corpus) / f"{number}").write_bytes(data)
            command = [sys.executable, __file__, "--alone", "--seconds", str(given.seconds), target]
            ended = subprocess.run(command, cwd=corpus, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            artifacts = [one for one in Path(corpus).glob("*-*") if not one.name.startswith("slow-unit")]
            for artifact in artifacts:  # a hang, or memory that grew: libFuzzer's own word for it
                folder.mkdir(parents=True, exist_ok=True)
                (folder / artifact.name).write_bytes(artifact.read_bytes())
        lines = ended.stdout.decode("utf-8", "replace").splitlines()
        print(f"{target}: {next((line for line in reversed(lines) if line.startswith('Done ')), 'ended early')}")
        new = sorted(set(folder.glob("*")) - before)
        found += new
        for path in new:
            print(f"  {path.relative_to(HERE.parents[1])}")
        if new or ended.returncode:
            print("\n".join(f"  {line}" for line in lines if line.startswith("FOUND") or "ERROR" in line))
        if ended.returncode and not new:
            print("\n".join(lines[-20:]))
            return 1
    return 1 if found else 0


def _run(target: str, seconds: int) -> None:
    """Fuzzes until the time is over, then ends the process."""
    import atheris

    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]
    with atheris.instrument_imports(include=["bridge", "workers", "fuzz"]):
        from fuzz.targets import TARGETS
    from fuzz.seeds import FINDINGS, another

    seen: set[object] = set()

    def one_input(data: bytes) -> None:
        try:
            TARGETS[target](data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = (type(error).__name__, place.filename, place.lineno)
            if what in seen:
                return
            seen.add(what)
            folder = FINDINGS / target
            folder.mkdir(parents=True, exist_ok=True)
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            print(f"FOUND {what[0]} at {place.filename}:{place.lineno}: {str(error)[:200]}")

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)  # noqa: S311 - repeatable by its seed
        if chance.random() < 0.25:
            return bytes(atheris.Mutate(data, max_size))
        return another(target, data, chance.choice)[:max_size]

    options = [f"-max_total_time={seconds}", f"-max_len={LONGEST_INPUT}", f"-timeout={SLOW_S}", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *options, "."], one_input, custom_mutator=mutated)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
