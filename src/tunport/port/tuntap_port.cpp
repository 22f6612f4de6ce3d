#include "tunport/port/tuntap_port.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>
#include <ostream>
#include <stdexcept>
#include <utility>

#include "tunport/base/log.hpp"
#include "tunport/device/interface_setup_internal.hpp"
#include "tunport/event/link_watch.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/offload/checksum_state_internal.hpp"
#include "tunport/offload/layout_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/operations_internal.hpp"
#include "tunport/port/outbox_internal.hpp"
#include "tunport/port/tun_sink_internal.hpp"

namespace tunport {
namespace {

std::string default_prefix(const FrameProtocol& protocol, DeviceKind kind) {
  return protocol.name() + (kind == DeviceKind::tap ? " (TAP)" : " (TUN)");
}

bool wants(const FrameProtocol& protocol, DeviceKind kind) {
  return kind == DeviceKind::tap ? dynamic_cast<const IpPacketProtocol*>(&protocol) == nullptr
                                 : dynamic_cast<const EthernetFrameProtocol*>(&protocol) == nullptr;
}

}  // namespace

/// The interior of the port: the device, the way of writes, and the outstanding receives and sends.
struct TuntapPort::State {
  explicit State(TuntapPort& port)
      : sink{device, port.kind_, port.statistics_, port.options().max_packet_size},
        outbox{sink,
               port,
               port.reactor(),
               port.statistics_,
               port.options().queue_limit,
               std::max(port.options().max_packet_size, max_super_packet)},
        fd{port.options().fd} {}

  Device device;
  Device::Opener opener;  // of the device given to the constructor
  std::unique_ptr<InterfaceSetup> setup;
  bool is_given = false;   // the device was, by the constructor
  std::string wrong_part;  // of the interface's options: why the start failed
  TunSink sink;
  Outbox<TunSink> outbox;
  std::unique_ptr<FrameProtocol> own_protocol;  // that the port keeps
  Operations<PacketCompletions> operations;
  std::optional<int> fd;                               // to adopt at the next start
  std::optional<LinkWatch> watch;                      // of the interface; empty where none is possible
  bool knows_link = false;                             // the watch has told the state, and `mtu`
  std::string name;                                    // as last told; empty before
  std::shared_ptr<const LinkHandler> on_link_changed;  // held by a call of the handler too
  std::uint64_t drops_before = 0;                      // the link's, at the start
  std::uint64_t drops = 0;                             // since
  std::size_t mtu = 0;                                 // by the watch, or of a second before `mtu_until`
  TimePoint mtu_until{};
};

TuntapPort::TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, FrameProtocol& protocol,
                       PortOptions options)
    : BasePort{reactor, std::move(options)},
      kind_{kind},
      name_{std::move(name)},
      state_{std::make_unique<State>(*this)},
      protocol_{&protocol} {
  set_log_prefix(default_prefix(*protocol_, kind_));
}

TuntapPort::TuntapPort(Reactor& reactor, DeviceKind kind, std::string name, PortOptions options)
    : BasePort{reactor, std::move(options)},
      kind_{kind},
      name_{std::move(name)},
      state_{std::make_unique<State>(*this)},
      protocol_{state_->operations.take_packets(*this)} {
  set_log_prefix(default_prefix(*protocol_, kind_));
}

TuntapPort::TuntapPort(Reactor& reactor, Device device, FrameProtocol& protocol, PortOptions options)
    : TuntapPort{reactor, device.kind(), device.name(), protocol, std::move(options)} {
  if (device) state_->opener = device.opener();
  state_->is_given = static_cast<bool>(device);
  state_->device = std::move(device);
}

TuntapPort::TuntapPort(std::string name, EthernetFrameProtocol& protocol, PortOptions options)
    : TuntapPort{default_reactor(), std::move(name), protocol, std::move(options)} {}

TuntapPort::TuntapPort(std::string name, IpPacketProtocol& protocol, PortOptions options)
    : TuntapPort{default_reactor(), std::move(name), protocol, std::move(options)} {}

TuntapPort::~TuntapPort() {
  abandon();
  state_->operations.end();
}

void TuntapPort::set_protocol(FrameProtocol& protocol) {
  if (!is_closed()) throw std::logic_error(log_prefix() + ": set_protocol on a port that is listening");
  protocol_ = &protocol;
  set_log_prefix(default_prefix(protocol, kind_));
}

void TuntapPort::set_protocol(std::unique_ptr<FrameProtocol> protocol) {
  if (!protocol) throw std::invalid_argument(log_prefix() + ": set_protocol without a protocol");
  set_protocol(*protocol);
  state_->own_protocol = std::move(protocol);
}

std::size_t TuntapPort::bind_device(std::error_code& ec) {
  Device& device = state_->device;
  state_->wrong_part.clear();
  ec = wants(*protocol_, kind_) ? check(options().interface, kind_, state_->wrong_part) : Errc::wrong_kind;
  if (ec) {
    device.close();
    return 0;
  }
  if (device) {
    std::error_code unchanged;  // the device keeps the granted features
    // The mask belongs to all queues: the ports of the others rely on it.
    if (!device.capabilities().multi_queue) device.set_offload(options().offload, unchanged);
    device.set_non_blocking();
  } else if (const auto fd = std::exchange(state_->fd, std::nullopt)) {
    adopt(*fd, ec);
    if (ec) return 0;
  } else {
    DeviceOptions how = options().device;
    how.offload = options().offload;
    device = state_->opener ? state_->opener(name_, how, ec)
                            : Device::open(kind_, name_, how, options().system, ec);
    if (ec) return 0;
  }
  if (asks(options().interface)) set_up_interface(ec);
  if (ec) {
    close_device();
    return 0;
  }
  watch_link();
  state_->drops = 0;
  state_->drops_before = options().device.netlink ? link_info().tx_dropped : 0;
  state_->sink.reset();
  accepts_super_packets_ = protocol_->accepts_super_packets();
  const std::size_t datagram = options().max_packet_size + 1;
  return device.capabilities().offload.any() ? std::max(datagram, max_super_packet + 1) : datagram;
}

void TuntapPort::adopt(int fd, std::error_code& ec) {
  Device& device = state_->device;
  device = Device::adopt(UniqueFd{fd}, {.offload = options().offload, .netlink = options().device.netlink},
                         options().system, ec);
  if (!ec && device.kind() != kind_) ec = Errc::wrong_kind;
  if (!ec && device.name() != name_) ec = Errc::other_device;
  if (ec) return device.close();
  state_->opener = device.opener();
  state_->is_given = true;
  device.set_non_blocking();
}

void TuntapPort::set_up_interface(std::error_code& ec) {
  const Link link = state_->device.link(ec);
  if (ec) return;
  auto setup = std::make_unique<InterfaceSetup>(link.system(), link.name(), true, ec);
  if (ec) return;
  state_->setup = std::move(setup);
  state_->setup->apply(options().interface, state_->wrong_part, ec);
}

void TuntapPort::end_watch() noexcept {
  state_->watch.reset();
  state_->knows_link = false;
  state_->mtu_until = {};
}

void TuntapPort::watch_link() noexcept {
  end_watch();
  try {
    std::error_code ec;
    const bool permitted = options().device.netlink;
    if (const Link link = permitted ? state_->device.link(ec) : Link{}; link && !ec)
      state_->watch.emplace(reactor(), link,
                            [this](LinkEvent event, const LinkInfo& now) { link_changed(event, now); });
  } catch (const std::exception&) {  // the port goes without events
  }
  set_down_is_told(false);  // until the link is known to be up
}

void TuntapPort::link_changed(LinkEvent event, const LinkInfo& link) {
  if (!is_open() || !state_->device) return;  // the end is decided
  set_down_is_told(link.up);                  // a link that is down already goes down no more
  state_->name = link.name;
  state_->mtu = link.mtu;
  if (!std::exchange(state_->knows_link, true)) return;  // the protocol's start has seen that
  const Lifeline::Watch alive{lifeline_};
  const LinkInfo now = link;  // the watch may end below
  if (event == LinkEvent::moved) watch_link();
  // A deleted interface goes down first: the end of the port drops the queue then.
  if (event == LinkEvent::down && !state_->device.is_gone()) drop_queue(DropReason::link_down);
  if (!alive.alive()) return;
  guarded(&protocol(), [&] {
    protocol_->make_connection(*this);
    protocol_->link_changed(event, now);
  });
  if (!alive.alive()) return;
  if (const auto handler = state_->on_link_changed) guarded(nullptr, [&] { (*handler)(event, now); });
}

void TuntapPort::on_link_changed(LinkHandler handler) {
  state_->on_link_changed = handler ? std::make_shared<const LinkHandler>(std::move(handler)) : nullptr;
}

void TuntapPort::put_interface_back() noexcept try {
  const auto setup = std::exchange(state_->setup, nullptr);
  if (!setup) return;
  const Device& device = state_->device;
  const Capabilities& capabilities = device.capabilities();
  const bool stays = state_->is_given || capabilities.persistent || capabilities.multi_queue;
  if (!device || !stays)
    setup->keep_all();
  else if (const std::error_code left = setup->put_back(); left)
    log(LogLevel::warning, log_prefix(), "the interface could not be put back as it was: " + left.message());
} catch (...) {  // no memory for the line
}

void TuntapPort::close_device() noexcept {
  try {
    state_->drops = kernel_drops();
  } catch (const std::bad_alloc&) {  // the number of before
  }
  end_watch();
  state_->name.clear();
  put_interface_back();
  state_->device.close();
  state_->is_given = false;
}
int TuntapPort::fileno() const { return state_->device.fileno(); }
LinkInfo TuntapPort::link_info() const {
  std::error_code ec = Errc::not_listening;
  LinkInfo info;
  if (const Link link = state_->device ? state_->device.link(ec) : Link{}) info = link.info(ec);
  if (ec) info.name = get_host().name;
  return info;
}
std::size_t TuntapPort::mtu() const {
  if (state_->knows_link) return state_->mtu;
  const TimePoint now = reactor().now();
  if (state_->mtu_until <= now) {
    state_->mtu = state_->device ? link_info().mtu : 0;
    state_->mtu_until = now + std::chrono::seconds{1};
  }
  return state_->mtu;
}
std::uint64_t TuntapPort::kernel_drops() const {
  if (!state_->device || !options().device.netlink) return state_->drops;
  const LinkInfo link = link_info();
  return link.index == 0 ? state_->drops : link.tx_dropped - std::min(link.tx_dropped, state_->drops_before);
}
Device& TuntapPort::device() { return state_->device; }
const Device& TuntapPort::device() const { return state_->device; }
const tunport::Protocol& TuntapPort::protocol() const { return *protocol_; }
AnyOutbox& TuntapPort::outbox() const { return state_->outbox; }

[[gnu::always_inline]] inline void TuntapPort::deliver(const Packet& packet, const Burst& burst) {
  TUNPORT_PROBE(deliver, packet.size(), this);
  const auto hand_over = [&](const Packet& datagram) {
    protocol_->make_connection(*this);
    protocol_->frame_received(datagram);
  };
  try {
    accepts_super_packets_ ? hand_over(packet) : packet.for_each_plain(hand_over);
  } catch (...) {
    if (burst.alive()) note_exception();
  }
}

[[gnu::always_inline]] inline ssize_t TuntapPort::receive_packet(MutableBytes space, const Burst& burst) {
  Device& source = state_->device;
  const Capabilities& device = source.capabilities();
  const MutableBytes framed = space.subspan(headroom - device.framing);
  const ReadResult result = source.read_framed(framed);
  if (result.error != 0) {
    if (result.error == EINVAL) count_drop(statistics_, DropReason::bad_framing);  // the packet is lost
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
    // As `Device::offload_of`, inlined.
    const auto left = virtio_header::decode(framed.subspan(device.virtio_header_offset()), device.byte_order,
                                            framed.subspan(device.framing, result.size), device.kind, why);
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
  deliver(Packet{origin, truncated}, burst);
  return size;
}

int TuntapPort::receive_packets(Burst& burst) {
  return receive_each(burst, [&](MutableBytes space) { return receive_packet(space, burst); });
}

void TuntapPort::drop(DropReason reason, std::size_t datagrams) {
  count_drop(statistics_, reason, datagrams);
}

void TuntapPort::do_error() {
  if (state_->device && state_->device.is_gone()) finish(Errc::device_gone);
}

// Each function between a system call and its caller costs some 10 ns (docs/performance.md), so the outbox is
// inlined here.
WriteResult TuntapPort::write(Bytes datagram) { return state_->outbox.write({}, {.bytes = {&datagram, 1}}); }

WriteResult TuntapPort::write_sequence(std::span<const Bytes> parts) {
  return state_->outbox.write({}, {.bytes = parts});
}

WriteResult TuntapPort::forward(const Packet& packet) {
  Outbox<TunSink>& outbox = state_->outbox;
  if (packet.truncated()) return outbox.refuse(DropReason::truncated);
  PacketOrigin* const origin = packet.origin();
  if (origin == nullptr) return write(packet.bytes());
  if (origin->spent) return outbox.refuse(DropReason::bad_offload);
  if (packet.is_super_packet()) {
    if (origin->kind != kind_) return outbox.refuse(DropReason::bad_offload, packet.datagrams());
    // The kernel has verified the checksum, but takes super-packets only with the checksum left to fill.
    if (origin->left.checksum != ChecksumState::to_fill)
      if (const auto layout = find_layout(packet.bytes(), kind_))
        prepare_checksum(origin->bytes, *layout, origin->left);
  }
  const Bytes bytes = packet.bytes();
  // The burst's end flushes the ports of the burst's own reactor only, before the next read over the bytes.
  const bool stays = origin->reactor == &reactor();
  origin->referred_to |= stays && reactor().corked() && state_->sink.gathers();
  return outbox.write(
      origin->left,
      {.bytes = {&bytes, 1}, .has_headroom = true, .keep = stays ? Keep::reference : Keep::copy});
}

std::size_t TuntapPort::write_some_data(Bytes data, std::error_code& ec) {
  ec.clear();
  Outbox<TunSink>& outbox = state_->outbox;
  if (!listening() || !outbox.takes_writes())
    ec = Errc::not_listening;
  else if (const int error = outbox.write_once({}, {.bytes = {&data, 1}}); error != 0)
    ec = fate_of(error).code;
  return ec ? 0 : data.size();
}

void TuntapPort::receive(MutableBytes buffer, ReceiveHandler handler) {
  state_->operations.receive(protocol_, log_prefix(), buffer, std::move(handler));
}

Ticket TuntapPort::send(Bytes datagram, SendHandler handler) {
  const Lifeline::Watch watch{lifeline_};
  return state_->operations.send(reactor(), watch, std::move(handler), [&](Ticket ticket) {
    return state_->outbox.write({}, {.bytes = {&datagram, 1}}, ticket);
  });
}

void TuntapPort::cancel_receive() { state_->operations.cancel_receive(); }
void TuntapPort::cancel_send(Ticket ticket) { state_->operations.cancel_send(ticket); }
std::function<void()> TuntapPort::receive_canceller() const { return state_->operations.receive_canceller(); }
std::function<void()> TuntapPort::send_canceller(Ticket ticket) const {
  return state_->operations.send_canceller(ticket);
}

void TuntapPort::write_done(Ticket ticket, const std::error_code& ec) {
  state_->operations.send_done(ticket, ec);
}

TunnelAddress TuntapPort::get_host() const {
  if (!state_->name.empty()) return {kind_, state_->name};
  return {kind_, device() ? device().name() : name_};
}

void TuntapPort::connection_lost(const std::error_code& reason) {
  try {
    state_->operations.fail_receive(reason);
  } catch (const std::bad_alloc&) {  // the end aborts the receive
  }
  BasePort::connection_lost(reason);
}

Device TuntapPort::release_device() {
  finish({});  // takes the device off the reactor first
  end_watch();
  return std::exchange(state_->device, Device{});
}

std::string TuntapPort::subject() const {
  const std::string name = name_.empty() ? std::string{to_string(kind_)} : name_;
  return state_->wrong_part.empty() ? name : name + ": " + state_->wrong_part;
}

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
