"""The cost of composing an email, compared with the standard library's ``EmailMessage`` for the same text."""

from collections.abc import Callable, Iterator, Sequence
from email import policy
from email.message import EmailMessage
from functools import partial
from time import process_time

from notify.domain.jobs import EmailFacts
from tests.benchmarks.bench import Bench
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sample_emails import email_to
from tests.benchmarks.workload import AUDIENCE
from tests.support.emails import NOON, composer
from tests.support.messages import parsed, text_of

ROUNDS = 5
WRITTEN_BY_MIME = frozenset({"mime-version", "content-type", "content-transfer-encoding"})


def measure(bench: Bench) -> Iterator[Row]:
    """Processor time per email, the best of a few rounds."""
    emails = [email_to(number // AUDIENCE, number % AUDIENCE) for number in range(bench.scale.built)]
    known = emails[:AUDIENCE]
    warm = composer()
    write = partial(warm.compose, date=NOON)
    copies = [parsed(write(one).content) for one in known]
    by_library = per_email(lambda: [bytes(rebuilt(one)) for one in copies], len(copies))
    yield Row(
        what="composing one email of a cached event",
        unit="µs CPU",
        figure=per_email(lambda: [write(one) for one in known], len(known)),
        beside="EmailMessage",
        other=by_library,
        goal=at_most(1 / 20),
    )
    yield Row(
        what=f"composing {AUDIENCE} emails per event, including templates",
        unit="µs CPU",
        figure=per_email(lambda: _all_anew(emails), len(emails)),
        beside="EmailMessage, without templates",
        other=by_library,
    )


def per_email(work: Callable[[], object], emails: int) -> float:
    """Microseconds of processor time, the best round of a few."""
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        work()
        rounds.append(process_time() - began)
    return min(rounds) / emails * 1e6


def rebuilt(original: EmailMessage) -> EmailMessage:
    """The same email, built the standard library's way."""
    made = EmailMessage(policy=policy.SMTP)
    for name, value in original.items():
        if name.lower() not in WRITTEN_BY_MIME:
            made[name] = str(value)
    made.set_content(text_of(original, "plain"))
    made.add_alternative(text_of(original, "html"), subtype="html")
    return made


def _all_anew(emails: Sequence[EmailFacts]) -> None:
    fresh = composer()
    for one in emails:
        fresh.compose(one, date=NOON)
