#pragma once
/// Single receives, each with a handler of its own: the interior of `async_receive`. Needs no Asio;
/// `asio_completion.hpp` puts completion tokens on top.

#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/offload/segmenter_internal.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"

namespace tunport {

/// The protocol of a port made without a protocol. The port is paused while no receive is outstanding. A
/// super-packet or a run is taken whole, and copied (`Kept`): receives take its datagrams one by one, and the
/// port reads on behind the last datagram.
template <class Port, class Kept>
class Completions : public Port::Protocol, public std::enable_shared_from_this<Completions<Port, Kept>> {
 public:
  using Received = typename Port::Received;
  using ReceiveHandler = typename Port::ReceiveHandler;

  explicit Completions(Port& port) : port_{&port} {}

  /// As the port's `receive`.
  void receive(MutableBytes buffer, ReceiveHandler handler);
  /// Has the reactor call the handler with `operation_aborted`. No effect without an outstanding receive.
  void cancel_receive() { end_receive(Errc::operation_aborted); }
  /// Has the reactor call the handler with `why`, the reason of the port's end.
  void fail_receive(const std::error_code& why) { end_receive(why); }
  /// Aborts the outstanding receive: the port is being destroyed.
  void port_gone() {
    end_receive(Errc::operation_aborted);
    port_ = nullptr;
  }

  void start_protocol() override { port_->pause_producing(); }
  void stop_protocol() override;
  bool accepts_super_packets() const override { return true; }
  std::string name() const override { return "Completions"; }

 protected:
  /// Takes what the port delivers: `take_one(received)`, or `keep(kept)` for several datagrams. `several`:
  /// the datagrams of a delivery of many, 1 otherwise.
  template <class TakeOne, class Keep>
  void take(std::size_t datagrams, bool several, TakeOne take_one, Keep keep);
  /// Gives a datagram to the outstanding receive.
  void give(const Received& datagram);

 private:
  struct Pending {
    MutableBytes buffer;
    ReceiveHandler handler;
  };

  bool has_kept() const { return kept_ && kept_->left() != 0; }
  void give_kept();
  void end_receive(const std::error_code& why);

  Port* port_;
  Pending pending_;
  std::unique_ptr<Kept> kept_;  // allocated with the first delivery of several datagrams
};

/// A super-packet being received datagram by datagram.
class KeptPacket {
 public:
  void keep(const PacketOrigin& packet);
  std::size_t left() const { return segmenter_.done() ? 0 : segmenter_.remaining(); }
  Packet next() { return Packet{segmenter_.next_in_place(ChecksumState::verified)}; }
  void drop() { segmenter_.reset(); }

 private:
  std::unique_ptr<std::byte[]> bytes_ = std::make_unique_for_overwrite<std::byte[]>(max_super_packet);
  Segmenter segmenter_;
};

/// A run being received datagram by datagram.
class KeptRun {
 public:
  void keep(const Datagrams& run);
  std::size_t left() const { return run_.size() - next_; }
  Datagram next() { return run_[next_++]; }
  void drop() { next_ = run_.size(); }

 private:
  std::unique_ptr<std::byte[]> bytes_ = std::make_unique_for_overwrite<std::byte[]>(max_super_packet);
  Datagrams run_;
  std::size_t next_ = 1;  // a run without bytes is one datagram
};

/// For tunnel ports.
class PacketCompletions final : public Completions<TuntapPort, KeptPacket> {
 public:
  using Completions::Completions;
  void frame_received(const Packet& packet) override;
};

/// For UDP ports.
class DatagramCompletions final : public Completions<UdpPort, KeptRun> {
 public:
  using Completions::Completions;
  void datagram_received(const Datagram& datagram) override;
  void datagrams_received(const Datagrams& run) override;
};

}  // namespace tunport
