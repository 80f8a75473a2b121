"""Twins: one deployment that has two ids, since it concerned another number of services when it was reported. Pure.

Its id has a part for the service where it concerns several (`ids.py`). When a rule, or an annotation of Argo CD,
changes that, what comes later calls it by another id than Datadog. `lua/record.lua` finds out which one was reported,
and whatever is said of the deployment is recorded under that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bridge.envelope import Envelope


def retold(envelope: Envelope, names: Mapping[str, str]) -> Envelope:
    """The same statement under other ids of its deployments: `names` has the new ones for ids that it names."""
    if envelope.body is None:
        return envelope
    before = envelope.datadog_id
    after = names.get(before, before)
    data = {**envelope.body["data"]}
    attributes = {**data["attributes"]}
    if envelope.method == "PATCH":
        data["id"] = after
    else:
        attributes["id"] = after
    if remediation := attributes.get("remediation"):
        attributes["remediation"] = {**remediation, "id": names.get(remediation["id"], remediation["id"])}
    is_change = envelope.key == f"change:{before}"
    return replace(
        envelope,
        id=after + envelope.id[len(before) :],
        datadog_id=after,
        fact=after + envelope.fact[len(before) :],
        key=f"change:{after}" if is_change else envelope.key,
        path=envelope.path.removesuffix(before) + after if is_change else envelope.path,
        body={**envelope.body, "data": {**data, "attributes": attributes}},
        after=tuple(names.get(one, one) for one in envelope.after),
        twins={own: twin for own, twin in envelope.twins.items() if own not in names},
        called={**envelope.called, **{name: own for own, name in names.items()}},
    )
