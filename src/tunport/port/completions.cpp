#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/port/completions_internal.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport {

void Completions::receive(MutableBytes buffer, ReceiveHandler handler) {
  if (pending_.handler) throw std::logic_error(port_->log_prefix() + ": a receive is outstanding already");
  if (!port_->listening()) {
    port_->reactor().post([handler = std::move(handler)] { handler(Errc::not_listening, {}); });
    return;
  }
  pending_ = {buffer, std::move(handler)};
  if (!has_kept()) return port_->resume_producing();
  port_->reactor().post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->give_kept();
  });
}

void Completions::end_receive(const std::error_code& why) {
  const ReceiveHandler handler = std::exchange(pending_, {}).handler;
  if (!handler) return;
  port_->pause_producing();
  port_->reactor().post([handler, why] { handler(why, {}); });
}

void Completions::send_done(Ticket ticket, const std::error_code& ec) {
  const auto found = sends_.find(ticket);
  if (found == sends_.end()) return;
  port_->reactor().post([handler = std::move(found->second), ec] { handler(ec); });
  sends_.erase(found);
}

void Completions::cancel_send(Ticket ticket) { send_done(ticket, Errc::operation_aborted); }

void Completions::port_gone() {
  end_receive(Errc::operation_aborted);
  while (!sends_.empty()) send_done(sends_.begin()->first, Errc::operation_aborted);
  port_ = nullptr;
}

void Completions::start_protocol() { port_->pause_producing(); }

void Completions::stop_protocol() {
  if (has_kept()) {
    transport().drop(DropReason::aborted, kept_->segmenter.remaining());
    kept_->segmenter.reset();
  }
  end_receive(Errc::operation_aborted);
}

void Completions::frame_received(const Packet& packet) {
  const auto self = shared_from_this();  // the handler may destroy the port
  // Usually the handler starts the next receive, and the burst goes on. Pause otherwise, also if the handler
  // throws.
  struct Pause {
    ~Pause() {
      if (of.port_ != nullptr && (!of.pending_.handler || of.has_kept())) of.port_->pause_producing();
    }
    Completions& of;
  } const pause{*this};
  // After `resume_producing` from elsewhere the port reads without a receive.
  if (!pending_.handler || has_kept()) return transport().drop(DropReason::not_listening, packet.datagrams());
  if (packet.is_super_packet()) {
    keep(*packet.origin());
    return give_kept();
  }
  packet.for_each_plain([this](const Packet& plain) { give(plain.bytes(), plain.truncated()); });
}

void Completions::keep(const PacketOrigin& packet) {
  if (!kept_) kept_ = std::make_unique<Kept>();
  const MutableBytes copy{kept_->bytes.get(), std::min(packet.bytes.size(), max_super_packet)};
  std::ranges::copy(packet.bytes.first(copy.size()), copy.begin());
  kept_->segmenter.start(copy, packet.left, packet.kind);
}

void Completions::give(Bytes datagram, bool truncated) {
  const auto [buffer, handler] = std::exchange(pending_, {});
  const std::size_t size = std::min(buffer.size(), datagram.size());
  std::ranges::copy(datagram.first(size), buffer.begin());
  handler({}, Packet{buffer.first(size), truncated || size < datagram.size()});
}

void Completions::give_kept() {
  const auto self = shared_from_this();
  while (pending_.handler && has_kept()) give(kept_->segmenter.next_in_place(ChecksumState::verified), false);
  if (port_ != nullptr && pending_.handler) port_->resume_producing();
}

}  // namespace tunport
