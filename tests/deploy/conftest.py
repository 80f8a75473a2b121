"""The image, built once for the run from the real Dockerfile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import ROOT, Engine, Images, lacking, python_base, running_engine


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if reason := lacking():
        pytest.skip(reason)
    with running_engine() as engine:
        base, bridge, redis = (f"dora-bridge-tests-{os.getpid()}:{one}" for one in ("base", "bridge", "redis"))
        try:
            python_base(engine, base, tmp_path_factory.mktemp("base"))
            build(engine, base, bridge, ROOT)
            stand_in = f"FROM {base}\nWORKDIR /data\nVOLUME /data\n"
            engine.docker("build", "--tag", redis, "-", stdin=stand_in.encode())
            yield Images(engine, base, bridge, redis)
        finally:
            engine.docker("rmi", "--force", redis, bridge, base)


def build(engine: Engine, base: str, tag: str, context: Path) -> None:
    """As a release does it, but for the base."""
    arguments = {"PYTHON_IMAGE": base, "VERSION": "1.2.3", "REVISION": "c0ffee"}
    flags = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    flags += ["--label", "org.opencontainers.image.created=2030-01-01T00:00:00Z"]
    engine.docker("build", "--network", "host", *flags, "--tag", tag, context)
