#include "tunport/port/tuntap_port.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/offload/checksum_state.hpp"
#include "tunport/offload/layout.hpp"
#include "tunport/port/count_drop_internal.hpp"

namespace tunport {
namespace {

/// No second datagram of more than this fits into an IP packet with it.
constexpr std::size_t longest_gathered = 0x8000;

constexpr std::size_t ethernet_header_size = 14;
constexpr std::size_t max_write_parts = 16;

std::size_t size_of(std::span<const Bytes> parts) {
  std::size_t size = 0;
  for (const Bytes part : parts) size += part.size();
  return size;
}

std::string default_prefix(const FrameProtocol& protocol, DeviceKind kind) {
  return protocol.name() + (kind == DeviceKind::tap ? " (TAP)" : " (TUN)");
}

bool wants(const FrameProtocol& protocol, DeviceKind kind) {
  return kind == DeviceKind::tap ? dynamic_cast<const IpPacketProtocol*>(&protocol) == nullptr
                                 : dynamic_cast<const EthernetFrameProtocol*>(&protocol) == nullptr;
}

/// A refusal as the error of an asynchronous send.
std::error_code error_of(DropReason reason) {
  switch (reason) {
    case DropReason::link_down:
      return Errc::link_down;
    case DropReason::device_gone:
      return Errc::device_gone;
    case DropReason::not_listening:
      return Errc::not_listening;
    case DropReason::too_long:
      return errno_code(EMSGSIZE);
    case DropReason::queue_full:
    case DropReason::no_buffers:
      return errno_code(ENOBUFS);
    default:
      return errno_code(EINVAL);
  }
}

}  // namespace

TuntapPort::TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, FrameProtocol& protocol,
                       PortOptions options)
    : BasePort{reactor, std::move(options)}, kind_{kind}, name_{std::move(name)}, protocol_{protocol} {
  set_log_prefix(default_prefix(protocol_, kind_));
}

TuntapPort::TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, PortOptions options)
    : BasePort{reactor, std::move(options)},
      kind_{kind},
      name_{std::move(name)},
      completions_{std::make_shared<Completions>(*this)},
      protocol_{*completions_} {
  set_log_prefix(default_prefix(protocol_, kind_));
}

TuntapPort::TuntapPort(Reactor& reactor, Device device, FrameProtocol& protocol, PortOptions options)
    : TuntapPort{reactor, device.kind(), device.name(), protocol, std::move(options)} {
  system_.emplace(device.system());
  device_ = std::move(device);
}

TuntapPort::TuntapPort(std::string name, EthernetFrameProtocol& protocol, PortOptions options)
    : TuntapPort{default_reactor(), std::move(name), protocol, std::move(options)} {}

TuntapPort::TuntapPort(std::string name, IpPacketProtocol& protocol, PortOptions options)
    : TuntapPort{default_reactor(), std::move(name), protocol, std::move(options)} {}

TuntapPort::~TuntapPort() {
  abandon();
  if (completions_) completions_->port_gone();
}

void TuntapPort::bind_device(std::error_code& ec) {
  if (!wants(protocol_, kind_)) {
    ec = Errc::wrong_kind;
    device_.close();
    return;
  }
  if (device_) {
    std::error_code unchanged;  // it keeps what it was granted
    device_.set_offload(options().offload, unchanged);
    device_.set_non_blocking();
  } else {
    DeviceOptions how = options().device;
    how.offload = options().offload;
    device_ = Device::open(kind_, name_, how, system_.value_or(options().system), ec);
    if (ec) return;
  }
  writer_.reset();
  const OffloadFeatures& takes = writer_.takes();
  coalescer_.reset();
  if (takes.tso4 || takes.tso6 || takes.uso) coalescer_.emplace(kind_);
  accepts_super_packets_ = protocol_.accepts_super_packets();
}

std::size_t TuntapPort::packet_space() const {
  const std::size_t datagram = options().max_packet_size + 1;
  return device_.capabilities().offload.any() ? std::max(datagram, max_super_packet + 1) : datagram;
}

ssize_t TuntapPort::receive_packet(MutableBytes space) {
  const Capabilities& device = device_.capabilities();
  const MutableBytes framed = space.subspan(headroom - device.framing);
  const ReadResult result = device_.read_framed(framed);
  if (result.error != 0) {
    if (result.error == EINVAL) count_drop(statistics_, DropReason::bad_framing);  // and the packet is lost
    return result.error == EINVAL ? 0 : -result.error;
  }
  TUNPORT_PROBE(read, result.size, this);
  const auto size = static_cast<ssize_t>(result.size);
  PacketOrigin& origin = packet_origin();
  origin.kind = device.kind;
  origin.bytes = space.subspan(headroom, result.size);
  origin.left = {};
  origin.ended = origin.spent = origin.referred_to = false;
  bool truncated = result.truncated;
  if (device.vnet_header && !truncated) {
    DropReason why{};
    const auto left = device_.offload_of(framed.first(device.framing + result.size), why);
    if (!left) {
      ++statistics_.packets_in;
      statistics_.bytes_in += result.size;
      count_drop(statistics_, why);
      return size;
    }
    origin.left = *left;
  }
  statistics_.packets_in += datagrams_in(result.size, origin.left);
  statistics_.bytes_in += result.size;
  if (origin.left.is_super_packet()) {
    ++statistics_.super_packets_in;
  } else if (result.size > options().max_packet_size) {
    truncated = true;
    origin.bytes = origin.bytes.first(options().max_packet_size);
    origin.left = {};
  }
  deliver(Packet{origin, truncated});
  return size;
}

void TuntapPort::drop(DropReason reason, std::size_t datagrams) {
  count_drop(statistics_, reason, datagrams);
}

void TuntapPort::deliver(const Packet& packet) {
  TUNPORT_PROBE(deliver, packet.size(), this);
  const auto hand_over = [&](const Packet& datagram) {
    protocol_.make_connection(*this);
    protocol_.frame_received(datagram);
  };
  guarded([&] { accepts_super_packets_ ? hand_over(packet) : packet.for_each_plain(hand_over); });
}

int TuntapPort::transmit(std::span<const Bytes> parts) {
  PacketOffload left;
  std::memcpy(&left, parts.front().data(), sizeof left);
  Bytes record = parts.front().subspan(sizeof left);
  return send_now(parts.size() == 1 ? std::span{&record, 1} : parts.subspan(1), left);
}

int TuntapPort::transmit_plain(Bytes data) {
  return objection(data, data.size()) ? EINVAL : send_now({&data, 1}, {});
}

int TuntapPort::send_now(std::span<const Bytes> parts, const PacketOffload& left) {
  if (left.is_super_packet() || left.checksum == ChecksumState::to_fill) return writer_.write(parts, left);
  const int error = parts.size() == 1 ? device_.write(parts.front()) : device_.write_sequence(parts);
  TUNPORT_PROBE(write, size_of(parts), error);
  if (error == 0) note_sent(size_of(parts));
  return error;
}

std::size_t TuntapPort::datagrams_of(Bytes record) const {
  PacketOffload left;
  std::memcpy(&left, record.data(), sizeof left);
  return datagrams_in(record.size() - sizeof left, left) -
         writer_.done();  // it is the oldest that is asked of
}

void TuntapPort::do_error() {
  if (device_.is_gone()) finish(Errc::device_gone);
}

std::optional<DropReason> TuntapPort::objection(Bytes first, std::size_t size) const {
  if (size == 0) return DropReason::empty;
  if (size > options().max_packet_size) return DropReason::too_long;
  if (kind_ == DeviceKind::tap) {
    if (size < ethernet_header_size) return DropReason::too_short;
  } else if (const auto version = load_u8(first, 0) >> 4; version != 4 && version != 6) {
    return DropReason::wrong_version;
  }
  return std::nullopt;
}

/// `add` puts it into the coalescer, if there is room. There is again after a flush, unless that has begun a
/// queue. A big one is not kept: it is worth its system call.
template <class Add>
inline WriteResult TuntapPort::gather(Add add, std::span<const Bytes> parts, const PacketOffload& left) {
  const bool big = size_of(parts) > longest_gathered;
  if (big || !add()) {
    flush_quietly();
    if (big || !gathers() || !add()) return write_now_or_queue(parts, left);
  }
  flush_when_uncorked();
  return WriteResult::make_queued();
}

// Not by way of `write_checked`, `submit` and `transmit`: each function between the system call and its
// caller costs some 10 ns, whatever it does (docs/performance.md).
WriteResult TuntapPort::write(Bytes datagram) {
  if (const auto reason = objection(datagram, datagram.size())) return refuse(*reason);
  if (gathers())
    return gather([&] { return coalescer_->add(datagram, writer_.takes()); }, {&datagram, 1}, {});
  const int error = may_transmit() ? device_.write(datagram) : EAGAIN;
  TUNPORT_PROBE(write, datagram.size(), error);
  return error == 0 ? note_sent(datagram.size()) : not_sent(error, {&datagram, 1}, {});
}

WriteResult TuntapPort::write_sequence(std::span<const Bytes> parts) { return write_checked(parts, 0); }

WriteResult TuntapPort::write_checked(std::span<const Bytes> parts, std::uint64_t ticket) {
  if (parts.size() > max_write_parts) return refuse(DropReason::too_long);
  Bytes first;
  for (const Bytes part : parts)
    if (first.empty()) first = part;
  if (const auto reason = objection(first, size_of(parts))) return refuse(*reason);
  if (ticket == 0 && gathers())
    return gather([&] { return coalescer_->add(parts, {}, writer_.takes()); }, parts, {});
  const int error = may_transmit() ? send_now(parts, {}) : EAGAIN;
  return error == 0 ? WriteResult::make_sent() : not_sent(error, parts, {}, ticket);
}

[[gnu::noinline]] WriteResult TuntapPort::write_now_or_queue(std::span<const Bytes> parts,
                                                             const PacketOffload& left) {
  const int error = may_transmit() ? send_now(parts, left) : EAGAIN;
  return error == 0 ? WriteResult::make_sent() : not_sent(error, parts, left);
}

[[gnu::noinline]] WriteResult TuntapPort::not_sent(int error, std::span<const Bytes> parts,
                                                   const PacketOffload& left, std::uint64_t ticket) {
  std::array<Bytes, max_write_parts + 1> record;
  record[0] = std::as_bytes(std::span{&left, 1});
  std::ranges::copy(parts, record.begin() + 1);
  return BasePort::not_sent(error, std::span{record}.first(parts.size() + 1), ticket,
                            datagrams_in(size_of(parts), left));
}

WriteResult TuntapPort::forward(const Packet& packet) {
  if (packet.truncated()) return refuse(DropReason::truncated);
  PacketOrigin* const origin = packet.origin();
  if (origin == nullptr) return write(packet.bytes());
  if (origin->spent) return refuse(DropReason::bad_offload);
  if (packet.is_super_packet()) return forward_super_packet(*origin);
  if (const auto reason = objection(packet.bytes(), packet.size())) return refuse(*reason);
  const Bytes bytes = packet.bytes();
  if (gathers()) {
    // The burst's end flushes the ports of its own reactor only, before it reads over the bytes.
    const bool stays = origin->reactor == &reactor();
    origin->referred_to |= stays;
    const Keep keep = stays ? Keep::reference : Keep::copy;
    return gather([&] { return coalescer_->add(bytes, origin->left, keep, writer_.takes()); }, {&bytes, 1},
                  origin->left);
  }
  return write_now_or_queue({&bytes, 1}, origin->left);
}

WriteResult TuntapPort::forward_super_packet(PacketOrigin& packet) {
  if (packet.kind != kind_)
    return refuse(DropReason::bad_offload, datagrams_in(packet.bytes.size(), packet.left));
  flush_quietly();  // nothing written before is overtaken
  if (!writer_.takes().covers(packet.left)) return forward_segments(packet);
  const Bytes bytes = packet.bytes;
  iovec part{packet.bytes.data(), packet.bytes.size()};
  // Verified by the kernel, which takes super-packets in the other way only.
  if (packet.left.checksum != ChecksumState::to_fill)
    if (const auto layout = find_layout(bytes, packet.kind))
      prepare_checksum(packet.bytes, *layout, packet.left);
  const int error = may_transmit() ? writer_.write_in_place({&part, 1}, packet.left) : EAGAIN;
  return error == 0 ? WriteResult::make_sent() : not_sent(error, {&bytes, 1}, packet.left);
}

/// Pauses the producer after the last one only: that may destroy the port, or forward another super-packet,
/// and the writer has room for one.
WriteResult TuntapPort::forward_segments(const PacketOrigin& packet) {
  if (!takes_writes())
    return refuse(DropReason::not_listening, datagrams_in(packet.bytes.size(), packet.left));
  const PacketOffload nothing;
  const iovec part{packet.bytes.data(), packet.bytes.size()};
  WriteResult last = WriteResult::make_sent();
  writer_.for_each_datagram({&part, 1}, packet.left, [&](Bytes datagram) {
    const std::array<Bytes, 2> record{std::as_bytes(std::span{&nothing, 1}), datagram};
    const int error = may_transmit() ? send_now({&datagram, 1}, nothing) : EAGAIN;
    last = error == 0 ? WriteResult::make_sent() : settle(error, record);
  });
  pause_producer_if_high();
  return last;
}

void TuntapPort::flush() {
  flush_quietly();
  pause_producer_if_high();
}

void TuntapPort::flush_quietly() {
  if (!coalescer_ || coalescer_->empty() || flushing_) return;
  flushing_ = true;
  coalescer_->flush([this](const Coalesced& packet) {
    int error = may_transmit() ? writer_.write_in_place(packet.parts, packet.offload) : EAGAIN;
    for (int tries = 0; error == EINTR && tries < interrupted_retries; ++tries)
      error = writer_.write_in_place(packet.parts, packet.offload);
    if (error != 0) not_flushed(error, packet);
  });
  flushing_ = false;
}

void TuntapPort::not_flushed(int error, const Coalesced& packet) {
  std::array<Bytes, Coalescer::max_parts + 1> record;
  record[0] = std::as_bytes(std::span{&packet.offload, 1});
  std::ranges::transform(packet.parts, record.begin() + 1, [](const iovec& part) {
    return Bytes{static_cast<const std::byte*>(part.iov_base), part.iov_len};
  });
  settle(error, std::span{record}.first(packet.parts.size() + 1), packet.datagrams);
}

Completions& TuntapPort::completions() {
  if (!completions_) completions_ = std::make_shared<Completions>(*this);
  return *completions_;
}

void TuntapPort::receive(MutableBytes buffer, Completions::ReceiveHandler handler) {
  if (&protocol_ != completions_.get())
    throw std::logic_error(log_prefix() + ": the packets of this port go to its protocol");
  completions_->receive(buffer, std::move(handler));
}

std::uint64_t TuntapPort::send(Bytes datagram, Completions::SendHandler handler) {
  flush_quietly();  // its fate is its own
  Reactor& loop = reactor();
  const Lifeline::Watch watch{lifeline_};  // a producer that is paused may destroy the port
  const std::uint64_t ticket = ++last_ticket_;
  const WriteResult result = write_checked({&datagram, 1}, ticket);
  const bool queued = result.status() == WriteResult::queued;
  if (queued && watch.alive()) {
    completions().await(ticket, std::move(handler));
    return ticket;
  }
  std::error_code ec;
  if (queued)
    ec = Errc::operation_aborted;
  else if (!result)
    ec = error_of(result.reason());
  loop.post([handler = std::move(handler), ec] { handler(ec); });
  return 0;
}

void TuntapPort::cancel_receive() {
  if (completions_) completions_->cancel_receive();
}

void TuntapPort::cancel_send(std::uint64_t ticket) {
  if (completions_) completions_->cancel_send(ticket);
}

void TuntapPort::ticket_done(std::uint64_t ticket, const std::error_code& ec) {
  writer_.forget();
  if (ticket != 0 && completions_) completions_->send_done(ticket, ec);
}

TunnelAddress TuntapPort::get_host() const { return {kind_, device_ ? device_.name() : name_}; }

void TuntapPort::connection_lost(const std::error_code& reason) {
  if (reason && completions_) completions_->fail_receive(reason);
  BasePort::connection_lost(reason);
}

Device TuntapPort::release_device() {
  finish({});  // takes it off the reactor first
  return std::exchange(device_, Device{});
}

std::string TuntapPort::subject() const { return name_.empty() ? std::string{to_string(kind_)} : name_; }

std::string to_string(const TunnelAddress& address) {
  return std::string{to_string(address.kind)} + ':' + address.name;
}

std::ostream& operator<<(std::ostream& out, const TunnelAddress& address) {
  return out << to_string(address);
}

std::string to_string(const TuntapPort& port) {
  return '<' + port.log_prefix() + " on " + port.get_host().name +
         (port.listening() ? ", listening>" : ", not listening>");
}

std::ostream& operator<<(std::ostream& out, const TuntapPort& port) { return out << to_string(port); }

}  // namespace tunport
