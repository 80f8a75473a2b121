"""How incidents stand in Incident Management, held against what the ledger says of them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from bridge.incident_management import mark_of
from soak.evidence import ON_PURPOSE, Kept


def amiss(ledger: Iterable[Kept], listed: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with the incidents that Datadog lists: there is one for each that was created and not withdrawn.

    It is resolved if it was closed, and nothing else is there. What a call may have changed besides its statement,
    since it went to the id of another incident, shows here.
    """
    there: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for incident in listed:
        there[mark_of(incident)].append(incident)
    delivered: defaultdict[str, set[str]] = defaultdict(set)
    for one in ledger:
        # what waits to end or withdraw one waits for what is not there, or was told already (`waits.py`)
        if one.key.startswith("incident:") and one.state in ("delivered", ON_PURPOSE):
            about, _, word = one.id.partition("~")
            delivered[about].add(word.partition("-")[0])
    for about in sorted(there.keys() | delivered.keys()):
        words, found = delivered[about], there[about]
        wanted = int("open" in words and "withdrawn" not in words)
        if len(found) != wanted:
            yield f"{about or 'not created by the bridge'}: {len(found)} times there instead of {wanted}"
        state = "resolved" if "closed" in words else "active"
        for incident in found:
            is_so = incident["attributes"]["state"]
            if wanted and is_so != state:
                yield f"{about}: {is_so} instead of {state}"
