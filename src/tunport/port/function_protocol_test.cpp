#include "tunport/port/function_protocol.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

namespace tunport {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

TEST(OnFrame, TwoPortsThatNeedEachOther) {
  MemorySystem kernel;
  ManualReactor clock;
  TuntapPort a{clock, DeviceKind::tap, "tap0", {.system = kernel}};
  TuntapPort b{clock, DeviceKind::tap, "tap1", {.system = kernel}};
  a.on_frame([&](const Packet& frame) { b.forward(frame); }, PacketForm::whole);
  b.on_frame([&](const Packet& frame) { a.forward(frame); }, PacketForm::whole);
  for (TuntapPort* const port : {&a, &b}) port->start_listening();
  for (const char* name : {"tap0", "tap1"}) kernel.tunnel(name).set_up(true);
  const auto frame = packets::ethernet({}, packets::udp("10.0.0.1:40000", "10.0.0.2:42", "hello"));
  kernel.tunnel("tap0").inject(frame);
  clock.run_ready();
  EXPECT_THAT(kernel.tunnel("tap1").collect(), ElementsAre(frame));
  kernel.tunnel("tap1").inject(frame);
  clock.run_ready();
  EXPECT_THAT(kernel.tunnel("tap0").collect(), ElementsAre(frame));
  EXPECT_THROW(a.on_frame([](const Packet&) {}), std::logic_error);
  EXPECT_THROW(a.receive({}, {}), std::logic_error) << "the packets go to the protocol";
}

TEST(OnFrame, GetsTheTransportToAnswer) {
  MemorySystem kernel;
  ManualReactor clock;
  auto echo = on_frame([](const Packet& frame, FrameTransport& port) { port.write(frame.bytes()); });
  TuntapPort port{clock, DeviceKind::tap, "tap0", echo, {.system = kernel}};
  EXPECT_EQ(port.log_prefix(), "on_frame (TAP)");
  port.start_listening();
  kernel.tunnel("tap0").set_up(true);
  kernel.tunnel("tap0").inject(packets::ethernet({}, packets::udp("10.0.0.1:1", "10.0.0.2:42", "hello")));
  clock.run_ready();
  EXPECT_THAT(kernel.tunnel("tap0").collect(), SizeIs(1));
}

TEST(OnFrame, APortRefusesANullProtocol) {
  ManualReactor clock;
  TuntapPort tunnel{clock, DeviceKind::tap, "tap0"};
  UdpPort socket{clock, {*IpAddress::parse("127.0.0.1"), 0}};
  EXPECT_THROW(tunnel.set_protocol(std::unique_ptr<FrameProtocol>{}), std::invalid_argument);
  EXPECT_THROW(socket.set_protocol(std::unique_ptr<DatagramProtocol>{}), std::invalid_argument);
}

TEST(OnDatagram, TakesDatagramsOrRuns) {
  MemorySystem kernel;
  ManualReactor clock;
  std::vector<std::string> singles;
  std::vector<std::size_t> runs;
  auto many = on_datagram([&](const Datagrams& run, DatagramTransport& transport) {
    runs.push_back(run.size());
    transport.write_to(run.from, run[0].data);
  });
  const Endpoint any{*IpAddress::parse("127.0.0.1"), 0};
  UdpPort left{clock, any, PortOptions{.system = kernel}};
  left.on_datagram([&](const Datagram& datagram) { singles.emplace_back(as_text(datagram.data)); });
  UdpPort right{clock, any, many, {.system = kernel}};
  left.start_listening();
  right.start_listening();
  {
    const Cork cork{clock};
    for (const char* text : {"one", "two", "end"}) left.write_to(right.get_host(), as_bytes(text));
  }
  left.write_to(right.get_host(), as_bytes("alone"));
  clock.run_ready();
  EXPECT_THAT(runs, ElementsAre(3U, 1U));
  EXPECT_THAT(singles, ElementsAre("one", "alone"));
}

}  // namespace
}  // namespace tunport
