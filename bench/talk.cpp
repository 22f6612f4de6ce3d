#include "talk.hpp"

#include <array>
#include <cerrno>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.hpp"
#include "iperf.hpp"

namespace tunport::bench {
namespace {

constexpr std::uint16_t echo_port = 7;
constexpr std::uint16_t greeting_port = 13;
constexpr int backlog = 4096;

UniqueFd tcp_socket(bool blocks) {
  UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocks ? 0 : SOCK_NONBLOCK), 0)};
  require(static_cast<bool>(fd), "no socket");
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

sockaddr_in address_of(Ipv4Address address, std::uint16_t port) {
  sockaddr_in storage{};
  storage.sin_family = AF_INET;
  storage.sin_port = htons(port);
  storage.sin_addr.s_addr = htonl(address.value());
  return storage;
}

UniqueFd listener(std::uint16_t port) {
  UniqueFd fd = tcp_socket(false);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in local = address_of(Ipv4Address{}, port);
  require(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) == 0 &&
              ::listen(fd.get(), backlog) == 0,
          "no listener");
  return fd;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  require(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

void allow_many_descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

UniqueFd connect_to(Ipv4Address server, std::uint16_t port) {
  UniqueFd fd = tcp_socket(true);
  const timeval longest{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
  const sockaddr_in to = address_of(server, port);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fd.reset();
  return fd;
}

void exchange_byte(int fd) {
  char byte = 'x';
  require(::send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && ::recv(fd, &byte, 1, 0) == 1, "no byte came back");
}

/// A connection begun.
UniqueFd begin(Ipv4Address server) {
  UniqueFd fd = tcp_socket(false);
  const sockaddr_in to = address_of(server, greeting_port);
  require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 || errno == EINPROGRESS,
          "a connection failed at once");
  return fd;
}

}  // namespace

void serve(int network_namespace, const std::function<void()>& ready) {
  require(::setns(network_namespace, CLONE_NEWNET) == 0, "no way into the namespace");
  allow_many_descriptors();
  const UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  const UniqueFd echo = listener(echo_port);
  const UniqueFd greeting = listener(greeting_port);
  watch(epoll.get(), echo.get());
  watch(epoll.get(), greeting.get());
  ready();
  std::array<epoll_event, 64> events{};
  for (;;) {
    const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events.at(static_cast<std::size_t>(i)).data.fd;
      if (fd == greeting.get()) {
        while (UniqueFd client{::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)})
          ::send(client.get(), "x", 1, MSG_NOSIGNAL);
      } else if (fd == echo.get()) {
        while (UniqueFd client{::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)}) {
          const int on = 1;
          ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
          watch(epoll.get(), client.release());
        }
      } else {
        std::array<char, 512> bytes{};
        const ssize_t size = ::recv(fd, bytes.data(), bytes.size(), 0);
        if (size > 0)
          ::send(fd, bytes.data(), static_cast<std::size_t>(size), MSG_NOSIGNAL);
        else
          ::close(fd);
      }
    }
  }
}

bool can_connect(int network_namespace, Ipv4Address server) {
  bool connected = false;
  inside(network_namespace, [&] { connected = static_cast<bool>(connect_to(server, greeting_port)); });
  return connected;
}

double connections_per_second(Ipv4Address server, std::size_t at_once, double seconds) {
  std::vector<UniqueFd> sockets;
  std::vector<pollfd> waits;
  for (std::size_t i = 0; i < at_once; ++i) {
    sockets.push_back(begin(server));
    waits.push_back({sockets.back().get(), POLLIN, 0});
  }
  std::size_t done = 0;
  const double start = now();
  double end = start;
  while (end < start + seconds) {
    require(::poll(waits.data(), waits.size(), 5000) > 0, "a connection stands still");
    for (std::size_t i = 0; i < at_once; ++i) {
      if (waits[i].revents == 0) continue;
      std::array<char, 8> bytes{};
      const ssize_t size = ::recv(sockets[i].get(), bytes.data(), bytes.size(), 0);
      require(size >= 0 || errno == EAGAIN, "a connection failed");
      if (size != 0) continue;
      ++done;
      sockets[i] = begin(server);
      waits[i].fd = sockets[i].get();
    }
    end = now();
  }
  return static_cast<double>(done) / (end - start);
}

double round_trip_time(Ipv4Address server, double seconds) {
  const UniqueFd fd = connect_to(server, echo_port);
  require(static_cast<bool>(fd), "no connection");
  for (int i = 0; i < 100; ++i) exchange_byte(fd.get());
  std::vector<double> times;
  const double end = now() + seconds;
  for (double start = now(); start < end || times.size() < 10;) {
    exchange_byte(fd.get());
    const double stop = now();
    times.push_back(stop - start);
    start = stop;
  }
  return median(times) * 1e6;
}

std::vector<UniqueFd> hold_connections(Ipv4Address server, std::size_t count) {
  allow_many_descriptors();
  std::vector<UniqueFd> connections;
  for (std::size_t i = 0; i < count; ++i) {
    connections.push_back(connect_to(server, echo_port));
    require(static_cast<bool>(connections.back()), "no connection");
    exchange_byte(connections.back().get());
  }
  return connections;
}

}  // namespace tunport::bench
