#pragma once
/// Packets for tests: builders, hex, and a dissection that says in a line what a packet is.
///
/// What is built is valid: lengths and checksums are right. Broken packets are made of valid ones, with
/// `patched`, `padded`, or by cutting them. Where nothing else is said a packet goes from the kernel's side
/// of a tunnel, `kernel_mac` and `kernel_ip`, to the host behind it, `host_mac` and `host_ip`:
///
///   using namespace tunport::packets;
///   const auto frame = ethernet({}, udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
///   const auto broken = patched(frame, 24, hex("0000"));  // IPv4 header checksum

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/ethernet.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport::packets {

using Buffer = std::vector<std::byte>;

inline constexpr MacAddress kernel_mac{{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x02}};
inline constexpr Ipv4Address kernel_ip{0x0a000001};  // 10.0.0.1
inline constexpr Ipv4Address host_ip{0x0a000002};    // 10.0.0.2

/// What a packet is to contain: text, or bytes. Borrowed for the call.
class Content {
 public:
  Content() = default;
  Content(Bytes bytes) : bytes_{bytes} {}                         // NOLINT(google-explicit-constructor)
  Content(const Buffer& bytes) : bytes_{bytes} {}                 // NOLINT(google-explicit-constructor)
  Content(std::string_view text) : bytes_{as_bytes(text)} {}      // NOLINT(google-explicit-constructor)
  Content(const char* text) : Content{std::string_view{text}} {}  // NOLINT(google-explicit-constructor)
  Content(const std::string& text) : Content{as_bytes(text)} {}   // NOLINT(google-explicit-constructor)
  Bytes bytes() const { return bytes_; }

 private:
  Bytes bytes_;
};

/// Addresses from text. Throw `std::invalid_argument` where the text is none.
MacAddress mac(std::string_view text);
Ipv4Address ip(std::string_view text);
Endpoint endpoint(std::string_view text);

/// "de ad be ef" as bytes; white space may stand anywhere. Throws `std::invalid_argument` on anything else.
Buffer hex(std::string_view digits);
/// "deadbeef".
std::string to_hex(Bytes bytes);

/// A copy with the bytes from `offset` on replaced; nothing else is changed, no checksum mended. Throws
/// `std::out_of_range` beyond the end.
Buffer patched(Content packet, std::size_t offset, Content bytes);
/// A copy with `fill` appended until it has `size` bytes; 60 is Ethernet's least.
Buffer padded(Content packet, std::size_t size = 60, std::byte fill = std::byte{0});

/// Ethernet's fields, for `ethernet`.
struct EthernetFields {
  MacAddress destination = host_mac;
  MacAddress source = kernel_mac;
  std::uint16_t ethertype = ethertype::ipv4;
};
/// A frame, without padding. `tags` stand in the order given, the outermost first.
Buffer ethernet(const EthernetFields& fields, Content payload, std::initializer_list<VlanTag> tags = {});

/// An ARP packet, without Ethernet.
Buffer arp(const ArpHeader& fields);
/// A whole frame, broadcast: who has `wanted`?
Buffer arp_request(Ipv4Address wanted, MacAddress sender_mac = kernel_mac, Ipv4Address sender_ip = kernel_ip);
/// A whole frame: `sender_ip` is at `sender_mac`.
Buffer arp_reply(Ipv4Address sender_ip, MacAddress sender_mac, Ipv4Address target_ip, MacAddress target_mac);

/// An IPv4 packet; `payload_length` is set from the payload.
Buffer ipv4(Ipv4Header header, Content payload);
/// An ICMP message, without IP.
Buffer icmp(const IcmpHeader& header, Content payload);
/// A UDP datagram, without IP; the addresses are for the checksum.
Buffer udp_datagram(const Endpoint& from, const Endpoint& to, Content payload);

/// Fields of an echo, for `icmp_echo`.
struct EchoFields {
  Ipv4Address source = kernel_ip;
  Ipv4Address destination = host_ip;
  std::uint8_t type = icmp_type::echo_request;
  std::uint16_t id = 1;
  std::uint16_t sequence = 1;
};
/// An IPv4 packet with an echo in it.
Buffer icmp_echo(const EchoFields& fields = {}, Content payload = {});
/// An IPv4 packet with a UDP datagram in it. Endpoints of IPv4.
Buffer udp(const Endpoint& from, const Endpoint& to, Content payload);
/// The same with the endpoints as text: "10.0.0.1:40000".
Buffer udp(std::string_view from, std::string_view to, Content payload);

/// The headers of a packet, as far as they are there and right. Borrows the packet.
struct Layers {
  Bytes whole;
  std::optional<EthernetView> ethernet;
  std::optional<ArpView> arp;
  std::optional<Ipv4View> ipv4;
  std::optional<IcmpView> icmp;
  std::optional<UdpView> udp;
  std::optional<DropReason> broken;  ///< why the next layer is not there

  /// What the innermost header carries.
  Bytes payload() const;
};

/// The layers of an IP packet or an Ethernet frame, whichever it is: an IP packet if it is a valid one, or if
/// it looks like one and not like a frame.
Layers dissect(Bytes packet);

/// A packet in a line: "IPv4 10.0.0.1 > 10.0.0.2, UDP 40000 > 42, 5 bytes", with what is broken about it.
std::string describe(Bytes packet);

}  // namespace tunport::packets
