#pragma once
/// The kit of port tests.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/base/log.hpp"
#include "tunport/port/outbox_internal.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

namespace tunport::port_test {

using Buffer = packets::Buffer;

/// A copy of borrowed bytes.
inline Buffer copy(Bytes bytes) { return {bytes.begin(), bytes.end()}; }
/// A frame with a number in its payload.
inline Buffer frame(int number, std::size_t size = 60) {
  Buffer bytes(size);
  store_be16(bytes, 12, 0x88b5);  // for local experiments (IEEE 802)
  store_be16(bytes, 14, static_cast<std::uint16_t>(number));
  return bytes;
}
/// The number in a frame of `frame`.
inline int number_of(Bytes bytes) { return load_be16(bytes, 14); }

/// Records frames, starts and stops; calls a hook for each, if set.
class Recorder : public FrameProtocol {
 public:
  void start_protocol() override {
    ++starts;
    if (on_start) on_start();
  }
  void stop_protocol() override {
    ++stops;
    if (on_stop) on_stop();
  }
  void frame_received(const Packet& packet) override {
    frames.push_back(copy(packet.bytes()));
    truncated = packet.truncated();
    if (on_frame) on_frame(packet);
  }
  std::string name() const override { return "Recorder"; }

  int starts = 0;
  int stops = 0;
  bool truncated = false;
  std::vector<Buffer> frames;
  std::function<void()> on_start;
  std::function<void()> on_stop;
  std::function<void(const Packet&)> on_frame;
};

/// A producer that records its calls; calls a hook for each, if set.
class RecordingProducer : public Producer {
 public:
  void resume_producing() override {
    said += 'r';
    if (on_resume) on_resume();
  }
  void pause_producing() override {
    said += 'p';
    if (on_pause) on_pause();
  }
  void stop_producing() override {
    said += 's';
    if (on_stop) on_stop();
  }

  std::string said;
  std::function<void()> on_resume;
  std::function<void()> on_pause;
  std::function<void()> on_stop;
};

/// A sink that answers each write with `error`, or zero.
struct NextSink {
  using Tag = char;
  std::optional<DropReason> objection(const char&, const Parts&) const { return std::nullopt; }
  bool gathers() const { return false; }
  bool has_gathered() const { return false; }
  bool gather(const char&, const Parts&) { return false; }
  template <class Call>
  void give(const bool& /*ready*/, Call) {}
  int write(const char&, const Parts&) { return error; }
  std::size_t datagrams(const char&, std::size_t) const { return 1; }
  std::size_t done() const { return 0; }
  void forget() {}
  int error = 0;
};

/// A port that records the calls of its hooks.
class HookedPort : public BasePort {
 public:
  explicit HookedPort(Reactor& reactor) : BasePort{reactor, {}} {}
  int fileno() const override { return fd.get(); }
  void do_error() override {}
  void connection_lost(const std::error_code& reason) override {
    reasons.push_back(reason);
    BasePort::connection_lost(reason);
  }

  std::size_t write_some_data(Bytes /*data*/, std::error_code& /*ec*/) override { return 0; }

  WriteResult write(Bytes data) { return outbox_.write({}, {.bytes = {&data, 1}}); }

  UniqueFd fd;
  std::string said;
  std::vector<std::error_code> reasons;
  NextSink sink;

 private:
  std::size_t bind_device(std::error_code& /*ec*/) override {
    fd.reset(::open("/dev/null", O_RDWR | O_CLOEXEC));
    return options().max_packet_size;
  }
  void close_device() noexcept override { fd.reset(); }
  void connect_to_protocol() override { said += "connect "; }
  void disconnect_protocol() override { said += "disconnect "; }
  const Protocol& protocol() const override { return recorder_; }
  int receive_packets(Burst& /*burst*/) override { return EAGAIN; }
  AnyOutbox& outbox() const override { return outbox_; }
  std::string subject() const override { return "hooked"; }
  void post_lose_connection() override { said += "post_lose_connection "; }
  void close_write_connection() override { said += "close_write_connection "; }

  Recorder recorder_;
  mutable Outbox<NextSink> outbox_{sink, *this, reactor(), statistics_, 1'000'000, 65'600};
};

/// A TAP port on the fake kernel, in virtual time; its interface is up after `start`.
class PortTest : public testing::Test {
 protected:
  ~PortTest() override { set_log_sink({}); }

  TuntapPort& make(PortOptions options) {
    port = std::make_unique<TuntapPort>(clock, DeviceKind::tap, "tap0", protocol, std::move(options));
    port->on_connection_lost([this](const std::error_code& reason) { lost.push_back(reason); });
    return *port;
  }
  TuntapPort& make() { return make({.system = kernel}); }
  TuntapPort& start(PortOptions options) {
    make(std::move(options)).start_listening();
    interface().set_up(true);
    return *port;
  }
  TuntapPort& start() { return start({.system = kernel}); }
  MemorySystem::Tunnel interface() { return kernel.tunnel("tap0"); }
  std::vector<int> numbers_written() {
    std::vector<int> numbers;
    for (const Buffer& written : interface().collect()) numbers.push_back(number_of(written));
    return numbers;
  }
  std::uint64_t drops(DropReason reason) const { return port->statistics().drops[reason]; }

  MemorySystem kernel;
  ManualReactor clock;
  Recorder protocol;
  RecordingProducer producer;
  std::unique_ptr<TuntapPort> port;
  std::vector<std::error_code> lost;
};

}  // namespace tunport::port_test
