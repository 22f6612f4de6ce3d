#include "tunport/device/device.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tunport/device/tun_flags_internal.hpp"
#include "tunport/device/tun_offload_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"

namespace tunport {
namespace {

using Framing = std::array<std::byte, max_framing>;

/// The errno of a request to a bound device.
std::error_code request_error(int number) {
  if (number == EPERM) return Errc::not_permitted;
  return errno_code(number);
}

/// The next features to ask for after a refusal of `set`: without the latest feature of kernels.
OffloadFeatures less_than(OffloadFeatures set) {
  if (set.uso)
    set.uso = false;
  else if (set.ecn)
    set.ecn = false;
  else if (set.tso6)
    set.tso6 = false;
  else if (set.tso4)
    set.tso4 = false;
  else
    set.checksum = false;
  return set;
}

iovec writable(MutableBytes bytes) { return {bytes.data(), bytes.size()}; }
iovec readable(Bytes bytes) { return {const_cast<std::byte*>(bytes.data()), bytes.size()}; }

/// The byte at `offset` of the gathered parts; -1 beyond them.
int byte_at(std::span<const Bytes> parts, std::size_t offset) {
  for (const Bytes part : parts) {
    if (offset < part.size()) return load_u8(part, offset);
    offset -= part.size();
  }
  return -1;
}

/// The EtherType of the packet, for packet information; -1 without an EtherType.
int ether_type(DeviceKind kind, std::span<const Bytes> parts) {
  if (kind == DeviceKind::tap) {
    const int low = byte_at(parts, 13);
    return low < 0 ? -1 : byte_at(parts, 12) << 8 | low;
  }
  switch (byte_at(parts, 0) >> 4) {
    case 4:
      return 0x0800;
    case 6:
      return 0x86dd;
    default:
      return -1;
  }
}

}  // namespace

std::string to_string(const Capabilities& capabilities) {
  std::string text{to_string(capabilities.kind)};
  if (capabilities.packet_information) text += ", packet information";
  if (capabilities.vnet_header) text += ", virtio header";
  if (capabilities.byte_order != std::endian::native)
    text += capabilities.byte_order == std::endian::big ? " in big-endian" : " in little-endian";
  if (capabilities.offload.any()) text.append(", offload ").append(to_string(capabilities.offload));
  if (capabilities.multi_queue) text += ", multi-queue";
  if (capabilities.persistent) text += ", persistent";
  if (capabilities.napi) text += ", NAPI";
  if (capabilities.backpressure) text += ", backpressure";
  return text;
}

Device& Device::operator=(Device&& other) noexcept {
  if (this == &other) return *this;
  close();
  clone_path_ = std::move(other.clone_path_);
  io_ = other.io_;
  links_ = other.links_;
  is_kernel_ = other.is_kernel_;
  fd_ = std::move(other.fd_);
  name_ = std::move(other.name_);
  capabilities_ = other.capabilities_;
  waiting_ = std::move(other.waiting_);
  return *this;
}

void Device::set_offload(const OffloadFeatures& wanted, std::error_code& ec) {
  OffloadFeatures asked =
      capabilities_.vnet_header ? tun_offload::consistent(wanted) : OffloadFeatures::none();
  for (;; asked = less_than(asked)) {
    set(TUNSETOFFLOAD, tun_offload::to_mask(asked), ec);  // no privilege is needed
    if (!ec || ec != errno_code(EINVAL) || !asked.any()) break;
  }
  // Kernels without masks refuse even an empty mask.
  if (ec == errno_code(EINVAL)) ec.clear();
  if (!ec) capabilities_.offload = asked;
}

UniqueFd Device::release() { return std::move(fd_); }

void Device::close() noexcept {
  if (!fd_) return;
  if (waiting_) {
    waiting_->closing.store(true);  // before the calls are counted: a later call sees the flag
    cancel();
    while (waiting_->calls.load() != 0) std::this_thread::yield();
  }
  if (capabilities_.persistent && capabilities_.offload.any())
    close_without_mask();
  else
    fd_.reset();
}

int Device::attach_again(int fd, const std::string& name) const {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(
      (capabilities_.kind == DeviceKind::tun ? IFF_TUN : IFF_TAP) |
      (capabilities_.packet_information ? 0 : IFF_NO_PI) | (capabilities_.vnet_header ? IFF_VNET_HDR : 0) |
      (capabilities_.multi_queue ? IFF_MULTI_QUEUE : 0) | (capabilities_.napi ? IFF_NAPI : 0) |
      (capabilities_.backpressure ? tun_flag::backpressure : 0));
  return io_->ioctl(fd, TUNSETIFF, &request);
}

void Device::close_without_mask() noexcept try {
  std::error_code ec;
  const Link link = this->link(ec);
  LinkInfo info;
  int opened = -1;
  if (!ec) info = link.info(ec);
  if (!ec) link.inside([&] { opened = io_->open(clone_path_.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK); }, ec);
  const UniqueFd again{std::max(opened, -1)};
  const auto queues = [&] { return !ec && info.tunnel ? info.tunnel->queues : std::nullopt; };
  const bool multi_queue = capabilities_.multi_queue;
  // The attached queue is in the way of a second queue: EBUSY shows that a second one may be asked for.
  // Two queues may be closed at the same time: each looks again after its close.
  const bool can_look =
      again && (multi_queue ? queues().has_value() : attach_again(again.get(), info.name) == -EBUSY);
  if (!can_look && !multi_queue) io_->ioctl_value(fileno(), TUNSETOFFLOAD, 0);
  fd_.reset();
  if (!can_look) return;
  if (multi_queue) {
    info = link.info(ec);
    if (queues() != 0U) return;  // a duplicate of the descriptor
  }
  if (attach_again(again.get(), info.name) == 0 && link.info(ec).name == info.name)
    io_->ioctl_value(again.get(), TUNSETOFFLOAD, 0);
} catch (...) {
  fd_.reset();
}

void Device::cancel() noexcept {
  if (waiting_) ::eventfd_write(waiting_->cancelled.get(), 1);
}

ssize_t Device::wait(short events) const noexcept {
  // Without POLLPRI a waiting writer would not hear of the device's deletion.
  std::array<pollfd, 2> entries{pollfd{waiting_->cancelled.get(), POLLIN, 0},
                                pollfd{fd_.get(), static_cast<short>(events | POLLPRI), 0}};
  const int ready = ::poll(entries.data(), entries.size(), -1);
  if (ready < 0) return -errno;
  return entries[0].revents != 0 ? -ECANCELED : 0;
}

ReadResult Device::read(MutableBytes buffer) noexcept {
  std::byte spare{};
  Framing head;
  const std::size_t framing = capabilities_.framing;
  const std::array<iovec, 3> parts{writable(MutableBytes{head}.first(framing)), writable(buffer),
                                   iovec{&spare, 1}};
  const auto used = std::span{parts}.subspan(framing == 0 ? 1 : 0);
  const ssize_t result = waited(POLLIN, [&] { return io_->readv(fd_.get(), used); });
  if (result < 0) return {.error = static_cast<int>(-result)};
  const auto size = static_cast<std::size_t>(result);
  if (size < framing) return {.error = EINVAL};
  const std::size_t packet = size - framing;
  if (packet > buffer.size()) return {.size = buffer.size(), .truncated = true};
  if (!capabilities_.vnet_header) return {.size = packet};
  DropReason why{};
  const auto left =
      virtio_header::decode(Bytes{head}.subspan(capabilities_.virtio_header_offset()),
                            capabilities_.byte_order, buffer.first(packet), capabilities_.kind, why);
  if (!left) return {.error = EBADMSG};
  return {.size = packet, .offload = *left};
}

std::optional<PacketOffload> Device::offload_of(Bytes framed, DropReason& why) const {
  if (!capabilities_.vnet_header) return PacketOffload{};
  return virtio_header::decode(framed.subspan(capabilities_.virtio_header_offset()), capabilities_.byte_order,
                               framed.subspan(capabilities_.framing), capabilities_.kind, why);
}

int Device::write_sequence(std::span<const Bytes> parts) noexcept {
  if (capabilities_.framing != 0 || parts.size() != 1) return write_parts(parts);
  return write_framed(parts[0]);
}

int Device::write(Bytes packet, const PacketOffload& offload) noexcept {
  const bool is_to_be_told = offload.is_super_packet() || offload.checksum == ChecksumState::to_fill;
  if (is_to_be_told && !capabilities_.vnet_header) return EOPNOTSUPP;
  return write_parts({&packet, 1}, offload);
}

bool Device::emit_framing(MutableBytes framing, std::span<const Bytes> parts,
                          const PacketOffload& offload) const noexcept {
  if (capabilities_.packet_information) {
    const int type = ether_type(capabilities_.kind, parts);
    if (type < 0) return false;
    store_be16(framing, 0, 0);
    store_be16(framing, 2, static_cast<std::uint16_t>(type));
  }
  if (capabilities_.vnet_header)
    virtio_header::encode(offload, capabilities_.byte_order,
                          framing.subspan(capabilities_.virtio_header_offset()));
  return true;
}

int Device::write_parts(std::span<const Bytes> parts, const PacketOffload& offload) noexcept {
  // A writev of zero bytes succeeds: the kernel does not look.
  if (parts.size() > max_write_parts || byte_at(parts, 0) < 0) return EINVAL;
  Framing head;
  const MutableBytes framing = MutableBytes{head}.first(capabilities_.framing);
  if (!emit_framing(framing, parts, offload)) return EINVAL;
  // A write(2) of a copy is cheaper than a writev(2) of two parts for a small packet.
  if (constexpr std::size_t small = 2048; parts.size() == 1 && parts[0].size() <= small) {
    std::array<std::byte, max_framing + small> whole;
    std::memcpy(whole.data(), framing.data(), framing.size());
    std::memcpy(whole.data() + framing.size(), parts[0].data(), parts[0].size());
    return write_framed(Bytes{whole}.first(framing.size() + parts[0].size()));
  }
  std::array<iovec, max_write_parts + 1> gathered;
  std::size_t count = 0;
  if (!framing.empty()) gathered[count++] = writable(framing);
  for (const Bytes part : parts) gathered[count++] = readable(part);
  return write_framed(std::span<const iovec>{gathered}.first(count));
}

std::string Device::current_name(std::error_code& ec) const {
  ifreq request{};
  ec.clear();
  if (const int result = io_->ioctl(fileno(), TUNGETIFF, &request); result < 0) ec = request_error(-result);
  return {request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ)};
}

Link Device::link(std::error_code& ec) const {
  constexpr int most_tries = 8;
  for (int tries = 0; tries < most_tries; ++tries) {
    const std::string name = current_name(ec);
    std::shared_ptr<LinkSystem> around;
    if (!ec) around = links_->around(*io_, fileno(), ec);
    if (ec) return {};
    if (!around) around = {links_, [](LinkSystem*) {}};
    const auto info = around->find(name, ec);
    // After a rename or a move the interface found by the name may be a stranger.
    std::error_code gone;
    if (current_name(gone) != name && !gone) continue;
    if (gone) ec = gone;
    if (ec) return {};
    return {around, around->only(info->index, name), name};
  }
  ec = Errc::links_changing;
  return {};
}

Device::Opener Device::opener() const {
  std::error_code denied;
  const std::shared_ptr<LinkSystem> around = links_->around(*io_, fileno(), denied);
  if (denied != Errc::namespace_denied) denied.clear();  // a deleted device may be opened again
  return [kind = kind(), system = System{*io_, *links_}, around, denied, now = capabilities_](
             const std::string& name, const DeviceOptions& asked, std::error_code& ec) {
    DeviceOptions options = asked;
    if (now.multi_queue) {
      options.multi_queue = true;
      options.offload = now.offload;
    }
    const bool is_elsewhere = options.network_namespace.empty() && (around || denied);
    if (!is_elsewhere) return open(kind, name, options, system, ec);
    Device device;
    ec = denied;
    if (ec) return device;
    std::error_code opened;
    around->inside([&] { device = open_here(kind, name, options, system, opened); }, ec);
    if (!ec) ec = opened;
    if (ec) device.close();
    return device;
  };
}

bool Device::is_gone() const noexcept {
  ifreq request{};
  return io_->ioctl(fileno(), TUNGETIFF, &request) == -EBADFD;
}

void Device::set(unsigned long request, unsigned long value, std::error_code& ec) {
  ec.clear();
  if (const int result = io_->ioctl_value(fileno(), request, value); result < 0) ec = request_error(-result);
}

void Device::set_persistent(bool persistent, std::error_code& ec) {
  set(TUNSETPERSIST, persistent ? 1 : 0, ec);
  if (!ec) capabilities_.persistent = persistent;
}

void Device::set_owner(std::uint32_t uid, std::error_code& ec) { set(TUNSETOWNER, uid, ec); }
void Device::set_group(std::uint32_t gid, std::error_code& ec) { set(TUNSETGROUP, gid, ec); }

void Device::set_number(unsigned long request, int number, Knob knob, std::error_code& ec) {
  ec.clear();
  const int result = io_->ioctl(fileno(), request, &number);
  if (result < 0) ec = result == -EINVAL ? not_supported(knob) : request_error(-result);
}

void Device::set_carrier(bool carrier, std::error_code& ec) {
  set_number(TUNSETCARRIER, carrier ? 1 : 0, Knob::carrier, ec);
}

void Device::set_send_buffer(int bytes, std::error_code& ec) {
  if (bytes <= 0)
    ec = errno_code(EINVAL);
  else
    set_number(TUNSETSNDBUF, bytes, Knob::send_buffer, ec);
}

void Device::set_queue_enabled(bool enabled, std::error_code& ec) {
  ec.clear();
  ifreq request{};
  request.ifr_flags = static_cast<short>(enabled ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
  const int result = io_->ioctl(fileno(), TUNSETQUEUE, &request);
  if (result == 0) return;
  ec = request_error(-result);
  if (result != -EINVAL) return;
  // A device that is gone, a device of a single queue, or a queue in that state already.
  ifreq now{};
  if (const int known = io_->ioctl(fileno(), TUNGETIFF, &now); known < 0)
    ec = request_error(-known);
  else if ((now.ifr_flags & IFF_MULTI_QUEUE) == 0)
    ec = Errc::multi_queue_mismatch;
  else if (((now.ifr_flags & IFF_DETACH_QUEUE) == 0) == enabled)
    ec.clear();
}

}  // namespace tunport
