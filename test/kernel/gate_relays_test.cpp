// Relays between a TUN in one network namespace and the sockets of another.
#include <cerrno>
#include <fstream>
#include <string>

#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/gate/echo_relay.hpp"
#include "tunport/gate/udp_relay.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/icmpv6.hpp"

#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

/// A UDP socket of the test, which waits at most 5 s.
class Socket {
 public:
  explicit Socket(const IpAddress& address)
      : fd_{::socket(address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {
    const timeval longest{5, 0};
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof longest), 0);
  }
  void bind(const Endpoint& to) {
    sockaddr_storage storage;
    const socklen_t length = to.to_sockaddr(storage);
    ASSERT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&storage), length), 0) << errno;
  }
  void connect(const Endpoint& to) {
    sockaddr_storage storage;
    const socklen_t length = to.to_sockaddr(storage);
    ASSERT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&storage), length), 0) << errno;
  }
  bool send(const std::string& text) {
    return ::send(fd_.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  }
  /// The next datagram, or "error N".
  std::string receive() {
    std::string text(65536, '\0');
    const ssize_t got = ::recv(fd_.get(), text.data(), text.size(), 0);
    if (got < 0) return "error " + std::to_string(errno);
    text.resize(static_cast<std::size_t>(got));
    return text;
  }
  /// Sends the next datagrams back; as DNS answers without a record (RFC 1035 4.1.1) if `as_dns`.
  void echo(int count, bool as_dns = false) {
    std::string text(65536, '\0');
    for (int i = 0; i < count; ++i) {
      sockaddr_storage from{};
      socklen_t length = sizeof from;
      const ssize_t got =
          ::recvfrom(fd_.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
      ASSERT_GE(got, 0) << errno;
      if (as_dns) text[2] = static_cast<char>(text[2] | 0x80);
      ASSERT_EQ(::sendto(fd_.get(), text.data(), static_cast<std::size_t>(got), 0,
                         reinterpret_cast<sockaddr*>(&from), length),
                got);
    }
  }

 private:
  UniqueFd fd_;
};

/// The relays run here, where the destinations are addresses of the loopback; the clients are in another
/// namespace, with a TUN as their default route.
class GateRelaysTest : public KernelTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_EQ(run({"ip", "addr", "add", "198.51.100.1/32", "dev", "lo"}).status, 0);
    ASSERT_EQ(run({"ip", "addr", "add", "fd00:99::1/128", "dev", "lo"}).status, 0);
    const UniqueFd here = current_namespace(ec);
    ASSERT_FALSE(ec) << ec.message();
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    far_ = current_namespace(ec);
    ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
    PortOptions options;
    options.device.network_namespace = "/proc/self/fd/" + std::to_string(far_.get());
    port_ = std::make_unique<TuntapPort>(loop_.reactor(), DeviceKind::tun, "tg0", ip_, options);
    ip_.add_proto(ip_protocol::udp, udp_);
    port_->start_listening();
    there([] {
      EXPECT_EQ(run({"ip", "addr", "add", "10.77.0.1/24", "dev", "tg0"}).status, 0);
      EXPECT_EQ(run({"ip", "addr", "add", "fd00:77::1/64", "dev", "tg0", "nodad"}).status, 0);
      EXPECT_EQ(run({"ip", "link", "set", "tg0", "up"}).status, 0);
      EXPECT_EQ(run({"ip", "route", "add", "default", "dev", "tg0"}).status, 0);
      EXPECT_EQ(run({"ip", "-6", "route", "add", "default", "dev", "tg0"}).status, 0);
    });
  }
  /// Does the clients' work in their namespace, on another thread, while the loop turns here.
  void there(const std::function<void()>& work) {
    std::atomic<bool> done = false;
    std::thread thread{[&] {
      EXPECT_EQ(::setns(far_.get(), CLONE_NEWNET), 0);
      work();
      done = true;
    }};
    while (!done) loop_.turn(milliseconds{5});
    thread.join();
  }
  static bool is_v6() { return std::string{GetParam()} == "IPv6"; }
  /// A destination, as the clients and the relays know it.
  static Endpoint destination(std::uint16_t port) {
    if (is_v6()) return {IpAddress{"fd00:99::1"}, port};
    return {IpAddress{"198.51.100.1"}, port};
  }

  PollLoop loop_;
  UniqueFd far_;
  IpDemux ip_;
  UdpDemux udp_;
  std::unique_ptr<TuntapPort> port_;
};

class UdpRelayKernelTest : public GateRelaysTest {
 protected:
  void SetUp() override {
    GateRelaysTest::SetUp();
    if (IsSkipped()) return;
    udp_.add_default(relay_);
    relay_.send_errors_to(port_.get());
  }
  void TearDown() override {
    if (!port_) return;
    udp_.remove_default(relay_);
    relay_.send_errors_to(nullptr);
    port_.reset();
  }
  UdpRelay relay_{loop_.reactor()};
};

INSTANTIATE_TEST_SUITE_P(, UdpRelayKernelTest, testing::Values("IPv4", "IPv6"),
                         [](const auto& test) { return std::string{test.param}; });

TEST_P(UdpRelayKernelTest, datagrams_of_every_size_come_back) {
  Socket server{destination(0).address};
  server.bind(destination(4242));
  const std::vector<std::size_t> sizes{0, 1, 1000, 1472, 1473, 9000, 65000};
  std::thread echo{[&] { server.echo(static_cast<int>(sizes.size())); }};
  there([&] {
    Socket client{destination(0).address};
    client.connect(destination(4242));
    for (const std::size_t size : sizes) {
      const std::string text(size, static_cast<char>('a' + size % 26));
      EXPECT_TRUE(client.send(text)) << size << ": " << errno;
      EXPECT_EQ(client.receive(), text) << size;
    }
  });
  echo.join();
  EXPECT_EQ(relay_.flows(), 1U);
  EXPECT_EQ(relay_.statistics().flows, 1U);
  EXPECT_EQ(relay_.statistics().datagrams_out, sizes.size());
  EXPECT_EQ(relay_.statistics().datagrams_in, sizes.size());
}

TEST_P(UdpRelayKernelTest, a_client_sees_a_closed_port) {
  there([&] {
    Socket client{destination(0).address};
    client.connect(destination(9));
    EXPECT_TRUE(client.send("hello"));
    EXPECT_EQ(client.receive(), "error " + std::to_string(ECONNREFUSED));
    EXPECT_TRUE(client.send("again"));
    EXPECT_EQ(client.receive(), "error " + std::to_string(ECONNREFUSED));
  });
  EXPECT_EQ(relay_.statistics().errors_passed, 2U);
}

TEST_P(UdpRelayKernelTest, a_client_sees_a_missing_route) {
  there([&] {
    const Endpoint nowhere =
        is_v6() ? Endpoint{IpAddress{"2001:db8::1"}, 53} : Endpoint{IpAddress{"203.0.113.1"}, 53};
    Socket client{nowhere.address};
    client.connect(nowhere);
    EXPECT_TRUE(client.send("hello"));
  });
  EXPECT_TRUE(wait_until([&] {
    loop_.turn(milliseconds{5});
    return relay_.statistics().errors_passed == 1;
  }));
  EXPECT_EQ(relay_.statistics().flows_refused, 1U);
  EXPECT_EQ(relay_.flows(), 0U);
}

TEST_P(UdpRelayKernelTest, dig_is_answered) {
  Socket server{destination(0).address};
  server.bind(destination(53));
  std::thread echo{[&] { server.echo(1, true); }};
  CommandResult result;
  there([&] {
    result =
        run({"dig", "+noedns", "+tries=1", "+time=3", "@" + to_string(destination(0).address), "a.test"});
  });
  echo.join();
  EXPECT_EQ(result.status, 0);
  EXPECT_THAT(result.output, testing::HasSubstr("status: NOERROR"));
  EXPECT_EQ(relay_.statistics().datagrams_in, 1U);
}

class EchoRelayKernelTest : public GateRelaysTest {
 protected:
  /// Starts a relay. `allowed`: the process may open ping sockets; a new namespace allows nobody.
  void start(bool allowed, EchoRelayOptions options = {}) {
    std::ofstream{"/proc/sys/net/ipv4/ping_group_range"} << (allowed ? "0 2147483647" : "1 0");
    relay_ = std::make_unique<EchoRelay>(loop_.reactor(), std::move(options));
    ip_.add_proto(ip_protocol::icmp, *relay_);
    ip_.add_proto(ip_protocol::icmpv6, *relay_);
  }
  void TearDown() override {
    if (!relay_) return;
    ip_.remove_proto(ip_protocol::icmp, *relay_);
    ip_.remove_proto(ip_protocol::icmpv6, *relay_);
    port_.reset();
  }
  CommandResult ping(const std::vector<std::string>& options, const IpAddress& to) {
    std::vector<std::string> arguments{"ping", "-n", "-i", "0.2", "-w", "5"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.push_back(to_string(to));
    CommandResult result;
    there([&] { result = run(arguments); });
    return result;
  }
  std::unique_ptr<EchoRelay> relay_;
};

INSTANTIATE_TEST_SUITE_P(, EchoRelayKernelTest, testing::Values("IPv4", "IPv6"),
                         [](const auto& test) { return std::string{test.param}; });

TEST_P(EchoRelayKernelTest, pings_are_answered) {
  start(true);
  const CommandResult result = ping({"-c", "3"}, destination(0).address);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, testing::HasSubstr(" 0% packet loss"));
  EXPECT_THAT(result.output, testing::HasSubstr("ttl=64"));
  EXPECT_EQ(relay_->flows(), 1U);
  EXPECT_EQ(relay_->statistics().requests, 3U);
  EXPECT_EQ(relay_->statistics().replies, 3U);
}

TEST_P(EchoRelayKernelTest, the_longest_ping_is_answered) {
  start(true);
  const CommandResult result = ping({"-c", "1", "-s", "65507"}, destination(0).address);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_THAT(result.output, testing::HasSubstr("65515 bytes from"));
  EXPECT_THAT(result.output, testing::Not(testing::HasSubstr("wrong data")));
}

TEST_P(EchoRelayKernelTest, a_ping_without_a_route_is_told) {
  start(true);
  const CommandResult result =
      ping({"-c", "1"}, is_v6() ? IpAddress{"2001:db8::1"} : IpAddress{"203.0.113.1"});
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_THAT(result.output, testing::ContainsRegex(is_v6() ? "No route" : "Net Unreachable"));
  EXPECT_EQ(relay_->statistics().errors_passed, 1U);
}

TEST_P(EchoRelayKernelTest, pings_are_prohibited_where_ping_sockets_are) {
  start(false);
  const CommandResult result = ping({"-c", "1"}, destination(0).address);
  EXPECT_EQ(result.status, 1) << result.output;
  EXPECT_THAT(result.output, testing::ContainsRegex(is_v6() ? "prohibited" : "Packet filtered"));
  EXPECT_EQ(relay_->statistics().flows_refused, 1U);
}

TEST_P(EchoRelayKernelTest, pings_are_answered_locally_on_demand) {
  start(false, {.answer_locally = true});
  const CommandResult result = ping({"-c", "2"}, destination(0).address);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(relay_->statistics().answered_locally, 2U);
  EXPECT_EQ(relay_->flows(), 0U);
}

}  // namespace
}  // namespace tunport::sandbox
