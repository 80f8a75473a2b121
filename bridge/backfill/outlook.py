"""What recording an envelope would come to, without recording it. Pure; as lua/record.lua decides it."""

from __future__ import annotations

from collections.abc import MutableMapping

from bridge.envelope import Envelope
from bridge.ledger import Standing


def outlook(envelope: Envelope, standing: Standing, assumed: MutableMapping[str, str]) -> str:
    """The word that `Ledger.record` would answer.

    `assumed` has the ranks of facts that would have been recorded before; this one joins them.
    """
    if envelope.state != "waiting":
        return "duplicate" if standing.is_kept else envelope.state
    known = max(assumed.get(envelope.fact, ""), standing.rank)
    if known == envelope.rank:
        return "redriven" if standing.is_dead else "duplicate"
    if envelope.rank < known:
        return "duplicate" if standing.is_kept else "superseded"
    if not known and envelope.needs_opening:
        if envelope.rank[:1] == "2":  # withdrawn before it was reported
            assumed[envelope.fact] = envelope.rank
        return envelope.needs_opening.partition(":")[0]
    assumed[envelope.fact] = envelope.rank
    return "accepted"
