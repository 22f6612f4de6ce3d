/// UDP sockets among themselves.

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <linux/if_addr.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/utsname.h>

#include "tunport/event/reactor.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/testing/manual_reactor.hpp"

#include "contract/world.hpp"

namespace tunport::contract {
namespace {

Endpoint endpoint(std::string_view text) { return Endpoint::parse(text).value(); }

struct Received {
  ssize_t result = 0;
  int flags = 0;
  std::string text;
  std::optional<Endpoint> from;
};

class Sockets : public Contract {
 protected:
  Sockets() : Contract{true} {}
  UniqueFd socket(int domain = AF_INET) {
    return UniqueFd{io().socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
  }
  int bind_to(const UniqueFd& fd, const Endpoint& local) {
    sockaddr_storage storage{};
    const socklen_t length = local.to_sockaddr(storage);
    return io().bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length);
  }
  UniqueFd bound(const Endpoint& local) {
    UniqueFd fd = socket(local.address.is_v4() ? AF_INET : AF_INET6);
    EXPECT_EQ(bind_to(fd, local), 0);
    return fd;
  }
  Endpoint local(const UniqueFd& fd) {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    EXPECT_EQ(io().getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length), 0);
    return Endpoint::from_sockaddr(storage).value();
  }
  ssize_t send(const UniqueFd& fd, const Endpoint& to, std::string text) {
    sockaddr_storage storage{};
    iovec part{text.data(), text.size()};
    msghdr message{};
    message.msg_name = &storage;
    message.msg_namelen = to.to_sockaddr(storage);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return io().sendmsg(fd.get(), &message, 0);
  }
  /// Sends a run of datagrams of `size` bytes to the socket itself.
  ssize_t send_run(const UniqueFd& fd, std::size_t datagrams, std::uint16_t size) {
    std::string text(size * datagrams, 'a');
    sockaddr_storage storage{};
    iovec part{text.data(), text.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof size)> control{};
    msghdr message{};
    message.msg_name = &storage;
    message.msg_namelen = local(fd).to_sockaddr(storage);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof size);
    std::memcpy(CMSG_DATA(header), &size, sizeof size);
    return io().sendmsg(fd.get(), &message, 0);
  }
  Received receive(const UniqueFd& fd, std::size_t room = 2048, int flags = 0) {
    Received received;
    sockaddr_storage storage{};
    received.text.resize(room);
    iovec part{received.text.data(), room};
    msghdr message{};
    message.msg_name = &storage;
    message.msg_namelen = sizeof storage;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    received.result = io().recvmsg(fd.get(), &message, flags);
    received.text.resize(received.result < 0 ? 0 : std::min(room, static_cast<std::size_t>(received.result)));
    received.flags = message.msg_flags & MSG_TRUNC;
    received.from = Endpoint::from_sockaddr(storage);
    return received;
  }
  int option(const UniqueFd& fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    EXPECT_EQ(io().getsockopt(fd.get(), level, name, &value, &length), 0);
    return value;
  }
  int set_option(const UniqueFd& fd, int level, int name, int value) {
    return io().setsockopt(fd.get(), level, name, &value, sizeof value);
  }
};
TUNPORT_IN_BOTH_WORLDS(Sockets);

TEST_P(Sockets, ThereAndBack) {
  for (const auto* text : {"127.0.0.1:0", "[::1]:0"}) {
    SCOPED_TRACE(text);
    const UniqueFd one = bound(endpoint(text));
    const UniqueFd two = bound(endpoint(text));
    EXPECT_NE(local(one).port, 0) << "a port of the kernel's choice";
    EXPECT_NE(local(one).port, local(two).port);
    EXPECT_EQ(ready(two, POLLIN | POLLOUT), POLLOUT);
    EXPECT_EQ(send(one, local(two), "ping"), 4);
    EXPECT_EQ(ready(two, POLLIN), POLLIN);
    const auto ping = receive(two);
    EXPECT_EQ(ping.text, "ping");
    EXPECT_EQ(ping.from, local(one));
    EXPECT_EQ(send(two, *ping.from, "pong"), 4);
    EXPECT_EQ(receive(one).text, "pong");
    EXPECT_EQ(receive(one).result, -EAGAIN);
    EXPECT_EQ(ready(one, POLLIN), 0);
  }
}

TEST_P(Sockets, AnUnboundOneIsBoundBySending) {
  const UniqueFd server = bound(endpoint("127.0.0.1:0"));
  const UniqueFd client = socket();
  EXPECT_EQ(local(client), endpoint("0.0.0.0:0"));
  EXPECT_EQ(send(client, local(server), ""), 0);
  EXPECT_NE(local(client).port, 0);
  const auto empty = receive(server);
  EXPECT_EQ(empty.result, 0) << "an empty datagram is a datagram";
  EXPECT_EQ(empty.from, (Endpoint{endpoint("127.0.0.1:0").address, local(client).port}));
}

TEST_P(Sockets, TruncationIsTold) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  EXPECT_EQ(send(one, local(one), "abcdef"), 6);
  auto peeked = receive(one, 4, MSG_PEEK | MSG_TRUNC);
  EXPECT_EQ(peeked.result, 6) << "asked for the whole length";
  const auto cut = receive(one, 4);
  EXPECT_EQ(cut.result, 4);
  EXPECT_EQ(cut.text, "abcd");
  EXPECT_EQ(cut.flags, MSG_TRUNC);
  EXPECT_EQ(receive(one).result, -EAGAIN) << "the rest is lost";
  EXPECT_EQ(send(one, local(one), "abcd"), 4);
  EXPECT_EQ(receive(one, 4).flags, 0);
}

TEST_P(Sockets, OnePortOneSocket) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  const Endpoint taken = local(one);
  EXPECT_EQ(bind_to(socket(), taken), -EADDRINUSE);
  EXPECT_EQ(bind_to(socket(), {Ipv4Address{}, taken.port}), -EADDRINUSE);
  EXPECT_EQ(bind_to(socket(AF_INET6), {Ipv6Address{}, taken.port}), -EADDRINUSE) << "IPv6 takes IPv4 too";
  EXPECT_EQ(bind_to(socket(), {*IpAddress::parse("127.0.0.2"), taken.port}), 0);
  const UniqueFd only_v6 = socket(AF_INET6);
  EXPECT_EQ(set_option(only_v6, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
  EXPECT_EQ(bind_to(only_v6, {Ipv6Address{}, taken.port}), 0);
  EXPECT_EQ(bind_to(one, taken), -EINVAL) << "once";
}

TEST_P(Sockets, AClosedOneLeavesItsPort) {
  UniqueFd one = bound(endpoint("127.0.0.1:0"));
  const Endpoint taken = local(one);
  one.reset();
  one = bound(taken);
  EXPECT_EQ(local(one), taken);
}

TEST_P(Sockets, ReuseIsAgreedByBoth) {
  const UniqueFd one = socket();
  EXPECT_EQ(option(one, SOL_SOCKET, SO_REUSEADDR), 0);
  EXPECT_EQ(set_option(one, SOL_SOCKET, SO_REUSEADDR, 1), 0);
  EXPECT_EQ(bind_to(one, endpoint("127.0.0.1:0")), 0);
  const UniqueFd two = socket();
  EXPECT_EQ(bind_to(two, local(one)), -EADDRINUSE);
  EXPECT_EQ(set_option(two, SOL_SOCKET, SO_REUSEADDR, 1), 0);
  EXPECT_EQ(bind_to(two, local(one)), 0);
}

TEST_P(Sockets, OnlyLocalAddresses) {
  EXPECT_EQ(bind_to(socket(), endpoint("10.1.2.3:0")), -EADDRNOTAVAIL);
  const UniqueFd tun = make("tp0", IFF_TUN | IFF_NO_PI);
  links().add_address("tp0", *IpPrefix::parse("10.1.2.3/24"), ec);
  const UniqueFd one = bound(endpoint("10.1.2.3:0"));
  EXPECT_EQ(send(one, local(one), "self"), 4);
  EXPECT_EQ(receive(one).from, local(one));
  EXPECT_EQ(send(one, endpoint("10.1.2.9:7"), "away"), 4) << "out by the interface";
  EXPECT_EQ(send(socket(), endpoint("192.0.2.1:7"), "nowhere"), -ENETUNREACH);
}

TEST_P(Sockets, NobodyThereIsNotTold) {
  UniqueFd other = bound(endpoint("127.0.0.1:0"));
  const Endpoint gone = local(other);
  other.reset();
  const UniqueFd one = socket();
  EXPECT_EQ(send(one, gone, "hello"), 5);
  EXPECT_EQ(receive(one).result, -EAGAIN);
}

TEST_P(Sockets, MappedAddresses) {
  const UniqueFd both = bound(endpoint("[::]:0"));
  const UniqueFd v4 = bound(endpoint("127.0.0.1:0"));
  EXPECT_EQ(send(v4, {endpoint("127.0.0.1:0").address, local(both).port}, "4"), 1);
  const auto received = receive(both);
  EXPECT_EQ(received.text, "4");
  EXPECT_EQ(received.from, (Endpoint{*IpAddress::parse("::ffff:127.0.0.1"), local(v4).port}));
  EXPECT_EQ(send(both, *received.from, "6"), 1);
  EXPECT_EQ(receive(v4).from, (Endpoint{*IpAddress::parse("127.0.0.1"), local(both).port}));
}

TEST_P(Sockets, TooLong) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  EXPECT_EQ(send(one, local(one), std::string(65507, 'a')), 65507);
  EXPECT_EQ(send(one, local(one), std::string(65508, 'a')), -EMSGSIZE);
  EXPECT_EQ(receive(one, 70000).result, 65507);
}

TEST_P(Sockets, ARunHasAtMost128Datagrams) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  EXPECT_EQ(send_run(one, 64, 10), 640);
  EXPECT_EQ(send_run(one, 129, 10), -EINVAL);
  utsname system{};
  ASSERT_EQ(::uname(&system), 0);
  int major = 0;
  int minor = 0;
  ASSERT_EQ(std::sscanf(system.release, "%d.%d", &major, &minor), 2);
  const bool is_old = GetParam() == WorldKind::kernel && std::pair{major, minor} < std::pair{6, 9};
  EXPECT_EQ(send_run(one, 128, 10), is_old ? -EINVAL : 1280);
}

TEST_P(Sockets, ARunFitsIntoThePathAndASingleDatagramIsFragmented) {
  links().set_mtu("lo", 1300, ec);
  ASSERT_FALSE(ec) << ec.message();
  for (const auto* text : {"127.0.0.1:0", "[::1]:0"}) {
    SCOPED_TRACE(text);
    const UniqueFd one = bound(endpoint(text));
    const bool v4 = local(one).address.is_v4();
    const std::uint16_t fits = v4 ? 1272 : 1252;
    EXPECT_EQ(send_run(one, 3, fits), 3 * fits);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(receive(one).result, fits);
    // EINVAL before Linux 6.13.
    EXPECT_THAT(send_run(one, 3, fits + 1), testing::AnyOf(-EMSGSIZE, -EINVAL));
    EXPECT_EQ(send(one, local(one), std::string(2000, 'a')), 2000);
    EXPECT_EQ(receive(one).result, 2000);
    if (v4)
      EXPECT_EQ(set_option(one, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
    else
      EXPECT_EQ(set_option(one, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO), 0);
    EXPECT_EQ(send(one, local(one), std::string(fits + 1, 'a')), -EMSGSIZE);
    EXPECT_EQ(send(one, local(one), std::string(fits, 'a')), fits);
    EXPECT_EQ(receive(one).result, fits);
  }
}

/// Counts datagrams.
class Tally : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    ++datagrams;
    bytes += datagram.data.size();
  }
  std::size_t datagrams = 0;
  std::size_t bytes = 0;
};

TEST_P(Sockets, APortLosesNothingWhenThePathGetsNarrowerAndGathersAgainWhenItIsWide) {
  ManualReactor clock;
  Tally west;
  Tally east;
  UdpPort left{clock, {*IpAddress::parse("127.0.0.1"), 0}, west, {.system = world()}};
  UdpPort right{clock, {*IpAddress::parse("127.0.0.1"), 0}, east, {.system = world()}};
  left.start_listening();
  right.start_listening();
  const std::string payload(1400, 'x');
  std::size_t written = 0;
  const auto write = [&](int count) {
    const Cork cork{clock};
    for (int i = 0; i < count; ++i) left.write_to(right.get_host(), as_bytes(payload));
    written += static_cast<std::size_t>(count);
  };
  const auto all_arrive = [&] {
    for (int turns = 0; turns < 100 && east.datagrams < written; ++turns) clock.run_ready();
    EXPECT_EQ(east.datagrams, written);
    EXPECT_EQ(east.bytes, written * payload.size());
  };
  write(20);
  all_arrive();
  EXPECT_EQ(left.statistics().super_packets_out, 1U);
  links().set_mtu("lo", 1300, ec);
  ASSERT_FALSE(ec) << ec.message();
  write(20);
  all_arrive();
  EXPECT_EQ(left.statistics().super_packets_out, 1U);
  EXPECT_EQ(left.statistics().super_packets_refused, 1U);
  links().set_mtu("lo", 65535, ec);
  for (int bursts = 0; bursts < 300 && left.statistics().super_packets_out == 1; ++bursts) {
    write(20);
    all_arrive();
  }
  EXPECT_GT(left.statistics().super_packets_out, 1U);
  EXPECT_EQ(left.statistics().super_packets_refused, 1U);
  EXPECT_EQ(left.statistics().drops.total(), 0U);
}

/// Messages of one part each.
struct Many {
  explicit Many(std::vector<std::string>& given) : texts{given}, parts(given.size()), names(given.size()) {
    for (std::size_t i = 0; i < texts.size(); ++i) {
      parts[i] = {texts[i].data(), texts[i].size()};
      mmsghdr message{};
      message.msg_hdr.msg_name = &names[i];
      message.msg_hdr.msg_namelen = sizeof names[i];
      message.msg_hdr.msg_iov = &parts[i];
      message.msg_hdr.msg_iovlen = 1;
      messages.push_back(message);
    }
  }
  void to(std::size_t index, const Endpoint& receiver) {
    messages[index].msg_hdr.msg_namelen = receiver.to_sockaddr(names[index]);
  }
  std::vector<std::string>& texts;
  std::vector<iovec> parts;
  std::vector<sockaddr_storage> names;
  std::vector<mmsghdr> messages;
};

TEST_P(Sockets, ManyInACallGoOnUntilTheFirstError) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  const UniqueFd two = bound(endpoint("127.0.0.1:0"));
  std::vector<std::string> texts{"a", "bb", std::string(65508, 'c'), "dddd"};
  Many sent{texts};
  for (const std::size_t i : {0U, 2U, 3U}) sent.to(i, local(one));
  sent.to(1, local(two));
  EXPECT_EQ(io().sendmmsg(two.get(), sent.messages, 0), 2);
  EXPECT_EQ(sent.messages[0].msg_len, 1U);
  EXPECT_EQ(sent.messages[1].msg_len, 2U);
  EXPECT_EQ(io().sendmmsg(two.get(), std::span{sent.messages}.subspan(2), 0), -EMSGSIZE);
  EXPECT_EQ(io().sendmmsg(two.get(), std::span{sent.messages}.subspan(3), 0), 1);
  EXPECT_EQ(receive(two).text, "bb");
  std::vector<std::string> rooms(4, std::string(3, '-'));
  Many received{rooms};
  EXPECT_EQ(io().recvmmsg(one.get(), received.messages, 0), 2);
  EXPECT_EQ(received.messages[0].msg_len, 1U);
  EXPECT_EQ(rooms[0], "a--");
  EXPECT_EQ(Endpoint::from_sockaddr(received.names[0]), local(two));
  EXPECT_EQ(rooms[1], "ddd");
  EXPECT_EQ(received.messages[1].msg_len, 3U);
  EXPECT_EQ(received.messages[1].msg_hdr.msg_flags & MSG_TRUNC, MSG_TRUNC);
  EXPECT_EQ(io().recvmmsg(one.get(), received.messages, 0), -EAGAIN);
}

TEST_P(Sockets, ABoundedBufferDropsSilently) {
  const UniqueFd one = bound(endpoint("127.0.0.1:0"));
  EXPECT_EQ(set_option(one, SOL_SOCKET, SO_RCVBUF, 4096), 0);
  EXPECT_EQ(option(one, SOL_SOCKET, SO_RCVBUF), 8192) << "the kernel doubles it";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(send(one, local(one), std::string(1000, 'a')), 1000);
  int count = 0;
  while (receive(one).result == 1000) ++count;
  EXPECT_GT(count, 0);
  EXPECT_LT(count, 20);
}

TEST_P(Sockets, GroupsOfIpv6) {
  const UniqueFd tun = make("tp0", IFF_TUN | IFF_NO_PI);
  links().set_up("tp0", true, ec);
  // Usable at once, without a search for duplicates.
  links().add_interface_address("tp0", {.prefix = *IpPrefix::parse("fd00::1/64"), .flags = IFA_F_NODAD}, ec);
  ASSERT_FALSE(ec) << ec.message();
  const UniqueFd member = bound(endpoint("[::]:0"));
  const UniqueFd sender = bound(endpoint("[::]:0"));
  const IpAddress address = *IpAddress::parse("ff15::123");
  const Endpoint group{address, local(member).port};
  ipv6_mreq wanted{};
  sockaddr_storage storage{};
  group.to_sockaddr(storage);
  wanted.ipv6mr_multiaddr = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
  wanted.ipv6mr_interface = static_cast<unsigned>(links().find("tp0", ec)->index);
  const auto change = [&](int option) {
    return io().setsockopt(member.get(), IPPROTO_IPV6, option, &wanted, sizeof wanted);
  };
  EXPECT_EQ(change(IPV6_LEAVE_GROUP), -EADDRNOTAVAIL);
  EXPECT_EQ(change(IPV6_JOIN_GROUP), 0);
  EXPECT_EQ(change(IPV6_JOIN_GROUP), -EADDRINUSE);
  EXPECT_EQ(set_option(sender, IPPROTO_IPV6, IPV6_MULTICAST_IF, 4711), -ENODEV);
  EXPECT_EQ(set_option(sender, IPPROTO_IPV6, IPV6_MULTICAST_IF, static_cast<int>(wanted.ipv6mr_interface)),
            0);
  EXPECT_EQ(send(sender, group, "all"), 3);
  EXPECT_EQ(receive(member).text, "all");
  EXPECT_EQ(change(IPV6_LEAVE_GROUP), 0);
  EXPECT_EQ(send(sender, group, "all"), 3);
  EXPECT_EQ(receive(member).result, -EAGAIN);
}

TEST_P(Sockets, AConnectedOneKnowsItsPeer) {
  const UniqueFd server = bound(endpoint("127.0.0.1:0"));
  const UniqueFd stranger = bound(endpoint("127.0.0.1:0"));
  const UniqueFd client = socket();
  const auto connect = [&](const Endpoint& peer) {
    sockaddr_storage storage{};
    const socklen_t length = peer.to_sockaddr(storage);
    return io().connect(client.get(), reinterpret_cast<const sockaddr*>(&storage), length);
  };
  EXPECT_EQ(connect(endpoint("192.0.2.1:7")), -ENETUNREACH);
  EXPECT_EQ(connect(endpoint("[::1]:7")), -EAFNOSUPPORT);
  EXPECT_EQ(connect(local(server)), 0);
  EXPECT_EQ(local(client).address, *IpAddress::parse("127.0.0.1"));
  EXPECT_EQ(send(stranger, local(client), "x"), 1);
  EXPECT_EQ(receive(client).result, -EAGAIN);
  EXPECT_EQ(send(server, local(client), "y"), 1);
  EXPECT_EQ(receive(client).text, "y");
  msghdr message{};
  EXPECT_EQ(io().sendmsg(client.get(), &message, 0), 0) << "to the peer";
  EXPECT_EQ(receive(server).from, local(client));
}

TEST_P(Sockets, WrongUse) {
  EXPECT_EQ(io().socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP), -EPROTONOSUPPORT);
  EXPECT_EQ(io().socket(-1, SOCK_DGRAM, 0), -EAFNOSUPPORT);
  const UniqueFd one = socket();
  EXPECT_EQ(option(one, SOL_SOCKET, SO_TYPE), SOCK_DGRAM);
  EXPECT_EQ(option(one, SOL_SOCKET, SO_DOMAIN), AF_INET);
  EXPECT_EQ(option(one, SOL_SOCKET, SO_ERROR), 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  EXPECT_EQ(io().bind(one.get(), reinterpret_cast<const sockaddr*>(&address), 4), -EINVAL);
  EXPECT_EQ(bind_to(socket(AF_INET6), endpoint("127.0.0.1:0")), -EINVAL);
  EXPECT_EQ(send(one, endpoint("127.0.0.1:0"), "x"), -EINVAL) << "port 0";
  msghdr message{};
  EXPECT_EQ(io().sendmsg(one.get(), &message, 0), -EDESTADDRREQ);
  EXPECT_EQ(io().sendmsg(-1, &message, 0), -EBADF);
}

}  // namespace
}  // namespace tunport::contract
