#pragma once
/// A datagram protocol that remembers.

#include <functional>
#include <string>
#include <vector>

#include "tunport/port/protocol.hpp"

namespace tunport::test_support {

/// Records datagrams, and calls a hook for each, if set.
class DatagramBox : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    received.emplace_back(as_text(datagram.data));
    if (on_datagram) on_datagram(datagram);
  }
  std::vector<std::string> received;
  std::function<void(const Datagram&)> on_datagram;
};

}  // namespace tunport::test_support
