#include "tunport/host/udp_echo.hpp"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/host/host.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/testing/matchers.hpp"

namespace tunport {
namespace {

using namespace matchers;
using testing::ElementsAre;
using testing::IsEmpty;

/// A host on a TUN, with an echo service at each port.
struct EchoHost {
  EchoHost(const char* address, std::vector<std::uint16_t> ports)
      : host{{.addresses = {packets::ip(address)}}}, echo{ports} {
    for (const std::uint16_t port : ports) host.add_udp(port, echo);
  }
  ~EchoHost() { host.ip().lose_transport(&tun); }
  EchoHost(const EchoHost&) = delete;
  EchoHost& operator=(const EchoHost&) = delete;

  Host host;
  UdpEcho echo;
  FakeTransport tun{DeviceKind::tun};
};

/// Delivers what each host writes to the other, until both are silent. The datagrams delivered, at most
/// `most`.
std::size_t talk(EchoHost& one, EchoHost& other, std::size_t most) {
  std::size_t delivered = 0;
  for (bool silent = false; !silent && delivered < most;) {
    silent = true;
    for (auto [from, to] : {std::pair{&one, &other}, std::pair{&other, &one}})
      for (const packets::Buffer& packet : std::exchange(from->tun.written, {})) {
        to->tun.deliver(to->host.ip(), packet);
        ++delivered;
        silent = false;
      }
  }
  return delivered;
}

class TwoEchoHosts : public testing::Test {
 protected:
  EchoHost one{"10.0.0.2", {4242, 5252}};
  EchoHost other{"10.0.0.3", {4242, 5252}};
};

TEST_F(TwoEchoHosts, AreNotSetUponEachOtherByAForgedSender) {
  std::uint64_t expected = 0;
  for (const char* from : {"10.0.0.3:4242", "10.0.0.3:5252"})
    for (const char* to : {"10.0.0.2:4242", "10.0.0.2:5252"}) {
      one.tun.deliver(one.host.ip(), packets::udp(from, to, "hello"));
      EXPECT_EQ(talk(one, other, 100), 0U) << from << " to " << to;
      EXPECT_EQ(one.tun.drops[DropReason::answer_not_allowed], ++expected) << from << " to " << to;
    }
  EXPECT_EQ(one.echo.echoes() + other.echo.echoes(), 0U);
  EXPECT_EQ(one.tun.drops.total(), expected);
}

TEST_F(TwoEchoHosts, AnswerOrdinarySenders) {
  one.tun.deliver(one.host.ip(), packets::udp("10.0.0.1:40000", "10.0.0.2:4242", "hello"));
  EXPECT_THAT(one.tun.written,
              ElementsAre(is_udp(from("10.0.0.2", 4242), to("10.0.0.1", 40000), payload("hello"))));
  EXPECT_EQ(one.echo.echoes(), 1U);
}

TEST(UdpEcho, KnowsThePortAskedWithoutBeingTold) {
  Host host{{.addresses = {"10.0.0.2"}}};
  UdpEcho echo;
  host.add_udp(4242, echo);
  FakeTransport tun{DeviceKind::tun};
  tun.deliver(host.ip(), packets::udp("10.0.0.3:4242", "10.0.0.2:4242", "hello"));
  EXPECT_THAT(tun.written, IsEmpty());
  EXPECT_EQ(tun.drops[DropReason::answer_not_allowed], 1U);
  host.ip().lose_transport(&tun);
}

TEST(UdpEcho, DoesNotAnswerServicesThatAlwaysAnswer) {
  EchoHost host{"10.0.0.2", {4242}};
  std::uint64_t expected = 0;
  for (const int port : {7, 13, 17, 19, 37}) {
    const std::string from = "10.0.0.3:" + std::to_string(port);
    host.tun.deliver(host.host.ip(), packets::udp(from, "10.0.0.2:4242", "hello"));
    EXPECT_THAT(host.tun.written, IsEmpty()) << from;
    EXPECT_EQ(host.tun.drops[DropReason::answer_not_allowed], ++expected) << from;
  }
  for (const int port : {1, 9, 53, 123, 1024, 5252, 65'535}) {
    const std::string from = "10.0.0.3:" + std::to_string(port);
    host.tun.deliver(host.host.ip(), packets::udp(from, "10.0.0.2:4242", "hello"));
    EXPECT_THAT(std::exchange(host.tun.written, {}), testing::SizeIs(1)) << from;
  }
}

}  // namespace
}  // namespace tunport
