// A port on a loop of another library, here libuv: the reactor is one descriptor to watch. Qt
// (QSocketNotifier), GLib (g_unix_fd_add) or an epoll loop of your own take the same three lines.
//
//   example_libuv tap0 & ip addr add 10.0.0.1/24 dev tap0; ip link set tap0 up; ping -c 3 10.0.0.2
#include <iostream>

#include <tunport/tunport.hpp>
#include <uv.h>

int main(int argc, char** argv) try {
  tunport::EpollReactor reactor;
  uv_loop_t* const loop = uv_default_loop();
  uv_poll_t watch;
  uv_poll_init(loop, &watch, reactor.fileno());
  watch.data = &reactor;
  uv_poll_start(&watch, UV_READABLE, [](uv_poll_t* ready, int, int) {
    static_cast<tunport::EpollReactor*>(ready->data)->run_ready();
  });

  tunport::Host host{{.addresses = {"10.0.0.2"}}};
  tunport::TuntapPort port{reactor, argc > 1 ? argv[1] : "tap%d", host.ethernet()};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) {
    lost = reason;
    uv_poll_stop(&watch);  // the loop has nothing else, and ends
  });
  port.start_listening();
  std::cout << port << std::endl;
  uv_run(loop, UV_RUN_DEFAULT);
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_libuv: " << error.what() << '\n';
  return 1;
}
