// A paused producer's freedom to destroy its port, and the effect of the port's end on gathered packets.
#include <array>
#include <vector>

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

/// A port with three datagrams above the high mark, on a device without room.
class PausedProducer : public SuperPackets {
 protected:
  PortOptions tight() {
    return {.max_packet_size = 1100,
            .queue_limit = 200'000,
            .queue_high_mark = 3000,
            .queue_low_mark = 1000,
            .system = kernel};
  }
  /// Destroys the port at the producer's pause.
  void start_tight(PortOptions options) {
    start(accepter, std::move(options));
    port->register_producer(producer, ProducerKind::push);
    producer.on_pause = [this] { port.reset(); };
    interface().set_writable(false);
  }
  void start_tight() { start_tight(tight()); }
  /// A datagram of a separate flow, without a checksum: not joined.
  static Buffer datagram(std::uint16_t flow) {
    Buffer bytes = shapes::datagram(udp4, shapes::some_bytes(1000));
    store_be16(bytes, 20, flow);
    store_be16(bytes, 26, 0);
    return bytes;
  }
};

TEST_F(PausedProducer, MayDestroyThePortThatHasNoRoomToGatherMore) {
  start_tight();
  const Cork cork{clock};
  for (std::uint16_t flow = 0; port && flow < 500; ++flow)
    EXPECT_EQ(port->write(datagram(flow)), WriteResult::make_queued());
  EXPECT_FALSE(port);
}

TEST_F(PausedProducer, MayDestroyThePortThatHasNoRoomToGatherMoreParts) {
  start_tight();
  const Cork cork{clock};
  for (std::uint16_t flow = 0; port && flow < 500; ++flow) {
    const Buffer bytes = datagram(flow);
    const std::array<Bytes, 2> parts{Bytes{bytes}.first(28), Bytes{bytes}.subspan(28)};
    EXPECT_EQ(port->write_sequence(parts), WriteResult::make_queued());
  }
  EXPECT_FALSE(port);
}

TEST_F(PausedProducer, MayDestroyThePortThatASuperPacketIsForwardedTo) {
  for (const OffloadFeatures& takes : {OffloadFeatures::all(), OffloadFeatures::none()}) {
    start(accepter);
    PortOptions options = tight();
    options.offload = takes;
    start_other(options);
    other->register_producer(producer, ProducerKind::push);
    producer.on_pause = [this] { other.reset(); };
    kernel.tunnel("tun1").set_writable(false);
    accepter.on_frame = [&](const Packet& packet) {
      for (std::uint16_t flow = 0; flow < 2; ++flow) other->write(datagram(flow));
      EXPECT_EQ(other->forward(packet), WriteResult::make_queued());
    };
    inject(udp4, 5000, 1000);
    clock.run_ready();
    EXPECT_FALSE(other);
    port.reset();
  }
}

TEST_F(PausedProducer, MayForwardAnotherWhileOneIsForwardedInSegments) {
  start(accepter);
  PortOptions options = tight();
  options.offload = OffloadFeatures::none();
  start_other(options);
  other->register_producer(producer, ProducerKind::push);
  kernel.tunnel("tun1").set_writable(false);
  accepter.on_frame = [&](const Packet& packet) {
    producer.on_pause = [&] { EXPECT_TRUE(other->forward(packet)); };
    EXPECT_TRUE(other->forward(packet));
  };
  const Packets wanted = inject(udp4, 5000, 1000);
  clock.run_ready();
  EXPECT_EQ(producer.said, "p");
  kernel.tunnel("tun1").set_writable(true);
  clock.run_ready();
  Packets twice = wanted;
  twice.insert(twice.end(), wanted.begin(), wanted.end());
  EXPECT_EQ(kernel.tunnel("tun1").collect(), twice);
}

TEST_F(PausedProducer, MayDestroyThePortThatSends) {
  start_tight();
  std::vector<std::error_code> ends;
  for (std::uint16_t flow = 0; port && flow < 10; ++flow)
    port->send(datagram(flow), [&](const std::error_code& ec) { ends.push_back(ec); });
  EXPECT_FALSE(port);
  clock.run_ready();
  EXPECT_THAT(ends, ElementsAre(Errc::operation_aborted, Errc::operation_aborted, Errc::operation_aborted));
}

TEST_F(PausedProducer, MayDestroyThePortThatLooksAgainBeforeItSleeps) {
  PortOptions options = tight();
  options.spin = 1s;
  start_tight(options);
  accepter.on_frame = [&](const Packet&) {
    for (std::uint16_t flow = 0; flow < 3; ++flow) port->write(datagram(flow));
  };
  interface().inject(datagram(9));
  port->do_read();
  EXPECT_FALSE(port);
}

TEST_F(PausedProducer, IsToldAtTheEndOfTheCorkWhenAPortThatEndsFlushes) {
  const std::vector<std::function<void()>> calls{
      [&] { port->lose_connection(); },
      [&] { port->lose_write_connection(); },
      [&] { port->stop_listening(); },
      [&] {
        std::error_code ec;
        EXPECT_EQ(port->write_some_data(datagram(9), ec), 0U);
      },
  };
  for (const auto& call : calls) {
    start_tight();
    {
      const Cork cork{clock};
      for (std::uint16_t flow = 0; flow < 3; ++flow) port->write(datagram(flow));
      call();
      ASSERT_TRUE(port) << "the port must not go under this call";
      EXPECT_GT(port->queued_bytes(), 3000U);
    }
    EXPECT_FALSE(port);
  }
}

class EndOfGathered : public PortTest {};

TEST_F(EndOfGathered, TheLastWritesOfAProducerAreWaitedForAsAQueueIs) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port->lose_connection();
  interface().set_writable(false);
  {
    const Cork cork{clock};
    EXPECT_TRUE(port->write(frame(1)));
    port->unregister_producer();
  }
  clock.run_ready();
  EXPECT_THAT(lost, IsEmpty());
  auto behind = interface();
  behind.set_writable(true);
  clock.run_ready();
  EXPECT_THAT(behind.collect(), ElementsAre(frame(1)));
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_EQ(drops(DropReason::aborted), 0U);
}

TEST_F(EndOfGathered, AnOrderlyEndThatFindsTheDeviceGoneSaysSo) {
  for (const bool whole : {true, false}) {
    lost.clear();
    start();
    {
      const Cork cork{clock};
      port->write(frame(1));
      interface().remove();
      if (whole)
        port->lose_connection();
      else
        port->lose_write_connection();
    }
    clock.run_ready();
    EXPECT_THAT(lost, ElementsAre(std::error_code{Errc::device_gone}));
    EXPECT_EQ(drops(DropReason::device_gone), 1U);
  }
}

}  // namespace
}  // namespace tunport
