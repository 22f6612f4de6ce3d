#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/port/write_queue_internal.hpp"

namespace tunport {
namespace {

using Record = std::vector<std::byte>;

/// A tag of 8 bytes: with size and ticket, a record takes 24 bytes besides the packet.
using Queue = WriteQueue<std::uint64_t>;

bool push(Queue& queue, const Record& record, Ticket ticket = 0, std::uint64_t tag = 0) {
  const Bytes whole = record;
  return queue.push(tag, {&whole, 1}, ticket);
}

TEST(WriteQueue, KeepsOrderTagsTicketsAndBytes) {
  Queue queue{1000, 100};
  EXPECT_TRUE(queue.empty());
  ASSERT_TRUE(push(queue, Record(10, std::byte{1}), 7, 70));
  ASSERT_TRUE(push(queue, Record{}, 8, 80));
  EXPECT_EQ(queue.bytes(), 24U + 16 + 24);
  EXPECT_TRUE(std::ranges::equal(queue.front_packet(), Record(10, std::byte{1})));
  EXPECT_EQ(queue.front_ticket(), 7U);
  EXPECT_EQ(queue.front_tag(), 70U);
  queue.pop();
  EXPECT_EQ(queue.front_packet().size(), 0U);
  EXPECT_EQ(queue.front_ticket(), 8U);
  EXPECT_EQ(queue.front_tag(), 80U);
  queue.pop();
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueue, GathersParts) {
  Queue queue{1000, 100};
  const Record first(3, std::byte{1});
  const Record second(2, std::byte{2});
  const std::array<Bytes, 3> parts{first, Bytes{}, second};
  ASSERT_TRUE(queue.push(0, parts));
  EXPECT_TRUE(std::ranges::equal(
      queue.front_packet(), Record{std::byte{1}, std::byte{1}, std::byte{1}, std::byte{2}, std::byte{2}}));
}

TEST(WriteQueue, RefusesBeyondItsLimitAndTakesOneLargestWhenEmpty) {
  Queue queue{80, 200};
  EXPECT_TRUE(push(queue, Record(200)));
  EXPECT_FALSE(push(queue, Record(0)));
  queue.pop();
  EXPECT_FALSE(push(queue, Record(1000)));
  EXPECT_TRUE(push(queue, Record(16)));
  EXPECT_TRUE(push(queue, Record(16)));
  EXPECT_FALSE(push(queue, Record(1))) << "80 bytes are taken";
}

TEST(WriteQueue, BehavesAsADequeOverManyWraps) {
  std::mt19937 random{1};
  Queue queue{500, 120};
  std::deque<Record> model;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      Record record(random() % 121);
      for (auto& byte : record) byte = static_cast<std::byte>(random());
      std::size_t taken = 24 + (record.size() + 7) / 8 * 8;
      for (const Record& other : model) taken += 24 + (other.size() + 7) / 8 * 8;
      const bool fits = taken <= 500 || model.empty();
      ASSERT_EQ(push(queue, record), fits) << step;
      if (fits) model.push_back(record);
    } else if (!model.empty()) {
      ASSERT_TRUE(std::ranges::equal(queue.front_packet(), model.front())) << step;
      queue.pop();
      model.pop_front();
    }
    ASSERT_EQ(queue.empty(), model.empty());
  }
}

}  // namespace
}  // namespace tunport
