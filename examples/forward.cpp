// A wire between two interfaces: frames go from each to the other, super-packets whole.
//
//   example_forward tap0 tap1
#include <iostream>

#include <asio/io_context.hpp>
#include <tunport/asio.hpp>

/// Passes frames on to another port, unchanged.
class Forward : public tunport::FrameProtocol {
 public:
  explicit Forward(tunport::TuntapPort& out) : out_{out} {}
  bool accepts_super_packets() const override { return true; }
  void frame_received(const tunport::Packet& frame) override { out_.forward(frame); }

 private:
  tunport::TuntapPort& out_;
};

/// Two ports, each with a protocol that forwards to the other.
struct Wire {
  Wire(tunport::Reactor& reactor, const char* left_name, const char* right_name)
      : left{reactor, tunport::DeviceKind::tap, left_name, to_right},
        right{reactor, tunport::DeviceKind::tap, right_name, to_left} {}
  Forward to_right{right};
  Forward to_left{left};
  tunport::TuntapPort left;
  tunport::TuntapPort right;
};

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: example_forward TAP TAP\n";
    return 2;
  }
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  Wire wire{reactor, argv[1], argv[2]};
  std::error_code lost;
  for (auto* const port : {&wire.left, &wire.right}) {
    port->on_connection_lost([&](const std::error_code& reason) {
      lost = reason;
      io.stop();
    });
    port->start_listening();
    std::cout << *port << std::endl;
  }
  io.run();  // until a device is deleted
  throw tunport::Error{lost, wire.left.listening() ? argv[2] : argv[1]};
} catch (const std::exception& error) {
  std::cerr << "example_forward: " << error.what() << '\n';
  return 1;
}
