"""Random frames made by scapy, from a seed."""

import random

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import (ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_Router_Alert, IPOption_RR,
                               IPOption_Timestamp)
from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS,
                                ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptMTU,
                                ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, ICMPv6ParamProblem,
                                ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting, PadN, RouterAlert)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw


class Maker:
    """Makes frames; every field is random where any value is allowed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def word(self):
        return self.random.getrandbits(16)

    def octet(self):
        return self.random.getrandbits(8)

    def data(self, most=60, step=1):
        return Raw(self.random.randbytes(self.random.randrange(most // step + 1) * step))

    def mac(self):
        return ":".join(["02", *(f"{self.octet():02x}" for _ in range(5))])

    def ip4(self):
        return f"10.{self.octet()}.{self.octet()}.{self.octet()}"

    def ip6(self):
        return "fd" + ":".join(f"{self.random.choice([0, self.word()]):04x}" for _ in range(8))[2:]

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def frame(self):
        """A frame, with tags and padding now and then."""
        kind = self.random.randrange(8)
        packet = self.arp() if kind == 0 else self.v4() if kind < 4 else self.v6()
        tags = []
        while len(tags) < 2 and self.chance(4):
            tags.append((Dot1AD if self.chance(2) and not tags else Dot1Q)(
                prio=self.random.randrange(8), vlan=self.random.randrange(4096)))
        for tag in reversed(tags):
            packet = tag / packet
        frame = bytes(Ether(src=self.mac(), dst=self.mac()) / packet)
        if self.chance(2):
            frame = frame.ljust(60, b"\xee") + b"\xee" * self.random.randrange(4)
        if self.chance(8):  # a wrong checksum, most likely
            at = len(frame) - self.random.randrange(1, 3)
            frame = frame[:at] + bytes([frame[at] ^ 1 << self.random.randrange(8)]) + frame[at + 1:]
        return frame

    def arp(self):
        return ARP(op=self.random.choice([1, 2, 3, 4, 8, 9, 25, 1000]), hwsrc=self.mac(), psrc=self.ip4(), hwdst=self.mac(), pdst=self.ip4())

    def options(self):
        return self.random.choice([[], [], [IPOption_NOP()] * (1 + self.octet() % 40), [IPOption_Router_Alert()],
                                   [IPOption_RR(routers=["0.0.0.0"] * 3)], [IPOption_Timestamp()]])

    def v4(self):
        ip = IP(src=self.ip4(), dst=self.ip4(), tos=self.octet(), id=self.word(), ttl=self.octet(), options=self.options(),
                flags=self.random.choice([0, "DF"]))
        kind = self.random.randrange(6)
        if kind == 0:
            ip.flags = self.random.choice([0, "MF"])
            ip.frag = self.random.randrange(1, 8100)
            return ip / self.random.choice([UDP(), TCP(), ICMP()]) / self.data(64, 8)
        if kind == 1:
            ip.flags = "MF"
            return ip / UDP(sport=self.port(), dport=9, chksum=self.word()) / self.data(64, 8)
        if kind == 2:
            return ip / self.icmp()
        if kind == 3:
            return ip / self.dhcp()
        return ip / self.transport(4)

    def port(self):
        """A port without a dissector."""
        return self.random.randrange(40000, 60000)

    def transport(self, version):
        if self.chance(2):
            udp = UDP(sport=self.port(), dport=9)
            if version == 4 and self.chance(4):
                udp.chksum = 0
            return udp / self.data()
        options = self.random.choice([[], [("MSS", 1460)], [("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)],
                                      [("MSS", 1220), ("SAckOK", b""), ("WScale", 7)], [("NOP", None)] * 40])
        return TCP(sport=self.port(), dport=9, seq=self.random.getrandbits(32), ack=self.random.getrandbits(32),
                   flags=self.octet(), window=self.word(), urgptr=self.word(), options=options) / self.data()

    def icmp(self):
        quoted = IP(src=self.ip4(), dst=self.ip4()) / UDP(sport=self.port(), dport=9) / self.data(20)
        return self.random.choice([
            ICMP(type=8, id=self.word(), seq=self.word()) / self.data(),
            ICMP(type=0, id=self.word(), seq=self.word()) / self.data(),
            ICMP(type=3, code=4, nexthopmtu=self.word()) / quoted,
            ICMP(type=3, code=3) / quoted,
            ICMP(type=11, code=self.octet() % 2) / quoted,
            ICMP(type=5, code=1, gw=self.ip4()) / quoted,
        ])

    def dhcp(self):
        options = [("message-type", self.random.choice(["discover", "request", "inform", "release"]))]
        if self.chance(2):
            options.append(("requested_addr", self.ip4()))
        if self.chance(2):
            options.append(("server_id", self.ip4()))
        if self.chance(2):
            options.append(("hostname", b"a host"))
        return UDP(sport=68, dport=67) / BOOTP(
            op=1, xid=self.random.getrandbits(32), flags=self.random.choice([0, 0x8000]), ciaddr=self.ip4(),
            giaddr=self.ip4(), chaddr=bytes.fromhex(self.mac().replace(":", "")) + b"\0" * 10) / DHCP(
                options=options + ["end"])

    def v6(self):
        ip = IPv6(src=self.ip6(), dst=self.ip6(), tc=self.octet(), fl=self.random.getrandbits(20), hlim=self.octet())
        chain = []
        if self.chance(4):
            chain.append(IPv6ExtHdrHopByHop(options=[RouterAlert(value=self.octet()), PadN(optdata=b"\0" * 4)]))
        if self.chance(6):
            chain.append(IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * self.random.randrange(20))]))
        if self.chance(6):
            chain.append(IPv6ExtHdrRouting(type=253, segleft=0, addresses=[self.ip6()]))
        kind = self.random.randrange(8)
        if kind == 0:
            fragment = IPv6ExtHdrFragment(offset=self.random.randrange(1, 8000), m=self.octet() % 2,
                                          id=self.random.getrandbits(32))
            fragment.nh = self.random.choice([17, 6, 58])
            packet = fragment / self.data(64, 8)
        elif kind == 1:
            fragment = IPv6ExtHdrFragment(offset=0, m=0, id=self.random.getrandbits(32))
            return self.chained(ip, [*chain, fragment], self.transport(6))
        elif kind < 5:
            ip.hlim = 255
            packet = self.icmpv6()
        else:
            packet = self.transport(6)
        return self.chained(ip, chain, packet)

    @staticmethod
    def chained(ip, chain, packet):
        for header in chain:
            ip = ip / header
        return ip / packet

    def icmpv6(self):
        quoted = IPv6(src=self.ip6(), dst=self.ip6()) / UDP(sport=self.port(), dport=9) / self.data(20)
        source, target = ICMPv6NDOptSrcLLAddr(lladdr=self.mac()), ICMPv6NDOptDstLLAddr(lladdr=self.mac())
        return self.random.choice([
            ICMPv6EchoRequest(id=self.word(), seq=self.word(), data=bytes(self.data())),
            ICMPv6EchoReply(id=self.word(), seq=self.word(), data=bytes(self.data())),
            ICMPv6ND_NS(tgt=self.ip6()) / source,
            ICMPv6ND_NS(tgt=self.ip6()),
            ICMPv6ND_NA(tgt=self.ip6(), R=self.octet() % 2, S=self.octet() % 2, O=self.octet() % 2) / target,
            ICMPv6ND_RS() / source,
            ICMPv6ND_RA(chlim=self.octet(), routerlifetime=self.word()) / source / ICMPv6NDOptMTU(mtu=self.word())
            / ICMPv6NDOptPrefixInfo(prefix=self.ip6(), prefixlen=self.octet() % 129,
                                    validlifetime=self.random.getrandbits(32),
                                    preferredlifetime=self.random.getrandbits(32)),
            ICMPv6DestUnreach(code=self.octet() % 7) / quoted,
            ICMPv6PacketTooBig(mtu=1280 + self.word()) / quoted,
            ICMPv6TimeExceeded(code=self.octet() % 2) / quoted,
            ICMPv6ParamProblem(code=self.octet() % 3, ptr=self.octet()) / quoted,
        ])
