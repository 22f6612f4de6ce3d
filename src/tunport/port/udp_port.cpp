#include "tunport/port/udp_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <utility>

#include <sys/socket.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/control_internal.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/operations_internal.hpp"
#include "tunport/port/outbox_internal.hpp"
#include "tunport/port/segment_writer_internal.hpp"
#include "tunport/port/udp_reader_internal.hpp"
#include "tunport/port/udp_sink_internal.hpp"
#include "tunport/port/udp_socket_internal.hpp"

namespace tunport {
namespace {

/// The largest number of errors told by a call.
constexpr int most_errors_told = 256;

}  // namespace

struct UdpPort::State {
  explicit State(UdpPort& port)
      : sink{socket,           port.options().system.io,       port.local_.address.is_v4(),
             port.statistics_, port.options().max_packet_size, port.log_prefix()},
        outbox{sink,
               port,
               port.reactor(),
               port.statistics_,
               port.options().queue_limit,
               std::max(port.options().max_packet_size, max_super_packet)},
        segments{outbox, port.options().max_packet_size} {}

  UniqueFd socket;
  Endpoint bound;
  UdpSink sink;
  Outbox<UdpSink> outbox;
  SegmentWriter segments;
  std::shared_ptr<UdpReader> reader;     // held by a burst too: its datagrams outlive the port
  std::uint32_t dropped = 0;             // the kernel's last count of the socket's drops
  const Datagrams* delivered = nullptr;  // the run being delivered
  const char* failed_option = "";        // the refused option of the last start
  DatagramErrorCounts errors;
  std::unique_ptr<DatagramProtocol> own_protocol;  // that the port keeps
  Operations<DatagramCompletions> operations;

  /// True if the port receives for several addresses.
  bool is_wildcard() const { return bound.address.is_unspecified(); }
};

UdpPort::UdpPort(Reactor& reactor, const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : BasePort{reactor, std::move(options)},
      local_{local},
      protocol_{&protocol},
      state_{std::make_unique<State>(*this)} {
  set_log_prefix(protocol.name() + " (UDP)");
}

UdpPort::UdpPort(const Endpoint& local, DatagramProtocol& protocol, PortOptions options)
    : UdpPort{default_reactor(), local, protocol, std::move(options)} {}

UdpPort::UdpPort(Reactor& reactor, const Endpoint& local, PortOptions options)
    : BasePort{reactor, std::move(options)},
      local_{local},
      protocol_{nullptr},
      state_{std::make_unique<State>(*this)} {
  protocol_ = state_->operations.take_packets(*this);
  set_log_prefix(protocol_->name() + " (UDP)");
}

UdpPort::~UdpPort() {
  abandon();
  state_->operations.end();
}

std::size_t UdpPort::bind_device(std::error_code& ec) try {
  UniqueFd socket = create_internet_socket(local_.address.is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM);
  IoSystem& io = options().system.io;
  const int fd = socket.get();
  const SetupFailure failure = set_up_socket(io, fd, local_, options().socket, options().offload.uso);
  state_->failed_option = failure.option;
  if (failure.error != 0) {
    ec = errno_code(failure.error);
    return 0;
  }
  state_->sink.reset(options().offload.uso && knows_segments(io, fd), options().socket.peer);
  state_->dropped = 0;
  state_->bound = local_endpoint(io, fd, local_);
  if (!state_->reader)
    state_->reader = std::make_shared<UdpReader>(std::max(options().max_packet_size, max_super_packet) + 1);
  state_->socket = std::move(socket);
  return 0;  // the reader has the memory
} catch (const Error& failure) {
  ec = failure.code();
  return 0;
}

void UdpPort::close_device() noexcept { state_->socket.reset(); }
int UdpPort::fileno() const { return state_->socket.get(); }
AnyOutbox& UdpPort::outbox() const { return state_->outbox; }

int UdpPort::receive_packets(Burst& burst) {
  const std::shared_ptr<UdpReader> reader = state_->reader;
  PacketOrigin& origin = packet_origin();
  while (burst.goes_on()) {
    // A receive is for one datagram: the next stays in the socket until the next receive.
    const std::size_t limit = state_->operations.takes_packets(protocol_) ? 1 : burst.room();
    const int got = reader->read(options().system.io, fileno(), limit);
    if (got < 0) {
      // The kernel first reports an ICMP error to an earlier datagram, once.
      if (!is_icmp_error(-got)) return -got;
      tell_errors();
      if (!burst.alive()) return 0;
      burst.note(0);
      continue;
    }
    origin.ended = false;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got); ++i) {
      const MutableBytes bytes = reader->bytes(i);
      receive_run(reader->message(i), bytes, origin);
      if (!burst.alive()) return 0;
      burst.note(bytes.size());
    }
    if (reader->drained()) return EAGAIN;
  }
  return 0;
}

/// Counts and delivers a datagram, or a run. After a stop, what was read before is aborted.
void UdpPort::receive_run(msghdr& message, MutableBytes bytes, PacketOrigin& origin) {
  const std::size_t size = bytes.size();
  const ReceivedControl said = received_control(message);
  if (said.dropped) {
    const std::uint32_t dropped = *said.dropped - std::exchange(state_->dropped, *said.dropped);
    if (dropped != 0) count_drop(statistics_, DropReason::receive_overflow, dropped);
  }
  const bool is_run = said.segment_size != 0 && said.segment_size < size;
  const std::size_t step = is_run ? said.segment_size : std::max<std::size_t>(size, 1);
  const std::size_t datagrams = is_run ? (size + step - 1) / step : 1;
  statistics_.packets_in += datagrams;
  statistics_.bytes_in += size;
  if (is_run) ++statistics_.super_packets_in;
  if (origin.ended) {
    origin.aborted += datagrams;
    return;
  }
  const auto from = Endpoint::from_sockaddr(*static_cast<const sockaddr_storage*>(message.msg_name));
  if ((message.msg_flags & MSG_TRUNC) != 0 || std::min(step, size) > options().max_packet_size || !from) {
    count_drop(statistics_, from ? DropReason::truncated : DropReason::bad_framing, datagrams);
    return;
  }
  Datagrams run{bytes, step, *from, state_->bound, said.to_group, said.traffic_class};
  if (said.to) {
    run.to.address = *said.to;
    run.to.scope = from->scope;
  }
  deliver(run, origin);
}

void UdpPort::deliver(const Datagrams& run, PacketOrigin& origin) {
  const Lifeline::Watch watch{lifeline_};
  state_->delivered = &run;
  const auto hand_over = [&](const auto& call) {
    guarded(&protocol(), [&] {
      protocol_->make_connection(*this);
      call();
    });
  };
  if (protocol_->accepts_super_packets()) {
    hand_over([&] { protocol_->datagrams_received(run); });
  } else {
    for (std::size_t i = 0, count = run.size(); i < count; ++i) {
      if (origin.ended) {
        origin.aborted += count - i;
        break;
      }
      hand_over([&] { protocol_->datagram_received(run[i]); });
    }
  }
  if (watch.alive()) state_->delivered = nullptr;
}

/// Tells the protocol the entries of the error queue.
void UdpPort::tell_errors() {
  const Lifeline::Watch watch{lifeline_};
  for (int told = 0; told < most_errors_told; ++told) {
    sockaddr_storage receiver{};
    msghdr message{};
    message.msg_name = &receiver;
    message.msg_namelen = sizeof receiver;
    alignas(cmsghdr) std::array<std::byte, 256> control;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    if (options().system.io.recvmsg(fileno(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) break;
    const auto error = datagram_error(message, receiver);
    if (!error) continue;
    state_->errors.add(*error);
    guarded(&protocol(), [&] { protocol_->error_received(*error); });
    if (!watch.alive() || !is_open()) break;
  }
}

void UdpPort::do_error() {
  if (!state_->socket) return;
  int error = 0;
  socklen_t length = sizeof error;
  options().system.io.getsockopt(fileno(), SOL_SOCKET, SO_ERROR, &error, &length);  // reading it clears it
  tell_errors();
}

const tunport::Protocol& UdpPort::protocol() const { return *protocol_; }

/// The source of a datagram to `to`: the address asked by `to`, during the delivery of the question.
IpAddress UdpPort::source_for(const Endpoint& to) const {
  const Datagrams* const delivered = state_->delivered;
  if (delivered == nullptr || !state_->is_wildcard() || delivered->to_group || delivered->from != to)
    return {};
  return delivered->to.address;
}

WriteResult UdpPort::write_to(const Endpoint& to, Bytes data) {
  return state_->outbox.write({to, 0, source_for(to)}, {.bytes = {&data, 1}});
}

WriteResult UdpPort::write_to(const Endpoint& to, Bytes data, const SendOptions& how) {
  const IpAddress from = how.from ? *how.from : source_for(to);
  if (from.is_v4() != to.address.is_v4() && from != IpAddress{})
    return state_->outbox.refuse(DropReason::no_route);
  UdpSink::Tag tag{to, 0, from};
  if (how.traffic_class) tag.traffic_class = *how.traffic_class;
  return state_->outbox.write(tag, {.bytes = {&data, 1}});
}

WriteResult UdpPort::write_segments(const Endpoint& to, const Packet& packet, Bytes header) {
  return write_segments(to, packet, {.before = header.size()},
                        [&](MutableBytes datagram) { std::ranges::copy(header, datagram.begin()); });
}

WriteResult UdpPort::write_segments(const Endpoint& to, const Packet& packet, SegmentRoom room,
                                    FunctionRef<void(MutableBytes)> seal) {
  if (to.address.is_v4() != local_.address.is_v4())
    return state_->outbox.refuse(DropReason::no_route, packet.datagrams());
  const Lifeline::Watch watch{lifeline_};
  const Cork cork{reactor()};
  return state_->segments.write({to, 0, source_for(to)}, packet, room, seal, watch);
}

WriteResult UdpPort::write(Bytes data) {
  if (!options().socket.peer) throw std::logic_error(log_prefix() + ": write needs SocketOptions::peer");
  return state_->outbox.write({*options().socket.peer}, {.bytes = {&data, 1}});
}

WriteResult UdpPort::reply(const ReplyTo& ticket, Bytes data) {
  if (ticket.from.port != 0 && ticket.from.port != state_->bound.port)
    return state_->outbox.refuse(DropReason::no_route);  // the ticket of another port
  const bool asked = state_->is_wildcard() && !ticket.from.address.is_unspecified();
  return write_to(ticket.to, data, {.from = asked ? std::optional{ticket.from.address} : std::nullopt});
}

std::size_t UdpPort::write_some_data(Bytes data, std::error_code& ec) {
  ec.clear();
  if (!options().socket.peer) {
    ec = errno_code(EDESTADDRREQ);
  } else if (!listening() || !state_->outbox.takes_writes()) {
    ec = Errc::not_listening;
  } else if (const int error = state_->outbox.write_once({*options().socket.peer}, {.bytes = {&data, 1}});
             error != 0) {
    ec = fate_of(error).code;
  }
  return ec ? 0 : data.size();
}

void UdpPort::change_membership(const IpAddress& group, const std::string& interface_name, bool join,
                                std::error_code& ec) {
  ec.clear();
  IoSystem& io = options().system.io;
  const int index = interface_name.empty() ? 0 : interface_index(io, fileno(), interface_name);
  int error = 0;
  if (!state_->socket)
    ec = Errc::not_listening;
  else if (index < 0)
    ec = errno_code(-index);
  else if (group.is_v4() != local_.address.is_v4())
    ec = errno_code(EAFNOSUPPORT);
  else if ((error = tunport::change_membership(io, fileno(), group, static_cast<unsigned>(index), join)) != 0)
    ec = errno_code(error);
}

void UdpPort::join(const IpAddress& group, const std::string& interface_name, std::error_code& ec) {
  change_membership(group, interface_name, true, ec);
}
void UdpPort::leave(const IpAddress& group, const std::string& interface_name, std::error_code& ec) {
  change_membership(group, interface_name, false, ec);
}
void UdpPort::join(const IpAddress& group, const std::string& interface_name) {
  std::error_code ec;
  join(group, interface_name, ec);
  if (ec) throw Error{ec, to_string(group)};
}
void UdpPort::leave(const IpAddress& group, const std::string& interface_name) {
  std::error_code ec;
  leave(group, interface_name, ec);
  if (ec) throw Error{ec, to_string(group)};
}

void UdpPort::set_protocol(DatagramProtocol& protocol) {
  if (!is_closed()) throw std::logic_error(log_prefix() + ": set_protocol on a port that is listening");
  protocol_ = &protocol;
  set_log_prefix(protocol.name() + " (UDP)");
}

void UdpPort::set_protocol(std::unique_ptr<DatagramProtocol> protocol) {
  if (!protocol) throw std::invalid_argument(log_prefix() + ": set_protocol without a protocol");
  set_protocol(*protocol);
  state_->own_protocol = std::move(protocol);
}

void UdpPort::receive(MutableBytes buffer, ReceiveHandler handler) {
  state_->operations.receive(protocol_, log_prefix(), buffer, std::move(handler));
}

Ticket UdpPort::send(const Endpoint& to, Bytes data, SendHandler handler) {
  const Lifeline::Watch watch{lifeline_};
  return state_->operations.send(reactor(), watch, std::move(handler), [&](Ticket ticket) {
    return state_->outbox.write({to, 0, source_for(to)}, {.bytes = {&data, 1}}, ticket);
  });
}

void UdpPort::cancel_receive() { state_->operations.cancel_receive(); }
void UdpPort::cancel_send(Ticket ticket) { state_->operations.cancel_send(ticket); }
std::function<void()> UdpPort::receive_canceller() const { return state_->operations.receive_canceller(); }
std::function<void()> UdpPort::send_canceller(Ticket ticket) const {
  return state_->operations.send_canceller(ticket);
}

void UdpPort::write_done(Ticket ticket, const std::error_code& ec) {
  state_->operations.send_done(ticket, ec);
}

void UdpPort::connection_lost(const std::error_code& reason) {
  try {
    state_->operations.fail_receive(reason);
  } catch (const std::bad_alloc&) {  // the end aborts the receive
  }
  BasePort::connection_lost(reason);
}

std::size_t UdpPort::receive_buffer() const { return buffer_size(options().system.io, fileno(), SO_RCVBUF); }
std::size_t UdpPort::send_buffer() const { return buffer_size(options().system.io, fileno(), SO_SNDBUF); }
const DatagramErrorCounts& UdpPort::errors() const { return state_->errors; }

Endpoint UdpPort::get_host() const { return state_->socket ? state_->bound : local_; }

void UdpPort::drop(DropReason reason) { count_drop(statistics_, reason); }

std::string UdpPort::subject() const {
  const std::string option = state_->failed_option;
  return to_string(local_) + (option.empty() ? "" : ", option " + option);
}

std::string to_string(const UdpPort& port) {
  return '<' + port.log_prefix() + " on " + to_string(port.get_host()) +
         (port.listening() ? ", listening>" : ", not listening>");
}

std::ostream& operator<<(std::ostream& out, const UdpPort& port) { return out << to_string(port); }

}  // namespace tunport
