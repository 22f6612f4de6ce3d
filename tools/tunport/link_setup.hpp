#pragma once
/// What the command does to an interface, and undoes.

#include <optional>
#include <string>
#include <vector>

#include "tunport/device/link_system.hpp"

namespace tunport::tool {

/// Sets an interface up and, if `keep` (it was there before us and stays), puts everything back when it goes.
/// What is as it should be already is not touched, so a device prepared for this user needs no privilege.
///
/// Theory. Each change is noted before the kernel is asked for it, and the note goes only where the kernel
/// refused: an answer that is lost on its way leaves a change to undo. Setting the interface down takes its
/// IPv6 addresses, and an MTU below 1280 does so too. So the addresses are listed with all that the kernel
/// keeps of them, and added again at the end. Where they cannot be listed then, those of the start are added.
/// The kernel makes some addresses by itself (link-local ones, those of router advertisements); these it
/// makes anew.
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
  void add_address(const IpPrefix& address);
  void set_up();
  /// True once nothing keeps a program from binding to the addresses asked for. An IPv6 address that an
  /// administrator added is tentative for a second or two, while the kernel looks for a duplicate. True too
  /// where the addresses cannot be listed.
  bool addresses_are_usable() const;

  /// Packets that the kernel dropped since we came because nobody read them in time.
  std::uint64_t kernel_drops() const;

  /// Puts everything back, once, as far as it can, under whatever name the interface has by now. The first
  /// thing that went wrong; that the interface is gone is none, and another that has its name is left alone.
  std::error_code put_back() noexcept;
  /// As `put_back`, and says on standard error what went wrong. True if everything is as it was.
  bool put_back_or_say_so() noexcept;

 private:
  /// True if the interface is to have this address in the end too.
  bool must_stay(const InterfaceAddress& address) const;
  /// The IPv6 addresses that are to be there in the end, whatever is done to the interface on the way.
  std::vector<InterfaceAddress> addresses_to_keep(const std::string& name, std::error_code& ec) const;
  /// The interface that we set up, by its index: it may have another name by now, and what has its name may
  /// be another, which is not ours to touch. `Errc::no_such_device` if it is gone.
  std::optional<LinkInfo> find_now(std::error_code& ec) const;

  LinkSystem& links_;
  std::string name_;
  bool keep_;
  LinkInfo before_;
  std::vector<InterfaceAddress> addresses_before_;
  std::vector<IpPrefix> asked_;
  std::vector<IpPrefix> added_;
  unsigned mtu_ = 0;
  bool mtu_set_ = false;
  bool raised_ = false;
};

}  // namespace tunport::tool
