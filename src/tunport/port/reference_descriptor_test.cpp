// The members that the reference's port inherits from FileDescriptor: a test for each, named after the member
// here. docs/twisted.md has the table.

#include "support/port_test_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using testing::ElementsAre;
using testing::IsEmpty;

class ReferenceDescriptor : public PortTest {};

TEST_F(ReferenceDescriptor, write_some_data) {
  std::error_code ec;
  EXPECT_EQ(make().write_some_data(frame(1), ec), 0U);
  EXPECT_EQ(ec, Errc::not_listening);
  start();
  EXPECT_EQ(port->write_some_data(frame(1), ec), 60U);
  EXPECT_FALSE(ec);
  EXPECT_THAT(interface().collect(), ElementsAre(frame(1)));
  EXPECT_EQ(port->write_some_data(Buffer(13), ec), 0U) << "no frame";
  EXPECT_EQ(ec, std::errc::invalid_argument);
  interface().set_writable(false);
  EXPECT_EQ(port->write_some_data(frame(2), ec), 0U);
  EXPECT_EQ(ec, std::errc::resource_unavailable_try_again);
  EXPECT_TRUE(is_transient(ec));
  EXPECT_EQ(port->queued_bytes(), 0U) << "nothing is queued";
  port->write(frame(3));
  interface().set_writable(true);
  EXPECT_EQ(port->write_some_data(frame(4), ec), 0U) << "a single attempt must not overtake the queue";
  EXPECT_EQ(ec, std::errc::resource_unavailable_try_again);
}

TEST_F(ReferenceDescriptor, write_connection_lost) {
  HookedPort hooked{clock};
  hooked.start_listening();
  hooked.write_connection_lost(Errc::device_gone);
  EXPECT_THAT(hooked.reasons, ElementsAre(std::error_code{Errc::device_gone}));
}

TEST_F(ReferenceDescriptor, read_connection_lost) {
  HookedPort hooked{clock};
  hooked.start_listening();
  hooked.read_connection_lost(Errc::device_gone);
  EXPECT_THAT(hooked.reasons, ElementsAre(std::error_code{Errc::device_gone}));
}

TEST_F(ReferenceDescriptor, lose_write_connection) {
  start();
  interface().set_writable(false);
  port->write(frame(1));
  port->lose_write_connection();
  EXPECT_EQ(port->write(frame(2)), WriteResult::make_refused(DropReason::not_listening));
  interface().set_writable(true);
  interface().inject(frame(3));
  clock.run_ready();
  EXPECT_THAT(numbers_written(), ElementsAre(1)) << "flushed";
  EXPECT_EQ(protocol.frames.size(), 1U) << "reading goes on";
  EXPECT_TRUE(port->listening());
}

TEST_F(ReferenceDescriptor, lose_write_connection_leaves_no_room_for_a_producer) {
  start();
  port->lose_write_connection();
  port->register_producer(producer, ProducerKind::pull);
  EXPECT_EQ(producer.said, "s");
  EXPECT_FALSE(port->has_producer());
  EXPECT_FALSE(port->writing());
}

TEST_F(ReferenceDescriptor, lose_write_connection_waits_for_a_producer) {
  producer.on_resume = [this] {
    EXPECT_TRUE(port->write(frame(static_cast<int>(producer.said.size()))));
    if (producer.said == "rrr") port->unregister_producer();
  };
  start().register_producer(producer, ProducerKind::pull);
  port->lose_write_connection();
  clock.run_ready();
  EXPECT_EQ(producer.said, "rrr");
  EXPECT_THAT(numbers_written(), ElementsAre(1, 2, 3));
  EXPECT_EQ(port->write(frame(4)), WriteResult::make_refused(DropReason::not_listening));
  EXPECT_TRUE(port->listening());
}

TEST_F(ReferenceDescriptor, close_write_connection) {
  HookedPort hooked{clock};
  hooked.start_listening();
  hooked.sink.error = EAGAIN;
  hooked.write(frame(1));
  hooked.lose_write_connection();
  EXPECT_EQ(hooked.said, "connect ") << "not before the queue is out";
  hooked.sink.error = 0;
  hooked.do_write();
  EXPECT_EQ(hooked.said, "connect close_write_connection ");
  hooked.lose_write_connection();
  EXPECT_EQ(hooked.said, "connect close_write_connection ") << "once";
}

TEST_F(ReferenceDescriptor, stop_reading) {
  start().stop_reading();
  port->stop_reading();
  EXPECT_FALSE(port->reading());
  interface().inject(frame(1));
  clock.run_ready();
  EXPECT_THAT(protocol.frames, IsEmpty());
}

TEST_F(ReferenceDescriptor, start_reading) {
  start().stop_reading();
  interface().inject(frame(1));
  port->start_reading();
  port->start_reading();
  clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), 1U);
  port->stop_listening();
  port->start_reading();
  EXPECT_FALSE(port->reading()) << "no effect on an ending port";
}

TEST_F(ReferenceDescriptor, stop_writing) {
  HookedPort hooked{clock};
  hooked.start_listening();
  hooked.start_writing();
  hooked.stop_writing();
  hooked.stop_writing();
  EXPECT_FALSE(hooked.writing());
}

TEST_F(ReferenceDescriptor, start_writing) {
  HookedPort hooked{clock};
  hooked.start_writing();
  EXPECT_FALSE(hooked.writing()) << "closed";
  hooked.start_listening();
  hooked.start_writing();
  hooked.start_writing();
  EXPECT_TRUE(hooked.writing());
}

TEST_F(ReferenceDescriptor, start_writing_with_nothing_to_write) {
  start();
  port->start_writing();
  clock.run_ready();
  EXPECT_FALSE(port->writing()) << "there is nothing to write";
}

TEST_F(ReferenceDescriptor, register_producer) {
  RecordingProducer& first = producer;
  RecordingProducer second;
  make().register_producer(first, ProducerKind::push);
  EXPECT_EQ(first.said, "s") << "on a dead port";
  EXPECT_FALSE(port->has_producer());
  start();
  port->register_producer(first, ProducerKind::push);
  EXPECT_THROW(port->register_producer(second, ProducerKind::push), std::logic_error);
  EXPECT_EQ(first.said, "s") << "a push producer writes on its own";
}

TEST_F(ReferenceDescriptor, register_producer_that_is_pulled) {
  start();
  int next = 0;
  producer.on_resume = [&] {
    port->write(frame(next));
    if (++next == 3) port->unregister_producer();
  };
  port->register_producer(producer, ProducerKind::pull);
  EXPECT_EQ(producer.said, "r") << "at once";
  clock.run_ready();
  EXPECT_EQ(producer.said, "rrr") << "and after each drain";
  EXPECT_THAT(numbers_written(), ElementsAre(0, 1, 2));
  EXPECT_FALSE(port->writing());
}

TEST_F(ReferenceDescriptor, register_producer_that_writes_nothing_is_not_pulled_until_it_writes) {
  start();
  bool writes = false;
  producer.on_resume = [&] {
    if (writes) port->write(frame(1));
  };
  port->register_producer(producer, ProducerKind::pull);
  for (int turn = 0; turn < 10; ++turn) clock.run_ready();
  EXPECT_EQ(producer.said, "r");
  EXPECT_FALSE(port->writing());
  port->do_write();
  EXPECT_EQ(producer.said, "r") << "told in vain";

  port->write(frame(2));
  EXPECT_TRUE(port->writing());
  clock.run_ready();
  EXPECT_EQ(producer.said, "rr");
  EXPECT_FALSE(port->writing());
  {
    const Cork cork{clock};
    port->write(frame(3));
  }
  clock.run_ready();
  EXPECT_EQ(producer.said, "rrr") << "what is written within a burst counts, too";
  port->unregister_producer();
}

TEST_F(ReferenceDescriptor, unregister_producer) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port->unregister_producer();
  port->unregister_producer();
  EXPECT_FALSE(port->has_producer());
  EXPECT_EQ(producer.said, "");
  port->register_producer(producer, ProducerKind::push);
  EXPECT_TRUE(port->has_producer());
}

TEST_F(ReferenceDescriptor, stop_consuming) {
  start();
  port->register_producer(producer, ProducerKind::push);
  port->stop_consuming();
  clock.run_ready();
  EXPECT_EQ(producer.said, "") << "unregistered, not stopped";
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
}

TEST_F(ReferenceDescriptor, resume_producing) {
  start().pause_producing();
  interface().inject(frame(1));
  clock.run_ready();
  port->resume_producing();
  clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), 1U);
}

TEST_F(ReferenceDescriptor, pause_producing) {
  start();
  protocol.on_frame = [&](const Packet&) { port->pause_producing(); };
  for (int i = 0; i < 5; ++i) interface().inject(frame(i));
  clock.run_ready();
  EXPECT_EQ(protocol.frames.size(), 1U) << "between two packets, not after the burst";
  EXPECT_EQ(interface().waiting(), 4U) << "a paused port reads nothing";
}

TEST_F(ReferenceDescriptor, stop_producing) {
  start().stop_producing();
  clock.run_ready();
  EXPECT_THAT(lost, ElementsAre(std::error_code{}));
}

TEST_F(ReferenceDescriptor, post_lose_connection) {
  HookedPort hooked{clock};
  hooked.start_listening();
  hooked.sink.error = EAGAIN;
  hooked.write(frame(1));
  hooked.lose_connection();
  EXPECT_EQ(hooked.said, "connect ");
  hooked.sink.error = 0;
  hooked.do_write();
  EXPECT_EQ(hooked.said, "connect post_lose_connection ") << "all queued data is out";
  clock.run_ready();
  EXPECT_EQ(hooked.said, "connect post_lose_connection disconnect ");
}

}  // namespace
}  // namespace tunport
