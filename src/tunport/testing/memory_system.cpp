#include "tunport/testing/memory_system.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <stdexcept>

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include "tunport/base/error.hpp"
#include "tunport/device/tun_offload_internal.hpp"
#include "tunport/testing/memory_kernel_internal.hpp"
#include "tunport/testing/memory_links_internal.hpp"
#include "tunport/testing/memory_socket_internal.hpp"

namespace tunport {
namespace {

/// As set_offload() in drivers/net/tun.c: remaining bits are unknown.
bool is_offload_mask(unsigned long mask, const MemoryTraits& traits) {
  using namespace tun_offload;
  if ((mask & checksum) != 0) {
    mask &= ~(checksum | ufo);
    if ((mask & (tso4 | tso6)) != 0) mask &= ~(tso4 | tso6 | ecn);
    if (traits.uso && (mask & uso4) != 0 && (mask & uso6) != 0) mask &= ~(uso4 | uso6);
  }
  return mask == 0;
}

template <typename Value>
int copy_out(void* argument, const Value& value) {
  if (argument == nullptr) return -EFAULT;
  std::memcpy(argument, &value, sizeof value);
  return 0;
}

template <typename Value>
int copy_in(const void* argument, Value& value) {
  if (argument == nullptr) return -EFAULT;
  std::memcpy(&value, argument, sizeof value);
  return 0;
}

int get_iff(const MemoryFile& file, void* argument) {
  const MemoryDevice& device = *file.device;
  ifreq request{};
  device.name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_flags =
      static_cast<short>(device.flags | IFF_NOFILTER | (file.in_service ? 0 : IFF_DETACH_QUEUE));
  return copy_out(argument, request);
}

/// The requests that need a device and take a pointer.
int control(MemoryKernel& kernel, const MemoryFile& file, unsigned long request, void* argument) {
  MemoryDevice& device = *file.device;
  int number = 0;
  switch (request) {
    case TUNGETIFF:
      return get_iff(file, argument);
    case TUNGETVNETHDRSZ:
      return copy_out(argument, device.vnet_header_size);
    case TUNSETVNETHDRSZ:
      if (const int error = copy_in(argument, number); error != 0) return error;
      if (number < static_cast<int>(MemoryVirtioHeader::size)) return -EINVAL;
      device.vnet_header_size = number;
      return 0;
    case TUNGETVNETLE:
      return copy_out(argument, int{device.vnet_little_endian});
    case TUNGETVNETBE:
      return copy_out(argument, int{device.vnet_big_endian});
    case TUNSETVNETLE:
    case TUNSETVNETBE:
      if (const int error = copy_in(argument, number); error != 0) return error;
      (request == TUNSETVNETLE ? device.vnet_little_endian : device.vnet_big_endian) = number != 0;
      return 0;
    case TUNSETCARRIER:
      if (const int error = copy_in(argument, number); error != 0) return error;
      if (device.carrier == (number != 0)) return 0;
      device.carrier = number != 0;
      kernel.tell(device, LinkNotice::Kind::state);
      return 0;
    case TUNGETSNDBUF:
      return copy_out(argument, device.send_buffer);
    case TUNSETSNDBUF:
      if (const int error = copy_in(argument, number); error != 0) return error;
      if (number <= 0) return -EINVAL;
      device.send_buffer = number;
      device.refresh_writable();
      return 0;
    default:
      return -EINVAL;
  }
}

/// The requests that need a device and take a number.
int control(MemoryDevice& device, unsigned long request, unsigned long number, const MemoryTraits& traits) {
  switch (request) {
    case TUNSETPERSIST:
      device.flags = number != 0 ? device.flags | IFF_PERSIST : device.flags & ~unsigned{IFF_PERSIST};
      return 0;
    case TUNSETOWNER:
    case TUNSETGROUP: {
      const auto id = static_cast<std::uint32_t>(number);
      if (id == ~std::uint32_t{0}) return -EINVAL;
      (request == TUNSETOWNER ? device.owner : device.group) = id;
      return 0;
    }
    case TUNSETOFFLOAD:
      if (!is_offload_mask(number, traits)) return -EINVAL;
      device.offload = number;
      return 0;
    default:
      return -EINVAL;
  }
}

bool takes_number(unsigned long request) {
  return request == TUNSETPERSIST || request == TUNSETOWNER || request == TUNSETGROUP ||
         request == TUNSETOFFLOAD;
}

bool is_non_blocking(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

}  // namespace

struct MemorySystem::State {
  MemoryKernel kernel;
  MemoryLinks links{kernel};
  MemorySockets sockets{kernel};
};

MemorySystem::MemorySystem() : state_{std::make_unique<State>()} {}
MemorySystem::~MemorySystem() = default;

MemorySystem::operator System() { return {*this, state_->links}; }
LinkSystem& MemorySystem::links() { return state_->links; }

MemorySystem::Tunnel MemorySystem::tunnel(const std::string& name) {
  state_->kernel.sweep();
  auto device = state_->kernel.find(name);
  if (!device || !device->is_tunnel()) throw std::out_of_range{"MemorySystem: there is no tunnel " + name};
  return {state_->kernel, std::move(device)};
}

MemorySystem::Tunnel MemorySystem::add_persistent(DeviceKind kind, const std::string& name,
                                                  const PreparedDevice& prepared) {
  state_->kernel.sweep();
  const unsigned flags = (kind == DeviceKind::tap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_PERSIST |
                         (prepared.multi_queue ? IFF_MULTI_QUEUE : 0);
  std::shared_ptr<MemoryDevice> device;
  const int error = state_->kernel.find(name) ? -EEXIST : state_->kernel.create(name, flags, device);
  if (error != 0) throw Error{errno_code(-error), name};
  device->owner = prepared.owner;
  device->group = prepared.group;
  device->set_up(prepared.up);
  return {state_->kernel, std::move(device)};
}

void MemorySystem::set_privileged(bool privileged) { state_->kernel.privileged = privileged; }

void MemorySystem::set_user(std::uint32_t uid, std::uint32_t gid) {
  state_->kernel.uid = uid;
  state_->kernel.gid = gid;
}

void MemorySystem::set_clone_error(int error) { state_->kernel.clone_error = error; }

void MemorySystem::set_knows(unsigned flag, bool knows) {
  unsigned& known = state_->kernel.known;
  known = knows ? known | flag : known & ~flag;
}

void MemorySystem::set_knows_uso(bool knows) { state_->kernel.traits.uso = knows; }

void MemorySystem::fail_next(Call call, int error, unsigned times) {
  if (times > 0) state_->kernel.faults.push_back({call, std::nullopt, error, times});
}

void MemorySystem::fail_next_ioctl(unsigned long request, int error, unsigned times) {
  if (times > 0) state_->kernel.faults.push_back({Call::ioctl, request, error, times});
}

int MemorySystem::open(const char* path, int flags) try {
  state_->kernel.sweep();
  if (const int error = state_->kernel.fault(Call::open); error != 0) return error;
  if (std::strcmp(path, "/dev/net/tun") != 0) return -ENOENT;
  if (state_->kernel.clone_error != 0) return -state_->kernel.clone_error;
  auto file = std::make_unique<MemoryFile>();
  const int opened = file->readiness.open(flags);
  UniqueFd fd{std::max(opened, -1)};
  if (fd) state_->kernel.files.emplace(file->readiness.identity(), std::move(file));
  return fd ? fd.release() : opened;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

bool MemorySystem::holds(const std::string& interface) {
  const auto device = state_->kernel.find(interface);
  return device && device->attached() != 0;
}

int MemorySystem::ioctl(int fd, unsigned long request, void* argument) try {
  if (takes_number(request)) return ioctl_value(fd, request, reinterpret_cast<std::uintptr_t>(argument));
  state_->kernel.sweep();
  if (state_->sockets.knows(fd)) {
    if (const int error = state_->kernel.fault(Call::ioctl, request); error != 0) return error;
    return state_->sockets.ioctl(fd, request, argument);
  }
  MemoryFile* const file = state_->kernel.find_file(fd);
  if (file == nullptr) return -EBADF;
  if (const int error = state_->kernel.fault(Call::ioctl, request); error != 0) return error;
  if (request == TUNGETFEATURES) return copy_out(argument, state_->kernel.known);
  if (request == TUNSETIFF || request == TUNSETQUEUE) {
    ifreq wanted{};
    if (const int error = copy_in(argument, wanted); error != 0) return error;
    if (request == TUNSETQUEUE) return MemoryKernel::set_queue(*file, wanted);
    const int error = state_->kernel.set_iff(*file, wanted);
    return error != 0 ? error : copy_out(argument, wanted);
  }
  if (!file->device || file->device->removed) return -EBADFD;
  return control(state_->kernel, *file, request, argument);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::ioctl_value(int fd, unsigned long request, unsigned long argument) try {
  if (!takes_number(request)) return -EFAULT;  // a number is no address
  MemoryFile* const file = state_->kernel.find_file(fd);
  if (file == nullptr) return -EBADF;
  if (const int error = state_->kernel.fault(Call::ioctl, request); error != 0) return error;
  if (!file->device || file->device->removed) return -EBADFD;
  return control(*file->device, request, argument, state_->kernel.traits);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::read_packet(int fd, std::span<const iovec> parts) try {
  MemoryFile* const file = state_->kernel.find_file(fd);
  if (file == nullptr) return -EBADF;
  if (const int error = state_->kernel.fault(Call::read); error != 0) return error;
  if (!file->device || file->device->removed) return -EBADFD;
  return file->device->read(*file, parts, is_non_blocking(fd));
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::write_packet(int fd, std::span<const iovec> parts) try {
  MemoryFile* const file = state_->kernel.find_file(fd);
  if (file == nullptr) return -EBADF;
  if (const int error = state_->kernel.fault(Call::write); error != 0) return error;
  if (!file->device || file->device->removed) return -EBADFD;
  return file->device->write(*file, parts, is_non_blocking(fd));
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::read(int fd, void* buffer, std::size_t size) try {
  return read_packet(fd, std::array{iovec{buffer, size}});
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::readv(int fd, std::span<const iovec> parts) try {
  // A read of 0 bytes does not reach the driver in the kernel.
  if (size_of(parts) == 0) return state_->kernel.find_file(fd) == nullptr ? -EBADF : 0;
  return read_packet(fd, parts);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::write(int fd, const void* buffer, std::size_t size) try {
  return write_packet(fd, std::array{iovec{const_cast<void*>(buffer), size}});
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::writev(int fd, std::span<const iovec> parts) try {
  if (size_of(parts) == 0) return state_->kernel.find_file(fd) == nullptr ? -EBADF : 0;
  return write_packet(fd, parts);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::get_flags(int fd) try {
  if (state_->kernel.find_file(fd) == nullptr && !state_->sockets.knows(fd)) return -EBADF;
  if (const int error = state_->kernel.fault(Call::fcntl); error != 0) return error;
  const int flags = ::fcntl(fd, F_GETFL);
  return flags < 0 ? -errno : flags;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::set_flags(int fd, int flags, bool close_on_exec) try {
  if (state_->kernel.find_file(fd) == nullptr && !state_->sockets.knows(fd)) return -EBADF;
  if (const int error = state_->kernel.fault(Call::fcntl); error != 0) return error;
  if (::fcntl(fd, F_SETFL, flags) != 0) return -errno;
  return close_on_exec && ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ? -errno : 0;
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::socket(int domain, int type, int protocol) try {
  const int error = state_->kernel.fault(Call::socket);
  return error != 0 ? error : state_->sockets.socket(domain, type, protocol);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::bind(int fd, const sockaddr* address, socklen_t length) try {
  const int error = state_->kernel.fault(Call::bind);
  return error != 0 ? error : state_->sockets.bind(fd, address, length);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::connect(int fd, const sockaddr* address, socklen_t length) try {
  const int error = state_->kernel.fault(Call::connect);
  return error != 0 ? error : state_->sockets.connect(fd, address, length);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::getsockname(int fd, sockaddr* address, socklen_t* length) try {
  return state_->sockets.getsockname(fd, address, length);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::getsockopt(int fd, int level, int option, void* value, socklen_t* length) try {
  const int error = state_->kernel.fault(Call::sockopt);
  return error != 0 ? error : state_->sockets.getsockopt(fd, level, option, value, length);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::setsockopt(int fd, int level, int option, const void* value, socklen_t length) try {
  const int error = state_->kernel.fault(Call::sockopt);
  return error != 0 ? error : state_->sockets.setsockopt(fd, level, option, value, length);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::recvmsg(int fd, msghdr* message, int flags) try {
  const int error = state_->kernel.fault(Call::recvmsg);
  return error != 0 ? error : state_->sockets.recvmsg(fd, message, flags);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

ssize_t MemorySystem::sendmsg(int fd, const msghdr* message, int flags) try {
  const int error = state_->kernel.fault(Call::sendmsg);
  return error != 0 ? error : state_->sockets.sendmsg(fd, message, flags);
} catch (const std::bad_alloc&) {
  return -ENOMEM;
}

int MemorySystem::recvmmsg(int fd, std::span<mmsghdr> messages, int flags) {
  int count = 0;
  for (mmsghdr& message : messages) {
    const ssize_t got = recvmsg(fd, &message.msg_hdr, flags);
    if (got < 0) {
      if (count == 0) return static_cast<int>(got);
      if (got != -EAGAIN) state_->sockets.tell_later(fd, static_cast<int>(-got));
      break;
    }
    message.msg_len = static_cast<unsigned>(got);
    ++count;
  }
  return count;
}

int MemorySystem::sendmmsg(int fd, std::span<mmsghdr> messages, int flags) {
  int count = 0;
  for (mmsghdr& message : messages) {
    const ssize_t sent = sendmsg(fd, &message.msg_hdr, flags);
    if (sent < 0) return count == 0 ? static_cast<int>(sent) : count;
    message.msg_len = static_cast<unsigned>(sent);
    ++count;
  }
  return count;
}

const std::string& MemorySystem::Tunnel::name() const { return device_->name; }
LinkInfo MemorySystem::Tunnel::info() const { return device_->info(); }
bool MemorySystem::Tunnel::up() const { return device_->up; }
bool MemorySystem::Tunnel::inject(Bytes packet, const PacketOffload& offload) {
  return device_->inject(packet, offload);
}
std::vector<WrittenPacket> MemorySystem::Tunnel::collect_packets() { return device_->collect(); }
void MemorySystem::Tunnel::set_up(bool up) { kernel_->set_up(*device_, up); }
void MemorySystem::Tunnel::rename(const std::string& other) {
  device_->name = other;
  for (Route& route : device_->routes) route.interface = other;
  kernel_->tell(*device_, LinkNotice::Kind::state);
}
void MemorySystem::Tunnel::set_writable(bool writable) { device_->set_writable(writable); }
void MemorySystem::Tunnel::set_tx_queue_length(unsigned packets) { device_->set_tx_queue_length(packets); }
unsigned long MemorySystem::Tunnel::offload() const { return device_->offload; }

bool MemorySystem::Tunnel::removed() const {
  kernel_->sweep();
  return device_->removed;
}

bool MemorySystem::Tunnel::attached() const {
  kernel_->sweep();
  return device_->attached() != 0;
}

std::vector<std::vector<std::byte>> MemorySystem::Tunnel::collect() {
  std::vector<std::vector<std::byte>> packets;
  for (WrittenPacket& packet : device_->collect()) packets.push_back(std::move(packet.bytes));
  return packets;
}

std::vector<std::vector<std::byte>> MemorySystem::Tunnel::collect_datagrams() {
  std::vector<std::vector<std::byte>> datagrams;
  for (WrittenPacket& packet : device_->collect()) {
    if (packet.offload.is_super_packet()) {
      for (WrittenPacket& segment : split(packet.bytes, packet.offload, device_->kind(), true))
        datagrams.push_back(std::move(segment.bytes));
    } else {
      fill_checksum(packet.bytes, packet.offload);
      datagrams.push_back(std::move(packet.bytes));
    }
  }
  return datagrams;
}

void MemorySystem::Tunnel::refuse_super_packets(SegmentKind kind, bool refused) {
  if (kind != SegmentKind::none) device_->refused[static_cast<std::size_t>(kind)] = refused;
}

std::size_t MemorySystem::Tunnel::waiting() const {
  std::size_t packets = 0;
  for (const MemoryFile* const queue : device_->queues) packets += queue->ring.size();
  return packets;
}

void MemorySystem::Tunnel::remove() {
  if (!device_->removed) kernel_->remove(*device_);
}

}  // namespace tunport
