"""Stopping emails from the email itself: one click is enough, looking is not, and it can be undone."""

from dataclasses import replace
from re import MULTILINE, findall

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import insert, update

from notify import wiring
from notify.api.app import build_app
from notify.channels.email.writing.compose import Composer
from notify.channels.links import SignedLinks
from notify.cli import sample
from notify.domain.events import COMMENT_CREATED, HEAD_BROKEN, ChangeList
from notify.domain.preferences import NO_PREFERENCES, Person, Preferences
from notify.http.context import Context
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.tables.people import notification_event_types
from tests.support.emails import NOON
from tests.support.in_process import InProcess

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
STOPPED = {
    "type": Preferences(preferences={COMMENT_CREATED: False}),
    "cl": Preferences(muted_cls=frozenset({"CL-4821"})),
    "everything": Preferences(enabled=False),
}
RESUMED = {"type": Preferences(preferences={COMMENT_CREATED: True}), "cl": NO_PREFERENCES, "everything": NO_PREFERENCES}
SCOPES = {"type": "event_type", "cl": "change_list", "everything": "everything"}


@pytest.fixture(params=["type", "cl", "everything"])
def kind(request: pytest.FixtureRequest) -> str:
    """What the link stops: an event type, a change list, or everything that is not required."""
    return str(request.param)


@pytest.fixture
def link(kind: str, links: SignedLinks) -> str:
    """A valid link from one of dana's emails."""
    made = {
        "type": links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821"),
        "cl": links.mute_change_list("dana", "CL-4821", beside=COMMENT_CREATED),
        "everything": links.stop_everything("dana"),
    }
    return made[kind]


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


def choices(database: Database) -> Preferences:
    with database.begin() as connection:
        assert set(preferences.load(connection, ["dana", "alice"])) <= {"dana"}
        return preferences.load(connection, ["dana"]).get("dana", NO_PREFERENCES)


def test_opening_the_page_changes_nothing(api: httpx.Client, database: Database, link: str) -> None:
    answer = api.get(link)

    assert answer.status_code == 200
    assert choices(database) == NO_PREFERENCES


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"data": ONE_CLICK}, id="urlencoded"),
        pytest.param({"files": {"List-Unsubscribe": (None, "One-Click")}}, id="multipart"),
        pytest.param({"data": {"action": "stop"}}, id="button"),
    ],
)
def test_one_click_stops_the_emails_at_once_however_often_it_is_repeated(
    api: httpx.Client, database: Database, kind: str, link: str, body: dict[str, object]
) -> None:
    for _ in range(2):
        answer = api.post(link, **body)  # type: ignore[arg-type]

        assert answer.status_code == 200
        assert "Set-Cookie" not in answer.headers
        assert choices(database) == STOPPED[kind]


def test_a_stop_can_be_undone_on_the_confirmation_page(
    api: httpx.Client, database: Database, kind: str, link: str
) -> None:
    confirmation = api.post(link, data=ONE_CLICK)
    assert 'value="resume"' in confirmation.text

    for _ in range(2):
        assert api.post(link, data={"action": "resume"}).status_code == 200
    assert choices(database) == RESUMED[kind]


@pytest.mark.parametrize("first", ["type", "cl"])
@pytest.mark.parametrize("scope", SCOPES)
def test_each_of_the_three_scopes_can_be_stopped_and_undone_on_one_page(
    api: httpx.Client, database: Database, links: SignedLinks, first: str, scope: str
) -> None:
    if first == "type":
        url = links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821")
    else:
        url = links.mute_change_list("dana", "CL-4821", beside=COMMENT_CREATED)
    assert api.get(url).text.count(f'name="scope" value="{SCOPES[scope]}"') == 1

    said = api.post(url, data={"scope": SCOPES[scope], "action": "stop"})
    assert choices(database) == STOPPED[scope]
    assert 'role="status"' in said.text

    api.post(url, data={"scope": SCOPES[scope], "action": "resume"})
    assert choices(database) == RESUMED[scope]


@pytest.mark.parametrize("beyond", ["event_type", "change_list", "person", "", "EVERYTHING"])
def test_a_link_only_affects_the_topic_of_its_email(
    api: httpx.Client, database: Database, links: SignedLinks, beyond: str
) -> None:
    answer = api.post(links.stop_everything("dana"), data={"action": "stop", "scope": beyond, "username": "alice"})

    assert answer.status_code == 400
    assert "nothing was changed" in answer.text
    assert choices(database) == NO_PREFERENCES


def test_a_form_that_names_two_scopes_changes_neither(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    url = links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821")
    assert api.post(url, data={"action": "stop", "scope": ["change_list", "everything"]}).status_code == 400
    assert choices(database) == NO_PREFERENCES


def test_a_link_from_before_there_were_three_scopes_still_works(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    assert api.post(links.stop_event_type("dana", COMMENT_CREATED), data=ONE_CLICK).status_code == 200
    assert api.post(links.mute_change_list("dana", "CL-4821"), data=ONE_CLICK).status_code == 200
    both = Preferences(preferences={COMMENT_CREATED: False}, muted_cls=frozenset({"CL-4821"}))
    assert choices(database) == both


def test_when_everything_is_off_the_page_says_that_narrower_scopes_make_no_difference(
    api: httpx.Client, links: SignedLinks
) -> None:
    url = links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821")
    api.post(url, data={"action": "stop", "scope": "everything"})
    assert "All emails are off" in api.post(url, data={"action": "resume"}).text


def test_the_page_uses_the_readers_language_also_for_the_event_type(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", locale="de-AT"))
    text = api.get(links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821")).text
    assert '<html lang="de" dir="ltr">' in text
    assert "E-Mails dieser Art abbestellen?" in text
    assert "Jemand kommentiert eine Changelist" in text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"List-Unsubscribe": "Two-Clicks"},
        {"action": "delete"},
        {f"f{number}": "x" for number in range(900)},
    ],
)
def test_a_post_with_an_unknown_action_changes_nothing(
    api: httpx.Client, database: Database, link: str, body: dict[str, str]
) -> None:
    assert api.post(link, data=body).status_code == 400
    assert choices(database) == NO_PREFERENCES


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("page", ["unsubscribe", "preferences"])
def test_a_link_we_did_not_sign_is_refused_and_changes_nothing(
    api: httpx.Client, database: Database, links: SignedLinks, page: str, method: str
) -> None:
    other = SignedLinks(secrets=["o" * 32], public_url=links.public_url)
    stop, configure = links.stop_event_type("dana", COMMENT_CREATED), links.preferences("dana")
    genuine, crossed = (stop, configure) if page == "unsubscribe" else (configure, stop)
    foreign = other.stop_event_type("dana", COMMENT_CREATED) if page == "unsubscribe" else other.preferences("dana")
    alices = links.stop_event_type("alice", COMMENT_CREATED) if page == "unsubscribe" else links.preferences("alice")
    swapped = ".".join([token_of(alices).partition(".")[0], token_of(genuine).rpartition(".")[2]])
    forged = [
        swapped,
        token_of(genuine)[:-1],
        "A" + token_of(genuine),
        token_of(crossed),
        token_of(foreign),
        "x",
        "%00%FF",
    ]
    assert api.get(genuine).status_code == 200
    for token in forged:
        answer = api.request(method, f"{links.public_url}/{page}/{token}", data=ONE_CLICK)

        assert answer.status_code == 404
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "nothing was changed" in answer.text
    assert choices(database) == NO_PREFERENCES


def test_a_link_works_as_long_as_its_signing_key_is_kept(context: Context) -> None:
    old, new, newest = "o" * 32, "n" * 32, "N" * 32
    before = links_of(old)
    for keys, opens in (([new, old], True), ([newest, new, old], True), ([newest, new], False)):
        now = links_of(*keys)
        app = build_app(replace(context, links=now))
        with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
            for signed in (before.preferences("dana"), before.stop_everything("dana")):
                assert (api.get(signed).status_code == 200) == opens
                assert (api.post(signed, data=ONE_CLICK).status_code != 404) == opens
            assert api.get(now.preferences("dana")).status_code == 200
        assert now.preferences("dana") == links_of(keys[0]).preferences("dana")


def links_of(*keys: str) -> SignedLinks:
    """The links of a process with these keys, the newest first."""
    made = wiring.links(Settings(secret_keys=SecretStr(" ".join(keys)), public_url="http://notify.test"))
    assert made is not None
    return made


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_required_emails_cannot_be_stopped_and_the_page_says_so(
    api: httpx.Client, database: Database, links: SignedLinks, method: str
) -> None:
    with database.begin() as connection:
        connection.execute(update(notification_event_types).values(system_required=True))

    answer = api.request(method, links.stop_event_type("dana", COMMENT_CREATED), data=ONE_CLICK)

    assert answer.status_code == 409
    assert "required" in answer.text
    [settings] = findall(r'href="(\.\./preferences/[^"]+)"', answer.text)
    assert api.get(str(answer.request.url.join(settings))).status_code == 200
    assert choices(database) == NO_PREFERENCES


def test_a_removed_event_type_is_not_found(api: httpx.Client, links: SignedLinks) -> None:
    assert api.post(links.stop_event_type("dana", "cl.gone.away"), data=ONE_CLICK).status_code == 404


def test_without_a_secret_no_link_is_valid(context: Context, link: str) -> None:
    app = build_app(replace(context, links=None))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        assert api.post(link, data=ONE_CLICK).status_code == 404


def test_the_page_says_what_it_stops(api: httpx.Client, database: Database, links: SignedLinks) -> None:
    with database.begin() as connection:
        directory.put_change_list(connection, ChangeList(link="CL-4821", title="Cap <b>the</b> retry"))
        description = preferences.event_types(connection)[COMMENT_CREATED].description

    assert "Cap &lt;b&gt;the&lt;/b&gt; retry" in api.get(links.mute_change_list("dana", "CL-4821")).text
    assert description in api.get(links.stop_event_type("dana", COMMENT_CREATED)).text


def test_the_link_in_an_email_about_a_queue_mutes_that_queue_and_names_it(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    composer = Composer(mail_from="notify@example.com", mail_from_name="Review", links=links)
    text = composer.compose(sample.email(HEAD_BROKEN, host="example.com"), date=NOON).text
    [url] = findall(r"^Mute monorepo/main: (\S+)$", text, MULTILINE)

    assert "the queue monorepo/main" in api.get(url).text
    assert "the queue monorepo/main" in api.post(url, data={"action": "stop"}).text
    with database.begin() as connection:
        assert preferences.config(connection, "alice").muted_cls == {"queue:monorepo/main"}


def test_the_address_of_a_page_is_hidden_from_caches_frames_and_other_sites(
    api: httpx.Client, link: str, links: SignedLinks
) -> None:
    for url in (link, links.preferences("dana"), f"{links.public_url}/preferences/forged"):
        headers = api.get(url).headers

        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_new_event_type_that_is_off_by_default_is_shown_as_stopped(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    with database.begin() as connection:
        row = {"code": "cl.abandoned", "category": "Ends", "description": "x", "default_enabled": False}
        connection.execute(insert(notification_event_types).values(row))

    assert 'value="resume"' in api.get(links.stop_event_type("dana", "cl.abandoned")).text


def test_wherever_everything_can_be_stopped_the_page_says_that_required_emails_still_arrive(
    api: httpx.Client, links: SignedLinks
) -> None:
    narrow, everything = links.stop_event_type("dana", COMMENT_CREATED), links.stop_everything("dana")
    said = "Only required emails will still arrive."
    resumed = api.post(everything, data={"action": "resume"})
    pages = [api.get(narrow), api.post(narrow, data=ONE_CLICK), api.get(everything), resumed]
    assert [page.text.count(said) for page in pages] == [1, 1, 1, 0]


def test_the_page_leads_to_all_settings_of_its_reader(api: httpx.Client, link: str, links: SignedLinks) -> None:
    for page in (api.get(link), api.post(link, data=ONE_CLICK)):
        (found,) = findall(r'<a href="([^"]+)"', page.text)
        assert str(page.url.join(found)) == links.preferences("dana")


GERMAN = {"Accept-Language": "fr-CH, de-AT;q=0.9, en;q=0.8"}


def test_an_invalid_link_is_explained_in_the_browsers_language(
    api: httpx.Client, link: str, links: SignedLinks
) -> None:
    def said(method: str, url: str) -> list[str]:
        return [api.request(method, url, headers=asked).text for asked in ({}, GERMAN)]

    for method, url in (
        ("GET", f"{link}x"),
        ("POST", link),
        ("PUT", link),
        ("GET", f"{links.public_url}/preferences/x"),
        ("POST", links.preferences("dana")),
    ):
        english, german = said(method, url)
        assert 'lang="en"' in english
        assert "othing was changed" in english
        assert '<html lang="de"' in german
        assert "wurde nichts geändert" in german


def test_a_known_person_is_refused_in_their_language_whatever_the_browser_prefers(
    api: httpx.Client, database: Database, links: SignedLinks
) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", locale="de"))
        connection.execute(update(notification_event_types).values(system_required=True))

    for code, words in ((COMMENT_CREATED, "vorgeschrieben"), ("cl.gone.away", "gibt es nicht mehr")):
        answer = api.get(links.stop_event_type("dana", code), headers={"Accept-Language": "en"})
        assert '<html lang="de"' in answer.text
        assert words in answer.text


def test_an_error_page_reveals_no_framework(api: httpx.Client, link: str) -> None:
    large = api.post(link, data={"x": "y" * 2_000_000}, headers=GERMAN)
    assert large.status_code == 413
    assert "Das wurde nicht verstanden" in large.text
    for answer in (large, api.put(link, headers=GERMAN), api.get(f"{link}/more", headers=GERMAN)):
        assert not any(words in answer.text for words in ("Not Found", "Not Allowed", "Too Large", "expected"))
