"""Argo CD Notifications: a sync that is in an Application's history and became healthy is a deployment.

Requests: https://argo-cd.readthedocs.io/en/stable/operator-manual/notifications/services/webhook/ (nothing is
signed, a token in a header is all). Fields: argoproj/argo-cd, pkg/apis/application/v1alpha1/types.go.

    deployed   Succeeded and Healthy    a deployment; of a rollback also a change failure of what it undid
    degraded   Succeeded and Degraded   within a day after the sync: a change failure of the last deployment, which may
                                        not have been reported
    failed     Failed or Error          ignored: nothing was deployed
    other      anything else            ignored; so is a success without health: nobody has assessed it yet

Bodies are what the user's template renders. Two are read; `origins` name fields as in the first:

    {"schema": "dora-bridge.argocd/v1", …}   our template, in deploy/argocd/
    {"app": <Application>, …}                Datadog's template for CD Visibility, to make a move easy

Argo CD writes a history entry for every sync that succeeded, rollbacks included, but not for dry runs and
partial syncs (of selected resources, or self-healing). So one history entry is one deployment, which has its
id and times from there, whatever operation came later. A notification that was lost is never sent again, but the
next one carries the last ten entries: those that are newer than the last one the ledger knows are reported too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, zip_longest
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import from_json

from bridge.dora import ChangeFailure, Deployment, Fact, Git, History
from bridge.errors import PayloadInvalid
from bridge.ids import fact_id, one_of_several
from bridge.payload import Found, Items, Many, Maybe, Object, Part, Stripped, Text, Time, as_tags, fields_of
from bridge.signatures import SharedToken
from bridge.source import Context, Options, Source, Traits, Translation, first, nothing
from bridge.times import SECOND

SCHEMA = "dora-bridge.argocd/v1"


# ---- what we read, in the words of our template; a template prints "", null, {} or [] for what an Application lacks


class ApplicationSource(Part):
    repoURL: Text = None
    path: Text = None
    chart: Text = None
    targetRevision: Text = None
    ref: Text = None
    name: Text = None
    parameters: Text = None
    """Digest of the Helm, Kustomize and plugin settings: Argo CD Image Updater may change nothing else."""

    @property
    def is_git(self) -> bool:
        """Whether manifests come from a repository: neither a chart, nor only values for other sources."""
        return bool(self.repoURL and not self.chart and (self.path or not self.ref))


class InitiatedBy(Part):
    username: Text = None
    automated: Maybe[bool] = None


class Sync(Part):
    """A history entry."""

    id: Maybe[Annotated[int, Field(strict=True, ge=0, lt=2**63)]] = None
    """Counts up from 0 in each Application."""
    revision: Text = None
    revisions: Many[Text] = ()
    """In the order of `sources`, if there are several."""
    started_at: Time = None
    deployed_at: Time = None
    initiated_by: Object[InitiatedBy] = InitiatedBy()
    sources: Many[Object[ApplicationSource]] = ()

    @property
    def parts(self) -> Sequence[tuple[ApplicationSource, str | None]]:
        """Each source with its revision: a commit, or the version of a chart."""
        revisions = self.revisions or (self.revision,)
        return [(source or ApplicationSource(), revision) for source, revision in zip_longest(self.sources, revisions)]

    def deploys_the_same_as(self, other: Sync) -> bool:
        return any(revision for _, revision in self.parts) and self._content == other._content

    @property
    def _content(self) -> object:
        # a commit is the same in whatever repository; the same version of a chart may be another chart
        return [
            (
                revision,
                source.path,
                source.parameters,
                source.chart and (source.chart, source.repoURL, source.targetRevision),
            )
            for source, revision in self.parts
        ]


class Operation(Part):
    """The last sync, whatever became of it."""

    phase: Text = None
    started_at: Time = None
    finished_at: Time = None
    revision: Text = None
    revisions: Many[Text] = ()
    initiated_by: Object[InitiatedBy] = InitiatedBy()
    partial: Maybe[bool] = None


class Health(Part):
    status: Text = None
    lastTransitionTime: Time = None
    """Missing before Argo CD 3.0."""


class Destination(Part):
    server: Text = None
    name: Text = None
    namespace: Text = None


class Application(Part):
    name: Text = None
    uid: Text = None
    project: Text = None
    labels: Object[dict[str, Text]] = Field({})
    annotations: Object[dict[str, Text]] = Field({})
    destination: Object[Destination] = Destination()
    sources: Many[Object[ApplicationSource]] = ()
    deleting: Maybe[bool] = None


class Hydrated(Part):
    """The last work of the source hydrator: the dry commit is the change, the hydrated one its manifests."""

    drySHA: Text = None
    hydratedSHA: Text = None


class Notification(Part):
    application: Object[Application] = Application()
    health: Object[Health] = Health()
    images: Items[Stripped] = ()
    operation: Object[Operation] = Operation()
    dry_source: Object[ApplicationSource] = ApplicationSource()
    hydrated: Object[Hydrated] = Hydrated()
    history: Many[Object[Sync]] = ()
    """Oldest first, usually the last ten; none at all with `revisionHistoryLimit: 0`."""

    @model_validator(mode="before")
    @classmethod
    def _of_either_template(cls, body: Any) -> Any:
        return _in_our_schema(body)


class ArgoCDOptions(Options):
    ignore_older_than_hours: float = Field(
        24,
        ge=0,
        description="Ignore deployments that finished longer ago; 0 never ignores. A first subscription sends"
        " the last deployment of every application, however old",
    )
    git: Literal["app", "config", "none"] = Field(
        "app",
        description="Whose commit is sent: the application's (from annotations or the source hydrator),"
        " that of the configuration repository, or none",
    )
    config_source: Annotated[int, Field(ge=0)] | str | None = Field(
        None,
        description="With git: config, name or index of the source; by default the first one with a commit",
    )
    redeploys: Literal["skip", "send"] = Field(
        "skip", description="Whether a sync of the revision that was already deployed counts as a deployment"
    )


def translate(event: Notification, context: Context) -> Translation:
    """What one notification says of the last deployment of its Application."""
    subject = _subject(event.application, context)
    traits = _traits(event, subject)
    condition = _condition(event.operation.phase, event.health.status)
    if condition == "failed":
        return nothing("the sync failed: nothing was deployed", traits)
    if condition == "other":
        return nothing("the application is neither healthy nor degraded after a successful sync", traits)
    if condition == "degraded" and event.application.deleting:
        return nothing("the application is being deleted", traits)
    if event.operation.partial and not event.history:
        return nothing("only some resources were synced, which is no deployment", traits)
    if not event.application.uid:
        raise PayloadInvalid("application.uid is missing")
    if not subject.services:
        raise PayloadInvalid("application.name is missing, and nothing else names the service")

    deployed = _deployed(event)
    skips = context.options.redeploys == "skip"
    missed = list(_missed(event, context.options, subject, deployed, skips=skips))
    facts: list[Fact]
    if condition == "degraded":
        failed = _identified(_first_of_the_same(deployed) if skips else deployed[-1])
        deployed_at = failed.sync.deployed_at or event.operation.finished_at
        at = event.health.lastTransitionTime or deployed_at
        if at is not None and deployed_at is not None and at > deployed_at + _DAY:
            return nothing("it degraded more than a day after the sync: something else than the change", traits)
        facts = [*_change_failures(subject, failed, at=at), *missed]
        if _has_times(failed) or (event.operation.finished_at is not None and failed.place == "operation"):
            facts = [*_deployments(event, context.options, subject, failed, role="implied"), *facts]
        return Translation(facts=facts, traits=traits)

    last = _identified(deployed[-1])
    if skips and len(deployed) > 1 and last.sync.deploys_the_same_as(deployed[-2].sync):
        return Translation(facts=missed, ignored="the same revision was synced again", traits=traits)

    undone = _undone(deployed)
    facts = [*_deployments(event, context.options, subject, last, is_rollback=undone is not None)]
    if undone:
        facts += _change_failures(subject, undone, remedied_by=last)
    return Translation(facts=[*facts, *missed], traits=traits)


# ---- which sync of the history


@dataclass(frozen=True, slots=True)
class _Deployed:
    """A sync that deployed, and where it stands in the notification."""

    sync: Sync
    place: str


def _deployed(event: Notification) -> Sequence[_Deployed]:
    """The history, oldest first; without one, the operation stands for the last deployment."""
    if event.history:
        size = len(event.history)
        return [_Deployed(sync, f"history[{position - size}]") for position, sync in enumerate(event.history)]
    operation = event.operation
    if operation.started_at is None:
        raise PayloadInvalid("operation.started_at is missing, and there is no history")
    sync = Sync.model_construct(
        started_at=operation.started_at,
        revision=operation.revision,
        revisions=operation.revisions,
        initiated_by=operation.initiated_by,
        sources=event.application.sources,
    )
    return [_Deployed(sync, "operation")]


def _identified(deployed: _Deployed) -> _Deployed:
    """The same. Raises PayloadInvalid if it has no number to make an id of."""
    if deployed.sync.id is None and deployed.place != "operation":
        raise PayloadInvalid(f"{deployed.place}.id is missing")
    return deployed


def _first_of_the_same(deployed: Sequence[_Deployed]) -> _Deployed:
    """The deployment that brought what is live: later syncs of the same were not sent (`redeploys: skip`)."""
    first_one = deployed[-1]
    for earlier in reversed(deployed[:-1]):
        if not earlier.sync.deploys_the_same_as(first_one.sync):
            break
        first_one = earlier
    return first_one


def _undone(deployed: Sequence[_Deployed]) -> _Deployed | None:
    """The deployment that the last one rolled back, if it did. Of V1, V2, V3, V1 it is V2, as for Datadog."""
    last = deployed[-1].sync
    if len(deployed) < 3 or last.deploys_the_same_as(deployed[-2].sync):
        return None
    for earlier, follower in reversed(list(pairwise(deployed[:-1]))):
        if earlier.sync.deploys_the_same_as(last):
            # the follower differs, so it is no redeployment that was skipped
            return follower if follower.sync.id is not None else None
    return None


# ---- facts


@dataclass(frozen=True, slots=True)
class _Subject:
    """What all facts of one notification are about."""

    uid: str
    instance: str
    services: tuple[str, ...]
    service_place: str
    env: tuple[str | None, str]

    def id_of_one(self, deployed: _Deployed) -> str:
        """The id of the deployment if it concerns one service."""
        sync = deployed.sync
        number = f"{sync.id:06d}" if sync.id is not None else f"t{(sync.started_at or 0) // SECOND}"
        return fact_id("argo", self.uid, number, instance=self.instance)

    def twin_of(self, deployed: _Deployed) -> str:
        """The same if this concerns several; else empty."""
        return self.id_of_one(deployed) if len(self.services) > 1 else ""

    def id_of(self, deployed: _Deployed, service: str) -> tuple[str, str]:
        field = "started_at" if deployed.sync.id is None else "id"
        identifier = self.id_of_one(deployed)
        if len(self.services) > 1:
            identifier = one_of_several(identifier, service)
        return identifier, f"application.uid and {deployed.place}.{field}"


def _missed(
    event: Notification, options: ArgoCDOptions, subject: _Subject, deployed: Sequence[_Deployed], *, skips: bool
) -> Iterator[Fact]:
    """What came before in the history, newest first: reported where the ledger knows an older entry, and none newer.

    Annotations, images, hydrator and health are of today: what they say of a version is not said of these.
    """
    annotations = _without_version(event.application.annotations)
    then = event.model_copy(
        update={
            "application": event.application.model_copy(update={"annotations": annotations}),
            "health": Health(),
            "images": (),
            "operation": Operation(),
            "hydrated": Hydrated(),
        }
    )
    for earlier, one in reversed(list(pairwise([None, *deployed[:-1]]))):
        if one is None or one.sync.id is None or not _has_times(one):
            continue
        if skips and earlier is not None and one.sync.deploys_the_same_as(earlier.sync):
            continue
        yield from _deployments(then, options, subject, one, role="missed")
        undone = _undone(deployed[: deployed.index(one) + 1])
        if undone:
            history = History(_history_of(subject), one.sync.id, "missed")
            yield from _change_failures(subject, undone, remedied_by=one, history=history)


def _history_of(subject: _Subject) -> str:
    return fact_id("argo", subject.uid, instance=subject.instance)


def _has_times(deployed: _Deployed) -> bool:
    return deployed.sync.started_at is not None and deployed.sync.deployed_at is not None


def _deployments(
    event: Notification,
    options: ArgoCDOptions,
    subject: _Subject,
    deployed: _Deployed,
    *,
    is_rollback: bool = False,
    role: Literal["", "implied", "missed"] = "",
) -> Iterator[Deployment]:
    """The deployment, once for each of the services."""
    sync = deployed.sync
    # the operation says something of this sync only if it is the one that made the entry
    operation = event.operation if _made(event.operation, sync) else Operation()
    started_at, start_place = sync.started_at, f"{deployed.place}.started_at"
    if started_at is None:
        started_at, start_place = operation.started_at, "operation.started_at"
    if started_at is None:
        raise PayloadInvalid(f"{deployed.place}.started_at is missing")
    finished_at, finish_place = _finish(deployed, event.health, operation)
    if finished_at is None:
        raise PayloadInvalid(f"{deployed.place}.deployed_at and operation.finished_at are missing")

    annotations = event.application.annotations
    by = sync.initiated_by if sync.initiated_by.username or sync.initiated_by.automated else operation.initiated_by
    if is_rollback and not by.automated:
        # a rollback by hand leaves the Application as it is: this is still said of the version it undid
        annotations = _without_version(annotations)
    custom_tags = _custom_tags(event.application, by)
    git = _git(event, sync, annotations, options)
    name = _history_of(subject)
    # without numbers in the history, a numbering of its own
    history = History(*((name, sync.id) if sync.id is not None else (f"{name}-t", started_at // SECOND)), role)
    for service in subject.services:
        found: Found = {
            "id": subject.id_of(deployed, service),
            "service": (service, subject.service_place),
            "env": subject.env,
            "started_at": (started_at, start_place),
            "finished_at": (finished_at, finish_place),
            "version": _version(event, sync, annotations, service),
            "team": _team(event.application),
            "git": git,
        }
        yield Deployment(
            **fields_of(found),
            custom_tags=custom_tags,
            history=history,
            twin=subject.twin_of(deployed),
            version_as=partial(_version, event, sync, annotations),
        )


def _change_failures(
    subject: _Subject,
    failed: _Deployed,
    remedied_by: _Deployed | None = None,
    at: int | None = None,
    history: History | None = None,
) -> Iterator[ChangeFailure]:
    for service in subject.services:
        found: Found = {
            "deployment_id": subject.id_of(failed, service),
            "service": (service, subject.service_place),
            "env": subject.env,
            "remediation_id": subject.id_of(remedied_by, service) if remedied_by else (None, ""),
            "remediation_type": ("rollback" if remedied_by else None, ""),
        }
        yield ChangeFailure(
            **fields_of(found),
            at=at,
            history=history,
            twin=subject.twin_of(failed),
            remediation_twin=subject.twin_of(remedied_by) if remedied_by else "",
        )


# ---- their fields


def _subject(application: Application, context: Context) -> _Subject:
    annotations, labels = application.annotations, application.labels
    listed = (name.strip() for name in (annotations.get("dora-bridge/services") or "").split(","))
    services, place = tuple(dict.fromkeys(filter(None, listed))), "application.annotations.dora-bridge/services"
    if not services:
        service, place = first(
            (annotations.get("dd_service"), "application.annotations.dd_service"),
            (annotations.get("dora-bridge/service"), "application.annotations.dora-bridge/service"),
            (labels.get("tags.datadoghq.com/service"), "application.labels.tags.datadoghq.com/service"),
            (labels.get("app.kubernetes.io/name"), "application.labels.app.kubernetes.io/name"),
            (application.name, "application.name"),
        )
        services = (service,) if service else ()
    env = first(
        (annotations.get("dd_env"), "application.annotations.dd_env"),
        (annotations.get("dora-bridge/env"), "application.annotations.dora-bridge/env"),
        (labels.get("tags.datadoghq.com/env"), "application.labels.tags.datadoghq.com/env"),
        (context.headers.get("dd_env"), "header dd_env"),
        (context.query.get("env"), "query env"),
    )
    return _Subject(application.uid or "", context.options.instance, services, place, env)


def _traits(event: Notification, subject: _Subject) -> Traits:
    application = event.application
    sources = (*application.sources, *(event.history[-1].sources if event.history else ()))
    repository = next((_https(source.repoURL) for source in sources if source.is_git), None) or ""
    place = {
        "project": application.project,
        "namespace": application.destination.namespace,
        "cluster": application.destination.name or application.destination.server,
    }
    return {
        "application": application.name,
        "service": subject.services,
        "environment": subject.env[0],
        "team": _team(application)[0],
        "repository": "/".join(repository.split("/")[3:]) or None,
        "branch": next((source.targetRevision for source in sources if source.targetRevision), None),
        "labels": tuple(f"{key}={value}" for key, value in [*application.labels.items(), *place.items()] if value),
    }


def _made(operation: Operation, sync: Sync) -> bool:
    """Whether this operation wrote the entry, as far as the times tell: it may be a later, partial one."""
    return (
        not operation.partial
        and operation.started_at is not None
        and sync.started_at in (None, operation.started_at)
        and (sync.deployed_at is None or operation.started_at <= sync.deployed_at)
    )


_DAY = 24 * 3600 * SECOND


def _finish(deployed: _Deployed, health: Health, operation: Operation) -> tuple[int | None, str]:
    """When the rollout was healthy; if that is not known, when the sync was done."""
    deployed_at, healthy_at = deployed.sync.deployed_at, health.lastTransitionTime
    if deployed_at is None:
        return operation.finished_at, "operation.finished_at"
    # earlier: the health was not affected; much later: something else than this deployment changed it
    is_healthy = health.status == "Healthy"
    if is_healthy and healthy_at is not None and deployed_at <= healthy_at <= deployed_at + _DAY:
        return healthy_at, "health.lastTransitionTime"
    return deployed_at, f"{deployed.place}.deployed_at"


_SAID_OF_A_VERSION = {"dora-bridge/version", "dora-bridge/commit-sha", "dora-bridge/repository-url"}


def _without_version(annotations: Mapping[str, str | None]) -> dict[str, str | None]:
    return {key: value for key, value in annotations.items() if key not in _SAID_OF_A_VERSION}


def _git(
    event: Notification, sync: Sync, annotations: Mapping[str, str | None], options: ArgoCDOptions
) -> tuple[Git | None, str]:
    """The application's commit. That of the configuration repository only if asked for.

    Sent as `git`, it would give every change the lead time of a version bump, and hide rollbacks.
    """
    if options.git == "none":
        return None, ""
    if options.git == "config":
        return _config_commit(sync, options.config_source)

    git = _commit(annotations.get("dora-bridge/commit-sha"), annotations.get("dora-bridge/repository-url"))
    if git:
        return git, "application.annotations.dora-bridge/commit-sha and repository-url"
    # the hydrator may be ahead of what was synced
    if event.hydrated.hydratedSHA in (None, *(revision for _, revision in sync.parts)):
        git = _commit(event.hydrated.drySHA, event.dry_source.repoURL)
    return git, "hydrated.drySHA and dry_source.repoURL" if git else ""


def _config_commit(sync: Sync, wanted: int | str | None) -> tuple[Git | None, str]:
    for position, (source, revision) in enumerate(sync.parts):
        git = _commit(revision, source.repoURL) if source.is_git else None
        if git and (wanted is None or wanted in (position, str(position), source.name)):
            return git, f"the revision and repoURL of source {position}"
    return None, ""


_COMMIT = re.compile(r"[0-9a-fA-F]{40,64}", re.ASCII)


def _commit(sha: str | None, repository: str | None) -> Git | None:
    url = _https(repository)
    return Git(sha, url) if sha and url and _COMMIT.fullmatch(sha) else None


_URL = re.compile(r"(https?|ssh)://(?:[^/]*@)?([^/@:\s]+)(:\d+)?/+([^@?#\s]+)", re.ASCII)
_SCP = re.compile(r"[^/@:\s]+@([^/@:\s]+):/*([^@?#\s]+)", re.ASCII)


def _https(repository: str | None) -> str | None:
    """`https://host/owner/name` without credentials, however the URL is written; None for other addresses."""
    if url := _URL.fullmatch(repository or ""):
        scheme, host, port, path = url.groups()
        host += port if port and scheme != "ssh" else ""
    elif scp := _SCP.fullmatch(repository or ""):
        host, path = scp.groups()
    else:
        return None
    return f"https://{host}/{path.strip('/').removesuffix('.git')}"


def _version(
    event: Notification, sync: Sync, annotations: Mapping[str, str | None], service: str
) -> tuple[str | None, str]:
    if version := annotations.get("dora-bridge/version"):
        return version, "application.annotations.dora-bridge/version"

    images = _named_like(service, [_name_and_tag(image) for image in event.images])
    tags = {tag for _, tag in images if tag}
    if tags:
        # two versions are live, or two things: neither is the version
        return (tags.pop(), "images") if len(tags) == 1 else (None, "")

    charts = [(part.chart, _chart_version(part, revision)) for part, revision in sync.parts if part.chart]
    versions = {version for _, version in _named_like(service, charts) or charts if version}
    return (versions.pop(), "the chart's revision") if len(versions) == 1 else (None, "")


def _named_like(service: str, things: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, str | None]]:
    """Of pairs with a name: those named exactly like the service; else those whose name contains it."""
    service = service.lower()
    exactly = [thing for thing in things if thing[0].lower() == service]
    return exactly or [thing for thing in things if service in thing[0].lower()]


def _name_and_tag(image: str) -> tuple[str, str | None]:
    """`shop`, `1.4.2` of `host:5000/team/shop:1.4.2@sha256:…`; no tag if it says nothing of the version."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return name, tag if tag and tag != "latest" else None


_EXACT_VERSION = re.compile(r"v?\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?", re.ASCII)  # unlike 1.2, ~1.2.3 or 1.x


def _chart_version(source: ApplicationSource, revision: str | None) -> str | None:
    candidates = (revision, source.targetRevision)
    return next((text for text in candidates if text and _EXACT_VERSION.fullmatch(text)), None)


def _stated_tags(application: Application) -> Sequence[str]:
    stated = (application.annotations.get("dd_customtags") or "").split(",")
    pairs = [(tag.strip(), *tag.partition(":")) for tag in stated]
    return [tag for tag, key, _, value in pairs if key.strip() and value.strip()]


def _team(application: Application) -> tuple[str | None, str]:
    in_tags = next((tag for tag in _stated_tags(application) if tag.startswith("team:")), "")
    return first(
        (application.annotations.get("dora-bridge/team"), "application.annotations.dora-bridge/team"),
        (in_tags.removeprefix("team:"), "application.annotations.dd_customtags"),
    )


def _custom_tags(application: Application, initiated_by: InitiatedBy) -> tuple[str, ...]:
    ours = as_tags(
        argocd_app=application.name,
        argocd_project=application.project,
        argocd_initiated_by=initiated_by.username or ("automated" if initiated_by.automated else None),
    )
    return tuple(dict.fromkeys((*_stated_tags(application), *ours)))


# ---- bodies


def _condition(phase: object, health: object) -> str:
    if phase in ("Failed", "Error"):
        return "failed"
    if phase == "Succeeded" and health in ("Healthy", "Degraded"):
        return "deployed" if health == "Healthy" else "degraded"
    return "other"


def _condition_of(document: dict[str, Any]) -> str:
    return _condition(_at(document, "operation", "phase"), _at(document, "health", "status"))


def _document(body: bytes) -> dict[str, Any]:
    try:
        return _in_our_schema(from_json(body))
    except ValueError as error:
        hint = "has the template a section webhook.<name of the service>?"
        raise PayloadInvalid(f"the body is not JSON: {hint}") from error


def _in_our_schema(document: object) -> dict[str, Any]:
    """The body as our template renders it. Raises PayloadInvalid for bodies of unknown templates."""
    schema, application = _at(document, "schema"), _at(document, "app")
    if isinstance(document, dict) and schema == SCHEMA:
        return document
    if not schema and isinstance(application, dict):
        return _from_application(application)
    problem = "schema is not one that is read" if schema else "there is no schema"
    raise PayloadInvalid(f'{problem}: expected "{SCHEMA}", or an object app with the Application')


def _from_application(app: dict[str, Any]) -> dict[str, Any]:
    status = _at(app, "status")
    operation = _at(status, "operationState")
    history = _at(status, "history")
    return {
        "application": {
            "name": _at(app, "metadata", "name"),
            "uid": _at(app, "metadata", "uid"),
            "project": _at(app, "spec", "project"),
            "labels": _at(app, "metadata", "labels"),
            "annotations": _at(app, "metadata", "annotations"),
            "destination": _at(app, "spec", "destination"),
            "sources": _sources(_at(app, "spec")),
            "deleting": bool(_at(app, "metadata", "deletionTimestamp")),
        },
        "health": _at(status, "health"),
        "images": _at(status, "summary", "images"),
        "operation": {
            "phase": _at(operation, "phase"),
            "started_at": _at(operation, "startedAt"),
            "finished_at": _at(operation, "finishedAt"),
            "revision": _at(operation, "syncResult", "revision"),
            "revisions": _at(operation, "syncResult", "revisions"),
            "initiated_by": _at(operation, "operation", "initiatedBy"),
            "partial": bool(_at(operation, "operation", "sync", "resources")),
        },
        "dry_source": _at(app, "spec", "sourceHydrator", "drySource"),
        "hydrated": _at(status, "sourceHydrator", "lastSuccessfulOperation"),
        "history": [
            {
                "id": _at(entry, "id"),
                "revision": _at(entry, "revision"),
                "revisions": _at(entry, "revisions"),
                "started_at": _at(entry, "deployStartedAt"),
                "deployed_at": _at(entry, "deployedAt"),
                "initiated_by": _at(entry, "initiatedBy"),
                "sources": _sources(entry),
            }
            for entry in (history if isinstance(history, list) else [])
        ],
    }


def _sources(owner: object) -> list[object]:
    """Of an Application's spec or a history entry; beside several sources there is an empty single one."""
    sources = _at(owner, "sources") or [_at(owner, "source")]
    return [_source(source) for source in sources] if isinstance(sources, list) else []


def _source(source: object) -> dict[str, Any]:
    if not isinstance(source, dict):
        return {}
    settings = [source.get(key) for key in ("helm", "kustomize", "directory", "plugin")]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    return {**source, "parameters": digest}


def _at(document: object, *path: str) -> Any:
    """What is at the end of the path, None if the path breaks off."""
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def kind(headers: Mapping[str, str], body: bytes) -> str:
    """The trigger's name is not in the body, so it is told from the state."""
    return _condition_of(_document(body))


def delivery_id(headers: Mapping[str, str], body: bytes) -> str | None:
    """Argo CD has none; this is the same for each notification of one condition of one deployment."""
    try:
        document = _document(body)
        uid, history = _at(document, "application", "uid"), _at(document, "history")
        number = _at(history[-1], "id") if isinstance(history, list) and history else None
        started_at = _at(document, "operation", "started_at")
        if not isinstance(uid, str) or isinstance(number, dict | list) or isinstance(started_at, dict | list):
            return None
        return f"{uid}-{number}-{_condition_of(document)}-{started_at}" if uid else None
    except (PayloadInvalid, ValueError):
        return None


_MATCHABLE = frozenset({"application", "repository", "branch", "environment", "service", "team", "labels"})


SOURCE = Source(
    name="argocd",
    scheme=SharedToken(),
    kind=kind,
    models=dict.fromkeys(("deployed", "degraded", "failed", "other"), Notification),
    translate=translate,
    delivery_id=delivery_id,
    headers=lambda body, kind: {"content-type": "application/json"},
    matchable=lambda options: dict.fromkeys(("deployed", "degraded"), _MATCHABLE),
    options=ArgoCDOptions,
)
