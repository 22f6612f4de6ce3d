// Ports that sleep after each burst, on both kinds of loop.
#include "kernel/port_kit.hpp"

namespace tunport::sandbox {
namespace {

class KernelModeration : public LoopTest {};
INSTANTIATE_TEST_SUITE_P(On, KernelModeration, testing::Values("Asio", "Poll"),
                         [](const auto& of) { return std::string{of.param}; });

TEST_P(KernelModeration, EverythingComesInOrderAndTogetherAndThenTheLoopRests) {
  constexpr int frames = 300;
  Keeper keeper;
  std::vector<int> numbers;
  keeper.on_frame = [&](const Packet& packet) {
    if (load_be16(packet.bytes(), 12) == 0x88b5) numbers.push_back(number_of(packet.bytes()));
  };
  TuntapPort port{reactor(), DeviceKind::tap, "tp0", keeper, {.moderation = milliseconds{2}}};
  port.start_listening();
  set_up("tp0");
  PacketSocket sender{"tp0"};
  meanwhile([&] {
    for (int i = 0; i < frames; ++i) {
      EXPECT_EQ(sender.send(numbered(i)), 0);
      if (i % 10 == 0) std::this_thread::sleep_for(milliseconds{1});
    }
  });
  ASSERT_TRUE(turn_until([&] { return numbers.size() == frames; }, seconds{20})) << numbers.size();
  for (int i = 0; i < frames; ++i) EXPECT_EQ(numbers.at(static_cast<std::size_t>(i)), i);
  EXPECT_LT(port.statistics().bursts, port.statistics().packets_in);
  EXPECT_THAT(rest(), is_at_rest());
}

}  // namespace
}  // namespace tunport::sandbox
