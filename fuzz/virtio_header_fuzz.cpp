// An arbitrary virtio header and an arbitrary packet: an accepted offload lies within the packet, and a
// written header decodes to the same offload.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"

#include "input.hpp"

namespace {

using namespace tunport;
using fuzz::require;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::array<std::size_t, 4> header_sizes{10, 12, 20, 24};
  fuzz::Input input{data, size};
  const unsigned choice = input.u8();
  const auto kind = (choice & 1) != 0 ? DeviceKind::tap : DeviceKind::tun;
  const auto order = (choice & 2) != 0 ? std::endian::big : std::endian::little;
  const std::size_t header_size = header_sizes[choice >> 2 & 3];
  const auto header = input.take(header_size);
  if (header.size() < header_size) return 0;
  auto packet = input.rest();

  DropReason why{};
  const auto offload = virtio_header::decode(header, order, packet, kind, why);
  if (!offload) {
    require(why == DropReason::bad_offload);
    return 0;
  }
  std::vector<std::byte> encoded(header_size, std::byte{0xee});
  virtio_header::encode(*offload, order, encoded);
  require(virtio_header::decode(encoded, order, packet, kind, why) == offload);
  if (offload->is_super_packet()) {
    require(offload->segment_size >= 1 && offload->header_length <= longest_headers);
    require(offload->header_length < packet.size() && datagrams_in(packet.size(), *offload) >= 2);
  }
  if (offload->checksum == ChecksumState::to_fill) complete_checksum(packet, *offload);
  return 0;
}
