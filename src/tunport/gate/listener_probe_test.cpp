#include <chrono>

#include <gtest/gtest.h>

#include "tunport/gate/listener_probe_internal.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ListenerProbeTest : public testing::Test {
 protected:
  /// The last SYN written, as numbers.
  BareSegment written() const {
    const Bytes tcp = Bytes{port.written.back()}.subspan(20);
    return {load_u8(tcp, 13), load_be32(tcp, 4), load_be32(tcp, 8)};
  }
  FlowEnds answering() const {
    const Bytes tcp = Bytes{port.written.back()}.subspan(20);
    return {listener.address, source, listener.port, load_be16(tcp, 0)};
  }

  FakeTransport port;
  const Endpoint listener{IpAddress{"10.0.0.1"}, 4000};
  const IpAddress source{"10.0.0.3"};
  int deaf = 0;
  ListenerProbe probe{port.clock, [this](const Endpoint& at) {
                        EXPECT_EQ(at, listener);
                        ++deaf;
                      }};
};

TEST_F(ListenerProbeTest, AnAnswerEndsTheTestWithAReset) {
  probe.begin(port, listener, source);
  ASSERT_EQ(port.written.size(), 1U);
  EXPECT_EQ(written().flags, tcp_flag::syn);
  const BareSegment answer{static_cast<std::uint8_t>(tcp_flag::syn | tcp_flag::ack), 77,
                           written().sequence + 1};
  const FlowEnds ends = answering();
  FlowEnds other = ends;
  other.destination = IpAddress{"10.0.0.4"};
  EXPECT_FALSE(probe.heard(port, other, answer));
  BareSegment wrong = answer;
  ++wrong.acknowledgment;
  EXPECT_FALSE(probe.heard(port, ends, wrong));
  ASSERT_TRUE(probe.heard(port, ends, answer));
  EXPECT_EQ(written().flags, tcp_flag::rst);
  EXPECT_EQ(written().sequence, answer.acknowledgment);
  EXPECT_FALSE(probe.heard(port, ends, answer)) << "over";
  port.clock.advance(seconds{10});
  EXPECT_EQ(deaf, 0);
  EXPECT_EQ(port.written.size(), 2U);
}

TEST_F(ListenerProbeTest, WithoutAnAnswerItIsToldOnceAfterTwoSeconds) {
  probe.begin(port, listener, source);
  port.clock.advance(milliseconds{1999});
  EXPECT_EQ(deaf, 0);
  port.clock.advance(milliseconds{1});
  EXPECT_EQ(deaf, 1);
  EXPECT_EQ(port.written.size(), 5U);
  port.clock.advance(seconds{10});
  EXPECT_EQ(deaf, 1);
  EXPECT_EQ(port.written.size(), 5U);
}

TEST_F(ListenerProbeTest, IsCancelled) {
  probe.begin(port, listener, source);
  probe.cancel();
  port.clock.advance(seconds{10});
  EXPECT_EQ(deaf, 0);
  EXPECT_EQ(port.written.size(), 1U);
}

TEST_F(ListenerProbeTest, ItsAddressIsOfTheSubnetAndNobodysHere) {
  const auto source_in = [](const char* own, const std::vector<IpPrefix>& more = {}) {
    std::vector<IpPrefix> addresses{*IpPrefix::parse(own)};
    addresses.insert(addresses.end(), more.begin(), more.end());
    const auto found = ListenerProbe::source_in(addresses.front(), addresses);
    return found ? to_string(*found) : "none";
  };
  EXPECT_EQ(source_in("10.0.0.1/24"), "10.0.0.3") << "10.0.0.0 is the network";
  EXPECT_EQ(source_in("10.0.0.2/24", {IpPrefix{"10.0.0.3/24"}}), "10.0.0.1") << "10.0.0.0 is the network";
  EXPECT_EQ(source_in("10.0.0.254/24"), "10.0.0.252") << "10.0.0.255 is the broadcast address";
  EXPECT_EQ(source_in("10.0.0.1/30"), "10.0.0.2");
  EXPECT_EQ(source_in("10.0.0.1/31"), "none") << "no room";
  EXPECT_EQ(source_in("10.0.0.1/32"), "none");
  EXPECT_EQ(source_in("fd00::1/64"), "fd00::3") << "fd00:: is every router's";
  EXPECT_EQ(source_in("fd00::1/128"), "none");
}

}  // namespace
}  // namespace tunport
