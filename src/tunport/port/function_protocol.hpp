#pragma once
/// Protocols made of a function: for a few lines between two ports.
///
///     tunport::TuntapPort a{reactor, tunport::DeviceKind::tap, "tap0"};
///     tunport::TuntapPort b{reactor, tunport::DeviceKind::tap, "tap1"};
///     a.on_frame([&](const tunport::Packet& frame) { b.forward(frame); }, tunport::PacketForm::whole);
///     b.on_frame([&](const tunport::Packet& frame) { a.forward(frame); }, tunport::PacketForm::whole);

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "tunport/port/protocol.hpp"

namespace tunport {

/// The form in which a function takes packets.
enum class PacketForm : std::uint8_t {
  plain,  ///< plain datagrams: those of a super-packet in turn
  whole,  ///< as the kernel gives them: super-packets, checksums left to fill
};

/// Calls a function with each packet of a port: `call(packet)` or `call(packet, transport)`.
template <class Call>
class OnFrame final : public FrameProtocol {
 public:
  OnFrame(Call call, PacketForm how) : call_{std::move(call)}, how_{how} {}
  bool accepts_super_packets() const override { return how_ == PacketForm::whole; }
  void frame_received(const Packet& packet) override {
    if constexpr (std::is_invocable_v<Call&, const Packet&, FrameTransport&>)
      call_(packet, transport());
    else
      call_(packet);
  }
  std::string name() const override { return "on_frame"; }

 private:
  Call call_;
  PacketForm how_;
};

/// A protocol of `call`, for a port of either kind. Outlives its ports.
template <class Call>
OnFrame<Call> on_frame(Call call, PacketForm how = PacketForm::plain) {
  return {std::move(call), how};
}

/// Calls a function with each datagram, or with each run: `call(datagram)` or `call(datagram, transport)`.
template <class Call>
class OnDatagram final : public DatagramProtocol {
  template <class Received>
  static constexpr bool takes =
      std::is_invocable_v<Call&, Received> || std::is_invocable_v<Call&, Received, DatagramTransport&>;
  static constexpr bool takes_runs = takes<const Datagrams&>;
  static_assert(takes_runs || takes<const Datagram&>,
                "on_datagram: the function takes a const Datagram& or a const Datagrams&");

 public:
  explicit OnDatagram(Call call) : call_{std::move(call)} {}
  bool accepts_super_packets() const override { return takes_runs; }
  void datagram_received(const Datagram& datagram) override {
    if constexpr (takes_runs)
      run(Datagrams{datagram.data, std::max<std::size_t>(datagram.data.size(), 1), datagram.from, datagram.to,
                    datagram.to_group, datagram.traffic_class});
    else
      run(datagram);
  }
  void datagrams_received(const Datagrams& datagrams) override {
    if constexpr (takes_runs)
      run(datagrams);
    else
      DatagramProtocol::datagrams_received(datagrams);
  }
  std::string name() const override { return "on_datagram"; }

 private:
  template <class Received>
  void run(const Received& received) {
    if constexpr (std::is_invocable_v<Call&, const Received&, DatagramTransport&>)
      call_(received, transport());
    else
      call_(received);
  }

  Call call_;
};

/// A protocol of `call`, which takes a `const Datagram&`, or whole runs as `const Datagrams&`. Outlives its
/// ports.
template <class Call>
OnDatagram<Call> on_datagram(Call call) {
  return OnDatagram<Call>{std::move(call)};
}

}  // namespace tunport
