// The framing of packets on the descriptor, of every kind and origin.
#include <bit>
#include <cstring>
#include <tuple>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

/// A device with a header size and byte order set by an earlier process, attached to or adopted.
using Framing = std::tuple<int, bool, std::endian, bool>;

class FramingTest : public SuperPackets, public testing::WithParamInterface<Framing> {
 protected:
  ~FramingTest() override { port.reset(); }

  static int header_size() { return std::get<0>(GetParam()); }
  static bool has_packet_information() { return std::get<1>(GetParam()); }
  static std::endian order() { return std::get<2>(GetParam()); }
  static bool is_adopted() { return std::get<3>(GetParam()); }

  UniqueFd make() {
    UniqueFd fd{kernel.open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC)};
    ifreq request{};
    std::strncpy(request.ifr_name, "tun0", IFNAMSIZ - 1);
    request.ifr_flags =
        static_cast<short>(IFF_TUN | IFF_VNET_HDR | (has_packet_information() ? 0 : IFF_NO_PI));
    EXPECT_EQ(kernel.ioctl(fd.get(), TUNSETIFF, &request), 0);
    int size = header_size();
    EXPECT_EQ(kernel.ioctl(fd.get(), TUNSETVNETHDRSZ, &size), 0);
    int on = 1;
    EXPECT_EQ(kernel.ioctl(fd.get(), order() == std::endian::little ? TUNSETVNETLE : TUNSETVNETBE, &on), 0);
    EXPECT_EQ(kernel.ioctl_value(fd.get(), TUNSETPERSIST, 1), 0);
    return fd;
  }
  void SetUp() override {
    UniqueFd fd = make();
    if (is_adopted()) {
      port = std::make_unique<TuntapPort>(clock, Device::adopt(std::move(fd), {}, kernel), accepter,
                                          PortOptions{.system = kernel});
    } else {
      fd.reset();
      PortOptions options{.system = kernel};
      options.device.packet_information = has_packet_information();
      port = std::make_unique<TuntapPort>(clock, DeviceKind::tun, "tun0", accepter, options);
    }
    port->start_listening();
    interface().set_up(true);
    const Capabilities& capabilities = port->device().capabilities();
    ASSERT_EQ(capabilities.framing,
              static_cast<std::size_t>(header_size()) + (has_packet_information() ? 4 : 0));
    ASSERT_EQ(capabilities.byte_order, order());
    ASSERT_EQ(capabilities.offload, OffloadFeatures::all());
  }
  void expect_written(const Shape& shape, std::size_t payload, std::size_t segment_size) {
    const auto written = interface().collect_packets();
    ASSERT_THAT(written, SizeIs(1));
    EXPECT_EQ(written[0].bytes, shapes::super_packet(shape, shapes::some_bytes(payload)));
    EXPECT_EQ(written[0].offload, shapes::offload_of(shape, segment_size));
  }
};

std::string name_of(const testing::TestParamInfo<Framing>& framing) {
  const auto& [size, information, order, adopted] = framing.param;
  return std::to_string(size) + (information ? "_with_information" : "") +
         (order == std::endian::little ? "_little" : "_big") + (adopted ? "_adopted" : "_attached");
}

INSTANTIATE_TEST_SUITE_P(Framings, FramingTest,
                         testing::Combine(testing::Values(10, 12, 24), testing::Bool(),
                                          testing::Values(std::endian::little, std::endian::big),
                                          testing::Bool()),
                         name_of);

TEST_P(FramingTest, ASuperPacketComesInAndGoesOut) {
  accepter.on_frame = [&](const Packet& packet) { EXPECT_TRUE(port->forward(packet)); };
  for (const Shape& shape : {tcp4, udp4, Shape{.v6 = true}}) {
    inject(shape, 5000, 1000);
    clock.run_ready();
    EXPECT_EQ(accepter.offloads.back(), shapes::offload_of(shape, 1000));
    expect_written(shape, 5000, 1000);
  }
  EXPECT_EQ(port->statistics().drops.total(), 0U);
}

TEST_P(FramingTest, WritesAreJoinedAndQueued) {
  for (const bool writable : {true, false}) {
    interface().set_writable(writable);
    {
      const Cork cork{clock};
      for (const Buffer& datagram : shapes::segments(udp4, shapes::some_bytes(1500), 500))
        EXPECT_EQ(port->write(datagram), WriteResult::make_queued());
    }
    EXPECT_EQ(port->queued_bytes() != 0, !writable);
    interface().set_writable(true);
    clock.run_ready();
    expect_written(udp4, 1500, 500);
  }
  const Buffer single = shapes::datagram(tcp4, as_bytes("alone"));
  EXPECT_EQ(port->write(single), WriteResult::make_sent());
  EXPECT_THAT(interface().collect(), ElementsAre(single));
}

TEST_P(FramingTest, AHeaderThatPointsBeyondItsPacketCostsThatPacketOnly) {
  const Buffer packet = shapes::datagram(udp4, as_bytes("hello"));
  const PacketOffload beyond[] = {
      {.checksum = ChecksumState::to_fill, .checksum_start = 20, .checksum_offset = 12},
      {.checksum = ChecksumState::to_fill, .checksum_start = 5000, .checksum_offset = 6},
      {.checksum = ChecksumState::to_fill, .checksum_start = 0xffff, .checksum_offset = 0xffff},
  };
  for (const PacketOffload& left : beyond) ASSERT_TRUE(interface().inject(packet, left));
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::bad_offload), 3U);
  EXPECT_THAT(accepter.frames, IsEmpty());
  interface().inject(packet);
  clock.run_ready();
  EXPECT_THAT(accepter.frames, ElementsAre(packet));
}

TEST_P(FramingTest, AFrameWithoutRoomForItsHeaderCostsThatFrameOnly) {
  const Buffer packet = shapes::datagram(udp4, as_bytes("hello"));
  kernel.fail_next(Call::read, EINVAL);
  interface().inject(packet);
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::bad_framing), 1U);
  interface().inject(packet);
  clock.run_ready();
  EXPECT_TRUE(port->listening());
  EXPECT_THAT(accepter.frames, testing::Each(packet));
  EXPECT_THAT(accepter.frames, testing::Not(IsEmpty()));
}

// --- a device opened elsewhere

TEST_F(SuperPackets, ADeviceHandedToAPortTakesOverWhatThePortIsToldTo) {
  const auto hand_over = [&](const OffloadFeatures& opened_with, const OffloadFeatures& wanted) {
    Device device = Device::open(DeviceKind::tun, "tun0", {.offload = opened_with}, kernel);
    port = std::make_unique<TuntapPort>(clock, std::move(device), accepter,
                                        PortOptions{.offload = wanted, .system = kernel});
    port->start_listening();
    interface().set_up(true);
    EXPECT_EQ(port->device().capabilities().vnet_header, opened_with.any());
  };
  hand_over(OffloadFeatures::all(), OffloadFeatures::none());
  EXPECT_EQ(interface().offload(), 0U);
  const Packets datagrams = inject(tcp4, 3000, 1000);
  clock.run_ready();
  EXPECT_EQ(accepter.frames, datagrams) << "the header is there, and nothing in it";
  {
    const Cork cork{clock};
    for (const Buffer& datagram : datagrams) EXPECT_EQ(port->write(datagram), WriteResult::make_sent());
  }
  EXPECT_EQ(interface().collect(), datagrams);
  port.reset();

  hand_over({.checksum = true}, OffloadFeatures::all());
  EXPECT_EQ(port->device().capabilities().offload, OffloadFeatures::all());
  EXPECT_NE(interface().offload(), 0U);
  accepter.frames.clear();
  inject(tcp4, 3000, 1000);
  clock.run_ready();
  EXPECT_THAT(accepter.frames, SizeIs(1));
  port.reset();

  hand_over(OffloadFeatures::none(), OffloadFeatures::all());
  EXPECT_EQ(interface().offload(), 0U) << "super-packets need a header";
  accepter.frames.clear();
  EXPECT_EQ(inject(tcp4, 3000, 1000), datagrams);
  clock.run_ready();
  EXPECT_EQ(accepter.frames, datagrams);
  port.reset();
}

}  // namespace
}  // namespace tunport
