"""
A table of replies that relays are known to give, each with its source; the first match decides.

Decided: standard codes take precedence; text is matched only where there is no standard code (who may send, who may
    relay, quotas). A refusal without an entry is classified by its reply code alone (``replies.classify``).
Decided: quoted addresses, and what another server said to the relay, are ignored: an address named "relay access
    denied" must not stop everybody's emails.
"""

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from re import DOTALL, IGNORECASE, fullmatch, search
from re import compile as pattern

from notify.domain.outcomes import TOO_MANY_SESSIONS, Phase

RCPT_OR_LATER = frozenset({Phase.RCPT, Phase.DATA, Phase.FINAL_DOT})
AT_MAIL = frozenset({Phase.MAIL})
WITH_AN_EMAIL = RCPT_OR_LATER | AT_MAIL
EVERY_PHASE = frozenset(Phase)

POSTFIX = "https://www.postfix.org/postconf.5.html"
SASL = "https://www.postfix.org/SASL_README.html"
EXCHANGE = (
    "https://learn.microsoft.com/exchange/troubleshoot/email-delivery/ndr/non-delivery-reports-in-exchange-online"
)
SUBMISSION = "https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements"
CONNECTORS = "https://learn.microsoft.com/exchange/mail-flow/connectors/receive-connectors"
GOOGLE = "https://support.google.com/a/answer/3726730"
SES = "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html"
SES_ERRORS = "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html"
SENDGRID = "https://www.twilio.com/docs/sendgrid/for-developers/sending-email/smtp-errors-and-troubleshooting"
SPARKPOST = "https://support.sparkpost.com/docs/user-guide/unconfigured-sending-domain"
MAILGUN = "https://help.mailgun.com/hc/en-us/articles/217531258-Authorized-Recipients"
POSTMARK = "https://postmarkapp.com/developer/api/overview#error-codes"
EXIM = "https://www.exim.org/exim-html-current/doc/html/spec_html/ch-access_control_lists.html"
EXIM_LIMITS = "https://www.exim.org/exim-html-current/doc/html/spec_html/ch-main_configuration.html (smtp_accept_max)"
SENDMAIL = "sendmail's cf/m4/proto.m4 (confRELAY_MSG) and doc/op (ConnectionRateThrottle, MaxDaemonChildren)"
QMAIL = "qmail-smtpd.c of netqmail 1.06 (err_nogateway, err_bmf)"
CPANEL = "exim.conf as cPanel writes it, the ACL for RCPT"
ZOHO = "https://www.zoho.com/zeptomail/help/api/smtp-error-codes.html"


class Meaning(StrEnum):
    """What a refusal is about; the value is the recorded reason."""

    NO_SUCH_ADDRESS = "no_such_address"
    MAILBOX_FULL = "mailbox_full"
    OVERSIZE = "oversize"
    RECIPIENT_BUSY = "later"
    RECIPIENT_POLICY = "policy"
    AUTHENTICATION = "auth_refused"
    SENDER = "sender_refused"
    RELAYING = "relaying_denied"
    CLIENT = "client_refused"
    ACCOUNT = "account_refused"
    SESSIONS = TOO_MANY_SESSIONS
    RATE = "throttled"
    ERRORS = "too_many_errors"


ABOUT_US = frozenset({Meaning.AUTHENTICATION, Meaning.SENDER, Meaning.RELAYING, Meaning.CLIENT, Meaning.ACCOUNT})
TOO_MUCH = frozenset({Meaning.SESSIONS, Meaning.RATE})


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One known refusal; all given conditions must match.

    Args:
        codes: Reply codes, or their first digits.
        enhanced: Pattern for the whole enhanced code.
        words: Patterns, one of which must occur in the reply's text; case-insensitive, lines joined.
    """

    means: Meaning
    source: str
    _: KW_ONLY
    codes: tuple[int, ...] = (5,)
    enhanced: str | None = None
    words: tuple[str, ...] = ()
    phases: frozenset[Phase] = EVERY_PHASE

    def matches(self, phase: Phase, code: int, enhanced: str | None, words: str) -> bool:
        return (
            phase in self.phases
            and (code in self.codes or code // 100 in self.codes)
            and (self.enhanced is None or fullmatch(self.enhanced, enhanced or "") is not None)
            and (not self.words or search("|".join(self.words), words, IGNORECASE) is not None)
        )


def meaning(phase: Phase, code: int, enhanced: str | None, text: str) -> Meaning | None:
    """What a refusal is about; None: not in the table."""
    words = own_words(text)
    return next((one.means for one in TABLE if one.matches(phase, code, enhanced, words)), None)


def own_words(text: str) -> str:
    """The relay's own text: lines joined, without codes, addresses and quotes of other servers."""
    lines = (CODE.sub("", line) for line in text[:MAX_CHARACTERS].split("\n"))
    return ADDRESSES.sub("", OTHER_SERVERS.sub("", " ".join(" ".join(lines).split())))


MAX_CHARACTERS = 1024
CODE = pattern(r"^\s*#?[245]\.\d{1,3}\.\d{1,3}(?!\S)")
# Postfix (verify(8), smtp(8)): "host mx[1.2.3.4] said: …"; Exim (ACL verify with callout): "Response: …".
OTHER_SERVERS = pattern(r"\b(?:said|response)\s?:.*", IGNORECASE | DOTALL)
ADDRESSES = pattern(r'<[^<>]*>|"[^"]*"@\S*|[^\s@]*@\S*')

TABLE: Collection[Entry] = (
    # Replies that their codes would misclassify.
    Entry(
        Meaning.RECIPIENT_BUSY, EXCHANGE, codes=(4, 5), enhanced=r"4\.3\.2", words=("recipient thread limit exceeded",)
    ),
    Entry(
        Meaning.RECIPIENT_POLICY,  # a group that accepts emails only from its members
        EXCHANGE + ": 5.7.124 to 5.7.136",
        words=(r"RESOLVER\.RST",),
    ),
    Entry(Meaning.SENDER, EXCHANGE, words=(r"SendAsDenied",)),
    Entry(
        Meaning.ACCOUNT,  # the sender's own mailbox is full
        SUBMISSION,
        enhanced=r"5\.2\.2",
        words=(r"STOREDRV\.Submission",),
    ),
    Entry(Meaning.RATE, SUBMISSION, codes=(4, 5), enhanced=r"5\.2\.0", words=("SubmissionQuotaExceeded",)),
    Entry(Meaning.RATE, GOOGLE, codes=(4, 5), words=("SMTP relay (?:message |recipient )?limit exceeded",)),
    Entry(Meaning.RATE, SENDMAIL, codes=(4, 5), words=("connection rate limit",)),
    Entry(
        Meaning.ERRORS,
        POSTFIX + "#smtpd_hard_error_limit",
        codes=(421,),
        words=("too many (?:errors|un|invalid|bad|commands|syntax|protocol)",),
    ),
    Entry(
        Meaning.RELAYING,
        f"{POSTFIX}#reject_unauth_destination; {QMAIL}; mailfront says it under 5.1.1",
        words=("relay access denied", "list of allowed rcpthosts"),
    ),
    # Standard codes.
    Entry(Meaning.AUTHENTICATION, "RFC 4954 §6: 530, 534, 535, 538; RFC 5248: 525", codes=(525, 530, 534, 535, 538)),
    Entry(
        Meaning.AUTHENTICATION, "RFC 4954 §6 and RFC 5248: X.7.8 to X.7.14", enhanced=r"5\.7\.(?:8|9|10|11|12|13|14)"
    ),
    Entry(
        Meaning.AUTHENTICATION,
        "RFC 4954 §6: 432 4.7.12, a password transition is needed",
        codes=(432,),
        enhanced=r"4\.7\.12",
    ),
    Entry(
        Meaning.NO_SUCH_ADDRESS,
        "RFC 3463 §3.2: X.1.1, X.1.2, X.1.3, X.1.6; RFC 7505 §4.1: X.1.10",
        enhanced=r"5\.1\.(?:1|2|3|6|10)",
        phases=RCPT_OR_LATER,
    ),
    Entry(
        Meaning.SENDER,
        "RFC 3463 §3.2: X.1.7, X.1.8, about the sender's address; RFC 7505 §4.2: X.7.27",
        enhanced=r"5\.1\.[78]|5\.7\.27",
    ),
    Entry(Meaning.OVERSIZE, "RFC 3463 §3.3: X.2.3, §3.4: X.3.4", enhanced=r"5\.2\.3|5\.3\.4"),
    Entry(Meaning.OVERSIZE, "RFC 1870 §6.1: 552 to MAIL", codes=(552,), phases=AT_MAIL),
    Entry(Meaning.MAILBOX_FULL, "RFC 3463 §3.3: X.2.2", codes=(4, 5), enhanced=r"[45]\.2\.2", phases=WITH_AN_EMAIL),
    Entry(Meaning.SENDER, EXCHANGE, enhanced=r"5\.2\.252|5\.7\.60|5\.7\.50[1-3]|5\.7\.750"),
    Entry(Meaning.AUTHENTICATION, EXCHANGE, enhanced=r"5\.7\.57"),
    Entry(Meaning.RELAYING, f"{EXCHANGE} (5.7.64); {CONNECTORS} (5.7.54)", enhanced=r"5\.7\.54|5\.7\.64"),
    Entry(Meaning.CLIENT, EXCHANGE, enhanced=r"5\.7\.(?:6(?:0[6-9]|[1-4]\d)|708)"),
    Entry(
        Meaning.RATE,
        f"{EXCHANGE}: 4.7.500 to 4.7.699, 5.7.508, 5.7.705; {GOOGLE}: 5.4.5",
        codes=(4, 5),
        enhanced=r"4\.7\.[56]\d\d|5\.7\.508|5\.7\.705|5\.4\.5",
    ),
    # Who may send and who may relay: there is no standard code.
    Entry(
        Meaning.SENDER,
        f"{SASL} (reject_sender_login_mismatch), {POSTFIX}#smtpd_sender_restrictions",
        words=("sender address rejected",),
    ),
    Entry(
        Meaning.SENDER,
        SES_ERRORS,
        codes=(554,),
        words=("email address is not verified", "following identities failed the check"),
    ),
    Entry(
        Meaning.SENDER,
        SENDGRID + " (403 is the code that its page names)",
        codes=(403, 5),
        words=(
            "verified sender identity",
            "not authorized to send from that email address",
            "unauthenticated senders not allowed",
        ),
    ),
    Entry(
        Meaning.SENDER,
        f"{MAILGUN}; {POSTMARK}; {SPARKPOST}",
        words=(
            r"domain\b.{0,80}? is not allowed to send",
            "for test purposes only",
            "sender signature",
            "unconfigured sending domain",
        ),
    ),
    Entry(
        Meaning.SENDER,
        f"{EXIM} (verify = sender); {QMAIL}",
        words=("sender verify failed", "envelope sender is in my badmailfrom"),
    ),
    Entry(
        Meaning.SENDER,
        f"{EXCHANGE}; {SENDGRID}",
        words=(r"permissions? to send as\b", r"\bnot (?:allowed|permitted|authori[sz]ed) to send (?:as|from)\b"),
    ),
    Entry(
        Meaning.RELAYING,
        f"{EXIM}; {SENDMAIL}; {CONNECTORS}; {GOOGLE}; {CPANEL}; {ZOHO}",
        words=(
            r"\brelay(?:ing)? (?:is )?(?:access )?(?:denied|not permitted|not allowed|prohibited|disallowed)\b",
            r"\bunable to relay\b",
            r"\bnot (?:permitted|allowed|authori[sz]ed) to relay\b",
            r"\bcredentials for relay\b",
            r"\bwe do not relay\b",
        ),
    ),
    Entry(
        Meaning.CLIENT,
        f"{POSTFIX}#smtpd_client_restrictions, #smtpd_helo_restrictions, #default_rbl_reply",
        words=("client host rejected", "helo command rejected", r"client host \[[^\]]*\] blocked using"),
    ),
    Entry(
        Meaning.ACCOUNT,
        f"{SES}; {GOOGLE} (mail sending denied)",
        words=(
            "sending (?:suspended|paused) for this account",
            r"not authorized to perform .?ses:",
            r"configuration set\b.{0,80}? (?:does not|doesn.t) exist",
            r"\bmail sending denied\b",
            r"\byour account (?:is|has been|was) (?:temporarily )?(?:disabled|suspended|blocked)\b",
        ),
    ),
    Entry(
        Meaning.AUTHENTICATION,
        f"{SES}; {EXIM}; {CPANEL}; {EXCHANGE}; {GOOGLE} (STARTTLS)",
        words=(
            r"\bauthentication (?:is )?required\b",
            r"\bsmtp auth (?:is )?required\b",
            r"\b(?:please|must) (?:log in|login|authenticate|turn on smtp authentication)\b",
            r"\bclient was not authenticated\b",
            r"\bmust issue a starttls\b",
        ),
    ),
    # Quotas: there is no standard code either.
    Entry(Meaning.SESSIONS, f"{SUBMISSION}: 432 4.3.2", codes=(432,), enhanced=r"4\.3\.2"),
    Entry(
        Meaning.SESSIONS,
        f"{SUBMISSION}; {POSTFIX}#smtpd_client_connection_count_limit; {EXIM_LIMITS}; {SENDMAIL}; {SES}",
        codes=(4, 5),
        words=(
            r"\btoo many (?:\w+ ){0,3}(?:connections|sessions|threads)\b",
            r"\b(?:connections?|sessions?|threads?)\b(?: [\w-]+){0,6}? (?:limit|exceed\w*)\b",
            r"\b(?:limit|maximum)(?: [\w-]+){0,5} (?:connections|sessions)\b",
        ),
    ),
    Entry(
        Meaning.RATE,
        f"{SES}; {GOOGLE}; {SENDGRID}; {POSTFIX}#smtpd_client_message_rate_limit",
        codes=(4, 5),
        words=(
            r"\bthrottling failure\b",
            r"\bmaximum sending rate\b",
            (
                r"\b(?:daily|email|messaging|sending|submission)(?: \w+){0,3}? (?:quota|limits?|rate)"
                r"(?: has been| was| is)? exceeded\b"
            ),
            r"\bexceeded (?:your|the|its) (?:messaging|sending|daily) limits?\b",
            r"\bmaximum credits exceeded\b",
            r"\btoo much mail from\b",
            r"\btoo many (?:messages|recipients|emails) (?:from|per|in|received this)\b",
            r"\btoo frequent connects\b",
        ),
    ),
    Entry(
        Meaning.RATE,
        "RFC 3463 §3.8 (X.7.z) and §3.4 (X.3.2) name no rate; the words do",
        codes=(4,),
        enhanced=r"4\.7\.\d+",
        words=(r"\b(?:rate|quota|limits?|limited|throttl\w*|too (?:many|fast|much)|exceed\w*)\b",),
    ),
    Entry(
        Meaning.RATE,
        "RFC 3463 §3.4: X.3.2 where it is more than a shutdown, and the words say so",
        codes=(4,),
        enhanced=r"4\.3\.2",
        words=(r"\b(?:rate|limits?|throttl\w*|too many|exceed\w*)\b",),
    ),
    Entry(Meaning.RATE, SES + ": 454", codes=(454,), phases=WITH_AN_EMAIL),
)
