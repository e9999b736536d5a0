"""Who reviews a change, from who is asked and who has reviewed."""

from collections.abc import Iterable, Mapping

from notify.domain.forge import Change, Review, Reviewer, Verdict


def reviewers_of(
    change: Change, reviews: Iterable[Review], teams: Mapping[str, tuple[str, ...] | None]
) -> tuple[Reviewer, ...]:
    """
    Everyone who is asked for a review or has given one, but the opener. Logins are told apart without case.

    A comment takes back no verdict.

    Args:
        reviews: In any order.
        teams: The members of the teams that are asked; None: not to be seen.
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
