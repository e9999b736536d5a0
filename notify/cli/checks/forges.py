"""Forges: whether the file is valid, each forge answers, and its repositories and webhooks are processed."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from notify import wiring
from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.cli.output import duration
from notify.domain.errors import InvalidSettings
from notify.domain.fan_out import usable_address
from notify.domain.forge_answers import ForgeFault
from notify.domain.outcomes import DeliveryStatus
from notify.domain.preferences import NO_PREFERENCES
from notify.domain.statuses import TargetStatus
from notify.sources.failing import LATE_INTERVALS
from notify.store.directory import directory, preferences
from notify.store.forges import deliveries, identities, repositories
from notify.store.operations import server
from notify.store.statuses import listing
from notify.store.statuses.listing import StatusFilter
from notify.work.forges import Forge

NAMED = 3
MOST_SKEW = timedelta(seconds=60)
NEEDED: Mapping[str, str] = MappingProxyType({"contents": "read", "metadata": "read", "pull_requests": "read"})
TO_WRITE = ("write", "admin")
ENOUGH = ("read", *TO_WRITE)
GRANT = "grant them on the app's page, and accept them where it is installed"
OFFLINE = "Webhooks are taken, but what they leave out is not known, and lost ones are not caught up with."


def forges(deployment: Deployment) -> Iterator[Finding]:
    """Findings about forges; none if no forge is configured. Asking a forge who we are there changes nothing."""
    if deployment.settings.forges_file is None:
        return
    why = "The API and workers do not start with an invalid file."
    try:
        known = wiring.forges(deployment.settings, deployment.database)
    except InvalidSettings as invalid:
        yield Finding("forges file", False, str(invalid), why, "correct the file that NOTIFY_FORGES_FILE names")
        return
    found = f"{deployment.settings.forges_file}: {len(known.by_name)} forges, every secret can be read"
    yield Finding("forges file", True, found, why, "")
    try:
        for forge in known.by_name.values():
            yield from _forge(forge)
            yield from _clocks(deployment, forge)
    finally:
        known.close()
    yield from _repositories(deployment)
    yield from _deliveries(deployment)
    yield _statuses(deployment)
    yield from _logins(deployment)
    yield _operators(deployment)


def _forge(forge: Forge) -> Iterator[Finding]:
    about = f"forge {forge.name}"
    try:
        login, permissions = forge.reader.own_login(), forge.reader.permissions()
    except ForgeFault as fault:
        fix = f"check api_url and the credentials in [forges.{forge.name}], and this machine's clock"
        yield Finding(about, False, str(fault), OFFLINE, fix)
        return
    is_known = login is not None
    who = f"{forge.settings.api_url} answers; we are {login}" if is_known else "it does not say who we are there"
    fix = f"check app_id and private_key, or token, in [forges.{forge.name}]"
    yield Finding(about, is_known, who, OFFLINE, fix)
    if permissions is None:
        return
    lacks = [f"{name}: {level}" for name, level in NEEDED.items() if permissions.get(name) not in ENOUGH]
    words = f"the app lacks {', '.join(lacks)}" if lacks else "the app may read what it needs"
    words = "; ".join([words, *_limits(forge, permissions)])
    yield Finding(f"{about} permissions", not lacks, words, OFFLINE, GRANT)


def _limits(forge: Forge, permissions: Mapping[str, str]) -> Iterator[str]:
    """What the app cannot do, which not every deployment wants."""
    if permissions.get("members") not in ENOUGH:
        yield "without members: read, nobody hears of reviews asked of a team"
    if permissions.get("statuses") not in TO_WRITE:
        yield "without statuses: write, no commit status is shown"
    if permissions.get("checks") not in TO_WRITE:
        yield "without checks: write, no check run is shown"
    labels = forge.settings.error_label is not None
    if labels and not {permissions.get("pull_requests"), permissions.get("issues")} & set(TO_WRITE):
        yield "without pull_requests: write, no pull request gets the error_label"


def _clocks(deployment: Deployment, forge: Forge) -> Iterator[Finding]:
    """The forge's clock, which also an answer states that refuses us; nothing where it does not answer."""
    ahead = forge.reader.clock_ahead()
    if ahead is None:
        return
    with deployment.database.begin() as connection:
        ahead_of_database = ahead + datetime.now(UTC) - server.clock(connection)
    words = (
        f"differs from this machine's clock by {abs(ahead.total_seconds()):.1f} s,"
        f" from the database's by {abs(ahead_of_database.total_seconds()):.1f} s"
    )
    why = "GitHub refuses an app whose clock is off by over a minute, and readings ask for changes by the database's."
    counts = [ahead_of_database] if forge.settings.app_id is None else [ahead, ahead_of_database]
    is_right = all(abs(one) <= MOST_SKEW for one in counts)
    yield Finding(f"forge {forge.name} clock", is_right, words, why, "synchronize every clock by NTP")


def _repositories(deployment: Deployment) -> Iterator[Finding]:
    late = timedelta(seconds=deployment.settings.reconcile_seconds) * LATE_INTERVALS
    with deployment.database.begin() as connection:
        views = [one for one in repositories.views(connection) if not one.gone]
    wrong = [f"{one.full_name} ({one.fault})" for one in views if one.fault]
    wrong += [
        f"{one.full_name} (last read {duration(one.age_seconds)} ago)"
        for one in views
        if not one.fault and one.age_seconds is not None and one.age_seconds > late.total_seconds()
    ]
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    found = f"not read: {', '.join(wrong[:NAMED])}{more}" if wrong else f"{len(views)} are read in time"
    why = "What webhooks miss is told late, or not at all."
    yield Finding("repositories", not wrong, found, why, "notify forges list; start workers for notify.reconcile")


def _deliveries(deployment: Deployment) -> Iterator[Finding]:
    with deployment.database.begin() as connection:
        dead = list(deliveries.listed(connection, status=DeliveryStatus.DEAD, limit=NAMED + 1))
    named = ", ".join(f"{one.id} ({one.outcome_reason})" for one in dead[:NAMED])
    more = " and more" if len(dead) > NAMED else ""
    found = f"dead: {named}{more}" if dead else "none is dead"
    why = "Nobody was told of what they say."
    yield Finding("webhook deliveries", not dead, found, why, "notify forges deliveries replay ID")


def _statuses(deployment: Deployment) -> Finding:
    with deployment.database.begin() as connection:
        dead = listing.newest(connection, StatusFilter(status=TargetStatus.DEAD), limit=NAMED + 1)
    named = ", ".join(f"{one.id} on {one.repository} ({one.outcome_reason})" for one in dead[:NAMED])
    more = " and more" if len(dead) > NAMED else ""
    found = f"dead: {named}{more}" if dead else "none is dead"
    why = "Their commits show an older status, or none."
    fix = "notify statuses show ID; fix the cause; notify statuses retry --status dead"
    return Finding("statuses", not dead, found, why, fix)


def _operators(deployment: Deployment) -> Finding:
    """A note if nobody is named: that is for the deployment to decide."""
    named = deployment.settings.operator_names
    if not named:
        words = "NOTIFY_OPERATORS is not set: nobody gets an email when a forge cannot be read"
        return Finding("operators", True, words, "", "")
    with deployment.database.begin() as connection:
        people = directory.people(connection, named)
        own = preferences.load(connection, named, topics=())
    unreachable = [
        name
        for name in named
        if (person := people.get(name)) is None
        or not person.active
        or usable_address(person, own.get(name, NO_PREFERENCES)) is None
    ]
    found = f"no address for {', '.join(unreachable)}" if unreachable else f"{', '.join(named)} can be told"
    why = "They get no email when a forge cannot be read or a status cannot be shown."
    return Finding("operators", not unreachable, found, why, "PUT /api/v1/people/{username}; correct NOTIFY_OPERATORS")


def _logins(deployment: Deployment) -> Iterator[Finding]:
    """A note only: a login of somebody outside the directory is no error."""
    with deployment.database.begin() as connection:
        nobodys = identities.unmapped(connection)
    named = ", ".join(f"{one.login} missed {one.missed}" for one in nobodys[:NAMED])
    found = f"{len(nobodys)} have no person (notify identities unmapped): {named}" if nobodys else "each has a person"
    yield Finding("logins", True, found, "", "")
