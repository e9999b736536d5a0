"""Builds: a status that says how far one is, for CI programs."""

from collections.abc import Mapping
from typing import Any

from notify.domain.statuses import BuildProgress, StatusKind, shown_progress


def of_build(target: Mapping[str, Any], progress: BuildProgress) -> dict[str, Any]:
    """
    The fields of a status that says how far a build is, for ``notify.publish``.

    Args:
        target: Its fields without ``state``. Where the state does not say it all, words come before its description.
    """
    kind = StatusKind.CHECK_RUN if target.get("kind") == StatusKind.CHECK_RUN else StatusKind.STATUS
    shown = shown_progress(progress, kind=kind)
    description = " ".join(words for words in (shown.words, target.get("description")) if words)
    return {**target, "state": shown.state, "description": description or None}
