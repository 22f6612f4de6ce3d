#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <linux/if.h>
#include <linux/if_tun.h>

#include "tunport/device/queues.hpp"
#include "tunport/device/tun_flags_internal.hpp"
#include "tunport/testing/memory_kernel_internal.hpp"

namespace tunport {
namespace {

constexpr unsigned type_mask = IFF_TUN | IFF_TAP;
constexpr unsigned features =
    IFF_NO_PI | IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_NAPI | unsigned{tun_flag::backpressure};
constexpr int most_numbered = 32768;  // numbers that the kernel tries for a template

// dev_valid_name() in net/core/dev.c.
bool is_valid_name(const std::string& name) {
  return !name.empty() && name.size() < IFNAMSIZ && name != "." && name != ".." &&
         name.find_first_of("/: \t\n\v\f\r") == std::string::npos;
}

}  // namespace

MemoryKernel::MemoryKernel() {
  std::shared_ptr<MemoryDevice> loopback;
  create("lo", 0, loopback);
  loopback->mtu = 65536;
  loopback->up = loopback->carrier = true;
  const IpPrefix own[] = {{Ipv4Address{0x7f000001}, 8},
                          {Ipv6Address{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}}, 128}};
  for (const IpPrefix& prefix : own) loopback->addresses.push_back({.prefix = prefix});
}

void MemoryKernel::sweep() {
  std::erase_if(files, [this](const auto& entry) {
    MemoryFile& file = *entry.second;
    if (!file.readiness.abandoned()) return false;
    if (const auto device = file.device; device && !device->removed) {
      device->detach(file);
      if (device->attached() == 0 && !device->persistent()) remove(*device);
    }
    return true;
  });
}

MemoryFile* MemoryKernel::find_file(int fd) {
  const auto found = files.find(Readiness::identity_of(fd));
  if (found == files.end()) return nullptr;
  found->second->readiness.seen_at(fd);
  return found->second.get();
}

std::shared_ptr<MemoryDevice> MemoryKernel::find(const std::string& name, bool moved) const {
  const auto found = std::ranges::find_if(
      devices, [&](const auto& device) { return device->moved == moved && device->name == name; });
  return found == devices.end() ? nullptr : *found;
}

int MemoryKernel::create(const std::string& name, unsigned flags, std::shared_ptr<MemoryDevice>& device) {
  if (!is_valid_name(name)) return -EINVAL;
  std::string chosen = name;
  if (const auto percent = name.find('%'); percent != std::string::npos) {
    if (name.compare(percent, 2, "%d") != 0 || name.find('%', percent + 1) != std::string::npos)
      return -EINVAL;
    int number = 0;
    do {
      if (number == most_numbered) return -ENFILE;
      chosen = name.substr(0, percent) + std::to_string(number++) + name.substr(percent + 2);
    } while (find(chosen) != nullptr);
    if (chosen.size() >= IFNAMSIZ) return -EINVAL;
  }
  device = std::make_shared<MemoryDevice>(++last_index, chosen, flags, traits);
  device->moved = away;
  devices.push_back(device);
  return 0;
}

void MemoryKernel::remove(MemoryDevice& device) {
  set_up(device, false);
  remove_addresses(device, [](const auto&) { return true; });
  device.remove();
  tell(device, LinkNotice::Kind::deleted);
  std::erase_if(devices, [&](const auto& entry) { return entry.get() == &device; });
}

void MemoryKernel::set_up(MemoryDevice& device, bool up) {
  if (device.up != up) {
    device.set_up(up);
    tell(device, LinkNotice::Kind::state);
  }
  if (up) return;
  device.routes.clear();
  remove_addresses(device, [](const InterfaceAddress& address) { return address.prefix.address.is_v6(); });
}

void MemoryKernel::tell(const MemoryDevice& device, LinkNotice::Kind kind) {
  std::erase_if(monitors, [](const auto& monitor) { return monitor.expired(); });
  for (const auto& weak : monitors) {
    const auto monitor = weak.lock();
    if (!monitor || monitor->device.get() != &device || monitor->away != device.moved) continue;
    try {
      LinkNotice notice{.kind = kind};
      if (kind == LinkNotice::Kind::state) notice.link = device.info();
      monitor->notices.push_back(std::move(notice));
    } catch (const std::bad_alloc&) {
      monitor->lost = true;
    }
    monitor->readiness.set_readable(true);
  }
}

bool MemoryKernel::may_attach(const MemoryDevice& device) const {
  const bool foreign = (device.owner && *device.owner != uid) || (device.group && *device.group != gid);
  return privileged || !foreign;
}

int MemoryKernel::set_iff(MemoryFile& file, ifreq& request) {
  if (file.device && !file.device->removed) return -EEXIST;
  if (file.device) return -EBADFD;  // the kernel would attach again; this descriptor stays hung up
  // Unknown flags are ignored.
  const unsigned flags = static_cast<unsigned short>(request.ifr_flags) & (known | IFF_TUN_EXCL);
  const std::string name{request.ifr_name, ::strnlen(request.ifr_name, IFNAMSIZ - 1)};
  auto device = find(name);
  if (device) {
    if ((flags & IFF_TUN_EXCL) != 0) return -EBUSY;
    if ((flags & device->flags & type_mask) == 0) return -EINVAL;
    if (((flags ^ device->flags) & IFF_MULTI_QUEUE) != 0) return -EINVAL;
    if (!may_attach(*device)) return -EPERM;
    if ((flags & IFF_MULTI_QUEUE) == 0 && device->attached() != 0) return -EBUSY;
    if (device->attached() == max_queues) return -E2BIG;
    // The first queue sets the flags of the device; further queues take the device as is.
    if (device->attached() == 0) device->flags = (device->flags & ~features) | (flags & features);
  } else {
    if (!privileged) return -EPERM;
    const unsigned type = (flags & IFF_TUN) != 0 ? IFF_TUN : flags & IFF_TAP;
    if (type == 0) return -EINVAL;
    const char* const otherwise = type == IFF_TUN ? "tun%d" : "tap%d";
    if (const int error = create(name.empty() ? otherwise : name, type | (flags & features), device);
        error != 0)
      return error;
  }
  file.device = device;
  if (device->attached() == 0) device->carrier = (flags & unsigned{tun_flag::no_carrier}) == 0;
  device->attach(file);
  std::memset(request.ifr_name, 0, IFNAMSIZ);
  device->name.copy(request.ifr_name, IFNAMSIZ - 1);
  return 0;
}

int MemoryKernel::set_queue(MemoryFile& file, const ifreq& request) {
  const auto flags = static_cast<unsigned short>(request.ifr_flags);
  const bool attach = (flags & IFF_ATTACH_QUEUE) != 0;
  if (!attach && (flags & IFF_DETACH_QUEUE) == 0) return -EINVAL;
  const auto device = file.device;
  if (!device || device->removed || (device->flags & IFF_MULTI_QUEUE) == 0) return -EINVAL;
  if (file.in_service == attach) return -EINVAL;
  device->set_in_service(file, attach);
  return 0;
}

int MemoryKernel::fault(Call call, unsigned long request) {
  const auto found = std::ranges::find_if(faults, [&](const Fault& fault) {
    return fault.call == call && (!fault.request || *fault.request == request);
  });
  if (found == faults.end()) return 0;
  const int error = found->error;
  if (--found->times == 0) faults.erase(found);
  return -error;
}

bool MemoryKernel::is_local(const IpAddress& address) const {
  return std::ranges::any_of(devices, [&](const auto& device) {
    return !device->moved && std::ranges::any_of(device->addresses, [&](const InterfaceAddress& own) {
      return own.prefix.address == address || (device->name == "lo" && own.prefix.contains(address));
    });
  });
}

bool MemoryKernel::is_broadcast(const IpAddress& address) const {
  if (!address.is_v4()) return false;
  return address.v4().is_broadcast() || std::ranges::any_of(devices, [&](const auto& device) {
           return device->up && !device->moved &&
                  std::ranges::any_of(device->addresses, [&](const InterfaceAddress& own) {
                    return own.prefix.address.is_v4() && own.prefix.length < 31 &&
                           own.prefix.broadcast_v4() == address.v4();
                  });
         });
}

std::shared_ptr<MemoryDevice> MemoryKernel::find(int index) const {
  const auto found = std::ranges::find_if(
      devices, [&](const auto& device) { return !device->moved && device->index == index; });
  return found == devices.end() ? nullptr : *found;
}

bool MemoryKernel::is_reachable(const IpAddress& address) const {
  const auto leads_there = [&](const IpPrefix& prefix) { return prefix.contains(address); };
  return std::ranges::any_of(devices, [&](const auto& device) {
    return device->up && !device->moved &&
           (std::ranges::any_of(device->routes, leads_there, &Route::destination) ||
            std::ranges::any_of(device->addresses, leads_there, &InterfaceAddress::prefix));
  });
}

}  // namespace tunport
