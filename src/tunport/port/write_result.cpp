#include "tunport/port/write_result.hpp"

#include <cerrno>

namespace tunport {

DropReason drop_reason_of(int error) {
  switch (error) {
    case EIO:
    case ENETDOWN:
      return DropReason::link_down;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return DropReason::no_buffers;
    case EBADFD:
    case EBADF:
      return DropReason::device_gone;
    case EMSGSIZE:
      return DropReason::too_long;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
      return DropReason::no_route;
    default:
      return DropReason::kernel_refused;
  }
}

}  // namespace tunport
