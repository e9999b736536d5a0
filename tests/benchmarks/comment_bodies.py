"""Sample comments of many shapes, like people's: a single shape would favour caches of the composer."""

from random import Random

WORDS = (
    "the jitter has to come after the cap otherwise upper half of range is lost why not `base` **must** *rather* retry"
    " see [docs](https://example.com/docs?retry=1) I think this delay races with close() once more nit: typo"
)
LANGUAGES = ("python", "go", "")
# The comment whose email has the average size.
TYPICAL = 210
FEWEST_WORDS, MOST_WORDS = 3, 24


def body(number: int) -> str:
    """The text of comment *number*; the same every time."""
    dice = Random(number)
    blocks = dice.choices(range(1, 6), weights=[50, 25, 13, 8, 4])[0]
    return f"Number {number}. " + "\n\n".join(_block(dice) for _ in range(blocks))


def _block(dice: Random) -> str:
    """Usually a paragraph; else a list, code, a quotation, tasks or a table."""
    kind = dice.random()
    if kind < 0.62:
        return _prose(dice)
    if kind < 0.74:
        return "\n".join(f"- {_prose(dice)}" for _ in range(dice.randint(1, 5)))
    if kind < 0.84:
        lines = "\n".join(f"    {_prose(dice)}" for _ in range(dice.randint(1, 8)))
        return f"```{dice.choice(LANGUAGES)}\n{lines}\n```"
    if kind < 0.92:
        return f"> {_prose(dice)}\n\n{_prose(dice)}"
    if kind < 0.97:
        return f"1. {_prose(dice)}\n   - {_prose(dice)}\n2. {_prose(dice)}\n- [x] {_prose(dice)}"
    return f"| before | after |\n|---|---|\n| {dice.randint(1, 99)} | {_prose(dice)} |"


def _prose(dice: Random) -> str:
    return " ".join(dice.choices(WORDS.split(), k=dice.randint(FEWEST_WORDS, MOST_WORDS)))
