#include <algorithm>
#include <chrono>
#include <random>

#include "tunport/gate/listener_probe_internal.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

constexpr int tries = 5;
constexpr auto interval = std::chrono::milliseconds{400};
constexpr std::uint16_t least_port = 1024;

IpAddress changed(const IpAddress& address, std::uint8_t bits) {
  if (address.is_v4()) return Ipv4Address{address.v4().value() ^ bits};
  auto octets = address.v6().octets();
  octets.back() = static_cast<std::uint8_t>(octets.back() ^ bits);
  return Ipv6Address{octets};
}

}  // namespace

std::optional<IpAddress> ListenerProbe::source_in(const IpPrefix& own,
                                                  const std::vector<IpPrefix>& addresses) {
  const bool v4 = own.address.is_v4();
  for (std::uint8_t bits = 1; bits < 8; ++bits) {
    const IpAddress candidate = changed(own.address, bits);
    const bool is_ours =
        std::ranges::any_of(addresses, [&](const IpPrefix& prefix) { return prefix.address == candidate; });
    if (!own.contains(candidate) || is_ours) continue;
    // A router has the lowest address of a subnet, too (RFC 4291 2.6.1).
    if (!v4 && candidate.v6().octets().back() == 0) continue;
    if (v4 && (candidate == IpAddress{own.network_v4()} || candidate == IpAddress{own.broadcast_v4()}))
      continue;
    return candidate;
  }
  return std::nullopt;
}

void ListenerProbe::begin(FrameTransport& port, const Endpoint& listener, const IpAddress& source) {
  std::random_device random;
  port_ = &port;
  ends_ = {source, listener.address,
           static_cast<std::uint16_t>(random() % (0x10000U - least_port) + least_port), listener.port};
  sequence_ = random();
  tries_left_ = tries;
  if (send())
    go_on();
  else
    cancel();
}

bool ListenerProbe::send() {
  return static_cast<bool>(write_segment(*port_, ends_, {.flags = tcp_flag::syn, .sequence = sequence_}));
}

void ListenerProbe::go_on() {
  timer_ = reactor_.call_later(interval, [this] {
    if (--tries_left_ > 0 && send()) return go_on();
    const bool is_deaf = tries_left_ == 0;
    cancel();
    if (is_deaf) deaf_({ends_.destination, ends_.destination_port});
  });
}

bool ListenerProbe::heard(FrameTransport& port, const FlowEnds& ends, const BareSegment& segment) {
  if (port_ == nullptr || ends.source != ends_.destination || ends.source_port != ends_.destination_port ||
      ends.destination != ends_.source || ends.destination_port != ends_.source_port ||
      segment.acknowledgment != sequence_ + 1)
    return false;
  cancel();
  if ((segment.flags & tcp_flag::rst) == 0)
    write_segment(port, ends_, {.flags = tcp_flag::rst, .sequence = segment.acknowledgment});
  return true;
}

}  // namespace tunport
