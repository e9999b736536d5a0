"""Files of entries as strangers write them: good ones are read whole, the others skipped, soon and within memory."""

import resource
from time import process_time
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.domain.forge import RepositoryFile
from notify.sources.entries import LONGEST, read_entries

MEBIBYTE = 1024 * 1024
SLUG = "slug: retries\n"
BOMB = "\n".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(9))
HOSTILE = {
    "aliases in lists": f"{SLUG}a0: &a0 [x, x]\n{BOMB}\nowners: *a9\n",
    "aliases in a title": f"{SLUG}a0: &a0 [x, x]\n{BOMB}\ntitle: *a9\n",
    "aliases as keys": f"{SLUG}a: &a {{b: c}}\n*a : {{*a : d}}\n",
    "a list that holds itself": f"{SLUG}owners: &o [dana, *o]\ntags: *o\n",
    "merges": SLUG + "m0: &m0 {x: 1}\n" + "\n".join(f"m{n + 1}: &m{n + 1}\n  <<: [*m{n}, *m{n}]" for n in range(40)),
    "merges by tag": SLUG
    + "m0: &m0 {x: 1}\n"
    + "\n".join(f"m{n + 1}: &m{n + 1}\n  !!merge k: [*m{n}, *m{n}]" for n in range(40)),
    "fewer brackets": f"{SLUG}owners: " + "[" * 60_000,
    "brackets": f"{SLUG}owners: " + "[" * MEBIBYTE,
    "braces": f"{SLUG}owners: " + "{a: " * (MEBIBYTE // 4),
    "a huge scalar": f"{SLUG}title: {'x' * MEBIBYTE}\n",
    "a huge number": f"{SLUG}id: {'9' * 100_000}\n",
    "many owners": f"{SLUG}owners: [{', '.join(f'p{n}' for n in range(20_000))}]\n",
    "a Python object": f"{SLUG}title: !!python/object/apply:os.system ['true']\n",
    "an impossible date": f"{SLUG}proposed_at: 2026-99-99\n",
    "sexagesimal": f"{SLUG}id: 1:{'59:' * 20_000}0\n",
    "a NUL": f'{SLUG}title: "a\\0b"\n',
    "a surrogate": f'{SLUG}title: "\\ud800"\n',
    "a list at the top": "- slug\n- retries\n",
    "a scalar at the top": "retries\n",
    "two documents": f"{SLUG}--- \nslug: other\n",
    "tabs": "slug:\tretries\n\towners: x\n",
    "a slug of another kind": "slug: {a: b}\n",
    "a slug with a slash": "slug: a/../b\n",
}


def file(front: str, *, path: str = "rfcs/retries.md") -> RepositoryFile:
    return RepositoryFile(path=path, sha="0" * 40, text=f"---\n{front}\n---\nWords.\n")


GOOD = file("slug: good\nowners: [dana]", path="rfcs/good.md")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little_and_hides_no_other(name: str) -> None:
    began, before = process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = read_entries([file(HOSTILE[name]), GOOD])
    assert process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert read[-1].slug == "good"
    for entry in read:
        texts = [entry.title, entry.state, entry.entry_id, *entry.owners, *entry.arbiters, *entry.tags]
        assert all(len(one) <= LONGEST for one in texts if one)
        for one in filter(None, texts):
            one.encode()
            assert "\0" not in one


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = ["slug", "title", "state", "id", "repo", "owners", "arbiters", "tags", "proposed_by", "graduated_at"]
COVER = settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@COVER
@given(st.dictionaries(st.sampled_from(KEYS), VALUES).map(yaml.safe_dump) | st.text(max_size=200))
def test_no_front_matter_raises(front: str) -> None:
    assert read_entries([file(front), GOOD])[-1].slug == "good"


@COVER
@given(st.text(max_size=200), st.booleans())
def test_no_text_raises(text: str, has_fault: bool) -> None:
    stranger = RepositoryFile(
        path="x.md", sha="0", text=None if has_fault else text, fault="too large" if has_fault else None
    )
    assert [one.slug for one in read_entries([stranger, GOOD])][-1] == "good"


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda name: yaml.safe_load(name) == name)
LINES = st.lists(NAMES, min_size=1, max_size=4).map(" ".join)


NEEDED: dict[str, st.SearchStrategy[Any]] = {"slug": NAMES, "repo": st.builds("{}/{}".format, NAMES, NAMES)}
STATED: dict[str, st.SearchStrategy[Any]] = {
    "title": LINES,
    "state": NAMES,
    "proposed_by": NAMES,
    "graduated_at": st.dates().map(str),
    "owners": st.lists(NAMES, max_size=4, unique=True),
    "arbiters": st.lists(NAMES, max_size=4, unique=True),
    "tags": st.lists(NAMES, max_size=4, unique=True),
}


@COVER
@given(
    stated=st.fixed_dictionaries(
        NEEDED,
        optional=STATED,
    ),
    at=st.sampled_from(["", "@"]),
)
def test_what_good_front_matter_states_is_read_as_it_stands(stated: dict[str, Any], at: str) -> None:
    people = {key: [at + one for one in stated[key]] for key in ("owners", "arbiters") if key in stated}
    (entry,) = read_entries([file(yaml.safe_dump(stated | people))])
    for key, value in stated.items():
        assert getattr(entry, key) == (tuple(value) if isinstance(value, list) else value)


def test_of_two_files_with_one_slug_the_first_counts() -> None:
    both = [file("slug: a\ntitle: First", path="1.md"), file("slug: a\ntitle: Second", path="2.md")]
    assert [(one.path, one.title) for one in read_entries(both)] == [("1.md", "First")]
