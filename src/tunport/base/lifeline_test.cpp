#include "tunport/base/lifeline.hpp"

#include <functional>
#include <memory>

#include <gtest/gtest.h>

namespace tunport {
namespace {

struct Object {
  bool call(const std::function<void()>& callback) {
    const Lifeline::Watch watch{lifeline};
    callback();
    return watch.alive();
  }
  Lifeline lifeline;
};

TEST(LifelineTest, AWatchSeesTheEndOfItsObject) {
  auto object = std::make_unique<Object>();
  EXPECT_TRUE(object->call([] {}));
  EXPECT_FALSE(object->call([&] { object.reset(); }));
}

TEST(LifelineTest, EveryWatchOfAnObjectSeesIt) {
  auto object = std::make_unique<Object>();
  bool inner = true;
  EXPECT_FALSE(object->call([&] { inner = object->call([&] { object.reset(); }); }));
  EXPECT_FALSE(inner);
}

TEST(LifelineTest, AWatchThatEndedIsNotTold) {
  auto object = std::make_unique<Object>();
  EXPECT_FALSE(object->call([&] {
    EXPECT_TRUE(object->call([] {}));
    object.reset();
  }));
}

TEST(LifelineTest, ObjectsAreApart) {
  Object other;
  auto object = std::make_unique<Object>();
  EXPECT_TRUE(other.call([&] { EXPECT_FALSE(object->call([&] { object.reset(); })); }));
}

}  // namespace
}  // namespace tunport
