// Every TCP connection to any address that is routed into the interface is accepted. The client is told the
// address and port that the connection was meant for, and gets back what it sends.
//
//   example_gate_echo tun0 & ip route add 198.51.100.0/24 dev tun0; nc 198.51.100.7 80
#include <array>
#include <iostream>
#include <string>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>
#include <tunport/gate/asio_gate.hpp>

asio::awaitable<void> echo(asio::ip::tcp::socket client, std::string greeting) try {
  co_await asio::async_write(client, asio::buffer(greeting), asio::use_awaitable);
  for (std::array<char, 65536> buffer;;) {
    const std::size_t size = co_await client.async_read_some(asio::buffer(buffer), asio::use_awaitable);
    co_await asio::async_write(client, asio::buffer(buffer, size), asio::use_awaitable);
  }
} catch (const std::system_error&) {  // the client has closed
}

asio::awaitable<void> serve(tunport::Gate& gate) {
  for (;;) {
    tunport::GateRequest request = co_await gate.async_request(asio::use_awaitable);
    std::string greeting = "this is " + to_string(request.destination()) + '\n';
    request.async_accept([greeting](const std::error_code& ec, asio::ip::tcp::socket client) {
      if (!ec) asio::co_spawn(client.get_executor(), echo(std::move(client), greeting), asio::detached);
    });
  }
}

int main(int argc, char** argv) try {
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  tunport::Gate gate{reactor,
                     argc > 1 ? argv[1] : "tun%d",
                     {.port = {.interface = {.addresses = {"10.0.0.1/24", "fd00::1/64"}, .up = true}}}};
  gate.start();
  std::cout << gate.port() << std::endl;
  asio::co_spawn(io, serve(gate), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
} catch (const std::exception& error) {
  std::cerr << "example_gate_echo: " << error.what() << '\n';
  return 1;
}
