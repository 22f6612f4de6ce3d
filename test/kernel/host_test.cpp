/// The host on a port, with the kernel's own programs and sockets on the other side.

#include "tunport/host/host.hpp"

#include <array>
#include <filesystem>

#include <netinet/udp.h>

#include "tunport/host/udp_echo.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/ipv4.hpp"
#include "tunport/wire/udp.hpp"

#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint16_t echo_port = 7007;

class KernelHost : public LoopTest {
 protected:
  /// Starts a host at 10.77.0.2 on a device of `kind`, with the kernel at 10.77.0.1.
  void start(DeviceKind kind) {
    host.emplace(HostOptions{.addresses = {*Ipv4Address::parse("10.77.0.2")},
                             .mac = *MacAddress::parse("02:00:00:00:77:02"),
                             .subnets = {*IpPrefix::parse("10.77.0.1/24")}});
    host->add_udp(echo_port, echo);
    port.emplace(reactor(), kind, "tp0", host->protocol(kind));
    port->start_listening();
    configure("tp0");
  }
  void stop() {
    port.reset();
    host.reset();
  }
  /// Pings the host from the kernel; the output counts lost answers.
  CommandResult ping(const std::string& size, const std::string& count = "2", const std::string& wait = "5") {
    return command({"ping", "-n", "-c", count, "-i", "0.05", "-W", wait, "-s", size, "10.77.0.2"});
  }
  std::uint64_t drops(DropReason reason) const { return port->statistics().drops[reason]; }

  /// Port `to` of the host, for a socket.
  static sockaddr_in host_at(std::uint16_t to) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(to);
    ::inet_pton(AF_INET, "10.77.0.2", &address.sin_addr);
    return address;
  }
  /// A socket of the kernel, connected to port `to` of the host; a receive waits at most 5 s.
  static UniqueFd udp_socket(std::uint16_t to) {
    UniqueFd fd{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const timeval longest{5, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
    const sockaddr_in address = host_at(to);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }

  UdpEcho echo;
  std::optional<Host> host;
  std::optional<TuntapPort> port;
};

TEST_P(KernelHost, AnswersPingsOfEverySizeThatFitsAPacket) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    for (const char* size : {"0", "1", "56", "1472"}) {
      const auto result = ping(size);
      EXPECT_EQ(result.status, 0) << result.output;
      EXPECT_THAT(result.output, HasSubstr(" 2 received")) << size;
      EXPECT_THAT(result.output, Not(HasSubstr("wrong"))) << "ping compares the answers";
    }
    EXPECT_EQ(host->statistics().icmp_echo_replies, 8U);
    EXPECT_EQ(port->statistics().drops.total(), 0U);
    stop();
  }
}

TEST_P(KernelHost, AnswersPingsInFragmentsUpToTheLongestDatagram) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    for (const char* size : {"1473", "65507"}) {
      const auto result = ping(size);
      EXPECT_THAT(result.output, HasSubstr(" 2 received")) << size;
      EXPECT_THAT(result.output, Not(HasSubstr("wrong")));
    }
    EXPECT_EQ(host->statistics().reassembled, 4U);
    EXPECT_EQ(port->statistics().packets_in - (kind == DeviceKind::tap ? 1U : 0U), 2U * (2 + 45))
        << "pieces of 1480";
    EXPECT_EQ(port->statistics().drops.total(), 0U);
    stop();
  }
}

TEST_P(KernelHost, AnswersAPingOfTheLargestPacketThereIs) {
  start(DeviceKind::tun);
  links.set_mtu("tp0", 65535, ec);
  ASSERT_FALSE(ec);
  const auto result = ping("65507");
  EXPECT_THAT(result.output, HasSubstr(" 2 received"));
  EXPECT_EQ(port->statistics().bytes_in, 2U * 65535);
  EXPECT_EQ(port->statistics().bytes_out, 2U * 65535);
}

TEST_P(KernelHost, IsTheKernelsNeighbourWithItsMac) {
  start(DeviceKind::tap);
  EXPECT_THAT(ping("0", "1").output, HasSubstr(" 1 received"));
  const auto neighbours = run({"ip", "neigh", "show", "dev", "tp0"});
  EXPECT_THAT(neighbours.output, HasSubstr("10.77.0.2 lladdr 02:00:00:00:77:02 REACHABLE"));
  EXPECT_EQ(host->statistics().arp_replies, 1U);
  // Another address has no host: the kernel asks and gives up.
  const auto nobody = command({"ping", "-n", "-c", "1", "-W", "0.2", "10.77.0.3"});
  EXPECT_THAT(nobody.output, HasSubstr(" 0 received"));
  EXPECT_GE(drops(DropReason::arp_not_for_us), 1U);
  EXPECT_EQ(host->statistics().arp_replies, 1U);
}

TEST_P(KernelHost, AnAnnouncementTakesTheAddressFromAnEarlierMac) {
  start(DeviceKind::tap);
  ASSERT_EQ(
      run({"ip", "neigh", "add", "10.77.0.2", "lladdr", "02:00:00:00:99:99", "nud", "stale", "dev", "tp0"})
          .status,
      0);
  host->announce(*port);
  EXPECT_EQ(host->statistics().arp_announcements, 1U);
  EXPECT_THAT(run({"ip", "neigh", "show", "dev", "tp0"}).output,
              HasSubstr("10.77.0.2 lladdr 02:00:00:00:77:02"));
}

TEST_P(KernelHost, IsAnnouncedEachTimeTheInterfaceComesUp) {
  start(DeviceKind::tap);
  EXPECT_TRUE(turn_until([&] { return host->statistics().arp_announcements == 1; }));
  set_up("tp0", false);
  EXPECT_THAT(rest(), is_at_rest());
  EXPECT_EQ(host->statistics().arp_announcements, 1U);
  set_up("tp0");
  EXPECT_TRUE(turn_until([&] { return host->statistics().arp_announcements == 2; }));
  EXPECT_EQ(port->statistics().drops.total(), 0U);
}

TEST_P(KernelHost, TwoLiveOnOneBridge) {
  if (run({"ip", "link", "add", "br0", "type", "bridge"}).status != 0)
    GTEST_SKIP() << "this kernel has no bridges";
  links.add_address("br0", "10.77.0.1/24");
  std::vector<std::unique_ptr<Host>> hosts;
  std::vector<std::unique_ptr<TuntapPort>> ports;
  for (const char* name : {"tp0", "tp1"}) {
    const Ipv4Address address{0x0a4d0002 + static_cast<std::uint32_t>(hosts.size())};
    hosts.push_back(std::make_unique<Host>(HostOptions{.addresses = {address}}));
    ports.push_back(std::make_unique<TuntapPort>(reactor(), name, hosts.back()->ethernet()));
    ports.back()->start_listening();
    ASSERT_EQ(run({"ip", "link", "set", name, "master", "br0"}).status, 0);
    set_up(name);
  }
  set_up("br0");
  EXPECT_NE(hosts[0]->mac(), hosts[1]->mac());
  for (int i = 0; i < 3; ++i)
    for (const char* address : {"10.77.0.2", "10.77.0.3"})
      EXPECT_THAT(command({"ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", address}).output,
                  HasSubstr(" 2 received"));
}

TEST_P(KernelHost, EchoesTheDatagramsOfARealSocket) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    meanwhile([] {
      const UniqueFd socket = udp_socket(echo_port);
      for (const std::size_t size : {0U, 1U, 2U, 1471U, 1472U}) {
        const std::string sent(size, static_cast<char>('a' + size % 26));
        ASSERT_EQ(::send(socket.get(), sent.data(), sent.size(), 0), static_cast<ssize_t>(size));
        std::array<char, 2048> got;
        const auto length = ::recv(socket.get(), got.data(), got.size(), 0);
        ASSERT_EQ(length, static_cast<ssize_t>(size)) << std::strerror(errno);
        EXPECT_EQ(std::string(got.data(), size), sent);
      }
    });
    EXPECT_EQ(port->statistics().drops.total(), 0U);
    stop();
  }
  EXPECT_EQ(echo.echoes(), 10U);
}

TEST_P(KernelHost, RefusesPortsWhereNobodyIs) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    meanwhile([] {
      // The second quotation is cut off: the kernel still finds the socket by it.
      for (const std::size_t size : {1U, 1472U}) {
        const UniqueFd socket = udp_socket(9);
        const std::string data(size, 'x');
        ASSERT_EQ(::send(socket.get(), data.data(), data.size(), 0), static_cast<ssize_t>(size));
        char byte = 0;
        EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), -1);
        EXPECT_EQ(errno, ECONNREFUSED);
      }
    });
    EXPECT_EQ(host->statistics().port_unreachable, 2U);
    EXPECT_EQ(drops(DropReason::unknown_udp_port), 2U);
    stop();
  }
}

TEST_P(KernelHost, RecordsItselfOnTheRouteOfAPing) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    const auto result = command({"ping", "-n", "-R", "-c", "1", "-W", "5", "10.77.0.2"});
    EXPECT_THAT(result.output, HasSubstr(" 1 received"));
    EXPECT_THAT(result.output,
                testing::ContainsRegex("RR:[ \t]+10.77.0.1\n[ \t]+10.77.0.2\n[ \t]+10.77.0.1\n"));
    stop();
  }
}

TEST_P(KernelHost, IsReachedInThe240Network) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    Host other{{.addresses = {"240.1.0.2"}, .mac = "02:00:00:00:77:03", .subnets = {"240.1.0.1/24"}}};
    TuntapPort second{reactor(), kind, "tp1", other.protocol(kind)};
    second.start_listening();
    links.add_address("tp1", "240.1.0.1/24", ec);
    ASSERT_FALSE(ec) << ec.message();
    set_up("tp1");
    const auto result = command({"ping", "-n", "-c", "1", "-W", "5", "240.1.0.2"});
    EXPECT_THAT(result.output, HasSubstr(" 1 received"));
    EXPECT_EQ(other.statistics().icmp_echo_replies, 1U);
    stop();
  }
}

TEST_P(KernelHost, RefusesConnectionsAtOnce) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    meanwhile([] {
      const UniqueFd socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
      const timeval longest{5, 0};
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &longest, sizeof longest);
      const sockaddr_in to = host_at(80);
      EXPECT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), -1);
      EXPECT_EQ(errno, ECONNREFUSED) << std::strerror(errno);
    });
    EXPECT_EQ(host->statistics().tcp_resets, 1U);
    EXPECT_EQ(drops(DropReason::unknown_tcp_port), 1U);
    stop();
  }
}

TEST_P(KernelHost, RefusesProtocolsThatNobodyServes) {
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    meanwhile([] {
      const UniqueFd socket{::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 253)};
      const timeval longest{5, 0};
      ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest);
      const sockaddr_in to = host_at(0);
      ASSERT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
      // The kernel finds the socket by a quotation of eight bytes or more.
      ASSERT_EQ(::send(socket.get(), "12345678", 8, 0), 8);
      char byte = 0;
      EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), -1);
      EXPECT_EQ(errno, ENOPROTOOPT) << std::strerror(errno);
    });
    EXPECT_EQ(host->statistics().protocol_unreachable, 1U);
    EXPECT_EQ(drops(DropReason::unknown_ip_protocol), 1U);
    stop();
  }
}

TEST_P(KernelHost, QuotesADatagramAsItWasSent) {
  constexpr std::size_t segment = 100;
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    start(kind);
    PacketSocket wire{"tp0"};
    meanwhile([] {
      const UniqueFd socket = udp_socket(9);
      // A datagram with the checksum left to the device, and a super-packet of two.
      ASSERT_EQ(::send(socket.get(), "hello", 5, 0), 5);
      char byte = 0;
      EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), -1);
      const int size = segment;
      ASSERT_EQ(::setsockopt(socket.get(), SOL_UDP, UDP_SEGMENT, &size, sizeof size), 0);
      const std::string data(2 * segment, 'x');
      ASSERT_EQ(::send(socket.get(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
      EXPECT_EQ(::recv(socket.get(), &byte, 1, 0), -1);
    });
    ASSERT_TRUE(turn_until([&] { return host->statistics().port_unreachable == 3; }));
    std::size_t quoted = 0;
    while (const auto packet = wire.receive(milliseconds{100})) {
      DropReason why{};
      const auto ip = Ipv4View::checked(Bytes{*packet}.subspan(kind == DeviceKind::tap ? 14 : 0), why);
      if (!ip || ip->protocol() != ip_protocol::icmp) continue;
      const auto original = Ipv4View::checked(ip->payload().subspan(IcmpHeader::size), why);
      ASSERT_TRUE(original) << to_string(why);
      const auto udp =
          UdpView::checked(original->payload(), original->source(), original->destination(), why);
      ASSERT_TRUE(udp) << to_string(why);
      EXPECT_EQ(udp->payload().size(), quoted == 0 ? 5 : segment);
      ++quoted;
    }
    EXPECT_EQ(quoted, 3U);
    stop();
  }
}

TEST_P(KernelHost, KeepsItsRateOfErrors) {
  start(DeviceKind::tun);
  constexpr int sent = 400;
  meanwhile([] {
    const UniqueFd socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    const sockaddr_in to = host_at(9);
    for (int i = 0; i < sent; ++i)
      ASSERT_EQ(::sendto(socket.get(), "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof to), 1);
  });
  ASSERT_TRUE(turn_until([&] { return port->statistics().packets_in == sent; }));
  EXPECT_EQ(drops(DropReason::unknown_udp_port), host->statistics().port_unreachable);
  EXPECT_EQ(drops(DropReason::unknown_udp_port) + drops(DropReason::rate_limited), sent);
  EXPECT_GE(host->statistics().port_unreachable, 50U);
  EXPECT_GE(drops(DropReason::rate_limited), 1U);
}

TEST_P(KernelHost, LivesWithAnInterfaceThatSpeaksIpv6) {
  if (!std::filesystem::exists("/proc/sys/net/ipv6")) GTEST_SKIP() << "this kernel has no IPv6";
  for (const DeviceKind kind : {DeviceKind::tap, DeviceKind::tun}) {
    run({"sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0", "net.ipv6.conf.default.disable_ipv6=0"});
    start(kind);
    links.add_address("tp0", *IpPrefix::parse("fd77::1/64"), ec);
    ASSERT_FALSE(ec) << ec.message();
    // Group reports, router solicitations and address probes come unasked, besides the packets of ping.
    const auto v6 = command({"ping", "-6", "-n", "-c", "3", "-i", "0.1", "-W", "0.3", "ff02::1%tp0"});
    EXPECT_NE(v6.status, 127) << v6.output;
    const DropReason reason = DropReason::ip_bad_version;
    EXPECT_TRUE(turn_until([&] { return drops(reason) > 0; }));
    EXPECT_THAT(ping("56").output, HasSubstr(" 2 received"));
    EXPECT_EQ(port->statistics().exceptions, 0U);
    EXPECT_EQ(port->statistics().drops.total(), drops(reason));
    stop();
  }
}

INSTANTIATE_TEST_SUITE_P(On, KernelHost, testing::Values("Asio", "Poll"),
                         [](const auto& of) { return std::string{of.param}; });

}  // namespace
}  // namespace tunport::sandbox
