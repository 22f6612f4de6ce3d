#pragma once
/// The kit of the contract tests of offload.

#include <vector>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include "tunport/device/device.hpp"
#include "tunport/device/tun_offload_internal.hpp"

#include "contract/world.hpp"
#include "support/shape.hpp"

namespace tunport::contract {

inline constexpr std::size_t segment_size = 100;

/// Devices with super-packets on both sides.
class OffloadContract : public Contract {
 protected:
  using Shape = shapes::Shape;

  Device open(DeviceKind kind, const OffloadFeatures& wanted, const std::string& name = "tp0") {
    Device device = Device::open(kind, name, {.offload = wanted}, system());
    set_up(name, true);
    return device;
  }
  System system() { return world(); }
  /// Makes a persistent device, as if left behind by an earlier process.
  void leave_behind(int flags, unsigned long mask, int header_size = 10) {
    const UniqueFd fd = make("tp0", flags, false);
    if ((flags & IFF_VNET_HDR) != 0) {
      EXPECT_EQ(io().ioctl(fd.get(), TUNSETVNETHDRSZ, &header_size), 0);
    }
    EXPECT_EQ(io().ioctl_value(fd.get(), TUNSETOFFLOAD, mask), 0);
    EXPECT_EQ(io().ioctl_value(fd.get(), TUNSETPERSIST, 1), 0);
  }

  struct Read {
    Packet bytes;
    MemoryVirtioHeader header;
    ReadResult result;
  };
  /// Reads a packet, with its framing.
  Read read(Device& device, std::size_t room = 70'000) {
    Packet buffer(device.capabilities().framing + room + 1);
    Read read;
    read.result = device.read_framed(buffer);
    if (read.result.error != 0) return read;
    const auto& capabilities = device.capabilities();
    if (capabilities.vnet_header) {
      const std::size_t start = capabilities.packet_information ? 4 : 0;
      read.header = MemoryVirtioHeader::load(Bytes{buffer}.subspan(start), capabilities.byte_order);
    }
    const Bytes packet = Bytes{buffer}.subspan(capabilities.framing, read.result.size);
    read.bytes.assign(packet.begin(), packet.end());
    return read;
  }
  /// Reads until the device is empty. Returns the packets without framing.
  std::vector<Packet> drain(Device& device) {
    std::vector<Packet> packets;
    for (Read next = read(device); next.result.error == 0 && packets.size() < 1000; next = read(device))
      packets.push_back(std::move(next.bytes));
    return packets;
  }
  int write(Device& device, const MemoryVirtioHeader& header, Bytes packet) {
    Packet framed(device.capabilities().framing);
    const std::size_t start = device.capabilities().packet_information ? 4 : 0;
    header.store(MutableBytes{framed}.subspan(start), device.capabilities().byte_order);
    framed.insert(framed.end(), packet.begin(), packet.end());
    return device.write_framed(Bytes{framed});
  }
  void inject(const Shape& shape, Bytes payload) {
    world().inject("tp0", shapes::super_packet(shape, payload), shapes::offload_of(shape, segment_size));
  }
  bool knows_uso() {
    const UniqueFd fd = make("probe", IFF_TUN | IFF_NO_PI, false);
    return io().ioctl_value(fd.get(), TUNSETOFFLOAD, tun_offload::to_mask(OffloadFeatures::all())) == 0;
  }

  const Packet payload_ = shapes::some_bytes(5 * segment_size - 30);
};

}  // namespace tunport::contract
