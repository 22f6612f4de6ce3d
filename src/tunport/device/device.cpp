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

#include "tunport/device/tun_offload_internal.hpp"

namespace tunport {
namespace {

constexpr std::size_t packet_information_size = sizeof(tun_pi);
/// struct virtio_net_hdr (linux/virtio_net.h), which longer ones begin with.
constexpr int least_virtio_header = 10;

using Framing = std::array<std::byte, max_framing>;

/// True if the kernel chooses the name, or a part of it.
bool is_open_ended(const std::string& name) { return name.empty() || name.find('%') != std::string::npos; }

/// Why the clone device could not be opened.
std::error_code open_error(int number, const char* path, IoSystem& io) {
  switch (number) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return Errc::no_driver;
    case EACCES:  // by its mode; or by a mount with nodev, whatever the mode
      return io.access(path, R_OK | W_OK) == 0 ? Errc::clone_device_forbidden : Errc::clone_device_denied;
    case EPERM:  // by a device cgroup
      return Errc::clone_device_forbidden;
    case EISDIR:
      return Errc::not_clone_device;
    default:
      return errno_code(number);
  }
}

/// Why a device of this kind cannot be attached to that link; no error if it can.
std::error_code mismatch(const LinkInfo& link, DeviceKind kind, const DeviceOptions& options) {
  if (!link.tunnel) return Errc::not_a_tunnel;
  if (link.tunnel->kind != kind) return Errc::wrong_kind;
  if (link.tunnel->multi_queue != options.multi_queue) return Errc::multi_queue_mismatch;
  return {};
}

/// What TUNSETIFF meant by `number`: the kernel has one EINVAL and one EBUSY for many causes, the link tells
/// them apart.
std::error_code bind_error(int number, DeviceKind kind, const std::string& name, const DeviceOptions& options,
                           LinkSystem& links) {
  switch (number) {
    case EPERM:
      return Errc::not_permitted;
    case EEXIST:
      return Errc::device_exists;
    case ENOTTY:  // no request of this file's
      return Errc::not_clone_device;
    case EINVAL:
    case EBUSY: {
      std::error_code unknown;
      const auto link = links.find(name, unknown);
      if (number == EBUSY)
        return link && options.mode == OpenMode::create ? Errc::device_exists : Errc::device_busy;
      const std::error_code found = link ? mismatch(*link, kind, options) : std::error_code{};
      return found ? found : errno_code(number);
    }
    default:
      return errno_code(number);
  }
}

/// The errno of a request to a bound device.
std::error_code request_error(int number) {
  if (number == EPERM) return Errc::not_permitted;
  return errno_code(number);
}

/// What to ask for when the kernel refused `set`: without the latest that kernels have learned, or without
/// what is left of it.
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

/// The EtherType that packet information carries for this packet; -1 if it has none.
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

// What the kernel's dev_valid_name takes, in the 15 characters that a request has room for. It would cut a
// longer name silently.
bool is_device_name(const std::string& name) {
  if (name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
  const auto is_forbidden = [](unsigned char c) {
    return c == '/' || c == ':' || c == ' ' || (c >= '\t' && c <= '\r') || c == 0xa0 || c == '\0';
  };
  if (std::ranges::any_of(name, is_forbidden)) return false;
  const auto percent = name.find('%');
  return percent == std::string::npos ||
         (name.compare(percent, 2, "%d") == 0 && name.find('%', percent + 1) == std::string::npos);
}

std::string to_string(const Capabilities& capabilities) {
  std::string text{to_string(capabilities.kind)};
  if (capabilities.packet_information) text += ", packet information";
  if (capabilities.vnet_header) text += ", virtio header";
  if (capabilities.byte_order != std::endian::native)
    text += capabilities.byte_order == std::endian::big ? " in big-endian" : " in little-endian";
  if (capabilities.offload.any()) text.append(", offload ").append(to_string(capabilities.offload));
  if (capabilities.multi_queue) text += ", multi-queue";
  if (capabilities.persistent) text += ", persistent";
  return text;
}

Device& Device::operator=(Device&& other) noexcept {
  if (this == &other) return *this;
  close();
  io_ = other.io_;
  links_ = other.links_;
  fd_ = std::move(other.fd_);
  name_ = std::move(other.name_);
  capabilities_ = other.capabilities_;
  waiting_ = std::move(other.waiting_);
  return *this;
}

Device Device::open(DeviceKind kind, const std::string& name, const DeviceOptions& options, System system) {
  return throwing(name.empty() ? std::string{to_string(kind)} : name,
                  [&](std::error_code& ec) { return open(kind, name, options, system, ec); });
}

Device Device::open(DeviceKind kind, const std::string& name, const DeviceOptions& options, System system,
                    std::error_code& ec) {
  if (options.network_namespace.empty()) return open_here(kind, name, options, system, ec);
  Device device;
  std::error_code opened;
  system.links.in_namespace_of(
      options.network_namespace, [&] { device = open_here(kind, name, options, system, opened); }, ec);
  if (!ec) ec = opened;
  if (ec) device.close();
  return device;
}

Device Device::open_here(DeviceKind kind, const std::string& name, const DeviceOptions& options,
                         System system, std::error_code& ec) {
  ec.clear();
  const bool attach = options.mode == OpenMode::attach;
  if (!is_device_name(name) || (attach && is_open_ended(name))) {
    ec = Errc::invalid_name;
    return {};
  }
  const int opened = system.io.open(options.clone_path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (opened < 0) {
    ec = open_error(-opened, options.clone_path.c_str(), system.io);
    return {};
  }
  Device device{UniqueFd{opened}, system};
  if (options.blocking) {
    device.waiting_ = std::make_unique<Waiting>();
    device.waiting_->cancelled.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!device.waiting_->cancelled) {
      ec = errno_code(errno);
      return {};
    }
  }

  // TUNSETIFF creates what is not there. So look first, and afterwards make sure that it is still the same.
  std::optional<LinkInfo> present;
  if (attach) {
    present = system.links.find(name, ec);
    if (!ec) ec = mismatch(*present, kind, options);
    if (ec) return {};
  }

  const int flags =
      (kind == DeviceKind::tun ? IFF_TUN : IFF_TAP) | (options.packet_information ? 0 : IFF_NO_PI) |
      (options.multi_queue ? IFF_MULTI_QUEUE : 0) | (options.mode == OpenMode::create ? IFF_TUN_EXCL : 0);
  const bool wants_header = tun_offload::consistent(options.offload).any();
  device.bind(name, flags | (wants_header ? IFF_VNET_HDR : 0), kind, options, ec);
  // An EINVAL that nothing explains may be a kernel's that does not know the header.
  if (wants_header && ec == errno_code(EINVAL)) device.bind(name, flags, kind, options, ec);
  if (ec) return {};
  // The first queue sets the flags, another one gets those that are there.
  device.probe(options.multi_queue ? std::nullopt : std::optional{options.packet_information},
               options.offload, ec);
  if (!ec && attach) {
    const auto link = system.links.find(device.name_, ec);
    if (!ec && link->index != present->index) ec = Errc::no_such_device;
  }
  if (ec) return {};
  return device;
}

void Device::bind(const std::string& name, int flags, DeviceKind kind, const DeviceOptions& options,
                  std::error_code& ec) {
  ec.clear();
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags);
  if (const int bound = io_->ioctl(fileno(), TUNSETIFF, &request); bound < 0)
    ec = bind_error(-bound, kind, name, options, *links_);
}

Device Device::adopt(UniqueFd fd, System system, const OffloadFeatures& wanted) {
  return throwing("descriptor " + std::to_string(fd.get()),
                  [&](std::error_code& ec) { return adopt(std::move(fd), system, ec, wanted); });
}

Device Device::adopt(UniqueFd fd, System system, std::error_code& ec, const OffloadFeatures& wanted) {
  ec.clear();
  Device device{std::move(fd), system};
  const int flags = system.io.get_flags(device.fileno());
  if (flags < 0 || (flags & O_ACCMODE) != O_RDWR) {
    ec = errno_code(flags < 0 ? -flags : EBADF);
    return {};
  }
  device.probe(std::nullopt, wanted, ec);
  if (ec) {
    if (device.name_.empty()) ec = Errc::not_bound;
    return {};
  }
  if (const int set = system.io.set_flags(device.fileno(), flags | O_NONBLOCK, true); set < 0) {
    ec = errno_code(-set);
    return {};
  }
  return device;
}

/// Reads back what the device is, and sets its offload mask.
void Device::probe(std::optional<bool> packet_information, const OffloadFeatures& wanted,
                   std::error_code& ec) {
  ifreq request{};
  if (const int result = io_->ioctl(fileno(), TUNGETIFF, &request); result < 0) {
    ec = request_error(-result);
    return;
  }
  const int flags = request.ifr_flags;
  name_.assign(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  capabilities_ = {};
  capabilities_.kind = (flags & IFF_TAP) != 0 ? DeviceKind::tap : DeviceKind::tun;
  if (!packet_information) {
    const auto link = links_->find(name_, ec);
    if (ec) return;
    packet_information = link->tunnel && link->tunnel->packet_information;
  }
  capabilities_.packet_information = *packet_information;
  capabilities_.vnet_header = (flags & IFF_VNET_HDR) != 0;
  capabilities_.multi_queue = (flags & IFF_MULTI_QUEUE) != 0;
  capabilities_.persistent = (flags & IFF_PERSIST) != 0;
  if (capabilities_.packet_information) capabilities_.framing += packet_information_size;
  if (capabilities_.vnet_header) probe_virtio_header(ec);
  if (!ec) set_offload(wanted, ec);
}

/// Its size and byte order are the device's and outlive who set them.
void Device::probe_virtio_header(std::error_code& ec) {
  int size = 0;
  if (const int result = io_->ioctl(fileno(), TUNGETVNETHDRSZ, &size); result < 0) {
    ec = request_error(-result);
    return;
  }
  capabilities_.framing += static_cast<std::size_t>(std::max(size, 0));
  if (size < least_virtio_header || capabilities_.framing > max_framing) {
    ec = Errc::bad_header_size;
    return;
  }
  // A kernel that does not know the request has the machine's order. Asked for both, it takes the former.
  const auto is_set = [&](unsigned long request) {
    int value = 0;
    return io_->ioctl(fileno(), request, &value) == 0 && value != 0;
  };
  if (is_set(TUNGETVNETLE))
    capabilities_.byte_order = std::endian::little;
  else if (is_set(TUNGETVNETBE))
    capabilities_.byte_order = std::endian::big;
}

void Device::set_offload(const OffloadFeatures& wanted, std::error_code& ec) {
  OffloadFeatures asked =
      capabilities_.vnet_header ? tun_offload::consistent(wanted) : OffloadFeatures::none();
  for (;; asked = less_than(asked)) {
    set(TUNSETOFFLOAD, tun_offload::to_mask(asked), ec);  // no privilege is needed
    if (!ec || ec != errno_code(EINVAL) || !asked.any()) break;
  }
  // Even no mask is refused by kernels that know of none.
  if (ec == errno_code(EINVAL)) ec.clear();
  if (!ec) capabilities_.offload = asked;
}

UniqueFd Device::release() { return std::move(fd_); }

void Device::close() noexcept {
  if (!fd_) return;
  if (waiting_) {
    waiting_->closing.store(true);  // before the calls are counted: a later one sees it
    cancel();
    while (waiting_->calls.load() != 0) std::this_thread::yield();
  }
  if (capabilities_.persistent && !capabilities_.multi_queue && capabilities_.offload.any())
    io_->ioctl_value(fileno(), TUNSETOFFLOAD, 0);
  fd_.reset();
}

void Device::cancel() noexcept {
  if (waiting_) ::eventfd_write(waiting_->cancelled.get(), 1);
}

ssize_t Device::wait(short events) const noexcept {
  // Without POLLPRI whoever waits to write would not hear of it when the device is deleted.
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
  // The kernel would not even look at nothing: writev of zero bytes succeeds.
  if (parts.size() > max_write_parts || byte_at(parts, 0) < 0) return EINVAL;
  Framing head;
  const MutableBytes framing = MutableBytes{head}.first(capabilities_.framing);
  if (!emit_framing(framing, parts, offload)) return EINVAL;
  // One write(2) of a copy is cheaper than a writev(2) of two parts while the packet is small.
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

void Device::set_send_buffer(int bytes, std::error_code& ec) {
  ec.clear();
  if (const int result = io_->ioctl(fileno(), TUNSETSNDBUF, &bytes); result < 0) ec = request_error(-result);
}

}  // namespace tunport
