"""Who is told about an event, and why not: every rule, and which of two rules wins."""

from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest

from notify.domain.fan_out import NotTold, Priority, Told, Why, decide, usable_address
from notify.domain.preferences import NO_CHOICES, Choices, EventType, Person

CODE = "cl.comment.created"
LINK = "CL-4821"
ADDRESS = "bob@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is so, in the words of ``decide``; what is not said is ordinary."""

    person: dict[str, Any] = field(default_factory=dict)
    choices: dict[str, Any] = field(default_factory=dict)
    event_type: dict[str, Any] = field(default_factory=dict)
    actor: str = "dana"

    def __or__(self, other: "Case") -> "Case":
        return Case(
            person=self.person | other.person,
            choices=self.choices | other.choices,
            event_type=self.event_type | other.event_type,
            actor=other.actor if self.actor == "dana" else self.actor,
        )

    def decision(self) -> Told | NotTold:
        return decide(
            Person(**{"username": "bob", "email": ADDRESS} | self.person),
            Choices(**self.choices),
            event_type=EventType(**{"code": CODE, "category": "Comments", "description": "…"} | self.event_type),
            cl_link=LINK,
            actor=self.actor,
        )


NORMALLY = Told(ADDRESS, Priority.NORMAL, Why.DEFAULT)
GONE = Case(person={"active": False})
REQUIRED = Case(event_type={"system_required": True})
ACTOR = Case(actor="bob")
BOT = Case(person={"is_bot": True})
MUTED_ALL = Case(choices={"enabled": False})
MUTED_CL = Case(choices={"muted_cls": frozenset({LINK})})
MUTED_EVENT = Case(choices={"preferences": {CODE: False}})
OFF_BY_DEFAULT = Case(event_type={"default_enabled": False})

# Strongest first; each beats all that come after it.
RULES: list[tuple[Case, Told | NotTold]] = [
    (GONE, NotTold(Why.NO_ADDRESS)),
    (REQUIRED, Told(ADDRESS, Priority.URGENT, Why.SYSTEM_REQUIRED)),
    (ACTOR, NotTold(Why.IS_ACTOR)),
    (BOT, NotTold(Why.IS_BOT)),
    (MUTED_ALL, NotTold(Why.MUTED_ALL)),
    (MUTED_CL, NotTold(Why.MUTED_CL)),
    (MUTED_EVENT, NotTold(Why.MUTED_EVENT)),
    (OFF_BY_DEFAULT, NotTold(Why.DEFAULT)),
]


def test_somebody_who_has_chosen_nothing_is_told() -> None:
    assert Case().decision() == NORMALLY


@pytest.mark.parametrize(("case", "decision"), RULES, ids=[decision.why for _, decision in RULES])
def test_each_rule_decides_where_it_alone_applies(case: Case, decision: Told | NotTold) -> None:
    assert case.decision() == decision


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [pytest.param(one, other, id=f"{one[1].why}-before-{other[1].why}") for one, other in combinations(RULES, 2)],
)
def test_of_two_rules_the_stronger_one_decides(
    stronger: tuple[Case, Told | NotTold], weaker: tuple[Case, Told | NotTold]
) -> None:
    assert (stronger[0] | weaker[0]).decision() == stronger[1]


def test_required_mail_reaches_even_those_who_have_switched_everything_off() -> None:
    everything = REQUIRED | ACTOR | BOT | MUTED_ALL | MUTED_CL | MUTED_EVENT | OFF_BY_DEFAULT
    assert everything.decision() == Told(ADDRESS, Priority.URGENT, Why.SYSTEM_REQUIRED)


def test_an_explicit_yes_beats_a_default_of_no() -> None:
    asked_for = Case(choices={"preferences": {CODE: True}})
    assert (asked_for | OFF_BY_DEFAULT).decision() == Told(ADDRESS, Priority.NORMAL, Why.CHOSEN_EVENT)


@pytest.mark.parametrize(
    "elsewhere",
    [
        Case(choices={"muted_cls": frozenset({"CL-1", LINK.lower()})}),
        Case(choices={"preferences": {"cl.merged": False}}),
        Case(actor="Bob"),
    ],
    ids=["another change list", "another event type", "another name"],
)
def test_a_choice_about_something_else_silences_nothing(elsewhere: Case) -> None:
    assert elsewhere.decision() == NORMALLY


def test_somebody_the_directory_does_not_know_has_no_address() -> None:
    event_type = EventType(code=CODE, category="Comments", description="…", system_required=True)
    decision = decide(None, NO_CHOICES, event_type=event_type, cl_link=LINK, actor="dana")
    assert decision == NotTold(Why.NO_ADDRESS)


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
def test_letters_go_to_the_chosen_address_else_to_the_directorys_unless_it_was_refused_for_good(
    person: dict[str, Any], choices: dict[str, Any], address: str | None
) -> None:
    assert usable_address(Person(username="bob", **person), Choices(**choices)) == address
    decision = Case(person=person, choices=choices).decision()
    expected = NotTold(Why.NO_ADDRESS) if address is None else Told(address, Priority.NORMAL, Why.DEFAULT)
    assert decision == expected
