#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "tunport/base/error.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/device/netlink_internal.hpp"
#include "tunport/wire/ipv6.hpp"

// Theory. libnl builds messages, attributes and routes; the rest is done here, for two reasons. libnl's calls
// reduce the kernel's errno to a number of libnl, which loses EADDRNOTAVAIL or ENETUNREACH: so requests are
// built by libnl and sent by `Exchange`, which keeps the errno. And the link object of libnl 3.7 knows no
// TUN/TAP: IFLA_LINKINFO is parsed here. The same facts stand in sysfs (/sys/class/net/NAME/tun_flags), but a
// sysfs mount shows the namespace of the mount, not the caller's; rtnetlink never lies about namespaces. A
// request names its interface by index, where known, or by IFLA_IFNAME where the kernel takes a name, so that
// nothing changes between a look-up and the request.

namespace tunport {
namespace {

using netlink::Exchange;
using netlink::explain;
using netlink::make_request;
using netlink::put;

struct Free : netlink::Free {
  using netlink::Free::operator();
  void operator()(nl_addr* address) const { ::nl_addr_put(address); }
  void operator()(rtnl_route* route) const { ::rtnl_route_put(route); }
};
template <typename Type>
using Owned = std::unique_ptr<Type, Free>;

/// A request about the interface of `index` or, with zero, of `name`. Names too long for an interface are
/// unknown.
netlink::Owned<nl_msg> link_request(int type, int index, const std::string& name, ifinfomsg header,
                                    std::error_code& ec) {
  ec.clear();
  header.ifi_index = index;
  auto message = make_request(type, 0, header);
  if (index != 0) return message;
  if (name.empty() || name.size() >= IFNAMSIZ) {
    ec = Errc::no_such_device;
    return message;
  }
  put(message.get(), IFLA_IFNAME, name.c_str(), name.size() + 1, ec);
  return message;
}

template <std::size_t Size>
using Attributes = std::array<nlattr*, Size>;

/// What libnl checks of attributes before they are read: a message with an attribute that is too short, or
/// with text that does not end, is none.
template <std::size_t Size>
using Policy = std::array<nla_policy, Size>;
struct TypeOf {
  int attribute;
  std::uint16_t type;  // NLA_STRING: with the zero at the end
};
template <std::size_t Size>
Policy<Size> make_policy(std::initializer_list<TypeOf> types) {
  Policy<Size> policy{};
  for (const TypeOf& each : types) policy[static_cast<std::size_t>(each.attribute)].type = each.type;
  return policy;
}

UniqueFd duplicate(const UniqueFd& fd) { return UniqueFd{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0)}; }

TunnelInfo parse_tunnel(nlattr* data) {
  Attributes<IFLA_TUN_MAX + 1> tun{};
  auto policy = make_policy<IFLA_TUN_MAX + 1>({{IFLA_TUN_TYPE, NLA_U8},
                                               {IFLA_TUN_PI, NLA_U8},
                                               {IFLA_TUN_VNET_HDR, NLA_U8},
                                               {IFLA_TUN_MULTI_QUEUE, NLA_U8},
                                               {IFLA_TUN_PERSIST, NLA_U8},
                                               {IFLA_TUN_OWNER, NLA_U32},
                                               {IFLA_TUN_GROUP, NLA_U32},
                                               {IFLA_TUN_NUM_QUEUES, NLA_U32},
                                               {IFLA_TUN_NUM_DISABLED_QUEUES, NLA_U32}});
  TunnelInfo info;
  if (::nla_parse_nested(tun.data(), IFLA_TUN_MAX, data, policy.data()) < 0) return info;
  const auto flag = [&](int attribute) {
    nlattr* const found = tun[static_cast<std::size_t>(attribute)];
    return found != nullptr && ::nla_get_u8(found) != 0;
  };
  if (tun[IFLA_TUN_TYPE] != nullptr && ::nla_get_u8(tun[IFLA_TUN_TYPE]) == IFF_TAP)
    info.kind = DeviceKind::tap;
  info.packet_information = flag(IFLA_TUN_PI);
  info.vnet_header = flag(IFLA_TUN_VNET_HDR);
  info.multi_queue = flag(IFLA_TUN_MULTI_QUEUE);
  info.persistent = flag(IFLA_TUN_PERSIST);
  if (tun[IFLA_TUN_OWNER] != nullptr) info.owner = ::nla_get_u32(tun[IFLA_TUN_OWNER]);
  if (tun[IFLA_TUN_GROUP] != nullptr) info.group = ::nla_get_u32(tun[IFLA_TUN_GROUP]);
  if (nlattr* const queues = tun[IFLA_TUN_NUM_QUEUES]; queues != nullptr) {
    info.queues = ::nla_get_u32(queues);
    if (nlattr* const others = tun[IFLA_TUN_NUM_DISABLED_QUEUES]; others != nullptr)
      *info.queues += ::nla_get_u32(others);
  }
  return info;
}

std::optional<TunnelInfo> parse_link_info(nlattr* link_info) {
  Attributes<IFLA_INFO_MAX + 1> info{};
  if (link_info == nullptr || ::nla_parse_nested(info.data(), IFLA_INFO_MAX, link_info, nullptr) < 0)
    return std::nullopt;
  if (info[IFLA_INFO_KIND] == nullptr || ::nla_strcmp(info[IFLA_INFO_KIND], "tun") != 0) return std::nullopt;
  return info[IFLA_INFO_DATA] != nullptr ? parse_tunnel(info[IFLA_INFO_DATA]) : TunnelInfo{};
}

}  // namespace

std::optional<LinkInfo> parse_link(nlmsghdr& message) {
  Attributes<IFLA_MAX + 1> attributes{};
  auto policy = make_policy<IFLA_MAX + 1>(
      {{IFLA_IFNAME, NLA_STRING}, {IFLA_CARRIER, NLA_U8}, {IFLA_MTU, NLA_U32}, {IFLA_TXQLEN, NLA_U32}});
  if (message.nlmsg_type != RTM_NEWLINK ||
      ::nlmsg_parse(&message, sizeof(ifinfomsg), attributes.data(), IFLA_MAX, policy.data()) < 0)
    return std::nullopt;
  const auto* const header = static_cast<const ifinfomsg*>(::nlmsg_data(&message));
  LinkInfo link;
  link.index = header->ifi_index;
  link.up = (header->ifi_flags & IFF_UP) != 0;
  if (attributes[IFLA_IFNAME] != nullptr) link.name = ::nla_get_string(attributes[IFLA_IFNAME]);
  if (attributes[IFLA_CARRIER] != nullptr) link.carrier = ::nla_get_u8(attributes[IFLA_CARRIER]) != 0;
  if (attributes[IFLA_MTU] != nullptr) link.mtu = ::nla_get_u32(attributes[IFLA_MTU]);
  if (attributes[IFLA_TXQLEN] != nullptr) link.tx_queue_length = ::nla_get_u32(attributes[IFLA_TXQLEN]);
  if (nlattr* const mac = attributes[IFLA_ADDRESS]; mac != nullptr && ::nla_len(mac) == MacAddress::size) {
    std::array<std::uint8_t, MacAddress::size> octets{};
    ::nla_memcpy(octets.data(), mac, MacAddress::size);
    link.mac = MacAddress{octets};
  }
  if (attributes[IFLA_STATS64] != nullptr) {
    rtnl_link_stats64 counters{};  // a copy: attributes are aligned to four bytes only
    ::nla_memcpy(&counters, attributes[IFLA_STATS64], sizeof counters);
    link.tx_dropped = counters.tx_dropped;
  }
  link.tunnel = parse_link_info(attributes[IFLA_LINKINFO]);
  return link;
}

namespace {

template <std::size_t Size>
std::array<std::uint8_t, Size> octets_of(const void* data) {
  std::array<std::uint8_t, Size> octets{};
  std::memcpy(octets.data(), data, Size);
  return octets;
}

std::optional<IpAddress> make_address(int family, const void* data, std::size_t size) {
  if (family == AF_INET && size == Ipv4Address::size) {
    const auto octets = octets_of<Ipv4Address::size>(data);
    return Ipv4Address::load(std::as_bytes(std::span{octets}), 0);
  }
  if (family == AF_INET6 && size == Ipv6Address::size) return Ipv6Address{octets_of<Ipv6Address::size>(data)};
  return std::nullopt;
}

std::optional<IpAddress> make_address(nl_addr* address) {
  if (address == nullptr) return std::nullopt;
  return make_address(::nl_addr_get_family(address), ::nl_addr_get_binary_addr(address),
                      ::nl_addr_get_len(address));
}

/// The octets in network order.
struct Octets {
  explicit Octets(const IpAddress& address) : size{address.bits() / 8} {
    if (address.is_v4())
      address.v4().store(std::as_writable_bytes(std::span{octets}), 0);
    else
      octets = address.v6().octets();
  }
  std::array<std::uint8_t, Ipv6Address::size> octets{};
  std::size_t size;
};

std::uint8_t family_of(const IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

Owned<nl_addr> to_netlink(const IpAddress& address, unsigned prefix_length) {
  const Octets octets{address};
  Owned<nl_addr> result{::nl_addr_build(family_of(address), octets.octets.data(), octets.size)};
  if (result) ::nl_addr_set_prefixlen(result.get(), static_cast<int>(prefix_length));
  return result;
}

}  // namespace

std::optional<InterfaceAddress> parse_address(nlmsghdr& message, int index) {
  Attributes<IFA_MAX + 1> attributes{};
  auto policy =
      make_policy<IFA_MAX + 1>({{IFA_FLAGS, NLA_U32}, {IFA_RT_PRIORITY, NLA_U32}, {IFA_PROTO, NLA_U8}});
  if (message.nlmsg_type != RTM_NEWADDR ||
      ::nlmsg_parse(&message, sizeof(ifaddrmsg), attributes.data(), IFA_MAX, policy.data()) < 0)
    return std::nullopt;
  const auto* const header = static_cast<const ifaddrmsg*>(::nlmsg_data(&message));
  if (header->ifa_index != static_cast<unsigned>(index)) return std::nullopt;
  // IFA_ADDRESS of a point-to-point interface is the peer's; IPv6 has IFA_LOCAL in that case alone.
  nlattr* const own = attributes[IFA_LOCAL] != nullptr ? attributes[IFA_LOCAL] : attributes[IFA_ADDRESS];
  if (own == nullptr) return std::nullopt;
  const auto read = [&](nlattr* attribute) {
    return make_address(header->ifa_family, ::nla_data(attribute),
                        static_cast<std::size_t>(::nla_len(attribute)));
  };
  const auto address = read(own);
  if (!address) return std::nullopt;
  InterfaceAddress result;
  result.prefix = {*address, header->ifa_prefixlen};
  if (nlattr* const other = attributes[IFA_ADDRESS]; other != nullptr)
    if (const auto peer = read(other); peer && peer != address) result.peer = peer;
  if (nlattr* const all = attributes[IFA_BROADCAST]; all != nullptr && address->is_v4())
    if (const auto broadcast = read(all)) result.broadcast = broadcast->v4();
  result.flags = header->ifa_flags;  // the lowest eight; Linux since 3.14 adds IFA_FLAGS
  if (attributes[IFA_FLAGS] != nullptr) result.flags = ::nla_get_u32(attributes[IFA_FLAGS]);
  if (nlattr* const life = attributes[IFA_CACHEINFO]; life != nullptr) {
    ifa_cacheinfo times{};
    ::nla_memcpy(&times, life, sizeof times);
    result.valid_seconds = times.ifa_valid;
    result.preferred_seconds = times.ifa_prefered;
  }
  if (attributes[IFA_RT_PRIORITY] != nullptr) result.metric = ::nla_get_u32(attributes[IFA_RT_PRIORITY]);
  if (attributes[IFA_PROTO] != nullptr) result.origin = ::nla_get_u8(attributes[IFA_PROTO]);
  return result;
}

namespace {

/// Appends a route of the main table that leaves by interface `index`. libnl trusts the lengths within a
/// route message, which only the kernel sends.
void parse_route(nlmsghdr& message, int index, const std::string& name, std::vector<Route>& routes) {
  rtnl_route* parsed = nullptr;
  if (message.nlmsg_type != RTM_NEWROUTE || ::rtnl_route_parse(&message, &parsed) < 0) return;
  const Owned<rtnl_route> route{parsed};
  if (::rtnl_route_get_table(parsed) != RT_TABLE_MAIN || ::rtnl_route_get_type(parsed) != RTN_UNICAST) return;
  Route result;
  result.interface = name;
  nl_addr* const destination = ::rtnl_route_get_dst(parsed);
  if (const auto address = make_address(destination))
    result.destination = {*address, ::nl_addr_get_prefixlen(destination)};
  else if (::rtnl_route_get_family(parsed) == AF_INET6)
    result.destination = {Ipv6Address{}, 0};
  for (int i = 0; i < ::rtnl_route_get_nnexthops(parsed); ++i) {
    rtnl_nexthop* const hop = ::rtnl_route_nexthop_n(parsed, i);
    if (::rtnl_route_nh_get_ifindex(hop) != index) continue;
    result.gateway = make_address(::rtnl_route_nh_get_gateway(hop));
    if (!result.gateway) result.gateway = make_address(::rtnl_route_nh_get_via(hop));
    routes.push_back(result);
  }
}

}  // namespace

std::vector<LinkInfo> LinuxLinks::list(std::error_code& ec) {
  std::vector<LinkInfo> found;
  const auto message = make_request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  Exchange{namespace_, ec}.list(
      message.get(),
      [&](nlmsghdr& answer) {
        if (auto link = parse_link(answer); link && (index_ == 0 || link->index == index_))
          found.push_back(*std::move(link));
      },
      [&] { found.clear(); });
  if (ec) found.clear();
  return found;
}

std::optional<LinkInfo> LinuxLinks::find(const std::string& name, std::error_code& ec) {
  std::optional<LinkInfo> link;
  const auto message = link_request(RTM_GETLINK, index_, name, {}, ec);
  if (ec) return link;
  Exchange{namespace_, ec}.run(message.get(), [&](nlmsghdr& answer) { link = parse_link(answer); });
  if (!ec && !link) ec = errno_code(EPROTO);
  if (ec) link.reset();
  return link;
}

void LinuxLinks::change_link(const std::string& name, int attribute, const void* data, std::size_t size,
                             std::error_code& ec) {
  const auto message = link_request(RTM_SETLINK, index_, name, {}, ec);
  if (!ec) put(message.get(), attribute, data, size, ec);
  if (!ec) Exchange{namespace_, ec}.run(message.get());
}

void LinuxLinks::set_up(const std::string& name, bool up, std::error_code& ec) {
  ifinfomsg header{};
  header.ifi_flags = up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  const auto message = link_request(RTM_SETLINK, index_, name, header, ec);
  if (!ec) Exchange{namespace_, ec}.run(message.get());
}

void LinuxLinks::set_mtu(const std::string& name, unsigned mtu, std::error_code& ec) {
  change_link(name, IFLA_MTU, &mtu, sizeof mtu, ec);
  explain(ec, EINVAL, Errc::mtu_out_of_range);
}

void LinuxLinks::set_mac(const std::string& name, const MacAddress& mac, std::error_code& ec) {
  change_link(name, IFLA_ADDRESS, mac.octets().data(), MacAddress::size, ec);
  explain(ec, EOPNOTSUPP, Errc::no_mac_address);
  explain(ec, EADDRNOTAVAIL, Errc::invalid_mac_address);
}

void LinuxLinks::set_tx_queue_length(const std::string& name, unsigned packets, std::error_code& ec) {
  change_link(name, IFLA_TXQLEN, &packets, sizeof packets, ec);
}

void LinuxLinks::move_to_namespace(const std::string& name, int namespace_fd, std::error_code& ec) {
  const auto number = static_cast<std::uint32_t>(namespace_fd);
  change_link(name, IFLA_NET_NS_FD, &number, sizeof number, ec);
  explain(ec, EINVAL, Errc::not_a_namespace);
}

void LinuxLinks::remove(const std::string& name, std::error_code& ec) {
  const auto message = link_request(RTM_DELLINK, index_, name, {}, ec);
  if (!ec) Exchange{namespace_, ec}.run(message.get());
}

void LinuxLinks::in_namespace_of(const std::string& network_namespace, const std::function<void()>& inside,
                                 std::error_code& ec) {
  const UniqueFd there = open_namespace(network_namespace, ec);
  if (!ec) in_namespace(there.get(), inside, ec);
}

std::unique_ptr<LinkSystem> LinuxLinks::around(IoSystem& io, int fd, std::error_code& ec) {
  auto links = std::make_unique<LinuxLinks>();
  UniqueFd there = namespace_of_device(io, fd, ec);
  if (ec) return nullptr;
  if (!there && namespace_) there = duplicate(*namespace_);
  if (there) links->namespace_ = std::move(there);
  return links;
}

std::unique_ptr<LinkSystem> LinuxLinks::only(int index, const std::string&) {
  auto link = std::make_unique<LinuxLinks>();
  if (namespace_) link->namespace_ = duplicate(*namespace_);
  link->index_ = index;
  return link;
}

void LinuxLinks::inside(const std::function<void()>& inside, std::error_code& ec) {
  if (namespace_) return in_namespace(namespace_->get(), inside, ec);
  ec.clear();
  inside();
}

void LinuxLinks::change_address(int type, int flags, const std::string& name, const InterfaceAddress& address,
                                std::error_code& ec) {
  const IpPrefix& prefix = address.prefix;
  const auto link = find(name, ec);
  if (ec) return;
  ifaddrmsg header{};
  header.ifa_family = family_of(prefix.address);
  header.ifa_prefixlen = static_cast<std::uint8_t>(prefix.length);
  header.ifa_index = static_cast<unsigned>(link->index);
  const auto message = make_request(type, flags, header);
  const auto put_bytes = [&](int attribute, const void* data, std::size_t size) {
    if (!ec) put(message.get(), attribute, data, size, ec);
  };
  const auto put_address = [&](int attribute, const IpAddress& value) {
    const Octets octets{value};
    put_bytes(attribute, octets.octets.data(), octets.size);
  };
  put_address(IFA_LOCAL, prefix.address);
  put_address(IFA_ADDRESS, address.peer.value_or(prefix.address));
  if (address.broadcast) put_address(IFA_BROADCAST, *address.broadcast);
  if (address.flags != 0) put_bytes(IFA_FLAGS, &address.flags, sizeof address.flags);
  if (address.valid_seconds != InterfaceAddress::forever ||
      address.preferred_seconds != InterfaceAddress::forever) {
    ifa_cacheinfo times{};
    times.ifa_valid = address.valid_seconds;
    times.ifa_prefered = address.preferred_seconds;
    put_bytes(IFA_CACHEINFO, &times, sizeof times);
  }
  if (address.metric != 0) put_bytes(IFA_RT_PRIORITY, &address.metric, sizeof address.metric);
  if (address.origin != 0) put_bytes(IFA_PROTO, &address.origin, sizeof address.origin);
  if (!ec) Exchange{namespace_, ec}.run(message.get());
  if (prefix.address.is_v6() && link->mtu < least_ipv6_mtu) explain(ec, EINVAL, Errc::mtu_too_small);
}

void LinuxLinks::add_address(const std::string& name, const IpPrefix& address, std::error_code& ec) {
  add_interface_address(name, {.prefix = address}, ec);
}

void LinuxLinks::add_interface_address(const std::string& name, const InterfaceAddress& address,
                                       std::error_code& ec) {
  change_address(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, name, address, ec);
}

void LinuxLinks::remove_address(const std::string& name, const IpPrefix& address, std::error_code& ec) {
  change_address(RTM_DELADDR, 0, name, {.prefix = address}, ec);
}

std::vector<IpPrefix> LinuxLinks::addresses(const std::string& name, std::error_code& ec) {
  std::vector<IpPrefix> result;
  for (const InterfaceAddress& address : interface_addresses(name, ec)) result.push_back(address.prefix);
  return result;
}

std::vector<InterfaceAddress> LinuxLinks::interface_addresses(const std::string& name, std::error_code& ec) {
  std::vector<InterfaceAddress> result;
  const auto link = find(name, ec);
  if (ec) return result;
  const auto message = make_request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
  Exchange{namespace_, ec}.list(
      message.get(),
      [&](nlmsghdr& answer) {
        if (const auto address = parse_address(answer, link->index)) result.push_back(*address);
      },
      [&] { result.clear(); });
  return result;
}

void LinuxLinks::change_route(bool add, const Route& route, std::error_code& ec) {
  const auto link = find(route.interface, ec);
  if (ec) return;
  const Owned<rtnl_route> request{::rtnl_route_alloc()};
  const auto destination = to_netlink(route.destination.address, route.destination.length);
  rtnl_nexthop* const hop = ::rtnl_route_nh_alloc();
  nl_msg* built = nullptr;
  if (!request || !destination || hop == nullptr) {
    if (hop != nullptr) ::rtnl_route_nh_free(hop);
    ec = errno_code(ENOMEM);
    return;
  }
  ::rtnl_route_nh_set_ifindex(hop, link->index);
  if (route.gateway) {
    const auto gateway = to_netlink(*route.gateway, route.gateway->bits());
    const bool other_family = route.gateway->is_v4() != route.destination.address.is_v4();
    if (other_family)
      ::rtnl_route_nh_set_via(hop, gateway.get());
    else
      ::rtnl_route_nh_set_gateway(hop, gateway.get());
  }
  ::rtnl_route_add_nexthop(request.get(), hop);  // takes `hop` over
  ::rtnl_route_set_family(request.get(), family_of(route.destination.address));
  ::rtnl_route_set_dst(request.get(), destination.get());
  ::rtnl_route_set_table(request.get(), RT_TABLE_MAIN);
  // For a removal "unspecified" matches every origin.
  ::rtnl_route_set_protocol(request.get(), add ? RTPROT_STATIC : RTPROT_UNSPEC);
  const int result = add ? ::rtnl_route_build_add_request(request.get(), NLM_F_EXCL, &built)
                         : ::rtnl_route_build_del_request(request.get(), 0, &built);
  const Owned<nl_msg> message{built};
  if (result < 0) {
    ec = netlink::library_error(result);
    return;
  }
  Exchange{namespace_, ec}.run(message.get());
  explain(ec, EINVAL, Errc::invalid_route);
}

void LinuxLinks::add_route(const Route& route, std::error_code& ec) { change_route(true, route, ec); }
void LinuxLinks::remove_route(const Route& route, std::error_code& ec) { change_route(false, route, ec); }

std::vector<Route> LinuxLinks::routes(const std::string& name, std::error_code& ec) {
  std::vector<Route> result;
  const auto link = find(name, ec);
  if (ec) return result;
  const auto message = make_request(RTM_GETROUTE, NLM_F_DUMP, rtmsg{});
  Exchange{namespace_, ec}.list(
      message.get(), [&](nlmsghdr& answer) { parse_route(answer, link->index, link->name, result); },
      [&] { result.clear(); });
  return result;
}

}  // namespace tunport
