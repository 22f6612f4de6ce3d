#pragma once
/// The setup of a UDP socket.

#include <cstddef>
#include <string>

#include "tunport/base/unique_fd.hpp"
#include "tunport/device/io_system.hpp"
#include "tunport/port/socket_options.hpp"
#include "tunport/wire/address.hpp"

namespace tunport {

/// A failed call of the setup: a positive errno, and the name of the option, "" for the address itself.
struct SetupFailure {
  int error = 0;
  const char* option = "";
};

/// Applies `options` to the new socket `fd`, binds the socket to `local`, and connects to `options.peer`.
/// `offload`: runs are received (UDP_GRO). `error` of the result is 0 after a success.
SetupFailure set_up_socket(IoSystem& io, int fd, const Endpoint& local, const SocketOptions& options,
                           bool offload);
/// True if the kernel segments runs for the socket (UDP_SEGMENT).
bool knows_segments(IoSystem& io, int fd);
/// The size of a socket's buffer (`option`: SO_RCVBUF, SO_SNDBUF), in bytes; 0 if unknown.
std::size_t buffer_size(IoSystem& io, int fd, int option);
/// The local address of a socket; `otherwise` if unknown.
Endpoint local_endpoint(IoSystem& io, int fd, const Endpoint& otherwise);
/// The index of an interface, in the socket's namespace; or a negated errno.
int interface_index(IoSystem& io, int fd, const std::string& name);
/// Joins or leaves a multicast group on an interface; index 0: by the routes. Returns zero or a positive
/// errno.
int change_membership(IoSystem& io, int fd, const IpAddress& group, unsigned interface_index, bool join);

}  // namespace tunport
