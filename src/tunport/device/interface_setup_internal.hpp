#pragma once
/// Sets an interface up as asked, and puts everything back.

#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/device/interface_options.hpp"

namespace tunport {

/// The changes to one interface. What is as asked already is not touched, so a device prepared for this user
/// needs no privilege. With `keep` (the interface was there before, and stays) all is put back.
///
/// Theory. Each change is noted before the kernel is asked for it, and the note goes only where the kernel
/// refused: an answer that is lost on its way leaves a change to undo. Setting the interface down takes its
/// IPv6 addresses, and an MTU below 1280 does so too. So the addresses are listed with all that the kernel
/// keeps of them, and added again at the end. Where they cannot be listed then, those of the start are added.
/// The kernel makes some addresses by itself (link-local ones, those of router advertisements); these it
/// makes anew. All goes by the interface's index: a namesake that comes later is left alone.
class InterfaceSetup {
 public:
  /// `links` is outlived. On an error nothing else may be called.
  InterfaceSetup(LinkSystem& links, const std::string& name, bool keep, std::error_code& ec);
  InterfaceSetup(const InterfaceSetup&) = delete;
  InterfaceSetup& operator=(const InterfaceSetup&) = delete;
  ~InterfaceSetup() { put_back(); }

  /// Everything, in the order in which the kernel takes it. At the first error: what is done stays done until
  /// `put_back`, and `part` names what failed.
  void apply(const InterfaceOptions& options, std::string& part, std::error_code& ec);

  /// `Errc::mtu_too_small` if the interface would lose an address by that (`lost_by`).
  void set_mtu(unsigned mtu, std::error_code& ec);
  void set_mac(const MacAddress& mac, std::error_code& ec);
  void set_tx_queue_length(unsigned packets, std::error_code& ec);
  void add_address(const IpPrefix& address, std::error_code& ec);
  void set_up(std::error_code& ec);
  void add_route(Route route, std::error_code& ec);

  /// An IPv6 address of the start that the interface would lose by this MTU; null if there is none.
  const InterfaceAddress* lost_by(unsigned mtu) const;
  /// The MTU that the interface has by now.
  unsigned mtu() const { return mtu_; }
  /// True once nothing keeps a program from binding to the addresses asked for. An IPv6 address that an
  /// administrator added is tentative for a second or two, while the kernel looks for a duplicate. True too
  /// where the addresses cannot be listed.
  bool addresses_are_usable() const;
  /// Packets that the kernel dropped since the start because nobody read them in time.
  std::uint64_t kernel_drops() const;

  /// Puts everything back, once, as far as possible. The first thing that went wrong; that the interface is
  /// gone is none.
  std::error_code put_back() noexcept;
  /// Nothing is put back any more.
  void keep_all() { keep_ = false; }

 private:
  /// Notes in `note` that `change` is asked for; the note goes where the kernel refuses.
  template <typename Change>
  void noted(bool& note, std::error_code& ec, Change change);
  /// True if the interface is to have this address in the end too.
  bool must_stay(const InterfaceAddress& address) const;
  /// The IPv6 addresses that are to be there in the end, whatever is done to the interface on the way.
  std::vector<InterfaceAddress> addresses_to_keep(std::error_code& ec) const;

  std::unique_ptr<LinkSystem> link_;  ///< of the one interface
  std::string name_;
  bool keep_;
  LinkInfo before_;
  std::vector<InterfaceAddress> addresses_before_;
  std::vector<Route> routes_before_;
  std::vector<IpPrefix> asked_;
  std::vector<IpPrefix> added_;
  std::vector<Route> routes_added_;
  unsigned mtu_ = 0;
  bool mtu_set_ = false;
  bool mac_set_ = false;
  bool tx_queue_length_set_ = false;
  bool raised_ = false;
};

}  // namespace tunport
