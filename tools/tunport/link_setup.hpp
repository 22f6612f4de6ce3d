#pragma once
/// What the command does to an interface, and undoes.

#include <optional>
#include <string>
#include <vector>

#include "tunport/device/link_system.hpp"

namespace tunport::tool {

/// Sets an interface up and, if `keep` (it was there before us and stays), puts everything back when it goes.
/// What is as it should be already is not touched, so a device prepared for this user needs no privilege.
class LinkSetup {
 public:
  /// Throws `Error` if there is no such interface. The others throw `Error` or `Failure` for what the kernel
  /// refuses.
  LinkSetup(LinkSystem& links, std::string name, bool keep);
  LinkSetup(const LinkSetup&) = delete;
  LinkSetup& operator=(const LinkSetup&) = delete;
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

 private:
  /// The interface that we set up, by its index: it may have another name by now, and what has its name may
  /// be another, which is not ours to touch. `Errc::no_such_device` if it is gone.
  std::optional<LinkInfo> find_now(std::error_code& ec) const;

  LinkSystem& links_;
  std::string name_;
  bool keep_;
  LinkInfo before_;
  std::vector<IpPrefix> addresses_before_;
  std::vector<IpPrefix> asked_;
  std::vector<IpPrefix> added_;
  unsigned mtu_ = 0;
  bool mtu_set_ = false;
  bool raised_ = false;
};

}  // namespace tunport::tool
