#include "tunport/port/write_queue.hpp"

#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace tunport {
namespace {

using Record = std::vector<std::byte>;

bool push(WriteQueue& queue, const Record& record, std::uint64_t ticket = 0) {
  const Bytes whole = record;
  return queue.push({&whole, 1}, ticket);
}

TEST(WriteQueue, KeepsOrderTicketsAndBytes) {
  WriteQueue queue{1000, 100};
  EXPECT_TRUE(queue.empty());
  ASSERT_TRUE(push(queue, Record(10, std::byte{1}), 7));
  ASSERT_TRUE(push(queue, Record{}, 8));
  EXPECT_EQ(queue.bytes(), 16U + 16 + 16);
  EXPECT_TRUE(std::ranges::equal(queue.front(), Record(10, std::byte{1})));
  EXPECT_EQ(queue.front_ticket(), 7U);
  queue.pop();
  EXPECT_EQ(queue.front().size(), 0U);
  EXPECT_EQ(queue.front_ticket(), 8U);
  queue.pop();
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueue, GathersParts) {
  WriteQueue queue{1000, 100};
  const Record first(3, std::byte{1});
  const Record second(2, std::byte{2});
  const std::array<Bytes, 3> parts{first, Bytes{}, second};
  ASSERT_TRUE(queue.push(parts));
  EXPECT_TRUE(std::ranges::equal(
      queue.front(), Record{std::byte{1}, std::byte{1}, std::byte{1}, std::byte{2}, std::byte{2}}));
}

TEST(WriteQueue, RefusesBeyondItsLimitAndTakesOneLargestWhenEmpty) {
  WriteQueue queue{64, 200};
  EXPECT_TRUE(push(queue, Record(200)));
  EXPECT_FALSE(push(queue, Record(0)));
  queue.pop();
  EXPECT_FALSE(push(queue, Record(1000)));
  EXPECT_TRUE(push(queue, Record(16)));
  EXPECT_TRUE(push(queue, Record(16)));
  EXPECT_FALSE(push(queue, Record(1))) << "64 bytes are taken";
}

TEST(WriteQueue, BehavesAsADequeOverManyWraps) {
  std::mt19937 random{1};
  WriteQueue queue{500, 120};
  std::deque<Record> model;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0) {
      Record record(random() % 121);
      for (auto& byte : record) byte = static_cast<std::byte>(random());
      std::size_t taken = 16 + (record.size() + 7) / 8 * 8;
      for (const Record& other : model) taken += 16 + (other.size() + 7) / 8 * 8;
      const bool fits = taken <= 500 || model.empty();
      ASSERT_EQ(push(queue, record), fits) << step;
      if (fits) model.push_back(record);
    } else if (!model.empty()) {
      ASSERT_TRUE(std::ranges::equal(queue.front(), model.front())) << step;
      queue.pop();
      model.pop_front();
    }
    ASSERT_EQ(queue.empty(), model.empty());
  }
}

}  // namespace
}  // namespace tunport
