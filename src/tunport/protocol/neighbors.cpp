#include <algorithm>

#include "tunport/protocol/neighbors_internal.hpp"

namespace tunport {

void Neighbors::learn(const IpAddress& host, const Arrival& arrival, const Endpoint& asked,
                      std::uint16_t type) {
  Way way{.port = &arrival.transport, .asked = asked};
  if (const EthernetView* const frame = arrival.ethernet) {
    const std::size_t size = frame->header_length();
    if (frame->source().is_multicast() || arrival.local_mac == MacAddress{} || size > way.header.size())
      return;
    constexpr std::size_t addresses = 2 * MacAddress::size;
    frame->source().store(way.header, 0);
    arrival.local_mac.store(way.header, MacAddress::size);
    std::ranges::copy(frame->bytes().subspan(addresses, size - addresses), way.header.begin() + addresses);
    store_be16(way.header, size - 2, type);
    way.header_size = static_cast<std::uint8_t>(size);
  }
  if (last_ != nullptr && last_host_ == host && *last_ == way) return;
  set(host, way);
}

void Neighbors::set(const IpAddress& host, const Way& way) {
  Way& place = ways_.insert(host);
  place = way;
  last_host_ = host;
  last_ = &place;
}

void Neighbors::forget(const FrameTransport* port) {
  last_ = nullptr;
  ways_.erase_if([&](const IpAddress&, const Way& way) { return port == nullptr || way.port == port; });
}

}  // namespace tunport
