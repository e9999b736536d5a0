"""Everything that the documentation names exists, and what it says is true."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import psycopg
import pytest
import typer
from flower.options import default_options  # type: ignore[import-untyped]

import notify
from notify.api import app as api
from notify.api import metrics
from notify.channels.email.writing.facts import Limits, facts_of
from notify.cli import sample
from notify.cli.commands import command_line
from notify.cli.publish_status import BuildOption
from notify.domain.fan_out import Why
from notify.domain.retention import RetentionPeriods
from notify.domain.statuses import BuildProgress, StatusKind, shown_progress
from notify.doorbell import NoDoorbell
from notify.intake.schema import EventIn, parse, payload_objects_of
from notify.intake.triggers import TRIGGERS
from notify.settings import PREFIX, THEIRS, Settings, load
from notify.statuses.schema import StatusIn
from tests.support.documentation import PAGES, ROOT, broken_links, examples, prose
from tests.support.statuses import wanted

MOST_PAGES = 12
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
TARGET = re.compile(r"^([a-z]+):.*## ", re.MULTILINE)
CALL = re.compile(r"(?:`|GET |POST |PUT )(/(?:api|livez|readyz|metrics)[\w/{}]*)`")
PLACEHOLDER = re.compile(r"\{\w+\}")

every_page = pytest.mark.parametrize("page", PAGES)


def blocks(page: str, language: str) -> list[str]:
    return [example.text for example in examples(page, language)]


def code(page: str) -> Iterator[str]:
    """Every code span, and every line of a shell block."""
    yield from CODE.findall(prose(page))
    for block in blocks(page, "sh"):
        yield from block.splitlines()


def table(page: str, *, first: str) -> dict[str, list[str]]:
    """The rows of the table with this first heading, by first cell; a cell with several names makes several rows."""
    lines = iter(PAGES[page].splitlines())
    rows: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(f"| {first} |"):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    return rows
                cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
                rows.update(dict.fromkeys(CODE.findall(cells[0]) or cells[:1], cells[1:]))
    return rows


@cache
def commands() -> dict[str, Any]:
    """Every command of ``notify``, including groups and their members."""
    found: dict[str, Any] = {"notify": typer.main.get_command(command_line())}
    waiting = list(found.items())
    for name, command in waiting:
        for sub, one in getattr(command, "commands", {}).items():
            found[f"{name} {sub}"] = one
            waiting.append((f"{name} {sub}", one))
    return found


def leaves() -> set[str]:
    """The commands that are not groups."""
    return {name for name, command in commands().items() if not hasattr(command, "commands")}


def invocations(page: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of notify on the page, with its arguments."""
    for line in code(page):
        if inside := re.search(r"(?:^|\$\()(?:\.venv/bin/)?(notify(?: [^)]*|$))", line):
            name, *words = shlex.split(inside[1])
            while words and f"{name} {words[0]}" in commands():
                name = f"{name} {words.pop(0)}"
            yield name, words


@cache
def routes() -> set[str]:
    """Every path of the API, with {} for parameters."""
    settings = Settings(database_url="postgresql://nobody@nowhere/none")
    return {PLACEHOLDER.sub("{}", path) for path in api.build_app(api.context_of(settings)).openapi()["paths"]}


@every_page
def test_every_link_between_pages_works(page: str) -> None:
    assert list(broken_links(page)) == []


@every_page
def test_every_named_setting_exists(page: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = set(re.findall(rf"\b{PREFIX}\w+\b", PAGES[page])) - known
    assert {name for name in unknown if not THEIRS.match(f"{name}=tcp://")} == set()
    for name in re.findall(r"\bFLOWER_(\w+)", PAGES[page]):
        assert name.lower() in default_options.as_dict()


@every_page
def test_every_shown_command_parses(page: str) -> None:
    values = {"ID": "1", "FILE": "-"}
    for name, words in invocations(page):
        if words and words != ["--help"]:
            assert name in leaves(), f"{page}: {name} {words[0]}"
            commands()[name].make_context(name, [values.get(word, word) for word in words])


@every_page
def test_every_named_make_target_exists(page: str) -> None:
    targets = TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8"))
    for line in code(page):
        if line.startswith("make "):
            assert line.split()[1] in targets


@every_page
def test_every_named_file_exists(page: str) -> None:
    for name in code(page):
        if re.fullmatch(
            r"(templates|migrations|notify|docs|tests)/[\w./]+|\w[\w-]*\.(md|yml|toml|lock)|Dockerfile", name
        ):
            assert (ROOT / name).exists(), f"{page}: {name}"


@every_page
def test_every_named_api_call_exists(page: str) -> None:
    for path in (PLACEHOLDER.sub("{}", named) for named in CALL.findall(PAGES[page])):
        assert any(route == path or route.startswith(f"{path}/") for route in routes()), f"{page}: {path}"


@every_page
def test_python_and_json_examples_parse(page: str) -> None:
    for example in blocks(page, "python"):
        ast.parse(example)
    for example in blocks(page, "json"):
        json.loads(example)


def test_there_are_few_pages() -> None:
    assert len(list((ROOT / "docs").glob("*.md"))) <= MOST_PAGES


def test_operations_lists_every_setting_with_its_default() -> None:
    listed = table("docs/operations.md", first="Variable")
    stated = {}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        shown = "" if default is None else f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
        stated[PREFIX + name.upper()] = [shown, field.description]
    assert listed == stated


@pytest.mark.parametrize("left_out", ["NOTIFY_JWT_SECRET", "NOTIFY_JWKS_URL"])
def test_production_starts_with_the_settings_that_operations_requires(
    left_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = PAGES["docs/operations.md"].partition("In production")[2].partition("\n\n")[0]
    made_up = {
        "NOTIFY_DATABASE_URL": "postgresql://notify@database/notify",
        "NOTIFY_BROKER_URL": "redis://broker",
        "NOTIFY_SMTP_URL": "smtp://relay",
        "NOTIFY_MAIL_FROM": "notify@example.com",
        "NOTIFY_PUBLIC_URL": "https://notify.example.com",
        "NOTIFY_SECRET_KEYS": "k" * 32,
        "NOTIFY_JWT_SECRET": "j" * 32,
        "NOTIFY_JWKS_URL": "https://login.example.com/keys",
    }
    assert set(re.findall(rf"`({PREFIX}\w+)`", section)) == set(made_up)
    for name in made_up.keys() - {left_out}:
        monkeypatch.setenv(name, made_up[name])
    load(env_file=None)


def test_operations_states_the_retention_periods() -> None:
    rows = table("docs/operations.md", first="Rows")
    listed = {name: int(re.findall(r"(\d+) days", cells[0])[0]) for name, cells in rows.items() if name != "events"}
    kept = {**RetentionPeriods().events, **RetentionPeriods().emails, "delivery_stats": RetentionPeriods().dead}
    assert {name: listed[name] for name in kept} == {name: duration.days for name, duration in kept.items()}


def test_operations_names_every_metric() -> None:
    named = set(re.findall(r"`(notify_\w+)(?:\{[^}]*\})?`", PAGES["docs/operations.md"]))
    assert named == {f"notify_{name}" for name in metrics.HELP}


def test_the_event_examples_show_every_field() -> None:
    shown: set[str] = set()
    for example in blocks("docs/events.md", "json"):
        for name, value in parse(json.loads(example)).model_dump(exclude_none=True).items():
            shown |= {f"{name}.{inner}" for inner in value} if isinstance(value, dict) else {name}
    assert shown == fields_of_events().keys()


def fields_of_events() -> dict[str, str]:
    """Every field of an event by its dotted name, with whether it is required."""
    found: dict[str, str] = {}
    for name, field in EventIn.model_fields.items():
        kinds: Any = get_args(field.annotation) or (field.annotation,)
        inner = next((kind.model_fields for kind in kinds if hasattr(kind, "model_fields")), None)
        named = {name: field} if inner is None else {f"{name}.{sub}": one for sub, one in inner.items()}
        found |= {dotted: "yes" if one.is_required() else "no" for dotted, one in named.items()}
    return found


def test_the_fields_of_an_event_are_listed_with_whether_they_are_required() -> None:
    listed = {name: cells[0] for name, cells in table("docs/events.md", first="Field").items()}
    assert listed == fields_of_events()


def test_the_event_types_are_listed_with_their_parts() -> None:
    listed = {name: CODE.findall(cells[0]) for name, cells in table("docs/events.md", first="Type").items()}
    assert listed == {name: list(payload_objects_of(name)) for name in TRIGGERS}


def test_the_grants_of_the_events_page_are_enough_to_emit_and_to_withdraw(database_url: str) -> None:
    to_withdraw, to_emit = blocks("docs/events.md", "sql")
    event = json.loads(blocks("docs/events.md", "json")[0])
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE application")
        connection.execute(to_emit.encode())
        connection.execute("SET ROLE application")
        notify.emit(connection, event, doorbell=NoDoorbell())
        assert notify.emit(connection, event, doorbell=NoDoorbell()).duplicate
        fewer = {**event, "key": "another", "cl": {**event["cl"], "title": "Other", "reviewers": []}}
        notify.emit(connection, fewer, doorbell=NoDoorbell())
        connection.execute("RESET ROLE")
        connection.execute(to_withdraw.encode())
        connection.execute("SET ROLE application")
        assert notify.withdraw(connection, "another").people == []
        connection.rollback()


def test_the_grants_of_the_forges_page_are_enough_to_publish(database_url: str) -> None:
    (grants,) = blocks("docs/forges.md", "sql")
    status = wanted(context="of a role")
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE application")
        connection.execute(grants.encode())
        connection.execute("SET ROLE application")
        versions = [notify.publish(connection, status, doorbell=NoDoorbell()).version for _ in range(2)]
        connection.rollback()
    assert versions == [1, 2]


def test_the_fields_of_a_status_are_listed_with_whether_they_are_required() -> None:
    listed = {name: cells[0] for name, cells in table("docs/forges.md", first="Field").items()}
    assert listed == {name: "yes" if one.is_required() else "no" for name, one in StatusIn.model_fields.items()}


def test_the_progress_of_a_build_is_listed_with_how_it_is_shown() -> None:
    rows = table("docs/forges.md", first="Build")
    for progress in BuildProgress:
        option, *shown = rows[progress.name]
        assert CODE.findall(option) == [BuildOption[progress.name]]
        for kind, cell in zip(StatusKind, shown, strict=True):
            known = shown_progress(progress, kind=kind)
            assert (CODE.findall(cell), "words" in cell) == ([known.state], known.words is not None)


def test_the_statement_that_changes_the_lifetime_of_emails_is_valid(database_url: str) -> None:
    (statement,) = [one for one in blocks("docs/operations.md", "sql") if one.startswith("UPDATE")]
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())
        connection.rollback()


def test_every_fan_out_rule_is_explained() -> None:
    assert {why for why in Why if f"`{why}`" not in PAGES["docs/lifecycle.md"]} <= {
        Why.SYSTEM_REQUIRED,
        Why.CHOSEN_EVENT,
    }


def test_every_explained_reason_exists() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notify").rglob("*.py"))
    rows = table("docs/lifecycle.md", first="What happened")
    reasons = {name for cells in rows.values() for name in CODE.findall(cells[-1])}
    assert reasons
    assert all(f'"{name}"' in source for name in reasons)


def test_every_template_variable_is_listed() -> None:
    listed = set(table("docs/templates.md", first="Name"))
    used = {
        "subject",
        "locale",
        "direction",
        "layout",
        "at",
        "entries",
        "preheader",
        "brief",
        "digest",
        "sections",
        "count",
        "cls",
        "queues",
        "more",
        "left",
        "more_topics",
        "reason",
        "mute_url",
        "preferences_url",
    }
    for event_type in sample.PAYLOADS:
        for name, value in facts_of(sample.email(event_type, host="example.com"), limits=Limits(100)).items():
            used |= {name, *(f"{name}.{inner}" for inner in value)} if isinstance(value, dict) else {name}
    used -= {"cl"}
    assert listed == used


@pytest.mark.parametrize("page", ["docs/reliability.md", "docs/security.md"])
def test_every_promise_names_existing_tests(page: str) -> None:
    rows = "\n".join(line for line in PAGES[page].splitlines() if line.startswith("|"))
    named = {name for name in re.findall(r"`(\w+_\w+)`", rows) if not name.isupper()}
    defined = set(re.findall(r"^(?:async )?def (\w+)\(", "\n".join(_test_sources()), re.MULTILINE))

    assert len(named) > 20
    assert named <= defined


def _test_sources() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
