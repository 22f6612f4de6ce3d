// A port driven by a loop of one's own: here an epoll loop, in the same way Boost.Asio, libuv, Qt or GLib.
//
//   example_foreign_loop tap0 & ip addr add 10.0.0.1/24 dev tap0; ip link set tap0 up; ping -c 3 10.0.0.2
//
// The contract of PollReactor: watch what it wants (it may change after each turn), wake at its deadline,
// pass on what is ready, and run what is due.
//
// With Boost.Asio, whose sockets are not those of standalone Asio: for each entry of wanted() a
// boost::asio::posix::stream_descriptor on a dup of its fd (so that each side closes its own), with an
// async_wait for wait_read (POLLIN), wait_write (POLLOUT) or, always, wait_error; a steady_timer that expires
// at next_deadline(). Whichever handler runs calls dispatch(fd, what was ready), or nothing for the timer,
// then run_due(); then cancels what is no longer in wanted() and waits anew for what is.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <iostream>
#include <map>

#include <sys/epoll.h>
#include <tunport/tunport.hpp>

/// Brings an epoll set into line with what the reactor wants. (poll.h's bits and epoll's are the same.)
class EpollSet {
 public:
  EpollSet() : epoll_{::epoll_create1(EPOLL_CLOEXEC)} {}

  void follow(tunport::PollReactor& reactor) {
    std::map<int, short> wanted;
    for (const pollfd& entry : reactor.wanted()) wanted[entry.fd] = entry.events;
    // What is wanted no longer was closed or will be: either way it leaves the set.
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
