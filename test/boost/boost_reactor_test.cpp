/// The contract of the reactor on Boost.Asio, and a port on it. A program of its own: both Asios in one do
/// not compile.

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <gmock/gmock.h>

#include "tunport/boost_asio.hpp"
#include "tunport/testing/memory_system.hpp"
#include "tunport/testing/packets.hpp"

#include "support/reactor_contract.hpp"

namespace tunport {
namespace {

using BoostDriver = ContextDriver<boost::asio::io_context, BoostAsioReactor,
                                  [](boost::asio::io_context& context) { return context.get_executor(); }>;

INSTANTIATE_TEST_SUITE_P(Boost, ReactorContract, ::testing::Values(Kind{"Boost", make<BoostDriver>}),
                         [](const auto& tested) { return std::string{tested.param.name}; });

TEST(BoostAsio, APortEchoesOnAStrand) {
  MemorySystem kernel;
  boost::asio::io_context io;
  BoostAsioReactor reactor{boost::asio::make_strand(io)};
  auto echo = on_frame([](const Packet& frame, FrameTransport& port) { port.write(frame.bytes()); });
  TuntapPort port{reactor, DeviceKind::tap, "tap0", echo, {.system = kernel}};
  port.start_listening();
  kernel.tunnel("tap0").set_up(true);
  const auto frame = packets::ethernet({}, packets::udp("10.0.0.1:1", "10.0.0.2:42", "hello"));
  kernel.tunnel("tap0").inject(frame);
  io.run_for(std::chrono::milliseconds{20});
  EXPECT_THAT(kernel.tunnel("tap0").collect(), testing::ElementsAre(frame));
}

}  // namespace
}  // namespace tunport
