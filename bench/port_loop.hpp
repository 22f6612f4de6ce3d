#pragma once
/// The port's side of every comparison: a port on Asio, with default options and a protocol.

#include <atomic>
#include <cerrno>

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include "tunport/base/error.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"

#include "harness.hpp"
#include "stage.hpp"

namespace tunport::bench {

/// A loop on Asio that ends with the stage.
class StageLoop {
 public:
  explicit StageLoop(const Stage& stage) : stage_{stage}, stop_{io_, stage.stop_fd()} {
    stop_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const asio::error_code&) { io_.stop(); });
  }
  ~StageLoop() { stop_.release(); }
  StageLoop(const StageLoop&) = delete;
  StageLoop& operator=(const StageLoop&) = delete;

  AsioReactor& reactor() { return reactor_; }
  /// Adds a port's drops and exceptions to the stage's page.
  void note_refused(const BasePort& port) const {
    const auto& statistics = port.statistics();
    stage_.page().refused += statistics.drops.total() + statistics.exceptions;
  }
  /// Runs until `interrupt`, or until the stage stops.
  void run() {
    io_.restart();
    io_.run();
  }
  /// Ends the present `run`, called in a callback.
  void interrupt() { io_.stop(); }

 private:
  const Stage& stage_;
  asio::io_context io_{1};
  AsioReactor reactor_{io_};
  asio::posix::stream_descriptor stop_;
};

/// A listening port, and its loop. The protocol is borrowed.
class PortLoop : public StageLoop {
 public:
  PortLoop(FrameProtocol& protocol, const Stage& stage, PortOptions options = {},
           DeviceKind kind = DeviceKind::tun)
      : StageLoop{stage}, port_{reactor(), kind, interface_name, protocol, std::move(options)} {
    port_.start_listening();
  }
  ~PortLoop() { note_refused(port_); }

  TuntapPort& port() { return port_; }

 private:
  TuntapPort port_;
};

/// Opens the device of a bare loop, with reads as long as the port's. Throws `Error`.
inline BareLoop open_bare(const Stage& stage, unsigned flags = 0, const char* name = interface_name) {
  const std::size_t size = (flags & bare_offload) != 0 ? bare_virtio_header + max_super_packet + 1
                                                       : PortOptions{}.max_packet_size + 1;
  BareLoop loop{};
  if (const int error = bare_open(&loop, name, stage.stop_fd(), size, flags); error != 0)
    throw Error{errno_code(error), name};
  return loop;
}

/// Throws `NotHere` on a kernel without UDP super-packets for TUN/TAP.
inline void need_uso() {
  static const bool has_uso =
      Device::open(DeviceKind::tun, interface_name, {.offload = OffloadFeatures::all()})
          .capabilities()
          .offload.uso;
  if (!has_uso) throw NotHere{"this kernel has no UDP super-packets for TUN/TAP (Linux 6.2 has)"};
}

}  // namespace tunport::bench
