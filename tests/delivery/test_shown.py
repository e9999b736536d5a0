"""A letter for who asks what somebody gets."""

import pytest

from notify.delivery import shown
from notify.delivery.shown import NothingToShow
from notify.domain.jobs import Letter
from notify.domain.retention import Kept
from notify.store import upkeep
from notify.store.database import Database
from tests.support.office import Office


def show(database: Database, job_id: int) -> Letter:
    with database.begin() as connection:
        return shown.letter(connection, job_id)


def of(office: Office, username: str, key: str = "k1") -> int:
    return next(job.id for job in office.jobs(key) if job.username == username)


def test_a_letter_is_shown_as_it_went_and_stays_as_it_is(office: Office, database: Database) -> None:
    office.letters_wait("ann")
    before = office.jobs()
    letter = show(database, of(office, "ann"))
    assert (letter.to_email, letter.event.key) == ("ann@example.com", "k1")
    assert office.jobs() == before
    office.drain()
    office.now("INSERT INTO notify.user_notification_settings (username, enabled) VALUES ('ann', false)")
    assert show(database, of(office, "ann")).message_id == letter.message_id


def test_a_row_of_a_letter_about_several_events_shows_it_whole(database: Database) -> None:
    office = Office(database, None, changes={"together_seconds": 600})
    for key in ("k1", "k2", "k3"):
        office.letters_wait("ann", key=key)
    second, third = (show(database, of(office, "ann", key)) for key in ("k2", "k3"))
    assert [one.event.key for one in second.entries] == ["k2", "k3"]
    assert third == second
    assert show(database, of(office, "ann", "k1")).entries == ()


def test_who_was_never_to_get_a_letter_has_none_to_show(office: Office, database: Database) -> None:
    office.letters_wait("ann")
    with pytest.raises(NothingToShow):
        show(database, of(office, "somebody"))
    with pytest.raises(NothingToShow):
        show(database, 999_999)


def test_a_letter_without_words_is_not_shown(office: Office, database: Database) -> None:
    office.letters_wait("ann")
    office.drain()
    office.now("UPDATE notify.events SET finished_at = now() - interval '9 days'")
    kept = Kept(bodies=Kept().sent / 2)
    with database.begin() as connection:
        assert upkeep.empty_events(connection, kept, limit=10).gone == 1
    with pytest.raises(NothingToShow):
        show(database, of(office, "ann"))
