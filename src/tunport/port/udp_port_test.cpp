#include "tunport/port/udp_port.hpp"

#include <cerrno>
#include <functional>
#include <memory>
#include <sstream>

#include <asio/io_context.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/event/asio_reactor.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class Mailbox : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    received.emplace_back(as_text(datagram.data));
    from = datagram.from;
    if (echo) transport().write_to(from, datagram.data);
  }
  void stop_protocol() override {
    if (on_stop) on_stop();
  }
  std::string name() const override { return "Mailbox"; }
  std::function<void()> on_stop;
  std::vector<std::string> received;
  Endpoint from;
  bool echo = false;
};

/// Runs on the fake kernel and on the real one's loopback: the same port, the same protocols.
class UdpPortTest : public testing::TestWithParam<const char*> {
 protected:
  PortOptions options() {
    if (fake) return {.system = kernel};
    return {};
  }
  static Endpoint any(const char* address) { return {*IpAddress::parse(address), 0}; }
  /// Loopback delivers before sendmsg returns.
  std::size_t run() { return clock.run_ready(); }

  const bool fake = std::string_view{GetParam()} == "Fake";
  MemorySystem kernel;
  ManualReactor clock;
  Mailbox east;
  Mailbox west;
};

TEST_P(UdpPortTest, SendsAndReceivesOverIpv4AndIpv6) {
  for (const char* address : {"127.0.0.1", "::1"}) {
    UdpPort left{clock, any(address), west, options()};
    UdpPort right{clock, any(address), east, options()};
    left.start_listening();
    right.start_listening();
    east.echo = true;
    EXPECT_NE(left.get_host().port, 0) << "the one that the system chose";
    EXPECT_EQ(left.write_to(right.get_host(), as_bytes("hello")), WriteResult::make_sent());
    run();
    EXPECT_EQ(east.from, left.get_host());
    EXPECT_EQ(left.statistics().packets_out, 1U);
    EXPECT_EQ(left.statistics().bytes_out, 5U);
    EXPECT_EQ(left.statistics().packets_in, 1U);
    EXPECT_EQ(right.statistics().bytes_in, 5U);
  }
  EXPECT_THAT(east.received, ElementsAre("hello", "hello"));
  EXPECT_THAT(west.received, ElementsAre("hello", "hello"));
}

TEST_P(UdpPortTest, AnEmptyDatagramIsADatagram) {
  UdpPort left{clock, any("127.0.0.1"), west, options()};
  UdpPort right{clock, any("127.0.0.1"), east, options()};
  left.start_listening();
  right.start_listening();
  EXPECT_EQ(left.write_to(right.get_host(), {}), WriteResult::make_sent());
  run();
  EXPECT_THAT(east.received, ElementsAre(""));
}

TEST_P(UdpPortTest, AnAddressInUseIsSaid) {
  UdpPort first{clock, any("127.0.0.1"), west, options()};
  first.start_listening();
  UdpPort second{clock, first.get_host(), east, options()};
  try {
    second.start_listening();
    FAIL() << "in use";
  } catch (const CannotListenError& error) {
    EXPECT_EQ(error.code(), std::errc::address_in_use);
    EXPECT_EQ(error.subject(), to_string(first.get_host()));
    EXPECT_FALSE(remedy(error.code()).empty());
  }
  EXPECT_EQ(second.fileno(), -1);
}

TEST_P(UdpPortTest, LongDatagramsAreDroppedAndCounted) {
  PortOptions small = options();
  small.max_packet_size = 100;
  UdpPort left{clock, any("127.0.0.1"), west, options()};
  UdpPort right{clock, any("127.0.0.1"), east, small};
  left.start_listening();
  right.start_listening();
  left.write_to(right.get_host(), std::vector<std::byte>(101));
  left.write_to(right.get_host(), std::vector<std::byte>(100));
  run();
  EXPECT_EQ(east.received.size(), 1U);
  EXPECT_EQ(right.statistics().drops[DropReason::truncated], 1U);
  EXPECT_EQ(right.write_to(left.get_host(), std::vector<std::byte>(101)),
            WriteResult::make_refused(DropReason::too_long));
}

TEST_P(UdpPortTest, TheOtherFamilyIsNoRoute) {
  UdpPort left{clock, any("127.0.0.1"), west, options()};
  left.start_listening();
  EXPECT_EQ(left.write_to(any("::1"), as_bytes("x")), WriteResult::make_refused(DropReason::no_route));
}

TEST_P(UdpPortTest, SomeDataHasNowhereToGo) {
  UdpPort left{clock, any("127.0.0.1"), west, options()};
  left.start_listening();
  std::error_code ec;
  EXPECT_EQ(left.write_some_data({}, ec), 0U);
  EXPECT_EQ(ec, std::errc::destination_address_required);
}

TEST_P(UdpPortTest, MayBeDestroyedByTheProtocolThatItStops) {
  auto port = std::make_unique<UdpPort>(clock, any("127.0.0.1"), west, options());
  port->start_listening();
  west.on_stop = [&] { port.reset(); };
  port->stop_listening();
  run();
  EXPECT_EQ(port, nullptr);
  EXPECT_THROW(west.transport(), std::logic_error);
}

TEST_P(UdpPortTest, PrintsItself) {
  UdpPort port{clock, {*IpAddress::parse("127.0.0.1"), 0}, west, options()};
  EXPECT_EQ(to_string(port), "<Mailbox (UDP) on 127.0.0.1:0, not listening>");
  port.start_listening();
  std::ostringstream out;
  out << port;
  EXPECT_EQ(out.str(), "<Mailbox (UDP) on " + to_string(port.get_host()) + ", listening>");
}

// Asio's own reads from a stream take nothing for its end.
TEST(UdpPortOnAsio, AnEmptyDatagramIsNoEnd) {
  asio::io_context context{1};
  AsioReactor reactor{context};
  Mailbox west;
  Mailbox east;
  UdpPort left{reactor, {*IpAddress::parse("127.0.0.1"), 0}, west};
  UdpPort right{reactor, {*IpAddress::parse("127.0.0.1"), 0}, east};
  left.start_listening();
  right.start_listening();
  EXPECT_TRUE(left.write_to(right.get_host(), {}));
  EXPECT_TRUE(left.write_to(right.get_host(), as_bytes("x")));
  for (int turns = 0; turns < 1000 && east.received.size() < 2; ++turns) context.run_one_for(10ms);
  EXPECT_THAT(east.received, ElementsAre("", "x"));
  EXPECT_TRUE(right.listening());
}

INSTANTIATE_TEST_SUITE_P(Systems, UdpPortTest, testing::Values("Fake", "Kernel"),
                         [](const auto& system) { return std::string{system.param}; });

TEST(UdpPortQueue, KeepsEachDatagramsDestination) {
  MemorySystem kernel;
  ManualReactor clock;
  Mailbox east;
  Mailbox west;
  UdpPort sender{clock, {*IpAddress::parse("127.0.0.1"), 0}, west, {.system = kernel}};
  UdpPort first{clock, {*IpAddress::parse("127.0.0.1"), 0}, east, {.system = kernel}};
  UdpPort second{clock, {*IpAddress::parse("127.0.0.1"), 0}, west, {.system = kernel}};
  for (UdpPort* port : {&sender, &first, &second}) port->start_listening();
  kernel.fail_next(Call::sendmsg, EAGAIN);
  EXPECT_EQ(sender.write_to(first.get_host(), as_bytes("one")), WriteResult::make_queued());
  EXPECT_EQ(sender.write_to(second.get_host(), as_bytes("two")), WriteResult::make_queued());
  clock.run_ready();
  EXPECT_THAT(east.received, ElementsAre("one"));
  EXPECT_THAT(west.received, ElementsAre("two"));
  EXPECT_EQ(sender.statistics().bytes_out, 6U) << "payload only";
}

TEST(UdpPortErrors, AnIcmpErrorIsNotTheEndOfTheSocket) {
  MemorySystem kernel;
  ManualReactor clock;
  Mailbox box;
  UdpPort port{clock, {*IpAddress::parse("127.0.0.1"), 0}, box, {.system = kernel}};
  port.start_listening();
  kernel.fail_next(Call::recvmsg, ECONNREFUSED);
  port.write_to(port.get_host(), as_bytes("to myself"));
  clock.run_ready();
  EXPECT_THAT(box.received, ElementsAre("to myself"));
  EXPECT_TRUE(port.listening());
}

}  // namespace
}  // namespace tunport
