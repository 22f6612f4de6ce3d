"""The cases: packets to send, and their fates.

The cases of IP are packets, sent on TUN unchanged and on TAP in a frame; the cases of Ethernet and ARP are frames.
"""

import struct

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP, IPOption_RR, IPOption_SSRR, IPOption_Timestamp
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q
from scapy.packet import Raw
from scapy.utils import checksum as scapy_checksum

from stage import OUR_IP, OUR_MAC, PEER_IP, PEER_MAC, Case, answer_frame, answer_ip, in_frame

BROADCAST = "ff:ff:ff:ff:ff:ff"
DATA = bytes(range(1, 18))


def ip(**fields):
    return IP(**{"src": PEER_IP, "dst": OUR_IP, **fields})


def echo(data=DATA, **fields):
    return ICMP(**{"type": 8, "id": 0x1234, "seq": 7, **fields}) / Raw(data)


def udp(data=DATA, **fields):
    return UDP(**{"sport": 3333, "dport": 4242, **fields}) / Raw(data)


def echo_reply(data=DATA, **fields):
    return bytes(answer_ip(**fields) / ICMP(type=0, id=0x1234, seq=7) / Raw(data))


def udp_reply(data=DATA):
    return bytes(answer_ip() / UDP(sport=4242, dport=3333) / Raw(data))


def unreachable(packet, code=3):
    """At most 576 bytes (RFC 1812 4.3.2.3)."""
    return bytes(answer_ip() / ICMP(type=3, code=code) / Raw(bytes(packet)[:576 - 28]))


def tcp(data=b"", **fields):
    return TCP(**{"sport": 3333, "dport": 80, "seq": 1000, "ack": 2000, "flags": "S", **fields}) / Raw(data)


def reset(**fields):
    return bytes(answer_ip() / TCP(**{"sport": 80, "dport": 3333, "seq": 0, "ack": 0, "window": 0, **fields}))


def with_bytes(packet, at, new):
    packet = bytes(packet)
    return packet[:at] + new + packet[at + len(new):]


def checksum(data):
    """The Internet checksum, as two bytes."""
    return struct.pack("!H", scapy_checksum(data))


def with_ip_checksum(packet):
    """The packet with a right header checksum, over the header's own length."""
    header = with_bytes(packet, 10, b"\0\0")[:(packet[0] & 15) * 4]
    return with_bytes(packet, 10, checksum(header))


def dropped(reason, *cases):
    return [Case(name, bytes(packet), drop=reason) for name, packet in cases]


def answered(name, packet, answer, kind):
    return Case(name, bytes(packet), answer=bytes(answer), kind=kind)


def well_formed():
    nobody = udp(dport=9)
    long = udp(b"x" * 1400, dport=9)
    padded = bytes(ip() / echo(b"")) + b"SECRET" * 3
    padded_udp = bytes(ip() / udp(b"")) + b"SECRET" * 3
    # With the complemented sum of the rest as payload the checksum is zero, and is sent as 0xffff.
    zero = udp(struct.pack("!H", IP(bytes(ip() / udp(b"\0\0")))[UDP].chksum))
    assert IP(bytes(ip() / zero))[UDP].chksum == 0xFFFF
    cases = [
        answered("echo", ip() / echo(), echo_reply(), "icmp_echo_replies"),
        answered("echo of nothing", ip() / echo(b""), echo_reply(b""), "icmp_echo_replies"),
        answered("echo of odd size", ip() / echo(b"abc"), echo_reply(b"abc"), "icmp_echo_replies"),
        answered("padding after an echo", padded, echo_reply(b""), "icmp_echo_replies"),
        answered("udp", ip() / udp(), udp_reply(), "udp_echoes"),
        answered("udp of nothing", ip() / udp(b""), udp_reply(b""), "udp_echoes"),
        answered("padding after a datagram", padded_udp, udp_reply(b""), "udp_echoes"),
        answered("udp without checksum", ip() / udp(chksum=0), udp_reply(), "udp_echoes"),
        answered("udp whose checksum is zero", ip() / zero, udp_reply(bytes(zero[Raw])), "udp_echoes"),
        answered("do not fragment", ip(flags="DF") / echo(), echo_reply(), "icmp_echo_replies"),
        answered("the evil bit", ip(flags="evil") / echo(), echo_reply(), "icmp_echo_replies"),
        answered("time to live 1", ip(ttl=1) / echo(), echo_reply(), "icmp_echo_replies"),
        answered("from another subnet", ip(src="10.9.8.7") / echo(),
                 answer_ip(dst="10.9.8.7") / ICMP(type=0, id=0x1234, seq=7) / Raw(DATA), "icmp_echo_replies"),
        answered("a datagram shorter than its packet",
                 ip(proto=17) / Raw(udp_with_length(DATA[:5], DATA)), udp_reply(DATA[:5]), "udp_echoes"),
    ]
    for name, options in (("a nop", [IPOption_NOP()]), ("ten words of nops", [IPOption_NOP()] * 40),
                          ("a timestamp", [IPOption_Timestamp()])):
        cases.append(answered(f"options: {name}", ip(options=options) / echo(), echo_reply(), "icmp_echo_replies"))
        cases.append(answered(f"options: {name}, udp", ip(options=options) / udp(), udp_reply(), "udp_echoes"))
    visited = IPOption_LSRR(pointer=8, routers=["10.77.0.1"])
    cases.append(answered("a source route, all visited", ip(options=[visited]) / echo(), echo_reply(),
                          "icmp_echo_replies"))
    for name, asked, told in (
            ("an empty one", IPOption_RR(routers=["0.0.0.0"] * 3),
             IPOption_RR(pointer=8, routers=[OUR_IP, "0.0.0.0", "0.0.0.0"])),
            ("the last place", IPOption_RR(pointer=8, routers=[PEER_IP, "0.0.0.0"]),
             IPOption_RR(pointer=12, routers=[PEER_IP, OUR_IP])),
            ("a full one", IPOption_RR(pointer=8, routers=[PEER_IP]), IPOption_RR(pointer=8, routers=[PEER_IP]))):
        cases.append(answered(f"record route: {name}", ip(options=[asked]) / echo(), echo_reply(options=[told]),
                              "icmp_echo_replies"))
        cases.append(answered(f"record route: {name}, udp", ip(options=[asked]) / udp(), udp_reply(), "udp_echoes"))
    for tos in (0x01, 0x02, 0x03, 0x10, 0xB8, 0xFF):
        cases.append(answered(f"type of service {tos}", ip(tos=tos) / echo(), echo_reply(tos=tos & 0xFC),
                              "icmp_echo_replies"))
    cases.append(answered("from 240.0.0.1", ip(src="240.0.0.1") / echo(), echo_reply(dst="240.0.0.1"),
                          "icmp_echo_replies"))
    garbage = with_ip_checksum(with_bytes(bytes(ip(options=[IPOption_NOP()] * 8) / echo()), 20, b"\x44\x00\xff\xff"))
    cases.append(answered("options: garbage", garbage, echo_reply(), "icmp_echo_replies"))
    for name, packet in (("nobody at the port", ip() / nobody), ("nobody, a long datagram", ip() / long),
                         ("nobody, with options", ip(options=[IPOption_NOP()] * 4) / nobody)):
        cases.append(Case(name, bytes(packet), answer=unreachable(packet), drop="unknown_udp_port",
                          kind="port_unreachable"))
    return cases


def udp_with_length(data, all_data):
    """A datagram of `data`, followed by the rest of `all_data`, beyond the datagram's length."""
    whole = bytes(IP(bytes(ip() / udp(data)))[UDP])
    return whole + all_data[len(data):]


def cut_off():
    """Every prefix, with the total length of the whole, and with its own."""
    cases = []
    for name, packet, short, wrong in (("echo", bytes(ip() / echo()), "icmp_short", "icmp_bad_checksum"),
                                       ("udp", bytes(ip() / udp()), "udp_short", "udp_bad_length")):
        for length in range(1, len(packet)):
            reason = "ip_short" if length < 20 else "ip_bad_total_length"
            cases += dropped(reason, (f"{name}, the first {length}", packet[:length]))
        for length in range(20, len(packet)):
            shorter = with_ip_checksum(with_bytes(packet, 2, struct.pack("!H", length))[:length])
            reason = short if length < 28 else wrong
            cases += dropped(reason, (f"{name}, {length} long", shorter))
            padded = shorter + packet[length:]
            cases += dropped(reason, (f"{name}, {length} long and padded", padded))
    return cases


def wrong_ip():
    packet = bytes(ip() / echo(bytes(range(100))))
    cases = []
    for length in (0, 1, 2, 3, 4):
        cases += dropped("ip_bad_header_length", (f"header of {length} words",
                                                  with_bytes(packet, 0, bytes([0x40 + length]))))
    small = bytes(ip() / echo(b""))
    for length in range(8, 16):
        cases += dropped("ip_bad_header_length", (f"header of {length} words in 28 bytes",
                                                  with_bytes(small, 0, bytes([0x40 + length]))))
    for length in (8, 15):  # total length: 28
        cases += dropped("ip_bad_total_length",
                         (f"header of {length} words, longer than the packet, padded",
                          with_ip_checksum(with_bytes(small, 0, bytes([0x40 + length])) + bytes(60))))
    # Read as IPv6, the packet has an extension header that leaves the packet.
    cases += dropped("ip_bad_header_length", ("version 6", with_bytes(packet, 0, bytes([0x65]))))
    for version in (0, 1, 2, 3, 5, 7, 15):
        cases += dropped("ip_bad_version", (f"version {version}", with_bytes(packet, 0, bytes([version << 4 | 5]))))
    for length in (0, 1, 19, len(packet) + 1, 65535):
        lie = with_ip_checksum(with_bytes(packet, 2, struct.pack("!H", length)))
        cases += dropped("ip_bad_total_length", (f"total length {length}", lie))
    right = IP(packet).chksum
    for chksum in (0, right ^ 1, right ^ 0x8000, ~right & 0xFFFF):
        cases += dropped("ip_bad_checksum", (f"checksum {chksum}", with_bytes(packet, 10, struct.pack("!H", chksum))))
    # A fragment other than the last is of a multiple of 8 bytes. The one that is kept goes with the port.
    for name, fields, why in (("the first of several", {"flags": "MF"}, "ip_bad_fragment"),
                              ("the last of several", {"frag": 1}, "aborted"),
                              ("one between", {"flags": "MF", "frag": 185}, "ip_bad_fragment"),
                              ("the last possible", {"frag": 0x1FFF}, "ip_bad_fragment")):
        cases += dropped(why, (f"fragment: {name}", ip(**fields) / echo()),
                         (f"fragment: {name}, udp", ip(**fields) / udp()))
    for number in (0, 2, 4, 41, 50, 132, 253, 255):
        packet = ip(proto=number) / Raw(DATA)
        cases.append(Case(f"protocol {number}", bytes(packet), answer=unreachable(packet, code=2),
                          drop="unknown_ip_protocol", kind="protocol_unreachable"))
    for address in ("255.255.255.255", "10.77.0.255", "10.77.0.0", "10.77.0.3", "224.0.0.1", "239.1.2.3", "127.0.0.1",
                    "0.0.0.0", "10.77.0.1"):
        for what, payload in (("echo", echo()), ("udp", udp()), ("nobody", udp(dport=9)), ("tcp", tcp()),
                              ("protocol 0", Raw(DATA))):
            cases += dropped("ip_wrong_address", (f"{what} to {address}", ip(dst=address) / payload))
    for name, option in (("loose", IPOption_LSRR(routers=["10.77.0.3"])),
                         ("strict", IPOption_SSRR(routers=["10.77.0.3"])),
                         ("the second of two", IPOption_LSRR(pointer=8, routers=["10.77.0.3", "10.77.0.4"])),
                         ("a pointer to nowhere", IPOption_LSRR(pointer=5, routers=["10.77.0.3"]))):
        for what, payload in (("echo", echo()), ("udp", udp()), ("nobody", udp(dport=9)), ("tcp", tcp()),
                              ("protocol 0", Raw(DATA))):
            cases += dropped("ip_source_route", (f"{what} on a source route: {name}", ip(options=[option]) / payload))
    for address in ("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "224.0.0.5", "239.255.255.255",
                    "255.255.255.255", "10.77.0.255", "10.77.0.0", OUR_IP):
        for what, payload in (("echo", echo()), ("udp", udp()), ("nobody", udp(dport=9)), ("tcp", tcp()),
                              ("protocol 0", Raw(DATA))):
            cases += dropped("ip_bad_source", (f"{what} from {address}", ip(src=address) / payload))
    return cases


def wrong_icmp_and_udp():
    cases = []
    right = ICMP(bytes(echo())).chksum
    for chksum in (0, right ^ 1, ~right & 0xFFFF):
        cases += dropped("icmp_bad_checksum", (f"icmp checksum {chksum}", ip() / echo(chksum=chksum)))
    quoted = bytes(IP(src=OUR_IP, dst=PEER_IP) / udp())
    for kind, code in ((0, 0), (3, 0), (3, 3), (4, 0), (5, 1), (9, 0), (10, 0), (11, 0), (12, 0), (13, 0), (15, 0),
                       (17, 0), (30, 0), (255, 255), (8, 1), (8, 255)):
        message = struct.pack("!BBHI", kind, code, 0, 0) + quoted
        message = with_bytes(message, 2, checksum(message))
        cases += dropped("icmp_unhandled", (f"icmp type {kind}, code {code}", ip(proto=1) / Raw(message)))
    right = IP(bytes(ip() / udp()))[UDP].chksum
    for chksum in (right ^ 1, right ^ 0x8000, 0xFFFF):
        cases += dropped("udp_bad_checksum", (f"udp checksum {chksum}", ip() / udp(chksum=chksum)),
                         (f"udp checksum {chksum}, for nobody", ip() / udp(chksum=chksum, dport=9)))
    whole = len(DATA) + 8
    for length in (0, 1, 7, whole + 1, 65535):
        cases += dropped("udp_bad_length", (f"udp length {length}", ip() / udp(len=length)),
                         (f"udp length {length}, no checksum", ip() / udp(len=length, chksum=0)))
    for length in (8, whole - 1):
        cases += dropped("udp_bad_checksum", (f"udp length {length} of {whole}", ip() / udp(len=length, chksum=right)))
    cases += dropped("no_route", ("a datagram from port 0", ip() / udp(sport=0)))
    for port in (7, 13, 17, 19, 37, 4242):
        cases += dropped("answer_not_allowed", (f"a datagram from port {port}", ip() / udp(sport=port)))
    return cases


def of_tcp():
    """The host has no TCP: every segment except a reset is reset (RFC 9293 3.10.7.1)."""
    cases = []
    for name, segment, answer in (
            ("SYN", tcp(), reset(flags="RA", ack=1001)),
            ("SYN with options", tcp(options=[("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]),
             reset(flags="RA", ack=1001)),
            ("SYN with data", tcp(DATA), reset(flags="RA", ack=1001 + len(DATA))),
            ("SYN and FIN", tcp(flags="SF"), reset(flags="RA", ack=1002)),
            ("the last number", tcp(seq=0xFFFFFFFF), reset(flags="RA", ack=0)),
            ("no flags", tcp(flags=""), reset(flags="RA", ack=1000)),
            ("data without ACK", tcp(DATA, flags="P"), reset(flags="RA", ack=1000 + len(DATA))),
            ("ACK", tcp(flags="A"), reset(flags="R", seq=2000)),
            ("SYN and ACK", tcp(flags="SA"), reset(flags="R", seq=2000)),
            ("data", tcp(DATA, flags="PA"), reset(flags="R", seq=2000)),
            ("FIN", tcp(flags="FA"), reset(flags="R", seq=2000)),
            ("all flags but RST", tcp(flags=0xFB), reset(flags="R", seq=2000)),
            ("from port 0 to port 0", tcp(sport=0, dport=0), reset(flags="RA", ack=1001, sport=0, dport=0))):
        cases.append(Case(f"tcp: {name}", bytes(ip() / segment), answer=answer, drop="unknown_tcp_port",
                          kind="tcp_resets"))
    cases += dropped("answer_not_allowed", ("tcp: RST", ip() / tcp(flags="R")),
                     ("tcp: RST and ACK", ip() / tcp(flags="RA")), ("tcp: all flags", ip() / tcp(flags=0xFF)))
    whole = bytes(ip() / tcp())
    right = IP(whole)[TCP].chksum
    for chksum in (0, right ^ 1, right ^ 0x8000, ~right & 0xFFFF):
        cases += dropped("tcp_bad_checksum", (f"tcp: checksum {chksum}", ip() / tcp(chksum=chksum)))
    for words in (0, 1, 4, 6, 15):
        cases += dropped("tcp_short", (f"tcp: header of {words} words", ip() / tcp(dataofs=words)))
    for length in range(20, 40):
        shorter = with_ip_checksum(with_bytes(whole, 2, struct.pack("!H", length))[:length])
        cases += dropped("tcp_short", (f"tcp: {length} long", shorter))
    cases += dropped("ip_bad_fragment", ("tcp: the first fragment", ip(flags="MF") / tcp()))
    return cases


def of_ethernet():
    tag = Dot1Q(vlan=0, prio=3, type=0x0800)
    small = bytes(ip() / echo())
    cases = [
        answered("priority tag", in_frame(tag / ip() / echo(), type=0x8100),
                 answer_frame(tag / Raw(echo_reply()), type=0x8100), "icmp_echo_replies"),
    ]
    cases += dropped("vlan_tagged", ("vlan 5", in_frame(Dot1Q(vlan=5, type=0x0800) / ip() / echo(), type=0x8100)),
                     ("vlan 4095", in_frame(Dot1Q(vlan=4095, type=0x0800) / ip() / echo(), type=0x8100)),
                     ("vlan 5, arp", in_frame(Dot1Q(vlan=5, type=0x0806) / request(), type=0x8100)),
                     ("two tags", in_frame(Dot1AD(vlan=5, type=0x8100) / Dot1Q(vlan=6, type=0x0800) / ip() / echo(),
                                           type=0x88A8)),
                     ("a priority in a vlan", in_frame(Dot1AD(vlan=5, type=0x8100) / tag / ip() / echo(), type=0x88A8)),
                     ("a vlan in a priority", in_frame(Dot1AD(vlan=0, type=0x8100) / Dot1Q(vlan=5, type=0x0800) / ip() /
                                                       echo(), type=0x88A8)))
    cases += dropped("unknown_ethertype",
                     ("three tags", in_frame(Raw(b"\0\0\x81\0\0\0\x81\0\0\0\x08\0" + small), type=0x8100)),
                     ("for experiments", in_frame(Raw(DATA), type=0x88B5)),
                     ("nothing behind it", in_frame(b"", type=0x88B5)),
                     ("802.3 with a length", in_frame(Raw(b"\x42\x42\x03" + bytes(35)), type=38)),
                     ("802.3 and an IP packet", in_frame(Raw(small), type=len(small))),
                     ("type 0", in_frame(Raw(small), type=0)), ("type 0xffff", in_frame(Raw(small), type=0xFFFF)))
    cases += dropped("ip_bad_header_length", ("ipv6, cut off", in_frame(Raw(b"\x60" + bytes(39)), type=0x86DD)))
    cases += dropped("ip_bad_version", ("ipv6", in_frame(Raw(b"\x60" + bytes(5) + b"\x3a" + bytes(33)), type=0x86DD)))
    cases += [case for length in range(14, 18)
              for case in dropped("ethernet_short",
                                  (f"a tag cut off at {length}", in_frame(Raw(bytes(4)), type=0x8100)[:length]))]
    cases += dropped("ip_short", ("a header alone", in_frame(b"")), ("a tag and no more", in_frame(tag, type=0x8100)))
    for mac in ("02:00:00:00:77:03", "00:00:00:00:00:00", PEER_MAC, "fe:00:00:00:77:02"):
        cases += dropped("ethernet_wrong_mac", (f"for {mac}", in_frame(ip() / echo(), dst=mac)),
                         (f"arp for {mac}", in_frame(request(), dst=mac, type=0x0806)))
    for name, packet in (("echo", echo()), ("udp", udp()), ("nobody", udp(dport=9)), ("tcp", tcp()),
                         ("protocol 0", Raw(DATA))):
        for mac in (BROADCAST, "01:00:5e:00:00:01", "03:00:00:00:00:01"):
            cases += dropped("answer_not_allowed", (f"{name} for {mac}", in_frame(ip() / packet, dst=mac)),
                             (f"{name} from {mac}", in_frame(ip() / packet, src=mac)))
    return cases


def request(**fields):
    return ARP(**{"op": 1, "hwsrc": PEER_MAC, "psrc": PEER_IP, "hwdst": "00:00:00:00:00:00", "pdst": OUR_IP, **fields})


def reply(**fields):
    return ARP(**{"op": 2, "hwsrc": OUR_MAC, "psrc": OUR_IP, "hwdst": PEER_MAC, "pdst": PEER_IP, **fields})


def of_arp():
    def ask(arp, **fields):
        return in_frame(arp, **{"type": 0x0806, "dst": BROADCAST, **fields})

    def told(arp, **fields):
        return answer_frame(arp, type=0x0806, **fields)

    whole = ask(request())
    cases = [
        answered("arp", whole, told(reply()), "arp_replies"),
        answered("arp, padded", whole + b"SECRET" * 3, told(reply()), "arp_replies"),
        answered("arp, to us alone", ask(request(), dst=OUR_MAC), told(reply()), "arp_replies"),
        answered("arp probe", ask(request(psrc="0.0.0.0")), told(reply(pdst="0.0.0.0")), "arp_replies"),
    ]
    for length in range(14, len(whole)):
        cases += dropped("arp_malformed", (f"arp, the first {length}", whole[:length]))
    for name, fields in (("htype 6", {"hwtype": 6}), ("htype 0", {"hwtype": 0}), ("ptype ipv6", {"ptype": 0x86DD}),
                         ("hlen 8", {"hwlen": 8}), ("hlen 0", {"hwlen": 0}), ("plen 16", {"plen": 16}),
                         ("plen 0", {"plen": 0})):
        # Scapy lays the addresses out by the lengths; here the addresses keep their places.
        arp = bytes(request())
        for field, at, form in (("hwtype", 0, "!H"), ("ptype", 2, "!H"), ("hwlen", 4, "!B"), ("plen", 5, "!B")):
            if field in fields:
                arp = with_bytes(arp, at, struct.pack(form, fields[field]))
        cases += dropped("arp_malformed", (f"arp, {name}", ask(Raw(arp))))
    cases += dropped("arp_not_for_us", ("arp for another", ask(request(pdst="10.77.0.3"))),
                     ("gratuitous arp", ask(request(pdst=PEER_IP))),
                     ("arp reply", ask(reply(hwsrc=PEER_MAC, psrc=PEER_IP, pdst=OUR_IP), dst=OUR_MAC)),
                     ("arp operation 0", ask(request(op=0))), ("reverse arp", ask(request(op=3))),
                     ("arp operation 65535", ask(request(op=65535))))
    cases += dropped("answer_not_allowed", ("gratuitous arp for our address", ask(request(psrc=OUR_IP))),
                     ("arp from a broadcast address", ask(request(psrc="10.77.0.255"))),
                     ("arp from 255.255.255.255", ask(request(psrc="255.255.255.255"))),
                     ("arp from a group", ask(request(psrc="224.0.0.1"))),
                     ("arp from loopback", ask(request(psrc="127.0.0.1"))),
                     ("arp whose sender is a group", ask(request(hwsrc="01:00:5e:00:00:01"))),
                     ("arp in a frame from a group", ask(request(), src="01:00:5e:00:00:01")))
    return cases


def of_ip():
    return {"well formed": well_formed(), "cut off": cut_off(), "wrong ip": wrong_ip(),
            "wrong icmp and udp": wrong_icmp_and_udp(), "tcp": of_tcp()}


def on_tap(case):
    """The case of a packet as a case of a frame."""
    answer = None if case.answer is None else answer_frame(Raw(case.answer))
    return Case(case.name, in_frame(Raw(case.packet)), answer=answer, drop=case.drop, kind=case.kind)
