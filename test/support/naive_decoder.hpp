#pragma once
/// A decoder of packets for differential tests: octet by octet, after the text of the RFCs, without speed,
/// and without code of wire/ and protocol/. Only the names of drop reasons are the library's.

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tunport/base/drop_reason.hpp"

#include "support/packet_stream.hpp"

namespace tunport::naive {

using packet_stream::Octets;

/// A delivered payload, and its circumstances. Fields that a layer does not know stay empty.
struct Delivery {
  std::string layer{};  ///< "arp", "ip", "icmp", "udp"
  Octets source{};
  Octets destination{};
  unsigned protocol = 0;  ///< or the operation of ARP
  unsigned hop_limit = 0;
  unsigned traffic_class = 0;
  unsigned first = 0;   ///< the source port; type and code of ICMP
  unsigned second = 0;  ///< the destination port
  bool to_group = false;
  Octets payload{};

  bool operator==(const Delivery&) const = default;
};

struct Options {
  bool ethernet = true;
  bool any_vlan = false;
  std::vector<unsigned> udp_ports = {42, 4242};
  std::size_t datagrams_in_parts = 32;
};

class Decoder {
 public:
  explicit Decoder(Options options) : options_{std::move(options)} {}

  void receive(const Octets& packet) {
    if (options_.ethernet)
      ethernet(packet);
    else
      ip(packet, 0);
  }
  /// The time of the fragments is over.
  void finish() {
    while (!parts_.empty()) forget(parts_.begin());
  }

  std::vector<Delivery> delivered;
  std::map<DropReason, std::uint64_t> drops;

 private:
  /// An IP packet, decoded up to its payload.
  struct Packet {
    bool v6 = false;
    Octets source;
    Octets destination;
    unsigned hop_limit = 0;
    unsigned traffic_class = 0;
    unsigned protocol = 0;
    std::size_t header_size = 0;  // before the payload, or before the fragment header
    std::size_t protocol_at = 0;  // the place of the number that announces the payload
    Octets payload;
    Octets header;
    bool is_fragment = false;
    std::size_t offset = 0;
    bool more = false;
    std::uint64_t identification = 0;
  };
  /// A datagram in parts.
  struct Parts {
    Octets source;
    Octets destination;
    std::uint64_t identification = 0;
    unsigned protocol = 0;
    std::map<std::size_t, std::uint8_t> octets;
    std::optional<std::size_t> end;
    Packet first;
    bool has_first = false;
    bool bad = false;
    std::uint64_t count = 0;
  };

  static unsigned at16(const Octets& in, std::size_t at) { return in[at] * 256U + in[at + 1]; }
  static Octets part(const Octets& of, std::size_t from, std::size_t to) {
    return {of.begin() + static_cast<long>(from), of.begin() + static_cast<long>(to)};
  }
  void drop(DropReason reason, std::uint64_t count = 1) { drops[reason] += count; }

  // Ethernet II; IEEE 802.1Q 9.3.
  void ethernet(const Octets& frame) {
    if (frame.size() < 14) return drop(DropReason::ethernet_short);
    std::size_t type_at = 12;
    bool on_vlan = false;
    for (int tags = 0; tags < 2; ++tags) {
      const unsigned type = at16(frame, type_at);
      if (type != 0x8100 && type != 0x88a8) break;
      if (frame.size() < type_at + 6) return drop(DropReason::ethernet_short);
      if (at16(frame, type_at + 2) % 4096 != 0) on_vlan = true;
      type_at += 4;
    }
    to_group_ = frame[0] % 2 == 1;
    if (!to_group_ && part(frame, 0, 6) != packet_stream::station_mac)
      return drop(DropReason::ethernet_wrong_mac);
    if (on_vlan && !options_.any_vlan) return drop(DropReason::vlan_tagged);
    const Octets payload = part(frame, type_at + 2, frame.size());
    const unsigned type = at16(frame, type_at);
    if (type == 0x0806) return arp(payload);
    if (type == 0x0800 || type == 0x86dd) return ip(payload, type);
    drop(DropReason::unknown_ethertype);
  }

  // RFC 826.
  void arp(const Octets& packet) {
    if (packet.size() < 28 || part(packet, 0, 6) != Octets{0, 1, 8, 0, 6, 4})
      return drop(DropReason::arp_malformed);
    delivered.push_back({.layer = "arp",
                         .source = part(packet, 14, 18),
                         .destination = part(packet, 24, 28),
                         .protocol = at16(packet, 6),
                         .payload = [&] {
                           Octets macs = part(packet, 8, 14);
                           packet_stream::add(macs, part(packet, 18, 24));
                           return macs;
                         }()});
  }

  void ip(const Octets& bytes, unsigned ethertype) {
    Packet packet;
    const bool is_v6 = !bytes.empty() && bytes[0] / 16 == 6;
    if (const auto reason = is_v6 ? ipv6(bytes, packet) : ipv4(bytes, packet)) return drop(*reason);
    if (ethertype != 0 && ethertype != (is_v6 ? 0x86ddU : 0x0800U)) return drop(DropReason::ip_bad_version);
    if (!packet.is_fragment) return datagram(packet);
    fragment(packet);
  }

  // RFC 791 3.1.
  static std::optional<DropReason> ipv4(const Octets& bytes, Packet& packet) {
    if (bytes.size() < 20) return DropReason::ip_short;
    if (bytes[0] / 16 != 4) return DropReason::ip_bad_version;
    const std::size_t header = bytes[0] % 16 * std::size_t{4};
    if (header < 20 || header > bytes.size()) return DropReason::ip_bad_header_length;
    const std::size_t total = at16(bytes, 2);
    if (total < header || total > bytes.size()) return DropReason::ip_bad_total_length;
    if (packet_stream::naive_checksum(part(bytes, 0, header)) != 0) return DropReason::ip_bad_checksum;
    packet.source = part(bytes, 12, 16);
    packet.destination = part(bytes, 16, 20);
    packet.traffic_class = bytes[1];
    packet.hop_limit = bytes[8];
    packet.protocol = bytes[9];
    packet.protocol_at = 9;
    packet.header_size = header;
    packet.header = part(bytes, 0, header);
    packet.payload = part(bytes, header, total);
    packet.identification = at16(bytes, 4);
    packet.more = bytes[6] / 32 % 2 == 1;
    packet.offset = (at16(bytes, 6) % 8192) * std::size_t{8};
    packet.is_fragment = packet.more || packet.offset != 0;
    return std::nullopt;
  }

  // RFC 8200 3 and 4.
  static std::optional<DropReason> ipv6(const Octets& bytes, Packet& packet) {
    if (bytes.size() < 40) return DropReason::ip_short;
    const std::size_t total = std::size_t{40} + at16(bytes, 4);
    if (total > bytes.size()) return DropReason::ip_bad_total_length;
    packet.v6 = true;
    packet.source = part(bytes, 8, 24);
    packet.destination = part(bytes, 24, 40);
    packet.traffic_class = bytes[0] % 16 * 16U + bytes[1] / 16U;
    packet.hop_limit = bytes[7];
    packet.protocol_at = 6;
    std::size_t at = 40;
    for (;;) {
      const unsigned next = bytes[packet.protocol_at];
      // Section 4: hop-by-hop options only behind the IPv6 header; elsewhere an unrecognized number.
      const bool extends = (next == 0 && at == 40) || next == 43 || next == 44 || next == 60;
      if (!extends) break;
      if (at + 8 > total) return DropReason::ip_bad_header_length;
      std::size_t size = 8;
      if (next == 44) {  // 4.5
        const unsigned place = at16(bytes, at + 2);
        if (place / 8 != 0 || place % 2 == 1) {
          packet.is_fragment = true;
          packet.offset = place / 8 * std::size_t{8};
          packet.more = place % 2 == 1;
          packet.identification = std::uint64_t{at16(bytes, at + 4)} << 16 | at16(bytes, at + 6);
          packet.protocol = bytes[at];
          packet.header_size = at;
          packet.header = part(bytes, 0, at);
          packet.payload = part(bytes, at + 8, total);
          return std::nullopt;
        }
      } else {
        size = (bytes[at + 1] + std::size_t{1}) * 8;
        if (at + size > total) return DropReason::ip_bad_header_length;
        if (next == 43 && bytes[at + 3] != 0) return DropReason::ip_source_route;  // 4.4
        if (next != 43 && !options(part(bytes, at + 2, at + size))) return DropReason::ip_bad_option;
      }
      packet.protocol_at = at;
      at += size;
    }
    packet.protocol = bytes[packet.protocol_at];
    packet.header_size = at;
    packet.header = part(bytes, 0, at);
    packet.payload = part(bytes, at, total);
    return std::nullopt;
  }

  // RFC 8200 4.2: an unknown option of a type from 64 on is not skipped.
  static bool options(const Octets& all) {
    for (std::size_t at = 0; at < all.size();) {
      if (all[at] >= 64) return false;
      if (all[at] == 0) {
        ++at;
        continue;
      }
      if (at + 1 >= all.size()) return false;
      at += std::size_t{2} + all[at + 1];
      if (at > all.size()) return false;
    }
    return true;
  }

  /// RFC 8200 4.5: true if the first fragment has every header, the one of the upper layer included.
  static bool has_all_headers(const Packet& packet) {
    unsigned next = packet.protocol;
    std::size_t at = 0;
    while (next == 43 || next == 60 || next == 44) {
      if (at + 8 > packet.payload.size()) return false;
      const std::size_t size = next == 44 ? 8 : (packet.payload[at + 1] + std::size_t{1}) * 8;
      next = packet.payload[at];
      at += size;
    }
    const std::map<unsigned, std::size_t> sizes{{6, 20}, {17, 8}, {58, 8}, {59, 0}};
    const auto known = sizes.find(next);
    return packet.payload.size() >= at + (known == sizes.end() ? 1 : known->second);
  }

  // RFC 791 3.2; RFC 8200 4.5; RFC 5722.
  void fragment(const Packet& packet) {
    const std::size_t end = packet.offset + packet.payload.size();
    const std::size_t longest = 65'535U + (packet.v6 ? 40 : 0) - packet.header_size;
    if (packet.payload.empty() || (packet.more && packet.payload.size() % 8 != 0) || end > longest)
      return drop(DropReason::ip_bad_fragment);
    if (packet.v6 && packet.offset == 0 && (packet.protocol == 0 || !has_all_headers(packet)))
      return drop(DropReason::ip_bad_fragment);
    const unsigned protocol = packet.v6 ? 0 : packet.protocol;
    auto place = parts_.begin();
    while (place != parts_.end() &&
           !(place->source == packet.source && place->destination == packet.destination &&
             place->identification == packet.identification && place->protocol == protocol))
      ++place;
    if (place == parts_.end()) {
      if (parts_.size() == options_.datagrams_in_parts) forget(parts_.begin());
      parts_.push_back(
          {packet.source, packet.destination, packet.identification, protocol, {}, {}, {}, false, false, 0});
      place = std::prev(parts_.end());
    }
    Parts& parts = *place;
    ++parts.count;
    if (parts.bad) return;
    std::size_t known = 0;
    for (std::size_t at = packet.offset; at < end; ++at) known += parts.octets.count(at);
    const bool is_duplicate = known == packet.payload.size();
    const bool beyond = parts.end && end > *parts.end;
    const bool another_end = !packet.more && parts.end && *parts.end != end;
    const bool behind_end = !packet.more && !parts.octets.empty() && parts.octets.rbegin()->first >= end;
    const bool end_of_duplicate = !packet.more && !parts.end && is_duplicate;
    if (beyond || another_end || behind_end || end_of_duplicate || (known != 0 && !is_duplicate)) {
      parts.bad = true;
      return;
    }
    if (is_duplicate) return;
    for (std::size_t i = 0; i < packet.payload.size(); ++i)
      parts.octets[packet.offset + i] = packet.payload[i];
    if (!packet.more) parts.end = end;
    if (packet.offset == 0) {
      parts.first = packet;
      parts.has_first = true;
    }
    if (!parts.end || parts.octets.size() != *parts.end) return;
    const Parts whole = parts;
    parts_.erase(place);
    together(whole);
  }

  /// Decodes the datagram behind the first fragment's header.
  void together(const Parts& parts) {
    Octets bytes = parts.first.header;
    for (const auto& [at, octet] : parts.octets) bytes.push_back(octet);
    if (bytes.size() > 65'535U + (parts.first.v6 ? 40 : 0))
      return drop(DropReason::ip_bad_fragment, parts.count);
    Packet packet;
    std::optional<DropReason> reason;
    if (parts.first.v6) {
      packet_stream::set16(bytes, 4, bytes.size() - 40);
      bytes[parts.first.protocol_at] = static_cast<std::uint8_t>(parts.first.protocol);
      reason = ipv6(bytes, packet);
    } else {
      packet_stream::set16(bytes, 2, bytes.size());
      bytes[6] = bytes[7] = bytes[10] = bytes[11] = 0;
      packet_stream::set16(bytes, 10, packet_stream::naive_checksum(part(bytes, 0, parts.first.header_size)));
      reason = ipv4(bytes, packet);
    }
    if (reason) return drop(*reason);
    if (packet.is_fragment) return drop(DropReason::ip_bad_fragment);
    datagram(packet);
  }

  void forget(std::list<Parts>::iterator place) {
    drop(place->bad ? DropReason::ip_bad_fragment : DropReason::ip_fragment, place->count);
    parts_.erase(place);
  }

  void datagram(const Packet& packet) {
    const bool is_icmp = packet.protocol == (packet.v6 ? 58U : 1U);
    if (packet.protocol != 17 && packet.protocol != 1 && packet.protocol != 58)
      return drop(DropReason::unknown_ip_protocol);
    Delivery delivery{.layer = "ip",
                      .source = packet.source,
                      .destination = packet.destination,
                      .protocol = packet.protocol,
                      .hop_limit = packet.hop_limit,
                      .traffic_class = packet.traffic_class,
                      .payload = packet.payload};
    delivered.push_back(delivery);
    if (is_icmp) return icmp(packet);
    if (packet.protocol == 17) udp(packet);
  }

  // RFC 792, RFC 4443 2.1.
  void icmp(const Packet& packet) {
    if (packet.payload.size() < 8) return drop(DropReason::icmp_short);
    const Octets summed =
        packet.v6 ? packet_stream::with_pseudo_header(packet.source, packet.destination, 58, packet.payload)
                  : packet.payload;
    if (packet_stream::naive_checksum(summed) != 0) return drop(DropReason::icmp_bad_checksum);
    delivered.push_back({.layer = "icmp",
                         .first = at16(packet.payload, 0),
                         .payload = part(packet.payload, 4, packet.payload.size())});
  }

  // RFC 768, RFC 8200 8.1.
  void udp(const Packet& packet) {
    if (packet.payload.size() < 8) return drop(DropReason::udp_short);
    const std::size_t length = at16(packet.payload, 4);
    if (length < 8 || length > packet.payload.size()) return drop(DropReason::udp_bad_length);
    const Octets bytes = part(packet.payload, 0, length);
    const bool has_checksum = at16(bytes, 6) != 0;
    if (!has_checksum && packet.v6) return drop(DropReason::udp_bad_checksum);
    if (has_checksum && packet_stream::naive_checksum(packet_stream::with_pseudo_header(
                            packet.source, packet.destination, 17, bytes)) != 0)
      return drop(DropReason::udp_bad_checksum);
    const unsigned port = at16(bytes, 2);
    if (std::find(options_.udp_ports.begin(), options_.udp_ports.end(), port) == options_.udp_ports.end())
      return drop(DropReason::unknown_udp_port);
    const bool group = packet.v6 ? packet.destination[0] == 255 : packet.destination[0] / 16 == 14;
    delivered.push_back({.layer = "udp",
                         .source = packet.source,
                         .destination = packet.destination,
                         .traffic_class = packet.traffic_class,
                         .first = at16(bytes, 0),
                         .second = port,
                         .to_group = group || (options_.ethernet && to_group_),
                         .payload = part(bytes, 8, length)});
  }

  Options options_;
  bool to_group_ = false;
  std::list<Parts> parts_;
};

}  // namespace tunport::naive
