"""Queues: whether git, each queue's ref and its runner can be reached, and whether heads get a verdict."""

import socket
from collections.abc import Iterator
from shutil import which
from urllib.parse import urlsplit

from notify import wiring
from notify.cli.checks import Finding
from notify.cli.checks.forges import GRANT, TO_WRITE
from notify.cli.connect import Deployment
from notify.cli.output import relative
from notify.domain.errors import InvalidSettings
from notify.domain.forge_answers import ForgeFault
from notify.domain.forge_settings import CommandRunner, GitHubActionsRunner, HttpRunner, QueueSettings, Runner
from notify.domain.head_ports import NotFound, SourceControlUnavailable
from notify.heads.stage import Queues
from notify.store.heads import listing, polls
from notify.vcs.commands import OLDEST_GIT, is_new_enough, version

NAMED = 3
SECONDS = 5.0
PORTS = {"http": 80, "https": 443}
UNKNOWN = "Nobody knows whether its new heads are green."


def queues(deployment: Deployment) -> Iterator[Finding]:
    """Findings about queues; none if no queue is configured. Looking at a ref changes nothing."""
    try:
        known = wiring.queues(deployment.settings, deployment.database, doorbell=deployment.doorbell)
    except InvalidSettings:  # the check of forges says so
        return
    if not known.settings:
        return
    git = _git()
    yield git
    for queue in known.settings.values():
        if git.ok:
            yield _ref(known, queue)
        yield from _runner(queue)
    yield from _workflows(deployment, known)
    yield _polls(deployment, known)
    yield _verdicts(deployment, known)


def _git() -> Finding:
    wanted = ".".join(map(str, OLDEST_GIT))
    why = "Without it no queue's ref can be looked at: no head is validated."
    fix = f"install git {wanted} or newer here and on every worker"
    try:
        stated = version(seconds=SECONDS)
    except SourceControlUnavailable as error:
        return Finding("git", False, str(error), why, fix)
    return Finding("git", is_new_enough(stated), f"{stated}; {wanted} is needed", why, fix)


def _ref(known: Queues, queue: QueueSettings) -> Finding:
    fix = (
        f'check remote and ref in [queues."{queue.name}"], git\'s credentials here and on the workers, NOTIFY_DATA_DIR'
    )
    try:
        known.source(queue.name).latest()
    except (SourceControlUnavailable, NotFound, OSError) as error:
        return Finding(f"heads of {queue.name}", False, str(error), UNKNOWN, fix)
    return Finding(f"heads of {queue.name}", True, f"{queue.ref} can be read", UNKNOWN, fix)


def _runner(queue: QueueSettings) -> Iterator[Finding]:
    """What can be known of the runner without a build."""
    about, fix = f"runner of {queue.name}", f'correct runner in [queues."{queue.name}"]'
    fault = _fault(queue.runner)
    if fault is not None:
        yield Finding(about, not fault, fault or "it can be reached", UNKNOWN, fix)


def _fault(runner: Runner) -> str | None:
    """Why the runner cannot be reached; empty: it can; None: only a build would tell."""
    match runner:
        case HttpRunner(url=url):
            return _unreachable(url)
        case CommandRunner(command=(program, *_)):
            if "/" in program and not program.startswith("/"):
                return None  # in the checkout
            return "" if which(program) else f"{program} is no program on this machine"
        case GitHubActionsRunner() | CommandRunner():
            return None


def _unreachable(url: str) -> str:
    address = urlsplit(url)
    port = address.port or PORTS.get(address.scheme, 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=SECONDS):
            return ""
    except OSError as error:
        return f"{address.hostname} does not answer on port {port}: {type(error).__name__}"


def _workflows(deployment: Deployment, known: Queues) -> Iterator[Finding]:
    """Whether the app of each forge may start the workflows of its queues; nothing where the forge does not say."""
    building: dict[str, list[str]] = {}
    for queue in known.settings.values():
        if isinstance(queue.runner, GitHubActionsRunner):
            building.setdefault(queue.forge, []).append(queue.name)
    for name, waiting in building.items():
        reader = wiring.forges(deployment.settings, deployment.database).by_name[name].reader
        try:
            permissions = reader.permissions()
        except ForgeFault:  # the check of forges says so
            continue
        finally:
            reader.close()
        if permissions is not None:
            may = permissions.get("actions") in TO_WRITE
            named = f"{', '.join(waiting[:NAMED])}{_more(len(waiting))}"
            found = f"the app may start those of {named}" if may else f"the app lacks actions: write, for {named}"
            yield Finding(f"workflows on {name}", may, found, UNKNOWN, GRANT)


def _polls(deployment: Deployment, known: Queues) -> Finding:
    with deployment.database.begin() as connection:
        wrong = [one for one in polls.faults(connection) if one.queue in known.settings]
    named = ", ".join(f"{one.queue} since {relative(one.since)} ({one.fault})" for one in wrong[:NAMED])
    found = f"workers cannot look at {named}{_more(len(wrong))}" if wrong else "workers could look at every ref"
    fix = "check remote and ref of these queues, and git's credentials on the workers"
    return Finding("polls of refs", not wrong, found, UNKNOWN, fix)


def _verdicts(deployment: Deployment, known: Queues) -> Finding:
    with deployment.database.begin() as connection:
        wrong = listing.without_verdict(connection, list(known.settings))
    named = ", ".join(f"{count} of {name}" for name, count in list(wrong.items())[:NAMED])
    found = f"could not be validated since the last verdict: {named}{_more(len(wrong))}" if wrong else "none is missing"
    fix = "notify queues show QUEUE; correct its runner; notify queues retry QUEUE"
    return Finding("verdicts", not wrong, found, UNKNOWN, fix)


def _more(count: int) -> str:
    return f" and {count - NAMED} more" if count > NAMED else ""
