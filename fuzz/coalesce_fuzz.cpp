// Segmentation of coalesced datagrams gives the same datagrams, flow by flow. The input makes either events
// in the traffic of well-formed flows, or arbitrary datagrams.
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

#include "input.hpp"
#include "support/traffic.hpp"

namespace {

using tunport::apart::Packet;
using tunport::traffic::Step;

/// Arbitrary datagrams. A byte for the length and a byte for the offload precede each datagram.
std::vector<Packet> raw(std::span<const std::uint8_t> input) {
  std::vector<Packet> result;
  while (input.size() > 2 && result.size() < 64) {
    const std::size_t size = std::min<std::size_t>(input[0], input.size() - 2);
    const auto state = input[1];
    input = input.subspan(2);
    if (size == 0) continue;
    Packet packet;
    const auto bytes = std::as_bytes(input.first(size));
    packet.bytes.assign(bytes.begin(), bytes.end());
    if (state % 4 == 1) packet.left.checksum = tunport::ChecksumState::verified;
    if (state % 4 == 2) {
      const auto start = static_cast<std::uint16_t>(state / 4 % 44);
      const std::uint16_t offset = state % 8 < 4 ? 6 : 16;
      // A port promises a field within the packet.
      if (start + offset + std::size_t{2} <= size)
        packet.left = {
            .checksum = tunport::ChecksumState::to_fill, .checksum_start = start, .checksum_offset = offset};
    }
    result.push_back(std::move(packet));
    input = input.subspan(size);
  }
  return result;
}

std::vector<Step> steps(std::span<const std::uint8_t> input) {
  std::vector<Step> result;
  for (; input.size() >= 5 && result.size() < 64; input = input.subspan(5))
    result.push_back({input[0], input[1], input[2], input[3], input[4]});
  return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto kind = (data[0] & 1) != 0 ? tunport::DeviceKind::tap : tunport::DeviceKind::tun;
  const auto way = tunport::traffic::ways[(data[0] >> 1 & 3) % std::size(tunport::traffic::ways)];
  const std::span<const std::uint8_t> input{data + 1, size - 1};
  const auto added = (data[0] & 8) != 0 ? raw(input) : tunport::traffic::make(kind, steps(input));
  const auto fault =
      tunport::traffic::fault_of_coalescing(added, kind, tunport::OffloadFeatures::all(), 8192, way);
  tunport::fuzz::require(fault.empty());
  return 0;
}
