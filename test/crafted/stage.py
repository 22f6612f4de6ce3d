"""The stage of the crafted tests: a private namespace, the command on a device there, and a raw socket.

A case is a packet and its fate: the bytes of an answer, or no answer; and the counted drop. A good ping follows every
case. The port answers in order, so the answer to the ping comes after the answer to the case: "no answer" is known
without waiting, and a host without any answers does not pass.
"""

import collections
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field

from scapy.layers.inet import ICMP, IP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw

SKIPPED = 77
OUR_MAC, OUR_IP = "02:00:00:00:77:02", "10.77.0.2"
# Foreign to the kernel, which takes no part in the conversation.
PEER_MAC, PEER_IP = "02:00:00:00:77:09", "10.77.0.9"
LONGEST = 10  # seconds for anything to happen

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING, VLAN_VALID = 263, 8, 4, 1 << 4


def skip(why):
    print(f"crafted_test: skipped, nothing was tested: {why}")
    sys.exit(SKIPPED)


def enter_namespace():
    """Runs the program again, in a private network namespace; without root also in a user namespace."""
    if "TUNPORT_CRAFTED" not in os.environ:
        ways = [["-n"], ["-Urn"]] if os.geteuid() == 0 else [["-Urn"]]
        for way in ways:
            if subprocess.run(["unshare", *way, "true"], capture_output=True, check=False).returncode == 0:
                os.environ["TUNPORT_CRAFTED"] = "1"
                os.execvp("unshare", ["unshare", *way, sys.executable, *sys.argv])
        skip("needs root, or user namespaces ('sysctl -w user.max_user_namespaces=15000')")
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        skip(f"/dev/net/tun: {error.strerror}; load the driver with 'modprobe tun', and for users "
             "'chmod 0666 /dev/net/tun'")
    # The kernel sends IPv6 packets unasked on every interface that is up.
    for which in ("default", "all"):
        try:
            with open(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6", "w", encoding="ascii") as switch:
                switch.write("1")
        except OSError:
            pass


@dataclass
class Case:
    name: str
    packet: bytes
    answer: bytes | None = None
    drop: str | None = None
    kind: str | None = None  # of the answer, as the summary counts them


@dataclass
class Outcome:
    summary: dict = field(default_factory=dict)
    failures: list = field(default_factory=list)
    sent: int = 0


class Host:
    """`tunport host` on a device, and the device's far end."""

    def __init__(self, command, kind, options="", addresses=(OUR_IP,)):
        mac = ["--mac", OUR_MAC] if kind == "tap" else []
        self.kind = kind
        self.sent = 0
        self.sequence = 0
        # pylint: disable=consider-using-with
        self.process = subprocess.Popen(
            [command, "host", f"{kind}:tp0{options}", "--interface-address", "10.77.0.1/24", "--host-address",
             *addresses, "--udp-echo", "4242", "--json", *mac],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if " is up " not in self.process.stderr.readline():
                raise RuntimeError("tunport did not start")
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self.socket.bind(("tp0", 0x0003))
        except BaseException:
            self.process.kill()
            raise

    def send(self, packet):
        self.socket.sendto(packet, ("tp0", 0x0800))
        self.sent += 1

    def receive(self):
        """The host's next packet, with the VLAN tag removed by the kernel put back."""
        end = time.monotonic() + LONGEST
        while time.monotonic() < end and select.select([self.socket], [], [], end - time.monotonic())[0]:
            packet, notes, _, origin = self.socket.recvmsg(1 << 17, 256)
            if origin[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in notes:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, _, _, _, _, tag, tpid = struct.unpack("=IIIHHHH", data[:20])
                    if status & VLAN_VALID:
                        packet = packet[:12] + struct.pack("!HH", tpid, tag) + packet[12:]
            return packet
        raise RuntimeError("the host does not answer a good ping any more")

    def is_announcement(self, packet):
        """What the host says unasked, once it is up."""
        return self.kind == "tap" and packet == in_frame(
            ARP(op=1, hwsrc=OUR_MAC, psrc=OUR_IP, hwdst="00:00:00:00:00:00", pdst=OUR_IP), src=OUR_MAC,
            dst="ff:ff:ff:ff:ff:ff", type=0x0806)

    def ping(self):
        """A good ping and its answer, each different."""
        self.sequence += 1
        number = struct.pack("!I", self.sequence)
        one = IP(src=PEER_IP, dst=OUR_IP) / ICMP(id=0x7777, seq=self.sequence & 0xFFFF) / Raw(number)
        return self.frame(one), self.answer(ICMP(type=0, id=0x7777, seq=self.sequence & 0xFFFF) / Raw(number))

    def frame(self, packet):
        return in_frame(packet) if self.kind == "tap" else bytes(packet)

    def answer(self, payload):
        packet = answer_ip() / payload
        return answer_frame(packet) if self.kind == "tap" else bytes(packet)

    def answers_until_ping(self):
        """All packets before the answer to a good ping."""
        question, expected = self.ping()
        self.send(question)
        answers = []
        while (packet := self.receive()) != expected:
            if not self.is_announcement(packet):
                answers.append(packet)
        return answers

    def stop(self):
        """The summary."""
        self.process.send_signal(signal.SIGINT)
        try:
            out, err = self.process.communicate(timeout=LONGEST)
        finally:
            self.close()
        if self.process.returncode != 0:
            raise RuntimeError(f"tunport ended with {self.process.returncode}: {err}")
        return json.loads(out.splitlines()[-1])

    def close(self):
        self.process.kill()
        self.process.wait()
        self.socket.close()


def in_frame(packet, **fields):
    return bytes(Ether(**{"src": PEER_MAC, "dst": OUR_MAC, "type": 0x0800, **fields}) / packet)


def answer_frame(packet, **fields):
    return in_frame(packet, **{"src": OUR_MAC, "dst": PEER_MAC, **fields})


def answer_ip(**fields):
    """The IP header of the host's packets."""
    return IP(**{"src": OUR_IP, "dst": PEER_IP, "id": 0, "flags": "DF", "ttl": 64, **fields})


def check_identities(summary, sent):
    """Checks for every traffic: each packet read was answered or dropped, once."""
    port, host = summary["port"], summary["host"]
    drops = sum(port["drops"].values())
    answered = host["arp_replies"] + host["icmp_echo_replies"] + host["udp_echoes"]
    failures = []
    if port["packets_in"] != sent:
        failures.append(f"{port['packets_in']} packets read of {sent} sent")
    # A datagram without a service is dropped, and answered by an error besides.
    if port["packets_in"] != answered + drops:
        failures.append(f"{port['packets_in']} packets read, {answered} answered, {drops} dropped")
    refused = {"unknown_udp_port": "port_unreachable", "unknown_ip_protocol": "protocol_unreachable",
               "unknown_tcp_port": "tcp_resets"}
    errors = sum(host[kind] for kind in refused.values())
    if port["packets_out"] != answered + errors + host["arp_announcements"]:
        failures.append(f"{port['packets_out']} packets written for {answered} + {errors} answers")
    if host["arp_announcements"] != (1 if port["kind"] == "tap" else 0):
        failures.append(f"{host['arp_announcements']} announcements")
    failures += [f"{reason} and {kind} differ" for reason, kind in refused.items()
                 if port["drops"].get(reason, 0) != host[kind]]
    if port["exceptions"] != 0:
        failures.append(f"{port['exceptions']} exceptions")
    return failures


def run(command, kind, cases, options=""):
    """Sends the cases to a process. Returns the differences from the expectations, in words."""
    outcome = Outcome()
    host = Host(command, kind, options)
    try:
        for case in cases:
            host.send(case.packet)
            answers = host.answers_until_ping()
            expected = [] if case.answer is None else [case.answer]
            if answers != expected:
                outcome.failures.append(f"{case.name}: answered {[a.hex() for a in answers]}, "
                                        f"expected {[a.hex() for a in expected]}")
        outcome.summary = host.stop()
    except (OSError, RuntimeError) as error:
        outcome.failures.append(f"{case.name}: {error}")
        host.close()
        return outcome
    drops = collections.Counter(case.drop for case in cases if case.drop)
    if outcome.summary["port"]["drops"] != drops:
        outcome.failures.append(f"drops are {outcome.summary['port']['drops']}, expected {dict(drops)}")
    kinds = collections.Counter(case.kind for case in cases if case.kind)
    kinds["icmp_echo_replies"] += len(cases)
    for name, count in outcome.summary["host"].items():
        if name != "arp_announcements" and count != kinds[name]:
            outcome.failures.append(f"{name} is {count}, expected {kinds[name]}")
    outcome.failures += check_identities(outcome.summary, host.sent)
    outcome.sent = host.sent
    return outcome
