"""The form of an event, the same at every door."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from notify.domain.errors import MalformedEvent
from notify.intake.schema import EventIn, parse

WELL_FORMED: Mapping[str, Any] = {
    "key": "comment-8731",
    "type": "cl.comment.created",
    "actor": "dana",
    "occurred_at": "2026-03-02T12:00:00+01:00",
    "cl": {
        "link": "CL-4821",
        "title": "Cap the upload retry",
        "url": "https://review.example/CL-4821",
        "repository": "monorepo",
        "author": "alice",
        "reviewers": ["bob", "dana"],
    },
    "comment": {
        "id": "c8731",
        "body": "Why?\n\tBecause.",
        "url": "https://review.example/CL-4821#c8731",
        "path": "src/upload/retry.py",
        "line": 42,
        "code": "delay = base * 2 ** n",
    },
}
ABSENT = Ellipsis


def changed(path: str, value: object) -> dict[str, Any]:
    """The well-formed event with one field at a dotted path replaced or, by ABSENT, removed."""
    *parents, name = path.split(".")
    event: dict[str, Any] = {**WELL_FORMED}
    within = event
    for parent in parents:
        within[parent] = {**within[parent]}
        within = within[parent]
    if value is ABSENT:
        del within[name]
    else:
        within[name] = value
    return event


def test_a_well_formed_event_is_accepted_unchanged() -> None:
    found = parse(WELL_FORMED)
    assert found.occurred_at == datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
    assert found.model_dump(exclude={"occurred_at"}, exclude_none=True) == {
        k: v for k, v in WELL_FORMED.items() if k != "occurred_at"
    }


def test_a_parsed_event_is_accepted_unchanged() -> None:
    event = parse(WELL_FORMED)
    assert parse(event) is event


def test_the_minimal_event_has_who_what_and_where() -> None:
    found = parse(
        {
            "type": "cl.comment.created",
            "actor": "dana",
            "cl": {"link": "CL-1"},
            "comment": {"id": "1", "body": "Why?"},
        }
    )
    assert (found.key, found.occurred_at, found.cl.reviewers) == (None, None, None)
    assert not found.cl.states_facts


@pytest.mark.parametrize("fact", ["title", "url", "repository", "author", "reviewers"])
def test_a_change_list_with_any_optional_field_states_facts(fact: str) -> None:
    cl = {"link": "CL-1", fact: WELL_FORMED["cl"][fact]}
    assert parse(changed("cl", cl)).cl.states_facts


CONTROL = ["a\x00b", "a\nb", "a\rb", "a\tb", "a\x0bb", "a\x1cb", "a\x1fb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b"]
LINES = ["key", "type", "actor", "cl.link", "cl.title", "cl.repository", "cl.author", "comment.id", "comment.path"]


@pytest.mark.parametrize("path", LINES)
@pytest.mark.parametrize("value", CONTROL, ids=ascii)
def test_values_for_headers_contain_no_control_character(path: str, value: str) -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed(path, value))
    assert refused.value.field == path


@pytest.mark.parametrize(
    "title",
    ["👩\u200d💻 logs in", "می\u200cخواهم", "na\u00efve\u00a0fix", "soft\u00adware", "日本語", "שלום \u200f(1)"],
    ids=ascii,
)
def test_text_in_any_language_is_accepted(title: str) -> None:
    assert parse(changed("cl.title", title)).cl.title == title


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("type", ABSENT),
        ("actor", ABSENT),
        ("cl", ABSENT),
        ("comment", ABSENT),
        ("cl.link", ABSENT),
        ("comment.id", ABSENT),
        ("comment.body", ABSENT),
        ("unknown", 1),
        ("cl.unknown", 1),
        ("comment.unknown", 1),
        ("cl", "CL-1"),
        ("actor", None),
        ("actor", 7),
        ("actor", ""),
        ("actor", " dana"),
        ("actor", "dana "),
        ("actor", "a" * 201),
        ("key", ""),
        ("key", "k" * 201),
        ("type", "cl.comment.deleted"),
        ("type", ""),
        ("occurred_at", "yesterday"),
        ("occurred_at", "2026-03-02T12:00:00"),
        ("occurred_at", "9999-12-31T23:59:59-01:00"),
        ("occurred_at", "0001-01-01T00:00:00+01:00"),
        ("cl.title", ""),
        ("cl.title", "t" * 1_001),
        ("cl.title", "lone \ud800 surrogate"),
        ("cl.url", "javascript:alert(1)"),
        ("cl.url", "//review.example"),
        ("cl.url", "https://review.example/a b"),
        ("cl.url", "https://review.example/" + "a" * 2_000),
        ("cl.url", 'https://review.example/"onclick="alert(1)'),
        ("cl.url", "https://review.example/<b>"),
        ("cl.url", "https://"),
        ("cl.url", "https:///CL-1"),
        ("occurred_at", 0.5),
        ("occurred_at", "1767225600"),
        ("cl.reviewers", "bob"),
        ("cl.reviewers", ["r"] * 1_001),
        ("comment.body", ""),
        ("comment.body", "a\x00b"),
        ("comment.body", "b" * 500_001),
        ("comment.body", "lone \ud800 surrogate"),
        ("comment.code", "a\x00b"),
        ("comment.code", "c" * 10_001),
        ("comment.url", "ftp://review.example"),
        ("comment.line", 0),
        ("comment.line", -1),
        ("comment.line", 2**31),
        ("comment.line", "many"),
    ],
    ids=lambda given: ascii(given)[:40],
)
def test_a_malformed_event_is_refused_with_the_name_of_the_wrong_field(path: str, value: object) -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed(path, value))
    assert refused.value.field == path
    assert refused.value.reason
    assert refused.value.index is None


PARTS: Mapping[str, Any] = {
    "comment": {"id": "1", "body": "Why?"},
    "review": {
        "id": "2",
        "state": "approved",
        "body": "Good.",
        "url": "https://review.example/r/2",
        "comments": [{"id": "3", "body": "But."}],
    },
    "request": {"reviewers": ["bob", "carol"]},
    "change": {
        "summary": "*All* of it.",
        "revision": "3",
        "files": 2,
        "added": 40,
        "removed": 0,
        "url": "https://review.example/r/3",
    },
}
MAY_HAVE = {"cl.review.requested": "change"}
PART_OF = {
    "cl.comment.created": "comment",
    "cl.review.submitted": "review",
    "cl.review.requested": "request",
    **dict.fromkeys(("cl.created", "cl.updated", "cl.merged", "cl.closed", "cl.reopened"), "change"),
}


def of_type(event_type: str, **parts: Any) -> dict[str, Any]:
    return {"type": event_type, "actor": "dana", "cl": {"link": "CL-1"}, **parts}


@pytest.mark.parametrize(("event_type", "part"), PART_OF.items())
def test_each_type_has_its_parts_and_refuses_the_others_by_name(event_type: str, part: str) -> None:
    own = {name: PARTS[name] for name in (part, MAY_HAVE.get(event_type)) if name}
    found = parse(of_type(event_type, **own))
    assert found.model_dump(include=set(PARTS), exclude_none=True) == own
    for foreign in PARTS.keys() - own.keys():
        with pytest.raises(MalformedEvent) as refused:
            parse(of_type(event_type, **{part: PARTS[part], foreign: PARTS[foreign]}))
        assert refused.value.field == foreign
        assert event_type in refused.value.reason


@pytest.mark.parametrize(("event_type", "part"), PART_OF.items())
@pytest.mark.parametrize("absent", [{}, None], ids=["absent", "null"])
def test_a_missing_required_part_is_named_and_an_optional_one_may_be_missing(
    event_type: str, part: str, absent: dict[str, Any] | None
) -> None:
    event = of_type(event_type) if absent is not None else of_type(event_type, **{part: None})
    if part == "change":
        assert parse(event).change is None
        return
    with pytest.raises(MalformedEvent) as refused:
        parse(event)
    assert refused.value.field == part
    assert event_type in refused.value.reason


def test_a_mention_cannot_be_emitted() -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(of_type("cl.comment.mentioned", comment=PARTS["comment"]))
    assert refused.value.field == "type"


@pytest.mark.parametrize(
    ("part", "field", "wrong"),
    [
        ("review", "id", ABSENT),
        ("review", "state", ABSENT),
        ("review", "state", "rejected"),
        ("review", "body", ""),
        ("review", "url", "javascript:alert(1)"),
        ("review", "unknown", 1),
        ("review", "comments", [PARTS["comment"]] * 101),
        ("request", "reviewers", ABSENT),
        ("request", "reviewers", []),
        ("request", "reviewers", ["r"] * 101),
        ("request", "unknown", 1),
        ("change", "summary", "a\x00b"),
        ("change", "revision", "two\nlines"),
        ("change", "url", "ftp://review.example"),
        ("change", "files", -1),
        ("change", "added", "many"),
        ("change", "removed", 2**31),
        ("change", "unknown", 1),
    ],
    ids=lambda given: ascii(given)[:30],
)
def test_a_malformed_part_is_refused_with_the_name_of_the_wrong_field(part: str, field: str, wrong: object) -> None:
    event_type = next(one for one, its in PART_OF.items() if its == part)
    given = {**PARTS[part], field: wrong}
    if wrong is ABSENT:
        del given[field]
    with pytest.raises(MalformedEvent) as refused:
        parse(of_type(event_type, **{part: given}))
    assert refused.value.field == f"{part}.{field}"


def test_a_wrong_comment_of_a_review_is_named_by_its_position() -> None:
    review = {**PARTS["review"], "comments": [PARTS["comment"], {"id": "4"}]}
    with pytest.raises(MalformedEvent) as refused:
        parse(of_type("cl.review.submitted", review=review))
    assert refused.value.field == "review.comments.1.body"


def test_the_schema_of_an_event_describes_the_parts_of_each_type() -> None:
    kinds = EventIn.model_json_schema()["oneOf"]
    said = {
        (event_type, part): part in kind.get("required", ())
        for kind in kinds
        for event_type in kind["properties"]["type"]["enum"]
        for part in PARTS
        if kind["properties"].get(part) != {"type": "null"}
    }
    assert said == {pair: pair[1] != "change" for pair in (*PART_OF.items(), *MAY_HAVE.items())}


@pytest.mark.parametrize(
    ("reviewers", "field"),
    [(["bob", ""], "cl.reviewers.1"), ([7], "cl.reviewers.0"), (["a", "b", "c\n"], "cl.reviewers.2")],
)
def test_a_malformed_reviewer_is_named_by_position(reviewers: list[object], field: str) -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed("cl.reviewers", reviewers))
    assert refused.value.field == field


def test_a_wrong_event_in_a_batch_is_named_by_its_position() -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed("actor", ""), index=7)
    assert (refused.value.index, refused.value.field) == (7, "actor")


@pytest.mark.parametrize("item", [None, "event", 7, [], [("type", "cl.comment.created")]], ids=str)
def test_a_value_that_is_no_object_is_refused(item: object) -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(item, index=1)
    assert (refused.value.field, refused.value.index) == ("", 1)


def test_an_unknown_event_type_is_refused_with_a_list_of_the_known_ones() -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed("type", "cl.comment.deleted"))
    assert "cl.comment.created" in refused.value.reason


def test_a_refusal_does_not_repeat_the_content() -> None:
    with pytest.raises(MalformedEvent) as refused:
        parse(changed("comment", {"id": "1", "body": "a secret", "unknown": "another secret"}))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("longest", [("comment.body", "b" * 500_000), ("actor", "a" * 200), ("cl.title", "t" * 1_000)])
def test_values_of_the_maximum_length_are_accepted(longest: tuple[str, str]) -> None:
    assert isinstance(parse(changed(*longest)), EventIn)
