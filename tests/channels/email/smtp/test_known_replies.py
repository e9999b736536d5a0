"""The replies of well-known relays about us, about the recipient and about rates."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.channels.email.smtp.known_replies import TABLE
from notify.channels.email.smtp.replies import classify
from notify.domain.outcomes import Blame, Dead, Outcome, Phase, Released, Retry

WITH_A_RECIPIENT = [Phase.RCPT, Phase.DATA, Phase.FINAL_DOT]

# Postfix
NOT_OWNED = "553 5.7.1 <notify@example.com>: Sender address rejected: not owned by user notify"
ABOUT_US = {
    NOT_OWNED: "sender_refused",
    "553 5.7.1 <notify@example.com>: Sender address rejected: not logged in": "sender_refused",
    "550 5.1.8 <notify@example.com>: Sender address rejected: Domain not found": "sender_refused",
    "550 5.1.0 <notify@example.com>: Sender address rejected: User unknown in virtual mailbox table": "sender_refused",
    "504 5.5.2 <notify>: Sender address rejected: need fully-qualified address": "sender_refused",
    "554 5.7.1 <ann@example.com>: Relay access denied": "relaying_denied",
    "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied": "client_refused",
    "504 5.5.2 <relay>: Helo command rejected: need fully-qualified hostname": "client_refused",
    "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org": "client_refused",
    # Exim, cPanel
    "550 relay not permitted": "relaying_denied",
    "550-Verification failed for <notify@example.com>\n550 Sender verify failed": "sender_refused",
    "550-relay.test [192.0.2.1] is currently not permitted to relay through this server.\n"
    "550 Perhaps you have not logged into the pop/imap server in the last 30 minutes": "relaying_denied",
    "550 Please turn on SMTP Authentication in your mail client.": "auth_refused",
    # Sendmail, qmail
    "550 5.7.1 <ann@example.com>... Relaying denied. Proper authentication required.": "relaying_denied",
    "550 5.7.1 <ann@example.com>... Relaying denied": "relaying_denied",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)": "relaying_denied",
    "553 5.1.1 Sorry, that domain isn't in my list of allowed rcpthosts.": "relaying_denied",
    "553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)": "sender_refused",
    # Exchange and Exchange Online
    "550 5.7.1 Unable to relay": "relaying_denied",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain": "relaying_denied",
    "550 5.7.64 TenantAttribution; Relay Access Denied [AM6.example]": "relaying_denied",
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender": "sender_refused",
    "554 5.2.252 SendAsDenied; notify@example.com not allowed to send as a@example.com": "sender_refused",
    "554 5.2.0 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied": "sender_refused",
    "550 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM": "auth_refused",
    "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException": "account_refused",
    "550 5.7.606 Access denied, banned sending IP [192.0.2.1]": "client_refused",
    # Google
    "550-5.7.1 Invalid credentials\n550 5.7.1 for relay [192.0.2.1].": "relaying_denied",
    "550 5.7.0 Mail relay denied [192.0.2.1]. Invalid credentials for relay": "relaying_denied",
    "550 5.7.0 Mail Sending denied.": "account_refused",
    # Amazon SES
    "554 Message rejected: Email address is not verified.": "sender_refused",
    "554 Message rejected: Email address is not verified. The following identities failed the check in region "
    "EU-WEST-1: notify@example.com": "sender_refused",
    "554 Sending paused for this account.": "account_refused",
    "554 Access denied: User `arn:aws:iam::1:user/u' is not authorized to perform `ses:SendRawEmail'": (
        "account_refused"
    ),
    # SendGrid, Mailgun, Postmark, SparkPost and others
    "550 The from address does not match a verified Sender Identity.": "sender_refused",
    "403 You are not authorized to send from that email address": "sender_refused",
    "550 5.7.1 Domain mg.example.com is not allowed to send: please add it": "sender_refused",
    "554 Sandbox subdomains are for test purposes only. Please add your own domain": "sender_refused",
    "550 5.7.1 The 'From' address you supplied (a@example.com) is not a Sender Signature on your account.": (
        "sender_refused"
    ),
    "550 5.7.1 Unconfigured Sending Domain <app.example.com>": "sender_refused",
    "551 5.7.1 Not authorised to send from this header address": "sender_refused",
    "553 Relaying disallowed as notify@example.com": "relaying_denied",
}
ABOUT_THE_RECIPIENT = {
    "550 5.4.1 Recipient address rejected: Access denied": Dead,
    "554 5.7.1 <ann@example.com>: Recipient address rejected: Access denied": Retry,
    "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restricted": Retry,
    "550 5.7.129 RESOLVER.RST.RestrictedToRecipientsPermission; not authorized to send to this recipient": Retry,
    "550 5.2.1 The email account that you tried to reach is disabled": Dead,
    "550 5.1.1 <ann@example.com>: Recipient address rejected: undeliverable address: host mx.example.com[192.0.2.1] "
    "said: 550 5.7.1 Relay access denied (in reply to RCPT TO command)": Dead,
    "550-Verification failed for <ann@example.com>\n550-Response: 550 relay not permitted\n550 no": Dead,
    '550 <"Relay access denied"@example.com> unknown': Dead,
    '550 "relay access denied"@example.com unknown': Dead,
    "552 5.2.2 <ann@example.com> over quota, limit exceeded": Retry,
    "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded": Retry,
    "450 4.2.1 The user is receiving mail at a rate that prevents additional messages": Retry,
    "452 4.2.2 The email account that you tried to reach is over quota, too many messages": Retry,
    "450 4.2.0 <ann@example.com>: Recipient address rejected: Greylisted": Retry,
}
SESSIONS = [
    "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
    "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
    "421 4.3.2 The maximum number of concurrent connections has exceeded a limit, closing transmission channel",
    "421 4.7.0 relay.test Error: too many connections from 192.0.2.1",
    "421 relay.test: Too many concurrent SMTP connections; please try again later.",
    "421 4.3.2 Too many open connections.",
    "450 too many sessions from your host",
]
RATES = [
    "454 Throttling failure: Maximum sending rate exceeded.",
    "454 Throttling failure: Daily message quota exceeded.",
    "450 4.7.1 Error: too much mail from 192.0.2.1",
    "421 4.3.2 Connection rate limit exceeded.",
    "451 4.7.500 Server busy. Please try again later",
    "550 5.7.705 Access denied, tenant has exceeded threshold",
    "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
    "550 5.4.5 Daily user sending limit exceeded.",
    "550 5.7.1 Email quota exceeded.",
    "450 4.2.1 Peak SMTP relay limit exceeded for customer.",
    "451 Authentication failed: Maximum credits exceeded",
    "452 Too many recipients received this hour",
    "421 4.7.0 rate limited, slow down",
]


def after(phase: Phase, reply: str) -> Outcome:
    """The outcome of an email after this reply."""
    first, *others = reply.split("\n")
    text = "\n".join([first[4:], *(line[4:] for line in others)])
    return classify(phase, int(first[:3]), text)


@pytest.mark.parametrize("phase", WITH_A_RECIPIENT)
@pytest.mark.parametrize("reply", ABOUT_US)
def test_a_reply_about_us_charges_no_email(phase: Phase, reply: str) -> None:
    outcome = after(phase, reply)
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (Blame.CONFIGURATION, ABOUT_US[reply])


@pytest.mark.parametrize("phase", WITH_A_RECIPIENT)
@pytest.mark.parametrize("reply", ABOUT_THE_RECIPIENT)
def test_a_reply_about_one_recipient_does_not_count_against_the_relay(phase: Phase, reply: str) -> None:
    assert type(after(phase, reply)) is ABOUT_THE_RECIPIENT[reply]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in {Phase.RECHECK, Phase.RENDER}])
@pytest.mark.parametrize("reply", [*SESSIONS, *RATES])
def test_a_rate_reply_is_a_throttle_in_every_phase(phase: Phase, reply: str) -> None:
    outcome = after(phase, reply)
    assert isinstance(outcome, Released)
    assert (outcome.blame, outcome.reason) == (
        Blame.THROTTLE,
        "too_many_sessions" if reply in SESSIONS else "throttled",
    )


def test_every_entry_names_its_source_and_what_it_matches() -> None:
    assert all(one.source for one in TABLE)
    assert all(one.enhanced or one.words or not set(one.codes) <= {4, 5} for one in TABLE)


@given(
    code=st.sampled_from([550, 553, 554]),
    name=st.sampled_from(["Relay access denied", "relay.access.denied", "Email address is not verified"]),
    shape=st.sampled_from(['<"{}"@example.com>: unknown', '"{}"@example.com unknown', "<{}@example.com> unknown"]),
)
def test_an_address_in_a_reply_does_not_change_its_meaning(code: int, name: str, shape: str) -> None:
    assert isinstance(classify(Phase.RCPT, code, shape.format(name)), Dead)


@pytest.mark.parametrize("worst", ["a" * 65_536, '"' * 65_536, "domain " * 9_000, "limit a " * 8_000, "<" * 65_536])
def test_matching_a_long_reply_takes_no_time(worst: str) -> None:
    began = process_time()
    classify(Phase.RCPT, 554, worst)
    assert process_time() - began < 0.1
