#pragma once
/// The seam to the operating system for interfaces: addresses, MTU, MAC, up and down, routes, namespaces. The
/// kernel's is `LinuxLinks` (rtnetlink, by libnl-route); `testing/memory_system.hpp` has the fake.
///
/// An interface is touched exactly as asked, never unasked.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "tunport/base/device_kind.hpp"
#include "tunport/base/throwing.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

class IoSystem;

/// The properties of an interface of a TUN/TAP device (IFLA_INFO_DATA, linux/if_link.h IFLA_TUN_*).
struct TunnelInfo {
  DeviceKind kind = DeviceKind::tun;
  bool packet_information = false;
  bool vnet_header = false;
  bool multi_queue = false;
  bool persistent = false;
  std::optional<std::uint32_t> owner = {};
  std::optional<std::uint32_t> group = {};
  std::optional<unsigned> queues = {};  ///< of a multi-queue device: attached descriptors
};

/// An interface as the kernel describes it.
struct LinkInfo {
  int index = 0;
  std::string name = {};
  MacAddress mac = {};  ///< all zero on TUN
  unsigned mtu = 0;     ///< bytes of IP, without the Ethernet header
  bool up = false;
  bool carrier = false;                   ///< a reader is there (IFLA_CARRIER), whether up or not
  unsigned tx_queue_length = 0;           ///< packets that wait for a reader before the kernel drops
  std::uint64_t tx_dropped = 0;           ///< packets dropped for want of a timely reader
  std::optional<TunnelInfo> tunnel = {};  ///< empty for other interfaces
};

/// An address of an interface, with the kernel's properties of the address (linux/if_addr.h).
struct InterfaceAddress {
  static constexpr std::uint32_t forever = 0xffffffff;

  IpPrefix prefix;                     ///< the interface's own address; with a peer the length is the peer's
  std::optional<IpAddress> peer = {};  ///< the other end of a point-to-point address
  std::optional<Ipv4Address> broadcast = {};  ///< none in IPv6
  std::uint32_t flags = 0;                    ///< IFA_F_*; the kernel ignores flags of its own
  std::uint32_t valid_seconds = forever;      ///< the address goes then
  std::uint32_t preferred_seconds = forever;  ///< new connections avoid the address afterwards
  std::uint32_t metric = 0;                   ///< of the route to the prefix; 0: the kernel's own choice
  std::uint8_t origin = 0;                    ///< IFAPROT_*: who made the address; 0: not known
  bool operator==(const InterfaceAddress&) const = default;
};

/// A route in the main table.
struct Route {
  IpPrefix destination = {};              ///< 0.0.0.0/0 or ::/0: the default route
  std::optional<IpAddress> gateway = {};  ///< none: the destination is on the link
  std::string interface = {};
  bool operator==(const Route&) const = default;
};

/// An event of an interface.
enum class LinkEvent : std::uint8_t {
  down,               ///< set down: packets are refused
  up,                 ///< set up (IFF_UP): packets are taken
  carrier_lost,       ///< no reader is there, or the reader has said so (TUNSETCARRIER)
  carrier_found,      ///< the opposite
  mtu_changed,        ///< in bytes of IP
  renamed,            ///< the index stays
  addresses_changed,  ///< an address came, went, or changed
  moved,              ///< into another namespace; addresses and up state stay behind
  deleted,            ///< the interface does not exist any more
};
/// The name in lower case: "carrier lost".
std::string_view to_string(LinkEvent event);

/// A kernel's message about an interface: the raw material of `LinkWatch`.
struct LinkNotice {
  enum class Kind : std::uint8_t {
    state,      ///< `link` is the present state
    addresses,  ///< an address came, went, or changed
    moved,      ///< into another namespace
    deleted,    ///< the interface does not exist any more
    lost,       ///< notices were lost; a `state` or `deleted` follows
  };
  Kind kind = Kind::state;
  LinkInfo link = {};
};

/// The notices about one interface, from the present state on. Made by `LinkSystem::monitor`.
class LinkMonitor {
 public:
  virtual ~LinkMonitor() = default;
  LinkMonitor() = default;
  LinkMonitor(const LinkMonitor&) = delete;
  LinkMonitor& operator=(const LinkMonitor&) = delete;

  /// A descriptor for a loop, readable while there are notices.
  virtual int fileno() const = 0;
  /// Takes the notices that have come, oldest first. Never blocks. Bounded: more may be left.
  virtual std::vector<LinkNotice> take() = 0;
};

/// Typed operations on interfaces. Every function reports by `ec` (cleared on success):
/// `Errc::no_such_device` for an unknown name, `Errc::not_permitted` without CAP_NET_ADMIN in the namespace,
/// else the kernel's errno. Trying again helps only if `is_transient(ec)`. Each function has a second form,
/// below, which throws `Error` (`throwing`) with the interface's name, and with the address or the route.
class LinkSystem {
 public:
  virtual ~LinkSystem() = default;
  LinkSystem() = default;
  LinkSystem(const LinkSystem&) = delete;
  LinkSystem& operator=(const LinkSystem&) = delete;

  /// Every interface of the namespace, in the kernel's order. Needs no privilege. EOPNOTSUPP, the default,
  /// from a system that cannot tell.
  virtual std::vector<LinkInfo> list(std::error_code& ec);
  /// The interface of that name. Needs no privilege.
  virtual std::optional<LinkInfo> find(const std::string& name, std::error_code& ec) = 0;
  virtual void set_up(const std::string& name, bool up, std::error_code& ec) = 0;
  /// `mtu` in bytes of IP. IPv6 needs 1280 or more. `Errc::mtu_out_of_range` beyond the interface's limits.
  virtual void set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) = 0;
  /// `Errc::no_mac_address` on TUN, `Errc::invalid_mac_address` for zero or a multicast address.
  virtual void set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) = 0;
  /// The number of packets that wait for a reader before the kernel drops ("txqueuelen").
  virtual void set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) = 0;
  /// EEXIST if the interface has the address already; `Errc::mtu_too_small` for IPv6 on an MTU below 1280.
  virtual void add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) = 0;
  /// As `add_address`, with every property of `address`.
  virtual void add_interface_address(const std::string& name, const InterfaceAddress& address,
                                     std::error_code& ec) = 0;
  /// EADDRNOTAVAIL if the interface does not have the address.
  virtual void remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) = 0;
  virtual std::vector<IpPrefix> addresses(const std::string& name, std::error_code& ec) = 0;
  /// The interface's addresses with their properties.
  virtual std::vector<InterfaceAddress> interface_addresses(const std::string& name, std::error_code& ec) = 0;
  /// EEXIST for a present route; ENETDOWN while the interface is down; ENETUNREACH or EHOSTUNREACH if the
  /// gateway cannot be reached; `Errc::invalid_route` for host bits in the destination.
  virtual void add_route(const Route& route, std::error_code& ec) = 0;
  /// ESRCH for an absent route.
  virtual void remove_route(const Route& route, std::error_code& ec) = 0;
  /// The routes of the main table that leave by this interface.
  virtual std::vector<Route> routes(const std::string& name, std::error_code& ec) = 0;
  /// Moves the interface into the namespace of `namespace_fd` (a descriptor of /proc/PID/ns/net or
  /// /run/netns/NAME, borrowed). Addresses and up state stay behind. `Errc::not_a_namespace` or EBADF for
  /// another descriptor.
  virtual void move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) = 0;
  /// Deletes the interface.
  virtual void remove(const std::string& name, std::error_code& ec) = 0;
  /// Runs `inside` with the calling thread in the namespace of a name (as by `ip netns`) or path, and brings
  /// the thread back. `Errc::no_such_namespace`, `Errc::not_a_namespace`, `Errc::namespace_denied`.
  /// `Errc::no_namespaces`, and nothing is run, on a system without namespaces.
  virtual void in_namespace_of(const std::string& network_namespace, const std::function<void()>& inside,
                               std::error_code& ec) {
    static_cast<void>(network_namespace);
    static_cast<void>(inside);
    ec = Errc::no_namespaces;
  }

  /// The interfaces of a device's namespace, also outside of the caller's: `fd` is bound to the device, for
  /// use through `io`. `Errc::namespace_denied` for a device elsewhere without CAP_NET_ADMIN there. Linux
  /// before 5.2 cannot be asked: the namespace then is this system's. Null, the default, if all devices are
  /// in this system's own namespace.
  virtual std::unique_ptr<LinkSystem> around(IoSystem& io, int fd, std::error_code& ec);
  /// A single interface of this system's namespace: each call of the result acts on the interface of `index`,
  /// through renames, and ignores the name given. Default: by `name`.
  virtual std::unique_ptr<LinkSystem> only(int index, const std::string& name);
  /// Watches the interface, by its index, in the namespace of this system's calls. Needs no privilege there.
  /// Errors: those of `find`, and of a netlink socket (EMFILE, EACCES). EOPNOTSUPP, the default, from a
  /// system without notices.
  virtual std::unique_ptr<LinkMonitor> monitor(const std::string& name, std::error_code& ec);
  /// Runs `inside` in the namespace of this system's calls. Default: here.
  virtual void inside(const std::function<void()>& inside, std::error_code& ec);

  LinkInfo find(const std::string& name) {
    return throwing(name, [&](std::error_code& ec) { return find(name, ec); }).value();
  }
  void set_up(const std::string& name, bool up) {
    throwing(name, [&](std::error_code& ec) { set_up(name, up, ec); });
  }
  void set_mtu(const std::string& name, unsigned mtu) {
    throwing(name, [&](std::error_code& ec) { set_mtu(name, mtu, ec); });
  }
  void set_mac(const std::string& name, const MacAddress& mac) {
    throwing(name, [&](std::error_code& ec) { set_mac(name, mac, ec); });
  }
  void set_tx_queue_length(const std::string& name, unsigned packets) {
    throwing(name, [&](std::error_code& ec) { set_tx_queue_length(name, packets, ec); });
  }
  void add_address(const std::string& name, const IpPrefix& address) {
    throwing(name + ": address " + to_string(address),
             [&](std::error_code& ec) { add_address(name, address, ec); });
  }
  void remove_address(const std::string& name, const IpPrefix& address) {
    throwing(name + ": address " + to_string(address),
             [&](std::error_code& ec) { remove_address(name, address, ec); });
  }
  std::vector<IpPrefix> addresses(const std::string& name) {
    return throwing(name, [&](std::error_code& ec) { return addresses(name, ec); });
  }
  void add_route(const Route& route) {
    throwing(route.interface + ": route " + to_string(route.destination),
             [&](std::error_code& ec) { add_route(route, ec); });
  }
  void remove_route(const Route& route) {
    throwing(route.interface + ": route " + to_string(route.destination),
             [&](std::error_code& ec) { remove_route(route, ec); });
  }
  std::vector<Route> routes(const std::string& name) {
    return throwing(name, [&](std::error_code& ec) { return routes(name, ec); });
  }
  void move_to_namespace(const std::string& name, int namespace_fd) {
    throwing(name, [&](std::error_code& ec) { move_to_namespace(name, namespace_fd, ec); });
  }
  void remove(const std::string& name) {
    throwing(name, [&](std::error_code& ec) { remove(name, ec); });
  }
};

}  // namespace tunport
