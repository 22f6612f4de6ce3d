#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>

#include <linux/if_ether.h>
#include <linux/if_tun.h>

#include "tunport/device/io_system.hpp"
#include "tunport/device/tun_flags_internal.hpp"
#include "tunport/device/tun_offload_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/testing/memory_device_internal.hpp"

namespace tunport {
namespace {

constexpr std::size_t packet_information_size = sizeof(tun_pi);

/// Puts bytes into the parts of a readv, as far as the parts suffice.
class Scatter {
 public:
  explicit Scatter(std::span<const iovec> parts) : parts_{parts} {}
  void put(Bytes bytes) {
    while (!bytes.empty() && !parts_.empty()) {
      const std::size_t size = std::min(bytes.size(), parts_.front().iov_len - used_);
      std::copy_n(bytes.begin(), size, static_cast<std::byte*>(parts_.front().iov_base) + used_);
      bytes = bytes.subspan(size);
      used_ += size;
      if (used_ < parts_.front().iov_len) continue;
      parts_ = parts_.subspan(1);
      used_ = 0;
    }
  }

 private:
  std::span<const iovec> parts_;
  std::size_t used_ = 0;
};

std::vector<std::byte> gather(std::span<const iovec> parts) {
  std::vector<std::byte> bytes;
  bytes.reserve(size_of(parts));
  for (const iovec& part : parts) {
    const auto* const begin = static_cast<const std::byte*>(part.iov_base);
    bytes.insert(bytes.end(), begin, begin + part.iov_len);
  }
  return bytes;
}

unsigned version_of(Bytes packet) { return packet.empty() ? 0 : load_u8(packet, 0) >> 4U; }

std::uint16_t ether_type_of(Bytes packet, bool is_tap) {
  if (is_tap) return packet.size() >= ETH_HLEN ? load_be16(packet, 12) : std::uint16_t{0};
  return version_of(packet) == 6 ? ETH_P_IPV6 : ETH_P_IP;
}

}  // namespace

void PacketRing::resize(std::size_t capacity) {
  std::rotate(slots_.begin(), slots_.begin() + static_cast<std::ptrdiff_t>(head_), slots_.end());
  head_ = 0;
  slots_.resize(capacity);
  size_ = std::min(size_, capacity);
}

bool PacketRing::push(Bytes packet, const MemoryVirtioHeader& header) {
  if (size_ == slots_.size()) return false;
  Slot& slot = slots_[(head_ + size_) % slots_.size()];
  slot.packet.assign(packet.begin(), packet.end());
  slot.header = header;
  ++size_;
  return true;
}

void PacketRing::pop() {
  head_ = (head_ + 1) % slots_.size();
  --size_;
}

MemoryDevice::MemoryDevice(int number, std::string called, unsigned features, const MemoryTraits& traits)
    : index{number},
      name{std::move(called)},
      flags{features},
      tx_queue_length{is_tap() ? 1000U : 500U},
      traits_{traits} {
  const auto low = static_cast<std::uint8_t>(index);
  if (is_tap()) mac = MacAddress{{0x02, 0x74, 0x61, 0x70, static_cast<std::uint8_t>(index >> 8), low}};
}

bool MemoryDevice::is_tap() const { return (flags & IFF_TAP) != 0; }
bool MemoryDevice::is_tunnel() const { return (flags & (IFF_TUN | IFF_TAP)) != 0; }
bool MemoryDevice::persistent() const { return (flags & IFF_PERSIST) != 0; }
bool MemoryDevice::has_packet_information() const { return (flags & IFF_NO_PI) == 0; }
bool MemoryDevice::has_vnet_header() const { return (flags & IFF_VNET_HDR) != 0; }
bool MemoryDevice::has_backpressure() const { return (flags & tun_flag::backpressure) != 0; }

std::endian MemoryDevice::byte_order() const {
  if (vnet_little_endian) return std::endian::little;
  return vnet_big_endian ? std::endian::big : std::endian::native;
}

std::size_t MemoryDevice::framing() const {
  return (has_packet_information() ? packet_information_size : 0) +
         (has_vnet_header() ? static_cast<std::size_t>(vnet_header_size) : 0);
}

LinkInfo MemoryDevice::info() const {
  LinkInfo link;
  link.index = index;
  link.name = name;
  link.mac = mac;
  link.mtu = mtu;
  link.up = up;
  link.carrier = carrier;
  link.tx_queue_length = tx_queue_length;
  link.tx_dropped = tx_dropped;
  if (is_tunnel()) {
    TunnelInfo tunnel;
    tunnel.kind = kind();
    tunnel.packet_information = has_packet_information();
    tunnel.vnet_header = has_vnet_header();
    tunnel.multi_queue = (flags & IFF_MULTI_QUEUE) != 0;
    tunnel.persistent = persistent();
    tunnel.owner = owner;
    tunnel.group = group;
    if (tunnel.multi_queue) tunnel.queues = static_cast<unsigned>(attached());
    link.tunnel = tunnel;
  }
  return link;
}

void MemoryDevice::attach(MemoryFile& file) {
  file.ring.resize(tx_queue_length);
  queues.push_back(&file);
  refresh_writable();
}

void MemoryDevice::detach(MemoryFile& file) {
  std::erase(queues, &file);
  std::erase(resting, &file);
  if (attached() == 0) carrier = false;
  std::erase_if(flows_, [&](const auto& flow) { return flow.second == &file; });
}

void MemoryDevice::set_in_service(MemoryFile& file, bool value) {
  (value ? queues : resting).push_back(&file);
  std::erase(value ? resting : queues, &file);
  file.in_service = value;
  if (value) return;
  std::erase_if(flows_, [&](const auto& flow) { return flow.second == &file; });
  file.ring.clear();
  file.readiness.set_readable(false);
}

void MemoryDevice::set_up(bool value) {
  up = value;
  refresh_writable();
}

void MemoryDevice::set_tx_queue_length(unsigned packets) {
  tx_queue_length = packets;
  for (const auto* const files : {&queues, &resting})
    for (MemoryFile* const queue : *files) queue->ring.resize(packets);
}

void MemoryDevice::remove() {
  removed = true;
  up = false;
  for (const auto* const files : {&queues, &resting})
    for (MemoryFile* const queue : *files) queue->readiness.hang_up();
  queues.clear();
  resting.clear();
  flows_.clear();
}

ssize_t MemoryDevice::read(MemoryFile& file, std::span<const iovec> parts, bool non_blocking) {
  const std::size_t room = size_of(parts);
  if (room == 0) return 0;
  if (file.ring.empty()) return non_blocking ? -EAGAIN : -EDEADLK;
  const Bytes packet = file.ring.front().packet;
  const std::size_t size = framing() + packet.size();
  ssize_t result = -EINVAL;  // and the packet is gone
  if (room >= framing()) {
    Scatter out{parts};
    if (has_packet_information()) {
      std::array<std::byte, packet_information_size> header{};
      // The flags are in the byte order of the host, unlike the protocol (struct tun_pi).
      if (room < size) header[std::endian::native == std::endian::little ? 0 : 1] = std::byte{TUN_PKT_STRIP};
      store_be16(header, 2, ether_type_of(packet, is_tap()));
      out.put(header);
    }
    if (has_vnet_header()) {
      std::array<std::byte, MemoryVirtioHeader::size> header{};
      file.ring.front().header.store(header, byte_order());
      out.put(header);
      for (int i = int{MemoryVirtioHeader::size}; i < vnet_header_size; ++i)
        out.put(std::array{std::byte{0}});
    }
    out.put(packet);
    result = static_cast<ssize_t>(std::min(size, room));
  }
  file.ring.pop();
  if (file.ring.empty()) file.readiness.set_readable(false);
  return result;
}

ssize_t MemoryDevice::write(MemoryFile& file, std::span<const iovec> parts, bool non_blocking) {
  const std::size_t size = size_of(parts);
  if (size < framing()) return -EINVAL;
  std::vector<std::byte> packet = gather(parts);
  MemoryVirtioHeader header;
  if (has_vnet_header()) {
    const std::size_t start = has_packet_information() ? packet_information_size : 0;
    header = MemoryVirtioHeader::load(Bytes{packet}.subspan(start), byte_order());
    // Bytes of a longer header behind the common part count as packet here.
    if (header.reach() > size - start - MemoryVirtioHeader::size) return -EINVAL;
    if (is_tap() && header.reach() != 0 && header.reach() < ETH_HLEN) return -EINVAL;
  }
  if (is_tap() && size - framing() < ETH_HLEN) return -EINVAL;
  if (held || (send_buffer != INT_MAX && written_bytes >= static_cast<std::size_t>(send_buffer)))
    return non_blocking ? -EAGAIN : -EDEADLK;
  packet.erase(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(framing()));
  const auto left = header.offload_of(packet, kind(), traits_);
  if (!left || refused[static_cast<std::size_t>(left->kind)]) return -EINVAL;
  if (!is_tap() && !has_packet_information() && version_of(packet) != 4 && version_of(packet) != 6)
    return -EINVAL;
  if (!up) return -EIO;
  const bool is_noted = queues.size() > 1 && file.in_service;
  if (const std::uint32_t flow = is_noted ? flow_of(packet) : 0; flow != 0) flows_[flow] = &file;
  written_bytes += packet.size();
  written.push_back({std::move(packet), *left});
  refresh_writable();
  return static_cast<ssize_t>(size);
}

bool MemoryDevice::inject(Bytes packet, const PacketOffload& offload_left) {
  if (removed || !up) return false;
  if (!carrier) {
    ++tx_dropped;
    return false;
  }
  const OffloadFeatures granted = tun_offload::from_mask(offload);
  if (granted.covers(offload_left)) return enqueue(packet, offload_left);
  if (!offload_left.is_super_packet()) {
    std::vector<std::byte> whole{packet.begin(), packet.end()};
    fill_checksum(whole, offload_left);
    return enqueue(whole, {});
  }
  const auto segments = split(packet, offload_left, kind(), !granted.checksum);
  if (segments.empty()) ++tx_dropped;
  bool all = !segments.empty();
  for (const WrittenPacket& segment : segments) all = enqueue(segment.bytes, segment.offload) && all;
  return all;
}

bool MemoryDevice::enqueue(Bytes packet, const PacketOffload& left) {
  MemoryFile* const queue = queues.empty() ? nullptr : &queue_of(packet);
  if (queue == nullptr || !queue->ring.push(packet, MemoryVirtioHeader::of(left))) {
    if (queue == nullptr || !has_backpressure()) ++tx_dropped;
    return false;
  }
  queue->readiness.set_readable(true);
  return true;
}

std::uint32_t MemoryDevice::flow_of(Bytes packet) const {
  const auto layout = find_layout_to_fill(packet, kind());
  if (!layout) return 0;
  const std::size_t size = layout->v6 ? 16 : 4;
  const std::size_t source = layout->ip + (layout->v6 ? 8U : 12U);
  const auto end = [&](std::size_t address, std::size_t port) {  // FNV-1a
    std::uint32_t hash = 2166136261U;
    for (const Bytes part : {packet.subspan(address, size), packet.subspan(port, 2)})
      for (const std::byte byte : part) hash = (hash ^ std::to_integer<std::uint32_t>(byte)) * 16777619U;
    return hash;
  };
  const std::uint32_t both = end(source, layout->transport) + end(source + size, layout->transport + 2);
  return std::max((both ^ both >> 15) * 0x9e3779b1U, 1U);
}

MemoryFile& MemoryDevice::queue_of(Bytes packet) const {
  const std::uint32_t flow = queues.size() > 1 ? flow_of(packet) : 0;
  if (const auto known = flows_.find(flow); known != flows_.end()) return *known->second;
  return *queues[static_cast<std::size_t>(std::uint64_t{flow} * queues.size() >> 32)];
}

std::vector<WrittenPacket> MemoryDevice::collect() {
  written_bytes = 0;
  std::vector<WrittenPacket> packets;
  packets.swap(written);
  refresh_writable();
  return packets;
}

void MemoryDevice::set_writable(bool value) {
  held = !value;
  refresh_writable();
}

void MemoryDevice::refresh_writable() {
  // As sock_writeable() in the kernel: less than half of the buffer is taken.
  const bool room = send_buffer == INT_MAX || written_bytes < static_cast<std::size_t>(send_buffer) / 2;
  for (const auto* const files : {&queues, &resting})
    for (MemoryFile* const queue : *files) queue->readiness.set_writable(up && !held && room);
}

}  // namespace tunport
