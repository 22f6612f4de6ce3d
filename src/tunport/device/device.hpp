#pragma once
/// A TUN/TAP device: opened, attached to or adopted; packets in and out one at a time, without any event
/// loop.
///
/// Theory. A device is a descriptor of /dev/net/tun bound to an interface by TUNSETIFF
/// (Documentation/networking/tuntap.rst). What was asked for is not always what is there: attaching follows
/// the device, an adopted descriptor was set up by somebody else. So the flags are read back after every
/// open, attach and adopt (TUNGETIFF), and `framing` follows what was read, never what was asked. One flag
/// cannot be read there: TUNGETIFF sets bit 0x1000 for IFF_NO_PI and for IFF_NOFILTER, which is nearly always
/// true. So whether there is PI is known from the request where that settles it (the only queue), from the
/// caller's word, or from the link (IFLA_TUN_PI): the device's own, in its own namespace, as a namesake
/// elsewhere has another framing. With packet information (PI), four bytes precede each packet: they are
/// taken off and put on here, so that a packet here always starts with its Ethernet or IP header.
///
/// Offload is a handshake of two parts. The virtio header (IFF_VNET_HDR), by which kernel and program tell
/// each other what is left to do on a packet, is asked for at TUNSETIFF if any offload is wanted. Its size
/// (10, 12 or more) and byte order are the device's, may have been set by an earlier process, and are read
/// back. The mask of what the kernel may leave to do (TUNSETOFFLOAD) is set after that and is granted whole
/// or not at all, so less is asked for until it is taken. A device without the header is granted nothing:
/// the mask would bring packets of several segments with checksums still to fill, and nothing to say so.
///
///   +--------------------+----------------------+-----------------------------+
///   | PI, if asked for   | virtio header, ditto | packet                      |
///   | 4 bytes            | 10, 12 or more       | from its Ethernet or IP     |
///   +--------------------+----------------------+ header on                   +
///    \________ framing, as read back _________/
///
/// Nothing of the interface is touched that was not asked for: no address, route, up state or persistence.
/// The offload mask is the exception: it belongs to the device, survives processes, and must match the
/// framing. So it is always set, to nothing where nothing is wanted, and what it was before is neither known
/// (the kernel has no request that tells) nor put back. A persistent device must not keep the mask when its
/// last queue is closed: the next program to attach, without the header, would read raw super-packets. Nor
/// may a closing program clear the mask under another one, which has a queue of its own or a duplicate of the
/// same descriptor, as after a hand-over. Only the kernel knows of duplicates. So `close` closes first, then
/// attaches once more with the same flags, and clears the mask if that succeeds: EBUSY means that somebody
/// has the queue. Where attaching again is not possible (no clone device, no privilege), the mask of a device
/// of one queue is cleared before the descriptor is closed. A second exception is the kernel's: the first
/// queue that is attached sets the device's flags (PI, the virtio header), and they stay; a persistent device
/// made without the header gets it when attached to with offload. Another queue gets the flags that are
/// there, and shares the one mask with the others.
///
/// Blocking is done here, not by the kernel, which lets nobody end another thread's read(2): the descriptor
/// is always non-blocking, and a blocking device that meets EAGAIN waits with poll(2) for the descriptor or
/// for an eventfd, which `cancel` and `close` signal. Calls under way on a blocking device are counted from
/// their first instruction to their last: `close` closes the descriptor when none is, so no call meets a
/// number that is another file's by then. A blocking device pays two atomic additions for each call, another
/// pays nothing.

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

#include "tunport/base/bytes.hpp"
#include "tunport/base/drop_reason.hpp"
#include "tunport/base/throwing.hpp"
#include "tunport/device/link.hpp"
#include "tunport/device/system.hpp"
#include "tunport/offload/offload.hpp"

namespace tunport {

enum class OpenMode : std::uint8_t {
  either,  ///< attach if it is there, create it otherwise
  create,  ///< `Errc::device_exists` if it is there
  attach,  ///< `Errc::no_such_device` if it is not; needs no privilege on a device prepared for this user
};

/// True if a device can be opened by this name: an interface's name, a template ("tp%d"), or an empty one.
bool is_device_name(const std::string& name);

/// How a device is opened. The defaults are what most want.
struct DeviceOptions {
  OpenMode mode = OpenMode::either;
  bool packet_information = false;  ///< ask for PI (IFF_NO_PI not set); the first queue decides
  bool multi_queue = false;         ///< IFF_MULTI_QUEUE; must be what the device is
  bool blocking = false;            ///< reads and writes wait, see `Device::cancel`; not for use with a port
  /// What the kernel may leave to do on packets. With none, every packet is a single datagram with its
  /// checksum. What was granted is in `Capabilities`; it is never more than this.
  OffloadFeatures offload = {};
  /// Open it inside this namespace (a name as `ip netns` has it, or a path; empty: here); needs CAP_SYS_ADMIN
  /// over it. The calling thread is back where it was afterwards; the interface is to be found in there.
  std::string network_namespace = {};
  std::string clone_path = "/dev/net/tun";
  /// False: nothing is asked by netlink, which some processes do not have (Android, seccomp filters). Then
  /// `packet_information` must be what the device has if another queue is attached already, and a refusal has
  /// the kernel's bare errno.
  bool netlink = true;
};

/// How a descriptor is adopted.
struct AdoptOptions {
  /// What the kernel may leave to do on packets, if the device has the virtio header.
  OffloadFeatures offload = {};
  /// Whether the device has packet information, as the caller knows. Then netlink is not needed, and what can
  /// be seen must agree. Not given: the kernel is asked by netlink.
  std::optional<bool> packet_information = {};
  /// False: nothing is asked by netlink. Packet information that is not given is none then.
  bool netlink = true;
};

/// What a read brought.
struct ReadResult {
  std::size_t size = 0;    ///< bytes of packet in the buffer
  bool truncated = false;  ///< the packet was longer than the buffer: the rest is lost
  /// Zero, or a positive errno: EAGAIN (nothing there), EINTR, ECANCELED (see `Device::cancel`), EBADFD
  /// (device gone), EINVAL (a buffer too short for the framing; the packet is lost), EBADMSG (a virtio header
  /// that does not fit its packet, which is dropped), EIO, and what else read(2) gives.
  int error = 0;
  PacketOffload offload =
      {};  ///< what is left to do on the packet; not of a truncated one, nor by `read_framed`
};

/// The most that `Capabilities::framing` can be, in bytes; a device with more is not opened. A virtio header
/// has no upper bound of its own; devices in use have 10 or 12 bytes, 24 with tunnel offload.
inline constexpr std::size_t max_framing = 64;

/// What a device is, as read back from the kernel.
struct Capabilities {
  DeviceKind kind = DeviceKind::tun;
  bool packet_information = false;
  bool vnet_header = false;
  bool multi_queue = false;
  bool persistent = false;
  std::size_t framing = 0;                       ///< bytes that precede each packet on the descriptor
  OffloadFeatures offload;                       ///< what was granted; none without a virtio header
  std::endian byte_order = std::endian::native;  ///< of the virtio header's fields

  /// Where the virtio header is within the framing, of which it takes the rest.
  constexpr std::size_t virtio_header_offset() const { return packet_information ? 4 : 0; }
};

/// For log lines: "tap, virtio header, offload checksum+tso4+tso6, multi-queue".
std::string to_string(const Capabilities& capabilities);

/// An open device. Move-only; closing it deletes the interface unless it is persistent. Used by one thread at
/// a time. A blocking one may be read by one thread and written by another, and cancelled or closed by a
/// third at any time. `Device device = Device::open(DeviceKind::tap, "tp0");`
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
  /// `not_permitted`, `device_busy` (the only one that may pass by itself), `device_held_here`,
  /// `device_exists`, `no_such_device`, `wrong_kind`, `not_a_tunnel`, `multi_queue_mismatch`,
  /// `bad_header_size`, `no_such_namespace`, `not_a_namespace`, `namespace_denied`, or the kernel's errno. On
  /// error nothing is left open or created.
  static Device open(DeviceKind kind, const std::string& name, const DeviceOptions& options = {},
                     System system = linux_system());
  /// The same; returns a closed device and sets `ec` instead of throwing.
  static Device open(DeviceKind kind, const std::string& name, const DeviceOptions& options, System system,
                     std::error_code& ec);
  /// Takes over a descriptor that somebody else opened and bound (inherited, or received over a socket), in
  /// whichever namespace its device is: probes kind, name and framing, makes the descriptor non-blocking and
  /// close-on-exec, and sets the offload mask. `Errc::not_bound` if it is not bound to a device,
  /// `Errc::not_tun_driver` for a macvtap or ipvtap, `Errc::packet_information_mismatch` if the device is
  /// seen to differ, `Errc::namespace_denied` if the device's namespace cannot be asked for packet
  /// information (state it then), EBADF if it is not open for reading and writing. On error the descriptor is
  /// closed.
  static Device adopt(UniqueFd fd, const AdoptOptions& options = {}, System system = linux_system());
  static Device adopt(UniqueFd fd, const AdoptOptions& options, System system, std::error_code& ec);

  /// Lets go of the descriptor: the caller owns it, the device here is closed.
  UniqueFd release();
  /// Closes the descriptor. The offload mask of a persistent device that nobody else has open is cleared. On
  /// a blocking device, from any thread: calls of other threads end first, with ECANCELED where they wait or
  /// have not begun; then the descriptor is closed, and this returns. The device itself must outlive those
  /// calls.
  void close() noexcept;
  /// Ends every call that waits on a blocking device, and every later one that would, with ECANCELED; the
  /// device stays open. From any thread, at any time while the device is there. No effect on a non-blocking
  /// one.
  void cancel() noexcept;

  explicit operator bool() const { return static_cast<bool>(fd_); }
  int fileno() const { return fd_.get(); }
  /// The interface's name as it was when opened.
  const std::string& name() const { return name_; }
  DeviceKind kind() const { return capabilities_.kind; }
  const Capabilities& capabilities() const { return capabilities_; }
  /// The device's interface, in the device's own namespace and under whatever name it has now: addresses,
  /// MTU, up and down. `device.link().set_up(true);` Precondition for this and what follows: open. Fails with
  /// `device_gone`, or `namespace_denied` without CAP_NET_ADMIN over the namespace that the device is in.
  Link link() const {
    return throwing(name_, [&](std::error_code& ec) { return link(ec); });
  }
  Link link(std::error_code& ec) const;
  /// Opens a device of this kind by name.
  using Opener =
      std::function<Device(const std::string& name, const DeviceOptions& options, std::error_code& ec)>;
  /// What opens a device like this one after this one is closed: on its system and in the namespace that it
  /// is in now, unless the options name one. `namespace_denied` if that one is not known.
  Opener opener() const;

  /// Reads one packet into `buffer` (bytes of packet only; the framing goes elsewhere).
  ReadResult read(MutableBytes buffer) noexcept;
  /// Reads framing and packet as they lie, in one read(2): the packet is `size` bytes from
  /// `buffer[capabilities().framing]` on, the last byte of `buffer` is the spare. For whoever looks into the
  /// framing himself. EINVAL, and nothing is read, unless the buffer is longer than the framing.
  ReadResult read_framed(MutableBytes buffer) noexcept {
    const std::size_t framing = capabilities_.framing;
    if (buffer.size() <= framing) return {.error = EINVAL};
    const std::size_t room = buffer.size() - framing - 1;
    const ssize_t result = waited(POLLIN, [&] { return io_->read(fd_.get(), buffer.data(), buffer.size()); });
    if (result < 0) return {.error = static_cast<int>(-result)};
    const auto size = static_cast<std::size_t>(result);
    if (size < framing) return {.error = EINVAL};
    return {.size = std::min(size - framing, room), .truncated = size - framing > room};
  }
  /// From now on nothing waits: EAGAIN. Not while another thread does.
  void set_non_blocking() noexcept { waiting_.reset(); }

  /// Writes one packet. Zero when the kernel has it, else a positive errno: EAGAIN, EINTR, ENOBUFS, EIO (the
  /// interface is down: passes), EBADFD (deleted: final), EINVAL (not acceptable).
  int write(Bytes packet) noexcept {
    if (capabilities_.framing != 0) return write_parts({&packet, 1});
    const ssize_t result =
        waited(POLLOUT, [&] { return io_->write(fd_.get(), packet.data(), packet.size()); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }
  /// Writes a packet on which this is left to do: EOPNOTSUPP if that cannot be told, for want of a virtio
  /// header. The kernel takes super-packets that it knows whatever was granted, and a super-packet only with
  /// its checksum to be filled.
  int write(Bytes packet, const PacketOffload& offload) noexcept;
  /// Writes one packet gathered from at most 16 parts. Results as `write`.
  int write_sequence(std::span<const Bytes> parts) noexcept;
  /// Writes framing and packet as they lie, in one write(2). Results as `write`; EINVAL also for a virtio
  /// header that the kernel does not believe, or a kind of super-packet that it does not know.
  int write_framed(Bytes framed) noexcept {
    const ssize_t result =
        waited(POLLOUT, [&] { return io_->write(fd_.get(), framed.data(), framed.size()); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }
  /// The same gathered, in one writev(2); the framing comes first and may be cut anywhere.
  int write_framed(std::span<const iovec> parts) noexcept {
    const ssize_t result = waited(POLLOUT, [&] { return io_->writev(fd_.get(), parts); });
    return result < 0 ? static_cast<int>(-result) : 0;
  }

  /// What is left to do on a packet that `read_framed` brought; `framed` is framing and packet. Nothing if
  /// the virtio header does not fit the packet: `why` is `bad_offload`.
  std::optional<PacketOffload> offload_of(Bytes framed, DropReason& why) const;
  /// Writes the framing that goes before `packet` in `write_framed`; the packet's link header, or on TUN its
  /// first byte, is enough. Precondition: `framing` is as long as `capabilities().framing`. False where the
  /// packet has no EtherType that packet information could tell.
  bool emit_framing(MutableBytes framing, Bytes packet, const PacketOffload& offload = {}) const noexcept {
    return emit_framing(framing, {&packet, 1}, offload);
  }

  /// True once the interface was deleted underneath. Reads nothing, so a paused reader may ask.
  bool is_gone() const noexcept;

  /// Changes what the kernel may leave to do from now on (TUNSETOFFLOAD); what is granted is in
  /// `capabilities()`, none without a virtio header. Of all queues of the device, and not of packets that
  /// wait to be read already: their virtio headers go on telling what is left to do. On error nothing has
  /// changed.
  void set_offload(const OffloadFeatures& wanted, std::error_code& ec);

  /// Keeps the interface when it is closed (TUNSETPERSIST), or no longer.
  void set_persistent(bool persistent, std::error_code& ec);
  /// Lets this user, or members of this group, attach without privilege (TUNSETOWNER, TUNSETGROUP).
  void set_owner(std::uint32_t uid, std::error_code& ec);
  void set_group(std::uint32_t gid, std::error_code& ec);
  /// Bounds what written packets may take in the kernel, in bytes (TUNSETSNDBUF); beyond it writes say
  /// EAGAIN.
  void set_send_buffer(int bytes, std::error_code& ec);

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
  void set_send_buffer(int bytes) {
    throwing(name_, [&](std::error_code& ec) { set_send_buffer(bytes, ec); });
  }

 private:
  /// What the calls of a blocking device share.
  struct Waiting {
    UniqueFd cancelled;                ///< an eventfd, readable for ever once cancelled
    std::atomic<int> calls{0};         ///< under way
    std::atomic<bool> closing{false};  ///< no call may touch the descriptor any more
  };

  Device(UniqueFd fd, System system) : io_{&system.io}, links_{&system.links}, fd_{std::move(fd)} {}

  static Device open_here(DeviceKind kind, const std::string& name, const DeviceOptions& options,
                          System system, std::error_code& ec);
  /// TUNSETIFF.
  void bind(const std::string& name, int flags, DeviceKind kind, const DeviceOptions& options,
            std::error_code& ec);
  void probe(const AdoptOptions& options, bool is_settled, std::error_code& ec);
  bool probe_packet_information(int flags, const AdoptOptions& options, std::error_code& ec) const;
  void probe_virtio_header(std::error_code& ec);
  void set(unsigned long request, unsigned long value, std::error_code& ec);
  /// The interface's name now.
  std::string current_name(std::error_code& ec) const;
  /// Closes a persistent device, and clears its mask unless somebody else has it open.
  void close_without_mask() noexcept;
  /// TUNSETIFF with the flags that the device has; zero or a negated errno.
  int attach_again(int fd, const std::string& name) const;
  /// Makes a call; on a blocking device again, whenever it need no longer wait.
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
  /// Waits for the descriptor: zero if a call is to be made again, else how it ends, negated.
  ssize_t wait(short events) const noexcept;
  int write_parts(std::span<const Bytes> parts, const PacketOffload& offload = {}) noexcept;
  bool emit_framing(MutableBytes framing, std::span<const Bytes> parts,
                    const PacketOffload& offload) const noexcept;

  IoSystem* io_ = nullptr;
  LinkSystem* links_ = nullptr;
  UniqueFd fd_;
  std::string name_;
  std::string clone_path_;  ///< of the driver that the descriptor is from
  Capabilities capabilities_;
  std::unique_ptr<Waiting> waiting_;  ///< of a blocking device
};

}  // namespace tunport
