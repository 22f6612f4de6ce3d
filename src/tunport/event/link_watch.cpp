#include "tunport/event/link_watch.hpp"

#include <cerrno>
#include <string>
#include <utility>

#include <linux/rtnetlink.h>
#include <net/if.h>

#include "tunport/base/log.hpp"
#include "tunport/base/throwing.hpp"
#include "tunport/device/netlink_internal.hpp"

namespace tunport {
namespace {

/// The most messages of a turn, so that other descriptors have their turn.
constexpr int most_messages = 256;

}  // namespace

/// The socket, and the states told by its messages.
struct LinkWatch::Socket {
  explicit Socket(const Link& link) : name{link.name()}, index{link.info().index} {
    if (!socket || !callbacks) throw Error{errno_code(ENOMEM), name};
    // Answers and the messages of the group share a stream, so sequence numbers do not follow each other.
    ::nl_cb_set(callbacks.get(), NL_CB_SEQ_CHECK, NL_CB_CUSTOM, &accept, nullptr);
    ::nl_cb_set(callbacks.get(), NL_CB_VALID, NL_CB_CUSTOM, &on_message, this);
    ::nl_cb_err(callbacks.get(), NL_CB_CUSTOM, &on_error, this);
    ::nl_socket_disable_auto_ack(socket.get());
    must([&] {
      int connected = 0;
      int number = 0;
      const auto connect = [&] {
        connected = ::nl_connect(socket.get(), NETLINK_ROUTE);
        number = errno;
      };
      throwing(name, [&](std::error_code& ec) { link.inside(connect, ec); });
      errno = number;
      return connected;
    });
    must([&] { return ::nl_socket_add_membership(socket.get(), RTNLGRP_LINK); });
    must([&] { return ::nl_socket_set_nonblocking(socket.get()); });
    must([&] { return ask(); });
  }

  /// Throws if a call of libnl fails; the system's number says more than libnl's.
  template <typename Call>
  void must(Call call) const {
    errno = 0;
    const int result = call();
    if (result >= 0) return;
    throw Error{errno != 0 ? errno_code(errno) : netlink::library_error(result), name};
  }

  /// Asks for the present state. The answer comes like the messages of the group.
  int ask() const {
    ifinfomsg header{};
    header.ifi_index = index;
    const auto request = netlink::make_request(RTM_GETLINK, 0, header);
    return request ? ::nl_send_auto(socket.get(), request.get()) : -NLE_NOMEM;
  }

  static int accept(nl_msg* /*message*/, void* /*self*/) { return NL_OK; }
  static int on_message(nl_msg* message, void* self) {
    static_cast<Socket*>(self)->read(*::nlmsg_hdr(message));
    return NL_OK;
  }
  /// The kernel's refusal of the question.
  static int on_error(sockaddr_nl* /*from*/, nlmsgerr* error, void* self) {
    if (error->error == -ENODEV) static_cast<Socket*>(self)->states.emplace_back(LinkState::gone);
    return NL_SKIP;
  }
  void read(nlmsghdr& message) {
    if (message.nlmsg_type != RTM_NEWLINK && message.nlmsg_type != RTM_DELLINK) return;
    if (::nlmsg_datalen(&message) < static_cast<int>(sizeof(ifinfomsg))) return;
    const auto& link = *static_cast<const ifinfomsg*>(::nlmsg_data(&message));
    // Messages of other families tell of a part of the interface, such as the place on a bridge.
    if (link.ifi_index != index || link.ifi_family != AF_UNSPEC) return;
    const bool up = (link.ifi_flags & IFF_UP) != 0;
    const LinkState there = up ? LinkState::up : LinkState::down;
    states.emplace_back(message.nlmsg_type == RTM_DELLINK ? LinkState::gone : there);
  }

  std::string name;
  int index;
  netlink::Owned<nl_sock> socket{::nl_socket_alloc()};
  netlink::Owned<nl_cb> callbacks{::nl_cb_alloc(NL_CB_DEFAULT)};
  std::vector<std::optional<LinkState>> states;  // not told yet; nothing for lost messages
  bool lost = false;                             // messages were lost, and the kernel was not asked since
};

LinkWatch::LinkWatch(Reactor& reactor, const Link& link, Handler handler)
    : reactor_{reactor}, handler_{std::move(handler)}, socket_{std::make_unique<Socket>(link)} {
  reactor_.add(*this);
}

LinkWatch::~LinkWatch() { reactor_.remove(*this); }

int LinkWatch::fileno() const { return ::nl_socket_get_fd(socket_->socket.get()); }

void LinkWatch::do_read() {
  Socket& socket = *socket_;
  for (int i = 0; i < most_messages; ++i) {
    const int received = ::nl_recvmsgs(socket.socket.get(), socket.callbacks.get());
    if (received >= 0) continue;
    if (received == -NLE_NOMEM) {  // ENOBUFS
      socket.lost = true;
      socket.states.emplace_back(std::nullopt);
      continue;
    }
    if (received != -NLE_AGAIN) log(LogLevel::warning, socket.name, ::nl_geterror(received));
    // The queue is empty now, and has room for the answer.
    if (socket.lost && socket.ask() >= 0) socket.lost = false;
    break;
  }
  const Lifeline::Watch watch{lifeline_};
  for (const auto state : std::exchange(socket.states, {})) {
    if (!state) known_.reset();
    if (!state || state == known_) continue;
    known_ = state;
    handler_(*state);
    if (!watch.alive()) return;
  }
}

}  // namespace tunport
