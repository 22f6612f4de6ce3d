#pragma once
/// Matchers for packets. The only header of the room that needs GoogleMock.
///
///   using namespace tunport::matchers;
///   EXPECT_THAT(tunnel.collect_datagrams(), ElementsAre(is_udp(from("10.0.0.2", 42), payload("hello"))));
///   EXPECT_THAT(frame, is_ethernet(to(mac), carries_ipv4(from("10.0.0.2"), carries_icmp())));
///
/// A packet is a container of bytes, or an object with `.bytes()`, and has an IP packet or an Ethernet frame.
/// `is_udp` and the like look into a frame, too. A packet matches only with right checksums, down to the
/// layer of the matcher. A mismatch shows the packet in a line.

#include <algorithm>
#include <functional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "tunport/testing/packets.hpp"

namespace tunport::matchers {

/// A condition on a packet, with words for messages.
struct Condition {
  std::string words;
  std::function<bool(const packets::Layers&)> holds;
};

/// A condition as a GoogleMock matcher over packets of any type.
class PacketMatcher {
 public:
  using is_gtest_matcher = void;

  explicit PacketMatcher(Condition condition) : condition_{std::move(condition)} {}

  template <class PacketType>
  bool MatchAndExplain(const PacketType& packet, std::ostream* out) const {
    const Bytes bytes = bytes_of(packet);
    if (out != nullptr) *out << "which is " << packets::describe(bytes);
    return condition_.holds(packets::dissect(bytes));
  }
  void DescribeTo(std::ostream* out) const { *out << "is " << condition_.words; }
  void DescribeNegationTo(std::ostream* out) const { *out << "is not " << condition_.words; }

 private:
  template <class PacketType>
  static Bytes bytes_of(const PacketType& packet) {
    if constexpr (requires { packet.bytes(); })
      return packet.bytes();
    else
      return std::as_bytes(std::span{std::data(packet), std::size(packet)});
  }

  Condition condition_;
};

/// The condition that a layer is there, and that `conditions` hold: "NAME CONDITION, CONDITION".
template <class... Conditions>
Condition layer(std::string words, bool (*there)(const packets::Layers&), Conditions... conditions) {
  std::vector<Condition> all{std::move(conditions)...};
  for (std::size_t i = 0; i < all.size(); ++i) words += (i == 0 ? " " : ", ") + all[i].words;
  return {std::move(words), [there, all = std::move(all)](const packets::Layers& layers) {
            return there(layers) && std::all_of(all.begin(), all.end(), [&](const Condition& condition) {
                     return condition.holds(layers);
                   });
          }};
}

// Sources and destinations.

/// The Ethernet source; on ARP the sender's hardware address must agree.
inline Condition from(MacAddress mac) {
  return {"from " + to_string(mac), [mac](const packets::Layers& layers) {
            return layers.ethernet && layers.ethernet->source() == mac &&
                   (!layers.arp || layers.arp->sender_mac() == mac);
          }};
}
/// The Ethernet destination; in an ARP reply the target's hardware address must agree.
inline Condition to(MacAddress mac) {
  return {"to " + to_string(mac), [mac](const packets::Layers& layers) {
            return layers.ethernet && layers.ethernet->destination() == mac &&
                   (!layers.arp || layers.arp->operation() != arp_operation::reply ||
                    layers.arp->target_mac() == mac);
          }};
}
/// The IPv4 source; on ARP the sender's address.
inline Condition from(Ipv4Address address) {
  return {"from " + to_string(address), [address](const packets::Layers& layers) {
            return (layers.ipv4 && layers.ipv4->source() == address) ||
                   (layers.arp && layers.arp->sender_ip() == address);
          }};
}
/// The IPv4 destination; on ARP the target's address.
inline Condition to(Ipv4Address address) {
  return {"to " + to_string(address), [address](const packets::Layers& layers) {
            return (layers.ipv4 && layers.ipv4->destination() == address) ||
                   (layers.arp && layers.arp->target_ip() == address);
          }};
}
/// The source, an Ethernet or IPv4 address as text; throws std::invalid_argument for another text.
inline Condition from(std::string_view address) {
  const auto mac = MacAddress::parse(address);
  return mac ? from(*mac) : from(packets::ip(address));
}
/// The same for a literal, an Ethernet or IPv4 address.
inline Condition from(const char* address) { return from(std::string_view{address}); }
/// The destination, an Ethernet or IPv4 address as text; throws std::invalid_argument for another text.
inline Condition to(std::string_view address) {
  const auto mac = MacAddress::parse(address);
  return mac ? to(*mac) : to(packets::ip(address));
}
/// The same for a literal, an Ethernet or IPv4 address.
inline Condition to(const char* address) { return to(std::string_view{address}); }
/// The UDP or TCP destination port.
inline Condition port(std::uint16_t number) {
  return {"to port " + std::to_string(number), [number](const packets::Layers& layers) {
            return (layers.udp && layers.udp->destination_port() == number) ||
                   (layers.tcp && layers.tcp->destination_port() == number);
          }};
}
/// The UDP or TCP source port.
inline Condition source_port(std::uint16_t number) {
  return {"from port " + std::to_string(number), [number](const packets::Layers& layers) {
            return (layers.udp && layers.udp->source_port() == number) ||
                   (layers.tcp && layers.tcp->source_port() == number);
          }};
}
/// The IPv4 source address and the UDP or TCP source port.
inline Condition from(std::string_view address, std::uint16_t number) {
  return {"from " + std::string{address} + ":" + std::to_string(number),
          [ip = from(packets::ip(address)), udp = source_port(number)](const packets::Layers& layers) {
            return ip.holds(layers) && udp.holds(layers);
          }};
}
/// The IPv4 destination address and the UDP or TCP destination port.
inline Condition to(std::string_view address, std::uint16_t number) {
  return {"to " + std::string{address} + ":" + std::to_string(number),
          [ip = to(packets::ip(address)), udp = port(number)](const packets::Layers& layers) {
            return ip.holds(layers) && udp.holds(layers);
          }};
}

/// The exact payload of the innermost header.
inline Condition payload(packets::Content content) {
  const Bytes bytes = content.bytes();
  return {"with payload " + packets::to_hex(bytes),
          [wanted = packets::Buffer(bytes.begin(), bytes.end())](const packets::Layers& layers) {
            const Bytes is = layers.payload();
            return std::equal(is.begin(), is.end(), wanted.begin(), wanted.end());
          }};
}
/// The identifier and the sequence number of an ICMP echo.
inline Condition echo(std::uint16_t id, std::uint16_t sequence) {
  return {"with id " + std::to_string(id) + " and sequence " + std::to_string(sequence),
          [id, sequence](const packets::Layers& layers) {
            return layers.icmp && layers.icmp->echo_id() == id && layers.icmp->echo_sequence() == sequence;
          }};
}
/// The flags of a TCP segment, exactly these.
inline Condition flags(std::uint8_t bits) {
  return {"with flags " + std::to_string(bits),
          [bits](const packets::Layers& layers) { return layers.tcp && layers.tcp->flags() == bits; }};
}
/// The sequence number and the acknowledgment number of a TCP segment.
inline Condition numbers(std::uint32_t sequence, std::uint32_t acknowledgment) {
  return {
      "with sequence " + std::to_string(sequence) + " and acknowledgment " + std::to_string(acknowledgment),
      [sequence, acknowledgment](const packets::Layers& layers) {
        return layers.tcp && layers.tcp->sequence() == sequence &&
               layers.tcp->acknowledgment() == acknowledgment;
      }};
}

// Layers, as conditions.

/// The packet carries IPv4.
template <class... Conditions>
Condition carries_ipv4(Conditions... conditions) {
  return layer(
      "IPv4", [](const packets::Layers& layers) { return layers.ipv4.has_value(); }, conditions...);
}
/// The packet carries UDP over IPv4.
template <class... Conditions>
Condition carries_udp(Conditions... conditions) {
  return layer(
      "UDP", [](const packets::Layers& layers) { return layers.udp.has_value(); }, conditions...);
}
/// The packet carries TCP over IPv4.
template <class... Conditions>
Condition carries_tcp(Conditions... conditions) {
  return layer(
      "TCP", [](const packets::Layers& layers) { return layers.tcp.has_value(); }, conditions...);
}
/// The packet carries ICMP over IPv4.
template <class... Conditions>
Condition carries_icmp(Conditions... conditions) {
  return layer(
      "ICMP", [](const packets::Layers& layers) { return layers.icmp.has_value(); }, conditions...);
}

// Layers, as matchers.

/// Matches an Ethernet frame.
template <class... Conditions>
PacketMatcher is_ethernet(Conditions... conditions) {
  return PacketMatcher{layer(
      "Ethernet", [](const packets::Layers& layers) { return layers.ethernet.has_value(); }, conditions...)};
}
/// Matches an IPv4 packet, also within a frame.
template <class... Conditions>
PacketMatcher is_ipv4(Conditions... conditions) {
  return PacketMatcher{carries_ipv4(conditions...)};
}
/// Matches a UDP datagram over IPv4, also within a frame.
template <class... Conditions>
PacketMatcher is_udp(Conditions... conditions) {
  return PacketMatcher{carries_udp(conditions...)};
}
/// Matches a TCP segment over IPv4, also within a frame.
template <class... Conditions>
PacketMatcher is_tcp(Conditions... conditions) {
  return PacketMatcher{carries_tcp(conditions...)};
}
/// Matches a frame with an ARP request.
template <class... Conditions>
PacketMatcher is_arp_request(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.arp && layers.arp->operation() == arp_operation::request;
  };
  return PacketMatcher{layer("an ARP request", there, conditions...)};
}
/// Matches a frame with an ARP reply.
template <class... Conditions>
PacketMatcher is_arp_reply(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.arp && layers.arp->operation() == arp_operation::reply;
  };
  return PacketMatcher{layer("an ARP reply", there, conditions...)};
}
/// Matches an ICMP echo request over IPv4, also within a frame.
template <class... Conditions>
PacketMatcher is_icmp_echo_request(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.icmp && layers.icmp->type() == icmp_type::echo_request;
  };
  return PacketMatcher{layer("an ICMP echo request", there, conditions...)};
}
/// Matches an ICMP echo reply over IPv4, also within a frame.
template <class... Conditions>
PacketMatcher is_icmp_echo_reply(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.icmp && layers.icmp->type() == icmp_type::echo_reply;
  };
  return PacketMatcher{layer("an ICMP echo reply", there, conditions...)};
}
/// Matches an ICMP port unreachable over IPv4, also within a frame. The payload is the quoted packet.
template <class... Conditions>
PacketMatcher is_port_unreachable(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.icmp && layers.icmp->type() == icmp_type::destination_unreachable &&
           layers.icmp->code() == icmp_unreachable::port;
  };
  return PacketMatcher{layer("an ICMP port unreachable", there, conditions...)};
}
/// Matches an ICMP protocol unreachable over IPv4, also within a frame. The payload is the quoted packet.
template <class... Conditions>
PacketMatcher is_protocol_unreachable(Conditions... conditions) {
  const auto there = [](const packets::Layers& layers) {
    return layers.icmp && layers.icmp->type() == icmp_type::destination_unreachable &&
           layers.icmp->code() == icmp_unreachable::protocol;
  };
  return PacketMatcher{layer("an ICMP protocol unreachable", there, conditions...)};
}

}  // namespace tunport::matchers
