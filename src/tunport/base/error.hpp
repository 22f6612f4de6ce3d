#pragma once
/// Errors: one category of `std::error_code`, each with its cause and its remedy in words.
///
/// A value below 10000 is an `errno` as the kernel gave it; the values of `Errc` are those whose cause
/// tunport knows better than the kernel's number says. Both compare equal to the `std::errc` they stand for,
/// so `ec == std::errc::device_or_resource_busy` holds for `Errc::device_busy`.

#include <string>
#include <string_view>
#include <system_error>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// What an error is, where that is known better than by the kernel's `errno`.
enum class Errc {
  no_driver = 10001,       ///< /dev/net/tun is not there, or no driver behind it
  clone_device_denied,     ///< /dev/net/tun may not be opened by this user
  not_permitted,           ///< creating, or attaching to a device of another owner, without CAP_NET_ADMIN
  device_busy,             ///< another process holds the device; passes when it lets go
  device_exists,           ///< asked to create, and it is there
  no_such_device,          ///< asked to attach, and it is not there
  wrong_kind,              ///< it is a TAP and TUN was asked for, or the reverse
  not_a_tunnel,            ///< the interface is neither TUN nor TAP
  multi_queue_mismatch,    ///< one side is multi-queue and the other is not
  invalid_name,            ///< not a name that an interface can have
  device_gone,             ///< the device was deleted; final
  link_down,               ///< the interface is down; passes
  not_listening,           ///< the port is not listening
  already_listening,       ///< the port is listening already
  operation_aborted,       ///< the port was stopped before it was done
  no_user_namespaces,      ///< user namespaces are switched off
  not_bound,               ///< a descriptor to adopt that is not bound to a TUN/TAP device
  bad_header_size,         ///< the device has a virtio header of a size that is not served
  no_such_namespace,       ///< there is no network namespace of that name
  not_a_namespace,         ///< the file is no network namespace
  namespace_denied,        ///< entering a network namespace, without CAP_SYS_ADMIN
  no_namespaces,           ///< this system, a fake, has no network namespaces
  mtu_too_small,           ///< IPv6 needs an MTU of 1280 bytes
  mtu_out_of_range,        ///< not an MTU that the interface can have
  no_mac_address,          ///< the interface, a TUN device, has no MAC address
  invalid_mac_address,     ///< not a MAC address that an interface can have
  invalid_route,           ///< host bits in the destination, or a gateway of a family that it cannot have
  clone_device_forbidden,  ///< /dev/net/tun by a device cgroup, or on a file system mounted nodev
  not_clone_device,        ///< a directory, a plain file or another device in the place of /dev/net/tun
  links_changing,          ///< addresses or routes changed all the while that they were listed; passes
  packet_information_mismatch,  ///< the device has packet information and the caller said none, or the
                                ///< reverse
  not_tun_driver,               ///< a descriptor to adopt that is of a macvtap or ipvtap
  device_held_here,             ///< this process holds the device, which has one queue
  invalid_address,              ///< not an address that an interface can have
};

/// The one category. Its `message()` gives the cause and, after a semicolon, the remedy.
const std::error_category& error_category() noexcept;
std::error_code make_error_code(Errc value) noexcept;
/// The `errno` value `number` as an error of the one category; EBADFD is `Errc::device_gone`.
std::error_code errno_code(int number) noexcept;
/// What went wrong, without the remedy.
std::string cause(const std::error_code& ec);
/// What a person can do about it; empty where nothing general can be said.
std::string_view remedy(const std::error_code& ec);
/// True if the same call may succeed later without anybody mending anything: EAGAIN, EINTR, ENOBUFS, ENOMEM,
/// a link that is down, a device that is busy.
bool is_transient(const std::error_code& ec);

/// What tunport throws: an error code with the name of the thing that it happened to.
/// `what()` reads "tp0: cause; remedy".
class Error : public std::system_error {
 public:
  Error(std::error_code ec, std::string subject)
      : std::system_error{ec, subject}, subject_{std::move(subject)} {}
  /// What it happened to: an interface, a path, an address.
  const std::string& subject() const noexcept { return subject_; }

 private:
  std::string subject_;
};

/// A port could not start. Nothing is left behind: no descriptor, no device.
class CannotListenError : public Error {
 public:
  using Error::Error;
};

}  // namespace tunport

template <>
struct std::is_error_code_enum<tunport::Errc> : std::true_type {};
