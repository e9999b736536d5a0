"""
The bars as a picture.

Decided: Pillow draws it, one wheel without dependencies. Rejected: matplotlib, which brings ten packages for a dozen
bars, and Rich's export, which is SVG only.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.benchmarks.report import MOST_GOALS, number, reached
from tests.benchmarks.rows import Goal, Row

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

WIDTH, LABEL, GOAL_WIDTH = 1400, 560, 300
LINE, MARGIN, BAR_HEIGHT, FONT = 34, 24, 18, 17
PAPER, INK, FAINT, MET, UNMET = "#ffffff", "#1f2328", "#8c959f", "#2da44e", "#d4a72c"


def draw(rows: Sequence[Row], path: Path, *, title: str) -> None:
    """Write a PNG with a bar for each row that has a goal."""
    picture = Image.new("RGB", (WIDTH, 2 * MARGIN + LINE * (len(rows) + 2)), PAPER)
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(FONT)
    pen.text((MARGIN, MARGIN), title, INK, font)
    bottom = MARGIN + LINE
    for row in rows:
        if row.goal is not None and (part := reached(row)) is not None:
            bottom += LINE
            _row(pen, font, row, row.goal, part=part, top=bottom)
    goal = LABEL + GOAL_WIDTH
    pen.line((goal, MARGIN + LINE * 3 // 2, goal, bottom + LINE), INK, 2)
    pen.text((goal, MARGIN + LINE), "goal", INK, font, anchor="ma")
    picture.crop((0, 0, WIDTH, bottom + LINE + MARGIN)).save(path, "PNG")


def _row(pen: ImageDraw.ImageDraw, font: Font, row: Row, goal: Goal, *, part: float, top: int) -> None:
    pen.text((LABEL - MARGIN, top), row.what, INK, font, anchor="ra")
    right = LABEL + GOAL_WIDTH * min(part, MOST_GOALS)
    pen.rectangle((LABEL, top, max(right, LABEL + 1), top + BAR_HEIGHT), MET if row.met else UNMET)
    words = f"{number(row.judged)}   {goal.in_words}"
    pen.text((LABEL + GOAL_WIDTH * MOST_GOALS + MARGIN / 2, top), words, FAINT, font)
