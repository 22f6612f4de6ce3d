#pragma once
/// What the command does to an interface, and undoes.

#include <string>
#include <system_error>

#include "tunport/device/interface_setup_internal.hpp"

namespace tunport::tool {

/// Sets an interface up and, if `keep` (it was there before us and stays), puts everything back when it goes.
/// What is as it should be already is not touched, so a device prepared for this user needs no privilege.
/// `InterfaceSetup` with the command's words for what the kernel refuses.
class LinkSetup {
 public:
  /// Throws `Error` if there is no such interface. The others throw `Error` or `Failure` for what the kernel
  /// refuses.
  LinkSetup(LinkSystem& links, std::string name, bool keep);
  LinkSetup(const LinkSetup&) = delete;
  LinkSetup& operator=(const LinkSetup&) = delete;
  /// Puts back, and says on standard error what could not be.
  ~LinkSetup();

  void set_mtu(unsigned mtu);
  void set_mac(const MacAddress& mac);
  void set_tx_queue_length(unsigned packets);
  void add_address(const IpPrefix& address);
  void set_up();
  /// True once nothing keeps a program from binding to the addresses asked for. An IPv6 address that an
  /// administrator added is tentative for a second or two, while the kernel looks for a duplicate. True too
  /// where the addresses cannot be listed.
  bool addresses_are_usable() const { return setup_.addresses_are_usable(); }

  /// Packets that the kernel dropped since we came because nobody read them in time.
  std::uint64_t kernel_drops() const { return setup_.kernel_drops(); }

  /// Puts everything back, once, as far as it can, under whatever name the interface has by now. The first
  /// thing that went wrong; that the interface is gone is none, and another that has its name is left alone.
  std::error_code put_back() noexcept { return setup_.put_back(); }
  /// As `put_back`, and says on standard error what went wrong. True if everything is as it was.
  bool put_back_or_say_so() noexcept;

 private:
  std::error_code failed_;  ///< of the constructor
  std::string name_;
  bool keep_;
  InterfaceSetup setup_;
};

}  // namespace tunport::tool
