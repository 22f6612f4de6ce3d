#pragma once
/// A fake kernel: TUN/TAP devices, their interfaces and UDP sockets in memory, without privilege. Programs on
/// a `System` run on the fake unchanged; the test plays the kernel and the network.
///
/// ```
/// MemorySystem kernel;
/// ManualReactor clock;
/// TuntapPort port{clock, "tap0", protocol, {.system = kernel}};
/// port.start_listening();
/// kernel.tunnel("tap0").set_up(true);
/// kernel.tunnel("tap0").inject(frame);
/// clock.run_ready();
/// EXPECT_THAT(kernel.tunnel("tap0").collect_datagrams(), ElementsAre(...));
/// ```
/// (`collect()` has packets as written: several answers may be a super-packet.)
///
/// The model is drivers/net/tun.c of Linux 6.18; the contract suite runs on the fake and on the kernel. The
/// descriptors are real: every loop can wait for them, close(2) ends them, and they can be passed on. But
/// reads and writes go through the `MemorySystem` only. The fake differs from the kernel as follows:
///
///  - Calls never block: a blocking call without data or room fails with EDEADLK.
///  - A descriptor of a deleted device cannot be attached again.
///  - Every watcher of a device learns of the deletion. The kernel tells only watchers of EPOLLIN or
///  EPOLLPRI.
///  - A moved device (`LinkSystem::move_to_namespace`) is in a second namespace, reachable by `Device::link`
///    alone. Further namespaces are absent.
///  - Of several queues, the first gets every packet that is no whole TCP or UDP datagram. Flows stay on
///  their queue as in the kernel, but an answer is remembered for ever.
///  - UDP datagrams to be fragmented (GSO_UDP, in no mask since Linux 4.14) are taken whole.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tunport/base/bytes.hpp"
#include "tunport/base/device_kind.hpp"
#include "tunport/device/system.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

struct MemoryDevice;
struct MemoryKernel;

/// The calls with planned failures, named after system calls: `read` includes readv, `write` includes writev,
/// `sockopt` is for getsockopt and setsockopt.
enum class Call : std::uint8_t {
  open,
  ioctl,
  read,
  write,
  fcntl,
  socket,
  bind,
  connect,
  sockopt,
  recvmsg,
  sendmsg
};

/// A packet as written to a device, with its offload.
struct WrittenPacket {
  std::vector<std::byte> bytes;
  PacketOffload offload;
};

/// A device prepared by `ip tuntap add dev NAME mode KIND [user OWNER] [group GROUP] [multi_queue]`.
struct PreparedDevice {
  std::optional<std::uint32_t> owner = {};  ///< user ID
  std::optional<std::uint32_t> group = {};  ///< group ID
  bool multi_queue = false;
  bool up = false;  ///< also `ip link set NAME up`
};

/// The fake kernel, described at the start of the file. For a single thread. Outlives devices, ports and
/// tunnels of the fake.
class MemorySystem final : public IoSystem {
 public:
  class Tunnel;

  MemorySystem();
  ~MemorySystem() override;

  /// The system for a port or device. Borrows the fake.
  operator System();  // NOLINT(google-explicit-constructor)
  /// The interfaces, as a program sees them.
  LinkSystem& links();

  /// The test's side of the device `name`. Throws std::out_of_range without the device.
  Tunnel tunnel(const std::string& name);
  /// Makes a device without a program. Throws `Error` if the name is taken or invalid.
  Tunnel add_persistent(DeviceKind kind, const std::string& name, const PreparedDevice& prepared = {});

  /// Gives the program CAP_NET_ADMIN, or takes it away. Default: true.
  void set_privileged(bool privileged);
  /// Sets the user and the group of the program, for devices with an owner or a group. Default: 0 and 0.
  void set_user(std::uint32_t uid, std::uint32_t gid);
  /// Opening /dev/net/tun fails with the errno `error` from now on: ENOENT, ENODEV (no driver), EACCES. 0:
  /// opening succeeds.
  void set_clone_error(int error);

  /// False: like Linux before 6.2, the fake refuses UDP super-packets, and their bits in the mask. Default:
  /// true.
  void set_knows_uso(bool knows);

  /// Makes a flag of TUNSETIFF (IFF_NAPI, IFF_NO_CARRIER, 0x0080 for IFF_BACKPRESSURE, ...) known or unknown,
  /// as in a later or an earlier Linux. TUNGETFEATURES tells the known flags; unknown flags are ignored.
  void set_knows(unsigned flag, bool knows);

  /// The next `times` calls of a kind fail with the errno `error`, without an effect.
  void fail_next(Call call, int error, unsigned times = 1);
  /// The next `times` ioctls of a request (TUNSETIFF, ...) fail with the errno `error`, without an effect.
  void fail_next_ioctl(unsigned long request, int error, unsigned times = 1);

  int open(const char* path, int flags) override;
  bool holds(const std::string& interface) override;
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
  int connect(int fd, const sockaddr* address, socklen_t length) override;
  int getsockname(int fd, sockaddr* address, socklen_t* length) override;
  int getsockopt(int fd, int level, int option, void* value, socklen_t* length) override;
  int setsockopt(int fd, int level, int option, const void* value, socklen_t length) override;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override;
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override;
  /// As `recvmsg` for each datagram, and `sendmsg` for each: planned faults are those of these calls.
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override;
  int sendmmsg(int fd, std::span<mmsghdr> messages, int flags) override;

 private:
  struct State;

  ssize_t read_packet(int fd, std::span<const iovec> parts);
  ssize_t write_packet(int fd, std::span<const iovec> parts);

  std::unique_ptr<State> state_;
};

/// The test's side of a device: the kernel and the network behind the interface. Stays valid after the device
/// is removed, or moved into another namespace.
class MemorySystem::Tunnel {
 public:
  /// The name of the interface.
  const std::string& name() const;
  /// The interface as by `LinkSystem::find`: state, MTU, MAC, drops.
  LinkInfo info() const;
  /// True if the interface is up.
  bool up() const;
  /// True after a deletion: by `remove`, by the program, or by the last close of a device not persistent.
  bool removed() const;
  /// True if a program has the device open.
  bool attached() const;

  /// The kernel sends a packet to the interface: an Ethernet frame on TAP, an IP packet on TUN, of an
  /// arbitrary length. False for a drop: no queue is in service, or the ring is full (both counted in
  /// `info().tx_dropped`), or the interface is down. With IFF_BACKPRESSURE a full ring counts no drop: the
  /// kernel keeps the packet, and the test injects the packet again.
  bool inject(Bytes packet) { return inject(packet, {}); }
  /// As `inject(packet)`, with an offload: a super-packet, or a checksum to fill. As in the kernel, work
  /// beyond the mask is done before the ring, and a super-packet that contradicts `offload` is dropped and
  /// counted. A device with a mask but without a virtio header gets the packet unchanged. True if all was
  /// queued.
  bool inject(Bytes packet, const PacketOffload& offload);
  /// The number of packets that wait for the program.
  std::size_t waiting() const;
  /// Takes the packets written since the last call, oldest first, without framing. Super-packets are whole,
  /// and checksums to fill are not filled.
  std::vector<std::vector<std::byte>> collect();
  /// As `collect`, with the offload of each packet, by the virtio header.
  std::vector<WrittenPacket> collect_packets();
  /// As `collect`, but as the network sees the packets: single datagrams with complete checksums. A
  /// super-packet that contradicts its offload is missing.
  std::vector<std::vector<std::byte>> collect_datagrams();

  /// `ip link set NAME up`, or down.
  void set_up(bool up);
  /// False: the send buffer is full, writes fail with EAGAIN, and the descriptors are not writable, until
  /// true.
  void set_writable(bool writable);
  /// `ip link set NAME name OTHER`.
  void rename(const std::string& other);
  /// `ip link set NAME txqueuelen PACKETS`.
  void set_tx_queue_length(unsigned packets);
  /// Writes of super-packets of a kind fail with EINVAL from now on, also within the mask. `refused` false
  /// ends the refusal.
  void refuse_super_packets(SegmentKind kind, bool refused = true);
  /// `ip link del NAME`. No effect after a deletion.
  void remove();
  /// The offload mask set by the program (TUNSETOFFLOAD).
  unsigned long offload() const;

 private:
  friend class MemorySystem;
  Tunnel(MemoryKernel& kernel, std::shared_ptr<MemoryDevice> device)
      : kernel_{&kernel}, device_{std::move(device)} {}

  MemoryKernel* kernel_;
  std::shared_ptr<MemoryDevice> device_;
};

}  // namespace tunport
