#pragma once
#include <tunport/tunport.hpp>

/// Answers each datagram with its text in capitals. Works behind a host and on a UdpPort.
class Answer : public tunport::DatagramProtocol {
 public:
  void datagram_received(const tunport::Datagram& datagram) override {
    std::string text{tunport::as_text(datagram.data)};
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    transport().write_to(datagram.from, tunport::as_bytes(text));  // copied or sent on return
  }
};
