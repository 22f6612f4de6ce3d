#include "tunport/event/file_descriptor.hpp"

#include <stdexcept>
#include <string>
#include <type_traits>

#include "tunport/event/poll_reactor.hpp"

#include "support/probe.hpp"

namespace tunport {
namespace {

/// Counts the calls of its descriptors.
class RecordingReactor : public PollReactor {
 public:
  void add(Watched& fd) override {
    ++added;
    PollReactor::add(fd);
  }
  void remove(Watched& fd) noexcept override {
    ++removed;
    PollReactor::remove(fd);
  }
  void update(Watched& fd) override {
    ++updated;
    PollReactor::update(fd);
  }
  int added = 0;
  int removed = 0;
  int updated = 0;
};

class RecordingProducer : public Producer {
 public:
  void resume_producing() override { calls += 'r'; }
  void pause_producing() override { calls += 'p'; }
  void stop_producing() override { calls += 's'; }
  std::string calls;
};

class FileDescriptorTest : public ::testing::Test {
 protected:
  RecordingReactor reactor;
  SocketPair pair;
  Probe probe{reactor, pair.near.get()};
  RecordingProducer producer;
};

TEST_F(FileDescriptorTest, IsNeitherCopiedNorMoved) {
  static_assert(!std::is_copy_constructible_v<FileDescriptor> && !std::is_copy_assignable_v<FileDescriptor>);
  static_assert(!std::is_move_constructible_v<FileDescriptor> && !std::is_move_assignable_v<FileDescriptor>);
}

TEST_F(FileDescriptorTest, StartAndStopReadingAreIdempotent) {
  EXPECT_FALSE(probe.reading());
  probe.start_reading();
  probe.start_reading();
  EXPECT_TRUE(probe.reading());
  EXPECT_EQ(reactor.updated, 1);
  probe.stop_reading();
  probe.stop_reading();
  EXPECT_FALSE(probe.reading());
  EXPECT_EQ(reactor.updated, 2);
}

TEST_F(FileDescriptorTest, StartAndStopWritingAreIdempotent) {
  probe.start_writing();
  probe.start_writing();
  EXPECT_TRUE(probe.writing());
  EXPECT_EQ(reactor.updated, 1);
  probe.stop_writing();
  probe.stop_writing();
  EXPECT_FALSE(probe.writing());
  EXPECT_EQ(reactor.updated, 2);
}

TEST_F(FileDescriptorTest, NothingStartsOnAClosedOne) {
  probe.start_reading();
  probe.close();
  EXPECT_FALSE(probe.reading());
  probe.start_reading();
  probe.start_writing();
  EXPECT_FALSE(probe.reading());
  EXPECT_FALSE(probe.writing());
}

TEST_F(FileDescriptorTest, RegistersOnceAndUnregistersWhenItGoes) {
  {
    SocketPair other;
    Probe second{reactor, other.near.get()};
    second.attach();
    EXPECT_EQ(reactor.added, 2);
  }
  EXPECT_EQ(reactor.removed, 1);
  probe.detach();
  probe.detach();
  EXPECT_EQ(reactor.removed, 2);
}

TEST_F(FileDescriptorTest, IsAProducerItself) {
  Producer& as_producer = probe;
  as_producer.resume_producing();
  EXPECT_TRUE(probe.reading());
  as_producer.pause_producing();
  EXPECT_FALSE(probe.reading());
  as_producer.stop_producing();
  EXPECT_EQ(probe.loses, 1);
}

TEST_F(FileDescriptorTest, ReadAndWriteConnectionLostAreConnectionLost) {
  probe.read_connection_lost(Errc::device_gone);
  probe.write_connection_lost(Errc::link_down);
  ASSERT_EQ(probe.lost.size(), 2U);
  EXPECT_EQ(probe.lost[0], Errc::device_gone);
  EXPECT_EQ(probe.lost[1], Errc::link_down);
}

TEST_F(FileDescriptorTest, APushProducerIsPausedAndResumedOnce) {
  probe.register_producer(producer, ProducerKind::push);
  EXPECT_TRUE(probe.has_producer());
  EXPECT_EQ(producer.calls, "") << "writes on its own";
  probe.resume_producer();
  EXPECT_EQ(producer.calls, "") << "was not paused";
  probe.pause_producer();
  probe.pause_producer();
  EXPECT_EQ(producer.calls, "p");
  probe.resume_producer();
  probe.resume_producer();
  EXPECT_EQ(producer.calls, "pr");
}

TEST_F(FileDescriptorTest, APullProducerIsResumedAtOnceAndNeverPaused) {
  probe.register_producer(producer, ProducerKind::pull);
  EXPECT_EQ(producer.calls, "r");
  probe.pause_producer();
  EXPECT_EQ(producer.calls, "r");
  probe.resume_producer();
  EXPECT_EQ(producer.calls, "r") << "nor resumed, never having been paused";
  probe.pull_from_producer();
  EXPECT_EQ(producer.calls, "rr") << "after each drain";
}

TEST_F(FileDescriptorTest, ASecondProducerIsAnError) {
  probe.register_producer(producer, ProducerKind::push);
  RecordingProducer other;
  EXPECT_THROW(probe.register_producer(other, ProducerKind::push), std::logic_error);
  EXPECT_EQ(other.calls, "");
  probe.unregister_producer();
  EXPECT_NO_THROW(probe.register_producer(other, ProducerKind::push));
}

TEST_F(FileDescriptorTest, UnregisteringIsIdempotent) {
  probe.register_producer(producer, ProducerKind::push);
  probe.unregister_producer();
  probe.unregister_producer();
  EXPECT_FALSE(probe.has_producer());
  EXPECT_EQ(probe.producers_gone, 1);
  probe.pause_producer();
  probe.resume_producer();
  EXPECT_EQ(producer.calls, "") << "nothing more for it";
}

TEST_F(FileDescriptorTest, OnADeadOneAProducerIsStoppedAtOnce) {
  probe.close();
  probe.register_producer(producer, ProducerKind::pull);
  EXPECT_EQ(producer.calls, "s");
  EXPECT_FALSE(probe.has_producer());
}

TEST_F(FileDescriptorTest, AProducerIsStoppedOnce) {
  probe.register_producer(producer, ProducerKind::push);
  probe.stop_producer();
  probe.stop_producer();
  EXPECT_EQ(producer.calls, "s");
  EXPECT_FALSE(probe.has_producer());
}

TEST_F(FileDescriptorTest, APullProducerMayUnregisterWhenResumed) {
  class Short : public RecordingProducer {
   public:
    explicit Short(Probe& consumer) : consumer_{consumer} {}
    void resume_producing() override { consumer_.unregister_producer(); }

   private:
    Probe& consumer_;
  };
  Short once{probe};
  probe.register_producer(once, ProducerKind::pull);
  EXPECT_FALSE(probe.has_producer());
}

TEST_F(FileDescriptorTest, StopConsumingUnregistersAndEnds) {
  probe.register_producer(producer, ProducerKind::push);
  probe.stop_consuming();
  EXPECT_FALSE(probe.has_producer());
  EXPECT_EQ(probe.loses, 1);
}

TEST_F(FileDescriptorTest, LogPrefix) {
  EXPECT_EQ(probe.log_prefix(), "");
  probe.set_log_prefix("Answer (TAP)");
  EXPECT_EQ(probe.log_prefix(), "Answer (TAP)");
}

}  // namespace
}  // namespace tunport
