// The datagrams of tunnel packets, sent by a UDP port in one call.
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tunport/base/log.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/shape.hpp"

namespace tunport {
namespace {

using shapes::Buffer;
using shapes::Shape;
using testing::IsEmpty;
using testing::SizeIs;

/// Records datagrams.
class Box : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    received.emplace_back(datagram.data.begin(), datagram.data.end());
  }
  std::vector<Buffer> received;
};

Endpoint any() { return {*IpAddress::parse("127.0.0.1"), 0}; }

Buffer joined(Bytes first, Bytes second, Bytes third = {}) {
  Buffer all{first.begin(), first.end()};
  all.insert(all.end(), second.begin(), second.end());
  all.insert(all.end(), third.begin(), third.end());
  return all;
}

/// A super-packet in memory, as a port delivers it.
struct Delivered {
  Delivered(const Shape& shape, std::size_t payload, std::size_t segment_size)
      : content{shapes::some_bytes(payload)},
        bytes{shapes::super_packet(shape, content)},
        origin{.kind = shape.kind, .bytes = bytes, .left = shapes::offload_of(shape, segment_size)},
        segments{shapes::segments(shape, content, segment_size)} {}

  Packet packet() { return Packet{origin}; }
  /// The segments, each behind `header` and before `trailer`.
  std::vector<Buffer> expected(Bytes header = {}, Bytes trailer = {}) const {
    std::vector<Buffer> all;
    for (const Buffer& segment : segments) all.push_back(joined(header, segment, trailer));
    return all;
  }

  Buffer content;
  Buffer bytes;
  PacketOrigin origin;
  std::vector<Buffer> segments;
};

class WriteSegments : public testing::Test {
 protected:
  WriteSegments() {
    set_log_sink([this](LogLevel, std::string_view, std::string_view what) { said += what; });
  }
  ~WriteSegments() override { set_log_sink({}); }
  void start(const PortOptions& options) {
    left = std::make_unique<UdpPort>(clock, any(), west, options);
    right = std::make_unique<UdpPort>(clock, any(), east, options);
    left->start_listening();
    right->start_listening();
  }
  std::vector<Buffer> arrived() {
    clock.run_ready();
    return std::exchange(east.received, {});
  }
  const Statistics& counters() const { return left->statistics(); }

  const Buffer header = shapes::some_bytes(8, 5);
  const Buffer trailer = shapes::some_bytes(16, 6);
  const SegmentRoom room{header.size(), trailer.size()};
  /// Fills the room.
  void seal(MutableBytes datagram) const {
    std::ranges::copy(header, datagram.begin());
    std::ranges::copy(trailer, datagram.last(trailer.size()).begin());
  }

  MemorySystem kernel;
  ManualReactor clock;
  Box west;
  Box east;
  std::unique_ptr<UdpPort> left;
  std::unique_ptr<UdpPort> right;
  std::string said;
};

/// On the fake kernel, and on the loopback of the real kernel.
class OfEachKernel : public WriteSegments, public testing::WithParamInterface<const char*> {
 protected:
  OfEachKernel() {
    if (std::string_view{GetParam()} == "Fake")
      start({.system = kernel});
    else
      start({});
  }
};

INSTANTIATE_TEST_SUITE_P(Systems, OfEachKernel, testing::Values("Fake", "Kernel"),
                         [](const auto& system) { return std::string{system.param}; });

TEST_P(OfEachKernel, EachShapeArrivesAsItsSegmentsBehindAHeader) {
  std::vector<Shape> shapes = shapes::all();
  for (const Shape& shape : shapes::long_headers()) shapes.push_back(shape);
  for (const Shape& shape : shapes) {
    Delivered given{shape, 10'050, 1000};
    EXPECT_TRUE(left->write_segments(right->get_host(), given.packet()));
    EXPECT_EQ(arrived(), given.expected()) << shape.name();
    EXPECT_TRUE(left->write_segments(right->get_host(), given.packet(), header));
    EXPECT_EQ(arrived(), given.expected(header)) << shape.name();
    EXPECT_EQ(given.bytes, shapes::super_packet(shape, given.content)) << "unchanged";
    EXPECT_TRUE(
        left->write_segments(right->get_host(), given.packet(), room, [&](MutableBytes all) { seal(all); }));
    EXPECT_EQ(arrived(), given.expected(header, trailer)) << shape.name();
  }
  EXPECT_EQ(counters().super_packets_out, 3 * shapes.size());
  EXPECT_EQ(counters().packets_out, 3 * 11 * shapes.size());
  EXPECT_EQ(counters().drops.total(), 0U);
}

TEST_P(OfEachKernel, ManyOrLongDatagramsLeaveInSeveralRuns) {
  for (const auto& [payload, size] : std::vector<std::pair<std::size_t, std::size_t>>{
           {6'500, 50}, {128, 1}, {129, 1}, {65'000, 1448}, {65'000, 32'000}, {40'000, 30'000}}) {
    Delivered given{{}, payload, size};
    EXPECT_TRUE(left->write_segments(right->get_host(), given.packet(), header));
    EXPECT_EQ(arrived(), given.expected(header));
    EXPECT_TRUE(
        left->write_segments(right->get_host(), given.packet(), room, [&](MutableBytes all) { seal(all); }));
    EXPECT_EQ(arrived(), given.expected(header, trailer));
  }
}

TEST_P(OfEachKernel, WithinABurstTheOrderIsKept) {
  Delivered given{{}, 3000, 1000};
  Delivered other{{.protocol = ip_protocol::udp}, 900, 100};
  std::vector<Buffer> expected;
  const auto expect = [&](const std::vector<Buffer>& more) {
    expected.insert(expected.end(), more.begin(), more.end());
  };
  {
    const Cork cork{clock};
    left->write_to(right->get_host(), header);
    left->write_segments(right->get_host(), given.packet());
    left->write_to(right->get_host(), trailer);
    left->write_segments(right->get_host(), other.packet(), room, [&](MutableBytes all) { seal(all); });
    left->write_to(right->get_host(), header);
  }
  expect({header});
  expect(given.expected());
  expect({trailer});
  expect(other.expected(header, trailer));
  expect({header});
  EXPECT_EQ(arrived(), expected);
}

TEST_P(OfEachKernel, APlainPacketIsOneDatagramWithItsChecksum) {
  const Shape shape;
  const Buffer content = shapes::some_bytes(100);
  const Buffer complete = shapes::datagram(shape, content);
  EXPECT_TRUE(left->write_segments(right->get_host(), Packet{complete}, header));
  EXPECT_EQ(arrived(), std::vector<Buffer>{joined(header, complete)});
  for (const bool sealed : {false, true}) {
    Buffer bytes = shapes::super_packet(shape, content);
    PacketOrigin origin{.bytes = bytes, .left = shapes::offload_of(shape, 1)};
    origin.left.kind = SegmentKind::none;
    if (sealed)
      left->write_segments(right->get_host(), Packet{origin}, room, [&](MutableBytes all) { seal(all); });
    else
      left->write_segments(right->get_host(), Packet{origin}, header);
    EXPECT_EQ(arrived(), std::vector<Buffer>{joined(header, complete, sealed ? trailer : Buffer{})});
  }
}

/// On the fake kernel, which fails when told.
class OnTheFake : public WriteSegments {
 protected:
  OnTheFake() { start({.system = kernel}); }
  /// Writes `given` with a header, or sealed.
  WriteResult write(Delivered& given, bool sealed) {
    return sealed ? left->write_segments(right->get_host(), given.packet(), room,
                                         [&](MutableBytes all) { seal(all); })
                  : left->write_segments(right->get_host(), given.packet(), header);
  }
  std::vector<Buffer> expected(const Delivered& given, bool sealed) const {
    return given.expected(header, sealed ? Bytes{trailer} : Bytes{});
  }
};

TEST_F(OnTheFake, WhatTheKernelDoesNotTakeNowIsQueued) {
  for (const bool sealed : {false, true}) {
    Delivered given{{}, 10'000, 100};            // two runs
    kernel.fail_next(Call::sendmsg, EAGAIN, 2);  // together, and the first by itself
    EXPECT_EQ(write(given, sealed), WriteResult::make_queued());
    EXPECT_NE(left->queued_bytes(), 0U);
    EXPECT_EQ(arrived(), expected(given, sealed));
  }
  EXPECT_EQ(counters().drops.total(), 0U);
}

TEST_F(OnTheFake, ARefusedRunIsSentOneByOne) {
  for (const int error : {EIO, EMSGSIZE})
    for (const bool sealed : {false, true}) {
      start({.system = kernel});
      Delivered given{{}, 10'000, 1000};
      kernel.fail_next(Call::sendmsg, error, error == EIO ? 1 : 2);  // the first may be an ICMP error
      EXPECT_TRUE(write(given, sealed));
      EXPECT_EQ(arrived(), expected(given, sealed));
      EXPECT_NE(std::exchange(said, {}), "");
      EXPECT_TRUE(write(given, sealed)) << "one by one from now on";
      EXPECT_EQ(arrived(), expected(given, sealed));
      EXPECT_EQ(counters().super_packets_out, 0U);
      EXPECT_EQ(counters().drops.total(), 0U);
    }
}

TEST_F(OnTheFake, AFullBufferInTheMiddleOfASecondTryLosesNothing) {
  for (const bool sealed : {false, true}) {
    start({.system = kernel});
    Delivered given{{}, 10'000, 1000};
    kernel.fail_next(Call::sendmsg, EIO);
    kernel.fail_next(Call::sendmsg, EAGAIN, 3);
    EXPECT_TRUE(write(given, sealed));
    EXPECT_EQ(arrived(), expected(given, sealed));
    EXPECT_EQ(counters().packets_out, 10U);
  }
}

TEST_F(OnTheFake, WithoutRunsDatagramsGoOneByOne) {
  PortOptions single{.system = kernel};
  single.offload = OffloadFeatures::none();
  start(single);
  for (const bool sealed : {false, true}) {
    Delivered given{{}, 10'000, 1000};
    EXPECT_TRUE(write(given, sealed));
    EXPECT_EQ(arrived(), expected(given, sealed));
  }
  EXPECT_EQ(counters().super_packets_out, 0U);
}

TEST_F(OnTheFake, RefusalsAreCountedAsDatagrams) {
  Delivered given{{}, 1000, 100};
  const auto drops = [&](DropReason reason) { return counters().drops[reason]; };
  for (const bool sealed : {false, true}) {
    given.origin.spent = true;
    EXPECT_EQ(write(given, sealed), WriteResult::make_refused(DropReason::bad_offload));
    given.origin.spent = false;
    given.origin.left.header_length += 1;  // contradicts the headers
    EXPECT_EQ(write(given, sealed), WriteResult::make_refused(DropReason::bad_offload));
    given.origin.left.header_length -= 1;
  }
  EXPECT_EQ(drops(DropReason::bad_offload), 4 * 10U);
  const auto nothing = [](MutableBytes) {};
  const Packet cut{Bytes{given.bytes}, true};
  EXPECT_EQ(left->write_segments(right->get_host(), cut), WriteResult::make_refused(DropReason::truncated));
  EXPECT_EQ(left->write_segments(right->get_host(), cut, {}, nothing),
            WriteResult::make_refused(DropReason::truncated));
  for (const SegmentRoom huge :
       {SegmentRoom{65'600, 0}, SegmentRoom{0, 65'600}, SegmentRoom{SIZE_MAX, 1}, SegmentRoom{1, SIZE_MAX}}) {
    EXPECT_EQ(left->write_segments(right->get_host(), given.packet(), huge, nothing),
              WriteResult::make_refused(DropReason::too_long));
    EXPECT_EQ(left->write_segments(right->get_host(), Packet{given.segments.front()}, huge, nothing),
              WriteResult::make_refused(DropReason::too_long));
  }
  EXPECT_EQ(drops(DropReason::too_long), 4 * 11U);
  const Endpoint v6{*IpAddress::parse("::1"), 1};
  EXPECT_EQ(left->write_segments(v6, given.packet()), WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(left->write_segments(v6, given.packet(), {}, nothing),
            WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(drops(DropReason::no_route), 20U);
  left->stop_listening();
  EXPECT_EQ(left->write_segments(right->get_host(), given.packet()),
            WriteResult::make_refused(DropReason::not_listening));
  EXPECT_EQ(left->write_segments(right->get_host(), given.packet(), {}, nothing),
            WriteResult::make_refused(DropReason::not_listening));
  EXPECT_EQ(drops(DropReason::not_listening), 20U);
  EXPECT_THAT(arrived(), IsEmpty());
}

TEST_F(OnTheFake, AnExceptionOfTheSealCostsTheRestOfThePacket) {
  Delivered given{{}, 1000, 100};
  int sealed = 0;
  EXPECT_THROW(left->write_segments(right->get_host(), given.packet(), {},
                                    [&](MutableBytes) {
                                      if (++sealed == 4) throw std::runtime_error{"no"};
                                    }),
               std::runtime_error);
  EXPECT_THAT(arrived(), SizeIs(3));
  EXPECT_EQ(counters().drops[DropReason::aborted], 7U);
  EXPECT_TRUE(write(given, true));
  EXPECT_EQ(arrived(), expected(given, true));
}

TEST_F(OnTheFake, ASealThatWritesToThePortLosesItsDatagramAndNothingElse) {
  Delivered given{{}, 300, 100};
  left->write_segments(right->get_host(), given.packet(), {},
                       [&](MutableBytes) { left->write_to(right->get_host(), header); });
  EXPECT_EQ(arrived(), std::vector(3, header));
  EXPECT_EQ(counters().drops[DropReason::aborted], 3U);
}

TEST_F(OnTheFake, ThePortMayDieUnderAWrite) {
  Delivered given{{}, 20'000, 100};
  struct Killer : Producer {
    void pause_producing() override { port.reset(); }
    void resume_producing() override {}
    void stop_producing() override {}
    std::unique_ptr<UdpPort>& port;
    explicit Killer(std::unique_ptr<UdpPort>& of) : port{of} {}
  } killer{left};
  for (const bool sealed : {false, true}) {
    PortOptions narrow{.system = kernel};
    narrow.max_packet_size = 1000;
    narrow.queue_high_mark = 1000;
    narrow.queue_low_mark = 0;
    start(narrow);
    left->register_producer(killer, ProducerKind::push);
    kernel.fail_next(Call::sendmsg, EAGAIN, 10);
    write(given, sealed);
    EXPECT_EQ(left, nullptr);
    right.reset();
  }
}

}  // namespace
}  // namespace tunport
