#include "tunport/port/completions.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/port/tuntap_port.hpp"

namespace tunport {

void Completions::receive(MutableBytes buffer, ReceiveHandler handler) {
  if (pending_.handler) throw std::logic_error(port_->log_prefix() + ": a receive is outstanding already");
  if (!port_->listening()) {
    port_->reactor().post([handler = std::move(handler)] { handler(Errc::not_listening, {}); });
    return;
  }
  pending_ = {buffer, std::move(handler)};
  port_->resume_producing();
}

void Completions::end_receive(const std::error_code& why) {
  const ReceiveHandler handler = std::exchange(pending_, {}).handler;
  if (!handler) return;
  port_->pause_producing();
  port_->reactor().post([handler, why] { handler(why, {}); });
}

void Completions::send_done(std::uint64_t ticket, const std::error_code& ec) {
  const auto found = sends_.find(ticket);
  if (found == sends_.end()) return;
  port_->reactor().post([handler = std::move(found->second), ec] { handler(ec); });
  sends_.erase(found);
}

void Completions::cancel_send(std::uint64_t ticket) { send_done(ticket, Errc::operation_aborted); }

void Completions::port_gone() {
  end_receive(Errc::operation_aborted);
  while (!sends_.empty()) send_done(sends_.begin()->first, Errc::operation_aborted);
  port_ = nullptr;
}

void Completions::start_protocol() { port_->pause_producing(); }

void Completions::frame_received(const Packet& packet) {
  const auto self = shared_from_this();  // the handler may destroy the port
  // Mostly the handler asks for the next one, and the burst goes on. Also if it throws.
  struct Pause {
    ~Pause() {
      if (of.port_ != nullptr && !of.pending_.handler) of.port_->pause_producing();
    }
    Completions& of;
  } const pause{*this};
  const auto [buffer, handler] = std::exchange(pending_, {});
  if (!handler) return transport().drop(DropReason::not_listening);  // somebody has the port read unasked
  const std::size_t size = std::min(buffer.size(), packet.size());
  std::ranges::copy(packet.bytes().first(size), buffer.begin());
  handler({}, Packet{buffer.first(size), packet.truncated() || size < packet.size()});
}

}  // namespace tunport
