"""Finds the reviewers of a change: those requested, and those who have reviewed."""

from collections.abc import Iterable, Mapping

from notify.domain.forge import Change, Review, Reviewer, Verdict


def reviewers_of(
    change: Change, reviews: Iterable[Review], teams: Mapping[str, tuple[str, ...] | None]
) -> tuple[Reviewer, ...]:
    """
    Everyone whose review is requested or given, except the opener. Logins are compared without case.

    A later comment does not undo a verdict.

    Args:
        reviews: In any order.
        teams: The members of requested teams; None: we may not see them.
    """
    spelled: dict[str, str] = {}
    verdicts: dict[str, Verdict] = {}
    for review in sorted(reviews, key=lambda one: one.submitted_at):
        if review.author is None:
            continue
        login = review.author.login.lower()
        spelled.setdefault(login, review.author.login)
        if review.verdict is not Verdict.COMMENTED or login not in verdicts:
            verdicts[login] = review.verdict
    asked = {login.lower() for login in change.requested}
    through: dict[str, str] = {}
    for login in change.requested:
        spelled.setdefault(login.lower(), login)
    for team, members in teams.items():
        for login in members or ():
            spelled.setdefault(login.lower(), login)
            through.setdefault(login.lower(), team)
    opener = change.opener.login.lower() if change.opener else None
    return tuple(
        Reviewer(
            login=name,
            requested=login in asked or login in through,
            verdict=verdicts.get(login),
            team=None if login in asked else through.get(login),
        )
        for login, name in sorted(spelled.items())
        if login != opener
    )
