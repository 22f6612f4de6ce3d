#include <cerrno>

#include "tunport/base/error.hpp"
#include "tunport/port/fate_internal.hpp"

namespace tunport {

Fate fate_of(int error) {
  switch (error) {
    case EAGAIN:
    case EINTR:
      return {Fate::wait, DropReason::no_buffers, errno_code(EAGAIN)};
    case EBADF:
    case EBADFD:
      return {Fate::gone, DropReason::device_gone, Errc::device_gone};
    case EIO:
    case ENETDOWN:
      return {Fate::lost, DropReason::link_down, Errc::link_down};
    case ENOBUFS:
    case ENOMEM:
      return {Fate::lost, DropReason::no_buffers, errno_code(error)};
    case EMSGSIZE:
      return {Fate::lost, DropReason::too_long, errno_code(error)};
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
      return {Fate::lost, DropReason::no_route, errno_code(error)};
    default:
      return {Fate::lost, DropReason::kernel_refused, errno_code(error)};
  }
}

std::error_code error_of(const WriteResult& refused) {
  return refused.reason() == DropReason::kernel_refused && refused.error() != 0 ? errno_code(refused.error())
                                                                                : error_of(refused.reason());
}

bool is_icmp_error(int error) {
  switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENONET:
    case ENOPROTOOPT:
    case EPROTO:
    case EMSGSIZE:
    case EOPNOTSUPP:
    case EACCES:
      return true;
    default:
      return false;
  }
}

std::error_code error_of(DropReason reason) {
  switch (reason) {
    case DropReason::link_down:
      return Errc::link_down;
    case DropReason::device_gone:
      return Errc::device_gone;
    case DropReason::not_listening:
      return Errc::not_listening;
    case DropReason::aborted:
      return Errc::operation_aborted;
    case DropReason::too_long:
      return errno_code(EMSGSIZE);
    case DropReason::no_route:
      return errno_code(EHOSTUNREACH);
    case DropReason::queue_full:
    case DropReason::no_buffers:
      return errno_code(ENOBUFS);
    default:
      return errno_code(EINVAL);
  }
}

}  // namespace tunport
