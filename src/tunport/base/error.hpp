#pragma once
/// Errors: a category of `std::error_code`, with cause and remedy of each error in words.
///
/// A value below 10000 is an `errno` of the kernel. The values of `Errc` are errors that tunport knows better
/// than the kernel's number. Both compare equal to the `std::errc` with the same meaning:
/// `ec == std::errc::device_or_resource_busy` holds for `Errc::device_busy`.

#include <string>
#include <string_view>
#include <system_error>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// Errors known better than by the kernel's `errno`.
enum class Errc {
  no_driver = 10001,       ///< /dev/net/tun is absent, or without a driver
  clone_device_denied,     ///< the user may not open /dev/net/tun
  not_permitted,           ///< creating, or attaching to a device of another owner, without CAP_NET_ADMIN
  device_busy,             ///< another process holds the device; transient
  device_exists,           ///< a device to create exists
  no_such_device,          ///< a device to attach to is absent
  wrong_kind,              ///< the device is a TAP, and TUN was requested, or the reverse
  not_a_tunnel,            ///< the interface is neither TUN nor TAP
  multi_queue_mismatch,    ///< one side is multi-queue and the other is not
  invalid_name,            ///< not a name that an interface can have
  device_gone,             ///< the device was deleted; final
  link_down,               ///< the interface is down; transient
  not_listening,           ///< the port is not listening
  already_listening,       ///< the port is listening already
  operation_aborted,       ///< the port was stopped, or the operation cancelled, before the end
  no_user_namespaces,      ///< user namespaces are switched off
  not_bound,               ///< a descriptor to adopt that is not bound to a TUN/TAP device
  bad_header_size,         ///< the device has a virtio header of an unsupported size
  no_such_namespace,       ///< the network namespace does not exist
  not_a_namespace,         ///< the file is no network namespace
  namespace_denied,        ///< entering a network namespace, without CAP_SYS_ADMIN
  no_namespaces,           ///< the system, a fake, has no network namespaces
  mtu_too_small,           ///< IPv6 needs an MTU of 1280 bytes
  mtu_out_of_range,        ///< not an MTU that the interface can have
  no_mac_address,          ///< the interface, a TUN device, has no MAC address
  invalid_mac_address,     ///< not a MAC address that an interface can have
  invalid_route,           ///< host bits in the destination, or a gateway of the other family
  clone_device_forbidden,  ///< /dev/net/tun by a device cgroup, or on a file system mounted nodev
  not_clone_device,        ///< a directory, a plain file or another device in the place of /dev/net/tun
  links_changing,          ///< addresses or routes changed during every try to list them; transient
  packet_information_mismatch,  ///< the device has packet information and the caller stated none, or the
                                ///< reverse
  not_tun_driver,               ///< a descriptor to adopt that is of a macvtap or ipvtap
  device_held_here,             ///< the program itself holds the device, which has a single queue
  invalid_address,              ///< not an address that an interface can have
  too_many_queues,              ///< an interface has at most 256 queues
  invalid_header_size,          ///< not a size that a virtio header can have
  header_size_in_use,           ///< another queue of the device uses a virtio header of another size
  other_device,                 ///< the descriptor to adopt is of another interface than the port's name
};

/// The knobs of a device that a kernel may lack (docs/knobs.md). The value is the error's.
enum class Knob {
  no_carrier = 20001,  ///< a device that is opened without a carrier (IFF_NO_CARRIER)
  carrier,             ///< the carrier of an open device (TUNSETCARRIER)
  napi,                ///< written packets by way of NAPI (IFF_NAPI)
  backpressure,        ///< a full ring that stops its senders (IFF_BACKPRESSURE)
  multi_queue,         ///< several queues of one interface (IFF_MULTI_QUEUE)
  virtio_header,       ///< the virtio header (IFF_VNET_HDR)
  virtio_header_size,  ///< another size of the virtio header (TUNSETVNETHDRSZ)
  send_buffer,         ///< a bound of the memory for written packets (TUNSETSNDBUF)
};
/// The error of a knob that the kernel lacks: "not supported by this kernel: backpressure". Compares equal to
/// `std::errc::operation_not_supported`. Trying again does not help.
std::error_code not_supported(Knob knob) noexcept;

/// The category of tunport's errors. `message()` gives the cause and, after a semicolon, the remedy.
const std::error_category& error_category() noexcept;
/// The error code of a value: `std::error_code ec = Errc::device_gone;`
std::error_code make_error_code(Errc value) noexcept;
/// The error code of a positive `errno`; EBADFD becomes `Errc::device_gone`.
std::error_code errno_code(int number) noexcept;
/// The cause of an error in words, without the remedy.
std::string cause(const std::error_code& ec);
/// The remedy of an error in words; empty without a general remedy.
std::string_view remedy(const std::error_code& ec);
/// True if trying again may help, without a repair: EAGAIN, EINTR, ENOBUFS, ENOMEM, EBUSY, EIO,
/// `Errc::link_down`, `Errc::device_busy`, `Errc::links_changing`.
bool is_transient(const std::error_code& ec);

/// The exception of throwing calls: an error code, with the name of the object concerned. `what()` reads
/// "tp0: cause; remedy".
class Error : public std::system_error {
 public:
  /// An error of the object `subject`.
  Error(std::error_code ec, std::string subject)
      : std::system_error{ec, subject}, subject_{std::move(subject)} {}
  /// The object concerned: an interface, a path, an address.
  const std::string& subject() const noexcept { return subject_; }

 private:
  std::string subject_;
};

/// The failure of a port's start. The start leaves neither a descriptor nor a device behind.
class CannotListenError : public Error {
 public:
  using Error::Error;
};

}  // namespace tunport

template <>
struct std::is_error_code_enum<tunport::Errc> : std::true_type {};
