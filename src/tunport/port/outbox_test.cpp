#include <cerrno>
#include <deque>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "tunport/port/outbox_internal.hpp"
#include "tunport/testing/manual_reactor.hpp"

namespace tunport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

/// A sink with a list of answers, then zero.
class ListSink {
 public:
  using Tag = char;

  std::optional<DropReason> objection(const char& tag, const Parts& parts) const {
    if (parts.size() == 0) return DropReason::empty;
    return tag == '!' ? std::optional{DropReason::no_route} : std::nullopt;
  }
  bool gathers() const { return room != 0; }
  bool has_gathered() const { return !gathered.empty(); }
  bool gather(const char& tag, const Parts& parts) {
    if (gathered.size() == room || tag == 'S') return false;
    gathered.emplace_back(tag, text_of(parts));
    return true;
  }
  template <class Call>
  void give(const bool& /*ready*/, Call call) {
    for (const auto& [tag, text] : std::exchange(gathered, {})) {
      const Bytes bytes = as_bytes(text);
      call(tag, Parts{.bytes = {&bytes, 1}}, 1);
    }
  }
  int write(const char& tag, const Parts& parts) {
    int answer = 0;
    if (!answers.empty()) {
      answer = answers.front();
      answers.pop_front();
    }
    said += tag + text_of(parts) + (answer == 0 ? " " : "? ");
    if (answer == EAGAIN) done_ = partly;
    return answer;
  }
  std::size_t datagrams(const char& tag, std::size_t size) const { return tag == 'S' ? size : 1; }
  std::size_t done() const { return done_; }
  void forget() { done_ = 0; }

  std::deque<int> answers;
  std::string said;  // the packets written; "?" marks refused ones
  std::size_t room = 0;
  std::size_t partly = 0;  // datagrams taken before EAGAIN
  std::vector<std::pair<char, std::string>> gathered;

 private:
  static std::string text_of(const Parts& parts) {
    std::string text;
    for (const Bytes part : parts.bytes) text += as_text(part);
    return text;
  }
  std::size_t done_ = 0;
};
static_assert(Sink<ListSink>);

/// Records each call; the callback stands for code of users.
class Owner final : public OutboxOwner {
 public:
  void flush_later() override { said += "flush "; }
  void drain_later() override { said += "drain "; }
  void write_done(Ticket ticket, const std::error_code& ec) override {
    said += std::to_string(ticket) + (ec ? "=" + ec.message().substr(0, 3) + " " : "=ok ");
  }
  void outbox_changed() override {
    said += "changed ";
    if (on_change) on_change();
  }
  std::string said;
  std::function<void()> on_change;
};

class OutboxTest : public testing::Test {
 protected:
  OutboxTest() { outbox->open(); }
  WriteResult write(const std::string& text, char tag = '.', Ticket ticket = 0) {
    const Bytes bytes = as_bytes(text);
    return outbox->write(tag, {.bytes = {&bytes, 1}}, ticket);
  }
  static WriteResult refused(DropReason reason) { return WriteResult::make_refused(reason); }
  const WriteResult sent = WriteResult::make_sent();
  const WriteResult queued = WriteResult::make_queued();

  ManualReactor reactor;
  ListSink sink;
  Owner owner;
  Statistics statistics;
  std::unique_ptr<Outbox<ListSink>> outbox =
      std::make_unique<Outbox<ListSink>>(sink, owner, reactor, statistics, 100, 50);
};

/// The kernel's answer to a write, and the outcome.
struct Answer {
  int error;
  WriteResult result;
  std::string owner;
  bool gone;
};

TEST_F(OutboxTest, WhatBecomesOfAWrite) {
  const std::vector<Answer> table{
      {0, WriteResult::make_sent(), "", false},
      {EAGAIN, WriteResult::make_queued(), "drain changed ", false},
      {EINTR, WriteResult::make_queued(), "drain changed ", false},
      {EIO, WriteResult::make_refused(DropReason::link_down), "", false},
      {ENOBUFS, WriteResult::make_refused(DropReason::no_buffers), "", false},
      {EINVAL, WriteResult::make_refused(DropReason::kernel_refused), "", false},
      {EBADFD, WriteResult::make_refused(DropReason::device_gone), "changed ", true},
  };
  for (const auto& [error, result, said, gone] : table) {
    owner.said.clear();
    outbox->drop(DropReason::aborted);
    outbox->open();
    outbox->flush();  // tells the owner of the drop
    owner.said.clear();
    const std::uint64_t drops = statistics.drops.total();
    sink.answers = {error};
    EXPECT_EQ(write("a"), result) << error;
    EXPECT_EQ(owner.said, said) << error;
    EXPECT_EQ(outbox->is_gone(), gone) << error;
    EXPECT_EQ(statistics.drops.total() - drops, result ? 0U : 1U) << error;
  }
}

TEST_F(OutboxTest, WhatTheSinkObjectsToIsRefusedAndCounted) {
  EXPECT_EQ(write(""), refused(DropReason::empty));
  EXPECT_EQ(write("a", '!'), refused(DropReason::no_route));
  EXPECT_EQ(sink.said, "");
  EXPECT_EQ(statistics.drops.total(), 2U);
}

TEST_F(OutboxTest, AShutOneRefusesAndDrains) {
  sink.answers = {EAGAIN};
  EXPECT_EQ(write("a"), queued);
  outbox->shut();
  EXPECT_EQ(write("b"), refused(DropReason::not_listening));
  outbox->drain();
  EXPECT_EQ(sink.said, ".a? .a ");
  EXPECT_TRUE(outbox->queue_empty());
}

TEST_F(OutboxTest, NothingOvertakesTheQueue) {
  sink.answers = {EAGAIN, 0, EAGAIN};
  EXPECT_EQ(write("a"), queued);
  EXPECT_EQ(write("b", 'x'), queued);
  outbox->drain();
  EXPECT_EQ(write("c"), queued);
  outbox->drain();
  EXPECT_EQ(sink.said, ".a? .a xb? xb .c ");
  EXPECT_EQ(write("d"), sent);
}

TEST_F(OutboxTest, AFullQueueRefuses) {
  sink.answers = {EAGAIN};
  EXPECT_EQ(write(std::string(40, 'a')), queued);
  EXPECT_EQ(write(std::string(40, 'b')), refused(DropReason::queue_full));
  EXPECT_EQ(statistics.drops[DropReason::queue_full], 1U);
}

TEST_F(OutboxTest, ADrainTellsOfEachTicket) {
  sink.answers = {EAGAIN, 0, EINVAL};
  write("a", '.', 1);
  write("b", '.', 2);
  write("c");
  owner.said.clear();
  outbox->drain();
  EXPECT_EQ(owner.said, "1=ok 2=" + error_of(DropReason::empty).message().substr(0, 3) + " changed ");
  EXPECT_EQ(statistics.drops[DropReason::kernel_refused], 1U);
}

TEST_F(OutboxTest, ALinkThatIsDownEmptiesTheQueue) {
  sink.answers = {EAGAIN, EIO};
  write("a");
  write("bcd", 'S');
  outbox->drain();
  EXPECT_TRUE(outbox->queue_empty());
  EXPECT_EQ(statistics.drops[DropReason::link_down], 4U) << "one, and three in a super-packet";
  EXPECT_EQ(write("e"), sent);
}

TEST_F(OutboxTest, AGoneDeviceEmptiesTheQueueAndEndsIt) {
  sink.answers = {EAGAIN, EBADFD};
  write("a");
  outbox->drain();
  EXPECT_TRUE(outbox->is_gone());
  EXPECT_EQ(statistics.drops[DropReason::device_gone], 1U);
  EXPECT_EQ(write("b"), refused(DropReason::not_listening));
}

TEST_F(OutboxTest, WhatWasPartlyTakenIsCountedForTheRest) {
  sink.answers = {EAGAIN, EAGAIN};
  sink.partly = 2;
  write("abc", 'S');
  outbox->drop(DropReason::aborted);
  EXPECT_EQ(statistics.drops[DropReason::aborted], 1U);
  EXPECT_EQ(sink.done(), 0U);
  EXPECT_EQ(write(std::string(300, 'x'), 'S'), refused(DropReason::queue_full));
  EXPECT_EQ(statistics.drops[DropReason::queue_full], 298U);
  EXPECT_EQ(sink.done(), 0U);
}

TEST_F(OutboxTest, GathersWhileCorkedAndSendsInOrder) {
  sink.room = 2;
  EXPECT_EQ(write("a"), sent) << "not corked";
  {
    const Cork cork{reactor};
    EXPECT_EQ(write("b"), queued);
    EXPECT_EQ(write("c"), queued);
    EXPECT_EQ(sink.said, ".a ");
    EXPECT_EQ(owner.said, "flush ");
    EXPECT_EQ(write("d"), queued) << "no room: the two before it go first";
    EXPECT_EQ(sink.said, ".a .b .c ");
    EXPECT_EQ(write("e", 'S'), sent) << "cannot be gathered";
    EXPECT_EQ(sink.said, ".a .b .c .d Se ");
    EXPECT_EQ(write("f", '.', 7), sent) << "a write with a ticket is sent by itself";
    EXPECT_EQ(write("g"), queued);
  }
  outbox->flush();
  EXPECT_EQ(sink.said, ".a .b .c .d Se .f .g ");
}

TEST_F(OutboxTest, WhatWasGatheredAndIsNotTakenIsQueued) {
  sink.room = 10;
  const Cork cork{reactor};
  for (const char* text : {"a", "b", "c", "d"}) write(text);
  sink.answers = {0, EINVAL, EAGAIN};
  outbox->flush();
  EXPECT_EQ(sink.said, ".a .b? .c? ");
  EXPECT_EQ(statistics.drops[DropReason::kernel_refused], 1U);
  outbox->drain();
  EXPECT_EQ(sink.said, ".a .b? .c? .c .d ");
}

TEST_F(OutboxTest, WhatWasGatheredForADeviceThatIsGoneIsCounted) {
  sink.room = 10;
  const Cork cork{reactor};
  for (const char* text : {"a", "b", "c"}) write(text);
  sink.answers = {EBADFD};
  outbox->flush();
  EXPECT_EQ(statistics.drops[DropReason::device_gone], 3U);
}

TEST_F(OutboxTest, AnAwaitedWriteIsTold) {
  outbox->await_write();
  EXPECT_EQ(write("", '.'), refused(DropReason::empty));
  EXPECT_TRUE(outbox->awaits_write()) << "nothing was tried";
  EXPECT_EQ(write("a"), sent);
  EXPECT_EQ(owner.said, "changed ");
  EXPECT_FALSE(outbox->awaits_write());
  EXPECT_EQ(write("b"), sent);
  EXPECT_EQ(owner.said, "changed ");
}

TEST_F(OutboxTest, MayBeDestroyedWhenItTells) {
  owner.on_change = [this] { outbox.reset(); };
  sink.answers = {EAGAIN};
  EXPECT_EQ(write("a"), queued);
  EXPECT_EQ(outbox, nullptr);
}

TEST_F(OutboxTest, OneAttemptQueuesNothing) {
  const Bytes bytes = as_bytes("a");
  sink.answers = {EAGAIN, EAGAIN, 0};
  EXPECT_EQ(outbox->write_once('.', {.bytes = {&bytes, 1}}), EAGAIN);
  EXPECT_TRUE(outbox->queue_empty());
  write("b");
  EXPECT_EQ(outbox->write_once('.', {.bytes = {&bytes, 1}}), EAGAIN);
  EXPECT_EQ(sink.said, ".a? .b? ") << "behind the queue";
}

}  // namespace
}  // namespace tunport
