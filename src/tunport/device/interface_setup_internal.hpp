#pragma once
/// Sets an interface up as asked, and puts everything back.

#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/device/interface_options.hpp"

namespace tunport {

/// The changes to an interface. Settings that are as asked already are not touched, so a device prepared for
/// the user needs no privilege. With `keep` (the interface was present before, and stays) the former settings
/// are put back.
///
/// Theory. Each change is noted before the kernel is asked, and the note goes only after a refusal: an answer
/// lost on its way leaves a change to undo. Setting the interface down takes the IPv6 addresses, and so does
/// an MTU below 1280. So the addresses are listed with their properties, and added again at the end. If the
/// list fails at the end, the addresses of the start are added. Link-local addresses and addresses of router
/// advertisements are the kernel's: the kernel makes them anew. Each call goes by the interface's index: a
/// later namesake is left alone.
class InterfaceSetup {
 public:
  /// `links` outlives the setup. After an error no further call is allowed.
  InterfaceSetup(LinkSystem& links, const std::string& name, bool keep, std::error_code& ec);
  InterfaceSetup(const InterfaceSetup&) = delete;
  InterfaceSetup& operator=(const InterfaceSetup&) = delete;
  ~InterfaceSetup() { put_back(); }

  /// Sets everything, in the kernel's order. At the first error `part` names the failed part; earlier changes
  /// stay until `put_back`.
  void apply(const InterfaceOptions& options, std::string& part, std::error_code& ec);

  /// `Errc::mtu_too_small` if the interface would lose an address (`lost_by`).
  void set_mtu(unsigned mtu, std::error_code& ec);
  void set_mac(const MacAddress& mac, std::error_code& ec);
  void set_tx_queue_length(unsigned packets, std::error_code& ec);
  void add_address(const IpPrefix& address, std::error_code& ec);
  void set_up(std::error_code& ec);
  void add_route(Route route, std::error_code& ec);

  /// An IPv6 address of the start that the interface would lose by the MTU; null without a loss.
  const InterfaceAddress* lost_by(unsigned mtu) const;
  /// The present MTU.
  unsigned mtu() const { return mtu_; }
  /// True once a program can bind to the addresses asked for. An IPv6 address added by an administrator is
  /// tentative for a second or two, while the kernel looks for a duplicate. True too if the addresses cannot
  /// be listed.
  bool addresses_are_usable() const;
  /// Packets dropped by the kernel since the start, for want of a timely reader.
  std::uint64_t kernel_drops() const;

  /// Puts everything back, once, as far as possible. Returns the first error; a deleted interface is no
  /// error.
  std::error_code put_back() noexcept;
  /// Nothing is put back any more.
  void keep_all() { keep_ = false; }

 private:
  /// Makes a change, noted in `note`; the note goes after a refusal.
  template <typename Change>
  void noted(bool& note, std::error_code& ec, Change change);
  /// True if the interface is to have the address in the end too.
  bool must_stay(const InterfaceAddress& address) const;
  /// The IPv6 addresses for the end, after every change on the way.
  std::vector<InterfaceAddress> addresses_to_keep(std::error_code& ec) const;

  std::unique_ptr<LinkSystem> link_;  ///< of the interface
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
