// segment(coalesce(x)) = x, also with datagrams lost, doubled, reordered, broken or unusual in x.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "tunport/offload/coalescer_internal.hpp"

#include "support/traffic.hpp"

namespace rc {

template <>
struct Arbitrary<tunport::traffic::Step> {
  static auto arbitrary() {
    using tunport::traffic::Step;
    // Most steps have no event, and the flows are few: otherwise no datagrams would join.
    const auto event = gen::weightedOneOf<std::uint8_t>(
        {{3, gen::just(std::uint8_t{0})}, {1, gen::inRange<std::uint8_t>(0, 40)}});
    const auto flow = gen::weightedOneOf<std::uint8_t>(
        {{3, gen::inRange<std::uint8_t>(0, 2)}, {1, gen::inRange<std::uint8_t>(0, 12)}});
    const auto size = gen::weightedOneOf<std::uint8_t>(
        {{4, gen::just(std::uint8_t{0})}, {1, gen::inRange<std::uint8_t>(0, 10)}});
    return gen::build<Step>(gen::set(&Step::flow, flow), gen::set(&Step::event, event),
                            gen::set(&Step::size, size), gen::set(&Step::at), gen::set(&Step::flip));
  }
};

}  // namespace rc

namespace tunport {
namespace {

using Steps = std::vector<traffic::Step>;

std::string fault_with(const Steps& steps, DeviceKind kind, std::uint8_t first_flow, traffic::Way way) {
  Steps shifted = steps;
  for (auto& step : shifted) step.flow = static_cast<std::uint8_t>(step.flow + first_flow);
  const auto added = traffic::make(kind, shifted);
  return traffic::fault_of_coalescing(added, kind, OffloadFeatures::all(), Coalescer::default_capacity, way);
}

RC_GTEST_PROP(CoalescerProperty, SegmentsOfWhatIsCoalescedAreWhatWasAdded, (const Steps& steps)) {
  const auto first_flow = *rc::gen::inRange<std::uint8_t>(0, 12);
  const auto kind = *rc::gen::element(DeviceKind::tun, DeviceKind::tap);
  for (const auto way : traffic::ways) RC_ASSERT(fault_with(steps, kind, first_flow, way) == "");
}

RC_GTEST_PROP(CoalescerProperty, HoldsWithLittleRoom, (const Steps& steps)) {
  const auto added = traffic::make(DeviceKind::tun, steps);
  const auto capacity = *rc::gen::inRange<std::size_t>(2000, 6000);
  for (const auto way : traffic::ways)
    RC_ASSERT(traffic::fault_of_coalescing(added, DeviceKind::tun, OffloadFeatures::all(), capacity, way) ==
              "");
}

RC_GTEST_PROP(CoalescerProperty, HoldsOnAnyDevice, (const Steps& steps)) {
  const OffloadFeatures device{.checksum = true,
                               .tso4 = *rc::gen::arbitrary<bool>(),
                               .tso6 = *rc::gen::arbitrary<bool>(),
                               .ecn = *rc::gen::arbitrary<bool>(),
                               .uso = *rc::gen::arbitrary<bool>()};
  const auto added = traffic::make(DeviceKind::tun, steps);
  for (const auto way : traffic::ways)
    RC_ASSERT(
        traffic::fault_of_coalescing(added, DeviceKind::tun, device, Coalescer::default_capacity, way) == "");
}

/// segment(coalesce(segment(x))) = segment(x), for the largest x, in as few packets.
RC_GTEST_PROP(CoalescerProperty, WhatWasASuperPacketIsOneAgain, (std::uint8_t which)) {
  const auto kind = which % 2 == 0 ? DeviceKind::tun : DeviceKind::tap;
  const auto flows = traffic::flows(kind);
  const auto& shape = flows[which / 2 % flows.size()];
  const auto count = *rc::gen::inRange<std::size_t>(2, shape.is_tcp() ? 200 : 65);
  const auto segment_size = *rc::gen::inRange<std::size_t>(1, 65000 / count + 1);
  const auto last = *rc::gen::inRange<std::size_t>(1, segment_size + 1);
  const auto payload = shapes::some_bytes((count - 1) * segment_size + last, which);
  Coalescer coalescer{kind};
  for (const auto& segment : shapes::segments(shape, payload, segment_size))
    RC_ASSERT(coalescer.add(segment, {}, Keep::copy, OffloadFeatures::all()));
  const auto packets = apart::flushed(coalescer);
  RC_ASSERT(packets.size() == 1U);
  RC_ASSERT(packets[0].left == shapes::offload_of(shape, segment_size));
  RC_ASSERT(packets[0].bytes == shapes::super_packet(shape, payload));
}

// The properties can fail: the generated traffic does join.
TEST(CoalescerProperty, TheTrafficJoins) {
  const Steps steps(20);
  Coalescer coalescer{DeviceKind::tun};
  for (const auto& packet : traffic::make(DeviceKind::tun, steps))
    ASSERT_TRUE(coalescer.add(packet.bytes, packet.left, Keep::copy, OffloadFeatures::all()));
  EXPECT_EQ(apart::flushed(coalescer).size(), 1U);
}

}  // namespace
}  // namespace tunport
