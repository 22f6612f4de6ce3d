#pragma once
/// Requests by rtnetlink that keep the kernel's errno: the base of `LinuxLinks`.

#include <functional>
#include <memory>
#include <optional>
#include <system_error>

#include <netlink/msg.h>
#include <netlink/netlink.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"

namespace tunport::netlink {

struct Free {
  void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
  void operator()(nl_cb* callbacks) const { ::nl_cb_put(callbacks); }
  void operator()(nl_msg* message) const { ::nlmsg_free(message); }
};
template <typename Type>
using Owned = std::unique_ptr<Type, Free>;

/// The errno of the kernel's answer as an error.
std::error_code kernel_error(int number);
/// The error number of libnl itself: a fault on the way, not the kernel's answer.
std::error_code library_error(int nl_error);

/// How often an interrupted list is asked for before the caller is told.
inline constexpr int most_tries = 32;

/// Calls `ask` until `ec` is another error than `links_changing`, at most `most_tries` times.
template <typename Ask>
void until_consistent(std::error_code& ec, Ask ask) {
  for (int tries = 0; tries < most_tries; ++tries) {
    ec.clear();
    ask();
    if (ec != Errc::links_changing) return;
  }
}

/// A netlink socket in the given namespace (nothing: the caller's), with one request at a time.
class Exchange {
 public:
  Exchange(const std::optional<UniqueFd>& network_namespace, std::error_code& ec);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  /// Sends the request, hands each message of the answer to `each`, and sets `ec` to the kernel's verdict.
  void run(nl_msg* request, std::function<void(nlmsghdr&)> each = {});
  /// The same for a list (NLM_F_DUMP). A change while the kernel lists interrupts the list: the kernel is
  /// asked again, and `again`, called before each try, forgets the messages so far. `Errc::links_changing`
  /// if each try was interrupted.
  void list(nl_msg* request, const std::function<void(nlmsghdr&)>& each, const std::function<void()>& again);

 private:
  static int on_error(sockaddr_nl*, nlmsgerr* error, void* self);
  static int on_acknowledged(nl_msg*, void* self);
  static int on_message(nl_msg* message, void* self);

  std::error_code& ec_;
  Owned<nl_sock> socket_{::nl_socket_alloc()};
  Owned<nl_cb> callbacks_{::nl_cb_alloc(NL_CB_DEFAULT)};
  std::function<void(nlmsghdr&)> each_;
  bool done_ = false;
};

/// A request whose fixed part is `header`; null without memory.
template <typename Header>
Owned<nl_msg> make_request(int type, int flags, Header header) {
  Owned<nl_msg> message{::nlmsg_alloc_simple(type, flags)};
  if (!message || ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO) < 0) return nullptr;
  return message;
}

/// Appends an attribute to the request.
void put(nl_msg* message, int attribute, const void* data, std::size_t size, std::error_code& ec);

/// Replaces the kernel's bare errno `number` by its meaning for this request.
void explain(std::error_code& ec, int number, Errc meaning);

}  // namespace tunport::netlink
