#pragma once
/// A test of the way to a gate's listener.
///
/// Theory. A firewall that drops what comes in from the interface, or a strict rp_filter, makes every
/// connection time out in silence. So the gate writes a SYN to its own listener at the start, from an address
/// of the interface's subnet that is not in use here. The kernel's answer comes out of the interface, and is
/// reset: no connection comes of it. The SYN is repeated until the answer, as a client repeats it.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "tunport/event/reactor.hpp"
#include "tunport/gate/tcp_answers_internal.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// See the theory above. For one listener at a time.
class ListenerProbe {
 public:
  /// Called if no answer has come in two seconds.
  using Deaf = std::function<void(const Endpoint& listener)>;

  ListenerProbe(Reactor& reactor, Deaf deaf) : reactor_{reactor}, deaf_{std::move(deaf)} {}

  /// An address for the test: in the subnet of `own`, which is among `addresses`, and none of these. Nothing
  /// in a subnet without room.
  static std::optional<IpAddress> source_in(const IpPrefix& own, const std::vector<IpPrefix>& addresses);

  /// Begins. No effect if the port does not take the SYN: the link is down. `port` is borrowed until
  /// `cancel`.
  void begin(FrameTransport& port, const Endpoint& listener, const IpAddress& source);
  /// A segment without a flow that came from a listener. True if it answers the test.
  bool heard(FrameTransport& port, const FlowEnds& ends, const BareSegment& segment);
  void cancel() {
    timer_.cancel();
    port_ = nullptr;
  }

 private:
  bool send();
  void go_on();

  Reactor& reactor_;
  Deaf deaf_;
  FrameTransport* port_ = nullptr;  // null: no test
  FlowEnds ends_;
  std::uint32_t sequence_ = 0;
  int tries_left_ = 0;
  Reactor::Timer timer_;
};

}  // namespace tunport
