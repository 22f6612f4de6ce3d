// Ports on an interface that is set down.
#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class LinkDown : public PortTest {};

TEST_F(LinkDown, WritesAreDroppedAndCountedAndGoOnByThemselves) {
  start();
  interface().set_up(false);
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_refused(DropReason::link_down));
  EXPECT_EQ(drops(DropReason::link_down), 1U);
  clock.advance(1h);
  EXPECT_TRUE(port->listening());
  interface().set_up(true);
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_sent());
  interface().inject(frame(3));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, SizeIs(1));
  EXPECT_THAT(numbers_written(), ElementsAre(2)) << "nothing old bursts out";
}

TEST_F(LinkDown, AnOldQueueDoesNotBurstOutWhenTheLinkComesBack) {
  start();
  interface().set_writable(false);
  for (int i = 0; i < 3; ++i) port->write(frame(i));
  interface().set_up(false);
  interface().set_writable(true);  // room in the buffer, but a link that is down withholds readiness
  clock.advance(1h);
  EXPECT_EQ(drops(DropReason::link_down), 3U);
  EXPECT_EQ(port->queued_bytes(), 0U);
  interface().set_up(true);
  clock.advance(1h);
  EXPECT_THAT(numbers_written(), IsEmpty());
  EXPECT_EQ(port->write(frame(9)), WriteResult::make_sent());
}

TEST_F(LinkDown, AQueueIsDroppedAtOnce) {
  start();
  clock.run_ready();
  interface().set_writable(false);
  for (int i = 0; i < 3; ++i) port->write(frame(i));
  EXPECT_NE(port->queued_bytes(), 0U);
  interface().set_up(false);
  clock.run_ready();  // no time passes
  EXPECT_EQ(port->queued_bytes(), 0U);
  EXPECT_EQ(drops(DropReason::link_down), 3U);
  EXPECT_FALSE(port->writing());
}

TEST_F(LinkDown, AQueueMadeAfterwardsIsTriedUntilItIsDropped) {
  start();
  interface().set_up(false);
  clock.run_ready();
  interface().set_writable(false);
  EXPECT_EQ(port->write(frame(1)), WriteResult::make_queued()) << "a full buffer answers first";
  interface().set_writable(true);
  clock.advance(1s);
  EXPECT_EQ(port->queued_bytes(), 0U);
  EXPECT_EQ(drops(DropReason::link_down), 1U);
  interface().set_up(true);
  clock.advance(1h);
  EXPECT_THAT(numbers_written(), IsEmpty()) << "nothing old bursts out";
}

}  // namespace
}  // namespace tunport
