#include <list>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "tunport/base/lru_table_internal.hpp"

namespace tunport {
namespace {

TEST(LruTable, TheLeastRecentlyUsedMakesRoom) {
  LruTable<int, int> table{2};
  EXPECT_EQ(table.find(1), nullptr);
  table.insert(1) = 10;
  table.insert(2) = 20;
  EXPECT_EQ(*table.find(1), 10);  // used
  std::vector<int> displaced;
  table.insert(3, [&](int key, int value) { displaced = {key, value}; }) = 30;
  EXPECT_EQ(displaced, (std::vector{2, 20}));
  EXPECT_EQ(table.find(2), nullptr);
  EXPECT_EQ(*table.find(1), 10);
  EXPECT_EQ(*table.find(3), 30);
  EXPECT_EQ(table.size(), 2U);
}

TEST(LruTable, AnInsertionOfAKeyThatIsThereKeepsTheValue) {
  LruTable<int, int> table{2};
  table.insert(1) = 10;
  EXPECT_EQ(table.insert(1), 10);
  EXPECT_EQ(table.size(), 1U);
}

TEST(LruTable, ErasedEntriesAreFree) {
  LruTable<int, int> table{3};
  for (int i = 0; i < 3; ++i) table.insert(i) = i;
  EXPECT_TRUE(table.erase(1));
  EXPECT_FALSE(table.erase(1));
  table.insert(4) = 4;
  EXPECT_NE(table.find(0), nullptr);
  table.erase_if([](int key, int) { return key % 2 == 0; });
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.find(4), nullptr);
}

TEST(LruTable, AgreesWithANaiveOne) {
  std::mt19937 random{7};  // NOLINT(cert-msc51-cpp): the same steps each time
  LruTable<int, int> table{5};
  std::list<std::pair<int, int>> naive;  // the newest first
  for (int step = 0; step < 20'000; ++step) {
    const int key = static_cast<int>(random() % 12);
    const auto found =
        std::find_if(naive.begin(), naive.end(), [&](const auto& e) { return e.first == key; });
    switch (random() % 3) {
      case 0:
        table.insert(key) = step;
        if (found != naive.end()) naive.erase(found);
        naive.emplace_front(key, step);
        if (naive.size() > 5) naive.pop_back();
        break;
      case 1: {
        const int* const value = table.find(key);
        ASSERT_EQ(value != nullptr, found != naive.end());
        if (value == nullptr) break;
        ASSERT_EQ(*value, found->second);
        naive.splice(naive.begin(), naive, found);
        break;
      }
      default:
        ASSERT_EQ(table.erase(key), found != naive.end());
        if (found != naive.end()) naive.erase(found);
    }
    ASSERT_EQ(table.size(), naive.size());
  }
}

}  // namespace
}  // namespace tunport
