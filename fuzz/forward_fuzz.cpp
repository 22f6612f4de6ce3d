// A port on the fake kernel forwards to two, a tee: pauses, links that go down,
// full devices and failing calls in between. At each exit a datagram comes out, or is counted with a reason
// (conservation), and none overtakes another.
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "tunport/base/log.hpp"
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
constexpr std::size_t number_size = 4;

/// Forwards whole packets, or datagram by datagram, to two ports.
class Tee : public FrameProtocol {
 public:
  Tee(bool whole, TuntapPort*& out, TuntapPort*& copy, TuntapPort*& self)
      : whole_{whole}, out_{out}, copy_{copy}, self_{self} {}
  bool accepts_super_packets() const override { return whole_; }
  void frame_received(const Packet& packet) override {
    seen += packet.datagrams();
    if (pause_in != 0 && --pause_in == 0) self_->pause_producing();
    out_->forward(packet);
    copy_->forward(packet);
  }
  std::uint64_t seen = 0;
  unsigned pause_in = 0;

 private:
  bool whole_;
  TuntapPort*& out_;
  TuntapPort*& copy_;
  TuntapPort*& self_;
};

class Sink : public FrameProtocol {
 public:
  void frame_received(const Packet&) override {}
};

class Scenario {
 public:
  explicit Scenario(bool whole) : tee_{whole, exits_[0].port, exits_[1].port, in_} {
    first_ =
        std::make_unique<TuntapPort>(clock_, DeviceKind::tun, "tun0", tee_, PortOptions{.system = kernel_});
    in_ = first_.get();
    for (std::size_t i = 0; i < exits_.size(); ++i) {
      ports_[i] = std::make_unique<TuntapPort>(clock_, DeviceKind::tun, exits_[i].name, sink_,
                                               PortOptions{.max_packet_size = 2000,
                                                           .queue_limit = 20'000,
                                                           .queue_high_mark = 10'000,
                                                           .queue_low_mark = 5'000,
                                                           .system = kernel_});
      exits_[i].port = ports_[i].get();
      exits_[i].port->start_listening();
      kernel_.tunnel(exits_[i].name).set_up(true);
    }
    in_->start_listening();
    kernel_.tunnel("tun0").set_up(true);
  }

  void step(fuzz::Input& input) {
    constexpr std::array errors{EAGAIN, ENOBUFS, EIO, EINVAL, EINTR, ENOMEM, EMSGSIZE};
    const std::uint8_t choice = input.u8();
    switch (choice % 10) {
      case 0:
      case 1:
        send(1);
        break;
      case 2:
        send(1U + input.u8() % 40U);
        break;
      case 3:
        kernel_.fail_next(Call::write, errors[input.u8() % errors.size()], 1U + input.u8() % 4U);
        break;
      case 4:
        kernel_.fail_next(Call::read, EAGAIN, 1);
        break;
      case 5:
        tee_.pause_in = input.u8() % 8U;
        break;
      case 6:
        in_->resume_producing();
        break;
      case 7:
        kernel_.tunnel(exits_[(choice >> 5) & 1U].name).set_writable((choice & 16) != 0);
        break;
      case 8:
        kernel_.tunnel(exits_[(choice >> 5) & 1U].name).set_up((choice & 16) != 0);
        break;
      default:
        clock_.advance(std::chrono::milliseconds{input.u8()});
    }
    if ((choice & 128) != 0) clock_.run_ready();
    check_order();
  }

  /// Lets everything run out, and checks the sums.
  void finish() {
    tee_.pause_in = 0;
    for (const Exit& exit : exits_) {
      kernel_.tunnel(exit.name).set_up(true);
      kernel_.tunnel(exit.name).set_writable(true);
    }
    in_->resume_producing();
    clock_.advance(std::chrono::seconds{2});
    check_order();
    const Statistics& in = in_->statistics();
    require(kernel_.tunnel("tun0").waiting() == 0);
    require(in.packets_in == injected_ && tee_.seen == injected_);
    require(in.drops.total() == 0);
    for (const Exit& exit : exits_) {
      const Statistics& out = exit.port->statistics();
      require(exit.port->queued_bytes() == 0 && out.packets_out == exit.delivered);
      require(injected_ == out.packets_out + out.drops.total());
    }
  }

 private:
  void send(std::size_t datagrams) {
    Buffer payload(datagrams * number_size);
    for (std::size_t i = 0; i < datagrams; ++i) store_be32(MutableBytes{payload}, i * number_size, next_++);
    const Buffer packet = shapes::super_packet(udp, payload);
    const PacketOffload offload = datagrams > 1 ? shapes::offload_of(udp, number_size) : PacketOffload{};
    // The ring may be full: the kernel drops and counts.
    if (kernel_.tunnel("tun0").waiting() < 400 && kernel_.tunnel("tun0").inject(packet, offload))
      injected_ += datagrams;
  }

  /// What came out so far, in the order in which it was sent.
  void check_order() {
    for (Exit& exit : exits_)
      for (const auto& packet : kernel_.tunnel(exit.name).collect_datagrams()) {
        require(packet.size() == udp.header_length() + number_size);
        const std::uint32_t number = load_be32(packet, udp.header_length());
        require(number >= exit.expected);
        exit.expected = number + 1;
        ++exit.delivered;
      }
  }

  /// A port at which datagrams come out.
  struct Exit {
    const char* name;
    TuntapPort* port = nullptr;
    std::uint32_t expected = 0;
    std::uint64_t delivered = 0;
  };

  MemorySystem kernel_;
  ManualReactor clock_;
  TuntapPort* in_ = nullptr;
  std::array<Exit, 2> exits_{Exit{"tun1"}, Exit{"tun2"}};
  Tee tee_;
  Sink sink_;
  std::unique_ptr<TuntapPort> first_;
  std::array<std::unique_ptr<TuntapPort>, 2> ports_;
  std::uint32_t next_ = 0;
  std::uint64_t injected_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  set_log_sink([](LogLevel, std::string_view, std::string_view) {});
  Scenario scenario{(input.u8() & 1) != 0};
  for (int steps = 0; steps < 200 && !input.empty(); ++steps) scenario.step(input);
  scenario.finish();
  set_log_sink({});
  return 0;
}
