// Any call of a port from any of its callbacks, the destruction included, on a reactor of ours and on Asio.
// Nothing is touched after its end (the sanitizer sees it), the loop does not spin, and each start of the
// protocol has one stop.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include <asio/io_context.hpp>

#include "tunport/base/log.hpp"
#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

#include "input.hpp"
#include "support/shape.hpp"

namespace {

using namespace tunport;
using fuzz::require;
using shapes::Buffer;

constexpr shapes::Shape udp{.protocol = ip_protocol::udp};

/// A port, and everything that may be called.
class World : public FrameProtocol, public Producer {
 public:
  World(Reactor& reactor, fuzz::Input& input, bool whole) : reactor_{reactor}, input_{input}, whole_{whole} {
    make();
  }
  ~World() override {
    quiet_ = true;
    port_.reset();
    require(starts_ == stops_);
  }

  bool accepts_super_packets() const override { return whole_; }
  void start_protocol() override {
    ++starts_;
    const int before = stops_;
    try {
      act("start");
    } catch (...) {
      if (stops_ == before) --starts_;  // the start failed: it has no stop, unless a stop came within
      throw;
    }
  }
  void stop_protocol() override {
    ++stops_;
    act("stop");
  }
  void frame_received(const Packet& packet) override {
    struct Borrowed {
      ~Borrowed() { place = nullptr; }  // also after an exception
      const Packet*& place;
    } const borrowed{packet_};
    packet_ = &packet;
    act("frame");
  }
  void pause_producing() override { act("pause"); }
  void resume_producing() override { act("resume"); }
  void stop_producing() override { act("stop producing"); }

  /// One call from outside.
  void step() {
    kernel_sends();
    act("outside");
  }

 private:
  void make() {
    port_ = std::make_unique<TuntapPort>(
        reactor_, DeviceKind::tun, "tun0", *this,
        PortOptions{
            .queue_limit = 70'000, .queue_high_mark = 66'000, .queue_low_mark = 1'000, .system = kernel_});
    port_->on_connection_lost([this](const std::error_code&) { act("lost"); });
  }

  void kernel_sends() {
    if (!kernel_.links().find("tun0", ignored_)) return;
    MemorySystem::Tunnel interface = kernel_.tunnel("tun0");
    const std::uint8_t choice = input_.u8();
    if ((choice & 3) != 0) interface.set_up((choice & 3) != 1);
    if ((choice & 4) != 0) interface.inject(shapes::super_packet(udp, Buffer(8)));
    if ((choice & 8) != 0)
      interface.inject(shapes::super_packet(udp, Buffer(40)), shapes::offload_of(udp, 8));
    if ((choice & 16) != 0) interface.set_writable((choice & 32) != 0);
    if ((choice & 64) != 0) kernel_.fail_next(Call::write, (choice & 128) != 0 ? EAGAIN : EIO, 2);
    if (choice == 0xff) interface.remove();
    interface.collect();
  }

  void act(const char*) {
    if (quiet_ || depth_ > 6 || input_.empty()) return;
    ++depth_;
    const std::uint8_t choice = input_.u8();
    try {
      choose(choice);
    } catch (const Error&) {
    } catch (const std::logic_error&) {
    }
    --depth_;
    if (choice == 0xfe) throw std::runtime_error("from a callback");
  }

  void choose(std::uint8_t choice) {
    const Buffer datagram = shapes::super_packet(udp, Buffer(100));
    if (!port_) {
      if ((choice & 1) != 0) make();
      return;
    }
    TuntapPort& port = *port_;
    switch (choice % 20) {
      case 0:
        return port.start_listening();
      case 1:
        return port.stop_listening([this] { act("stopped"); });
      case 2:
        return port.lose_connection();
      case 3:
        return port.lose_write_connection();
      case 4:
        return port.pause_producing();
      case 5:
        return port.resume_producing();
      case 6:
        for (int i = 0; i < 5 && port_; ++i) port_->write(datagram);
        return;
      case 7:
        if (packet_ != nullptr && !packet_->is_port_gone()) port.forward(*packet_);
        return;
      case 8:
        return port.register_producer(*this, (choice & 64) != 0 ? ProducerKind::push : ProducerKind::pull);
      case 9:
        return port.unregister_producer();
      case 10:
        port.send(datagram, [this](const std::error_code&) { act("sent"); });
        return;
      case 11:
        // From inside a burst or not: the packet's origin outlives the port.
        return port_.reset();
      case 12:
        port.release_device();
        return;
      case 13:
        return port.flush();
      case 14:
        return port.do_read();
      case 15:
        return port.do_write();
      case 16:
        return port.do_error();
      case 17:
        reactor_.post([this] { act("posted"); });
        return;
      case 18: {
        const Cork cork{reactor_};
        for (int i = 0; i < 3 && port_; ++i) port_->write(datagram);
        return;
      }
      default:
        port.connection_lost({});
    }
  }

  MemorySystem kernel_;
  Reactor& reactor_;
  fuzz::Input& input_;
  bool whole_;
  bool quiet_ = false;
  int depth_ = 0;
  int starts_ = 0;
  int stops_ = 0;
  std::error_code ignored_;
  const Packet* packet_ = nullptr;
  std::unique_ptr<TuntapPort> port_;
};

template <class Turn>
void play(Reactor& reactor, fuzz::Input& input, Turn turn) {
  World world{reactor, input, (input.u8() & 1) != 0};
  const auto guarded = [&](auto call) {
    try {
      call();
    } catch (const std::runtime_error&) {  // of a callback that the reactor calls
    }
  };
  for (int steps = 0; steps < 60 && !input.empty(); ++steps) {
    guarded([&] { world.step(); });
    guarded(turn);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  set_log_sink([](LogLevel, std::string_view, std::string_view) {});
  if ((input.u8() & 1) != 0) {
    ManualReactor clock;
    play(clock, input, [&] { clock.advance(std::chrono::milliseconds{50}); });
  } else {
    asio::io_context io;
    AsioReactor reactor{io};
    play(reactor, input, [&] {
      io.restart();
      for (int turns = 0; turns < 1000 && io.poll_one() != 0; ++turns) {
      }
    });
  }
  set_log_sink({});
  return 0;
}
