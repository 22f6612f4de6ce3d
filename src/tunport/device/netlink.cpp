#include <cerrno>
#include <utility>

#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/device/netlink_internal.hpp"

namespace tunport::netlink {

std::error_code kernel_error(int number) {
  switch (number) {
    case EPERM:
      return Errc::not_permitted;
    case ENODEV:
      return Errc::no_such_device;
    default:
      return errno_code(number);
  }
}

std::error_code library_error(int nl_error) {
  switch (-nl_error) {
    case NLE_PERM:
    case NLE_NOACCESS:
      return Errc::not_permitted;
    case NLE_NOMEM:
      return errno_code(ENOMEM);
    default:
      return errno_code(EPROTO);
  }
}

Exchange::Exchange(const std::optional<UniqueFd>& network_namespace, std::error_code& ec) : ec_{ec} {
  ec_.clear();
  if (!socket_ || !callbacks_) {
    ec_ = errno_code(ENOMEM);
    return;
  }
  int connected = 0;
  int number = 0;
  const auto connect = [&] {
    connected = ::nl_connect(socket_.get(), NETLINK_ROUTE);
    number = errno;
  };
  if (network_namespace)
    in_namespace(network_namespace->get(), connect, ec_);
  else
    connect();
  if (!ec_ && connected < 0) ec_ = number != 0 ? errno_code(number) : library_error(connected);
  ::nl_cb_err(callbacks_.get(), NL_CB_CUSTOM, &on_error, this);
  ::nl_cb_set(callbacks_.get(), NL_CB_ACK, NL_CB_CUSTOM, &on_acknowledged, this);
  ::nl_cb_set(callbacks_.get(), NL_CB_FINISH, NL_CB_CUSTOM, &on_acknowledged, this);
  ::nl_cb_set(callbacks_.get(), NL_CB_VALID, NL_CB_CUSTOM, &on_message, this);
}

void Exchange::run(nl_msg* request, std::function<void(nlmsghdr&)> each) {
  if (request == nullptr && !ec_) ec_ = errno_code(ENOMEM);
  if (ec_) return;
  each_ = std::move(each);
  done_ = false;
  bool interrupted = false;
  if (const int sent = ::nl_send_auto(socket_.get(), request); sent < 0) ec_ = library_error(sent);
  while (!ec_ && !done_) {
    const int received = ::nl_recvmsgs(socket_.get(), callbacks_.get());
    // libnl reads an interrupted list to its end all the same.
    if (received == -NLE_DUMP_INTR)
      interrupted = true;
    else if (!ec_ && received < 0)
      ec_ = library_error(received);
  }
  if (!ec_ && interrupted) ec_ = Errc::links_changing;
}

void Exchange::list(nl_msg* request, const std::function<void(nlmsghdr&)>& each,
                    const std::function<void()>& again) {
  if (ec_) return;  // no socket
  until_consistent(ec_, [&] {
    again();
    if (request != nullptr) ::nlmsg_hdr(request)->nlmsg_seq = NL_AUTO_SEQ;
    run(request, each);
  });
}

int Exchange::on_error(sockaddr_nl*, nlmsgerr* error, void* self) {
  static_cast<Exchange*>(self)->ec_ = kernel_error(-error->error);
  return NL_STOP;
}

int Exchange::on_acknowledged(nl_msg*, void* self) {
  static_cast<Exchange*>(self)->done_ = true;
  return NL_STOP;
}

int Exchange::on_message(nl_msg* message, void* self) {
  if (const auto& each = static_cast<Exchange*>(self)->each_) each(*::nlmsg_hdr(message));
  return NL_OK;
}

void put(nl_msg* message, int attribute, const void* data, std::size_t size, std::error_code& ec) {
  if (message == nullptr || ::nla_put(message, attribute, static_cast<int>(size), data) < 0)
    ec = errno_code(ENOMEM);
}

void explain(std::error_code& ec, int number, Errc meaning) {
  if (ec == errno_code(number)) ec = meaning;
}

}  // namespace tunport::netlink
