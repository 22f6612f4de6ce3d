// A DNS server with an address of its own: each query is asked of a real server, and answered when the answer
// is there.
//
//   example_dns_forwarder tun0 9.9.9.9:53 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; dig
//   @10.0.0.2 debian.org
#include <chrono>
#include <cstdint>
#include <iostream>
#include <map>
#include <random>
#include <vector>

#include <asio/io_context.hpp>
#include <tunport/asio.hpp>

class Forwarder : public tunport::DatagramProtocol {
 public:
  explicit Forwarder(tunport::UdpPort& server) : server_{server} {}

  void datagram_received(const tunport::Datagram& query) override {
    if (query.data.size() < header_size) return transport().drop(malformed_);
    if (waiting_.size() >= most_waiting) return transport().drop(tunport::DropReason::queue_full);
    // The id is ours, and hard to guess: clients may choose the same, and strangers may try to answer.
    std::uint16_t id = 0;
    do id = static_cast<std::uint16_t>(random_());
    while (waiting_.contains(id));
    waiting_[id] = {
        query.reply_to(), tunport::load_be16(query.data, 0),
        transport().reactor().call_later(std::chrono::seconds{5}, [this, id] { waiting_.erase(id); })};
    send(query.data, id, [&](tunport::Bytes data) { server_.write(data); });
  }

  void answered(const tunport::Datagram& answer) {
    if (answer.data.size() < header_size) return;
    const auto found = waiting_.find(tunport::load_be16(answer.data, 0));
    if (found == waiting_.end()) return;
    send(answer.data, found->second.id,
         [&](tunport::Bytes data) { transport().reply(found->second.client, data); });
    waiting_.erase(found);
  }

 private:
  static constexpr std::size_t header_size = 12;
  static constexpr std::size_t most_waiting = 1000;

  struct Waiting {
    tunport::ReplyTo client;
    std::uint16_t id = 0;  // the client's
    tunport::Reactor::Timer timeout;
  };

  template <class Send>
  static void send(tunport::Bytes message, std::uint16_t id, Send send) {
    std::vector<std::byte> copy{message.begin(), message.end()};
    tunport::store_be16(copy, 0, id);
    send(copy);
  }

  tunport::UdpPort& server_;
  std::map<std::uint16_t, Waiting> waiting_;
  std::random_device random_;
  tunport::DropReason malformed_ = tunport::register_drop_reason("dns_malformed", "no whole DNS header");
};

int main(int argc, char** argv) try {
  const auto server = tunport::Endpoint::parse(argc == 3 ? argv[2] : "");
  if (!server) {
    std::cerr << "usage: example_dns_forwarder TUN SERVER-ADDRESS:53\n";
    return 2;
  }
  asio::io_context io;
  tunport::AsioReactor reactor{io};
  Forwarder* forwarder = nullptr;
  auto answers = tunport::on_datagram([&](const tunport::Datagram& answer) { forwarder->answered(answer); });
  const tunport::IpAddress any =
      server->address.is_v4() ? tunport::IpAddress{"0.0.0.0"} : tunport::IpAddress{"::"};
  tunport::UdpPort upstream{reactor, {any, 0}, answers, {.socket = {.peer = server}}};
  Forwarder dns{upstream};
  forwarder = &dns;
  tunport::Host host{{.addresses = {"10.0.0.2"}}};
  host.add_udp(53, dns);
  tunport::TuntapPort port{reactor, argv[1], host.ip()};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) {
    lost = reason;
    io.stop();
  });
  upstream.start_listening();
  port.start_listening();
  std::cout << port << ' ' << upstream << std::endl;
  io.run();  // until the device is deleted
  std::cout << port.statistics() << std::endl;
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_dns_forwarder: " << error.what() << '\n';
  return 1;
}
