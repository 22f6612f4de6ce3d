#include <algorithm>
#include <cstring>
#include <random>
#include <utility>

#include "tunport/gate/tcp_answers_internal.hpp"
#include "tunport/gate/tcp_gate_internal.hpp"
#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/rewrite_internal.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"
#include "tunport/wire/tcp.hpp"

namespace tunport {
namespace {

constexpr std::size_t most_flows = 0x8000;
constexpr double resets_at_once = 100;

// In seconds. A kernel gives a connection that is not accepted 63 s (tcp_synack_retries), and TIME_WAIT a
// minute (TCP_TIMEWAIT_LEN).
constexpr std::uint32_t opening_timeout = 75;
constexpr std::uint32_t closing_timeout = 240;
constexpr std::uint32_t lingering_timeout = 5;
constexpr std::uint32_t waiting_timeout = 61;

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

FlowEnds reversed(const FlowEnds& ends) {
  return {ends.destination, ends.source, ends.destination_port, ends.source_port};
}

/// True for an address of one host, which may have an answer (RFC 1122 3.2.1.3, 4.2.3.10).
bool is_host(const IpAddress& address) {
  if (address.is_v4()) return is_single_host(address.v4());
  return !address.is_multicast() && !address.is_unspecified();
}

/// True if `number` is at or behind `mark` in the sequence (RFC 9293 3.4).
bool reaches(std::uint32_t number, std::uint32_t mark) {
  return static_cast<std::int32_t>(number - mark) >= 0;
}

/// A client repeats its SYN after 1 s, and waits twice as long each time (RFC 6298 5.5; newer kernels begin
/// with a few equal steps): true if the next copy is long overdue.
bool has_given_up(const Flow& flow, std::uint32_t now) {
  const std::uint32_t step = flow.last_seen - flow.first_seen + 1;
  return now - flow.last_seen > std::max(3U, 2 * step + 1);
}

std::uint32_t seconds_of(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 1, INT32_MAX));
}

}  // namespace

/// A segment being delivered.
struct TcpGate::Segment {
  const IpDatagram& datagram;
  Bytes tcp;
  FlowEnds ends;  // as in the packet

  FrameTransport& port() const { return datagram.arrival.transport; }
  const Packet& packet() const { return datagram.arrival.packet; }
  std::uint8_t flags() const { return load_u8(tcp, TcpHeader::flags_offset); }
  std::uint32_t sequence() const { return load_be32(tcp, TcpHeader::sequence_offset); }
  std::uint32_t acknowledgment() const { return load_be32(tcp, 8); }
  std::uint32_t sequence_end() const {
    const std::size_t header = (load_u8(tcp, 12) >> 4) * std::size_t{4};
    const std::uint32_t marks =
        ((flags() & tcp_flag::syn) != 0 ? 1U : 0U) + ((flags() & tcp_flag::fin) != 0 ? 1U : 0U);
    return sequence() + static_cast<std::uint32_t>(tcp.size() - header) + marks;
  }
  Layout layout(Bytes packet_bytes) const {
    return {.transport = static_cast<std::uint32_t>(tcp.data() - packet_bytes.data()),
            .v6 = ends.source.is_v6(),
            .protocol = ip_protocol::tcp};
  }
};

TcpGate::TcpGate(const GateOptions& options, GateStatistics& statistics, Requested requested, Expired expired)
    : options_{options},
      statistics_{statistics},
      requested_{std::move(requested)},
      expired_{std::move(expired)},
      table_{2 * std::min(options.max_flows, most_flows), random_seed()},
      resets_{options.resets_per_second, resets_at_once} {}

void TcpGate::set_listener(const Endpoint& listener) {
  listeners_[listener.address.is_v6() ? 1 : 0] = listener;
}

void TcpGate::stop_protocol() {
  clock_.cancel();
  for (std::size_t state = 0; state < flow_states; ++state)
    for (std::uint32_t place = 0; (place = table_.oldest(static_cast<FlowState>(state))) != FlowTable::none;)
      forget(place);
}

void TcpGate::datagram_received(const IpDatagram& datagram) {
  const Bytes tcp = datagram.payload();
  FrameTransport& port = datagram.arrival.transport;
  const Packet& packet = datagram.arrival.packet;
  if (tcp.size() < TcpHeader::size || tcp.size() < (load_u8(tcp, 12) >> 4) * std::size_t{4} ||
      (load_u8(tcp, 12) >> 4) * std::size_t{4} < TcpHeader::size)
    return port.drop(DropReason::tcp_short, packet.datagrams());
  const Segment segment{
      datagram, tcp, {datagram.source(), datagram.destination(), load_be16(tcp, 0), load_be16(tcp, 2)}};
  const Endpoint* const here = listener(segment.ends.source.is_v6());
  if (here != nullptr && segment.ends.source_port == here->port && segment.ends.source == here->address) {
    const std::uint32_t place = table_.find_port(segment.ends.destination_port);
    // The kernel knows nothing of a held flow: a segment is of an earlier connection.
    if (place != FlowTable::none && table_[place].ends.destination == segment.ends.destination &&
        table_[place].state != FlowState::held)
      return follow(segment, place, false);
    if (taken_ && taken_(port, segment.ends, {segment.flags(), segment.sequence(), segment.acknowledgment()}))
      return;
    return reset_unknown(segment, DropReason::unknown_tcp_flow);
  }
  const std::uint32_t place = table_.find(segment.ends);
  constexpr std::uint8_t marks = tcp_flag::syn | tcp_flag::ack | tcp_flag::rst | tcp_flag::fin;
  const bool is_syn = (segment.flags() & marks) == tcp_flag::syn;
  if (place == FlowTable::none)
    return is_syn ? begin(segment) : reset_unknown(segment, DropReason::unknown_tcp_flow);
  const FlowState state = table_[place].state;
  if (is_syn && (state == FlowState::lingering || state == FlowState::waiting)) return begin(segment);
  if (state != FlowState::held) return follow(segment, place, true);
  if (is_syn) {
    ++statistics_.repeated_syns;
    port.drop(DropReason::request_pending);
    table_.move(place, FlowState::held, now_);  // each copy tells that the client is there
  } else {
    if ((segment.flags() & tcp_flag::rst) != 0) forget(place);
    port.drop(DropReason::request_pending, packet.datagrams());
  }
}

/// A SYN of a new connection.
void TcpGate::begin(const Segment& segment) {
  FrameTransport& port = segment.port();
  const IpAddress& client = segment.ends.source;
  const IpAddress& destination = segment.ends.destination;
  if (!is_host(client) || !is_host(destination) || client == destination ||
      segment.packet().is_super_packet())
    return port.drop(DropReason::answer_not_allowed, segment.packet().datagrams());
  // The gate trusts a kernel's checksum; a SYN from elsewhere must not make a flow by a bit error.
  if (!segment.datagram.is_checksum_trusted()) {
    DropReason why{};
    if (!TcpView::checked(segment.tcp, client, destination, why)) return port.drop(why);
  }
  start_clock(port);
  std::uint32_t place = table_.find(segment.ends);
  if (place != FlowTable::none) {
    if (flows() >= options_.max_flows && !make_room())
      return reset_unknown(segment, DropReason::too_many_flows);
    table_.renew(place, now_);
  } else {
    if (!make_room()) return reset_unknown(segment, DropReason::too_many_flows);
    place = table_.add(segment.ends, now_);
    if (place == FlowTable::none) return reset_unknown(segment, DropReason::too_many_flows);
  }
  // A datagram put together from fragments has its bytes elsewhere: the copy is a plain packet.
  table_[place].syn = OwnedPacket{segment.packet()};
  ++statistics_.requests;
  const FlowId id = table_.id_of(place);
  if (listener(client.is_v6()) == nullptr) {
    refuse(id, GateRefusal::network_unreachable);
    return;
  }
  while (table_.count(FlowState::held) > std::max<std::size_t>(options_.max_requests, 1))
    forget(table_.oldest(FlowState::held));
  requested_(id);
}

/// Makes room for a flow. False if every flow is in use.
bool TcpGate::make_room() {
  const auto evict = [&](FlowState state) {
    const std::uint32_t oldest = table_.oldest(state);
    if (oldest != FlowTable::none) forget(oldest);
    return oldest != FlowTable::none;
  };
  if (flows() >= options_.max_flows && !evict(FlowState::opening)) return false;
  if (table_.size() < 2 * std::min(options_.max_flows, most_flows)) return true;
  return evict(FlowState::lingering) || evict(FlowState::waiting);
}

void TcpGate::follow(const Segment& segment, std::uint32_t place, bool from_client) {
  table_.touch(place, now_);
  Flow& flow = table_[place];
  const std::uint8_t flags = segment.flags();
  const FlowEnds seen = flow.ends;
  const Endpoint* const here = listener(seen.source.is_v6());
  if (here == nullptr) return reset_unknown(segment, DropReason::unknown_tcp_flow);
  forward(segment,
          from_client ? FlowEnds{seen.destination, here->address, flow.port, here->port} : reversed(seen));
  if (segment.packet().is_port_gone()) return;
  if ((flags & (tcp_flag::fin | tcp_flag::rst)) != 0 || flow.client_fin || flow.server_fin)
    note_ends(segment, place, from_client);
}

/// Notes FINs, their acknowledgments, and resets.
void TcpGate::note_ends(const Segment& segment, std::uint32_t place, bool from_client) {
  Flow& flow = table_[place];
  const std::uint8_t flags = segment.flags();
  if (flow.state == FlowState::lingering || flow.state == FlowState::waiting) return;
  if ((flags & tcp_flag::rst) != 0) {
    const bool unaccepted = flow.state == FlowState::opening;
    table_.move(place, FlowState::lingering, now_);
    if (!unaccepted) return;
    ++statistics_.requests_expired;
    return expired_(table_.id_of(place));
  }
  if ((flags & tcp_flag::ack) != 0) {
    const std::uint32_t number = segment.acknowledgment();
    if (from_client && flow.server_fin) flow.server_fin_acked |= reaches(number, flow.server_fin_end);
    if (!from_client && flow.client_fin) flow.client_fin_acked |= reaches(number, flow.client_fin_end);
  }
  if ((flags & tcp_flag::fin) != 0) {
    if (from_client && !flow.client_fin) {
      flow.client_fin = true;
      flow.client_fin_end = segment.sequence_end();
    } else if (!from_client && !flow.server_fin) {
      flow.server_fin = true;
      flow.server_fin_end = segment.sequence_end();
      flow.server_closed_first = !flow.client_fin_acked;
    }
  }
  if (flow.client_fin && flow.server_fin && flow.state != FlowState::closing)
    table_.move(place, FlowState::closing, now_);
  if (flow.client_fin_acked && flow.server_fin_acked) end(place, segment.port());
}

/// Both directions are over.
void TcpGate::end(std::uint32_t place, FrameTransport& port) {
  const Flow& flow = table_[place];
  const Endpoint* const here = listener(flow.ends.source.is_v6());
  const bool in_time_wait = flow.server_closed_first && here != nullptr;
  const FlowEnds ends{flow.ends.destination, here != nullptr ? here->address : IpAddress{}, flow.port,
                      here != nullptr ? here->port : std::uint16_t{}};
  const std::uint32_t sequence = flow.client_fin_end;
  table_.move(place, FlowState::waiting, now_);
  // The kernel takes the reset at exactly the number that it expects (tcp_timewait_state_process), unless
  // net.ipv4.tcp_rfc1337 is set.
  if (!in_time_wait || write_segment(port, ends, {.flags = tcp_flag::rst, .sequence = sequence}))
    table_.move(place, FlowState::lingering, now_);
}

void TcpGate::forward(const Segment& segment, const FlowEnds& ends) {
  const Packet& packet = segment.packet();
  if (const MutableBytes bytes = packet.mutable_bytes(); !bytes.empty()) {
    rewrite_at(bytes, packet.offload(), segment.layout(bytes), ends);
    segment.port().forward(packet);
    return;
  }
  copy_.assign(packet.bytes().begin(), packet.bytes().end());
  rewrite_at(copy_, {}, segment.layout(packet.bytes()), ends);
  segment.port().write(copy_);
}

/// Answers a segment without a connection (RFC 9293 3.10.7.1).
void TcpGate::reset_unknown(const Segment& segment, DropReason reason) {
  FrameTransport& port = segment.port();
  const std::size_t datagrams = segment.packet().datagrams();
  const std::uint8_t flags = segment.flags();
  // The listener's address may be of the loopback.
  const Endpoint* const here = listener(segment.ends.source.is_v6());
  const bool is_listener = here != nullptr && segment.ends.source == here->address;
  if ((flags & tcp_flag::rst) != 0 || !is_host(segment.ends.destination) ||
      (!is_host(segment.ends.source) && !is_listener))
    return port.drop(reason, datagrams);
  if (!resets_.take(port.reactor().now())) return port.drop(DropReason::rate_limited, datagrams);
  port.drop(reason, datagrams);
  ++statistics_.resets;
  BareSegment answer{.flags = tcp_flag::rst};
  if ((flags & tcp_flag::ack) != 0) {
    answer.sequence = segment.acknowledgment();
  } else {
    answer.flags |= tcp_flag::ack;
    answer.acknowledgment = segment.sequence_end();
  }
  write_segment(port, reversed(segment.ends), answer);
}

std::optional<FlowEnds> TcpGate::ends(const FlowId& id) const {
  const std::uint32_t place = table_.find_id(id);
  if (place == FlowTable::none) return std::nullopt;
  return table_[place].ends;
}

bool TcpGate::admit(const FlowId& id) {
  const std::uint32_t place = table_.find_id(id);
  if (place == FlowTable::none || table_[place].state != FlowState::held) return false;
  Flow& flow = table_[place];
  const Endpoint* const here = listener(flow.ends.source.is_v6());
  if (here == nullptr || connected_transport() == nullptr) return false;
  OwnedPacket syn = std::move(flow.syn);
  const MutableBytes bytes = syn.mutable_bytes();
  rewrite_ends(bytes, syn.offload(), DeviceKind::tun,
               {flow.ends.destination, here->address, flow.port, here->port});
  table_.move(place, FlowState::opening, now_);
  syn.forward_to(transport());  // a lost SYN is sent again by the client
  return true;
}

bool TcpGate::refuse(const FlowId& id, GateRefusal how) {
  const std::uint32_t place = table_.find_id(id);
  if (place == FlowTable::none || table_[place].state != FlowState::held) return false;
  OwnedPacket syn = std::move(table_[place].syn);
  const FlowEnds ends = table_[place].ends;
  table_.remove(place);
  ++statistics_.refused;
  if (connected_transport() == nullptr) return true;
  if (syn.offload().checksum == ChecksumState::to_fill) complete_checksum(syn.mutable_bytes(), syn.offload());
  write_refusal(transport(), ends, syn.bytes(), how);
  return true;
}

std::optional<FlowId> TcpGate::accepted(const Endpoint& peer) {
  const std::uint32_t place = table_.find_port(peer.port);
  if (place == FlowTable::none || !(table_[place].ends.destination == peer.address) ||
      table_[place].state == FlowState::held) {
    ++statistics_.strangers;
    return std::nullopt;
  }
  if (table_[place].state == FlowState::opening) table_.move(place, FlowState::open, now_);
  ++statistics_.accepted;
  return table_.id_of(place);
}

/// Removes a flow; tells of one that was not accepted.
void TcpGate::forget(std::uint32_t place) {
  const FlowId id = table_.id_of(place);
  const FlowState state = table_[place].state;
  table_.remove(place);
  if (state != FlowState::held && state != FlowState::opening) return;
  ++statistics_.requests_expired;
  expired_(id);
}

void TcpGate::start_clock(FrameTransport& port) {
  if (table_.size() != 0) return;
  epoch_ = port.reactor().now() - std::chrono::seconds{now_};
  clock_ = port.reactor().call_later(std::chrono::seconds{1}, [this] { tick(); });
}

void TcpGate::tick() {
  Reactor& reactor = transport().reactor();
  now_ = seconds_of(reactor.now() - epoch_);
  const auto remove_older = [&](FlowState state, std::uint32_t timeout) {
    for (std::uint32_t place = 0; (place = table_.oldest(state)) != FlowTable::none;) {
      if (now_ - table_[place].last_seen < timeout) break;
      forget(place);
    }
  };
  remove_older(FlowState::opening, opening_timeout);
  remove_older(FlowState::open,
               seconds_of(std::max<Duration>(options_.idle_timeout, std::chrono::seconds{1})));
  remove_older(FlowState::closing, closing_timeout);
  remove_older(FlowState::lingering, lingering_timeout);
  remove_older(FlowState::waiting, waiting_timeout);
  for (std::uint32_t place = table_.oldest(FlowState::held); place != FlowTable::none;) {
    const std::uint32_t next = table_.younger(place);
    if (has_given_up(table_[place], now_)) forget(place);
    place = next;
  }
  if (table_.size() != 0) clock_ = reactor.call_later(std::chrono::seconds{1}, [this] { tick(); });
}

}  // namespace tunport
