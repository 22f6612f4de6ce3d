#include <algorithm>

#include "tunport/port/completions_internal.hpp"

namespace tunport {
namespace {

void count(FrameTransport& transport, DropReason reason, std::size_t datagrams) {
  transport.drop(reason, datagrams);
}
void count(DatagramTransport& transport, DropReason reason, std::size_t datagrams) {
  for (std::size_t i = 0; i < datagrams; ++i) transport.drop(reason);
}

Bytes bytes_of(const Packet& packet) { return packet.bytes(); }
Bytes bytes_of(const Datagram& datagram) { return datagram.data; }

/// The datagram in the receiver's buffer.
Packet received_into(Bytes copy, const Packet& packet) {
  return Packet{copy, packet.truncated() || copy.size() < packet.size()};
}
Datagram received_into(Bytes copy, Datagram datagram) {
  datagram.truncated = copy.size() < datagram.data.size();
  datagram.data = copy;
  return datagram;
}

}  // namespace

template <class Port, class Kept>
void Completions<Port, Kept>::receive(MutableBytes buffer, ReceiveHandler handler) {
  if (pending_.handler) throw std::logic_error(port_->log_prefix() + ": a receive is outstanding already");
  if (!port_->listening()) {
    port_->reactor().post([handler = std::move(handler)] { handler(Errc::not_listening, {}); });
    return;
  }
  pending_ = {buffer, std::move(handler)};
  if (!has_kept()) return port_->resume_producing();
  port_->reactor().post([weak = this->weak_from_this()] {
    if (const auto self = weak.lock()) self->give_kept();
  });
}

template <class Port, class Kept>
void Completions<Port, Kept>::end_receive(const std::error_code& why) {
  if (!pending_.handler) return;
  port_->pause_producing();
  port_->reactor().post([handler = pending_.handler, why] { handler(why, {}); });
  pending_ = {};  // after the post, which may have no memory
}

template <class Port, class Kept>
void Completions<Port, Kept>::stop_protocol() {
  if (has_kept()) {
    count(this->transport(), DropReason::aborted, kept_->left());
    kept_->drop();
  }
  end_receive(Errc::operation_aborted);
}

template <class Port, class Kept>
template <class TakeOne, class Keep>
void Completions<Port, Kept>::take(std::size_t datagrams, bool several, TakeOne take_one, Keep keep) {
  const auto self = this->shared_from_this();  // the handler may destroy the port
  // Usually the handler starts the next receive, and the burst goes on. Pause otherwise, also if the handler
  // throws.
  struct Pause {
    ~Pause() {
      if (of.port_ != nullptr && (!of.pending_.handler || of.has_kept())) of.port_->pause_producing();
    }
    Completions& of;
  } const pause{*this};
  // After `resume_producing` from elsewhere the port reads without a receive.
  if (!pending_.handler || has_kept()) return count(this->transport(), DropReason::not_listening, datagrams);
  if (!several) return take_one();
  if (!kept_) kept_ = std::make_unique<Kept>();
  keep(*kept_);
  give_kept();
}

template <class Port, class Kept>
void Completions<Port, Kept>::give(const Received& datagram) {
  const auto [buffer, handler] = std::exchange(pending_, {});
  const Bytes bytes = bytes_of(datagram);
  const std::size_t size = std::min(buffer.size(), bytes.size());
  std::ranges::copy(bytes.first(size), buffer.begin());
  handler({}, received_into(buffer.first(size), datagram));
}

template <class Port, class Kept>
void Completions<Port, Kept>::give_kept() {
  const auto self = this->shared_from_this();
  while (pending_.handler && has_kept()) give(kept_->next());
  if (port_ != nullptr && pending_.handler) port_->resume_producing();
}

void KeptPacket::keep(const PacketOrigin& packet) {
  const MutableBytes copy{bytes_.get(), std::min(packet.bytes.size(), max_super_packet)};
  std::ranges::copy(packet.bytes.first(copy.size()), copy.begin());
  segmenter_.start(copy, packet.left, packet.kind);
}

void KeptRun::keep(const Datagrams& run) {
  const MutableBytes copy{bytes_.get(), std::min(run.bytes.size(), max_super_packet)};
  std::ranges::copy(run.bytes.first(copy.size()), copy.begin());
  run_ = run;
  run_.bytes = copy;
  next_ = 0;
}

void PacketCompletions::frame_received(const Packet& packet) {
  take(
      packet.datagrams(), packet.is_super_packet(),
      [&] { packet.for_each_plain([this](const Packet& plain) { give(plain); }); },
      [&](KeptPacket& kept) { kept.keep(*packet.origin()); });
}

void DatagramCompletions::datagram_received(const Datagram& datagram) {
  take(
      1, false, [&] { give(datagram); }, [](KeptRun&) {});
}

void DatagramCompletions::datagrams_received(const Datagrams& run) {
  if (run.size() == 1) return datagram_received(run[0]);
  take(
      run.size(), true, [] {}, [&](KeptRun& kept) { kept.keep(run); });
}

template class Completions<TuntapPort, KeptPacket>;
template class Completions<UdpPort, KeptRun>;

}  // namespace tunport
