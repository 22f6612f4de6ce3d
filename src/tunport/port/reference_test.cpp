// The members of the reference's port: a test for each, named after the member here. docs/twisted.md has the
// table; base_port_test.cpp tests the rules of the burst.

#include <limits>
#include <sstream>
#include <type_traits>

#include <fcntl.h>

#include "tunport/event/poll_reactor.hpp"
#include "tunport/port/udp_port.hpp"

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Reference : public PortTest {};

struct OnTap : EthernetFrameProtocol {
  void frame_received(const Packet&) override {}
};
struct OnTun : IpPacketProtocol {
  void frame_received(const Packet&) override {}
};

TEST_F(Reference, constructor) {
  EXPECT_EQ(make().options().max_packet_size, 65'600U);
  EXPECT_EQ(make().options().max_throughput, 256U * 1024);
  EXPECT_EQ(make({.max_packet_size = 2048, .system = kernel}).options().max_packet_size, 2048U);
  OnTap ethernet;
  const TuntapPort without_reactor{"tap1", ethernet, {.system = kernel}};
  EXPECT_EQ(&without_reactor.reactor(), &default_reactor());
  // The type of the protocol decides the kind of device.
  OnTun ip;
  EXPECT_EQ((TuntapPort{clock, "tap1", ethernet, {.system = kernel}}.kind()), DeviceKind::tap);
  EXPECT_EQ((TuntapPort{clock, "tun1", ip, {.system = kernel}}.kind()), DeviceKind::tun);
  EXPECT_FALSE((std::is_constructible_v<TuntapPort, Reactor&, std::string, FrameProtocol&, PortOptions>))
      << "a protocol for either kind needs a kind";
}

TEST_F(Reference, constructor_refuses_options_that_contradict_each_other) {
  EXPECT_THROW(make({.max_packet_size = 0, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.device = {.blocking = true}, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.max_throughput = 0, .system = kernel}), std::invalid_argument);
  constexpr std::size_t huge = std::numeric_limits<std::size_t>::max();
  EXPECT_THROW(make({.max_throughput = huge, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.queue_limit = huge, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(
      make({.max_packet_size = huge, .queue_limit = huge, .queue_high_mark = huge, .system = kernel}),
      std::invalid_argument);
  EXPECT_THROW(make({.queue_limit = 10, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.queue_low_mark = std::size_t{1} << 20, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.spin = std::chrono::nanoseconds{-1}, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.linger = std::chrono::seconds{-1}, .system = kernel}), std::invalid_argument);
  EXPECT_THROW(make({.queue_high_mark = 60'000, .queue_low_mark = 0, .system = kernel}),
               std::invalid_argument);
}

TEST_F(Reference, to_string) {
  make();
  EXPECT_EQ(to_string(*port), "<Recorder (TAP) on tap0, not listening>");
  port->start_listening();
  std::ostringstream out;
  out << *port;
  EXPECT_EQ(out.str(), "<Recorder (TAP) on tap0, listening>");
}

TEST_F(Reference, start_listening) {
  make().start_listening();
  EXPECT_TRUE(port->listening());
  EXPECT_TRUE(port->reading());
  EXPECT_FALSE(port->writing());
  EXPECT_EQ(protocol.starts, 1);
  try {
    port->start_listening();
    FAIL() << "the port was listening already";
  } catch (const CannotListenError& error) {
    EXPECT_EQ(error.code(), Errc::already_listening);
  }
  TuntapPort second{clock, DeviceKind::tap, "tap0", protocol, {.system = kernel}};
  try {
    second.start_listening();
    FAIL() << "the first port holds the device";
  } catch (const CannotListenError& error) {
    EXPECT_EQ(error.code(), Errc::device_held_here);
    EXPECT_THAT(error.what(), HasSubstr("tap0: this process has the device open already, "));
  }
  std::error_code ec;
  second.start_listening(ec);
  EXPECT_EQ(ec, Errc::device_held_here);
  EXPECT_EQ(second.fileno(), -1);
}

TEST_F(Reference, start_listening_again_after_a_completed_stop) {
  start().stop_listening();
  clock.run_ready();
  port->start_listening();
  interface().set_up(true);
  EXPECT_EQ(protocol.starts, 2);
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), 1U);
}

TEST_F(Reference, bind_device) {
  kernel.set_privileged(false);
  std::error_code ec;
  make().start_listening(ec);
  EXPECT_EQ(ec, Errc::not_permitted);
  EXPECT_EQ(port->fileno(), -1);
  EXPECT_EQ(protocol.starts, 0);
  EXPECT_THROW(interface(), std::out_of_range) << "nothing was created";
}

TEST_F(Reference, connect_to_protocol) {
  protocol.on_start = [&] { EXPECT_EQ(&protocol.transport(), port.get()); };
  make().start_listening();
  EXPECT_EQ(protocol.starts, 1);
}

TEST_F(Reference, connect_to_protocol_that_throws_leaves_nothing_open) {
  protocol.on_start = [] { throw std::runtime_error("not today"); };
  EXPECT_THROW(make().start_listening(), std::runtime_error);
  EXPECT_FALSE(port->listening());
  EXPECT_EQ(port->fileno(), -1);
  EXPECT_EQ(protocol.stops, 0);
  EXPECT_THROW(interface(), std::out_of_range) << "the device went with its descriptor";
  protocol.on_start = {};
  port->start_listening();
  EXPECT_TRUE(port->listening());
}

TEST_F(Reference, connect_to_protocol_may_pause_at_once) {
  protocol.on_start = [&] { port->pause_producing(); };
  start();
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, IsEmpty());
}

TEST_F(Reference, lose_connection) {
  start();
  interface().set_writable(false);
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_queued());
  port->lose_connection();
  port->lose_connection();
  EXPECT_FALSE(port->listening());
  EXPECT_FALSE(port->reading());
  clock.run_ready();
  EXPECT_THAT(lost, IsEmpty()) << "the end waits for the queue";
  auto behind = interface();
  behind.set_writable(true);
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_EQ(behind.collect().size(), 1U);
  EXPECT_EQ(protocol.stops, 1);
}

TEST_F(Reference, lose_connection_waits_for_a_registered_producer) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port->lose_connection();
  clock.run_ready();
  EXPECT_THAT(lost, IsEmpty());
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_sent()) << "the producer may finish";
  port->unregister_producer();
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_EQ(producer.said, "");
}

TEST_F(Reference, lose_connection_lingers_no_longer_than_asked) {
  start({.linger = 500ms, .system = kernel});
  port->register_producer(producer, ProducerKind::push);
  interface().set_writable(false);
  port->write(frame(1));
  port->lose_connection();
  clock.advance(499ms);
  EXPECT_THAT(lost, IsEmpty());
  clock.advance(1ms);
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_EQ(drops(DropReason::aborted), 1U);
  EXPECT_EQ(producer.said, "s");
}

TEST_F(Reference, stop_listening) {
  int completed = 0;
  make().stop_listening([&] { ++completed; });
  clock.run_ready();
  EXPECT_EQ(completed, 1) << "the port was closed";

  start();
  interface().set_writable(false);
  port->write(frame(1));
  port->stop_listening([&] { ++completed; });
  port->stop_listening([&] { ++completed; });
  EXPECT_EQ(completed, 1) << "not in the caller's stack";
  EXPECT_FALSE(port->listening());
  clock.run_ready();
  EXPECT_EQ(completed, 3);
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_EQ(drops(DropReason::aborted), 1U);
  EXPECT_EQ(protocol.stops, 1);
}

TEST_F(Reference, connection_lost) {
  start();
  port->register_producer(producer, ProducerKind::push);
  int number = port->fileno();
  protocol.on_stop = [&] {
    EXPECT_EQ(producer.said, "s") << "the producer first";
    EXPECT_EQ(port->fileno(), number) << "closed last";
  };
  interface().remove();
  EXPECT_THAT(lost, IsEmpty());
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(std::error_code{Errc::device_gone}));
  EXPECT_EQ(protocol.stops, 1);
  EXPECT_EQ(port->fileno(), -1);
  port->connection_lost({});
  clock.advance(1min);
  EXPECT_EQ(lost.size(), 1U) << "once";
}

TEST_F(Reference, connection_lost_stops_a_protocol_after_its_last_port) {
  TuntapPort other{clock, DeviceKind::tap, "tap1", protocol, {.system = kernel}};
  other.start_listening();
  start();
  EXPECT_EQ(protocol.starts, 1);
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(protocol.stops, 0);
  other.stop_listening();
  clock.run_ready();
  EXPECT_EQ(protocol.stops, 1);
}

TEST_F(Reference, fileno) {
  make();
  EXPECT_EQ(port->fileno(), -1);
  port->start_listening();
  EXPECT_GE(port->fileno(), 0);
  port->stop_listening();
  clock.run_ready();
  EXPECT_EQ(port->fileno(), -1);
}

TEST_F(Reference, do_read) {
  start();
  for (int i = 0; i < 3; ++i) interface().inject(frame(i));
  port->do_read();  // as a foreign loop does
  EXPECT_EQ(protocol.frames.size(), 3U);
  EXPECT_EQ(port->statistics().bursts, 1U);
  port->do_read();
  EXPECT_EQ(port->statistics().bursts, 1U) << "nothing there: no burst";
}

TEST_F(Reference, write) {
  start();
  EXPECT_EQ(port->write(frame(7)), WriteResult::make_sent());
  EXPECT_THAT(interface().collect(), ElementsAre(frame(7)));
  EXPECT_EQ(port->statistics().packets_out, 1U);
  EXPECT_EQ(port->statistics().bytes_out, 60U);
}

TEST_F(Reference, write_sequence) {
  start();
  const Buffer whole = frame(7, 100);
  const std::array<Bytes, 4> parts{Bytes{whole}.first(1), Bytes{}, Bytes{whole}.subspan(1, 13),
                                   Bytes{whole}.subspan(14)};
  EXPECT_EQ(port->write_sequence(parts), WriteResult::make_sent());
  EXPECT_THAT(interface().collect(), ElementsAre(whole)) << "one datagram";
  EXPECT_EQ(port->write_sequence({}), WriteResult::make_refused(DropReason::empty));
}

TEST_F(Reference, set_log_prefix) {
  start().set_log_prefix("the east gate");
  std::string who;
  set_log_sink([&](LogLevel, std::string_view says, std::string_view) { who = says; });
  protocol.on_frame = [](const Packet&) { throw std::runtime_error("no"); };
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_EQ(who, "the east gate");
}

TEST_F(Reference, log_prefix) {
  EXPECT_EQ(make().log_prefix(), "Recorder (TAP)");
  OnTun unnamed;
  EXPECT_EQ((TuntapPort{clock, "tun0", unnamed, {.system = kernel}}.log_prefix()), "OnTun (TUN)");
}

TEST_F(Reference, get_host) {
  TuntapPort numbered{clock, DeviceKind::tap, "tp%d", protocol, {.system = kernel}};
  EXPECT_EQ(numbered.get_host(), (TunnelAddress{DeviceKind::tap, "tp%d"}));
  numbered.start_listening();
  EXPECT_EQ(numbered.get_host(), (TunnelAddress{DeviceKind::tap, "tp0"})) << "the device's own name";
  EXPECT_NE(numbered.get_host(), (TunnelAddress{DeviceKind::tun, "tp0"}));
  std::ostringstream out;
  out << numbered.get_host();
  EXPECT_EQ(out.str(), "tap:tp0");
}

TEST_F(Reference, create_internet_socket) {
  HookedPort hooked{clock};
  const UniqueFd socket = hooked.create_internet_socket(AF_INET, SOCK_DGRAM);
  EXPECT_EQ(::fcntl(socket.get(), F_GETFL) & O_NONBLOCK, O_NONBLOCK);
  EXPECT_EQ(::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_THROW(hooked.create_internet_socket(-1, SOCK_DGRAM), Error);
}

TEST_F(Reference, do_write) {
  start();
  EXPECT_THROW(port->do_write(), std::logic_error) << "not asked for";
  interface().set_writable(false);
  for (int i = 0; i < 3; ++i) port->write(frame(i));
  EXPECT_TRUE(port->writing());
  interface().set_writable(true);
  port->do_write();
  EXPECT_THAT(numbers_written(), ElementsAre(0, 1, 2));
  EXPECT_FALSE(port->writing());
  EXPECT_THROW(port->do_write(), std::logic_error);
}

TEST_F(Reference, start_and_stop_are_shared_by_tuntap_and_udp_ports) {
  struct Silent : DatagramProtocol {
    void datagram_received(const Datagram&) override {}
  } silent;
  UdpPort udp{clock, {*IpAddress::parse("127.0.0.1"), 0}, silent, {.system = kernel}};
  make();
  for (BasePort* any : std::initializer_list<BasePort*>{port.get(), &udp}) {
    any->start_listening();
    EXPECT_TRUE(any->listening());
    int completed = 0;
    any->stop_listening([&] { ++completed; });
    clock.run_ready();
    EXPECT_EQ(completed, 1);
    EXPECT_EQ(any->fileno(), -1);
  }
}

TEST_F(Reference, ephemeral) {
  EXPECT_FALSE(std::is_copy_constructible_v<TuntapPort>);
  EXPECT_FALSE(std::is_move_constructible_v<TuntapPort>);
  EXPECT_FALSE(std::is_copy_assignable_v<TuntapPort>);
  EXPECT_FALSE(std::is_move_assignable_v<TuntapPort>);
  EXPECT_FALSE(std::is_copy_constructible_v<UdpPort>);
  EXPECT_FALSE(std::is_move_constructible_v<UdpPort>);
}

TEST_F(Reference, ephemeral_but_a_live_device_can_be_released_and_adopted) {
  start();
  interface().inject(frame(1));
  Device device = port->release_device();
  ASSERT_TRUE(device);
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
  EXPECT_THAT(protocol.frames, IsEmpty());

  std::error_code ec;
  device = Device::adopt(device.release(), {}, kernel, ec);
  ASSERT_FALSE(ec) << ec.message();
  Recorder heir;
  TuntapPort next{clock, std::move(device), heir, {.system = kernel}};
  next.start_listening();
  clock.run_ready();
  EXPECT_EQ(heir.frames.size(), 1U) << "not even a packet was lost";

  OnTun wrong;
  TuntapPort mistaken{clock, next.release_device(), wrong, {.system = kernel}};
  mistaken.start_listening(ec);
  EXPECT_EQ(ec, Errc::wrong_kind);
}

}  // namespace
}  // namespace tunport
