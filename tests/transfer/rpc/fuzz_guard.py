"""Throws malformed streams at the guard: `python -m tests.transfer.rpc.fuzz_guard --count 100000 --seed 1`.

Each input is a real migration's calls (captures/) with something wrong in it, cut into messages and judged
just as the destination's worker does it. It fails when anything but a refusal is raised, when an input takes
too long, or when something malformed would have reached libvirtd.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from tests.transfer.rpc import captured
from tests.transfer.rpc.captured import Arguments, Capture, pack, unpack

from vmferry.core.errors import VmferryError
from vmferry.transfer.rpc import protocol
from vmferry.transfer.rpc.guard import Guard
from vmferry.transfer.rpc.protocol import MessageType, Procedure, RpcMessage, Splitter
from vmferry.transfer.rpc.xdr import Parameter, ParameterType, XdrError

# Generous: an input takes some milliseconds on an idle machine.
_SECONDS_MAX = 10.0
_CARRIERS = (Procedure.PREPARE, Procedure.FINISH)


@dataclass
class Report:
    """How many inputs there were, by what was wrong with them."""

    inputs: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    failures: list[str] = field(default_factory=list)


class _Input:
    """One malformed stream: good calls, then bytes that begin with the first malformed one."""

    def __init__(self, good: list[RpcMessage], bad: bytes) -> None:
        self.good = good
        self.bad = bad


Mutator = Callable[[random.Random, Capture, list[RpcMessage]], "_Input | None"]


# --- what can be wrong with a stream ------------------------------------------------------------------------


def _garbage(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input:
    at = random.randrange(len(calls))
    return _Input(calls[:at], random.randbytes(random.randrange(1, 400)))


def _header(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input | None:
    """Change a word of a header: length, program, version, procedure, type or status."""
    at = random.randrange(len(calls))
    raw = bytearray(calls[at].raw)
    word = random.choice((0, 1, 2, 3, 4, 6))
    old = raw[word * 4 : word * 4 + 4]
    near = int.from_bytes(old, "big") + random.randrange(-5, 6)
    value = random.choice((near & 0xFFFFFFFF, random.randrange(2**32), random.randrange(400)))
    raw[word * 4 : word * 4 + 4] = value.to_bytes(4, "big")
    if word == 0 and value >= len(raw):
        raw += random.randbytes(value - len(raw)) if value < 40_000 else b""
    return None if raw == calls[at].raw else _Input(calls[:at], bytes(raw))


def _payload(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input | None:
    """Change some bytes of a payload."""
    at = _with_payload(random, calls)
    raw = bytearray(calls[at].raw)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        place = random.randrange(protocol.HEADER_SIZE, len(raw))
        raw[place] = random.choice((raw[place] ^ (1 << random.randrange(8)), random.randrange(256), 0, 0xFF))
    return None if raw == calls[at].raw else _Input(calls[:at], bytes(raw))


def _length(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input:
    """Cut a payload short, or let it go on; the header says so truly."""
    at = _with_payload(random, calls)
    call = calls[at]
    payload = call.payload
    payload = random.choice((payload[: random.randrange(len(payload))], payload + random.randbytes(4), payload * 2))
    return _Input(calls[:at], protocol.build(call.program, call.procedure, call.type, call.serial, payload))


def _order(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input | None:
    """Leave calls out, or make one again."""
    at = random.randrange(len(calls))
    other = random.randrange(len(calls))
    expected, found = calls[at], calls[other]
    if found.procedure == expected.procedure or not _too_early(found, expected, calls[:at]):
        return None
    return _Input(
        calls[:at], protocol.build(found.program, found.procedure, found.type, expected.serial, found.payload)
    )


def _too_early(found: RpcMessage, expected: RpcMessage, before: list[RpcMessage]) -> bool:
    """Tell whether a call has no business at a place; asking for features and closing early are harmless."""
    seen = {message.procedure for message in before}
    match found.procedure:
        case Procedure.SUPPORTS_FEATURE:
            return Procedure.AUTH_LIST not in seen or Procedure.PREPARE in seen
        case Procedure.REGISTER_CLOSE_CALLBACK:
            return found.procedure in seen or Procedure.OPEN not in seen or Procedure.PREPARE in seen
        case Procedure.UNREGISTER_CLOSE_CALLBACK:
            return Procedure.REGISTER_CLOSE_CALLBACK not in seen or found.procedure in seen
        case Procedure.CLOSE:
            return Procedure.OPEN not in seen
        case Procedure.OPEN:
            return Procedure.AUTH_LIST not in seen or found.procedure in seen
        case Procedure.PREPARE:
            return Procedure.OPEN not in seen or found.procedure in seen
        case Procedure.FINISH:
            return Procedure.PREPARE not in seen or found.procedure in seen
        case _:
            return found.procedure != expected.procedure


def _procedure(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input:
    """Call something else."""
    at = random.randrange(len(calls))
    procedure = random.randrange(3, 460)
    while procedure in list(Procedure):
        procedure += 1
    payload = random.choice((b"", random.randbytes(random.randrange(0, 200)), calls[at].payload))
    return _Input(
        calls[:at], protocol.build(protocol.REMOTE_PROGRAM, procedure, MessageType.CALL, calls[at].serial, payload)
    )


def _flags(random: random.Random, arguments: Arguments) -> Arguments:
    return replace(arguments, flags=arguments.flags ^ (1 << random.randrange(32)))


def _parameters(random: random.Random, arguments: Arguments) -> Arguments:
    """Leave a parameter out, make one again, change one, or add another."""
    parameters = list(arguments.parameters)
    at = random.randrange(len(parameters))
    names = (
        "migrate_uri",
        "destination_name",
        "listen_address",
        "persistent_xml",
        "compression",
        "tls.destination",
    )
    match random.randrange(4):
        case 0:
            if parameters[at].name == "migrate_disks_detect_zeroes":
                return arguments  # nobody needs it
            if arguments.cancelled is not None and parameters[at].name != "destination_name":
                return arguments  # Finish needs no others
            del parameters[at]
        case 1:
            if arguments.cancelled is not None and parameters[at].name == "destination_xml":
                return arguments
            parameters.insert(random.randrange(len(parameters)), parameters[at])
        case 2:
            kind = random.choice((ParameterType.STRING, ParameterType.INT, ParameterType.ULLONG))
            value = _text(random) if kind == ParameterType.STRING else random.randrange(2**31)
            parameters[at] = Parameter(parameters[at].name, kind, value)
        case _:
            parameters.append(Parameter(random.choice((*names, _text(random))), ParameterType.STRING, _text(random)))
    return replace(arguments, parameters=tuple(parameters))


def _xml(random: random.Random, arguments: Arguments) -> Arguments:
    """Change the domain's tree somewhere."""
    domain = ElementTree.fromstring(str(arguments.value("destination_xml")))
    elements = [element for element in domain.iter() if not element.tag.startswith("{")]
    element = random.choice(elements)
    match random.randrange(5):
        case 0:
            element.set(random.choice([*element.attrib, "file", "path", "type"]), _text(random))
        case 1 if not len(element):
            element.text = f"{element.text or ''}{_text(random)}"
        case 2:
            element.insert(random.randrange(len(element) + 1), ElementTree.fromstring(random.choice(_DEVICES)))
        case 3 if len(element):
            del element[random.randrange(len(element))]
        case _:
            element.tag = f"x{element.tag}"
    return arguments.replacing("destination_xml", ElementTree.tostring(domain, encoding="unicode"))


def _xml_text(random: random.Random, arguments: Arguments) -> Arguments:
    """Put something into the XML that has no place there."""
    xml = str(arguments.value("destination_xml"))
    at = random.choice([0, xml.index("<devices>"), xml.index("</domain>"), random.randrange(len(xml)), len(xml)])
    return arguments.replacing("destination_xml", xml[:at] + random.choice(_SYNTAX) + xml[at:])


def _cookie(random: random.Random, arguments: Arguments) -> Arguments:
    end = b"</qemu-migration>"
    at = arguments.cookie.find(end)
    if at < 0 or random.random() < 0.2:
        return replace(arguments, cookie=random.randbytes(random.randrange(1, 100)))
    more = random.choice((*_DEVICES, *_SYNTAX, "<feature name='persistent'/>", "<domain/>", "<nbd port='1'/>"))
    return replace(arguments, cookie=arguments.cookie[:at] + more.encode() + arguments.cookie[at:])


def _of(mutate: Callable[[random.Random, Arguments], Arguments]) -> Mutator:
    """Make a mutator of whole streams from one of what Prepare and Finish carry."""

    def mutator(random: random.Random, _capture: Capture, calls: list[RpcMessage]) -> _Input | None:
        at = random.choice([at for at, call in enumerate(calls) if call.procedure in _CARRIERS])
        arguments = unpack(calls[at])
        other = mutate(random, arguments)
        return None if other == arguments else _Input(calls[:at], pack(calls[at], other).raw)

    return mutator


_DEVICES = (
    "<hostdev mode='subsystem' type='pci'/>",
    "<disk type='file'><source file='/etc/shadow'/><target dev='vdx'/></disk>",
    "<disk type='block'><source dev='/dev/sda'/><target dev='vdx'/></disk>",
    "<filesystem type='mount'><source dir='/'/><target dir='root'/></filesystem>",
    "<emulator>/bin/sh</emulator>",
    "<serial type='file'><source path='/etc/cron.d/x'/></serial>",
    "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:arg value='x'/></q:commandline>",
    "<devices/>",
)
_SYNTAX = (
    "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;'>]>",
    "<!DOCTYPE d SYSTEM 'file:///etc/passwd'>",
    "<?xml version='1.0' encoding='utf-16'?>",
    "<?x y?>",
    "&lol;",
    "<a>" * 500,
    "<a>" * 70 + "</a>" * 70,
    "<",
    ">x",
    "\x01",
    "]]>",
    "<x a='1' a='2'/>",
)
_MUTATORS: dict[str, Mutator] = {
    "garbage": _garbage,
    "header": _header,
    "payload": _payload,
    "length": _length,
    "order": _order,
    "procedure": _procedure,
    "flags": _of(_flags),
    "parameters": _of(_parameters),
    "xml": _of(_xml),
    "xml text": _of(_xml_text),
    "cookie": _of(_cookie),
}


def _with_payload(random: random.Random, calls: list[RpcMessage]) -> int:
    return random.choice([at for at, call in enumerate(calls) if call.payload])


def _text(random: random.Random) -> str:
    return random.choice(
        (
            "/etc/shadow",
            "tcp://10.0.0.1:1",
            "exec:sh",
            "../..",
            "vdz",
            "-",
            "\u202e",
            "x" * random.randrange(1, 3000),
        )
    )


# --- the judge ----------------------------------------------------------------------------------------------


def _same_meaning(malformed: RpcMessage, good: RpcMessage) -> bool:
    """Tell, by other means than the guard's, whether a changed call says what the good one says after all.

    Changed bytes can hit what is free: a feature's number, a host's name or a statistic in the cookie, a
    comment, white space.
    """
    if (malformed.program, malformed.procedure, malformed.type) != (good.program, good.procedure, good.type):
        return False
    if malformed.procedure == Procedure.SUPPORTS_FEATURE:
        return len(malformed.payload) == 4
    if malformed.procedure not in _CARRIERS:
        return malformed.payload == good.payload
    try:
        one, other = unpack(malformed), unpack(good)
        return _meaning(one) == _meaning(other)
    except (XdrError, UnicodeDecodeError, ElementTree.ParseError, StopIteration):
        return False


def _meaning(arguments: Arguments) -> object:
    # Whether a copy was cancelled is the source's to say.
    rest = [parameter for parameter in arguments.parameters if parameter.name != "destination_xml"]
    xml = ElementTree.canonicalize(str(arguments.value("destination_xml")), strip_text=True)
    cookie = ElementTree.fromstring(arguments.cookie.rstrip(b"\0").decode())
    for free in ("hostname", "hostuuid", "statistics", "cpu", "capabilities", "nbd"):
        for element in cookie.findall(free):
            cookie.remove(element)
    return rest, xml, ElementTree.canonicalize(ElementTree.tostring(cookie), strip_text=True), arguments.flags


def _play(capture: Capture, given: _Input) -> str | None:
    """Play one input against a guard; returns what went wrong, if anything."""
    guard = Guard(capture.authorised)
    passed: list[RpcMessage] = []
    refused = False
    splitter = Splitter()
    follow_up = next(message for way, message in capture.messages if way == ">")
    stream = b"".join(message.raw for message in given.good) + given.bad + follow_up.raw
    try:
        for message in splitter.feed(stream):
            if guard.check_call(message) is None:
                passed.append(message)
                reply = protocol.build(message.program, message.procedure, MessageType.REPLY, message.serial)
                guard.see_reply(protocol.read(reply))
    except VmferryError:
        refused = True
    except Exception as error:  # this is what the runner is for
        return f"raised {error!r}"
    if passed[: len(given.good)] != given.good:
        return "a good call was refused"
    calls = [m for way, m in capture.messages if way == ">" and m.program == protocol.REMOTE_PROGRAM]
    for message in passed[len(given.good) :]:
        # Only the call that belongs here may pass, and nothing behind it.
        if message is not passed[len(given.good)] or not _same_meaning(message, calls[len(given.good)]):
            return f"passed on {message}"
    if refused and guard.finish_called and not any(m.procedure == Procedure.FINISH for m in passed):
        return "took a refused Finish for one that was called"
    return None


def run(count: int, seed: int) -> Report:
    """Play `count` malformed inputs."""
    source = random.Random(seed)
    report = Report()
    captures = [captured.load(move) for move in captured.MOVES if captured.load(move).succeeded]
    weights = [1.0 / len(capture.dest_xml) for capture in captures]  # the small ones are as good, and faster
    while report.inputs.total() < count:
        capture = source.choices(captures, weights)[0]
        calls = [m for way, m in capture.messages if way == ">" and m.program == protocol.REMOTE_PROGRAM]
        name = source.choice(list(_MUTATORS))
        given = _MUTATORS[name](source, capture, calls)
        if given is None:
            continue
        began = time.monotonic()
        failure = _play(capture, given)
        took = time.monotonic() - began
        report.slowest = max(report.slowest, took)
        number = report.inputs.total()
        if failure is None and took > _SECONDS_MAX:
            failure = f"took {took:.1f} s"
        if failure:
            report.failures.append(f"input {number} ({name}): {failure}")
        report.inputs[name] += 1
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    began = time.monotonic()
    report = run(arguments.count, arguments.seed)
    for name, number in sorted(report.inputs.items()):
        print(f"{name:12} {number:8}")
    print(f"{'all':12} {report.inputs.total():8}  in {time.monotonic() - began:.0f} s, slowest {report.slowest:.3f} s")
    for failure in report.failures[:20]:
        print(failure)
    print(f"{len(report.failures)} failures")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
