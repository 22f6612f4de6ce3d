#!/usr/bin/python3
"""Crafted input: `crafted_test.py TUNPORT` sends packets of no well-behaved stack to `tunport host`, and checks that
only due answers come, and that each drop is counted for exactly its reason.
"""

import logging
import random
import sys

sys.dont_write_bytecode = True  # nothing is left in the source tree
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it misses addresses and routes, which it need not have
try:
    import scapy.layers.inet  # noqa: F401  pylint: disable=unused-import
except ImportError:
    print("crafted_test: skipped, nothing was tested: needs scapy (Debian: python3-scapy)")
    sys.exit(77)

import cases
import stage
from scapy.layers.inet import ICMP, IP
from scapy.packet import Raw


def report(what, outcome):
    print(f"{'FAIL' if outcome.failures else 'ok':4} {what}: {outcome.sent} packets", flush=True)
    for failure in outcome.failures[:20]:
        print(f"       {failure}")
    return not outcome.failures


def check(command, kind, what, group):
    """Runs a process for all cases; after a wrong sum, a process for each case, to find the case."""
    outcome = stage.run(command, kind, group)
    if any(failure.startswith("drops are ") for failure in outcome.failures):
        alone = [(case, stage.run(command, kind, [case])) for case in group]
        outcome.failures += [f"{case.name}: {failure}" for case, one in alone for failure in one.failures]
    return report(f"{kind}, {what}", outcome)


def check_that_it_can_fail(command):
    """Checks that the stage notices the fault of each case."""
    ping = cases.in_frame(cases.ip() / cases.echo())
    answer = cases.answer_frame(Raw(cases.echo_reply()))
    wrong = {
        "an answer where none is expected": stage.Case("", ping, kind="icmp_echo_replies"),
        "no answer where one is expected": stage.Case("", ping[:40], answer=answer, drop="ip_bad_total_length"),
        "a byte too many": stage.Case("", ping, answer=answer + b"\0", kind="icmp_echo_replies"),
        "another reason": stage.Case("", ping[:40], drop="ip_short"),
        "no reason": stage.Case("", ping[:40]),
        "a drop besides the answer": stage.Case("", ping, answer=answer, drop="ip_short", kind="icmp_echo_replies"),
        "another kind of answer": stage.Case("", ping, answer=answer, kind="udp_echoes"),
    }
    missed = [what for what, case in wrong.items() if not stage.run(command, "tap", [case]).failures]
    return report("this test notices what is wrong", stage.Outcome(failures=missed, sent=2 * len(wrong)))


def check_jumbo(command):
    data = bytes(range(256)) * 36
    good = True
    for size in (1472, 1473, 8972):
        case = stage.Case(f"echo of {size}", cases.in_frame(cases.ip() / cases.echo(data[:size])),
                          answer=cases.answer_frame(Raw(cases.echo_reply(data[:size]))), kind="icmp_echo_replies")
        good &= report(f"tap of mtu 9000, echo of {size}", stage.run(command, "tap", [case], ",mtu=9000"))
    return good


def garbage(rng, kind, good):
    """A packet: noise, noise behind the right addresses, or a good packet with changed bytes."""
    way = rng.randrange(3)
    if way == 0:
        return rng.randbytes(rng.randrange(14, 300))
    if way == 1:
        start = bytes.fromhex(stage.OUR_MAC.replace(":", "") + stage.PEER_MAC.replace(":", ""))
        ethertype = rng.choice((b"\x08\0", b"\x08\x06", b"\x81\0\0\0\x08\0", b"\x88\xa8", rng.randbytes(2)))
        packet = bytes([rng.choice((0x45, 0x46, 0x4F, 0x60))]) + rng.randbytes(rng.randrange(0, 200))
        return start + ethertype + packet if kind == "tap" else packet
    packet = bytearray(rng.choice(good))
    for _ in range(rng.randrange(1, 4)):
        packet[rng.randrange(len(packet))] = rng.randrange(256)
    offset = 14 if kind == "tap" else 0
    if rng.random() < 0.7 and len(packet) > offset + 20 and packet[offset] == 0x45:
        packet[offset:] = cases.with_ip_checksum(bytes(packet[offset:]))
    return bytes(packet)


def check_garbage(command, kind, count=10_000):
    """Checks that the process survives, and accounts for every packet."""
    rng = random.Random(20_260_101)
    good = [case.packet for case in cases.well_formed()]
    if kind == "tap":
        good = [cases.in_frame(Raw(packet)) for packet in good] + [case.packet for case in cases.of_arp()[:4]]
    outcome = stage.Outcome()
    host = stage.Host(command, kind)
    try:
        for number in range(count):
            host.send(garbage(rng, kind, good))
            if number % 100 == 99:  # the kernel's ring holds 500
                host.answers_until_ping()
        outcome.summary = host.stop()
        outcome.failures = stage.check_identities(outcome.summary, host.sent)
        if len(outcome.summary["port"]["drops"]) < 10:
            outcome.failures.append(f"too few kinds of drops to mean anything: {outcome.summary['port']['drops']}")
    except (OSError, RuntimeError) as error:
        outcome.failures = [str(error)]
        host.close()
    outcome.sent = host.sent
    return report(f"{kind}, garbage", outcome)


def main():
    if len(sys.argv) != 2:
        print("usage: crafted_test.py TUNPORT", file=sys.stderr)
        return 2
    stage.enter_namespace()
    command = sys.argv[1]
    good = check_that_it_can_fail(command)
    for what, group in cases.of_ip().items():
        good &= check(command, "tun", what, group)
        good &= check(command, "tap", what, [cases.on_tap(case) for case in group])
    good &= check(command, "tap", "ethernet", cases.of_ethernet())
    good &= check(command, "tap", "arp", cases.of_arp())
    good &= check_jumbo(command)
    for kind in ("tap", "tun"):
        good &= check_garbage(command, kind)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
