"""Queues on remotes in memory whose heads break and recover, and what people hear of it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, insert, select

from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import SourceControl
from notify.domain.heads import BuildStatus, RequestId
from notify.domain.preferences import Person
from notify.heads.reporter import CommitAndMail
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.tables.forges import forge_changes, forge_repositories
from notify.store.tables.people import change_lists, topic_preferences
from notify.store.tables.statuses import commit_statuses
from tests.support.doorbell import RecordingDoorbell
from tests.support.harness import WorkerHarness
from tests.support.queues import MAIN, World, queue_settings, world_of
from tests.support.remotes import MemoryRemote

QUEUE, OTHER = "monorepo/main", "monorepo/next"
OPENED = datetime(2026, 3, 2, 9, tzinfo=UTC)


@dataclass
class Story:
    """A queue whose heads break and recover, and what people hear of it."""

    world: World
    worker: WorkerHarness

    def push(
        self, *, author: str = "dana", merges: str | None = None, rewrite: bool = False, queue: str = QUEUE
    ) -> str:
        """A new head by this person; *merges* is the author of the change that it merged."""
        remote = self.world.remotes[queue]
        present = None if rewrite else remote.ref(MAIN)
        email = f"{author}@example.com"
        sha = remote.commit("change", *([present] if present else []), author=author, email=email)
        remote.point(MAIN, sha)
        if merges is not None:
            self._merged(sha, merges)
        return sha

    def validate(self, status: BuildStatus, *, queue: str = QUEUE, fan_out: bool = True) -> RequestId:
        """Take the newest head in, build it to this end, and tell of it unless *fan_out* is to come later."""
        id_ = self.world.queues.ingest(queue)
        self.world.drain()
        self.world.end(id_, status)
        self.world.drain()
        if fan_out:
            self.worker.fan_out()
        return id_

    def told(self) -> list[tuple[str, str, str]]:
        """Everyone who was told, in order: type, username, reason."""
        rows = self.worker.execute(
            "SELECT event_type, username, reason FROM notify.notifications"
            " WHERE decision = 'told' ORDER BY event_id, username"
        )
        return [(row.event_type.removeprefix("queue."), row.username, row.reason) for row in rows]

    def became(self, id_: RequestId) -> dict[str, str]:
        """What became of the event about this request, by username: told as what, or not and why."""
        rows = self.worker.execute(
            "SELECT note.* FROM notify.notifications AS note JOIN notify.events AS event ON event.id = event_id"
            " WHERE event.key = :key",
            key=f"queue:{id_.queue}:{id_.number}",
        )
        return {row.username: row.reason if row.decision == "told" else row.why for row in rows}

    def mute(self, username: str, *, muted: bool = True) -> None:
        with self.world.database.begin() as connection:
            connection.execute(delete(topic_preferences).where(topic_preferences.c.username == username))
            if muted:
                values = {"username": username, "topic": f"queue:{QUEUE}", "muted": True}
                connection.execute(insert(topic_preferences).values(values))

    def shown(self, sha: str) -> tuple[str, str]:
        """The wanted status of a commit: context and state."""
        with self.world.database.begin() as connection:
            row = connection.execute(select(commit_statuses).where(commit_statuses.c.sha == sha)).one()
        return row.context, row.state

    def _merged(self, sha: str, author: str) -> None:
        link = f"acme/monorepo#{len(self.world.remotes[QUEUE].commits)}"
        with self.world.database.begin() as connection:
            known = connection.execute(select(forge_repositories.c.id)).scalar()
            if known is None:
                new = insert(forge_repositories).values(forge="github", forge_id=1, full_name="acme/monorepo")
                known = connection.execute(new.returning(forge_repositories.c.id)).scalar_one()
            connection.execute(insert(change_lists).values(link=link, author=author))
            connection.execute(
                insert(forge_changes).values(
                    repository_id=known,
                    number=int(link.rpartition("#")[2]),
                    link=link,
                    title="Cap the retry",
                    url="https://forge.example/1",
                    state="merged",
                    draft=False,
                    opener=author,
                    author=author,
                    author_from="opener",
                    merge_sha=sha,
                    opened_at=OPENED,
                    forge_updated_at=OPENED,
                )
            )


def story_of(database: Database, source_of: Callable[[QueueSettings, MemoryRemote], SourceControl]) -> Story:
    world = world_of(
        database,
        queue_settings(),
        queue_settings(OTHER),
        reporter_of=lambda queue, remote: CommitAndMail(database, queue, source_of(queue, remote), RecordingDoorbell()),
    )
    with database.begin() as connection:
        for name in ("alice", "bob", "dana", "olga", "sam"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
        connection.execute(insert(topic_preferences).values(username="sam", topic=f"queue:{QUEUE}", subscribed=True))
    return Story(world, WorkerHarness(database, None, changes={"operators": "olga"}))
