// A host on several queues of one interface, each on a thread of its own: the kernel keeps a flow on its
// queue.
//
//   example_queues tun0 4 & ping -c 3 10.0.0.2
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

#include <tunport/tunport.hpp>

/// The thread of a queue: reactor, host and port are its own. Returns when the device is deleted.
void serve(tunport::Device queue, tunport::PortOptions options, std::error_code& lost) try {
  tunport::PollReactor reactor;
  tunport::Host host{{.addresses = {"10.0.0.2"}}};
  tunport::UdpEcho echo;
  host.add_udp(7777, echo);
  tunport::TuntapPort port{reactor, std::move(queue), host.ip(), std::move(options)};
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  reactor.run();
} catch (const tunport::Error& error) {
  lost = error.code();
}

int main(int argc, char** argv) try {
  const int count = argc > 2 ? std::atoi(argv[2]) : 2;
  auto queues = tunport::open_queues(tunport::DeviceKind::tun, argc > 1 ? argv[1] : "tun%d",
                                     static_cast<std::size_t>(count > 0 ? count : 0),
                                     {.offload = tunport::OffloadFeatures::all()});
  const std::string name = queues[0].name();
  std::cout << name << ", " << queues.size() << " queues" << std::endl;
  std::vector<std::error_code> lost(queues.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < queues.size(); ++i) {
    tunport::PortOptions options;
    if (i == 0) options.interface = {.addresses = {"10.0.0.1/24"}, .up = true};  // one port has the settings
    threads.emplace_back(serve, std::move(queues[i]), std::move(options), std::ref(lost[i]));
  }
  for (std::thread& thread : threads) thread.join();
  throw tunport::Error{lost[0], name};
} catch (const std::exception& error) {
  std::cerr << "example_queues: " << error.what() << '\n';
  return 1;
}
