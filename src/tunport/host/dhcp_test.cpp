/// The DHCP server of a host.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/host/host.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/dhcp_internal.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using dhcp::Kind;
using packets::Buffer;
using packets::host_mac;
using testing::IsEmpty;
using testing::SizeIs;

struct Fields {
  Kind kind = Kind::discover;
  std::uint8_t station = 1;
  std::optional<Ipv4Address> requested = {};
  std::optional<Ipv4Address> server = {};
  Ipv4Address client = {};
  bool broadcast = false;
};

MacAddress mac_of(std::uint8_t station) { return MacAddress{{2, 0, 0, 0, 1, station}}; }

Buffer message(const Fields& fields) {
  Buffer bytes(240);
  store_u8(bytes, 0, 1);
  store_u8(bytes, 1, 1);
  store_u8(bytes, 2, 6);
  store_be32(bytes, 4, 0x12345678);
  store_be16(bytes, 10, fields.broadcast ? 0x8000 : 0);
  fields.client.store(bytes, 12);
  mac_of(fields.station).store(bytes, 28);
  store_be32(bytes, 236, 0x63825363);
  const auto add = [&](std::uint8_t code, const Buffer& value) {
    bytes.push_back(std::byte{code});
    bytes.push_back(static_cast<std::byte>(value.size()));
    bytes.insert(bytes.end(), value.begin(), value.end());
  };
  const auto address = [](Ipv4Address of) {
    Buffer value(4);
    of.store(value, 0);
    return value;
  };
  add(53, {static_cast<std::byte>(fields.kind)});
  if (fields.requested) add(50, address(*fields.requested));
  if (fields.server) add(54, address(*fields.server));
  bytes.push_back(std::byte{0});
  bytes.push_back(std::byte{255});
  return bytes;
}

/// What the server said.
struct Answer {
  Kind kind = {};
  Ipv4Address address = {};
  MacAddress to_mac = {};
  IpAddress to = {};
  std::map<std::uint8_t, std::uint32_t> options = {};
};

class Dhcp : public testing::Test {
 protected:
  Dhcp() { host.ethernet().connect(tap); }
  ~Dhcp() override { host.ethernet().disconnect(tap); }

  void deliver(const Buffer& payload, std::uint8_t station = 1, Ipv4Address from = {},
               Ipv4Address to = Ipv4Address{0xffffffff}) {
    tap.deliver(
        host.ethernet(),
        packets::ethernet({.destination = to == Ipv4Address{0xffffffff} ? MacAddress::broadcast() : host_mac,
                           .source = mac_of(station)},
                          packets::udp({from, 68}, {to, 67}, payload)));
  }
  std::optional<Answer> ask(const Fields& fields) {
    deliver(message(fields), fields.station, fields.client,
            fields.client.is_unspecified() ? Ipv4Address{0xffffffff} : server);
    if (tap.written.empty()) return std::nullopt;
    EXPECT_THAT(tap.written, SizeIs(1));
    const packets::Layers layers = packets::dissect(tap.written.front());
    EXPECT_TRUE(layers.udp);
    Answer answer{.to_mac = layers.ethernet->destination(), .to = layers.ipv4->destination()};
    const Bytes bytes = layers.udp->payload();
    EXPECT_EQ(load_u8(bytes, 0), 2);
    EXPECT_EQ(load_be32(bytes, 4), 0x12345678U);
    EXPECT_EQ(layers.udp->source_port(), 67);
    EXPECT_EQ(layers.udp->destination_port(), 68);
    answer.address = Ipv4Address::load(bytes, 16);
    for (std::size_t at = 240; load_u8(bytes, at) != 255; at += 2U + load_u8(bytes, at + 1))
      if (load_u8(bytes, at) == 53)
        answer.kind = static_cast<Kind>(load_u8(bytes, at + 2));
      else
        answer.options[load_u8(bytes, at)] = load_be32(bytes, at + 2);
    tap.written.clear();
    return answer;
  }
  /// A whole lease.
  Ipv4Address lease(std::uint8_t station) {
    const auto offer = ask({.station = station});
    EXPECT_EQ(offer->kind, Kind::offer);
    const auto ack =
        ask({.kind = Kind::request, .station = station, .requested = offer->address, .server = server});
    EXPECT_EQ(ack->kind, Kind::ack);
    EXPECT_EQ(ack->address, offer->address);
    return ack->address;
  }

  const Ipv4Address server = "10.0.0.2";
  FakeTransport tap;
  Host host{{.addresses = {"10.0.0.2"}, .mac = host_mac, .subnets = {"10.0.0.1/29"}, .dhcp = "10.0.0.0/29"}};
};

TEST_F(Dhcp, OffersAndAcknowledgesWithTheOptions) {
  const auto offer = ask({});
  ASSERT_TRUE(offer);
  EXPECT_EQ(offer->kind, Kind::offer);
  EXPECT_EQ(offer->address, Ipv4Address{"10.0.0.3"}) << "not the network's, the interface's or the host's";
  EXPECT_EQ(offer->to_mac, mac_of(1));
  EXPECT_EQ(offer->to, IpAddress{offer->address});
  const std::map<std::uint8_t, std::uint32_t> wanted = {
      {1, 0xfffffff8}, {3, server.value()}, {6, server.value()}, {51, 3600}, {54, server.value()}};
  EXPECT_EQ(offer->options, wanted);
  const auto ack =
      ask({.kind = Kind::request, .requested = offer->address, .server = server, .broadcast = true});
  EXPECT_EQ(ack->kind, Kind::ack);
  EXPECT_EQ(ack->to_mac, MacAddress::broadcast());
  EXPECT_EQ(ack->options, wanted);
  EXPECT_EQ(host.statistics().dhcp_answers, 2U);
  EXPECT_EQ(tap.drops.total(), 0U);
}

TEST_F(Dhcp, EachStationHasAnAddressUntilNoneIsLeft) {
  EXPECT_EQ(lease(1), Ipv4Address{"10.0.0.3"});
  EXPECT_EQ(lease(2), Ipv4Address{"10.0.0.4"});
  EXPECT_EQ(lease(1), Ipv4Address{"10.0.0.3"}) << "the same again";
  EXPECT_EQ(lease(3), Ipv4Address{"10.0.0.5"});
  EXPECT_EQ(lease(4), Ipv4Address{"10.0.0.6"});
  EXPECT_FALSE(ask({.station = 5})) << "10.0.0.7 is the broadcast address";
  EXPECT_EQ(tap.drops[DropReason::answer_not_allowed], 1U);
  tap.clock.advance(1h);
  EXPECT_EQ(lease(5), Ipv4Address{"10.0.0.3"}) << "the leases are over";
}

TEST_F(Dhcp, AnOfferLastsAMinute) {
  for (std::uint8_t station = 1; station <= 4; ++station) ask({.station = station});
  EXPECT_FALSE(ask({.station = 5}));
  tap.clock.advance(61s);
  EXPECT_TRUE(ask({.station = 5}));
}

TEST_F(Dhcp, ARequestForAnotherAddressIsRefused) {
  const Ipv4Address own = lease(1);
  for (const char* other : {"10.0.0.4", "10.0.0.1", "10.0.0.2", "192.0.2.1"}) {
    const auto nak = ask({.kind = Kind::request, .requested = *Ipv4Address::parse(other)});
    ASSERT_TRUE(nak) << other;
    EXPECT_EQ(nak->kind, Kind::nak);
    EXPECT_EQ(nak->address, Ipv4Address{});
    EXPECT_EQ(nak->to_mac, MacAddress::broadcast());
  }
  EXPECT_EQ(ask({.kind = Kind::request, .requested = own})->kind, Kind::ack) << "after a restart";
  tap.clock.advance(50min);
  const auto renewed = ask({.kind = Kind::request, .client = own});
  EXPECT_EQ(renewed->kind, Kind::ack);
  EXPECT_EQ(renewed->to, IpAddress{own});
  tap.clock.advance(50min);
  EXPECT_NE(lease(2), own) << "renewed";
  EXPECT_FALSE(
      ask({.kind = Kind::request, .station = 3, .requested = own, .server = Ipv4Address{"10.0.0.9"}}))
      << "another server was chosen";
}

TEST_F(Dhcp, ReleaseDeclineAndInform) {
  const Ipv4Address own = lease(1);
  deliver(message({.kind = Kind::release, .client = own}), 1, own, server);
  EXPECT_EQ(lease(2), own);
  EXPECT_FALSE(ask({.kind = Kind::decline, .station = 2, .requested = own, .server = server}));
  EXPECT_NE(lease(2), own) << "somebody has that address";
  EXPECT_NE(lease(3), own);
  const auto inform = ask({.kind = Kind::inform, .station = 9, .client = "10.0.0.6"});
  ASSERT_TRUE(inform);
  EXPECT_EQ(inform->kind, Kind::ack);
  EXPECT_EQ(inform->address, Ipv4Address{});
  EXPECT_EQ(inform->options.count(51), 0U) << "no lease";
}

TEST_F(Dhcp, DropsWhatIsNoMessage) {
  const Buffer good = message({});
  std::vector<Buffer> bad = {{}, Buffer(239), Buffer(240), Buffer(300)};
  for (std::size_t size = 0; size < 243; ++size)
    bad.emplace_back(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
  bad.push_back(packets::patched(good, 0, packets::hex("02")));         // an answer
  bad.push_back(packets::patched(good, 1, packets::hex("06")));         // no Ethernet
  bad.push_back(packets::patched(good, 28, packets::hex("01")));        // a group
  bad.push_back(packets::patched(good, 242, packets::hex("09")));       // no kind
  bad.push_back(packets::patched(good, 241, packets::hex("ff")));       // leaves the message
  bad.push_back(packets::patched(good, 24, packets::hex("0a000009")));  // through a relay
  // A client's address of no single host, or the server's own: an answer would go there.
  for (const char* client : {"ffffffff", "e0000001", "7f000001", "0a000000", "0a000007", "0a000002"})
    bad.push_back(packets::patched(good, 12, packets::hex(client)));
  for (const Buffer& payload : bad) deliver(payload);
  EXPECT_THAT(tap.written, IsEmpty());
  EXPECT_EQ(tap.drops[DropReason::dhcp_malformed], bad.size());
}

TEST_F(Dhcp, IsOnlyThereIfAskedFor) {
  Host other{{.addresses = {"10.0.0.2"}, .mac = host_mac}};
  tap.deliver(other.ethernet(),
              packets::ethernet({.destination = MacAddress::broadcast(), .source = mac_of(1)},
                                packets::udp("0.0.0.0:68", "255.255.255.255:67", message({}))));
  EXPECT_THAT(tap.written, IsEmpty());
  EXPECT_EQ(tap.drops[DropReason::ip_wrong_address], 1U);
  EXPECT_THROW(Host({.addresses = {"10.0.0.2"}, .dhcp = "10.1.0.0/24"}), std::invalid_argument);
  EXPECT_THROW(Host({.addresses = {"fd00::2"}, .dhcp = "10.0.0.0/24"}), std::invalid_argument);
}

}  // namespace
}  // namespace tunport
