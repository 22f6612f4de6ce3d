#include "tunport/base/function_ref.hpp"

#include <string>

#include <gtest/gtest.h>

namespace tunport {
namespace {

int doubled(FunctionRef<int(int)> call) { return call(1) + call(2); }

TEST(FunctionRefTest, CallsWhatItRefersTo) {
  int calls = 0;
  auto counting = [&](int number) {
    ++calls;
    return 10 * number;
  };
  EXPECT_EQ(doubled(counting), 30);
  EXPECT_EQ(doubled([](int number) { return number; }), 3);
  const auto constant = [](int) { return 7; };
  EXPECT_EQ(doubled(constant), 14);
  EXPECT_EQ(calls, 2);
}

TEST(FunctionRefTest, PassesReferencesOn) {
  std::string text;
  const auto append = [](FunctionRef<void(std::string&)> call, std::string& to) { call(to); };
  append([](std::string& to) { to += "x"; }, text);
  EXPECT_EQ(text, "x");
}

}  // namespace
}  // namespace tunport
