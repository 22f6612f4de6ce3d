#pragma once
/// A fake kernel: TUN/TAP devices, their interfaces and UDP sockets in memory, without privilege. Programs
/// that take a `System` run on it unchanged; the test plays the kernel and the network.
///
/// ```
/// MemorySystem kernel;
/// ManualReactor clock;
/// TuntapPort port{clock, "tap0", protocol, {.system = kernel}};
/// port.start_listening();
/// kernel.tunnel("tap0").inject(frame);  // the interface comes up as asked, here or by kernel.links()
/// clock.run_ready();
/// EXPECT_THAT(kernel.tunnel("tap0").collect_datagrams(), ElementsAre(...));
/// ```
/// (`collect()` has what was written as it was: several answers may be one super-packet there.)
///
/// It behaves as drivers/net/tun.c of Linux 6.18, checked by the contract suite, which runs on both. The
/// descriptors are real ones, so any loop can wait for them, close(2) ends them, and they can be passed on;
/// but only this object reads and writes through them. What it does not do: it never blocks (a blocking call
/// that would wait for ever fails with EDEADLK), a descriptor whose device was deleted cannot be bound to
/// another, whoever watches a device is told of its deletion (the kernel tells nobody who watches for no
/// event or for EPOLLOUT alone), there are no network namespaces, of several queues the first gets every
/// packet, and UDP datagrams to be fragmented (GSO_UDP, which no mask has brought since 4.14) are taken as
/// they are.

#include <memory>
#include <string>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/device/system.hpp"
#include "tunport/testing/memory_kernel.hpp"
#include "tunport/testing/memory_links.hpp"
#include "tunport/testing/memory_socket.hpp"

namespace tunport {

/// How a device was prepared: `ip tuntap add dev NAME mode KIND [user OWNER] [group GROUP] [multi_queue]`.
struct PreparedDevice {
  std::optional<std::uint32_t> owner = {};
  std::optional<std::uint32_t> group = {};
  bool multi_queue = false;
  bool up = false;  ///< `ip link set NAME up` was done too
};

/// See above. Used from one thread; outlives what was opened with it.
class MemorySystem final : public IoSystem {
 public:
  class Tunnel;

  MemorySystem();
  ~MemorySystem() override;

  /// What a port or device is opened with.
  operator System() { return {*this, links_}; }  // NOLINT(google-explicit-constructor)
  /// The interfaces, as a program sees them.
  LinkSystem& links() { return links_; }

  /// The device of that name, for the test to play its interface. Throws std::out_of_range if there is none.
  Tunnel tunnel(const std::string& name);
  /// Makes a device that is there without a program. Throws `Error` if the name is taken or invalid.
  Tunnel add_persistent(DeviceKind kind, const std::string& name, const PreparedDevice& prepared = {});

  /// Whether the program has CAP_NET_ADMIN. At first it has.
  void set_privileged(bool privileged);
  /// Who the program runs as, for devices that have an owner or a group. At first 0 and 0.
  void set_user(std::uint32_t uid, std::uint32_t gid);
  /// Opening /dev/net/tun fails with `error` from now on: ENOENT, ENODEV (no driver), EACCES; 0: works.
  void set_clone_error(int error);

  /// False: as a kernel before 6.2, which knows no UDP super-packets: refuses them and their bits in the
  /// mask. At first true.
  void set_knows_uso(bool knows);

  /// The next `times` calls of that kind fail with the errno `error` and have no effect.
  void fail_next(Call call, int error, unsigned times = 1);
  /// The same for ioctls of one request (TUNSETIFF, ...).
  void fail_next_ioctl(unsigned long request, int error, unsigned times = 1);

  int open(const char* path, int flags) override;
  int ioctl(int fd, unsigned long request, void* argument) override;
  int ioctl_value(int fd, unsigned long request, unsigned long argument) override;
  ssize_t read(int fd, void* buffer, std::size_t size) override;
  ssize_t readv(int fd, std::span<const iovec> parts) override;
  ssize_t write(int fd, const void* buffer, std::size_t size) override;
  ssize_t writev(int fd, std::span<const iovec> parts) override;
  int get_flags(int fd) override;
  int set_flags(int fd, int flags, bool close_on_exec) override;

  int socket(int domain, int type, int protocol) override;
  int bind(int fd, const sockaddr* address, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;

 private:
  ssize_t read_packet(int fd, std::span<const iovec> parts);
  ssize_t write_packet(int fd, std::span<const iovec> parts);

  MemoryKernel kernel_;
  MemoryLinks links_;
  MemorySockets sockets_;
};

/// The test's side of a device: the kernel and the network behind the interface. Stays good when the device
/// is removed or moved into another namespace.
class MemorySystem::Tunnel {
 public:
  const std::string& name() const { return device_->name; }
  /// As `LinkSystem::find` tells it: up, MTU, MAC, drops.
  LinkInfo info() const { return device_->info(); }
  bool up() const { return device_->up; }
  /// It was deleted: removed, or closed by its last user without being persistent.
  bool removed() const;
  /// Somebody has it open.
  bool attached() const;

  /// The kernel sends a packet to the interface: an Ethernet frame for TAP, an IP packet for TUN, of any
  /// length. False if it is dropped: nobody is attached or the ring is full (both counted in
  /// `info().tx_dropped`), or the interface is down.
  bool inject(Bytes packet) { return inject(packet, {}); }
  /// The same for a packet on which the kernel has left this to do: a super-packet, or a checksum to fill.
  /// What the mask does not cover is done here, as by the kernel; a super-packet that is none is dropped and
  /// counted. A device that has a mask and no virtio header gets it as it is. True if all of it was queued.
  bool inject(Bytes packet, const PacketOffload& offload) { return device_->inject(packet, offload); }
  /// Packets that wait for the program to read them.
  std::size_t waiting() const;
  /// What the program wrote since the last call, oldest first, without framing; super-packets whole, and
  /// checksums that are to be filled not filled.
  std::vector<std::vector<std::byte>> collect();
  /// The same with what is left to do on each, by its virtio header.
  std::vector<WrittenPacket> collect_packets() { return device_->collect(); }
  /// The same as the network sees it: single datagrams, their checksums complete. A super-packet that is none
  /// is missing.
  std::vector<std::vector<std::byte>> collect_datagrams();

  /// `ip link set NAME up`, or down.
  void set_up(bool up) { kernel_->set_up(*device_, up); }
  /// False: the send buffer is full, writes say EAGAIN and the loop says not writable, until true.
  void set_writable(bool writable) { device_->set_writable(writable); }
  /// `ip link set NAME txqueuelen PACKETS`.
  void set_tx_queue_length(unsigned packets) { device_->set_tx_queue_length(packets); }
  /// Writing super-packets of this kind fails with EINVAL from now on, whatever the mask said; or no longer.
  void refuse_super_packets(SegmentKind kind, bool refused = true);
  /// `ip link del NAME`. No effect if it is gone already.
  void remove();
  /// The offload mask that was set (TUNSETOFFLOAD).
  unsigned long offload() const { return device_->offload; }

 private:
  friend class MemorySystem;
  Tunnel(MemoryKernel& kernel, std::shared_ptr<MemoryDevice> device)
      : kernel_{&kernel}, device_{std::move(device)} {}

  MemoryKernel* kernel_;
  std::shared_ptr<MemoryDevice> device_;
};

}  // namespace tunport
