// Every TCP connection that is routed into the interface is made to its destination by this program, through
// the named device, and logged: a line at the start, a line at the end. A refused or unreachable destination
// is so for the client.
//
//   example_gate_proxy tun0 eth0 & ip route add 198.51.100.0/24 dev tun0; curl http://198.51.100.7/
#include <iostream>
#include <string>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <sys/socket.h>
#include <tunport/gate/asio_gate.hpp>
#include <tunport/gate/asio_relay.hpp>

using asio::ip::tcp;

asio::awaitable<void> lead(tunport::GateRequest request, std::string device) try {
  const tunport::Endpoint destination = request.destination();
  const std::string title = to_string(request.source()) + " > " + to_string(destination);
  std::cout << title << '\n' << std::flush;
  const tcp::endpoint there{asio::ip::make_address(to_string(destination.address)), destination.port};
  tcp::socket server{co_await asio::this_coro::executor, there.protocol()};
  // Otherwise the route leads our own connection into the interface again.
  ::setsockopt(server.native_handle(), SOL_SOCKET, SO_BINDTODEVICE, device.data(),
               static_cast<socklen_t>(device.size()));
  std::error_code ec;
  co_await server.async_connect(there, asio::redirect_error(asio::use_awaitable, ec));
  if (ec) {
    request.refuse(tunport::refusal_for(ec));
    std::cout << title << ": " << ec.message() << '\n' << std::flush;
    co_return;
  }
  tcp::socket client = co_await request.async_accept(asio::use_awaitable);
  const auto result = co_await tunport::relay(std::move(client), std::move(server), asio::use_awaitable);
  std::cout << title << ": " << result.a_to_b << " bytes out, " << result.b_to_a << " in\n" << std::flush;
} catch (const std::system_error& error) {
  std::cout << error.what() << '\n' << std::flush;
}

asio::awaitable<void> serve(tunport::Gate& gate, std::string device) {
  for (;;) {
    tunport::GateRequest request = co_await gate.async_request(asio::use_awaitable);
    asio::co_spawn(co_await asio::this_coro::executor, lead(std::move(request), device), asio::detached);
  }
}

int main(int argc, char** argv) try {
  if (argc != 3) throw std::invalid_argument{"give the interface and the device that leads out: tun0 eth0"};
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  tunport::Gate gate{
      reactor, argv[1], {.port = {.interface = {.addresses = {"10.0.0.1/24", "fd00::1/64"}, .up = true}}}};
  gate.start();
  std::cout << gate.port() << std::endl;
  asio::co_spawn(io, serve(gate, argv[2]), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
} catch (const std::exception& error) {
  std::cerr << "example_gate_proxy: " << error.what() << '\n';
  return 1;
}
