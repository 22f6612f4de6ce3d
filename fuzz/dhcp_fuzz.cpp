// DHCP messages of any bytes, and of several stations, into the DHCP service of a host on a TAP port. Every
// answer is a right message to its station, each message is answered or counted, and no two stations hold an
// address at a time.
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "tunport/host/host.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/dhcp_internal.hpp"

#include "input.hpp"

namespace {

using namespace tunport;
using dhcp::Kind;
using fuzz::require;
using packets::Buffer;

const IpPrefix subnet = "10.0.0.0/28";
const Ipv4Address host_address = "10.0.0.2";
const Ipv4Address kernel_address = "10.0.0.1";
const Ipv4Address everybody = "255.255.255.255";

/// An address near the subnet, or any.
Ipv4Address make_address(fuzz::Input& input) {
  const std::uint8_t choice = input.u8();
  if (choice < 192) return Ipv4Address{0x0a000000U + choice % 24U};
  if (choice < 208) return {};
  return Ipv4Address{std::uint32_t{input.u16()} << 16 | input.u16()};
}

/// A message with the fields that the server reads, and anything else behind.
Buffer make_message(fuzz::Input& input, const MacAddress& mac) {
  const std::uint8_t choice = input.u8();
  if (choice % 16 == 0) return input.take(input.u16() % 600);
  Buffer bytes(240);
  store_u8(bytes, 0, 1);
  store_u8(bytes, 1, 1);
  store_u8(bytes, 2, 6);
  store_be32(bytes, 4, input.u16());
  store_be16(bytes, 10, (choice & 1) != 0 ? 0x8000 : 0);
  if ((choice & 2) != 0) make_address(input).store(bytes, 12);
  if (choice >= 248) make_address(input).store(bytes, 24);
  mac.store(bytes, 28);
  store_be32(bytes, 236, 0x63825363);
  const auto option = [&](std::uint8_t code, Bytes value) {
    bytes.push_back(std::byte{code});
    bytes.push_back(static_cast<std::byte>(value.size()));
    bytes.insert(bytes.end(), value.begin(), value.end());
  };
  const auto address_option = [&](std::uint8_t code, Ipv4Address address) {
    Buffer value(4);
    address.store(value, 0);
    option(code, value);
  };
  option(53, Buffer{static_cast<std::byte>(input.u8() % 10)});
  if ((choice & 4) != 0) address_option(50, make_address(input));
  if ((choice & 8) != 0) address_option(54, (choice & 16) != 0 ? make_address(input) : host_address);
  if ((choice & 32) != 0) {
    const Buffer rest = input.take(input.u8());
    bytes.insert(bytes.end(), rest.begin(), rest.end());
  }
  if ((choice & 64) != 0) bytes[input.u16() % bytes.size()] = static_cast<std::byte>(input.u8());
  bytes.push_back(std::byte{255});
  return bytes;
}

/// What an answer says, as far as it is checked.
struct Answer {
  Kind kind{};
  Ipv4Address address;
  MacAddress station;
};

Answer check_answer(const Buffer& frame, const Host& host) {
  DropReason why{};
  const auto ethernet = EthernetView::checked(frame, why);
  require(ethernet && ethernet->source() == host.mac());
  const auto ip = Ipv4View::checked(ethernet->payload(), why);
  require(ip && ip->source() == host_address && ip->bytes().size() == ethernet->payload().size());
  require(ip->destination() != host_address && ip->destination().value() >> 28 != 0xe);
  require((ip->destination() == everybody) == ethernet->destination().is_multicast());
  const auto udp = UdpView::checked(ip->payload(), ip->source(), ip->destination(), why);
  require(udp && udp->source_port() == 67 && udp->destination_port() == 68);
  const Bytes message = udp->payload();
  require(message.size() == dhcp::Answer::size && load_u8(message, 0) == 2);
  require(load_be32(message, 236) == 0x63825363 && load_u8(message, 240) == 53);
  Answer answer{.kind = static_cast<Kind>(load_u8(message, 242)),
                .address = Ipv4Address::load(message, 16),
                .station = MacAddress::load(message, 28)};
  require(!answer.station.is_multicast());
  if (!ethernet->destination().is_multicast()) require(ethernet->destination() == answer.station);
  require(answer.kind == Kind::offer || answer.kind == Kind::ack || answer.kind == Kind::nak);
  if (answer.kind == Kind::nak || answer.address.is_unspecified()) return answer;  // refused, or informed
  require(subnet.contains(answer.address));
  require(answer.address != subnet.network_v4() && answer.address != subnet.broadcast_v4());
  require(answer.address != host_address && answer.address != kernel_address);
  return answer;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  Host host{{.addresses = {host_address}, .subnets = {"10.0.0.1/28"}, .dhcp = subnet}};
  FakeTransport port;
  host.ethernet().connect(port);
  port.written.clear();
  struct Holder {
    MacAddress station;
    TimePoint until;
  };
  std::map<std::uint32_t, Holder> held;  // by address
  for (int messages = 0; messages < 64 && !input.empty(); ++messages) {
    const std::uint8_t choice = input.u8();
    const MacAddress mac{{2, 0, 0, 0, 1, static_cast<std::uint8_t>(choice % 24)}};
    const Ipv4Address from = (choice & 32) != 0 ? make_address(input) : Ipv4Address{};
    const Ipv4Address to = (choice & 64) != 0 ? host_address : everybody;
    const Buffer message = make_message(input, mac);
    const std::uint64_t drops = port.drops.total();
    port.written.clear();
    port.deliver(host.ethernet(),
                 packets::ethernet(
                     {.destination = to == everybody ? MacAddress::broadcast() : host.mac(), .source = mac},
                     packets::udp({from, 68}, {to, 67}, message)));
    require(port.written.size() <= 1);
    const auto request = dhcp::Request::parse(message);
    const bool is_taken_in_silence =
        request && (request->kind == Kind::decline || request->kind == Kind::release);
    if (!is_taken_in_silence) require(port.written.size() + (port.drops.total() - drops) == 1);
    // A station gives its address up, or has chosen another server.
    const bool has_left =
        request && request->kind == Kind::request && request->server && *request->server != host_address;
    if (has_left || (is_taken_in_silence && port.drops.total() == drops))
      std::erase_if(held, [&](const auto& entry) { return entry.second.station == request->mac; });
    const TimePoint now = port.clock.now();
    for (const Buffer& frame : port.written) {
      const Answer answer = check_answer(frame, host);
      require(request && answer.station == request->mac);
      if (answer.kind == Kind::nak || answer.address.is_unspecified()) continue;
      const auto holder = held.find(answer.address.value());
      require(holder == held.end() || holder->second.station == answer.station ||
              holder->second.until <= now);
      if (answer.kind == Kind::ack)
        held[answer.address.value()] = {answer.station, now + std::chrono::hours{1}};
    }
    if ((choice & 128) != 0) port.clock.advance(std::chrono::seconds{input.u16()});
  }
  host.ethernet().disconnect(port);
  return 0;
}
