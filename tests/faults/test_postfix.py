"""An ordinary Postfix as the relay."""

from notify.store.database import Database
from tests.support.office import Office, many
from tests.support.postfix import needs_postfix, postfix
from tests.support.smtp import ScriptedRelay

pytestmark = needs_postfix

TRUSTED = "127.0.0.0/8"


def test_emails_through_a_real_postfix_arrive(database: Database, relay: ScriptedRelay) -> None:
    with postfix(mynetworks=TRUSTED, default_transport=f"smtp:[127.0.0.1]:{relay.port}") as mta:
        office = Office(database, mta.url)
        office.letters_wait(*many(20))

        assert office.drain()["sent"] == 20
        relay.wait_for(20)

    assert {one.recipient for one in relay.letters} == {f"{name}@example.com" for name in many(20)}
