"""The linker: looks at services of which something was learnt, decides, and has Datadog told where it has to be.

What it concludes goes out like everything else: as a statement in the ledger, which waits for the deployments that it
names, is retried, and can be explained. A round that is cut short is repeated from the same knowledge, with the same
ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.configuration import Configuration
from bridge.dora import ChangeFailure
from bridge.envelope import Envelope, identity
from bridge.ledger import Entry, Ledger
from bridge.linking import Decision, Detected, Policy, Verdict, decide, detected, differs, told, verdicts
from bridge.links import Links, Scene
from bridge.logs import log
from bridge.source import Endpoint, LinkingMode
from bridge.timeline import Deployed, Incident
from bridge.wakeup import Doorbell

ROUND_S = 0.5
MOST_SERVICES = 50
_LOCK_S = 10.0
_WITHOUT_KEY = "it cannot be sent without an application key (DD_APP_KEY)"
_BRIDGE = "bridge"
_OPERATOR = "operator"
"""The source of what a person had Datadog told: it stands."""


class Linker:
    """Looks at links, round by round. Errors of redis-py pass through."""

    def __init__(
        self,
        links: Links,
        ledger: Ledger,
        bell: Doorbell,
        *,
        configuration: Configuration,
        endpoints: Mapping[str, Endpoint],
        application_key: bool,
    ) -> None:
        self._links = links
        self._ledger = ledger
        self._bell = bell
        self._linking = configuration.linking
        self._endpoints = endpoints
        self._application_key = application_key
        self._policies: dict[tuple[str, bool], Policy] = {}

    async def round(self) -> None:
        """Looks at every service that is due; one process at a time does, for no longer than its lock."""
        # mostly nothing is: then no lock is taken and given back twice a second
        if not await self._links.due(most=1) or not await self._links.lock(lasts_s=_LOCK_S):
            return
        ends = time.monotonic() + _LOCK_S / 2
        try:
            while (due := await self._links.due(most=MOST_SERVICES)) and time.monotonic() < ends:
                for service, mark in due:
                    await self._look_at(service)
                    await self._links.done(service, mark)
        finally:
            await self._links.unlock()

    def policy(self, incident: Incident) -> Policy:
        """How an incident is linked: as its endpoint says, else as the section `linking` does."""
        key = (incident.endpoint, incident.explicit)
        if key not in self._policies:
            self._policies[key] = self._policy(*key)
        return self._policies[key]

    def _policy(self, name: str, explicit: bool) -> Policy:
        endpoint = self._endpoints.get(name)
        own = endpoint.options.linking if endpoint else None
        given = own.model_dump(exclude_none=True) if own else {}
        linking = self._linking.model_copy(update=given)
        mode: LinkingMode = "auto" if explicit and "mode" not in given else linking.mode
        return Policy(mode, linking, "" if self._application_key else _WITHOUT_KEY)

    async def _look_at(self, service: str) -> None:
        scene = await self._links.scene(service)
        if not scene.incidents and not scene.late:
            return
        by_id = {one.id: one for one in scene.deployments}
        # an older decision stands: seen from what is left, it would be another one. People may still change it
        live = [one for one in scene.incidents if one.override or _began(one, by_id) >= scene.horizon]
        decisions = decide(service, live, scene.deployments, self.policy)
        if self._application_key:
            await self._tell(service, scene, decisions, by_id)
        await self._links.keep(decisions, {one.id: one.started_at or 0 for one in scene.incidents})

    async def _tell(
        self, service: str, scene: Scene, decisions: Sequence[Decision], by_id: Mapping[str, Deployed]
    ) -> None:
        """Records what Datadog was not told yet."""
        rejected = {one.id for one in scene.incidents if one.override == "reject"}
        before = {incident: one for incident, one in scene.linked.items() if one in by_id}
        decided = verdicts(decisions, before, scene.deployments)
        by_itself = detected(scene.deployments, scene.late) if scene.late else {}
        wanted = {one: found.verdict for one, found in by_itself.items()} | decided
        said = await self._links.verdicts(list(wanted))
        entries = []
        for deployment, verdict in wanted.items():
            last = said.get(deployment, {})
            known = by_id.get(deployment)
            by_a_person = any(one.deployment == deployment and one.incident in rejected for one in decisions)
            if not verdict.failed and not by_a_person and (known is None or known.finished_at < scene.horizon):
                continue  # what else speaks against it may have been forgotten
            if not _is_due(verdict, last, by_itself.get(deployment), is_decided=deployment in decided):
                continue
            because = next((one for one in decisions if one.deployment == deployment), None)
            entries.append(Entry(self._statement(service, deployment, verdict, last, by_id, because)))
        if not entries:
            return
        answers, ring = await self._ledger.record(entries)
        for entry, answer in zip(entries, answers, strict=True):
            log("linking.concluded", logging.INFO, id=entry.envelope.id, reason=answer)
        if ring:
            await self._bell.ring()

    def _statement(
        self,
        service: str,
        deployment: str,
        verdict: Verdict,
        before: Mapping[str, Any],
        by_id: Mapping[str, Deployed],
        because: Decision | None,
    ) -> Envelope:
        known = by_id.get(deployment)
        fact = ChangeFailure(
            deployment_id=deployment,
            service=service,
            env=(known.env if known else because.env if because else "") or None,
            failed=verdict.failed,
            remediation_id=verdict.remedy.id if verdict.remedy else None,
            remediation_type=verdict.remedy.type if verdict.remedy else None,
            revision=int(before.get("revision", 0)) + 1,
        )
        return Envelope(
            endpoint="linking",
            source=_BRIDGE,
            kind="verdict",
            received_at=time.time_ns(),
            rule=f"linking of {because.incident}" if because else "linking",
            **identity(fact),
        )


def _is_due(verdict: Verdict, last: Mapping[str, Any], found: Detected | None, *, is_decided: bool) -> bool:
    """Whether Datadog has to be told; `last` is what it was told, `found` what it may conclude by itself."""
    by = last.get("by")
    if by == _OPERATOR or (by not in (None, _BRIDGE) and not is_decided):
        return False
    if last:
        return differs(verdict, told(last))
    return (found is not None and not found.is_clear) or (is_decided and differs(verdict, None))


def _began(incident: Incident, by_id: Mapping[str, Deployed]) -> int:
    """When it happened (ms), to tell whether all around it is known; of a deployment that is not, long ago."""
    failed = by_id.get(incident.deployment_id or incident.remediation_id) if incident.explicit else None
    return (failed.finished_at if failed else None) or incident.started_at or 0
