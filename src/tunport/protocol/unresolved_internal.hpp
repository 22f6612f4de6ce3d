#pragma once
/// Datagrams that wait for the hardware address of their receiver.

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include "tunport/base/lru_table_internal.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// The latest datagram to each host, for a second (RFC 1122 2.3.2.2); at most 64 hosts. Datagrams that wait
/// in vain are counted as `no_route`, by the port.
class Unresolved {
 public:
  /// A datagram, without link and IP header.
  struct Kept {
    FrameTransport* port = nullptr;
    Endpoint from;
    Endpoint to;
    std::vector<std::byte> payload;
    Reactor::Timer timeout;
  };

  /// Keeps a datagram, in place of an earlier one to the host. True for a host that was not waited for: the
  /// caller asks.
  bool keep(FrameTransport& port, const Endpoint& from, const Endpoint& to, Bytes payload) {
    Kept* const earlier = table_.find(to.address);
    if (earlier != nullptr) earlier->port->drop(DropReason::no_route);
    Kept& kept = table_.insert(to.address, [](const IpAddress&, const Kept& displaced) {
      displaced.port->drop(DropReason::no_route);
    });
    kept.port = &port;
    kept.from = from;
    kept.to = to;
    kept.payload.assign(payload.begin(), payload.end());
    if (earlier == nullptr)
      kept.timeout = port.reactor().call_later(std::chrono::seconds{1}, [this, host = to.address] {
        if (const Kept* const late = table_.find(host)) late->port->drop(DropReason::no_route);
        table_.erase(host);
      });
    return earlier == nullptr;
  }
  /// The datagram that waits for a host, which is not kept any more; nothing without one.
  std::optional<Kept> take(const IpAddress& host) {
    Kept* const kept = table_.find(host);
    if (kept == nullptr) return std::nullopt;
    std::optional<Kept> taken{std::move(*kept)};
    table_.erase(host);
    return taken;
  }
  /// Drops what waits for a port, or everything if null.
  void forget(const FrameTransport* port) {
    table_.erase_if([&](const IpAddress&, const Kept& kept) {
      if (port != nullptr && kept.port != port) return false;
      kept.port->drop(DropReason::aborted);
      return true;
    });
  }

 private:
  LruTable<IpAddress, Kept> table_{64};
};

}  // namespace tunport
