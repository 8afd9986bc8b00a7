"""Two hosts together: whether one answers the other, and what their settings say."""

from collections.abc import Iterator

from vmferry.core import codes
from vmferry.core.messages.finding import Finding, blocker
from vmferry.preflight.case import Check
from vmferry.preflight.doctor.certificates import CERTIFICATES, dates
from vmferry.preflight.doctor.health import Meeting


def _certificate(meeting: Meeting) -> Iterator[Finding]:
    yield from dates(meeting.source, meeting.mine, meeting.now)
    yield from dates(meeting.destination, meeting.certificate, meeting.now, own=False)


def _answer(meeting: Meeting) -> Iterator[Finding]:
    # A certificate that is out of date looks like a wrong one to who checks it: the first says more.
    if meeting.trouble is not None and blocker(_certificate(meeting)) is None:
        yield meeting.trouble


def _settings(meeting: Meeting) -> Iterator[Finding]:
    if meeting.facts is None:
        return
    yield from meeting.facts.findings
    source, destination = meeting.settings.encryption, meeting.facts.encryption
    if source is not destination:
        names = {"source": meeting.source, "host": meeting.destination}
        yield Finding.warns(
            codes.ENCRYPTION_UNEQUAL,
            (source.value, destination.value),
            here=source.value,
            there=destination.value,
            **names,
        )


CERTIFICATE = Check(
    _certificate,
    {code: cause for code, cause in CERTIFICATES.causes.items() if code is not codes.CERTIFICATE_UNUSABLE},
)
ANSWER = Check(
    _answer,
    {
        codes.HOST_UNKNOWN: "The two were never paired, or one was unpaired.",
        codes.VIEW_UNKNOWN: "The other host does not answer, or does not answer this user.",
        codes.HOST_UNREACHABLE: "The host is down, vmferryd is stopped there, or TCP 6601 is closed.",
        codes.NOT_PAIRED: "The pairing was removed on the other host only.",
        codes.CERTIFICATE_CHANGED: "The host was set up again, or another host has its address.",
    },
)
SETTINGS = Check(
    _settings, {codes.ENCRYPTION_UNEQUAL: "The two administrators have chosen differently; moves are encrypted."}
)
