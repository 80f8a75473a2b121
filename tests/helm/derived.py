"""What the chart repeats from elsewhere: the README's table of values, and the schema of `bridgeYaml`.

`python tests/helm/derived.py` writes both anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "dora-bridge"
_KEY = re.compile(r"^( *)([A-Za-z_][\w-]*):")
_BEGIN, _END = "<!-- values: written by tests/helm/derived.py -->", "<!-- end of values -->"
_PREFIX = "bridgeYaml."


def explained(text: str) -> Iterator[tuple[str, str]]:
    """Path and explanation of each value that has a comment beginning with two hyphens."""
    path: list[tuple[int, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        comment = line.strip()
        if comment.startswith("# -- "):
            words = [comment[5:]]
        elif comment.startswith("#") and words:
            words.append(comment[1:].strip())
        elif key := _KEY.match(line):
            depth = len(key[1])
            path = [*(one for one in path if one[0] < depth), (depth, key[2])]
            if words:
                yield ".".join(name for _, name in path), " ".join(words)
            words = []
        else:
            words = []


def at(values: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        values = values[name]
    return values


def values_table() -> str:
    """The table of all values, as the chart's README has it."""
    text = (CHART / "values.yaml").read_text("utf-8")
    values = yaml.safe_load(text)
    rows = [
        f"| `{path}` | {words.replace('|', '&#124;')} | {_shown(at(values, path))} |" for path, words in explained(text)
    ]
    return "\n".join([_BEGIN, "| value | meaning | default |", "| --- | --- | --- |", *rows, _END])


def _shown(value: Any) -> str:
    return "" if value in ("", None) else f"`{json.dumps(value, ensure_ascii=False) if value != str(value) else value}`"


def with_table(readme: str) -> str:
    """The README with the table as it has to be."""
    before, _, rest = readme.partition(_BEGIN)
    return before + values_table() + rest.partition(_END)[2]


def with_bridge_yaml(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the values with the definitions of `bridge.yaml` as they have to be.

    Helm before 3.18 knows nothing newer than draft 7, where definitions have this name.
    """
    shipped = _older(json.loads((ROOT / "bridge" / "bridge.schema.json").read_bytes()))
    definitions = {_PREFIX + name: one for name, one in shipped.pop("$defs").items()}
    properties = {**schema["properties"], "bridgeYaml": {"$ref": f"#/definitions/{_PREFIX[:-1]}"}}
    del shipped["$schema"]
    return {**schema, "properties": properties, "definitions": {_PREFIX[:-1]: shipped, **definitions}}


def _older(part: Any) -> Any:
    if isinstance(part, list):
        return [_older(one) for one in part]
    if not isinstance(part, dict):
        return part
    changed = {
        key: _older(one) for key, one in part.items() if key not in ("title", "description") or not isinstance(one, str)
    }
    if "$ref" in changed:
        changed["$ref"] = changed["$ref"].replace("#/$defs/", f"#/definitions/{_PREFIX}")
    if "off" in changed.get("enum", ()):
        # Helm reads a bare off as false, and so does the bridge
        changed["enum"] = [*changed["enum"], False]
        changed.pop("type", None)
    return changed


def main() -> None:
    readme, schema = CHART / "README.md", CHART / "values.schema.json"
    readme.write_text(with_table(readme.read_text("utf-8")), "utf-8")
    schema.write_text(json.dumps(with_bridge_yaml(json.loads(schema.read_bytes())), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
