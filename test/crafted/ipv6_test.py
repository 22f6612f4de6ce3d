#!/usr/bin/python3
"""Crafted IPv6 headers: `ipv6_test.py TUNPORT` sends chains of extension headers to `tunport host` on a TAP, and checks
which are answered, of which faults the sender is told, and the reasons of the drops.
"""

import collections
import logging
import sys
from dataclasses import dataclass

sys.dont_write_bytecode = True  # nothing is left in the source tree
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it misses addresses and routes, which it need not have
try:
    from scapy.layers.inet6 import (HBHOptUnknown, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ParamProblem,
                                    ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                    IPv6ExtHdrRouting, Jumbo, RouterAlert)
except ImportError:
    print("ipv6_test: skipped, nothing was tested: needs scapy (Debian: python3-scapy)")
    sys.exit(77)

import stage
from scapy.layers.l2 import Ether
from scapy.packet import Raw

OUR_IP6, PEER_IP6 = "fd00:77::2", "fd00:77::9"


@dataclass
class Case:
    name: str
    packet: bytes
    problem: tuple | None = None  # code and pointer
    echo: bool = False
    drop: str | None = None


def ip(**fields):
    return IPv6(**{"src": PEER_IP6, "dst": OUR_IP6, **fields})


def option(kind, size=2):
    return HBHOptUnknown(otype=kind, optlen=size, optdata=bytes(size))


def echo(size=8):
    return ICMPv6EchoRequest(id=5, seq=7, data=bytes(range(size)))


def fragment(offset, more, data, nh=58, number=9):
    return ip() / IPv6ExtHdrFragment(offset=offset // 8, m=int(more), id=number, nh=nh) / Raw(data)


def cases():
    hop, destination, route = IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting
    atomic = IPv6ExtHdrFragment(id=1)
    visited = route(segleft=0, addresses=["fd00::5"])
    whole = bytes(ip() / echo(32))[40:]
    found = [
        Case("echo", ip() / echo(), echo=True),
        Case("router alert", ip() / hop(options=[RouterAlert()]) / echo(), echo=True),
        Case("every header", ip() / hop() / destination() / visited / atomic / destination() / echo(), echo=True),
        Case("the headers turned round", ip() / destination() / atomic / visited / destination() / echo(),
             echo=True),
        Case("hop-by-hop second", ip() / destination() / hop() / echo(), (1, 40), drop="unknown_ip_protocol"),
        Case("an unknown header", ip(nh=253) / Raw(bytes(8)), (1, 6), drop="unknown_ip_protocol"),
        Case("an unknown header behind another", ip() / destination(nh=253) / Raw(bytes(8)), (1, 40),
             drop="unknown_ip_protocol"),
        Case("nothing follows", ip(nh=59), drop="unknown_ip_protocol"),
        Case("a source route", ip() / route(type=0, segleft=1, addresses=["fd00::5"]) / echo(), (0, 42),
             drop="ip_source_route"),
        Case("a jumbogram's option", ip() / hop(options=[Jumbo(jumboplen=70000)]) / echo(), (2, 42),
             drop="ip_bad_option"),
        Case("a fragment of 9 bytes", fragment(0, True, whole[:9]), (0, 4), drop="ip_bad_fragment"),
        Case("a fragment beyond the end", fragment(65528, False, bytes(16)), (0, 42), drop="ip_bad_fragment"),
        Case("the first of two fragments", fragment(0, True, whole[:16])),
        Case("the second of two fragments", fragment(16, False, whole[16:]), echo=True),
        Case("an error with a fault", ip() / destination(options=[option(0x9E)]) / ICMPv6TimeExceeded() /
             Raw(bytes(40)), drop="ip_bad_option"),
        Case("a fault, for another", ip(dst="fd00:77::3") / destination(options=[option(0x9E)]) / echo(),
             drop="ip_bad_option"),
    ]
    for header in (hop, destination):
        for kind, fate in ((0x1E, {"echo": True}), (0x5E, {"drop": "ip_bad_option"}),
                           (0x9E, {"problem": (2, 42), "drop": "ip_bad_option"}),
                           (0xDE, {"problem": (2, 42), "drop": "ip_bad_option"})):
            found.append(Case(f"option {kind:#x} of {header.__name__}",
                                  ip() / header(options=[option(kind)]) / echo(), **fate))
    return found


def matches(case, answers):
    """True if the packets of the host are what is due for the case."""
    if not case.echo and case.problem is None:
        return not answers
    if len(answers) != 1:
        return False
    answer = Ether(answers[0])
    if answer.src != stage.OUR_MAC or answer[IPv6].src != OUR_IP6 or answer[IPv6].dst != PEER_IP6:
        return False
    if case.echo:
        return ICMPv6EchoReply in answer and answer[ICMPv6EchoReply].id == 5 and answer[ICMPv6EchoReply].seq == 7
    if ICMPv6ParamProblem not in answer:
        return False
    problem = answer[ICMPv6ParamProblem]
    return (problem.code, problem.ptr) == case.problem and bytes(problem.payload) == bytes(case.packet)


class Host(stage.Host):
    def __init__(self, command):
        super().__init__(command, "tap", addresses=(stage.OUR_IP, OUR_IP6))
        # The address is in use once the host tells of it.
        while not (ICMPv6ND_NA in (said := Ether(self.receive())) and said[ICMPv6ND_NA].tgt == OUR_IP6):
            pass


def run(command, all_cases):
    """The differences from the expectations, in words."""
    failures = []
    host = Host(command)
    try:
        for case in all_cases:
            host.send(stage.in_frame(case.packet, type=0x86DD))
            answers = host.answers_until_ping()
            if not matches(case, answers):
                failures.append(f"{case.name}: answered {[Ether(answer).summary() for answer in answers]}")
        summary = host.stop()
    except (OSError, RuntimeError) as error:
        host.close()
        return failures + [f"{case.name}: {error}"]
    drops = dict(collections.Counter(case.drop for case in all_cases if case.drop))
    if summary["port"]["drops"] != drops:
        failures.append(f"drops are {summary['port']['drops']}, expected {drops}")
    unknown = sum(case.problem is not None and case.name.startswith(("an unknown header", "hop-by-hop second"))
                  for case in all_cases)
    for key, count in (("icmpv6_echo_replies", sum(case.echo for case in all_cases)),
                       ("protocol_unreachable", unknown),
                       ("parameter_problems", sum(case.problem is not None for case in all_cases) - unknown),
                       ("icmp_echo_replies", len(all_cases))):
        if summary["host"][key] != count:
            failures.append(f"{key} is {summary['host'][key]}, expected {count}")
    return failures


def main():
    if len(sys.argv) != 2:
        print("usage: ipv6_test.py TUNPORT", file=sys.stderr)
        return 2
    stage.enter_namespace()
    command = sys.argv[1]
    failures = run(command, cases())
    # The test notices a wrong answer, and a missing one.
    for case in (Case("", ip() / echo()), Case("", ip() / echo(), problem=(0, 4)), Case("", ip(nh=59), echo=True)):
        if not run(command, [case]):
            failures.append(f"this test does not notice what is wrong: {case}")
    print(f"{'FAIL' if failures else 'ok'}: {len(cases())} packets")
    for failure in failures:
        print(f"  {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
