#pragma once
/// A TUN/TAP device: opened, attached to or adopted; packets in and out one at a time, without any event
/// loop.
///
/// Theory. A device is a descriptor of /dev/net/tun bound to an interface by TUNSETIFF
/// (Documentation/networking/tuntap.rst). The flags asked for are not always the device's flags: attaching
/// follows the device, and an adopted descriptor was set up elsewhere. So the flags are read back after every
/// open, attach and adopt (TUNGETIFF), and `framing` follows the flags read back. TUNGETIFF hides a flag: bit
/// 0x1000 is set for IFF_NO_PI and for IFF_NOFILTER, which is nearly always true. So packet information (PI)
/// is known from the request where the request decides (the only queue), from the caller's word, or from the
/// link (IFLA_TUN_PI): the device's own, in its own namespace, because a namesake elsewhere has another
/// framing. With PI, four bytes precede each packet: the device takes them off and puts them on, so that a
/// packet here always starts with its Ethernet or IP header.
///
/// Offload is a handshake of two parts. The virtio header (IFF_VNET_HDR), by which kernel and program tell
/// each other the work left on a packet, is asked for at TUNSETIFF if any offload is wanted. The header's
/// size (10, 12 or more) and byte order belong to the device, may have been set by an earlier process, and
/// are read back. The mask of the work that the kernel may leave (TUNSETOFFLOAD) is set after that. The
/// kernel grants a mask whole or not at all, so less is asked for until the kernel agrees. A device without
/// the header is granted nothing: a mask would bring packets of several segments with checksums to fill, and
/// no header to say so.
///
///   +--------------------+----------------------+-----------------------------+
///   | PI, if asked for   | virtio header, ditto | packet                      |
///   | 4 bytes            | 10, 12 or more       | from its Ethernet or IP     |
///   +--------------------+----------------------+ header on                   +
///    \________ framing, as read back _________/
///
/// Nothing of a present interface is touched unasked: no address, route, up state, queue length or
/// persistence. (An interface that is made here gets `default_tx_queue_length`.) The offload mask is the
/// exception: the mask belongs to the device, survives processes, and must match the framing. So the mask is
/// always set, to nothing where nothing is wanted. The former mask is neither known (the kernel has no
/// request for reading a mask) nor put back. A persistent device must not keep a mask when its last queue
/// is closed: the next program to attach, without the header, would read raw super-packets. Nor may a closing
/// program clear the mask under another program, which has a queue of its own, or a duplicate of the same
/// descriptor after a hand-over. Only the kernel knows of duplicates. So `close` closes first, then attaches
/// again with the same flags, and clears the mask after a success: EBUSY means that the queue is in use.
/// Where attaching again is impossible (no clone device, no privilege), the mask of a device with a single
/// queue is cleared before the descriptor is closed. A second exception is the kernel's: the first queue that
/// is attached sets the device's flags (PI, the virtio header), and the flags stay. A persistent device made
/// without the header gets a header from an attaching program with offload. A further queue gets the present
/// flags, and shares the mask with the other queues.
///
/// Blocking is done here, because the kernel lets no thread end another thread's read(2): the descriptor is
/// always non-blocking. A blocking device that meets EAGAIN waits with poll(2) for the descriptor or for an
/// eventfd, which `cancel` and `close` signal. Calls under way on a blocking device are counted from their
/// first instruction to their last: `close` closes the descriptor when no call is under way, so no call meets
/// a reused descriptor number. A blocking device pays two atomic additions for each call, a non-blocking
/// device pays nothing.

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>

#include <poll.h>
#include <unistd.h>

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/base/error.hpp"
#include "tunport/base/throwing.hpp"
#include "tunport/device/link.hpp"
#include "tunport/device/system.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

enum class OpenMode : std::uint8_t {
  either,  ///< attach to a present device, otherwise create a device
  create,  ///< create; `Errc::device_exists` for a present device
  attach,  ///< attach; `Errc::no_such_device` without a device; no privilege for a device prepared for the
           ///< user
};

/// True if a device can be opened by this name: an interface's name, a template ("tp%d"), or an empty one.
bool is_device_name(const std::string& name);

/// The sizes of a virtio header (linux/virtio_net.h), in bytes. The fields beyond 12 bytes are written as
/// zeros, and not looked at.
enum class VirtioHeaderSize : std::uint8_t {
  basic = 10,     ///< struct virtio_net_hdr: the kernel's default
  version1 = 12,  ///< struct virtio_net_hdr_v1: as virtual machines have
  hash = 20,      ///< struct virtio_net_hdr_v1_hash
  tunnel = 24,    ///< struct virtio_net_hdr_v1_hash_tunnel
};
/// The size of that many bytes; nothing if virtio headers have no such size.
std::optional<VirtioHeaderSize> virtio_header_size(std::size_t bytes);

/// Options for opening a device. The defaults suit most programs. What the kernel lacks of `no_carrier`,
/// `napi`, `multi_queue`, `backpressure` and `virtio_header_size` fails the open with `not_supported`, if
/// asked for (docs/knobs.md).
struct DeviceOptions {
  OpenMode mode = OpenMode::either;
  bool packet_information = false;  ///< ask for PI (IFF_NO_PI not set); the first queue decides
  bool multi_queue = false;         ///< IFF_MULTI_QUEUE, see `open_queues`; must be what the device is
  bool blocking = false;            ///< reads and writes wait, see `Device::cancel`; not for use with a port
  /// Opens without a carrier (IFF_NO_CARRIER, Linux 6.1): no packets come until `Device::set_carrier(true)`.
  /// The first queue decides.
  bool no_carrier = false;
  /// Written packets go by NAPI (IFF_NAPI, Linux 4.15): the kernel may merge them (GRO), and the write costs
  /// more.
  bool napi = false;
  /// A full ring stops the senders on this machine, instead of dropping (IFF_BACKPRESSURE, Linux 7.3). Not
  /// given: where the kernel has it. The first queue decides.
  std::optional<bool> backpressure = {};
  /// The work that the kernel may leave on packets. Without any, every packet is a single datagram with a
  /// complete checksum. `Capabilities` has the granted features, never more than these.
  OffloadFeatures offload = {};
  /// Asks for the virtio header, and for its size (TUNSETVNETHDRSZ); the size stays with a persistent device.
  /// Not given: the device's size. `Errc::header_size_in_use` if other queues have another size.
  std::optional<VirtioHeaderSize> virtio_header_size = {};
  /// The namespace to open the device in: a name as by `ip netns`, or a path; empty: here. Needs
  /// CAP_SYS_ADMIN over the namespace. The calling thread comes back; the interface stays in there.
  std::string network_namespace = {};
  std::string clone_path = "/dev/net/tun";
  /// False: netlink is not used, for processes without netlink (Android, seccomp filters). Then
  /// `packet_information` must be the device's if another queue is attached already, and a refusal has the
  /// kernel's bare errno.
  bool netlink = true;
};

/// Options for adopting a descriptor.
struct AdoptOptions {
  /// The work that the kernel may leave on packets, if the device has the virtio header.
  OffloadFeatures offload = {};
  /// The device's packet information, as the caller knows. Then netlink is not needed, and the device must
  /// not be seen to differ. Not given: the kernel is asked by netlink.
  std::optional<bool> packet_information = {};
  /// False: netlink is not used. Packet information not given means no packet information then.
  bool netlink = true;
};

/// The result of a read.
struct ReadResult {
  std::size_t size = 0;    ///< bytes of packet in the buffer
  bool truncated = false;  ///< the packet was longer than the buffer: the rest is lost
  /// Zero, or a positive errno: EAGAIN (no packet), EINTR, ECANCELED (see `Device::cancel`), EBADFD (device
  /// gone), EINVAL (a buffer too short for the framing; the packet is lost), EBADMSG (a virtio header that
  /// does not fit the packet; the packet is dropped), EIO, and further errors of read(2).
  int error = 0;
  PacketOffload offload =
      {};  ///< the work left on the packet; none for a truncated packet, nor by `read_framed`
};

/// The largest `Capabilities::framing`, in bytes; a device with more is not opened. A virtio header has no
/// upper bound; devices in use have 10 or 12 bytes, 24 with tunnel offload.
inline constexpr std::size_t max_framing = 64;

/// The least length of the queue of an interface that an open makes, in packets: the kernel's own length for
/// a TUN, 500, loses a part of a burst (docs/performance.md). A present interface keeps its length, and so
/// does an interface whose change is refused, or without netlink.
inline constexpr unsigned default_tx_queue_length = 1000;

/// The properties of a device, as read back from the kernel.
struct Capabilities {
  DeviceKind kind = DeviceKind::tun;
  bool packet_information = false;
  bool vnet_header = false;
  bool multi_queue = false;
  bool persistent = false;
  bool napi = false;  ///< of the first queue
  bool backpressure = false;
  std::size_t framing = 0;                       ///< bytes that precede each packet on the descriptor
  OffloadFeatures offload;                       ///< the granted features; none without a virtio header
  std::endian byte_order = std::endian::native;  ///< of the virtio header's fields

  /// The offset of the virtio header within the framing. The header takes the rest.
  constexpr std::size_t virtio_header_offset() const { return packet_information ? 4 : 0; }
  /// The size of the virtio header, in bytes; 0 without the header.
  constexpr std::size_t virtio_header_size() const {
    return vnet_header ? framing - virtio_header_offset() : 0;
  }
};

/// For log lines: "tap, virtio header, offload checksum+tso4+tso6, multi-queue".
std::string to_string(const Capabilities& capabilities);

/// An open device. Move-only; a close deletes the interface unless the device is persistent. For a single
/// thread at a time. A blocking device may be read by a thread and written by a second thread, and cancelled
/// or closed by a third at any time. `Device device = Device::open(DeviceKind::tap, "tp0");`
class Device {
 public:
  Device() = default;
  Device(Device&& other) noexcept = default;
  Device& operator=(Device&& other) noexcept;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device() { close(); }

  /// Opens by name ("tp0"), by template ("tp%d", the kernel fills in a number) or with a name of the kernel's
  /// choice (""). The descriptor is non-blocking and close-on-exec from the start. Throws `Error`:
  /// `invalid_name`, `no_driver`, `clone_device_denied`, `clone_device_forbidden`, `not_clone_device`,
  /// `not_permitted`, `device_busy` (may pass by itself), `device_held_here`,
  /// `device_exists`, `no_such_device`, `wrong_kind`, `not_a_tunnel`, `multi_queue_mismatch`,
  /// `too_many_queues`, `bad_header_size`, `invalid_header_size`, `header_size_in_use`, `no_such_namespace`,
  /// `not_a_namespace`, `namespace_denied`, `not_supported`, or the kernel's errno. On an error nothing is
  /// left open or created.
  static Device open(DeviceKind kind, const std::string& name, const DeviceOptions& options = {},
                     System system = linux_system());
  /// The same; returns a closed device and sets `ec` instead of throwing.
  static Device open(DeviceKind kind, const std::string& name, const DeviceOptions& options, System system,
                     std::error_code& ec);
  /// Takes over a descriptor opened and bound elsewhere (inherited, or received over a socket), of a device
  /// in any namespace: probes kind, name and framing, makes the descriptor non-blocking and close-on-exec,
  /// and sets the offload mask. `Errc::not_bound` for a descriptor without a device, `Errc::not_tun_driver`
  /// for a macvtap or ipvtap, `Errc::packet_information_mismatch` for a device seen to differ,
  /// `Errc::namespace_denied` if the device's namespace cannot be asked for packet information (state packet
  /// information then), EBADF for a descriptor not open for reading and writing. On an error the descriptor
  /// is closed.
  static Device adopt(UniqueFd fd, const AdoptOptions& options = {}, System system = linux_system());
  static Device adopt(UniqueFd fd, const AdoptOptions& options, System system, std::error_code& ec);

  /// Gives the descriptor to the caller; the device here is closed.
  UniqueFd release();
  /// Closes the descriptor. The offload mask of a persistent device is cleared, unless the device is open
  /// elsewhere. On a blocking device, from any thread: calls of other threads end first, with ECANCELED if
  /// waiting or late; then the descriptor is closed. The `Device` must outlive those calls.
  void close() noexcept;
  /// Ends waiting calls on a blocking device with ECANCELED, and later calls that would wait; the device
  /// stays open. From any thread, at any time during the life of the `Device`. No effect on a non-blocking
  /// device.
  void cancel() noexcept;

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fileno() const { return fd_.get(); }
  /// The interface's name at the time of the open.
  const std::string& name() const { return name_; }
  DeviceKind kind() const { return capabilities_.kind; }
  const Capabilities& capabilities() const { return capabilities_; }
  /// The device's interface, in the device's own namespace and under the present name: addresses, MTU, up
  /// and down. `device.link().set_up(true);` Precondition, here and for the calls below: open. Fails with
  /// `device_gone`, or with `namespace_denied` without CAP_NET_ADMIN over the device's namespace.
  Link link() const {
    return throwing(name_, [&](std::error_code& ec) { return link(ec); });
  }
  Link link(std::error_code& ec) const;
  /// Opens a device of this kind by name.
  using Opener =
      std::function<Device(const std::string& name, const DeviceOptions& options, std::error_code& ec)>;
  /// A function that opens the device again after a close: on the same system, and in the device's present
  /// namespace unless the options name a namespace. `namespace_denied` if the present namespace is not known.
  /// A queue of several is opened as a queue again, with the features that the device has now.
  Opener opener() const;

  /// Reads one packet into `buffer` (bytes of packet only; the framing goes elsewhere).
  ReadResult read(MutableBytes buffer) noexcept;
  /// Reads framing and packet unchanged, in a single read(2): the packet is `size` bytes from
  /// `buffer[capabilities().framing]` on, the last byte of `buffer` is the spare. For callers that look into
  /// the framing. EINVAL, and nothing is read, unless the buffer is longer than the framing.
  ReadResult read_framed(MutableBytes buffer) noexcept {
    const std::size_t framing = capabilities_.framing;
    if (buffer.size() <= framing) return {.error = EINVAL};
    const std::size_t room = buffer.size() - framing - 1;
    const ssize_t result = waited(POLLIN, [&] { return read_once(buffer); });
    if (result < 0) return {.error = static_cast<int>(-result)};
    const auto size = static_cast<std::size_t>(result);
    if (size < framing) return {.error = EINVAL};
    return {.size = std::min(size - framing, room), .truncated = size - framing > room};
  }
  /// From now on no call waits: EAGAIN. Precondition: no thread waits.
  void set_non_blocking() noexcept { waiting_.reset(); }

  /// Writes a packet. Zero when the kernel has the packet, else a positive errno: EAGAIN, EINTR, ENOBUFS, EIO
  /// (the interface is down: passes), EBADFD (deleted: final), EINVAL (not acceptable).
  int write(Bytes packet) noexcept {
    if (capabilities_.framing != 0) return write_parts({&packet, 1});
    const ssize_t result = waited(POLLOUT, [&] { return write_once(packet); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }
  /// Writes a packet with work left to do: EOPNOTSUPP without a virtio header to tell the work. The kernel
  /// takes every known kind of super-packet, granted or not, but a super-packet only with the checksum to be
  /// filled.
  int write(Bytes packet, const PacketOffload& offload) noexcept;
  /// Writes one packet gathered from at most 16 parts. Results as `write`.
  int write_sequence(std::span<const Bytes> parts) noexcept;
  /// Writes framing and packet unchanged, in a single write(2). Results as `write`; EINVAL also for a virtio
  /// header that the kernel does not believe, or an unknown kind of super-packet.
  int write_framed(Bytes framed) noexcept {
    const ssize_t result = waited(POLLOUT, [&] { return write_once(framed); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }
  /// The same gathered, in a single writev(2); the framing comes first and may be cut anywhere.
  int write_framed(std::span<const iovec> parts) noexcept {
    const ssize_t result = waited(POLLOUT, [&] { return io_->writev(fd_.get(), parts); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }

  /// The work left on a packet from `read_framed`; `framed` is framing and packet. Nothing if the virtio
  /// header does not fit the packet: `why` is `bad_offload`.
  std::optional<PacketOffload> offload_of(Bytes framed, DropReason& why) const;
  /// Writes the framing that goes before `packet` in `write_framed`; the packet's link header, or on TUN its
  /// first byte, is enough. Precondition: `framing` is as long as `capabilities().framing`. False for a
  /// packet without an EtherType for packet information.
  bool emit_framing(MutableBytes framing, Bytes packet, const PacketOffload& offload = {}) const noexcept {
    return emit_framing(framing, {&packet, 1}, offload);
  }

  /// True after a deletion of the interface. Reads nothing, so a paused reader may ask.
  bool is_gone() const noexcept;

  /// Changes the work that the kernel may leave from now on (TUNSETOFFLOAD); `capabilities()` has the granted
  /// features, none without a virtio header. The change is for all queues of the device, and not for packets
  /// that wait already: their virtio headers are right. On an error nothing has changed.
  void set_offload(const OffloadFeatures& wanted, std::error_code& ec);

  /// Keeps the interface after a close (TUNSETPERSIST), or no longer.
  void set_persistent(bool persistent, std::error_code& ec);
  /// Lets this user, or members of this group, attach without privilege (TUNSETOWNER, TUNSETGROUP).
  void set_owner(std::uint32_t uid, std::error_code& ec);
  void set_group(std::uint32_t gid, std::error_code& ec);
  /// Tells the kernel that a reader is there, or none (TUNSETCARRIER, Linux 5.0): without a carrier the
  /// interface is "NO-CARRIER", and routes by the interface are dead where the system wants so. A device has
  /// a carrier from its opening on, unless opened with `DeviceOptions::no_carrier`.
  void set_carrier(bool carrier, std::error_code& ec);
  /// Bounds the kernel's memory for written packets, in bytes, at least 1 (TUNSETSNDBUF); beyond, writes say
  /// EAGAIN.
  void set_send_buffer(int bytes, std::error_code& ec);
  /// Takes a queue of a multi-queue device out of service, or back into service (TUNSETQUEUE); no effect if
  /// the queue is in that state. Out of service, the queue gets no packets, its flows go to the other queues,
  /// and packets that waited are lost; writes go on. A queue is opened in service.
  /// `Errc::multi_queue_mismatch` on a device of a single queue.
  void set_queue_enabled(bool enabled, std::error_code& ec);

  // The throwing forms (`throwing`): `Error` with the interface's name.
  void set_offload(const OffloadFeatures& wanted) {
    throwing(name_, [&](std::error_code& ec) { set_offload(wanted, ec); });
  }
  void set_persistent(bool persistent) {
    throwing(name_, [&](std::error_code& ec) { set_persistent(persistent, ec); });
  }
  void set_owner(std::uint32_t uid) {
    throwing(name_, [&](std::error_code& ec) { set_owner(uid, ec); });
  }
  void set_group(std::uint32_t gid) {
    throwing(name_, [&](std::error_code& ec) { set_group(gid, ec); });
  }
  void set_carrier(bool carrier) {
    throwing(name_, [&](std::error_code& ec) { set_carrier(carrier, ec); });
  }
  void set_send_buffer(int bytes) {
    throwing(name_, [&](std::error_code& ec) { set_send_buffer(bytes, ec); });
  }
  void set_queue_enabled(bool enabled) {
    throwing(name_, [&](std::error_code& ec) { set_queue_enabled(enabled, ec); });
  }

 private:
  /// The shared state of the calls on a blocking device.
  struct Waiting {
    UniqueFd cancelled;                ///< an eventfd, readable for ever once cancelled
    std::atomic<int> calls{0};         ///< under way
    std::atomic<bool> closing{false};  ///< no call may touch the descriptor any more
  };

  Device(UniqueFd fd, System system)
      : io_{&system.io}, links_{&system.links}, is_kernel_{io_ == &linux_io()}, fd_{std::move(fd)} {}

  /// As `IoSystem::read`; on the kernel without the frames in between, but for interrupted calls.
  ssize_t read_once(MutableBytes buffer) const noexcept {
    if (is_kernel_) {
      const ssize_t result = ::read(fd_.get(), buffer.data(), buffer.size());
      if (result >= 0) [[likely]]
        return result;
      if (errno != EINTR) return -errno;
    }
    return io_->read(fd_.get(), buffer.data(), buffer.size());
  }
  /// As `IoSystem::write`, likewise.
  ssize_t write_once(Bytes packet) const noexcept {
    if (is_kernel_) {
      const ssize_t result = ::write(fd_.get(), packet.data(), packet.size());
      if (result >= 0) [[likely]]
        return result;
      if (errno != EINTR) return -errno;
    }
    return io_->write(fd_.get(), packet.data(), packet.size());
  }

  static Device open_here(DeviceKind kind, const std::string& name, const DeviceOptions& options,
                          System system, std::error_code& ec);
  /// The flags for TUNSETIFF, without the virtio header's.
  int flags_for(DeviceKind kind, const DeviceOptions& options, std::error_code& ec) const;
  /// TUNSETIFF; zero or a negated errno.
  int bind(const std::string& name, int flags) const;
  void set_virtio_header_size(VirtioHeaderSize size, const DeviceOptions& options, std::error_code& ec);
  void check_knobs(const DeviceOptions& options, std::error_code& ec) const;
  /// Gives an interface that was made here at least `default_tx_queue_length`.
  void lengthen_queue() const;
  void probe(const AdoptOptions& options, bool is_settled, std::error_code& ec);
  bool probe_packet_information(int flags, const AdoptOptions& options, std::error_code& ec) const;
  void probe_virtio_header(std::error_code& ec);
  void set(unsigned long request, unsigned long value, std::error_code& ec);
  /// Makes a request with a number; EINVAL means that the kernel lacks `knob`.
  void set_number(unsigned long request, int number, Knob knob, std::error_code& ec);
  /// The interface's name now.
  std::string current_name(std::error_code& ec) const;
  /// Closes a persistent device, and clears the mask unless the device is open elsewhere.
  void close_without_mask() noexcept;
  /// TUNSETIFF with the flags that the device has; zero or a negated errno.
  int attach_again(int fd, const std::string& name) const;
  /// Makes a call; on a blocking device again after each wait.
  template <typename Call>
  ssize_t waited(short events, Call call) const noexcept {
    if (!waiting_) [[likely]]
      return call();
    waiting_->calls.fetch_add(1);
    ssize_t result = waiting_->closing.load() ? -ECANCELED : call();
    while (result == -EAGAIN && (result = wait(events)) == 0) result = call();
    waiting_->calls.fetch_sub(1);
    return result;
  }
  /// Waits for the descriptor: zero if the call is to be made again, else a negated errno.
  ssize_t wait(short events) const noexcept;
  int write_parts(std::span<const Bytes> parts, const PacketOffload& offload = {}) noexcept;
  bool emit_framing(MutableBytes framing, std::span<const Bytes> parts,
                    const PacketOffload& offload) const noexcept;

  IoSystem* io_ = nullptr;
  LinkSystem* links_ = nullptr;
  bool is_kernel_ = false;  ///< `io_` is the kernel's
  UniqueFd fd_;
  std::string name_;
  std::string clone_path_;  ///< of the driver
  Capabilities capabilities_;
  std::unique_ptr<Waiting> waiting_;  ///< of a blocking device
};

}  // namespace tunport
