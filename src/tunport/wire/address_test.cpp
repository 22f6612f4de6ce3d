#include "tunport/wire/address.hpp"

#include <stdexcept>
#include <unordered_set>
#include <vector>

#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace tunport {
namespace {

using namespace std::string_view_literals;

TEST(MacAddress, TextAndBack) {
  for (const char* text :
       {"02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "de:ad:be:ef:09:af"}) {
    const auto mac = MacAddress::parse(text);
    ASSERT_TRUE(mac) << text;
    EXPECT_EQ(to_string(*mac), text);
  }
  EXPECT_EQ(MacAddress::parse("DE:AD:BE:EF:09:AF"), MacAddress::parse("de:ad:be:ef:09:af"));
  for (const auto text : {""sv, "02:00:00:00:00"sv, "02:00:00:00:00:01:"sv, "02-00-00-00-00-01"sv,
                          "02:00:00:00:00:0g"sv, "02:00:00:00:00:-1"sv, " 2:00:00:00:00:01"sv,
                          "0x:00:00:00:00:01"sv, "02:00:00:00:00:1\0"sv, "2:0:0:0:0:1"sv})
    EXPECT_FALSE(MacAddress::parse(text)) << text;
}

TEST(Addresses, AreLiteralsOfTheProgram) {
  const std::vector<Ipv4Address> addresses = {"10.0.0.1", "10.0.0.2"};
  EXPECT_EQ(addresses, (std::vector{Ipv4Address{0x0a000001}, Ipv4Address{0x0a000002}}));
  const std::vector<IpPrefix> one = {"fd00::1/64"};
  EXPECT_EQ(one, (std::vector{*IpPrefix::parse("fd00::1/64")}));
  EXPECT_EQ(IpAddress{"fd00::1"}, IpAddress{Ipv6Address{"fd00::1"}});
  EXPECT_EQ(IpAddress{"10.0.0.1"}, IpAddress{addresses[0]});
  const MacAddress mac = "02:00:00:00:00:01";
  EXPECT_EQ(mac, (MacAddress{{2, 0, 0, 0, 0, 1}}));
  const Endpoint endpoint{"10.0.0.1", 42};
  EXPECT_EQ(to_string(endpoint), "10.0.0.1:42");
}

TEST(Addresses, ThrowForAWrongLiteral) {
  EXPECT_THROW(Ipv4Address{"10.0.0"}, std::invalid_argument);
  EXPECT_THROW(Ipv4Address{"fd00::1"}, std::invalid_argument);
  EXPECT_THROW(Ipv4Address{""}, std::invalid_argument);
  EXPECT_THROW(Ipv6Address{"10.0.0.1"}, std::invalid_argument);
  EXPECT_THROW(IpAddress{"localhost"}, std::invalid_argument);
  EXPECT_THROW(IpPrefix{"10.0.0.1"}, std::invalid_argument);
  EXPECT_THROW(MacAddress{"2:0:0:0:0:1"}, std::invalid_argument);
}

TEST(MacAddress, Groups) {
  EXPECT_TRUE(MacAddress::broadcast().is_broadcast());
  EXPECT_TRUE(MacAddress::broadcast().is_multicast());
  EXPECT_TRUE(MacAddress::parse("01:00:5e:00:00:01")->is_multicast());
  EXPECT_FALSE(MacAddress::parse("01:00:5e:00:00:01")->is_broadcast());
  EXPECT_FALSE(MacAddress::parse("02:00:00:00:00:01")->is_multicast());
}

TEST(Addresses, LoadAndStoreAreTheSameBytes) {
  std::array<std::byte, 24> in{};
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::byte>(i * 11);
  std::array<std::byte, 24> out = in;
  std::fill(out.begin() + 3, out.begin() + 19, std::byte{0});
  Ipv6Address::load(in, 3).store(out, 3);
  EXPECT_EQ(out, in);
  std::fill(out.begin() + 3, out.begin() + 9, std::byte{0});
  MacAddress::load(in, 3).store(out, 3);
  EXPECT_EQ(out, in);
  std::fill(out.begin() + 3, out.begin() + 7, std::byte{0});
  Ipv4Address::load(in, 3).store(out, 3);
  EXPECT_EQ(out, in);
}

TEST(Ipv4Address, TextAndBack) {
  for (const char* text : {"0.0.0.0", "10.0.0.1", "127.0.0.1", "255.255.255.255"}) {
    const auto address = Ipv4Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
  EXPECT_EQ(Ipv4Address::parse("10.0.0.1"), Ipv4Address{0x0a000001});
  for (const auto text : {""sv, "10.0.0"sv, "10.0.0.1."sv, "10.0.0.256"sv, "10.0.0.1 "sv, " 10.0.0.1"sv,
                          "0x0a.0.0.1"sv, "10.0.0.-1"sv, "10.0.0.1\0"sv, "10.0.0.1\0.2"sv, "::1"sv,
                          "0000000000000000000000000000000000000000000000000010.0.0.1"sv})
    EXPECT_FALSE(Ipv4Address::parse(text)) << text;
}

TEST(Ipv4Address, Kinds) {
  struct Row {
    const char* text;
    bool unspecified, loopback, multicast, broadcast;
  };
  const Row table[] = {
      {"0.0.0.0", true, false, false, false},     {"10.0.0.1", false, false, false, false},
      {"127.255.0.1", false, true, false, false}, {"223.255.255.255", false, false, false, false},
      {"224.0.0.0", false, false, true, false},   {"239.255.255.255", false, false, true, false},
      {"240.0.0.0", false, false, false, false},  {"255.255.255.255", false, false, false, true},
  };
  for (const auto& row : table) {
    const auto address = *Ipv4Address::parse(row.text);
    EXPECT_EQ(address.is_unspecified(), row.unspecified) << row.text;
    EXPECT_EQ(address.is_loopback(), row.loopback) << row.text;
    EXPECT_EQ(address.is_multicast(), row.multicast) << row.text;
    EXPECT_EQ(address.is_broadcast(), row.broadcast) << row.text;
  }
}

TEST(Ipv4Address, ASingleHostHas240AsInLinux) {
  for (const char* text : {"1.0.0.0", "10.0.0.1", "126.255.255.255", "128.0.0.1", "192.168.0.255",
                           "223.255.255.255", "240.0.0.0", "240.0.0.1", "255.255.255.254"})
    EXPECT_TRUE(is_single_host(*Ipv4Address::parse(text))) << text;
  for (const char* text : {"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "224.0.0.0",
                           "239.255.255.255", "255.255.255.255"})
    EXPECT_FALSE(is_single_host(*Ipv4Address::parse(text))) << text;
}

TEST(Ipv6Address, TextAndBack) {
  for (const char* text : {"::", "::1", "fe80::1", "fd00::2:0:0:1", "ff02::1:ff00:2", "2001:db8:1:2:3:4:5:6",
                           "::ffff:10.0.0.1"}) {
    const auto address = Ipv6Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(to_string(*address), text);
  }
  EXPECT_TRUE(Ipv6Address::parse("::")->is_unspecified());
  EXPECT_TRUE(Ipv6Address::parse("ff02::1")->is_multicast());
  EXPECT_FALSE(Ipv6Address::parse("fe80::1")->is_multicast());
  for (const auto text :
       {""sv, ":"sv, ":::"sv, "1::2::3"sv, "12345::"sv, "fe80::1%lo"sv, "[::1]"sv, "::1\0"sv, "10.0.0.1"sv})
    EXPECT_FALSE(Ipv6Address::parse(text)) << text;
}

TEST(IpAddress, IsOfOneFamily) {
  const auto v4 = *IpAddress::parse("10.0.0.1");
  const auto v6 = *IpAddress::parse("::ffff:10.0.0.1");
  EXPECT_TRUE(v4.is_v4());
  EXPECT_EQ(v4.bits(), 32U);
  EXPECT_TRUE(v6.is_v6());
  EXPECT_EQ(v6.bits(), 128U);
  EXPECT_NE(v4, v6);
  EXPECT_NE(IpAddress{Ipv4Address{}}, IpAddress{Ipv6Address{}});
  EXPECT_EQ(IpAddress{}, IpAddress{Ipv4Address{}});
  EXPECT_LT(v4, v6);
  EXPECT_EQ(to_string(v4), "10.0.0.1");
  EXPECT_EQ(to_string(v6), "::ffff:10.0.0.1");
  EXPECT_FALSE(IpAddress::parse("host"));
}

TEST(IpPrefix, TextAndBack) {
  for (const char* text : {"10.77.0.1/24", "0.0.0.0/0", "10.0.0.1/32", "::/0", "fd00::1/128", "fd00::1/64"}) {
    const auto prefix = IpPrefix::parse(text);
    ASSERT_TRUE(prefix) << text;
    EXPECT_EQ(to_string(*prefix), text);
  }
  for (const char* text : {"", "/", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "fd00::/129", "10.0.0.1/-1",
                           "10.0.0.1/+1", "10.0.0.1/ 8", "10.0.0.1/8/8", "/8", "10.0.0.1/4294967296"})
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
}

TEST(IpPrefix, Contains) {
  struct Row {
    const char* prefix;
    const char* address;
    bool contained;
  };
  const Row table[] = {
      {"10.77.0.1/24", "10.77.0.200", true}, {"10.77.0.1/24", "10.77.1.1", false},
      {"10.0.0.1/32", "10.0.0.1", true},     {"10.0.0.1/32", "10.0.0.0", false},
      {"10.0.0.0/31", "10.0.0.1", true},     {"10.0.0.0/31", "10.0.0.2", false},
      {"128.0.0.0/1", "255.1.2.3", true},    {"128.0.0.0/1", "127.1.2.3", false},
      {"0.0.0.0/0", "203.0.113.1", true},    {"0.0.0.0/0", "::", false},
      {"::/0", "10.0.0.1", false},           {"::/0", "fd00::1", true},
      {"fd00::/64", "fd00::ffff:1", true},   {"fd00::/64", "fd00:0:0:1::1", false},
      {"fd00::/61", "fd00:0:0:7::1", true},  {"fd00::/61", "fd00:0:0:8::1", false},
      {"fd00::1/128", "fd00::1", true},      {"fd00::1/128", "fd00::", false},
      {"fd00::/127", "fd00::1", true},       {"fd00::/127", "fd00::2", false},
  };
  for (const auto& row : table)
    EXPECT_EQ(IpPrefix::parse(row.prefix)->contains(*IpAddress::parse(row.address)), row.contained)
        << row.prefix << ' ' << row.address;
}

TEST(IpPrefix, Broadcast) {
  const std::pair<const char*, const char*> table[] = {
      {"10.77.0.1/24", "10.77.0.255"}, {"10.77.0.1/30", "10.77.0.3"},    {"10.77.0.1/31", "10.77.0.1"},
      {"10.77.0.1/32", "10.77.0.1"},   {"10.1.2.3/8", "10.255.255.255"}, {"0.0.0.0/0", "255.255.255.255"},
  };
  for (const auto& [prefix, broadcast] : table)
    EXPECT_EQ(to_string(IpPrefix::parse(prefix)->broadcast_v4()), broadcast) << prefix;
}

TEST(Endpoint, TextAndBack) {
  for (const char* text : {"10.0.0.2:42", "0.0.0.0:0", "[::1]:65535", "[fe80::1]:42"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint) << text;
    EXPECT_EQ(to_string(*endpoint), text);
  }
  for (const char* text : {"", ":", "10.0.0.2", "10.0.0.2:", "10.0.0.2:65536", "10.0.0.2:-1", ":42", "::1:42",
                           "fe80::1", "[10.0.0.2]:42", "[]:42", "[::1:42", "[::1]42", "10.0.0.2:42 "})
    EXPECT_FALSE(Endpoint::parse(text)) << text;
}

TEST(Endpoint, AScopeIsAnInterfaceByIndexOrName) {
  const auto by_index = *Endpoint::parse("[fe80::1%7]:42");
  EXPECT_EQ(by_index.scope, 7U);
  EXPECT_EQ(to_string(by_index), "[fe80::1%7]:42");
  EXPECT_EQ(Endpoint::parse("[fe80::1%lo]:42")->scope, ::if_nametoindex("lo"));
  EXPECT_NE(by_index, *Endpoint::parse("[fe80::1]:42"));
  sockaddr_storage storage{};
  by_index.to_sockaddr(storage);
  EXPECT_EQ(Endpoint::from_sockaddr(storage), by_index);
  for (const char* text : {"[fe80::1%]:42", "[fe80::1%0]:42", "[fe80::1%nosuch]:42", "10.0.0.1%lo:42"})
    EXPECT_FALSE(Endpoint::parse(text)) << text;
}

TEST(Endpoint, SockaddrAndBack) {
  sockaddr_storage storage{};
  const auto v4 = *Endpoint::parse("10.0.0.2:42");
  EXPECT_EQ(v4.to_sockaddr(storage), sizeof(sockaddr_in));
  EXPECT_EQ(storage.ss_family, AF_INET);
  EXPECT_EQ(Endpoint::from_sockaddr(storage), v4);
  const auto v6 = *Endpoint::parse("[fd00::1]:65535");
  EXPECT_EQ(v6.to_sockaddr(storage), sizeof(sockaddr_in6));
  EXPECT_EQ(storage.ss_family, AF_INET6);
  EXPECT_EQ(Endpoint::from_sockaddr(storage), v6);
  storage.ss_family = AF_UNIX;
  EXPECT_FALSE(Endpoint::from_sockaddr(storage));
}

TEST(Hash, EqualValuesAreFoundAndOthersAreNot) {
  std::unordered_set<Endpoint> endpoints;
  std::unordered_set<std::size_t> hashes;
  for (const char* text : {"10.0.0.2:42", "10.0.0.2:43", "10.0.0.3:42", "[fd00::1]:42", "[fd00::2]:42"}) {
    EXPECT_TRUE(endpoints.insert(*Endpoint::parse(text)).second) << text;
    EXPECT_FALSE(endpoints.insert(*Endpoint::parse(text)).second) << text;
    hashes.insert(std::hash<Endpoint>{}(*Endpoint::parse(text)));
  }
  EXPECT_EQ(endpoints.size(), 5U);
  EXPECT_EQ(hashes.size(), 5U);
  EXPECT_FALSE(endpoints.contains(*Endpoint::parse("[fd00::1]:43")));
}

}  // namespace
}  // namespace tunport
