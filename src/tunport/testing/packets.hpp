#pragma once
/// Packets for tests: builders, hex, and a description of a packet in a line.
///
/// Built packets are valid: lengths and checksums are right. `patched`, `padded` and cuts turn valid packets
/// into broken packets. By default a packet goes from the kernel's side of a tunnel, `kernel_mac` and
/// `kernel_ip`, to the host behind the tunnel, `host_mac` and `host_ip`:
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
#include "tunport/wire/tcp.hpp"
#include "tunport/wire/udp.hpp"

namespace tunport::packets {

using Buffer = std::vector<std::byte>;

inline constexpr MacAddress kernel_mac{{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x02}};
inline constexpr Ipv4Address kernel_ip{0x0a000001};  // 10.0.0.1
inline constexpr Ipv4Address host_ip{0x0a000002};    // 10.0.0.2

/// The content of a packet: text, or bytes. Borrowed for the call.
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

/// The Ethernet address of a text, "02:00:00:00:00:01". Throws std::invalid_argument for another text.
MacAddress mac(std::string_view text);
/// The IPv4 address of a text, "10.0.0.1". Throws std::invalid_argument for another text.
Ipv4Address ip(std::string_view text);
/// The address and port of a text, "10.0.0.1:42". Throws std::invalid_argument for another text.
Endpoint endpoint(std::string_view text);

/// The bytes of "de ad be ef"; white space is ignored. Throws std::invalid_argument for another text.
Buffer hex(std::string_view digits);
/// The bytes as text: "deadbeef".
std::string to_hex(Bytes bytes);

/// A copy with the bytes from `offset` on replaced by `bytes`; checksums stay. Throws std::out_of_range if
/// `bytes` reach beyond the end.
Buffer patched(Content packet, std::size_t offset, Content bytes);
/// A copy with `fill` appended, of at least `size` bytes; 60 is the least size of an Ethernet frame.
Buffer padded(Content packet, std::size_t size = 60, std::byte fill = std::byte{0});

/// Ethernet's fields, for `ethernet`.
struct EthernetFields {
  MacAddress destination = host_mac;
  MacAddress source = kernel_mac;
  std::uint16_t ethertype = ethertype::ipv4;
};
/// A frame, without padding. `tags`: the outermost tag first.
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

/// The fields of an echo, for `icmp_echo`.
struct EchoFields {
  Ipv4Address source = kernel_ip;
  Ipv4Address destination = host_ip;
  std::uint8_t type = icmp_type::echo_request;
  std::uint16_t id = 1;
  std::uint16_t sequence = 1;
};
/// An IPv4 packet with an echo.
Buffer icmp_echo(const EchoFields& fields = {}, Content payload = {});
/// An IPv4 packet with a UDP datagram. Precondition: endpoints of IPv4.
Buffer udp(const Endpoint& from, const Endpoint& to, Content payload);
/// The same with endpoints as text: "10.0.0.1:40000".
Buffer udp(std::string_view from, std::string_view to, Content payload);
/// An IPv4 packet with a TCP segment. The ports are those of the endpoints. Precondition: endpoints of IPv4.
Buffer tcp(std::string_view from, std::string_view to, TcpHeader fields, Content payload = {});

/// The headers of a packet, down to the first absent or broken header. Borrows the packet.
struct Layers {
  Bytes whole;
  std::optional<EthernetView> ethernet;
  std::optional<ArpView> arp;
  std::optional<Ipv4View> ipv4;
  std::optional<IcmpView> icmp;
  std::optional<UdpView> udp;
  std::optional<TcpView> tcp;
  std::optional<DropReason> broken;  ///< the reason why the next layer is absent

  /// The payload of the innermost header.
  Bytes payload() const;
};

/// The layers of an IP packet or an Ethernet frame. A valid IPv4 packet counts as IP, and so does a packet
/// that looks like IP and not like a frame of a known EtherType.
Layers dissect(Bytes packet);

/// A packet in a line: "IPv4 10.0.0.1 > 10.0.0.2, UDP 40000 > 42, 5 bytes", and the fault of a broken packet.
std::string describe(Bytes packet);

}  // namespace tunport::packets
