#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tunport/device/device.hpp"
#include "tunport/device/tun_flags_internal.hpp"
#include "tunport/device/tun_offload_internal.hpp"

// Opening, attaching, adopting and probing.

namespace tunport {
namespace {

constexpr std::size_t packet_information_size = sizeof(tun_pi);
/// struct virtio_net_hdr (linux/virtio_net.h), the beginning of longer headers.
constexpr int least_virtio_header = 10;

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

/// The obstacle to attaching a device of `kind` to `link`; no error without an obstacle.
std::error_code mismatch(const LinkInfo& link, DeviceKind kind, const DeviceOptions& options) {
  if (!link.tunnel) return Errc::not_a_tunnel;
  if (link.tunnel->kind != kind) return Errc::wrong_kind;
  if (link.tunnel->multi_queue != options.multi_queue) return Errc::multi_queue_mismatch;
  return {};
}

/// The meaning of `number` from TUNSETIFF: the kernel has a single EINVAL and a single EBUSY for many causes,
/// and the link tells the causes apart.
std::error_code bind_error(int number, DeviceKind kind, const std::string& name, const DeviceOptions& options,
                           System system) {
  switch (number) {
    case EPERM:
      return Errc::not_permitted;
    case EEXIST:
      return Errc::device_exists;
    case ENOTTY:  // no request of this file's
      return Errc::not_clone_device;
    case E2BIG:
      return Errc::too_many_queues;
    case EINVAL:
    case EBUSY: {
      std::error_code unknown;
      const auto link = options.netlink ? system.links.find(name, unknown) : std::nullopt;
      if (number == EBUSY && link && options.mode == OpenMode::create) return Errc::device_exists;
      if (number == EBUSY) return system.io.holds(name) ? Errc::device_held_here : Errc::device_busy;
      const std::error_code found = link ? mismatch(*link, kind, options) : std::error_code{};
      return found ? found : errno_code(number);
    }
    default:
      return errno_code(number);
  }
}

/// True if there is an interface of `name`, asked without netlink: TUNSETIFF says EBUSY before anything else.
/// Otherwise a new device may be made; the device goes with `fd`.
bool is_there(int fd, DeviceKind kind, const std::string& name, IoSystem& io) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags =
      static_cast<short>((kind == DeviceKind::tun ? IFF_TUN : IFF_TAP) | IFF_NO_PI | IFF_TUN_EXCL);
  return io.ioctl(fd, TUNSETIFF, &request) == -EBUSY;
}

/// True if TUNGETIFF's flags describe the tunnel.
bool fits(const TunnelInfo& tunnel, int flags) {
  return (tunnel.kind == DeviceKind::tap) == ((flags & IFF_TAP) != 0) &&
         tunnel.vnet_header == ((flags & IFF_VNET_HDR) != 0) &&
         tunnel.multi_queue == ((flags & IFF_MULTI_QUEUE) != 0) &&
         tunnel.persistent == ((flags & IFF_PERSIST) != 0);
}

}  // namespace

// As the kernel's dev_valid_name, within the 15 characters of a request. The kernel would cut a longer name
// silently.
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

std::optional<VirtioHeaderSize> virtio_header_size(std::size_t bytes) {
  for (const VirtioHeaderSize size : {VirtioHeaderSize::basic, VirtioHeaderSize::version1,
                                      VirtioHeaderSize::hash, VirtioHeaderSize::tunnel})
    if (static_cast<std::size_t>(size) == bytes) return size;
  return std::nullopt;
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
  if (const auto size = options.virtio_header_size;
      size && !virtio_header_size(static_cast<std::size_t>(*size))) {
    ec = Errc::invalid_header_size;
    return {};
  }
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
  device.clone_path_ = options.clone_path;
  if (options.blocking) {
    device.waiting_ = std::make_unique<Waiting>();
    device.waiting_->cancelled.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!device.waiting_->cancelled) {
      ec = errno_code(errno);
      return {};
    }
  }

  // TUNSETIFF creates an absent device. So look first, and make sure afterwards that the device is the same.
  std::optional<LinkInfo> present;
  if (attach && options.netlink) {
    present = system.links.find(name, ec);
    if (!ec) ec = mismatch(*present, kind, options);
  } else if (attach && !is_there(device.fileno(), kind, name, system.io)) {
    ec = Errc::no_such_device;
  }
  if (ec) return {};

  const int flags = device.flags_for(kind, options, ec);
  if (ec) return {};
  const bool wants_header = tun_offload::consistent(options.offload).any();
  bool is_made = false;
  const auto bind = [&](int asked) {
    // IFF_TUN_EXCL tells a device that is made from a present device.
    int bound = attach ? -EBUSY : device.bind(name, asked | IFF_TUN_EXCL);
    is_made = bound == 0;
    if (bound == -EBUSY && options.mode != OpenMode::create) bound = device.bind(name, asked);
    ec = bound < 0 ? bind_error(-bound, kind, name, options, system) : std::error_code{};
  };
  bind(flags | (wants_header ? IFF_VNET_HDR : 0));
  // An unexplained EINVAL may come from a kernel without the header.
  if (wants_header && !options.virtio_header_size && ec == errno_code(EINVAL)) bind(flags);
  if (!ec && options.virtio_header_size)
    device.set_virtio_header_size(*options.virtio_header_size, options, ec);
  if (ec) return {};
  // The first queue sets the flags, a further queue gets the present flags.
  AdoptOptions known{.offload = options.offload, .netlink = options.netlink};
  const bool is_settled = !options.multi_queue || !options.netlink;
  if (is_settled) known.packet_information = options.packet_information;
  device.probe(known, is_settled, ec);
  if (!ec) device.check_knobs(options, ec);
  if (!ec && present) {
    const auto link = system.links.find(device.name_, ec);
    if (!ec && link->index != present->index) ec = Errc::no_such_device;
  } else if (!ec && attach && !options.multi_queue && !device.capabilities_.persistent) {
    ec = Errc::no_such_device;  // made just now
  }
  if (ec) return {};
  if (is_made && options.netlink) device.lengthen_queue();
  return device;
}

/// A refusal leaves the kernel's own length.
void Device::lengthen_queue() const {
  std::error_code ec;
  const Link link = this->link(ec);
  const LinkInfo info = ec ? LinkInfo{} : link.info(ec);
  if (!ec && info.tx_queue_length < default_tx_queue_length)
    link.set_tx_queue_length(default_tx_queue_length, ec);
}

int Device::flags_for(DeviceKind kind, const DeviceOptions& options, std::error_code& ec) const {
  // The kernel ignores unknown flags silently.
  unsigned known = 0;
  const bool is_told = io_->ioctl(fileno(), TUNGETFEATURES, &known) == 0;
  const auto knows = [&](int flag) { return is_told && (known & static_cast<unsigned>(flag)) != 0; };
  int flags = (kind == DeviceKind::tun ? IFF_TUN : IFF_TAP) | (options.packet_information ? 0 : IFF_NO_PI);
  const auto ask = [&](bool wanted, int flag, Knob knob) {
    if (!wanted) return;
    if (is_told && !knows(flag) && !ec) ec = not_supported(knob);
    flags |= flag;
  };
  ask(options.multi_queue, IFF_MULTI_QUEUE, Knob::multi_queue);
  ask(options.no_carrier, tun_flag::no_carrier, Knob::no_carrier);
  ask(options.napi, IFF_NAPI, Knob::napi);
  ask(options.backpressure.value_or(knows(tun_flag::backpressure)), tun_flag::backpressure,
      Knob::backpressure);
  ask(options.virtio_header_size.has_value(), IFF_VNET_HDR, Knob::virtio_header);
  return flags;
}

int Device::bind(const std::string& name, int flags) const {
  ifreq request{};
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags);
  return io_->ioctl(fileno(), TUNSETIFF, &request);
}

/// A size that is right already is left alone, and so is the size of other queues.
void Device::set_virtio_header_size(VirtioHeaderSize size, const DeviceOptions& options,
                                    std::error_code& ec) {
  const int wanted = static_cast<int>(size);
  int now = 0;
  if (io_->ioctl(fileno(), TUNGETVNETHDRSZ, &now) == 0 && now == wanted) return;
  if (options.multi_queue && options.netlink) {
    const Link link = this->link(ec);
    const LinkInfo info = ec ? LinkInfo{} : link.info(ec);
    if (!ec && info.tunnel && info.tunnel->queues.value_or(1) > 1) ec = Errc::header_size_in_use;
  } else if (options.multi_queue && options.mode != OpenMode::create) {
    ec = Errc::header_size_in_use;  // perhaps
  }
  if (!ec) set_number(TUNSETVNETHDRSZ, wanted, Knob::virtio_header_size, ec);
}

/// What was asked for, and is not there: a further queue has the flags of the device, and a kernel without
/// TUNGETFEATURES ignores a flag.
void Device::check_knobs(const DeviceOptions& options, std::error_code& ec) const {
  if (options.multi_queue && !capabilities_.multi_queue) ec = not_supported(Knob::multi_queue);
  if (!options.virtio_header_size) return;
  if (capabilities_.virtio_header_size() != static_cast<std::size_t>(*options.virtio_header_size))
    ec = Errc::header_size_in_use;
}

Device Device::adopt(UniqueFd fd, const AdoptOptions& options, System system) {
  return throwing("descriptor " + std::to_string(fd.get()),
                  [&](std::error_code& ec) { return adopt(std::move(fd), options, system, ec); });
}

Device Device::adopt(UniqueFd fd, const AdoptOptions& options, System system, std::error_code& ec) {
  ec.clear();
  Device device{std::move(fd), system};
  device.clone_path_ = DeviceOptions{}.clone_path;
  const int flags = system.io.get_flags(device.fileno());
  if (flags < 0 || (flags & O_ACCMODE) != O_RDWR) {
    ec = errno_code(flags < 0 ? -flags : EBADF);
    return {};
  }
  // A macvtap answers TUNGETIFF as well, but a deletion hangs no descriptor up, and later writes succeed.
  unsigned features = 0;
  if (system.io.ioctl(device.fileno(), TUNGETFEATURES, &features) == 0 && (features & IFF_TUN) == 0) {
    ec = Errc::not_tun_driver;
    return {};
  }
  device.probe(options, false, ec);
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

/// Reads the device's properties back, and sets the offload mask. `is_settled`: a request has settled packet
/// information.
void Device::probe(const AdoptOptions& options, bool is_settled, std::error_code& ec) {
  ifreq request{};
  if (const int result = io_->ioctl(fileno(), TUNGETIFF, &request); result < 0) {
    ec = errno_code(-result);
    return;
  }
  const int flags = request.ifr_flags;
  name_.assign(request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ));
  capabilities_ = {};
  capabilities_.kind = (flags & IFF_TAP) != 0 ? DeviceKind::tap : DeviceKind::tun;
  capabilities_.packet_information =
      is_settled ? options.packet_information.value_or(false) : probe_packet_information(flags, options, ec);
  if (ec) return;
  capabilities_.vnet_header = (flags & IFF_VNET_HDR) != 0;
  capabilities_.multi_queue = (flags & IFF_MULTI_QUEUE) != 0;
  capabilities_.persistent = (flags & IFF_PERSIST) != 0;
  capabilities_.napi = (flags & IFF_NAPI) != 0;
  capabilities_.backpressure = (flags & tun_flag::backpressure) != 0;
  if (capabilities_.packet_information) capabilities_.framing += packet_information_size;
  if (capabilities_.vnet_header) probe_virtio_header(ec);
  if (!ec) set_offload(options.offload, ec);
}

/// `flags` are TUNGETIFF's.
bool Device::probe_packet_information(int flags, const AdoptOptions& options, std::error_code& ec) const {
  const std::optional<bool> stated = options.packet_information;
  std::optional<bool> seen;
  if ((flags & IFF_NO_PI) == 0) {
    seen = true;
  } else if (options.netlink) {
    const Link link = this->link(ec);
    const LinkInfo info = ec ? LinkInfo{} : link.info(ec);
    // Without the right to know the device's namespace, a namesake may have been found.
    const bool is_it = info.tunnel && fits(*info.tunnel, flags);
    if (!ec && info.tunnel && !is_it) ec = Errc::no_such_device;
    if (!ec) seen = is_it && info.tunnel->packet_information;
    if (stated) ec.clear();
  }
  if (stated && seen && *seen != *stated) ec = Errc::packet_information_mismatch;
  return stated.value_or(seen.value_or(false));
}

/// The header's size and byte order belong to the device, and outlive earlier processes.
void Device::probe_virtio_header(std::error_code& ec) {
  int size = 0;
  if (const int result = io_->ioctl(fileno(), TUNGETVNETHDRSZ, &size); result < 0) {
    ec = errno_code(-result);
    return;
  }
  capabilities_.framing += static_cast<std::size_t>(std::max(size, 0));
  if (size < least_virtio_header || capabilities_.framing > max_framing) {
    ec = Errc::bad_header_size;
    return;
  }
  // A kernel without the request has the machine's order. Of both orders, little-endian wins in the kernel.
  const auto is_set = [&](unsigned long request) {
    int value = 0;
    return io_->ioctl(fileno(), request, &value) == 0 && value != 0;
  };
  if (is_set(TUNGETVNETLE))
    capabilities_.byte_order = std::endian::little;
  else if (is_set(TUNGETVNETBE))
    capabilities_.byte_order = std::endian::big;
}

}  // namespace tunport
