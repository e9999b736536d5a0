"""The fixture ``delivered``: the emails that an application's events became, on a stack of the test session's own."""

import pytest

SUITE = """
import notify
import pytest
from sqlalchemy.orm import Session


def say(delivered, key, *, author="alice", actor="dana", commit=True):
    cl = {"link": "CL-1", "title": "Cap the retry", "author": author, "reviewers": ["dana"]}
    event = {"key": key, "type": "cl.comment.created", "actor": actor, "cl": cl}
    delivered.add_person(author)
    with Session(delivered.engine) as session:
        notify.emit(session, event | {"comment": {"id": "1", "body": "*Why?*"}})
        if commit:
            session.commit()


def test_an_email_is_as_its_reader_sees_it(delivered):
    delivered.add_person("dana", display_name="Dana Reyes")
    say(delivered, "k1")
    assert delivered.outcome("k1") == {"alice": "sent", "dana": "is_actor"}
    (email,) = delivered.emails("k1")
    assert (email.to, email.subject) == ("alice@example.com", "Cap the retry (CL-1)")
    assert "Dana Reyes commented on CL-1" in email.text
    assert "<em>Why?</em>" in email.html
    assert email.headers["X-Notify-Event"] == "cl.comment.created"


def test_events_that_would_be_bundled_have_an_email_each(delivered):
    say(delivered, "k1")
    say(delivered, "k2")
    assert [len(delivered.emails(key)) for key in ("k1", "k2")] == [1, 1]


def test_an_email_that_waits_for_its_hour_is_not_waited_for(delivered):
    delivered.add_person("robot", is_bot=True)
    say(delivered, "k1", actor="robot")
    assert "sent" not in delivered.outcome("k1")["alice"]
    assert delivered.emails("k1") == []


def test_what_is_not_committed_is_named(delivered):
    say(delivered, "k1", commit=False)
    with pytest.raises(AssertionError, match="no event with the key 'k1' was committed"):
        delivered.outcome("k1", seconds=0.1)
    say(delivered, "left behind for the next test")


def test_nothing_is_left_of_earlier_tests(delivered):
    say(delivered, "left behind for the next test", author="bob")
    assert [email.to for email in delivered.emails("left behind for the next test")] == ["bob@example.com"]


def test_the_database_spends_no_time_on_flushes(delivered):
    with delivered.engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW fsync").scalar() == "off"


def test_events_cannot_be_both_recorded_and_delivered(delivered, emitted):
    pass
"""


def test_emails_are_delivered_whatever_settings_the_application_has(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    (pytester.path / ".env").write_text("NOTIFY_NO_SUCH_SETTING=1\n")
    pytester.makepyfile(SUITE)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    ran = pytester.runpytest_subprocess("-p", "notify.pytest_plugin")
    ran.assert_outcomes(passed=6, errors=1)
    ran.stdout.fnmatch_lines(["a test takes emitted or delivered*"])
