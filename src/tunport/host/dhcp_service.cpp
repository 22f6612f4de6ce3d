#include <algorithm>
#include <array>
#include <chrono>

#include "tunport/host/dhcp_service_internal.hpp"
#include "tunport/wire/ethernet.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using dhcp::Kind;

constexpr std::size_t most_leases = 256;
constexpr std::uint32_t lease_seconds = 3600;
constexpr auto offer_time = 60s;
constexpr auto lease_time = std::chrono::seconds{lease_seconds};

std::uint64_t key_of(const MacAddress& mac) {
  std::uint64_t key = 0;
  for (const std::uint8_t octet : mac.octets()) key = key << 8 | octet;
  return key;
}

}  // namespace

Ipv4Address DhcpService::server() const {
  const auto found = std::ranges::find_if(state_.options.addresses,
                                          [](const IpAddress& address) { return address.is_v4(); });
  return found == state_.options.addresses.end() ? Ipv4Address{} : found->v4();
}

bool DhcpService::is_asked(const IpDatagram& datagram) const {
  if (!state_.options.dhcp || !datagram.ip.is_v4() || datagram.protocol() != ip_protocol::udp ||
      datagram.ip.is_fragment() || datagram.arrival.ethernet == nullptr ||
      datagram.payload().size() < UdpHeader::size)
    return false;
  const bool to_us =
      datagram.destination() == IpAddress{Ipv4Address{0xffffffff}} || datagram.destination() == server();
  return to_us && load_be16(datagram.payload(), 2) == dhcp::server_port &&
         load_be16(datagram.payload(), 0) == dhcp::client_port;
}

bool DhcpService::may_lease(Ipv4Address address) const {
  const IpPrefix& subnet = *state_.options.dhcp;
  return subnet.contains(address) && state_.is_source(address) && address != subnet.network_v4() &&
         address != subnet.broadcast_v4() && !state_.owns(address) &&
         std::ranges::find(state_.options.subnets, IpAddress{address}, &IpPrefix::address) ==
             state_.options.subnets.end();
}

bool DhcpService::is_free(Ipv4Address address, TimePoint now) const {
  const auto declined = declined_.find(address.value());
  if (declined != declined_.end() && declined->second > now) return false;
  return may_lease(address) && std::ranges::none_of(leases_, [&](const auto& entry) {
           return entry.second.address == address && entry.second.until > now;
         });
}

DhcpService::Lease* DhcpService::lease_for(const dhcp::Request& request, TimePoint now) {
  if (const auto found = leases_.find(key_of(request.mac)); found != leases_.end()) {
    Lease& lease = found->second;
    if (lease.until > now || is_free(lease.address, now)) return &lease;
    leases_.erase(found);
  }
  if (leases_.size() >= most_leases)
    std::erase_if(leases_, [&](const auto& entry) { return entry.second.until <= now; });
  if (leases_.size() >= most_leases) return nullptr;
  Ipv4Address address = request.requested.value_or(Ipv4Address{});
  if (!is_free(address, now)) {
    // The table is full before as many addresses are taken, unless the subnet is small.
    const std::uint32_t first = state_.options.dhcp->network_v4().value();
    const std::uint32_t last = state_.options.dhcp->broadcast_v4().value();
    std::uint32_t candidate = first;
    const std::uint32_t tries = 2 * most_leases;
    for (std::uint32_t i = 0; i <= tries && candidate <= last && !is_free(Ipv4Address{candidate}, now); ++i)
      ++candidate;
    address = Ipv4Address{candidate};
    if (candidate > last || !is_free(address, now)) return nullptr;
  }
  return &(leases_[key_of(request.mac)] = {address, now});
}

bool DhcpService::send(const IpDatagram& datagram, const dhcp::Request& request, dhcp::Answer answer) {
  answer.server = server();
  if (answer.kind != Kind::nak) {
    answer.prefix_length = state_.options.dhcp->length;
    answer.router = answer.name_server = answer.server;
  }
  // RFC 2131 4.1: a client without an address yet is sent to by its MAC address, or by broadcast if it asks
  // for that.
  const bool broadcast =
      answer.kind == Kind::nak || (request.client.is_unspecified() && (request.flags & 0x8000) != 0);
  Ipv4Address to = request.client.is_unspecified() ? answer.address : request.client;
  if (broadcast) to = Ipv4Address{0xffffffff};
  const auto message = answer.emit(request);
  std::array<std::byte, EthernetHeader::size + Ipv4Header::size + UdpHeader::size> headers;
  const MutableBytes out{headers};
  EthernetHeader{broadcast ? MacAddress::broadcast() : request.mac, state_.mac, ethertype::ipv4}.emit(out);
  Ipv4Header{.dont_fragment = true,
             .protocol = ip_protocol::udp,
             .source = answer.server,
             .destination = to,
             .payload_length = static_cast<std::uint16_t>(UdpHeader::size + message.size())}
      .emit(out.subspan(EthernetHeader::size));
  UdpHeader{dhcp::server_port, dhcp::client_port}.emit(out.subspan(EthernetHeader::size + Ipv4Header::size),
                                                       message, answer.server, to);
  const std::array<Bytes, 2> parts{headers, message};
  if (!datagram.arrival.transport.write_sequence(parts)) return false;
  ++state_.statistics.dhcp_answers;
  return true;
}

void DhcpService::received(const IpDatagram& datagram, const UdpView& udp) {
  FrameTransport& port = datagram.arrival.transport;
  const auto request = dhcp::Request::parse(udp.payload());
  if (!request || !request->relay.is_unspecified()) return port.drop(DropReason::dhcp_malformed);
  // The answer goes to the client's address, which must be that of a single host, and another than ours.
  const IpAddress client = request->client;
  if (!client.is_unspecified() && (!state_.is_source(client) || state_.owns(client)))
    return port.drop(DropReason::dhcp_malformed);
  const TimePoint now = port.reactor().now();
  const auto known = leases_.find(key_of(request->mac));
  switch (request->kind) {
    case Kind::discover:
      if (Lease* const lease = lease_for(*request, now)) {
        lease->until = std::max(lease->until, now + offer_time);
        send(datagram, *request, {.kind = Kind::offer, .address = lease->address, .lease = lease_seconds});
        return;
      }
      break;  // no address is left
    case Kind::request: {
      if (request->server && *request->server != server()) {
        if (known != leases_.end() && known->second.until <= now + offer_time) leases_.erase(known);
        return port.drop(DropReason::answer_not_allowed);  // another server's offer was chosen
      }
      const Ipv4Address wanted = request->requested.value_or(request->client);
      Lease* const lease = lease_for(*request, now);
      if (lease == nullptr || lease->address != wanted) {
        send(datagram, *request, {.kind = Kind::nak});
        return;
      }
      lease->until = now + lease_time;
      send(datagram, *request, {.kind = Kind::ack, .address = wanted, .lease = lease_seconds});
      return;
    }
    case Kind::decline:
      if (known != leases_.end() && known->second.address == request->requested) {
        std::erase_if(declined_, [&](const auto& entry) { return entry.second <= now; });
        if (declined_.size() < most_leases) declined_[known->second.address.value()] = now + lease_time;
        leases_.erase(known);
        return;
      }
      break;
    case Kind::release:
      if (known != leases_.end() && known->second.address == request->client) {
        known->second.until = now;
        return;
      }
      break;
    case Kind::inform:
      if (state_.is_source(request->client) && state_.options.dhcp->contains(request->client)) {
        send(datagram, *request, {.kind = Kind::ack});
        return;
      }
      break;
    default:
      break;
  }
  port.drop(DropReason::answer_not_allowed);
}

}  // namespace tunport
