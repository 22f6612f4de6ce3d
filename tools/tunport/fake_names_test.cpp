#include "fake_names.hpp"

#include <random>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

using namespace std::string_literals;

TEST(FakeNames, ANameHasOneAddressAndTheAddressHasTheName) {
  FakeNames names;
  const Ipv4Address a = names.address_of("a.example");
  EXPECT_EQ(a, Ipv4Address{"198.18.0.1"});
  EXPECT_NE(names.address_of("b.example"), a);
  EXPECT_EQ(names.address_of("a.example"), a);
  EXPECT_EQ(names.name_of(a), "a.example");
  EXPECT_EQ(names.name_of(Ipv4Address{"198.18.0.9"}), std::nullopt);
  EXPECT_EQ(names.name_of(Ipv6Address{"::1"}), std::nullopt);
  EXPECT_EQ(names.size(), 2U);
}

TEST(FakeNames, CoversThePrefixWithoutItsEnds) {
  for (const char* address : {"198.18.0.1", "198.18.255.255", "198.19.0.0", "198.19.255.254"})
    EXPECT_TRUE(FakeNames::covers(*IpAddress::parse(address))) << address;
  for (const char* address : {"198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0", "::c612:1"})
    EXPECT_FALSE(FakeNames::covers(*IpAddress::parse(address))) << address;
}

TEST(FakeNames, TheLeastRecentlyUsedNameMakesRoom) {
  FakeNames names{2};
  const Ipv4Address a = names.address_of("a");
  const Ipv4Address b = names.address_of("b");
  EXPECT_EQ(names.name_of(a), "a");  // used
  const Ipv4Address c = names.address_of("c");
  EXPECT_EQ(names.name_of(b), std::nullopt) << "not the name of another";
  EXPECT_EQ(names.name_of(a), "a");
  EXPECT_EQ(names.name_of(c), "c");
  EXPECT_NE(names.address_of("b"), b);
  EXPECT_EQ(names.size(), 2U);
}

TEST(FakeNames, AnAddressComesBackOnlyAfterAllOthers) {
  FakeNames names{3};
  std::set<Ipv4Address> used;
  for (std::uint32_t i = 0; i < 0x20000 - 2; ++i) {
    const Ipv4Address address = names.address_of(std::to_string(i));
    ASSERT_TRUE(FakeNames::covers(address));
    ASSERT_TRUE(used.insert(address).second);
  }
  EXPECT_FALSE(used.insert(names.address_of("again")).second);
  EXPECT_EQ(names.size(), 3U);
}

/// A query for a name in wire form.
std::string query(const std::string& name, std::uint16_t type = 1, std::uint16_t klass = 1,
                  const std::string& behind = {}) {
  return "\x12\x34\x01\0\0\1\0\0\0\0\0\0"s + name + static_cast<char>(type >> 8) + static_cast<char>(type) +
         static_cast<char>(klass >> 8) + static_cast<char>(klass) + behind;
}
const std::string example = "\7eXample\3org\0"s;

class FakeDnsTest : public testing::Test {
 protected:
  std::string ask(const std::string& message) {
    std::array<std::byte, longest_fake_answer> buffer;
    buffer.fill(std::byte{0xee});
    return std::string{as_text(answer_dns(as_bytes(message), names, buffer))};
  }
  FakeNames names;
};

TEST_F(FakeDnsTest, AnAddressForAName) {
  const std::string answer = ask(query(example));
  EXPECT_EQ(answer, "\x12\x34\x81\x80\0\1\0\1\0\0\0\0"s + example +
                        "\0\1\0\1\xc0\x0c\0\1\0\1\0\0\0\1\0\4\xc6\x12\0\1"s);
  EXPECT_EQ(names.name_of(Ipv4Address{"198.18.0.1"}), "example.org");
  // An OPT record behind the question (RFC 6891) changes nothing.
  std::string with_opt = query(example, 1, 1, "\0\0\x29\4\xd0\0\0\0\0\0\0"s);
  with_opt[11] = 1;
  EXPECT_EQ(ask(with_opt), answer);
}

TEST_F(FakeDnsTest, OtherTypesHaveNoRecords) {
  for (const std::uint16_t type : std::initializer_list<std::uint16_t>{28, 12, 15, 16, 65, 255})
    EXPECT_EQ(ask(query(example, type)),
              "\x12\x34\x81\x80\0\1\0\0\0\0\0\0"s + query(example, type).substr(12));
  EXPECT_EQ(names.size(), 0U);
}

TEST_F(FakeDnsTest, WhatIsNoHostNameHasNoAddress) {
  for (const std::string& name : {"\0"s, "\3a.b\0"s, "\3a b\0"s, "\1\0\0"s, "\2\r\n\0"s, "\x9localhost\0"s,
                                  "\1a\x9LOCALHOST\0"s, "\1\xff\0"s}) {
    const std::string answer = ask(query(name));
    ASSERT_GE(answer.size(), 12U);
    EXPECT_EQ(answer[3] & 0xf, 3);
    EXPECT_EQ(answer.substr(6, 2), "\0\0"s);
  }
  EXPECT_EQ(names.size(), 0U);
}

TEST_F(FakeDnsTest, RefusesWhatItDoesNotServe) {
  EXPECT_EQ(ask(query(example, 1, 3))[3] & 0xf, 5) << "another class";
  std::string other = query(example);
  other[2] = 0x10;
  EXPECT_EQ(ask(other), "\x12\x34\x90\x84\0\0\0\0\0\0\0\0"s) << "another opcode";
  other = query(example);
  other[2] = static_cast<char>(0x80);
  EXPECT_EQ(ask(other), "") << "an answer";
  for (const char count : {'\0', '\2'}) {
    other = query(example);
    other[5] = count;
    EXPECT_EQ(ask(other), "\x12\x34\x81\x81\0\0\0\0\0\0\0\0"s);
  }
}

TEST_F(FakeDnsTest, NamesAreBounded) {
  std::string name;
  for (int i = 0; i < 3; ++i) name += static_cast<char>(63) + std::string(63, 'a');
  const std::string longest = name + static_cast<char>(61) + std::string(61, 'a') + '\0';
  ASSERT_EQ(longest.size(), 255U);
  EXPECT_EQ(ask(query(longest)).size(), longest_fake_answer);
  const std::string too_long = name + static_cast<char>(62) + std::string(62, 'a') + '\0';
  EXPECT_EQ(ask(query(too_long))[3] & 0xf, 1);
  EXPECT_EQ(ask(query("\xc0\x0c"s))[3] & 0xf, 1) << "a pointer";
  EXPECT_EQ(ask(query("\x40"s + std::string(64, 'a') + '\0'))[3] & 0xf, 1);
}

TEST_F(FakeDnsTest, AMessageCutAnywhereIsNoQuestion) {
  const std::string whole = query(example);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string answer = ask(whole.substr(0, size));
    if (size < 12)
      EXPECT_EQ(answer, "");
    else
      EXPECT_EQ(answer[3] & 0xf, 1) << size;
  }
  EXPECT_EQ(names.size(), 0U);
}

TEST_F(FakeDnsTest, RandomMessagesAreAnsweredWithinTheBuffer) {
  std::mt19937 random{5};
  for (int round = 0; round < 20'000; ++round) {
    std::string message = query(example);
    message.resize(random() % 400, static_cast<char>(random()));
    for (int i = 0; i < 4 && !message.empty(); ++i)
      message[random() % message.size()] = static_cast<char>(random());
    EXPECT_LE(ask(message).size(), longest_fake_answer);
  }
}

}  // namespace
}  // namespace tunport::tool
