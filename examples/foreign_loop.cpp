// A port on a foreign loop: here an epoll loop; Boost.Asio, libuv, Qt or GLib work in the same way.
//
//   example_foreign_loop tap0 & ip addr add 10.0.0.1/24 dev tap0; ip link set tap0 up; ping -c 3 10.0.0.2
//
// The contract of PollReactor: watch the events of wanted() (they may change after each turn), wake at
// next_deadline(), pass ready events to dispatch(), and call run_due().
//
// With Boost.Asio, a library apart from standalone Asio: for each entry of wanted() a
// boost::asio::posix::stream_descriptor on a dup of the fd (each side closes its own), with an async_wait for
// wait_read (POLLIN), wait_write (POLLOUT) and, always, wait_error; a steady_timer that expires at
// next_deadline(). A descriptor's handler calls dispatch(fd, ready events), the timer's handler nothing; then
// each handler calls run_due(), cancels waits no longer in wanted(), and waits for the rest again.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <iostream>
#include <map>

#include <sys/epoll.h>
#include <tunport/tunport.hpp>

/// Brings an epoll set into line with the reactor's wanted events. (poll.h's bits equal epoll's.)
class EpollSet {
 public:
  EpollSet() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {}

  void follow(tunport::PollReactor& reactor) {
    std::map<int, short> wanted;
    for (const pollfd& entry : reactor.wanted()) wanted[entry.fd] = entry.events;
    // A descriptor no longer wanted is closed, or will be: in both cases the descriptor leaves the set.
    for (const auto& [fd, events] : watched_)
      if (!wanted.contains(fd)) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    for (const auto& [fd, events] : wanted) {
      epoll_event event{};
      event.events = static_cast<std::uint32_t>(events);
      event.data.fd = fd;
      if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0 && errno == ENOENT)
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    }
    watched_ = std::move(wanted);
  }

  int wait(std::array<epoll_event, 16>& events, int milliseconds) const {
    return ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), milliseconds);
  }

 private:
  tunport::UniqueFd epoll_;
  std::map<int, short> watched_;
};

int milliseconds_until(tunport::TimePoint deadline) {
  using std::chrono::milliseconds;
  if (deadline == tunport::TimePoint::max()) return -1;
  if (deadline <= tunport::Clock::now()) return 0;
  return static_cast<int>(std::chrono::ceil<milliseconds>(deadline - tunport::Clock::now()).count());
}

int main(int argc, char** argv) try {
  tunport::PollReactor reactor;
  tunport::Host host{{.addresses = {"10.0.0.2"}}};
  tunport::TuntapPort port{reactor, argc > 1 ? argv[1] : "tap%d", host.ethernet()};
  std::error_code lost;
  port.on_connection_lost([&](const std::error_code& reason) { lost = reason; });
  port.start_listening();
  std::cout << port << std::endl;

  EpollSet set;
  std::array<epoll_event, 16> events;
  while (!lost) {
    set.follow(reactor);
    const int ready = set.wait(events, milliseconds_until(reactor.next_deadline()));
    for (int i = 0; i < ready; ++i)
      reactor.dispatch(events[static_cast<std::size_t>(i)].data.fd,
                       static_cast<short>(events[static_cast<std::size_t>(i)].events));
    reactor.run_due();
  }
  throw tunport::Error{lost, port.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_foreign_loop: " << error.what() << '\n';
  return 1;
}
