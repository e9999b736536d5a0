"""Emails and pages equal their snapshots: a change shows in the diff of ``snapshots``."""

from tests.support.snapshots import EMAIL_SNAPSHOTS, PAGE_SNAPSHOTS, snapshots


def test_every_email_and_every_page_equals_its_snapshot() -> None:
    """After an intended change, run ``python -m tests.support.snapshots`` and read the diff."""
    kept = {
        path: path.read_text(encoding="utf-8")
        for folder in (EMAIL_SNAPSHOTS, PAGE_SNAPSHOTS)
        for path in folder.iterdir()
    }
    assert dict(snapshots()) == kept


def test_every_text_part_fits_a_terminal_except_for_addresses_and_code() -> None:
    for path in EMAIL_SNAPSHOTS.glob("*.txt"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert len(line) <= 78 or "https://" in line, f"{path.name}: {line}"
