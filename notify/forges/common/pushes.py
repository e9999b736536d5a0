"""Converts a push, which both forges state alike."""

from notify.domain.forge import Account, Ignored, Push, Repository
from notify.forges.common.fields import Fields

BRANCHES = "refs/heads/"
# Branches that GitHub makes for its merge queue, and deletes.
MERGE_QUEUE = "refs/heads/gh-readonly-queue/"


def push(body: Fields, repository: Repository, actor: Account | None) -> Push | Ignored:
    ref, after = body.line("ref"), body.line("after")
    if not ref.startswith(BRANCHES):
        return Ignored(reason="tag")
    if ref.startswith(MERGE_QUEUE):
        return Ignored(reason="merge_queue")
    if body.flag("deleted") or not after.strip("0"):
        return Ignored(reason="deleted_branch")
    return Push(repository=repository, ref=ref, before=body.line("before"), after=after, actor=actor)
