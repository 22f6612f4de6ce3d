// Fragments through the IP demultiplexer, of both versions.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/testing/fake_transport.hpp"

#include "support/ipv6_kit.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace ipv6_kit;
using packets::host_ip;
using packets::kernel_ip;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint8_t some_protocol = 200;

/// Records payloads.
struct Payloads : TransportProtocol {
  void datagram_received(const IpDatagram& datagram) override {
    received.emplace_back(datagram.payload().begin(), datagram.payload().end());
    from.push_back(datagram.source());
    bytes = {datagram.ip.bytes().begin(), datagram.ip.bytes().end()};
  }
  std::vector<Buffer> received;
  std::vector<IpAddress> from;
  Buffer bytes;
};

/// An IP demultiplexer that remembers what was too late.
struct Demux : IpDemux {
  using IpDemux::IpDemux;
  void reassembly_timed_out(const IpDatagram& first) override {
    late.emplace_back(first.ip.bytes().begin(), first.ip.bytes().end());
  }
  std::vector<Buffer> late;
};

class Fragments : public testing::TestWithParam<const char*> {
 protected:
  Fragments() { demux.add_proto(some_protocol, payloads); }
  bool v4() const { return std::string{GetParam()} == "IPv4"; }
  Buffer packet(const Buffer& payload) const {
    if (v4())
      return packets::ipv4({.protocol = some_protocol, .source = kernel_ip, .destination = host_ip}, payload);
    return ipv6({.next_header = some_protocol, .source = kernel_ip6, .destination = host_ip6}, payload);
  }
  void deliver(const Buffer& bytes) { tun.deliver(demux, bytes); }
  std::uint64_t dropped(DropReason reason) const { return tun.drops[reason]; }

  FakeTransport tun{DeviceKind::tun};
  Payloads payloads;
  Demux demux;
};

INSTANTIATE_TEST_SUITE_P(Versions, Fragments, testing::Values("IPv4", "IPv6"),
                         [](const auto& version) { return std::string{version.param}; });

TEST_P(Fragments, InEveryOrderAreTheDatagram) {
  const Buffer payload = shapes::some_bytes(8 * 4 + 5);
  std::vector<std::size_t> order(5);
  std::iota(order.begin(), order.end(), 0U);
  std::uint32_t identification = 1;
  do {
    payloads.received.clear();
    const auto parts = fragments(packet(payload), 8, ++identification);
    for (const std::size_t i : order) {
      EXPECT_THAT(payloads.received, IsEmpty());
      deliver(parts[i]);
    }
    EXPECT_THAT(payloads.received, ElementsAre(payload));
  } while (std::ranges::next_permutation(order).found);
  EXPECT_EQ(demux.reassembled(), 120U);
  EXPECT_EQ(tun.drops.total(), 0U);
  Buffer whole = packet(payload);
  if (v4())
    whole = packets::ipv4({.identification = static_cast<std::uint16_t>(identification),
                           .protocol = some_protocol,
                           .source = kernel_ip,
                           .destination = host_ip},
                          payload);
  EXPECT_EQ(payloads.bytes, whole) << "the header is that of a whole datagram";
}

TEST_P(Fragments, OfTheLongestDatagramAndOfOneByte) {
  const std::size_t longest = v4() ? 65'535 - 20 : 65'535;
  const Buffer payload = shapes::some_bytes(longest);
  std::vector<Buffer> parts;
  for (std::size_t at = 0; at < longest; at += 1480) {
    // The whole would be too long for `packet` of IPv4 only.
    parts.push_back(
        fragment(packet(payload), at, std::min<std::size_t>(1480, longest - at), at + 1480 < longest));
  }
  std::shuffle(parts.begin(), parts.end(), std::mt19937{7});
  for (const Buffer& part : parts) deliver(part);
  EXPECT_THAT(payloads.received, ElementsAre(payload));
  const Buffer small(9);
  for (const Buffer& part : fragments(packet(small), 8)) deliver(part);
  EXPECT_EQ(payloads.received.back(), small);
}

TEST_P(Fragments, DuplicatesAreIgnored) {
  const Buffer payload = shapes::some_bytes(40);
  const auto parts = fragments(packet(payload), 8);
  for (const std::size_t i : {0U, 0U, 2U, 1U, 1U, 2U, 3U}) deliver(parts[i]);
  deliver(fragment(packet(payload), 8, 24, true));  // within what is there
  deliver(parts[4]);
  EXPECT_THAT(payloads.received, ElementsAre(payload));
  EXPECT_EQ(tun.drops.total(), 0U);
}

TEST_P(Fragments, AnOverlapCostsTheWholeDatagramAlsoWhatComesLater) {
  const Buffer payload = shapes::some_bytes(64);
  const Buffer whole = packet(payload);
  const std::vector<std::vector<Buffer>> overlaps = {
      {fragment(whole, 0, 16, true), fragment(whole, 8, 16, true)},
      {fragment(whole, 16, 16, true), fragment(whole, 8, 16, true)},
      {fragment(whole, 16, 16, true), fragment(whole, 8, 32, true)},
      {fragment(whole, 0, 8, true), fragment(whole, 16, 8, true), fragment(whole, 8, 16, true)},
      {fragment(whole, 48, 16, false), fragment(whole, 56, 8, true), fragment(whole, 40, 16, true)},
      {fragment(whole, 40, 8, false), fragment(whole, 48, 16, false)},
      {fragment(whole, 48, 16, false), fragment(whole, 40, 8, false)},
      {fragment(whole, 40, 8, false), fragment(whole, 48, 8, true)},
  };
  for (const auto& parts : overlaps) {
    for (const Buffer& part : parts) deliver(part);
    const auto rest = fragments(whole, 8);
    for (const Buffer& part : rest) deliver(part);
    EXPECT_THAT(payloads.received, IsEmpty());
    EXPECT_EQ(tun.drops.total(), 0U);
    tun.clock.advance(61s);
    EXPECT_EQ(dropped(DropReason::ip_bad_fragment), parts.size() + rest.size());
    EXPECT_THAT(demux.late, IsEmpty()) << "silently";
    tun.drops = {};
  }
}

// A last fragment within bytes that came as others than the last tells another end.
TEST_P(Fragments, TheEndWithinOtherFragmentsCostsTheWholeDatagram) {
  const Buffer payload = shapes::some_bytes(32);
  const Buffer whole = packet(payload);
  deliver(fragment(whole, 0, 8, true));
  deliver(fragment(whole, 8, 8, true));
  deliver(fragment(whole, 8, 8, false));
  deliver(fragment(whole, 16, 16, false));
  EXPECT_THAT(payloads.received, IsEmpty());
  tun.clock.advance(61s);
  EXPECT_EQ(dropped(DropReason::ip_bad_fragment), 4U);
}

TEST_P(Fragments, OfWrongSizesAreDropped) {
  const Buffer whole = packet(shapes::some_bytes(64));
  deliver(fragment(whole, 0, 9, true));
  deliver(fragment(whole, 8, 0, true));
  deliver(fragment(whole, 64, 0, false));
  EXPECT_EQ(dropped(DropReason::ip_bad_fragment), 3U);
  // Beyond the longest datagram.
  Buffer last = fragment(whole, 0, 64, false);
  if (v4())
    last = packets::ipv4(
        {.fragment_offset = 65'528, .protocol = some_protocol, .source = kernel_ip, .destination = host_ip},
        Bytes{last}.subspan(20));
  else
    store_be16(last, Ipv6Header::size + 2, 65'528);
  deliver(last);
  EXPECT_EQ(dropped(DropReason::ip_bad_fragment), 4U);
  tun.clock.advance(61s);
  EXPECT_EQ(tun.drops.total(), 4U) << "nothing was kept";
}

TEST_P(Fragments, TooLateAreCountedAndToldWithTheFirst) {
  const Buffer payload = shapes::some_bytes(64);
  const auto parts = fragments(packet(payload), 16);
  deliver(parts[0]);
  deliver(parts[2]);
  tun.clock.advance(v4() ? 29s : 59s);
  EXPECT_EQ(tun.drops.total(), 0U);
  tun.clock.advance(2s);
  EXPECT_EQ(dropped(DropReason::ip_fragment), 2U);
  EXPECT_THAT(demux.late, ElementsAre(parts[0]));
  deliver(parts[1]);
  deliver(parts[3]);
  tun.clock.advance(61s);
  EXPECT_EQ(dropped(DropReason::ip_fragment), 4U);
  EXPECT_THAT(demux.late, testing::SizeIs(1)) << "the first fragment never came";
}

TEST_P(Fragments, TheMemoryIsBounded) {
  const Buffer payload = shapes::some_bytes(64);
  for (std::uint32_t i = 0; i < 100; ++i) deliver(fragment(packet(payload), 0, 16, true, i));
  EXPECT_EQ(dropped(DropReason::ip_fragment), 100U - 32U);
  for (std::uint32_t i = 68; i < 100; ++i) deliver(fragment(packet(payload), 16, 48, false, i));
  EXPECT_EQ(payloads.received.size(), 32U) << "the latest";
  Demux none{0};
  tun.deliver(none, fragment(packet(payload), 0, 16, true));
  EXPECT_EQ(dropped(DropReason::ip_fragment), 100U - 32U + 1U);
}

TEST_P(Fragments, OfDifferentDatagramsAreKeptApart) {
  const Buffer first = shapes::some_bytes(32, 1);
  const Buffer second = shapes::some_bytes(32, 2);
  const auto a = fragments(packet(first), 16, 1);
  const auto b = fragments(packet(second), 16, 2);
  deliver(a[0]);
  deliver(b[1]);
  deliver(b[0]);
  deliver(a[1]);
  EXPECT_THAT(payloads.received, ElementsAre(second, first));
}

TEST_P(Fragments, GoWithTheirPort) {
  deliver(fragment(packet(Buffer(64)), 0, 16, true));
  demux.lose_transport(&tun);
  EXPECT_EQ(dropped(DropReason::aborted), 1U);
  tun.clock.advance(61s);
  EXPECT_EQ(tun.drops.total(), 1U);
}

// RFC 8200 4.5: the first fragment has all headers, that of the upper layer included.
TEST(FragmentsOfIpv6, TheFirstHasAllHeaders) {
  const struct {
    const char* what;
    std::uint8_t protocol;
    const char* first;
    bool has_all;
  } table[] = {
      {"UDP", 17, "0001002a00100000", true},
      {"a part of a TCP header", 6, "0001002a00000000 0000000000000000", false},
      {"TCP", 6, "0001002a00000000 0000000050000000 0000000000000000", true},
      {"destination options", 60, "1100010400000000", false},
      {"a part of destination options", 60, "1101010400000000", false},
      {"options and UDP", 60, "1100010400000000 0001002a00100000", true},
      {"routing, options and UDP", 43, "3c00000000000000 1100010400000000 0001002a00100000", true},
      {"an atomic fragment", 44, "1100000000000000", false},
      {"nothing behind options", 60, "3b00010400000000", true},
      {"another protocol", 200, "0000000000000000", true},
      {"hop-by-hop options", 0, "1100010400000000 0001002a00100000", false},
      {"options and another protocol", 60, "c800010400000000", false},
  };
  for (const auto& row : table) {
    FakeTransport tun{DeviceKind::tun};
    IpDemux demux;
    Buffer header = packets::hex("00 00 0001 00000007");
    store_u8(header, 0, row.protocol);
    tun.deliver(
        demux,
        ipv6({.next_header = ip_protocol::ipv6_fragment, .source = kernel_ip6, .destination = host_ip6},
             joined(header, packets::hex(row.first))));
    EXPECT_EQ(tun.drops[DropReason::ip_bad_fragment], row.has_all ? 0U : 1U) << row.what;
  }
}

TEST(FragmentsOfIpv6, AtomicOnesAreWholeDatagrams) {
  FakeTransport tun{DeviceKind::tun};
  Payloads payloads;
  IpDemux demux;
  demux.add_proto(some_protocol, payloads);
  const Buffer payload = shapes::some_bytes(20);
  const Buffer whole =
      ipv6({.next_header = some_protocol, .source = kernel_ip6, .destination = host_ip6}, payload);
  tun.deliver(demux,
              fragment(whole, 0, 8, true));  // RFC 6946: not mixed with others of the same identification
  tun.deliver(demux, fragment(whole, 0, 20, false));
  EXPECT_THAT(payloads.received, ElementsAre(payload));
}

}  // namespace
}  // namespace tunport
