"""Checks locked packages for known vulnerabilities: ``python -m tests.support.audit requirements*.lock``."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from subprocess import run
from typing import Any

import httpx

DATABASE = "https://api.osv.dev/v1/query"
QUESTION = {"version": "1", "package": {"name": "notify", "ecosystem": "PyPI"}}
TIMEOUT_SECONDS = 10
PIP_AUDIT = ("-m", "pip_audit", "--vulnerability-service", "osv", "--require-hashes", "--disable-pip")
IN_JSON = ("--format", "json", "--progress-spinner", "off")
LOUD = "*" * 30 + " NOT AUDITED " + "*" * 30


class AuditFailed(Exception):
    """The audit itself failed, although the vulnerability database answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The findings about the locked packages, and which packages were not audited."""

    audited: int = 0
    findings: Sequence[str] = ()
    not_audited: Sequence[str] = ()

    @property
    def words(self) -> str:
        """The message for people."""
        lines = [*self.findings, f"{self.audited} locked packages audited: {len(self.findings)} known vulnerabilities"]
        if self.not_audited:
            gap = f"Nothing is known about these; {self.audited} others were audited."
            lines = [*self.findings, LOUD, *self.not_audited, gap, LOUD]
        return "\n".join(lines)


def audit(locks: Sequence[str], *, database: str = DATABASE, accepted: Sequence[str] = ()) -> Audit:
    """
    Ask the database about each package of these locks that this platform would install.

    Args:
        accepted: Identifiers of known vulnerabilities that are not reported.

    Raises:
        AuditFailed: With the auditor's message.
    """
    files = [word for lock in locks for word in ("--requirement", lock)]
    ignored = [word for one in accepted for word in ("--ignore-vuln", one)]
    command = [sys.executable, *PIP_AUDIT, "--osv-url", database, *IN_JSON, *ignored, *files]
    done = run(command, check=False, capture_output=True, text=True)
    try:
        return read(json.loads(done.stdout))
    except ValueError:
        if answers(database):
            raise AuditFailed(done.stderr) from None
        return unreachable(database, locks)


def read(report: Mapping[str, Any]) -> Audit:
    """Parse pip-audit's JSON report."""
    packages = report["dependencies"]
    audited = [one for one in packages if "vulns" in one]
    return Audit(
        audited=len(audited),
        findings=[_finding(one, found) for one in audited for found in one["vulns"]],
        not_audited=[f"{one['name']}: {one['skip_reason']}" for one in packages if "vulns" not in one],
    )


def unreachable(database: str, locks: Sequence[str]) -> Audit:
    return Audit(not_audited=[f"{lock}: {database} does not answer" for lock in locks])


def answers(database: str) -> bool:
    """Whether the database can be reached at all."""
    try:
        return httpx.post(database, json=QUESTION, timeout=TIMEOUT_SECONDS).is_success
    except httpx.HTTPError:
        return False


def _finding(package: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    mended = ", ".join(found["fix_versions"]) or "nothing yet"
    return f"{package['name']} {package['version']}: {found['id']}, mended by {mended}"


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 if there is a finding, else 0, also if the database could not be reached, which is reported."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("locks", nargs="+", metavar="LOCK")
    parser.add_argument("--accept", action="append", default=[], metavar="ID", help="say nothing of this one")
    parser.add_argument("--database", default=DATABASE, metavar="URL")
    given = parser.parse_args(arguments)
    found = audit(given.locks, database=given.database, accepted=given.accept)
    print(found.words, file=sys.stderr)  # noqa: T201 - a command for people
    return int(bool(found.findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
