"""What may be in the body that creates or updates a check run."""

from typing import Any

from notify.embedded.forge.routes.fields import instant, line, link, one_of, words
from notify.embedded.forge.routes.refusals import InvalidRequest
from notify.embedded.forge.shapes.repository_shapes import Json

STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out")
LEVELS = ("notice", "warning", "failure")
LONGEST_TEXT = 65_535
MOST_ANNOTATIONS = 50
LONGEST_ANNOTATION_TITLE = 255
LARGEST_ANNOTATION_TEXT = 64 * 1024
RESOURCE = "CheckRun"


def created(fields: Json, *, now: str) -> Json:
    """
    What a new check run is given.

    Args:
        now: In the form of the API.

    Raises:
        Refused: GitHub would not take it.
    """
    given = _common(fields, is_new=True, now=now)
    given["name"] = words(fields, "name", required=True)
    given["external_id"] = given.get("external_id") or ""
    given.setdefault("started_at", now)
    given.setdefault("status", "queued")
    return given


def updated(fields: Json, *, now: str) -> Json:
    """
    What a check run that exists is given; what is not mentioned stays.

    Raises:
        Refused: GitHub would not take it.
    """
    return _common(fields, is_new=False, now=now)


def _common(fields: Json, *, is_new: bool, now: str) -> Json:
    conclusion = one_of(fields, "conclusion", CONCLUSIONS)
    status = "completed" if conclusion else one_of(fields, "status", STATUSES)
    completed_at = instant(fields, "completed_at")
    if conclusion is None and (status == "completed" or completed_at):
        raise InvalidRequest("Missing parameter: conclusion.")
    given: Json = {
        "name": words(fields, "name"),
        "external_id": words(fields, "external_id"),
        "details_url": link(fields, "details_url", resource=RESOURCE),
        "started_at": instant(fields, "started_at"),
        "status": status,
        "conclusion": conclusion,
        "completed_at": completed_at or (now if conclusion else None),
        "output": _output(fields["output"], is_new=is_new) if fields.get("output") is not None else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _output(output: Any, *, is_new: bool) -> Json:  # noqa: ANN401 - whatever stands in the body
    if not isinstance(output, dict):
        raise InvalidRequest("For 'properties/output', it is not an object.")
    given: Json = {
        "title": words(output, "title", required=is_new, longest=LONGEST_TEXT),
        "summary": words(output, "summary", required=True, longest=LONGEST_TEXT),
        "text": words(output, "text", longest=LONGEST_TEXT),
    }
    annotations = output.get("annotations") or []
    if not isinstance(annotations, list):
        raise InvalidRequest("For 'properties/annotations', it is not an array.")
    if len(annotations) > MOST_ANNOTATIONS:
        raise InvalidRequest(f"No more than {MOST_ANNOTATIONS} items are allowed; {len(annotations)} were supplied.")
    given["annotations"] = [_annotation(one) for one in annotations]
    return {name: value for name, value in given.items() if value is not None}


def _annotation(annotation: Any) -> Json:  # noqa: ANN401 - whatever stands in the body
    if not isinstance(annotation, dict):
        raise InvalidRequest("For 'annotations/items', it is not an object.")
    level = one_of(annotation, "annotation_level", LEVELS)
    first, last = line(annotation, "start_line"), line(annotation, "end_line")
    if level is None or first is None or last is None or last < first:
        raise InvalidRequest("For 'annotations/items', it needs a level, and an end that is not before its start.")
    if len((words(annotation, "message", required=True) or "").encode()) > LARGEST_ANNOTATION_TEXT:
        raise InvalidRequest(f"Only {LARGEST_ANNOTATION_TEXT} bytes are allowed for 'message'.")
    return {
        "path": words(annotation, "path", required=True),
        "start_line": first,
        "end_line": last,
        "start_column": line(annotation, "start_column", required=False),
        "end_column": line(annotation, "end_column", required=False),
        "annotation_level": level,
        "message": annotation["message"],
        "title": words(annotation, "title", longest=LONGEST_ANNOTATION_TITLE),
        "raw_details": words(annotation, "raw_details", longest=LARGEST_ANNOTATION_TEXT),
    }
