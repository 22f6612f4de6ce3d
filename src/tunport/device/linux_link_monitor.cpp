#include <cerrno>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/device/linux_links_internal.hpp"
#include "tunport/device/netlink_internal.hpp"

// Theory. The kernel sends a message to the groups of rtnetlink at each change of an interface and of an
// address (linux/rtnetlink.h). A monitor joins the groups, then asks for the present state, so that no change
// falls in between. A socket that is read too late loses messages (ENOBUFS): the monitor says so, and asks
// again.

namespace tunport {
namespace {

using Kind = LinkNotice::Kind;

/// The most messages of a call.
constexpr int most_messages = 256;

class NetlinkMonitor final : public LinkMonitor {
 public:
  NetlinkMonitor(std::string name, int index) : name_{std::move(name)}, index_{index} {}

  /// Joins the groups, in the calling thread's namespace.
  void open(std::error_code& ec) {
    if (!socket_ || !callbacks_) {
      ec = errno_code(ENOMEM);
      return;
    }
    // Answers and the messages of the groups share a stream, so sequence numbers do not follow each other.
    ::nl_cb_set(callbacks_.get(), NL_CB_SEQ_CHECK, NL_CB_CUSTOM, &accept, nullptr);
    ::nl_cb_set(callbacks_.get(), NL_CB_VALID, NL_CB_CUSTOM, &on_message, this);
    ::nl_cb_err(callbacks_.get(), NL_CB_CUSTOM, &on_error, this);
    ::nl_socket_disable_auto_ack(socket_.get());
    if (!did(ec, [&] { return ::nl_connect(socket_.get(), NETLINK_ROUTE); })) return;
    for (const int group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR})
      if (!did(ec, [&] { return ::nl_socket_add_membership(socket_.get(), group); })) return;
    if (!did(ec, [&] { return ::nl_socket_set_nonblocking(socket_.get()); })) return;
    did(ec, [&] { return ask(); });
  }

  int fileno() const override { return ::nl_socket_get_fd(socket_.get()); }

  std::vector<LinkNotice> take() override {
    for (int i = 0; i < most_messages; ++i) {
      const int received = ::nl_recvmsgs(socket_.get(), callbacks_.get());
      if (received >= 0) continue;
      if (received == -NLE_NOMEM) {  // ENOBUFS
        lost_ = true;
        note({.kind = Kind::lost});
        continue;
      }
      if (received != -NLE_AGAIN) log(LogLevel::warning, name_, ::nl_geterror(received));
      if (std::exchange(starved_, false)) note({.kind = Kind::lost});
      // The queue is empty now, and has room for the answer.
      if (lost_ && ask() >= 0) lost_ = false;
      break;
    }
    return std::exchange(notices_, {});
  }

 private:
  /// False, with `ec`, if a call of libnl fails; the system's number says more than libnl's.
  template <typename Call>
  static bool did(std::error_code& ec, Call call) {
    errno = 0;
    const int result = call();
    if (result >= 0) return true;
    ec = errno != 0 ? errno_code(errno) : netlink::library_error(result);
    return false;
  }

  /// Asks for the present state. The answer comes like the messages of the groups.
  int ask() const {
    ifinfomsg header{};
    header.ifi_index = index_;
    const auto request = netlink::make_request(RTM_GETLINK, 0, header);
    return request ? ::nl_send_auto(socket_.get(), request.get()) : -NLE_NOMEM;
  }

  static int accept(nl_msg* /*message*/, void* /*self*/) { return NL_OK; }
  static int on_message(nl_msg* message, void* self) {
    static_cast<NetlinkMonitor*>(self)->read(*::nlmsg_hdr(message));
    return NL_OK;
  }
  /// The kernel's refusal of the question.
  static int on_error(sockaddr_nl* /*from*/, nlmsgerr* error, void* self) {
    if (error->error == -ENODEV) static_cast<NetlinkMonitor*>(self)->note({.kind = Kind::deleted});
    return NL_SKIP;
  }

  /// Called by libnl, which no exception may pass: without memory a notice is lost.
  void note(LinkNotice notice) noexcept try {
    notices_.push_back(std::move(notice));
  } catch (const std::bad_alloc&) {
    lost_ = starved_ = true;
  }

  void read(nlmsghdr& message) {
    switch (message.nlmsg_type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return read_link(message);
      case RTM_NEWADDR:
      case RTM_DELADDR:
        if (::nlmsg_datalen(&message) >= static_cast<int>(sizeof(ifaddrmsg)) &&
            static_cast<const ifaddrmsg*>(::nlmsg_data(&message))->ifa_index == static_cast<unsigned>(index_))
          note({.kind = Kind::addresses});
        return;
      default:
        return;
    }
  }

  void read_link(nlmsghdr& message) {
    if (::nlmsg_datalen(&message) < static_cast<int>(sizeof(ifinfomsg))) return;
    const auto& header = *static_cast<const ifinfomsg*>(::nlmsg_data(&message));
    // Messages of other families tell of a part of the interface, such as the place on a bridge.
    if (header.ifi_index != index_ || header.ifi_family != AF_UNSPEC) return;
    if (message.nlmsg_type == RTM_DELLINK) {
      const bool moved = ::nlmsg_find_attr(&message, sizeof(ifinfomsg), IFLA_NEW_NETNSID) != nullptr;
      note({.kind = moved ? Kind::moved : Kind::deleted});
    } else if (auto link = parse_link(message)) {
      note({.kind = Kind::state, .link = *std::move(link)});
    }
  }

  std::string name_;
  int index_;
  netlink::Owned<nl_sock> socket_{::nl_socket_alloc()};
  netlink::Owned<nl_cb> callbacks_{::nl_cb_alloc(NL_CB_DEFAULT)};
  std::vector<LinkNotice> notices_;
  bool lost_ = false;     // messages were lost, and the kernel was not asked since
  bool starved_ = false;  // for want of memory, which is to be told
};

}  // namespace

std::unique_ptr<LinkMonitor> LinuxLinks::monitor(const std::string& name, std::error_code& ec) {
  const auto link = find(name, ec);
  if (ec) return nullptr;
  auto monitor = std::make_unique<NetlinkMonitor>(link->name, link->index);
  std::error_code failed;
  inside([&] { monitor->open(failed); }, ec);
  if (!ec) ec = failed;
  if (ec) return nullptr;
  return monitor;
}

}  // namespace tunport
