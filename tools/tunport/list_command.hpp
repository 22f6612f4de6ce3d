#pragma once
/// `tunport list`: the TUN/TAP interfaces that exist.

#include <functional>
#include <string>
#include <vector>

#include "tunport/device/link_system.hpp"
#include "tunport/wire/address.hpp"

namespace tunport::tool {

/// A process with an interface open.
struct Holder {
  int pid = 0;
  std::string name;  ///< the command's, without its folder
  bool operator==(const Holder&) const = default;
};

/// An interface of a TUN/TAP device.
struct ListedInterface {
  LinkInfo link;  ///< with `tunnel`
  std::vector<IpPrefix> addresses;
  std::vector<Holder> holders;  ///< as far as this user may look
};

/// Tells the processes that have the interface of a name open.
using HoldersOf = std::function<std::vector<Holder>(const std::string& interface)>;

/// The processes in the caller's network namespace with a descriptor bound to `interface` (/proc/PID/fdinfo),
/// as far as this user may look: root sees all.
std::vector<Holder> holders_of(const std::string& interface);

/// The TUN/TAP interfaces of the namespace, by name. Throws `Error`.
std::vector<ListedInterface> list_interfaces(LinkSystem& links, const HoldersOf& holders);

/// A line for each, below a line of titles; a sentence if there is none.
std::string to_table(const std::vector<ListedInterface>& interfaces);
/// {"interfaces":[{"name","index","kind","state","mtu","mac","queues","flags":[...],"owner","group",
/// "tx_queue_length","tx_dropped","addresses":[...],"held_by":[{"pid","name"}]}]}: one line. "mac" is null on
/// TUN, "queues" null unless multi_queue, "owner" and "group" null without.
std::string to_json(const std::vector<ListedInterface>& interfaces);

/// Runs `tunport list`. Returns the exit status.
int run_list(bool json);

}  // namespace tunport::tool
