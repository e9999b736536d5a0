"""Writes what a forge says about one change into the mirror and the directory, in the caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection

from notify.domain.errors import NotifyError
from notify.domain.events import REVIEW_REQUESTED
from notify.domain.forge import (
    GHOST,
    Account,
    Change,
    ChangeReading,
    ChangeState,
    ForgeEvent,
    Repository,
    Reviewer,
)
from notify.domain.forge_events import ChangeEvents
from notify.domain.forge_settings import ForgeSettings, Identities
from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.sources.authors import on_behalf_of
from notify.sources.events import event_of
from notify.store.callers import run
from notify.store.directory import directory
from notify.store.forges import identities, mirror, repositories
from notify.store.forges.mirror import ChangeRow, KnownChange
from notify.store.outbox import events
from notify.store.outbox.events import StatedFacts
from notify.work.forges import Forge

OPENER, ACTION, TRAILER = "opener", "action", "trailer"
MOST_REVIEWERS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """
    Whose change it is.

    ``username`` is of the one person who reads mail at the address that our own trailer names; an address is never
    anybody's login. None: no address names the author.
    """

    login: str
    known_from: str = OPENER
    username: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """
    A change as the mirror has it after a write.

    Attributes:
        change: As the forge states it, but what was merged once stays merged.
        known: The change before the write; None: it was not known.
        reviewers: As the forge states them, without the author.
        is_newest: Whether the change was written; False: the mirror already had a newer state.
        usernames: Usernames by login in lower case; logins without a person are absent.
        concerned: The logins that events about the change concern.
    """

    repository_id: int
    link: str
    change: Change
    known: KnownChange | None
    reviewers: tuple[Reviewer, ...] = ()
    is_newest: bool = True
    usernames: Mapping[str, str] = field(default_factory=dict)
    concerned: frozenset[str] = frozenset()


class NameTaken(NotifyError):
    """Another forge mirrors a repository of this name; give one of the two forges a prefix in NOTIFY_FORGES_FILE."""


def mirror_of(forge: Forge) -> "Mirror":
    """
    The mirror of a forge that answers.

    Raises:
        ForgeFault: The forge did not tell us our own login.
    """
    return Mirror(forge.settings, own_login=forge.reader.own_login(), rivals=forge.rivals)


class Mirror:
    """
    The mirror of one forge.

    Args:
        own_login: None: we act there under no account.
        rivals: Forges whose links are the same for repositories of the same name.
    """

    def __init__(self, settings: ForgeSettings, *, own_login: str | None = None, rivals: Sequence[str] = ()) -> None:
        self.settings = settings
        self._rivals = rivals
        self._own = (own_login or "").lower()

    def write(self, connection: Connection, reading: ChangeReading, *, asked_at: datetime | None) -> Written:
        """
        Write a change and its reviewers into the mirror and the directory.

        Args:
            asked_at: When the forge was asked, by the database's clock; None: the facts come from a webhook, so the
                change is marked stale.

        Raises:
            NameTaken: The links of this repository are those of another; nothing was written.
        """
        change, name = reading.change, self.settings.name
        repository_id = repositories.put(connection, name, [reading.repository])[reading.repository.id]
        self.check_name(connection, repository_id)
        known = mirror.lock(connection, repository_id, change.number)
        author = self._author(connection, repository_id, change)
        row = self._row(repository_id, reading, author=author, asked_at=asked_at)
        row = replace(row, link=known.link) if known else row
        state = mirror.put_change(connection, row)
        is_newest = state is not None
        if not is_newest and asked_at is None:
            mirror.mark_stale(connection, repository_id, change.number)
        reviewers = [one for one in reading.reviewers if one.login.lower() != author.login.lower()]
        if is_newest:
            mirror.put_reviewers(connection, repository_id, change.number, reviewers)
        written = Written(
            repository_id=repository_id,
            link=row.link,
            change=change if state is None else replace(change, state=ChangeState(state)),
            known=known,
            reviewers=tuple(reviewers),
            is_newest=is_newest,
        )
        return self._write_through(connection, written, reading=reading, author=author)

    def check_name(self, connection: Connection, repository_id: int) -> None:
        """
        Raises:
            NameTaken: A rival had a repository of this name first.
        """
        first = repositories.named_before(connection, repository_id, self._rivals) if self._rivals else None
        if first is not None:
            raise NameTaken(forge=first)

    def tell(self, connection: Connection, event: ForgeEvent, written: Written) -> str | None:
        """
        Hand in an event. Returns its key; None if it was handed in before or concerns nobody that we know.

        A request for review becomes one event, whether the webhook or a sweep sees it first.
        """
        requested = self._requested(connection, event, written)
        if not (requested if event.type == REVIEW_REQUESTED else written.usernames):
            self._count_missed(connection, event, written)
            return None
        actor = self._actor(connection, event.actor)
        (receipt,) = receive(connection, [event_of(event, link=written.link, actor=actor, requested=requested)])
        if not receipt.duplicate:
            self._count_missed(connection, event, written, is_new=True)
        return event.key

    def requests_of(self, written: Written, repository: Repository) -> list[ForgeEvent]:
        """The requests for review that a sweep found and that have not become events."""
        change = written.change
        made = ChangeEvents(self.settings.name, repository, change, change.opener)
        requests = (made.requested(login, None) for login in _untold(written))
        return [one for one in requests if isinstance(one, ForgeEvent)]

    def hush(self, connection: Connection, written: Written) -> None:
        """Mark present requests for review as handed in, since they are older than the first sweep."""
        logins = [one.login for one in written.reviewers if one.requested]
        if logins:
            change = written.change
            mirror.note_told(connection, written.repository_id, change.number, logins, change.updated_at)

    def _row(
        self,
        repository_id: int,
        reading: ChangeReading,
        *,
        author: Author,
        asked_at: datetime | None,
    ) -> ChangeRow:
        change = reading.change
        return ChangeRow(
            repository_id=repository_id,
            number=change.number,
            link=self.settings.link(reading.repository.full_name, change.number),
            title=change.title,
            description=change.description,
            url=change.url,
            state=change.state,
            draft=change.draft,
            opener=_login(change.opener),
            author=author.login,
            author_from=author.known_from,
            head_ref=change.head.ref if change.head else None,
            head_sha=change.head.sha if change.head else None,
            base_ref=change.base.ref if change.base else None,
            base_sha=change.base.sha if change.base else None,
            merge_sha=change.merge_commit,
            opened_at=change.created_at,
            forge_updated_at=change.updated_at,
            synced_at=asked_at,
            stale=asked_at is None,
        )

    def _author(self, connection: Connection, repository_id: int, change: Change) -> Author:
        """Whose change it is. What a person writes about themselves is not believed."""
        opener = _login(change.opener)
        if not self._own or opener.lower() != self._own:
            return Author(login=opener)
        for_whom = mirror.oldest_action(connection, repository_id, change.number)
        if for_whom is not None:
            return Author(login=for_whom, known_from=ACTION)
        trailer = on_behalf_of(change.description)
        if trailer is not None and trailer.login:
            return Author(login=trailer.login, known_from=TRAILER)
        by_email = identities.by_email(connection, trailer.email) if trailer is not None and trailer.email else None
        return Author(login=opener, username=by_email)

    def _write_through(
        self, connection: Connection, written: Written, *, reading: ChangeReading, author: Author
    ) -> Written:
        """Write into the directory what the fan-out needs: author, reviewers, owners and state."""
        change, owners = written.change, self._owners(connection, reading)
        logins = {author.login, *(one.login for one in written.reviewers), *owners}
        usernames = self._usernames(connection, logins)
        if author.username is not None:
            usernames[author.login.lower()] = author.username
        if written.is_newest:
            facts = StatedFacts(
                link=written.link,
                title=change.title,
                url=change.url,
                repository=reading.repository.full_name,
                author=usernames.get(author.login.lower()),
                reviewers=_known(usernames, [one.login for one in written.reviewers]),
                owners=_known(usernames, owners),
                state=change.state,
                state_at=change.updated_at.isoformat(),
            )
            run(connection, events.learn([facts]))
        teams = [f"team:{one}" for one in reading.unread_teams]
        return replace(written, usernames=usernames, concerned=frozenset({*logins, *teams} - {GHOST}))

    def _owners(self, connection: Connection, reading: ChangeReading) -> list[str]:
        entries = self.settings.entries
        if entries is None:
            return []
        full_name, head = reading.repository.full_name, reading.change.head
        slug = None
        if full_name.lower() == entries.repository.lower() and head is not None:
            kind, _, rest = head.ref.partition("/")
            slug = rest.partition("/")[0] if kind in ENTRY_BRANCHES and rest else None
        return mirror.entry_people(connection, self.settings.name, slug=slug, repo=full_name)

    def _usernames(self, connection: Connection, logins: Iterable[str]) -> dict[str, str]:
        asked = {login for login in logins if login and login != GHOST}
        by_login = self.settings.identities is Identities.LOGIN
        known = identities.resolve(connection, self.settings.name, asked, by_login=by_login)
        return {login.lower(): username for login, username in known.items()}

    def _actor(self, connection: Connection, account: Account | None) -> str:
        """The actor's username. A login without a person gets the forge's name added, to match no username."""
        login = _login(account)
        username = self._usernames(connection, [login]).get(login.lower())
        if username is not None:
            return username
        name = login if login == GHOST else f"{login} ({self.settings.name})"
        if account is not None and account.is_bot:
            directory.put_person(connection, Person(username=name, display_name=login, is_bot=True))
        return name

    def _requested(self, connection: Connection, event: ForgeEvent, written: Written) -> tuple[str, ...]:
        """The usernames whose review the event requests, without those who were told before."""
        if event.request is None:
            return ()
        team = event.request.team
        logins = (
            [event.request.login]
            if event.request.login
            else [one.login for one in written.reviewers if one.requested and one.team == team]
        )
        known = written.known.reviewers if written.known else {}
        untold = [
            login
            for login in logins
            if (told := known.get(login.lower())) is None or told.told_at is None or told.told_at < event.occurred_at
        ]
        mirror.note_told(connection, written.repository_id, written.change.number, untold, event.occurred_at)
        usernames = self._usernames(connection, untold)
        return tuple(dict.fromkeys(usernames[login.lower()] for login in untold if login.lower() in usernames))

    def _count_missed(
        self, connection: Connection, event: ForgeEvent, written: Written, *, is_new: bool = False
    ) -> None:
        missed = [login for login in written.concerned if login.lower() not in written.usernames]
        name, at = self.settings.name, event.occurred_at
        identities.miss(connection, name, missed, event_key=event.key, at=at, is_new=is_new)


ENTRY_BRANCHES = ("propose", "edit", "claim", "metadata")


def _login(account: Account | None) -> str:
    return GHOST if account is None else account.login


def _untold(written: Written) -> list[str]:
    """Logins whose review is requested now and who have not been told, or were not requested when last seen."""
    before = written.known.reviewers if written.known else {}
    return [
        one.login
        for one in written.reviewers
        if one.requested
        and ((was := before.get(one.login.lower())) is None or was.told_at is None or not was.requested)
    ]


def _known(usernames: Mapping[str, str], logins: Iterable[str]) -> list[str]:
    known = [usernames[login.lower()] for login in logins if login.lower() in usernames]
    return list(dict.fromkeys(known))[:MOST_REVIEWERS]
