"""Who is told about an event, and why not: every rule, and which of two rules wins."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.audience import Reason
from notify.domain.claims import Lane
from notify.domain.fan_out import (
    EventContext,
    NotTold,
    Rule,
    Step,
    Told,
    Why,
    decide,
    plain_address,
    resolve,
    usable_address,
)
from notify.domain.preferences import NO_PREFERENCES, EventType, Person, Preferences

CODE = "cl.comment.created"
LINK = "CL-4821"
ADDRESS = "bob@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The arguments of ``decide``; those that are not given are ordinary."""

    person: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    event_type: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: "Case") -> "Case":
        return Case(
            person=self.person | other.person,
            choices=self.choices | other.choices,
            event_type=self.event_type | other.event_type,
            context=self.context | other.context,
        )

    def asked(self) -> tuple[Person, Preferences, EventContext]:
        event_type = EventType(**{"code": CODE, "category": "Comments", "description": "…"} | self.event_type)
        usual: dict[str, Any] = {"topic": LINK, "actor": "dana", "reason": Reason.REVIEWER}
        return (
            Person(**{"username": "bob", "email": ADDRESS} | self.person),
            Preferences(**self.choices),
            EventContext(event_type=event_type, **usual | self.context),
        )

    def trace(self) -> tuple[Step, ...]:
        """Every rule that is checked."""
        return resolve(*self.asked())[1]

    def decision(self) -> Told | NotTold:
        """The decision, which is the same with and without its trace."""
        decision = decide(*self.asked())
        assert decision == resolve(*self.asked())[0]
        return decision


NORMALLY = Told(ADDRESS, Lane.NORMAL, Why.DEFAULT)
GONE = Case(person={"active": False})
REQUIRED = Case(event_type={"system_required": True})
ACTOR = Case(context={"actor": "bob"})
BOT = Case(person={"is_bot": True})
MUTED_ALL = Case(choices={"enabled": False})
MUTED_CL = Case(choices={"muted_cls": frozenset({LINK})})
UNSUBSCRIBED = Case(context={"reason": Reason.SUBSCRIBER})
NOT_PARTICIPATING = Case(context={"reason": Reason.PARTICIPANT})
ALREADY_TOLD = Case(context={"already_told": True})
MUTED_EVENT = Case(choices={"preferences": {CODE: False}})
OFF_BY_DEFAULT = Case(event_type={"default_enabled": False})

# Strongest first; each wins over all after it.
RULES: list[tuple[Case, Told | NotTold]] = [
    (GONE, NotTold(Why.NO_ADDRESS)),
    (REQUIRED, Told(ADDRESS, Lane.URGENT, Why.SYSTEM_REQUIRED)),
    (ACTOR, NotTold(Why.IS_ACTOR)),
    (BOT, NotTold(Why.IS_BOT)),
    (MUTED_ALL, NotTold(Why.MUTED_ALL)),
    (MUTED_CL, NotTold(Why.MUTED_CL)),
    (UNSUBSCRIBED, NotTold(Why.UNSUBSCRIBED)),
    (MUTED_EVENT, NotTold(Why.MUTED_EVENT)),
    (OFF_BY_DEFAULT, NotTold(Why.DEFAULT)),
]


def test_a_person_without_stored_preferences_is_told() -> None:
    assert Case().decision() == NORMALLY


@pytest.mark.parametrize(("case", "decision"), RULES, ids=[decision.why for _, decision in RULES])
def test_each_rule_decides_where_it_alone_applies(case: Case, decision: Told | NotTold) -> None:
    assert case.decision() == decision


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [pytest.param(one, other, id=f"{one[1].why}-before-{other[1].why}") for one, other in combinations(RULES, 2)],
)
def test_of_two_rules_the_stronger_decides(
    stronger: tuple[Case, Told | NotTold], weaker: tuple[Case, Told | NotTold]
) -> None:
    assert (stronger[0] | weaker[0]).decision() == stronger[1]


def test_required_mail_reaches_even_people_who_switched_everything_off() -> None:
    everything = REQUIRED | ACTOR | BOT | MUTED_ALL | MUTED_CL | MUTED_EVENT | OFF_BY_DEFAULT
    assert everything.decision() == Told(ADDRESS, Lane.URGENT, Why.SYSTEM_REQUIRED)


def test_whom_an_earlier_event_told_is_not_told_again_whatever_they_have_switched_on() -> None:
    asked_for = Case(choices={"preferences": {CODE: True}})
    assert [(one | ALREADY_TOLD).decision() for one in (Case(), asked_for)] == [NotTold(Why.ALREADY_TOLD)] * 2
    assert (MUTED_CL | ALREADY_TOLD).decision() == NotTold(Why.MUTED_CL)
    assert (REQUIRED | ALREADY_TOLD).decision().why == Why.SYSTEM_REQUIRED


def test_an_explicit_yes_wins_over_a_default_of_no() -> None:
    asked_for = Case(choices={"preferences": {CODE: True}})
    assert (asked_for | OFF_BY_DEFAULT).decision() == Told(ADDRESS, Lane.NORMAL, Why.CHOSEN_EVENT)


@pytest.mark.parametrize(
    "elsewhere",
    [
        Case(choices={"muted_cls": frozenset({"CL-1", LINK.lower()})}),
        Case(choices={"preferences": {"cl.merged": False}}),
        Case(context={"actor": "Bob"}),
    ],
    ids=["another change list", "another event type", "another name"],
)
def test_a_preference_about_something_else_silences_nothing(elsewhere: Case) -> None:
    assert elsewhere.decision() == NORMALLY


def test_a_person_missing_from_the_directory_has_no_address() -> None:
    event_type = EventType(code=CODE, category="Comments", description="…", system_required=True)
    context = EventContext(event_type=event_type, topic=LINK, actor="dana", reason=Reason.AUTHOR)
    assert decide(None, NO_PREFERENCES, context) == NotTold(Why.NO_ADDRESS)


@pytest.mark.parametrize(
    ("person", "choices", "address"),
    [
        ({"email": "a@x"}, {}, "a@x"),
        ({"email": None}, {}, None),
        ({"email": "a@x"}, {"email": "b@x"}, "b@x"),
        ({"email": None}, {"email": "b@x"}, "b@x"),
        ({"email": "a@x", "undeliverable_email": "a@x"}, {}, None),
        ({"email": "a@x", "undeliverable_email": "old@x"}, {}, "a@x"),
        ({"email": "a@x", "undeliverable_email": "a@x"}, {"email": "b@x"}, "b@x"),
        ({"email": "a@x", "undeliverable_email": "b@x"}, {"email": "b@x"}, None),
    ],
)
def test_emails_go_to_the_preferred_address_else_to_the_directorys_unless_it_was_refused_for_good(
    person: dict[str, Any], choices: dict[str, Any], address: str | None
) -> None:
    assert usable_address(Person(username="bob", **person), Preferences(**choices)) == address
    decision = Case(person=person, choices=choices).decision()
    expected = NotTold(Why.NO_ADDRESS) if address is None else Told(address, Lane.NORMAL, Why.DEFAULT)
    assert decision == expected


ASKED: list[Rule] = [rule for rule in Rule if rule not in {Rule.AUDIENCE, Rule.SCHEDULE}]
MENTIONED = Case(context={"reason": Reason.MENTIONED})
PIERCING = Case(choices={"mentions_pierce_mutes": True})


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (ACTOR | Case(choices={"own_actions": True}), Why.DEFAULT),
        (ACTOR | Case(choices={"own_actions": True, "enabled": False}), Why.MUTED_ALL),
        (BOT | Case(choices={"preferences": {CODE: True}}), Why.CHOSEN_EVENT),
        (BOT | Case(choices={"preferences": {CODE: False}}), Why.IS_BOT),
        (BOT | Case(choices={"preferences": {"cl.merged": True}}), Why.IS_BOT),
        (BOT | Case(choices={"preferences": {CODE: True}}) | MUTED_CL, Why.MUTED_CL),
        (MUTED_CL | MENTIONED, Why.MUTED_CL),
        (MUTED_CL | MENTIONED | PIERCING, Why.DEFAULT),
        (MUTED_CL | PIERCING, Why.MUTED_CL),
        (MUTED_CL | MENTIONED | PIERCING | MUTED_EVENT, Why.MUTED_EVENT),
        (MUTED_CL | MENTIONED | PIERCING | MUTED_ALL, Why.MUTED_ALL),
        (UNSUBSCRIBED | Case(choices={"subscribed_cls": frozenset({LINK})}), Why.DEFAULT),
        (UNSUBSCRIBED | Case(choices={"subscribed_cls": frozenset({"CL-1"})}), Why.UNSUBSCRIBED),
        (MUTED_CL | Case(choices={"subscribed_cls": frozenset({LINK})}), Why.MUTED_CL),
        (NOT_PARTICIPATING, Why.NOT_PARTICIPATING),
        (NOT_PARTICIPATING | Case(choices={"participating": True}), Why.DEFAULT),
        (NOT_PARTICIPATING | Case(choices={"participating": True}) | OFF_BY_DEFAULT, Why.DEFAULT),
    ],
)
def test_each_preference_applies_to_its_scope_and_no_further(case: Case, why: Why) -> None:
    assert case.decision().why == why


@pytest.mark.parametrize(
    ("case", "lane"),
    [
        (Case(context={"by_bot": True}), Lane.BULK),
        (Case(context={"by_bot": True}, choices={"preferences": {CODE: True}}), Lane.BULK),
        (Case(context={"by_bot": True}) | REQUIRED, Lane.URGENT),
        (Case(), Lane.NORMAL),
    ],
)
def test_events_by_bots_have_bulk_priority_unless_required(case: Case, lane: Lane) -> None:
    decision = case.decision()
    assert isinstance(decision, Told)
    assert decision.lane is lane


@pytest.mark.parametrize(
    ("case", "last"),
    [(case, rule) for (case, _), rule in zip(RULES, ASKED, strict=True)],
    ids=ASKED,
)
def test_the_trace_names_every_checked_rule_and_ends_with_the_deciding_one(case: Case, last: Rule) -> None:
    asked = [step.rule for step in case.trace()]
    assert asked == ASKED[: ASKED.index(last) + 1]


def test_a_trace_has_what_each_rule_found_so_that_two_cases_can_be_told_apart() -> None:
    plain, own = (ACTOR | Case(choices={"own_actions": on}) for on in (False, True))
    found = [{step.rule: step.found for step in case.trace()} for case in (plain, own)]
    assert found[0][Rule.ADDRESS] == found[1][Rule.ADDRESS]
    assert found[0][Rule.ACTOR] != found[1][Rule.ACTOR]
    assert all(found[1].values())


@given(
    person=st.fixed_dictionaries(
        {},
        optional={
            "email": st.sampled_from([None, "", "bob at example.com", ADDRESS]),
            "undeliverable_email": st.sampled_from([None, ADDRESS]),
            "is_bot": st.booleans(),
            "active": st.booleans(),
        },
    ),
    choices=st.sampled_from(
        [NO_PREFERENCES, Preferences(enabled=False), Preferences(email="b@example.com"), Preferences()]
    ),
    event_type=st.fixed_dictionaries({}, optional={"system_required": st.booleans(), "default_enabled": st.booleans()}),
    actor=st.sampled_from(["bob", "dana"]),
    reason=st.sampled_from(Reason),
)
def test_a_plain_job_is_told_by_all_the_rules_at_its_address(
    person: dict[str, Any], choices: Preferences, event_type: dict[str, Any], actor: str, reason: Reason
) -> None:
    somebody, _, context = Case(
        person=person, event_type=event_type, context={"actor": actor, "reason": reason}
    ).asked()
    address = plain_address(somebody, choices, context.event_type, actor=actor, reason=reason)
    if address is not None:
        assert decide(somebody, choices, context) == Told(address, Lane.NORMAL, Why.DEFAULT)


def test_an_ordinary_person_is_plain() -> None:
    person, choices, context = Case().asked()
    plain = plain_address(person, NO_PREFERENCES, context.event_type, actor="dana", reason=Reason.REVIEWER)
    assert plain == ADDRESS
    assert plain_address(person, choices, context.event_type, actor="dana", reason=Reason.REVIEWER) is None
    assert plain_address(None, NO_PREFERENCES, context.event_type, actor="dana", reason=Reason.REVIEWER) is None
