#pragma once
/// The command's changes of an interface, and their end.

#include <string>
#include <system_error>

#include "tunport/device/interface_setup_internal.hpp"

namespace tunport::tool {

/// Sets an interface up. With `keep`, for an interface that existed before us and stays, the destructor puts
/// everything back. Settings that are right already are not touched, so a device prepared for this user needs
/// no privilege. An `InterfaceSetup` with the command's words for refusals of the kernel.
class LinkSetup {
 public:
  /// Throws `Error` for a missing interface. The setters throw `Error` or `Failure` for refusals of the
  /// kernel.
  LinkSetup(LinkSystem& links, std::string name, bool keep);
  LinkSetup(const LinkSetup&) = delete;
  LinkSetup& operator=(const LinkSetup&) = delete;
  /// Puts everything back, and names a failure on standard error.
  ~LinkSetup();

  void set_mtu(unsigned mtu);
  void set_mac(const MacAddress& mac);
  void set_tx_queue_length(unsigned packets);
  void add_address(const IpPrefix& address);
  void set_up();
  /// True once a program can bind to the added addresses. An IPv6 address added by an administrator is
  /// tentative for a second or two, while the kernel looks for a duplicate. True too without a list of the
  /// addresses.
  bool addresses_are_usable() const { return setup_.addresses_are_usable(); }

  /// Packets dropped by the kernel since our start, for want of a reader in time.
  std::uint64_t kernel_drops() const { return setup_.kernel_drops(); }

  /// Puts everything back, once, as far as possible, whatever the interface's present name. Returns the first
  /// failure. A missing interface is no failure, and a new interface of the old name is left alone.
  std::error_code put_back() noexcept { return setup_.put_back(); }
  /// As `put_back`, and names a failure on standard error. True if everything is as before.
  bool put_back_or_say_so() noexcept;

 private:
  std::error_code failed_;  ///< of the constructor
  std::string name_;
  bool keep_;
  InterfaceSetup setup_;
};

}  // namespace tunport::tool
