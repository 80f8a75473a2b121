"""GitHub: webhooks of repositories, organizations and Apps, on github.com and on Enterprise Server.

Payloads: https://docs.github.com/en/webhooks/webhook-events-and-payloads
Signature: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries

    deployment_status   success                    Deployment, and ChangeFailure if it tells what it undoes
    workflow_run        completed with success     Deployment, if `deployments_from` lists it
    release             published                  Deployment, if `deployments_from` lists it
    issues              opened, labeled, closed    Failure, if `failures_from` lists it
                        reopened                   another Failure, from then on
                        edited, labeled            the open failure again with its new title or severity, by options
                        labeled not-a-change       no deployment is to be blamed for it; unlabeled: one may be
    any other           ping, push, …              ignored

GitHub adds states, actions and fields over time, and leaves out or nulls most of what it documents.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, StrictBool
from pydantic_core import from_json

from bridge.dora import NOT_A_CHANGE_TAG, SEND_AS, ChangeFailure, Deployment, Failure, Git, Occurrence, SendAs
from bridge.errors import PayloadInvalid
from bridge.ids import fact_id
from bridge.payload import Found, Items, Maybe, Object, Part, StrippedOrNumber, Text, Time, as_tags, fields_of
from bridge.severity import severity
from bridge.signatures import HmacSha256
from bridge.source import API_URL, NOT_A_CHANGE, Context, Mark, Options, Source, Translation, first, nothing
from bridge.times import SECOND

# ---- what we read of the payloads, in GitHub's words


Number = Annotated[int, Field(strict=True, gt=0, lt=2**63)]


def _decoded(value: object) -> object:
    return from_json(value) if isinstance(value, str) else value


def _digits_as_number(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


class Repository(Part):
    id: Number
    name: Text = None
    full_name: Text = None
    html_url: Text = None
    clone_url: Text = None
    default_branch: Text = None


class Payload(Part):
    """`deployment.payload`: what the creator of the deployment put there; these names are our convention."""

    service: Text = None
    version: Maybe[StrippedOrNumber] = None
    team: Text = None
    rollback: Maybe[StrictBool] = None
    rollback_of: Maybe[Annotated[Number, BeforeValidator(_digits_as_number)]] = None
    """Id of the deployment that this one undoes."""


class Creator(Part):
    login: Text = None


class GitHubDeployment(Part):
    id: Number
    sha: Text = None
    ref: Text = None
    task: Text = None
    payload: Maybe[Annotated[Payload, BeforeValidator(_decoded)]] = None
    """An object, or the JSON text of one, or null."""
    environment: Text = None
    original_environment: Text = None
    transient_environment: Maybe[StrictBool] = None
    created_at: Time = None
    creator: Object[Creator] = Creator()


class DeploymentStatus(Part):
    state: Text = None
    environment: Text = None
    created_at: Time = None


class CheckRun(Part):
    started_at: Time = None


class Workflow(Part):
    path: Text = None


class Run(Part):
    id: Number
    path: Text = None


class DeploymentStatusEvent(Part):
    deployment: GitHubDeployment
    deployment_status: DeploymentStatus
    repository: Repository
    check_run: Object[CheckRun] = CheckRun()
    """The job that deployed. Null, like the next two, if that was not GitHub Actions."""
    workflow: Object[Workflow] = Workflow()
    workflow_run: Maybe[Run] = None


class HeadRepository(Part):
    id: Maybe[Number] = None


class WorkflowRun(Run):
    run_attempt: Maybe[Number] = None
    event: Text = None
    conclusion: Text = None
    head_sha: Text = None
    head_branch: Text = None
    head_repository: Maybe[HeadRepository] = None
    created_at: Time = None
    """When the first attempt was created."""
    run_started_at: Time = None
    """When this attempt started."""
    updated_at: Time = None


class WorkflowRunEvent(Part):
    action: Text = None
    workflow_run: WorkflowRun
    workflow: Object[Workflow] = Workflow()
    repository: Repository


class Release(Part):
    id: Number
    tag_name: Text = None
    target_commitish: Text = None
    """A commit or, more often, the name of a branch."""
    draft: Maybe[StrictBool] = None
    prerelease: Maybe[StrictBool] = None
    published_at: Time = None


class ReleaseEvent(Part):
    action: Text = None
    release: Release
    repository: Repository


class Label(Part):
    name: Text = None


class Issue(Part):
    id: Number
    title: Text = None
    body: Text = None
    labels: Items[Label] = ()
    pull_request: Any = None
    """Not null if the issue is a pull request."""
    created_at: Time = None
    updated_at: Time = None
    closed_at: Time = None


class Changes(Part):
    title: Any = None
    """Not null if the title was changed."""


class IssuesEvent(Part):
    action: Text = None
    issue: Issue
    label: Object[Label] = Label()
    """The label that this is about."""
    changes: Object[Changes] = Changes()
    repository: Repository


HOOK = r"^(repos/[\w.-]+/[\w.-]+/hooks/\d+|orgs/[\w.-]+/hooks/\d+|app/hook)$"


class GitHubOptions(Options):
    deployments_from: tuple[Literal["deployment_status", "workflow_run", "release"], ...] = Field(
        ("deployment_status",),
        description="Events that are deployments; two kinds about the same roll-outs would count them twice",
    )
    workflows: tuple[str, ...] = Field(
        (), description="With workflow_run: globs of the paths of workflows that deploy; empty means all"
    )
    failures_from: tuple[Literal["issues"], ...] = Field((), description="Events that are failures")
    incident_labels: tuple[str, ...] = Field(
        ("incident",), description="With issues: labels, any of which makes one a failure; case is ignored"
    )
    priority_updates: Literal["ignore", "send"] = Field(
        "ignore", description="Whether a label like sev-1 that comes later is sent as the severity of the open failure"
    )
    title_updates: Literal["ignore", "send"] = Field(
        "ignore", description="Whether a changed title is sent as the title of the open failure"
    )
    send_as: SendAs = Field("failure", description=SEND_AS)
    hooks: tuple[Annotated[str, Field(pattern=HOOK)], ...] = Field(
        (),
        description="Hooks whose failed deliveries are asked for again, with a token: repos/acme/shop/hooks/123,"
        " orgs/acme/hooks/4 or app/hook",
    )
    api_url: str = Field(
        "https://api.github.com",
        pattern=API_URL,
        description="Where catching up finds the API; of an Enterprise Server https://HOST/api/v3",
    )


# ---- what they say


def translate(
    event: DeploymentStatusEvent | WorkflowRunEvent | ReleaseEvent | IssuesEvent, context: Context
) -> Translation:
    """What one event says, if the options of its endpoint ask for events of its kind."""
    options: GitHubOptions = context.options
    match event:
        case DeploymentStatusEvent() if "deployment_status" in options.deployments_from:
            return _deployment_status(event, context)
        case WorkflowRunEvent() if "workflow_run" in options.deployments_from:
            return _workflow_run(event, context)
        case ReleaseEvent() if "release" in options.deployments_from:
            return _release(event, context)
        case IssuesEvent() if "issues" in options.failures_from:
            return _issues(event, context)
        case IssuesEvent():
            return nothing("failures_from of this endpoint does not list issues")
        case _:
            return nothing("deployments_from of this endpoint does not list this kind of event")


_OTHER_STATES = {"error", "failure", "in_progress", "queued", "pending", "waiting", "inactive"}


def _deployment_status(event: DeploymentStatusEvent, context: Context) -> Translation:
    deployment, status, repository = event.deployment, event.deployment_status, event.repository
    payload = deployment.payload or Payload()
    if status.state != "success":
        state = status.state if status.state in _OTHER_STATES else "unknown"
        return nothing(f"deployment_status.state is {state}; only success is a deployment")
    if deployment.transient_environment:
        return nothing("deployment.transient_environment is true: a preview, which comes and goes")

    environment, environment_at = first(
        (deployment.environment, "deployment.environment"),
        (deployment.original_environment, "deployment.original_environment"),
        (status.environment, "deployment_status.environment"),
    )
    found: Found = {
        "id": (_id(context, "dep", repository, f"{deployment.id:012d}"), "repository.id, deployment.id"),
        "service": _needed((payload.service, "deployment.payload.service"), (repository.name, "repository.name")),
        "env": _env(context, environment, environment_at),
        "started_at": _start(event),
        "finished_at": _needed((status.created_at, "deployment_status.created_at")),
        "version": first(
            (payload.version, "deployment.payload.version"),
            (_version(deployment.ref, repository), "deployment.ref"),
        ),
        "team": (payload.team, "deployment.payload.team"),
        "git": _git(deployment.sha, "deployment.sha", repository),
    }
    task = deployment.task or ""
    undone = payload.rollback_of if payload.rollback_of != deployment.id else None
    rollback = undone or payload.rollback or task.startswith("rollback") or task.endswith(":rollback")
    deployed = Deployment(
        **fields_of(found),
        custom_tags=as_tags(
            github_environment=environment,
            github_actor=deployment.creator.login,
            github_run_id=event.workflow_run.id if event.workflow_run else None,
            ref=deployment.ref,
            rollback="true" if rollback else None,
        ),
    )
    traits = {
        "repository": repository.full_name,
        "environment": environment or deployed.env,
        "workflow": _workflow(event.workflow_run, event.workflow),
        "branch": deployment.ref and deployment.ref.removeprefix("refs/heads/"),
        "service": deployed.service,
        "team": deployed.team,
    }
    if undone is None:
        return Translation([deployed], traits=traits)
    failed: Found = {
        "deployment_id": (
            _id(context, "dep", repository, f"{undone:012d}"),
            "repository.id, deployment.payload.rollback_of",
        ),
        "remediation_id": found["id"],
        "remediation_type": ("rollback", "deployment.payload.rollback_of"),
        "service": found["service"],
        "env": found["env"],
    }
    return Translation([deployed, ChangeFailure(**fields_of(failed))], traits=traits)


def _start(event: DeploymentStatusEvent) -> tuple[int, str]:
    """When the job that deployed began: `created_at` comes before any approval, which can take days."""
    job = (event.check_run.started_at, "check_run.started_at")
    created = (event.deployment.created_at, "deployment.created_at")
    # noted in whole seconds, on two machines: a short job may seem to begin after its end
    too_late = (job[0] or 0) > (event.deployment_status.created_at or 0)
    return _needed(created, job) if too_late else _needed(job, created)


def _workflow_run(event: WorkflowRunEvent, context: Context) -> Translation:
    run, repository = event.workflow_run, event.repository
    workflow = _workflow(run, event.workflow)
    globs = context.options.workflows
    if event.action != "completed" or run.conclusion != "success":  # the one can come without the other
        return nothing("only a run that is completed with conclusion success is a deployment")
    if (run.event or "").startswith("pull_request"):
        return nothing("a run for a pull request is no deployment: its commit is not merged")
    if globs and not any(fnmatchcase(workflow or "", glob) for glob in globs):
        return nothing("workflows of this endpoint does not list the workflow of this run")

    attempt, _ = _needed((run.run_attempt, "workflow_run.run_attempt"))
    created_at = run.created_at if attempt == 1 else None
    of_fork = run.head_repository is not None and run.head_repository.id != repository.id
    found: Found = {
        "id": (
            _id(context, "run", repository, f"{run.id:012d}", str(attempt)),
            "repository.id, workflow_run.id, workflow_run.run_attempt",
        ),
        "service": _needed((repository.name, "repository.name")),
        "env": _env(context),
        "started_at": _needed(
            (run.run_started_at, "workflow_run.run_started_at"), (created_at, "workflow_run.created_at")
        ),
        "finished_at": _needed((run.updated_at, "workflow_run.updated_at")),
        "version": (_version(run.head_branch, repository), "workflow_run.head_branch"),
        "git": _git(None if of_fork else run.head_sha, "workflow_run.head_sha", repository),
    }
    deployed = Deployment(**fields_of(found))
    traits = {
        "repository": repository.full_name,
        "environment": deployed.env,
        "workflow": workflow,
        "branch": run.head_branch,
        "service": deployed.service,
    }
    return Translation([deployed], traits=traits)


def _release(event: ReleaseEvent, context: Context) -> Translation:
    release, repository = event.release, event.repository
    if event.action != "published":  # GitHub says `released` too, of the same release
        return nothing("only a release that is published is a deployment")
    if release.draft or release.prerelease:
        return nothing("a draft or pre-release is no deployment")

    published_at = _needed((release.published_at, "release.published_at"))
    found: Found = {
        "id": (_id(context, "rel", repository, f"{release.id:012d}"), "repository.id, release.id"),
        "service": _needed((repository.name, "repository.name")),
        "env": _env(context),
        "started_at": published_at,
        "finished_at": published_at,
        "version": (release.tag_name, "release.tag_name"),
        "git": _git(release.target_commitish, "release.target_commitish", repository),
    }
    deployed = Deployment(**fields_of(found))
    traits = {
        "repository": repository.full_name,
        "environment": deployed.env,
        "service": deployed.service,
    }
    return Translation([deployed], traits=traits)


def _issues(event: IssuesEvent, context: Context) -> Translation:
    issue, repository = event.issue, event.repository
    labels = tuple(label.name for label in issue.labels if label.name)
    is_renamed = event.action == "edited" and event.changes.title is not None
    is_marked = event.action in ("labeled", "unlabeled") and _is_no_change([event.label.name or ""])
    if event.action not in ("opened", "labeled", "closed", "reopened") and not is_renamed and not is_marked:
        return nothing("only an issue that is opened, labeled, closed or reopened says something about a failure")
    if issue.pull_request is not None:
        return nothing("a pull request is no failure")
    if {label.casefold() for label in labels}.isdisjoint(map(str.casefold, context.options.incident_labels)):
        return nothing("the issue has none of the incident_labels of this endpoint")

    # also there if an issue is labeled that was closed before
    closed_at = None if event.action == "reopened" else issue.closed_at
    if event.action == "closed":
        closed_at, _ = _needed((closed_at, "issue.closed_at"))
    identifier = _id(context, "issue", repository, f"{issue.id:012d}")
    id_place, start = "repository.id, issue.id", (issue.created_at, "issue.created_at")
    occurrence = None
    if event.action == "reopened":  # each time is a failure of its own, and no other field says when it began
        again, place = _needed((issue.updated_at, "issue.updated_at"))
        occurrence = Occurrence(identifier, again, names=True)
        identifier = _id(context, "issue", repository, f"{issue.id:012d}", f"r{again // SECOND}")
        id_place, start = f"{id_place}, {place}", (again, place)
    elif event.action != "opened" and (said_at := closed_at or issue.updated_at):
        occurrence = Occurrence(identifier, said_at)
    environments = _labeled(labels, "env", "environment")
    environment = environments[0] if environments else None
    severities = [severity(label) or "" for label in labels if _SEVERITY.match(label)]
    root_cause = next(filter(_SHA.fullmatch, _lines(issue.body, "root cause")), None)
    found: Found = {
        "id": (identifier, id_place),
        "started_at": _needed(start),
        "finished_at": (closed_at, "issue.closed_at"),
        "services": _needed(
            (_labeled(labels, "service"), "issue.labels"),
            (_lines(issue.body, "service"), "issue.body"),
            ((repository.name,) if repository.name else (), "repository.name"),
        ),
        "env": (None, "") if len(environments) > 1 else _env(context, environment, "issue.labels"),
        "name": (issue.title, "issue.title"),
        "severity": (min(severities, default=None), "issue.labels"),
        "git": _git(root_cause, "issue.body", repository),
    }
    failure = Failure(
        **fields_of(found),
        custom_tags=(NOT_A_CHANGE_TAG,) if _is_no_change(labels) else (),
        revision=closed_at or 0,
        send_as=context.options.send_as,
        occurrence=occurrence,
    )
    traits = {
        "repository": repository.full_name,
        "environment": environments or failure.env,
        "labels": labels,
        "service": failure.services,
    }
    if is_marked:
        labelled_at, _ = _needed((issue.updated_at, "issue.updated_at"))
        mark = Mark(failure.id, is_set=event.action == "labeled", at=labelled_at)
        facts = [failure] if mark.is_set else []  # it may be the first that is heard of the issue
        return Translation(facts, ignored="" if facts else "a label was taken off", traits=traits, mark=mark)
    if is_renamed and context.options.title_updates == "ignore":
        return nothing("changes of title are not sent (option title_updates)", traits)
    if is_renamed and closed_at:
        return nothing("the issue is closed: its title stays", traits)
    if is_renamed:
        return Translation([_changed(failure, issue, "title")], traits=traits)
    is_ranked = event.action == "labeled" and _SEVERITY.match(event.label.name or "") is not None
    if is_ranked and not closed_at and context.options.priority_updates == "send":
        return Translation([_changed(failure, issue, "severity")], traits=traits)
    return Translation([failure], traits=traits)


def _is_no_change(labels: Iterable[str]) -> bool:
    return NOT_A_CHANGE in map(str.casefold, labels)


def _changed(failure: Failure, issue: Issue, what: str) -> Failure:
    """The open failure again, if it was reported."""
    updated_at, _ = _needed((issue.updated_at, "issue.updated_at"))
    unknown = f"its {what} changed, but it was not reported as a failure"
    return replace(failure, revision=updated_at, only_if_open=unknown)


_SEVERITY = re.compile(r"(?:sev|p)[\s_-]*[1-5](?!\w)", re.IGNORECASE)
_LINE = re.compile(r"^[ \t]*(service|root cause)[ \t]*:[ \t]*([^\s<].*)$", re.IGNORECASE | re.MULTILINE)
"""`name: value`; where `<` begins the value, it is the comment that the issue's template put there."""


def _labeled(labels: tuple[str, ...], *names: str) -> tuple[str, ...]:
    """Values of labels like `service:checkout`."""
    parts = (label.partition(":") for label in labels)
    return _different(value for name, _, value in parts if name.strip().casefold() in names)


def _lines(text: str | None, name: str) -> tuple[str, ...]:
    """Values of lines like `service: checkout`."""
    return _different(value for found, value in _LINE.findall(text or "") if found.casefold() == name)


def _different(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, values))))


# ---- what several of them need


def _id(context: Context, what: str, repository: Repository, *numbers: str) -> str:
    """The fact's id. Each Enterprise Server counts from 1, so its facts carry its host."""
    host = context.headers.get("x-github-enterprise-host", "").strip().lower()
    sender = f"gh-{hashlib.sha256(host.encode()).hexdigest()[:8]}" if host else "gh"
    return fact_id(f"{sender}-{what}", f"{repository.id:010d}", *numbers, instance=context.options.instance)


def _env(context: Context, environment: str | None = None, place: str = "") -> tuple[str | None, str]:
    return first((environment and environment.lower(), place), (context.query.get("env"), "query env"))


_SHA = re.compile(r"[0-9A-Fa-f]{40,}", re.ASCII)
_TAG = re.compile(r"v?\d+\.\d+[\w.+-]*", re.ASCII)
_CREDENTIALS = re.compile(r"(?<=://)[^/]*@")


def _git(sha: str | None, place: str, repository: Repository) -> tuple[Git | None, str]:
    url, url_place = first(
        (repository.html_url, "repository.html_url"),
        (repository.clone_url and repository.clone_url.removesuffix(".git"), "repository.clone_url"),
    )
    if not sha or not url or not _SHA.fullmatch(sha):
        return None, ""
    return Git(sha, _CREDENTIALS.sub("", url)), f"{place}, {url_place}"


def _version(ref: str | None, repository: Repository) -> str | None:
    """The ref without `refs/tags/`, if it looks like the tag of a version."""
    tag = (ref or "").removeprefix("refs/tags/")
    return tag if _TAG.fullmatch(tag) and ref != repository.default_branch else None


def _workflow(run: Run | None, workflow: Workflow) -> str | None:
    """The path of the workflow, without the `@ref` that newer payloads add to it."""
    path = (run and run.path) or workflow.path
    return path and path.partition("@")[0]


T = TypeVar("T")


def _needed(*candidates: tuple[T | None, str]) -> tuple[T, str]:
    """The first candidate with a value.

    Raises: PayloadInvalid if there is none: the fact cannot be told without it.
    """
    for value, place in candidates:
        if value:
            return value, place
    raise PayloadInvalid(f"missing or unreadable: {', '.join(place for _, place in candidates)}")


# ---- how they come


def kind(headers: Mapping[str, str], body: bytes) -> str:
    """The name of the event, which stands in a header only."""
    event = headers.get("x-github-event", "").strip()
    if not event:
        raise PayloadInvalid("the header x-github-event is missing")
    return event


def delivery_id(headers: Mapping[str, str], body: bytes) -> str | None:
    return headers.get("x-github-delivery", "").strip() or None


_KIND_OF_KEY = {
    "zen": "ping",
    "deployment_status": "deployment_status",
    "workflow_job": "workflow_job",
    "deployment_callback_url": "deployment_protection_rule",
    "since": "deployment_review",
    "deployment": "deployment",
    "workflow_run": "workflow_run",
    "check_run": "check_run",
    "check_suite": "check_suite",
    "release": "release",
    "comment": "issue_comment",
    "issue": "issues",
    "review": "pull_request_review",
    "pull_request": "pull_request",
    "head_commit": "push",
}
"""Key of a body -> its kind. The first one counts: most bodies carry other objects besides their own."""


def headers(body: bytes, kind: str | None) -> dict[str, str]:
    """What GitHub would send; without x-github-event if no kind is given and the body does not tell it."""
    event = kind or _kind_of(body)
    return {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/0000000",
        "x-github-delivery": str(uuid.uuid4()),
        **({"x-github-event": event} if event else {}),
    }


def _kind_of(body: bytes) -> str | None:
    try:
        keys = from_json(body)
    except ValueError:
        return None
    return next((kind for key, kind in _KIND_OF_KEY.items() if isinstance(keys, dict) and key in keys), None)


_ALWAYS = {"repository", "environment", "service"}
_MATCHABLE = {
    "deployment_status": frozenset(_ALWAYS | {"workflow", "branch", "team"}),
    "workflow_run": frozenset(_ALWAYS | {"workflow", "branch"}),
    "release": frozenset(_ALWAYS),
    "issues": frozenset(_ALWAYS | {"labels"}),
}


def matchable(options: GitHubOptions) -> Mapping[str, frozenset[str]]:
    """The kinds that the options ask for."""
    return {kind: _MATCHABLE[kind] for kind in (*options.deployments_from, *options.failures_from)}


SOURCE = Source(
    name="github",
    scheme=HmacSha256("x-hub-signature-256", "sha256="),
    kind=kind,
    models={
        "deployment_status": DeploymentStatusEvent,
        "workflow_run": WorkflowRunEvent,
        "release": ReleaseEvent,
        "issues": IssuesEvent,
    },
    translate=translate,
    delivery_id=delivery_id,
    headers=headers,
    matchable=matchable,
    options=GitHubOptions,
)
