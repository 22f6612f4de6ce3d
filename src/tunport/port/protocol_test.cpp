#include "tunport/port/protocol.hpp"

#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace tunport {
namespace {

struct Answer : Protocol {
  struct Inner : Protocol {};
  template <class T>
  struct InnerOf : Protocol {};
  std::unique_ptr<Protocol> make_local() const {
    struct Local : Protocol {};
    return std::make_unique<Local>();
  }
};
struct Named : Protocol {
  std::string name() const override { return "a::name"; }
};
enum class Kind { one };
template <class... T>
struct Till : Protocol {
  template <class U>
  struct Inner : Protocol {};
};
template <Kind kind>
struct OfKind : Protocol {};

}  // namespace

namespace outer::inner {
struct Answer : Protocol {};
}  // namespace outer::inner

namespace {

TEST(Protocol, IsNamedAfterItsClass) {
  const auto name = [](auto* type) { return std::remove_pointer_t<decltype(type)>{}.name(); };
  EXPECT_EQ(Answer{}.name(), "Answer");
  EXPECT_EQ(outer::inner::Answer{}.name(), "Answer");
  EXPECT_EQ(Answer::Inner{}.name(), "Inner");
  EXPECT_EQ(Answer{}.make_local()->name(), "Local");
  EXPECT_EQ(Named{}.name(), "a::name");
  EXPECT_EQ(name(static_cast<Till<>*>(nullptr)), "Till<>");
  EXPECT_EQ(name(static_cast<Till<outer::inner::Answer>*>(nullptr)), "Till<Answer>");
  EXPECT_EQ(name(static_cast<Till<int, outer::inner::Answer const&>*>(nullptr)), "Till<int, Answer const&>");
  EXPECT_EQ(name(static_cast<Till<Till<outer::inner::Answer>, Named>*>(nullptr)),
            "Till<Till<Answer>, Named>");
  EXPECT_EQ(name(static_cast<Till<outer::inner::Answer>::Inner<Named>*>(nullptr)), "Inner<Named>");
  EXPECT_EQ(name(static_cast<Answer::InnerOf<Till<Named>>*>(nullptr)), "InnerOf<Till<Named> >");
  EXPECT_EQ(name(static_cast<OfKind<Kind::one>*>(nullptr)), "OfKind<(Kind)0>");
}

}  // namespace
}  // namespace tunport
