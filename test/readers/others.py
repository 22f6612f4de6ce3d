"""The fields of frames as scapy and tshark read them, by the names of tunport_readers."""

import ipaddress
import subprocess
import tempfile

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6NDOptDstLLAddr, ICMPv6NDOptMTU,
                                ICMPv6NDOptPrefixInfo, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt,
                                IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, in6_chksum)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Padding
from scapy.utils import checksum, wrpcap

EXTENSIONS = (IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt, IPv6ExtHdrRouting, IPv6ExtHdrFragment)


def address(text):
    return str(ipaddress.ip_address(text))


def strings(fields):
    return {key: value.hex() if isinstance(value, bytes) else str(value) for key, value in fields.items()}


def without_padding(frame, layer):
    """The bytes of a layer's payload, without the frame's padding."""
    data = bytes(layer.payload)
    padding = frame.getlayer(Padding)
    return data[:len(data) - len(padding.load)] if padding is not None else data


def by_scapy(frame_bytes):
    frame = Ether(frame_bytes)
    fields = {"eth.dst": frame.dst, "eth.src": frame.src}
    layer, tags = frame, []
    while len(tags) < 2 and isinstance(layer.payload, (Dot1Q, Dot1AD)):
        tag = layer.payload
        # scapy's name for DEI is older: id, or dei.
        dei = tag.id if hasattr(tag, "id") else tag.dei
        tags.append(f"{layer.type}/{tag.prio}/{dei}/{tag.vlan}")
        layer = tag
    if tags:
        fields["vlan"] = ",".join(tags)
    fields["eth.type"] = layer.type
    inner = layer.payload
    if isinstance(inner, ARP):
        fields |= {"arp.op": inner.op, "arp.hwsrc": inner.hwsrc, "arp.psrc": inner.psrc, "arp.hwdst": inner.hwdst,
                   "arp.pdst": inner.pdst}
    elif isinstance(inner, IP):
        fields |= ipv4_by_scapy(frame, inner)
    elif isinstance(inner, IPv6):
        fields |= ipv6_by_scapy(frame, inner)
    return strings(fields)


def ipv4_by_scapy(frame, ip):
    header = bytes(ip)[:ip.ihl * 4]
    if checksum(header) != 0:
        return {"drop": "ip_bad_checksum"}
    payload = without_padding(frame, ip)
    fields = {"ip.hl": ip.ihl * 4, "ip.tos": ip.tos, "ip.dscp": ip.tos >> 2, "ip.ecn": ip.tos & 3, "ip.len": ip.len,
              "ip.id": ip.id, "ip.df": int(ip.flags.DF), "ip.mf": int(ip.flags.MF), "ip.offset": ip.frag * 8,
              "ip.ttl": ip.ttl, "ip.proto": ip.proto, "ip.src": ip.src, "ip.dst": ip.dst, "ip.options": header[20:],
              "ip.payload": payload}
    if ip.frag != 0 or ip.flags.MF:
        return fields
    if isinstance(ip.payload, ICMP):
        if checksum(payload) != 0:
            return fields | {"drop": "icmp_bad_checksum"}
        return fields | icmp_by_scapy(ip.payload, payload)
    return fields | transport_by_scapy(frame, ip, ip.payload, payload)


def icmp_by_scapy(icmp, data):
    fields = {"icmp.type": icmp.type, "icmp.code": icmp.code, "icmp.payload": data[8:]}
    if icmp.type in (0, 8):
        fields |= {"icmp.id": icmp.id, "icmp.seq": icmp.seq}
    else:
        fields["icmp.is_error"] = int(icmp.type in (3, 4, 5, 11, 12))
    if (icmp.type, icmp.code) == (3, 4):
        fields["icmp.mtu"] = icmp.nexthopmtu
    return fields


def right_sum(ip, protocol, data):
    """True for a right checksum over the pseudo-header: computed by scapy, and 0 over the whole."""
    if isinstance(ip, IPv6):
        return in6_chksum(protocol, IPv6(src=ip.src, dst=ip.dst), data) == 0
    pseudo = bytes(map(int, f"{ip.src}.{ip.dst}".split("."))) + bytes([0, protocol]) + len(data).to_bytes(2, "big")
    return checksum(pseudo + data) == 0


def transport_by_scapy(frame, ip, layer, data):
    if isinstance(layer, UDP):
        if (layer.chksum or isinstance(ip, IPv6)) and not right_sum(ip, 17, data[:layer.len]):
            return {"drop": "udp_bad_checksum"}
        fields = {"udp.sport": layer.sport, "udp.dport": layer.dport, "udp.len": layer.len,
                  "udp.payload": without_padding(frame, layer)}
        return fields | (dhcp_by_scapy(layer) if layer.haslayer(DHCP) and 67 in (layer.sport, layer.dport) else {})
    if isinstance(layer, TCP):
        if not right_sum(ip, 6, data):
            return {"drop": "tcp_bad_checksum"}
        return {"tcp.sport": layer.sport, "tcp.dport": layer.dport, "tcp.seq": layer.seq, "tcp.ack": layer.ack,
                "tcp.hl": layer.dataofs * 4, "tcp.flags": int(layer.flags) & 0xFF, "tcp.window": layer.window,
                "tcp.urgent": layer.urgptr, "tcp.options": data[20:layer.dataofs * 4],
                "tcp.payload": data[layer.dataofs * 4:]}
    return {}


def dhcp_by_scapy(udp):
    bootp = udp[BOOTP]
    options = {option[0]: option[1] for option in udp[DHCP].options if isinstance(option, tuple)}
    fields = {"dhcp.kind": options.get("message-type"), "dhcp.xid": bootp.xid, "dhcp.flags": int(bootp.flags),
              "dhcp.ciaddr": bootp.ciaddr, "dhcp.giaddr": bootp.giaddr, "dhcp.mac": bootp.chaddr[:6].hex(":"),
              "dhcp.yiaddr": bootp.yiaddr}
    for key, option in (("requested", "requested_addr"), ("server", "server_id"), ("lease", "lease_time"),
                        ("mask", "subnet_mask"), ("router", "router"), ("dns", "name_server")):
        if option in options:
            fields[f"dhcp.{key}"] = options[option]
    return fields


def ipv6_by_scapy(frame, ip):
    fields = {"ip6.tc": ip.tc, "ip6.flow": ip.fl, "ip6.plen": ip.plen, "ip6.nh": ip.nh, "ip6.hlim": ip.hlim,
              "ip6.src": address(ip.src), "ip6.dst": address(ip.dst)}
    layer, upper = ip, ip.nh
    while isinstance(layer.payload, EXTENSIONS):
        layer = layer.payload
        upper = layer.nh
        if isinstance(layer, IPv6ExtHdrFragment) and (layer.m or layer.offset):
            return fields | {"ip6.frag.id": layer.id, "ip6.frag.offset": layer.offset * 8, "ip6.frag.more": layer.m,
                             "ip6.frag.nh": layer.nh, "ip.payload": without_padding(frame, layer)}
    data = without_padding(frame, layer)
    fields |= {"ip6.upper": upper, "ip.payload": data}
    if upper == 58:
        if not right_sum(ip, 58, data):
            return fields | {"drop": "icmp_bad_checksum"}
        return fields | icmpv6_by_scapy(layer.payload, data)
    return fields | transport_by_scapy(frame, ip, layer.payload, data)


def icmpv6_by_scapy(icmp, data):
    fields = {"icmp6.type": icmp.type, "icmp6.code": icmp.code, "icmp6.payload": data[8:]}
    for key, name, types in (("id", "id", (128, 129)), ("seq", "seq", (128, 129)), ("mtu", "mtu", (2,)),
                             ("pointer", "ptr", (4,))):
        if icmp.type in types:
            fields[f"icmp6.{key}"] = getattr(icmp, name)
    if isinstance(icmp, (ICMPv6ND_NS, ICMPv6ND_NA)):
        fields["nd.target"] = address(icmp.tgt)
    if isinstance(icmp, ICMPv6ND_NA):
        fields |= {"nd.router": icmp.R, "nd.solicited": icmp.S, "nd.override": icmp.O}
    for key, option in (("source_mac", ICMPv6NDOptSrcLLAddr), ("target_mac", ICMPv6NDOptDstLLAddr)):
        if icmp.haslayer(option):
            fields[f"nd.{key}"] = icmp[option].lladdr
    if isinstance(icmp, ICMPv6ND_RA):
        fields |= {"ra.hops": icmp.chlim, "ra.lifetime": icmp.routerlifetime}
        if icmp.haslayer(ICMPv6NDOptSrcLLAddr):
            fields["ra.mac"] = icmp[ICMPv6NDOptSrcLLAddr].lladdr
        if icmp.haslayer(ICMPv6NDOptPrefixInfo):
            prefix = icmp[ICMPv6NDOptPrefixInfo]
            fields |= {"ra.prefix": address(prefix.prefix), "ra.prefix_length": prefix.prefixlen,
                       "ra.valid": prefix.validlifetime, "ra.preferred": prefix.preferredlifetime}
        if icmp.haslayer(ICMPv6NDOptMTU):
            fields["ra.mtu"] = icmp[ICMPv6NDOptMTU].mtu
    return fields


def number(text):
    return str(int(text, 0))


def plain(text):
    return text


def blocks(text):
    """tshark's offsets count units of eight bytes."""
    return str(int(text, 0) * 8)


def truth(text):
    return str(int(text in ("1", "True", "true")))


# Our name, tshark's name, and the form. Of several occurrences the first counts: errors quote packets.
TSHARK = [
    ("eth.dst", "eth.dst", plain), ("eth.src", "eth.src", plain),
    ("arp.op", "arp.opcode", number), ("arp.hwsrc", "arp.src.hw_mac", plain), ("arp.psrc", "arp.src.proto_ipv4", plain),
    ("arp.hwdst", "arp.dst.hw_mac", plain), ("arp.pdst", "arp.dst.proto_ipv4", plain),
    ("ip.hl", "ip.hdr_len", number), ("ip.tos", "ip.dsfield", number), ("ip.dscp", "ip.dsfield.dscp", number),
    ("ip.ecn", "ip.dsfield.ecn", number), ("ip.len", "ip.len", number), ("ip.id", "ip.id", number),
    ("ip.df", "ip.flags.df", truth), ("ip.mf", "ip.flags.mf", truth), ("ip.offset", "ip.frag_offset", blocks),
    ("ip.ttl", "ip.ttl", number), ("ip.proto", "ip.proto", number), ("ip.src", "ip.src", plain),
    ("ip.dst", "ip.dst", plain),
    ("ip6.tc", "ipv6.tclass", number), ("ip6.flow", "ipv6.flow", number), ("ip6.plen", "ipv6.plen", number),
    ("ip6.nh", "ipv6.nxt", number), ("ip6.hlim", "ipv6.hlim", number), ("ip6.src", "ipv6.src", address),
    ("ip6.dst", "ipv6.dst", address), ("ip6.frag.id", "ipv6.fraghdr.ident", number),
    ("ip6.frag.offset", "ipv6.fraghdr.offset", blocks), ("ip6.frag.more", "ipv6.fraghdr.more", truth),
    ("ip6.frag.nh", "ipv6.fraghdr.nxt", number),
    ("icmp.type", "icmp.type", number), ("icmp.code", "icmp.code", number), ("icmp.id", "icmp.ident", number),
    ("icmp.seq", "icmp.seq", number), ("icmp.mtu", "icmp.mtu", number),
    ("icmp6.type", "icmpv6.type", number), ("icmp6.code", "icmpv6.code", number),
    ("icmp6.id", "icmpv6.echo.identifier", number), ("icmp6.seq", "icmpv6.echo.sequence_number", number),
    ("icmp6.mtu", "icmpv6.mtu", number), ("icmp6.pointer", "icmpv6.pointer", number),
    ("nd.target", "icmpv6.nd.ns.target_address", address), ("nd.target", "icmpv6.nd.na.target_address", address),
    ("nd.router", "icmpv6.nd.na.flag.r", truth), ("nd.solicited", "icmpv6.nd.na.flag.s", truth),
    ("nd.override", "icmpv6.nd.na.flag.o", truth), ("nd.source_mac", "icmpv6.opt.src_linkaddr", plain),
    ("nd.target_mac", "icmpv6.opt.target_linkaddr", plain),
    ("ra.hops", "icmpv6.nd.ra.cur_hop_limit", number), ("ra.lifetime", "icmpv6.nd.ra.router_lifetime", number),
    ("ra.mac", "icmpv6.opt.src_linkaddr", plain), ("ra.prefix", "icmpv6.opt.prefix", address),
    ("ra.prefix_length", "icmpv6.opt.prefix.length", number), ("ra.mtu", "icmpv6.opt.mtu", number),
    ("ra.valid", "icmpv6.opt.prefix.valid_lifetime", number),
    ("ra.preferred", "icmpv6.opt.prefix.preferred_lifetime", number),
    ("udp.sport", "udp.srcport", number), ("udp.dport", "udp.dstport", number), ("udp.len", "udp.length", number),
    ("udp.payload", "udp.payload", plain),
    ("tcp.sport", "tcp.srcport", number), ("tcp.dport", "tcp.dstport", number), ("tcp.seq", "tcp.seq_raw", number),
    ("tcp.ack", "tcp.ack_raw", number), ("tcp.hl", "tcp.hdr_len", number),
    ("tcp.flags", "tcp.flags", lambda text: str(int(text, 0) & 0xFF)), ("tcp.window", "tcp.window_size_value", number),
    ("tcp.urgent", "tcp.urgent_pointer", number), ("tcp.options", "tcp.options", plain),
    ("tcp.payload", "tcp.payload", plain),
    ("dhcp.kind", "dhcp.option.dhcp", number), ("dhcp.xid", "dhcp.id", number), ("dhcp.flags", "dhcp.flags", number),
    ("dhcp.ciaddr", "dhcp.ip.client", plain), ("dhcp.yiaddr", "dhcp.ip.your", plain),
    ("dhcp.giaddr", "dhcp.ip.relay", plain), ("dhcp.mac", "dhcp.hw.mac_addr", plain),
    ("dhcp.requested", "dhcp.option.requested_ip_address", plain),
    ("dhcp.server", "dhcp.option.dhcp_server_id", plain),
    ("dhcp.lease", "dhcp.option.ip_address_lease_time", number), ("dhcp.mask", "dhcp.option.subnet_mask", plain),
    ("dhcp.router", "dhcp.option.router", plain), ("dhcp.dns", "dhcp.option.domain_name_server", plain),
]
# tshark's verdict on a checksum, and our reason: 0 is bad, 1 is good, 2 and 3 are not checked.
SUMS = [("ip.checksum.status", "ip_bad_checksum"), ("icmp.checksum.status", "icmp_bad_checksum"),
        ("icmpv6.checksum.status", "icmp_bad_checksum"), ("udp.checksum.status", "udp_bad_checksum"),
        ("tcp.checksum.status", "tcp_bad_checksum")]
TAGS = ["eth.type", "vlan.priority", "vlan.dei", "vlan.id", "vlan.etype", "ieee8021ad.priority", "ieee8021ad.dei",
        "ieee8021ad.id"]
CHAIN = ["ipv6.nxt", "ipv6.hopopts.nxt", "ipv6.routing.nxt", "ipv6.dstopts.nxt", "ipv6.fraghdr.nxt"]


def by_tshark(frames):
    """The fields of each frame."""
    names = list(dict.fromkeys([row[1] for row in TSHARK] + [row[0] for row in SUMS] + TAGS + CHAIN))
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        wrpcap(file.name, [Ether(frame) for frame in frames])
        options = []
        for name in ("ip.defragment:FALSE", "ipv6.defragment:FALSE", "ip.check_checksum:TRUE", "udp.check_checksum:TRUE",
                     "tcp.check_checksum:TRUE", "tcp.relative_sequence_numbers:FALSE", "ip.decode_tos_as_diffserv:TRUE",
                     "tcp.desegment_tcp_streams:FALSE", "tcp.analyze_sequence_numbers:FALSE"):
            options += ["-o", name]
        for name in names:
            options += ["-e", name]
        text = subprocess.run(["tshark", "-n", "-r", file.name, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a",
                               "-E", "aggregator=;", *options], capture_output=True, check=True, text=True).stdout
    lines = text.split("\n")[:-1]
    if len(lines) != len(frames):
        raise RuntimeError(f"tshark read {len(lines)} packets of {len(frames)}")
    return [line_of_tshark(dict(zip(names, line.split("\t")))) for line in lines]


def tags_of_tshark(found):
    """The tags, outermost first, and the EtherType behind. tshark does not tell the type behind a single service tag."""
    types = [number(found["eth.type"])] + [number(text) for text in found["vlan.etype"].split(";") if text]
    tags = []
    for family in ("ieee8021ad", "vlan"):
        columns = [found[f"{family}.{name}"].split(";") for name in ("priority", "dei", "id")]
        tags += [f"{priority}/{truth(dei)}/{vid}" for priority, dei, vid in zip(*columns) if vid]
    if found["ieee8021ad.id"] and found["vlan.id"]:
        types.insert(1, "33024")
    fields = {"eth.type": types[len(tags)] if len(types) > len(tags) else None}
    if tags:
        fields["vlan"] = ",".join(f"{kind}/{tag}" for kind, tag in zip(types, tags))
    return fields


def line_of_tshark(found):
    fields = tags_of_tshark(found)
    uppers = [number(found[name].split(";")[0]) for name in CHAIN if found[name]]
    uppers = [upper for upper in uppers if upper not in ("0", "43", "44", "60")]
    if uppers:
        fields["ip6.upper"] = uppers[0]
    for ours, theirs, form in TSHARK:
        if found[theirs]:
            fields.setdefault(ours, form(found[theirs].split(";")[0]))
    # The payload of a reset is its cause, for tshark.
    if int(fields.get("tcp.flags", "0")) & 4:
        fields["tcp.payload"] = None
    for name, reason in SUMS:
        if found[name].split(";")[0] == "0":
            fields["drop"] = reason
        # Behind ICMP a quotation follows.
        if "icmp" in reason and found[name] or "drop" in fields:
            break
    return fields
