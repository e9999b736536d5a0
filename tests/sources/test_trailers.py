"""Whose change our app has opened: only the last block of trailers counts, and an address is never a login."""

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.domain.forge import Account, Change, ChangeReading, ChangeState, Repository
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.domain.preferences import Person
from notify.sources.authors import Trailer, on_behalf_of
from notify.sources.mirror import Mirror
from notify.store.database import Database
from notify.store.directory import directory

LOGINS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
ADDRESSES = st.builds("{}@{}.example".format, LOGINS, LOGINS)
NAMES = st.sampled_from(["On-behalf-of", "on-behalf-of", "ON-BEHALF-OF"])
ENDS = st.sampled_from(["\n", "\r\n", "\r"])
OTHERS = st.lists(st.sampled_from(["Signed-off-by: Eve <eve@example.com>", "Change-Id: I1", "Fixes: #7"]), max_size=3)
WORDS = st.lists(st.text(st.characters(exclude_characters=":\n\r"), min_size=1, max_size=40), min_size=1, max_size=4)
OUR_BOT = "notify[bot]"
PEOPLE = ("alice", "bob", "carol")
STRANGERS = ("eve", "linter[bot]", "notify", "ghost")
SPELLINGS = st.sampled_from(["{}", "@{}", "{}@example.com", "Somebody <{}@example.com>"])
NOW = datetime(2026, 3, 2, tzinfo=UTC)
COVER = settings(max_examples=60, deadline=None, database=None)


@COVER
@given(words=WORDS, before=OTHERS, after=OTHERS, name=NAMES, login=LOGINS, end=ENDS, at=st.sampled_from(["", "@"]))
def test_the_last_block_of_trailers_names_a_login_whatever_is_around_it(
    words: list[str], before: list[str], after: list[str], name: str, login: str, end: str, at: str
) -> None:
    block = [*before, f"{name}: {at}{login}", *after]
    text = end.join([*words, "", "On-behalf-of: @mallory", "", *block, ""])
    assert on_behalf_of(text) == Trailer(login, None)


@COVER
@given(words=WORDS, block=OTHERS, end=ENDS)
def test_an_earlier_block_names_nobody(words: list[str], block: list[str], end: str) -> None:
    text = end.join([*words, "", "On-behalf-of: @mallory", "", *(block or ["Words that are no trailer."])])
    assert on_behalf_of(text) is None


@COVER
@given(block=OTHERS, login=LOGINS, words=st.from_regex(r"[A-Za-z ]{1,30}", fullmatch=True))
def test_a_block_with_a_line_that_is_no_trailer_names_nobody(block: list[str], login: str, words: str) -> None:
    for lines in ([*block, f"On-behalf-of: {login}", words], [words, f"On-behalf-of: {login}", *block]):
        if words.strip():
            assert on_behalf_of("Words.\n\n" + "\n".join(lines)) is None


@COVER
@given(address=ADDRESSES, name=st.sampled_from(["", "Alice ", '"A. Li, ce" ']))
def test_an_address_is_never_a_login(address: str, name: str) -> None:
    stated = f"{name}<{address}>" if name else address
    assert on_behalf_of(f"Words.\n\nOn-behalf-of: {stated}") == Trailer(None, address)


@COVER
@given(text=st.text(max_size=300) | st.builds("Words.\n\nOn-behalf-of: {}".format, st.text(max_size=60)))
def test_no_text_raises_and_what_is_named_is_a_login_or_an_address(text: str) -> None:
    named = on_behalf_of(text)
    if named is not None:
        assert (named.login is None) != (named.email is None)
        assert "@" not in (named.login or "")
        assert "@" in (named.email or "@")


@COVER
@given(
    count=st.integers(1, 20_000),
    unit=st.sampled_from(["\n", "A: b\n", "\n \n", "a", "A:", " \t", "On-behalf-of: @a\n\n"]),
)
def test_a_long_description_is_read_in_time_that_grows_with_it(count: int, unit: str) -> None:
    on_behalf_of(unit * count + "On-behalf-of: @alice")


def author_of(database: Database, *, opener: str, description: str) -> tuple[str | None, str, str]:
    """The author in the directory, and in the mirror with where it came from; nothing is kept."""
    change = Change(
        number=1,
        title="Change",
        description=description,
        url="https://forge.example/acme/app/pull/1",
        state=ChangeState.OPEN,
        draft=False,
        opener=Account(login=opener, is_bot=opener.endswith("[bot]")),
        head=None,
        base=None,
        merge_commit=None,
        created_at=NOW,
        updated_at=NOW,
        closed_at=None,
    )
    repository = Repository(id=1, full_name="acme/app", url="https://forge.example/acme/app", default_branch="main")
    forge = ForgeSettings(
        name="github",
        kind=ForgeKind.GITHUB,
        api_url="https://forge.example/api/v3",
        web_url="https://forge.example",
        webhook_secrets=(),
    )
    with database.engine.connect() as connection:
        for name in PEOPLE:
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
        reading = ChangeReading(repository=repository, change=change, reviewers=())
        Mirror(forge, own_login=OUR_BOT).write(connection, reading, asked_at=NOW)
        row = connection.exec_driver_sql(
            "SELECT known.author, mirrored.author, mirrored.author_from FROM notify.forge_changes AS mirrored"
            " JOIN notify.change_lists AS known USING (link)"
        ).one()
    return row[0], row[1], row[2]


IN_DATABASE = settings(COVER, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@IN_DATABASE
@given(opener=st.sampled_from([*PEOPLE, *STRANGERS]), named=st.sampled_from(PEOPLE), name=NAMES, spelling=SPELLINGS)
def test_nobody_but_our_app_can_write_somebody_else_down_as_the_author(
    database: Database, opener: str, named: str, name: str, spelling: str
) -> None:
    trailer = f"Words.\n\n{name}: {spelling.format(named)}"
    username = opener if opener in PEOPLE else None
    assert author_of(database, opener=opener, description=trailer) == (username, opener, "opener")


@IN_DATABASE
@given(
    opener=st.sampled_from([OUR_BOT, OUR_BOT.title()]), named=st.sampled_from(PEOPLE), name=NAMES, spelling=SPELLINGS
)
def test_what_our_app_opens_is_the_change_of_the_person_it_names(
    database: Database, opener: str, named: str, name: str, spelling: str
) -> None:
    by_email = "." in spelling
    mirrored = (opener, "opener") if by_email else (named, "trailer")
    trailer = f"Words.\n\n{name}: {spelling.format(named)}"
    assert author_of(database, opener=opener, description=trailer) == (named, *mirrored)
