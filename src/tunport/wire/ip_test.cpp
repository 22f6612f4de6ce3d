#include "tunport/wire/ip.hpp"

#include <gtest/gtest.h>

#include "support/ipv6_kit.hpp"
#include "support/shape.hpp"

namespace tunport {
namespace {

using namespace ipv6_kit;
using packets::hex;

Buffer with_extensions(std::uint8_t first, const Buffer& extensions, std::size_t payload = 4) {
  return ipv6({.next_header = first, .source = kernel_ip6, .destination = host_ip6},
              joined(extensions, Buffer(payload)));
}

TEST(IpView, HasTheFieldsOfBothVersions) {
  for (const shapes::Shape& shape : shapes::all()) {
    if (shape.kind == DeviceKind::tap) continue;
    const Buffer packet = shapes::datagram(shape, shapes::some_bytes(10));
    DropReason why{};
    const Buffer padded = joined(packet, Buffer(3));
    const auto ip = IpView::checked(padded, why);
    ASSERT_TRUE(ip) << shape.name() << ' ' << to_string(why);
    EXPECT_EQ(ip->is_v4(), !shape.v6);
    EXPECT_EQ(ip->source(), shape.source());
    EXPECT_EQ(ip->destination(), shape.destination());
    EXPECT_EQ(ip->protocol(), shape.protocol);
    EXPECT_EQ(ip->traffic_class(), 0xb8);
    EXPECT_EQ(ip->dscp(), 0xb8 >> 2);
    EXPECT_EQ(ip->hop_limit(), 64);
    EXPECT_EQ(ip->bytes().size(), packet.size()) << "without padding";
    EXPECT_EQ(ip->header().size(), shape.transport_offset());
    EXPECT_EQ(ip->payload().size(), packet.size() - shape.transport_offset());
    EXPECT_EQ(ip->options().size(), !shape.v6 && shape.extras ? 8U : 0U);
    EXPECT_EQ(load_u8(packet, ip->protocol_at()), shape.protocol);
    EXPECT_FALSE(ip->is_fragment());
  }
}

TEST(IpView, RefusesWhatIsNoPacket) {
  const struct {
    const char* what;
    Buffer bytes;
    DropReason why;
  } table[] = {
      {"nothing", {}, DropReason::ip_short},
      {"half a header", hex("6000 0000 0000 0000"), DropReason::ip_short},
      {"version 5", Buffer(40, std::byte{0x50}), DropReason::ip_bad_version},
      {"a chain that leaves the packet", with_extensions(0, hex("3c 01 01 04 00 00 00 00"), 0),
       DropReason::ip_bad_header_length},
      {"half an extension header", with_extensions(60, hex("11 00 01"), 0), DropReason::ip_bad_header_length},
      {"half a fragment header", with_extensions(44, hex("11 00 00 00"), 0),
       DropReason::ip_bad_header_length},
      {"segments left", with_extensions(43, hex("11 00 00 01 00 00 00 00")), DropReason::ip_source_route},
      {"an option to be understood", with_extensions(0, hex("11 00 41 04 00 00 00 00")),
       DropReason::ip_bad_option},
      {"an option to be complained of", with_extensions(60, hex("11 00 c2 04 00 00 00 00")),
       DropReason::ip_bad_option},
      {"an option that leaves the header", with_extensions(60, hex("11 00 01 05 00 00 00 00")),
       DropReason::ip_bad_option},
      {"an option without a length", with_extensions(60, hex("11 00 01 03 00 00 00 01")),
       DropReason::ip_bad_option},
  };
  for (const auto& row : table) {
    DropReason why{};
    EXPECT_FALSE(IpView::checked(row.bytes, why)) << row.what;
    EXPECT_EQ(why, row.why) << row.what;
  }
}

TEST(IpView, TellsTheProblemsThatTheSenderIsToldOf) {
  using Code = Ipv6Problem::Code;
  struct Row {
    const char* what;
    Buffer bytes;
    std::optional<Ipv6Problem> problem;
  };
  const std::vector<Row> table = {
      {"nothing", with_extensions(0, hex("11 00 01 04 00 00 00 00")), {}},
      {"option 01", with_extensions(0, hex("11 00 41 04 00 00 00 00")), {}},
      {"option 10", with_extensions(0, hex("11 00 00 81 03 00 00 00")), Ipv6Problem{Code::option, 43, true}},
      {"option 11", with_extensions(60, hex("11 00 c2 04 00 00 00 00")),
       Ipv6Problem{Code::option, 42, false}},
      {"segments left", with_extensions(43, hex("11 00 00 01 00 00 00 00")),
       Ipv6Problem{Code::header_field, 42, false}},
      {"a header cut off", with_extensions(60, hex("11 00 01"), 0), {}},
  };
  std::optional<Ipv6Problem> problem = Ipv6Problem{};
  for (const Row& row : table) {
    DropReason why{};
    EXPECT_EQ(IpView::checked(row.bytes, why, problem).has_value(), row.what == table[0].what) << row.what;
    EXPECT_EQ(problem, row.problem) << row.what;
  }
  const auto fixed = IpView::by_fixed_header(table[2].bytes);
  ASSERT_TRUE(fixed);
  EXPECT_EQ(fixed->protocol(), 0);
  EXPECT_EQ(fixed->source(), kernel_ip6);
  EXPECT_EQ(fixed->payload().size(), 12U);
  EXPECT_FALSE(fixed->is_fragment());
  EXPECT_FALSE(IpView::by_fixed_header(Buffer(40)));
}

TEST(IpView, SkipsKnownAndUnknownOptions) {
  DropReason why{};
  // Pad1, router alert, an unknown option that may be skipped.
  const Buffer packet = with_extensions(0, hex("11 01 00 05 02 00 00 1e 05 01 02 03 04 05 01 00"));
  const auto ip = IpView::checked(packet, why);
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->protocol(), 17);
  EXPECT_EQ(ip->payload().size(), 4U);
}

// RFC 8200 4: a number of zero in another header than the first is an unknown protocol.
TEST(IpView, HopByHopOptionsBehindAnotherHeaderAreAProtocol) {
  DropReason why{};
  for (const std::uint8_t first : {ip_protocol::hop_by_hop, ip_protocol::destination_options}) {
    const Buffer packet = with_extensions(first, hex("00 00 01 04 00 00 00 00 11 00 01 04 00 00 00 00"));
    const auto ip = IpView::checked(packet, why);
    ASSERT_TRUE(ip);
    EXPECT_EQ(ip->protocol(), ip_protocol::hop_by_hop);
    EXPECT_EQ(ip->protocol_at(), 40U);
    EXPECT_EQ(ip->payload().size(), 12U);
  }
}

TEST(IpView, FindsFragments) {
  for (const bool v4 : {true, false}) {
    const Buffer whole =
        v4 ? packets::ipv4({.protocol = 200, .source = packets::kernel_ip, .destination = packets::host_ip},
                           Buffer(64))
           : ipv6({.next_header = 200, .source = kernel_ip6, .destination = host_ip6}, Buffer(64));
    DropReason why{};
    for (const auto& [offset, more] : {std::pair{0U, true}, {16U, true}, {16U, false}}) {
      const Buffer bytes = fragment(whole, offset, 16, more, 0x4321);
      const auto ip = IpView::checked(bytes, why);
      ASSERT_TRUE(ip && ip->is_fragment());
      EXPECT_EQ(ip->fragment().identification, 0x4321U);
      EXPECT_EQ(ip->fragment().offset, offset);
      EXPECT_EQ(ip->fragment().more, more);
      EXPECT_EQ(ip->fragment().protocol, 200);
      EXPECT_EQ(ip->payload().size(), 16U);
      EXPECT_EQ(ip->header().size(), v4 ? 20U : 40U);
    }
  }
}

TEST(Icmpv6, IsCheckedWithThePseudoHeader) {
  const Buffer message = icmpv6({.type = 128, .code = 0, .rest = 5}, Buffer(3), kernel_ip6, host_ip6);
  DropReason why{};
  const auto view = Icmpv6View::checked(message, kernel_ip6, host_ip6, why);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->type(), icmpv6_type::echo_request);
  EXPECT_EQ(view->rest(), 5U);
  EXPECT_FALSE(view->is_error());
  EXPECT_FALSE(Icmpv6View::checked(message, kernel_ip6, kernel_ip6, why));
  EXPECT_EQ(why, DropReason::icmp_bad_checksum);
  EXPECT_FALSE(Icmpv6View::checked(Bytes{message}.first(7), kernel_ip6, host_ip6, why));
  EXPECT_EQ(why, DropReason::icmp_short);
}

TEST(NeighborDiscovery, KnowsTheRules) {
  using namespace neighbor_discovery;
  const auto check = [](const Buffer& body, std::uint8_t hops = 255, std::uint8_t code = 0,
                        std::uint8_t type = icmpv6_type::neighbor_solicitation,
                        const Ipv6Address& source = kernel_ip6, const Ipv6Address& destination = host_ip6,
                        std::uint32_t rest = 0) {
    const Buffer packet =
        icmpv6_packet({.type = type, .code = code, .rest = rest}, body, source, destination, hops);
    DropReason why{};
    const IpView ip = IpView::checked(packet, why).value();
    return Message::checked(Icmpv6View::checked(ip.payload(), source, destination, why).value(), ip);
  };
  const Buffer target = hex("fd000000000000000000000000000002");
  const Buffer option = hex("01 01 020000000001");
  EXPECT_TRUE(check(target));
  const auto message = check(joined(target, option));
  ASSERT_TRUE(message);
  EXPECT_EQ(message->target, host_ip6);
  EXPECT_EQ(message->source_mac, packets::kernel_mac);
  EXPECT_FALSE(check(target, 254)) << "forwarded";
  EXPECT_FALSE(check(target, 255, 1));
  EXPECT_FALSE(check(target, 255, 0, icmpv6_type::redirect));
  EXPECT_FALSE(check(Buffer(15)));
  EXPECT_FALSE(check(hex("ff020000000000000000000000000001"))) << "a group";
  EXPECT_FALSE(check(joined(target, hex("01 00 000000000000")))) << "length 0";
  EXPECT_FALSE(check(joined(target, hex("01 02 020000000001"))));
  EXPECT_FALSE(check(joined(target, hex("01 01 02"))));
  const Ipv6Address group = solicited_node(host_ip6);
  EXPECT_EQ(to_string(group), "ff02::1:ff00:2");
  EXPECT_EQ(to_string(group_mac(group)), "33:33:ff:00:00:02");
  EXPECT_EQ(to_string(link_local(packets::host_mac)), "fe80::ff:fe00:2");
  EXPECT_TRUE(check(target, 255, 0, icmpv6_type::neighbor_solicitation, {}, group));
  EXPECT_FALSE(check(target, 255, 0, icmpv6_type::neighbor_solicitation, {}, host_ip6))
      << "a probe to no group";
  EXPECT_FALSE(check(joined(target, option), 255, 0, icmpv6_type::neighbor_solicitation, {}, group));
  EXPECT_TRUE(check(target, 255, 0, icmpv6_type::neighbor_advertisement));
  EXPECT_FALSE(
      check(target, 255, 0, icmpv6_type::neighbor_advertisement, kernel_ip6, all_nodes(), solicited_flag));
  EXPECT_TRUE(check({}, 255, 0, icmpv6_type::router_solicitation, {}, all_routers()));
}

}  // namespace
}  // namespace tunport
