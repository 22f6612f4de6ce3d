// No protocol: a coroutine takes packets one by one, and sends each back with swapped addresses. So the
// kernel itself answers `ping 10.0.0.2` through the interface.
//
//   example_coroutine tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; ping -c 3 10.0.0.2
#include <algorithm>
#include <array>
#include <iostream>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <tunport/asio.hpp>

asio::awaitable<void> serve(tunport::TuntapPort& port) {
  std::array<std::byte, 65'600> buffer;
  for (;;) {
    const tunport::Packet packet = co_await port.async_receive(asio::buffer(buffer), asio::use_awaitable);
    if (packet.size() < 20 || tunport::load_u8(packet.bytes(), 0) >> 4 != 4) continue;  // IPv4 only
    // A swap of source and destination keeps the checksum right.
    std::swap_ranges(buffer.begin() + 12, buffer.begin() + 16, buffer.begin() + 16);
    co_await port.async_send(packet.bytes(), asio::use_awaitable);
  }
}

int main(int argc, char** argv) try {
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  tunport::TuntapPort port{reactor, tunport::DeviceKind::tun, argc > 1 ? argv[1] : "tun%d"};
  port.start_listening();
  std::cout << port << std::endl;
  asio::co_spawn(io, serve(port), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);  // for example, the device was deleted
  });
  io.run();
} catch (const std::exception& error) {
  std::cerr << "example_coroutine: " << error.what() << '\n';
  return 1;
}
