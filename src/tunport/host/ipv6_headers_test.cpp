/// IPv6 headers of no well-behaved stack, into a host: what is answered, what the sender is told of, and what
/// is dropped in silence.

#include <algorithm>
#include <array>
#include <chrono>
#include <numeric>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tunport/host/host.hpp"
#include "tunport/testing/fake_transport.hpp"

#include "support/ipv6_chain.hpp"

namespace tunport {
namespace {

using namespace std::chrono_literals;
using namespace ipv6_kit;
using neighbor_discovery::all_nodes;
using neighbor_discovery::group_mac;
using packets::hex;
using packets::host_mac;
using packets::kernel_mac;
using testing::IsEmpty;
using testing::SizeIs;
using Code = Ipv6Problem::Code;
using Types = std::vector<std::uint8_t>;

constexpr std::uint8_t destination_options = ip_protocol::destination_options;
constexpr std::uint8_t hop_by_hop = ip_protocol::hop_by_hop;
const Ipv6Address host_local = neighbor_discovery::link_local(host_mac);

/// The start of an echo request, as the data of a fragment.
Buffer echo_data(std::size_t size) {
  Buffer data(size);
  store_u8(data, 0, icmpv6_type::echo_request);
  return data;
}

/// A TAP with a host at fd00::2, behind its probes.
class Ipv6Headers : public testing::Test {
 protected:
  Ipv6Headers() {
    host.ethernet().connect(tap);
    host.announce(tap);
    tap.clock.advance(2s);
    tap.written.clear();
  }
  ~Ipv6Headers() override { host.ethernet().disconnect(tap); }

  void deliver(const Buffer& packet, const MacAddress& to = host_mac) {
    tap.deliver(host.ethernet(),
                packets::ethernet({.destination = to, .ethertype = ethertype::ipv6}, packet));
  }
  /// The number of echo replies since the last call; nothing else was written or dropped.
  std::size_t echoes() {
    EXPECT_EQ(tap.drops.total(), 0U) << tap.drops;
    std::size_t count = 0;
    for (const Buffer& frame : std::exchange(tap.written, {})) {
      const Buffer packet{frame.begin() + 14, frame.end()};
      DropReason why{};
      const auto ip = IpView::checked(packet, why);
      if (!ip || ip->protocol() != ip_protocol::icmpv6) return 0;
      const auto icmp = Icmpv6View::checked(ip->payload(), ip->source().v6(), ip->destination().v6(), why);
      EXPECT_TRUE(icmp && icmp->type() == icmpv6_type::echo_reply) << packets::to_hex(frame);
      ++count;
    }
    tap.drops = {};
    return count;
  }
  /// Expects a drop for `reason` and no answer.
  void expect_silence(DropReason reason, const Buffer& packet, const char* what,
                      const MacAddress& to = host_mac) {
    deliver(packet, to);
    EXPECT_THAT(std::exchange(tap.written, {}), IsEmpty()) << what;
    expect_drop(reason, what);
  }
  /// Expects a drop for `reason`, and a "parameter problem" that quotes `quoted`, from `source`.
  void expect_problem(DropReason reason, Code code, std::size_t pointer, const Buffer& packet,
                      const char* what, const Ipv6Address& source = host_ip6,
                      const MacAddress& to = host_mac) {
    const std::uint64_t before = problems();
    deliver(packet, to);
    const auto written = std::exchange(tap.written, {});
    ASSERT_THAT(written, SizeIs(1)) << what;
    DropReason why{};
    const auto frame = EthernetView::checked(written[0], why);
    ASSERT_TRUE(frame) << what;
    EXPECT_EQ(frame->destination(), kernel_mac) << what;
    const auto ip = IpView::checked(frame->payload(), why);
    ASSERT_TRUE(ip && ip->protocol() == ip_protocol::icmpv6) << what;
    EXPECT_EQ(ip->source(), source) << what;
    EXPECT_EQ(ip->destination(), Ipv6Address::load(packet, 8)) << what;
    const auto icmp = Icmpv6View::checked(ip->payload(), ip->source().v6(), ip->destination().v6(), why);
    ASSERT_TRUE(icmp) << what;
    EXPECT_EQ(icmp->type(), icmpv6_type::parameter_problem) << what;
    EXPECT_EQ(icmp->code(), static_cast<std::uint8_t>(code)) << what;
    EXPECT_EQ(icmp->rest(), pointer) << what;
    const Bytes quoted = icmp->payload();
    EXPECT_EQ(Buffer(quoted.begin(), quoted.end()),
              Buffer(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(quoted.size())))
        << what;
    EXPECT_EQ(quoted.size(), std::min<std::size_t>(packet.size(), 1280 - 48)) << what;
    EXPECT_EQ(problems(), before + 1) << what;
    expect_drop(reason, what);
    tap.clock.advance(1s);  // the rate is another test's
  }

  FakeTransport tap;
  Host host{{.addresses = {"10.0.0.2", "fd00::2"}, .mac = host_mac, .subnets = {"fd00::1/64"}}};

 private:
  /// Problems told, of headers and of unknown protocols.
  std::uint64_t problems() const {
    return host.statistics().parameter_problems + host.statistics().protocol_unreachable;
  }
  void expect_drop(DropReason reason, const char* what) {
    EXPECT_EQ(tap.drops[reason], 1U) << what << ": " << tap.drops;
    EXPECT_EQ(tap.drops.total(), 1U) << what << ": " << tap.drops;
    tap.drops = {};
  }
};

TEST_F(Ipv6Headers, InEveryOrderBehindTheHopByHopOptionsAreSkipped) {
  const std::array<Extension, 4> all{options(destination_options), routing(0), fragment_header(),
                                     options(destination_options, hex("1e 08 01 02 03 04 05 06 07 08"))};
  std::array<std::size_t, 4> order{};
  std::iota(order.begin(), order.end(), 0U);
  std::size_t count = 0;
  do {
    for (std::size_t size = 0; size <= order.size(); ++size)
      for (const bool hops : {false, true}) {
        std::vector<Extension> headers;
        if (hops) headers.push_back(options(hop_by_hop, hex("05 02 00 00")));
        for (std::size_t i = 0; i < size; ++i) headers.push_back(all[order[i]]);
        deliver(chain_echo(headers));
        EXPECT_EQ(echoes(), 1U) << ++count;
      }
  } while (std::ranges::next_permutation(order).found);
  deliver(chain_echo(std::vector<Extension>(180, options(destination_options))));
  EXPECT_EQ(echoes(), 1U) << "a long chain";
}

TEST_F(Ipv6Headers, TheSenderIsToldOfAnOptionToBeUnderstood) {
  for (const std::uint8_t type : {hop_by_hop, destination_options}) {
    deliver(chain_echo({options(type, hex("1e 02 00 00"))}));
    EXPECT_EQ(echoes(), 1U) << "00: skipped";
    expect_silence(DropReason::ip_bad_option, chain_echo({options(type, hex("5e 02 00 00"))}), "01");
    expect_problem(DropReason::ip_bad_option, Code::option, 42,
                   chain_echo({options(type, hex("9e 02 00 00"))}), "10");
    expect_problem(DropReason::ip_bad_option, Code::option, 42,
                   chain_echo({options(type, hex("de 02 00 00"))}), "11");
    expect_problem(DropReason::ip_bad_option, Code::option, 47,
                   chain_echo({options(type, hex("1e 02 00 00 00 de 01 00"))}), "behind others");
    expect_silence(DropReason::ip_bad_option, chain_echo({options(type, hex("5e 00 de 00"))}),
                   "the first decides");
    expect_silence(DropReason::ip_bad_option, chain_echo({options(type, hex("1e 05 00 00"))}), "cut off");
  }
  expect_problem(DropReason::ip_bad_option, Code::option, 50,
                 chain_echo({options(hop_by_hop), options(destination_options, hex("c2 04 00 01 00 00"))}),
                 "in the second header");
}

TEST_F(Ipv6Headers, AGroupTellsOfAnOptionOfType10Only) {
  const auto to = [](const Ipv6Address& source, const Ipv6Address& group, const char* option) {
    return chain_echo({options(destination_options, hex(option))}, source, group);
  };
  const MacAddress mac = group_mac(all_nodes());
  expect_problem(DropReason::ip_bad_option, Code::option, 42, to(kernel_ip6, all_nodes(), "9e 02 00 00"),
                 "10", host_ip6, mac);
  expect_problem(DropReason::ip_bad_option, Code::option, 42, to("fe80::9", all_nodes(), "9e 02 00 00"),
                 "10, link-local", host_local, mac);
  expect_silence(DropReason::ip_bad_option, to(kernel_ip6, all_nodes(), "de 02 00 00"), "11", mac);
  expect_silence(DropReason::ip_bad_option, to(kernel_ip6, "ff02::1234", "9e 02 00 00"), "not joined",
                 group_mac("ff02::1234"));
}

TEST_F(Ipv6Headers, NobodyIsToldWhereNoErrorIsDue) {
  const std::vector<Extension> bad{options(destination_options, hex("9e 02 00 00"))};
  const DropReason reason = DropReason::ip_bad_option;
  expect_silence(reason, chain_echo(bad, kernel_ip6, "fd00::99"), "for another host");
  expect_silence(reason, chain_echo(bad, {}), "from nobody");
  expect_silence(reason, chain_echo(bad, all_nodes()), "from a group");
  expect_silence(reason, chain_echo(bad, "::1"), "from loopback");
  expect_silence(reason, chain_echo(bad, host_ip6), "from the host's own address");
  expect_silence(reason, chain_echo(bad), "in a frame for all", MacAddress::broadcast());
  for (const std::uint8_t type : Types{1, 2, 3, 4, 100, 127, 137}) {
    expect_silence(reason, chain_icmpv6(bad, {.type = type}, Buffer(48)), "an ICMPv6 error, or a redirect");
    std::vector<Extension> fragmented = bad;
    fragmented.push_back(fragment_header(0, true));
    fragmented.push_back(options(destination_options));
    expect_silence(reason, chain_icmpv6(fragmented, {.type = type}, Buffer(48)), "behind further headers");
  }
  expect_problem(reason, Code::option, 42, chain_icmpv6(bad, {.type = 129}), "an echo reply is no error");
  tap.deliver(host.ethernet(), packets::ethernet({.ethertype = ethertype::ipv4}, chain_echo(bad)));
  EXPECT_THAT(tap.written, IsEmpty()) << "in a frame of IPv4";
  EXPECT_EQ(tap.drops[reason], 1U);
}

TEST(Ipv6HeadersOfAHostOfIpv4, HaveNoAnswer) {
  Host host{{.addresses = {"10.0.0.2"}}};
  FakeTransport tun{DeviceKind::tun};
  tun.deliver(host.ip(), chain_echo({options(destination_options, hex("9e 02 00 00"))}));
  EXPECT_THAT(tun.written, IsEmpty());
  EXPECT_EQ(tun.drops[DropReason::ip_bad_option], 1U);
  host.ip().lose_transport(&tun);
}

TEST(Ipv6HeadersOnTun, HaveAnAnswerToo) {
  Host host{{.addresses = {"fd00::2"}}};
  FakeTransport tun{DeviceKind::tun};
  host.ip().connect(tun);
  tun.deliver(host.ip(), chain_echo({options(destination_options, hex("9e 02 00 00"))}));
  EXPECT_THAT(tun.written, SizeIs(1));
  EXPECT_EQ(host.statistics().parameter_problems, 1U);
  host.ip().disconnect(tun);
}

TEST_F(Ipv6Headers, TheErrorsHaveARate) {
  const Buffer bad = chain_echo({options(destination_options, hex("9e 02 00 00"))});
  for (int i = 0; i < 60; ++i) deliver(bad);
  EXPECT_EQ(host.statistics().parameter_problems, 50U);
  EXPECT_THAT(tap.written, SizeIs(50));
  EXPECT_EQ(tap.drops[DropReason::ip_bad_option], 50U);
  EXPECT_EQ(tap.drops[DropReason::rate_limited], 10U);
}

TEST_F(Ipv6Headers, HopByHopOptionsComeFirstOrNotAtAll) {
  const DropReason reason = DropReason::unknown_ip_protocol;
  expect_problem(reason, Code::next_header, 40,
                 chain_echo({options(destination_options), options(hop_by_hop)}), "second");
  expect_problem(reason, Code::next_header, 40, chain_echo({options(hop_by_hop), options(hop_by_hop)}),
                 "twice");
  expect_problem(reason, Code::next_header, 48,
                 chain_echo({options(destination_options), fragment_header(), options(hop_by_hop)}),
                 "behind an atomic fragment's header");
}

TEST_F(Ipv6Headers, TheSenderIsToldOfAnUnknownHeaderBehindOthers) {
  for (const std::uint8_t unknown : Types{4, 41, 47, 50, 51, 132, 135, 139, 140, 253, 255}) {
    deliver(chain({options(hop_by_hop), routing(0)}, unknown, Buffer(20)));
    const auto written = std::exchange(tap.written, {});
    ASSERT_THAT(written, SizeIs(1)) << int{unknown};
    const Buffer& frame = written[0];
    EXPECT_EQ(load_u8(frame, 14 + 40), icmpv6_type::parameter_problem);
    EXPECT_EQ(load_u8(frame, 14 + 41), 1U) << "unrecognized next header";
    EXPECT_EQ(load_be32(frame, 14 + 44), 48U) << "in the routing header";
    EXPECT_EQ(tap.drops[DropReason::unknown_ip_protocol], 1U);
    tap.drops = {};
  }
  EXPECT_EQ(host.statistics().protocol_unreachable, 11U);
  expect_silence(DropReason::unknown_ip_protocol, chain({routing(0)}, ip_protocol::no_next_header, {}),
                 "no next header");
}

TEST_F(Ipv6Headers, OfASourceRouteWithStationsLeftAreRefused) {
  deliver(chain_echo({routing(0)}));
  EXPECT_EQ(echoes(), 1U) << "at the end of the route";
  for (const std::uint8_t type : Types{0, 2, 3, 4, 200})
    expect_problem(DropReason::ip_source_route, Code::header_field, 42, chain_echo({routing(1, type)}),
                   "the type of the routing header");
  expect_problem(DropReason::ip_source_route, Code::header_field, 50,
                 chain_echo({options(hop_by_hop), routing(255)}), "more stations than addresses");
  expect_silence(DropReason::ip_source_route, chain_echo({routing(1)}, kernel_ip6, all_nodes()), "to a group",
                 group_mac(all_nodes()));
}

TEST_F(Ipv6Headers, LengthsThatRunOverAreDroppedInSilence) {
  const DropReason reason = DropReason::ip_bad_header_length;
  for (const std::uint8_t type : {hop_by_hop, destination_options, ip_protocol::routing}) {
    const Buffer whole = chain_echo({type == ip_protocol::routing ? routing(0) : options(type, Buffer(14))});
    for (const unsigned length : {4U, 16U, 255U}) {
      Buffer longer = whole;
      store_u8(longer, 41, static_cast<std::uint8_t>(length));
      expect_silence(reason, longer, "a header longer than the packet");
    }
    for (std::size_t size = 40; size < 56; ++size) {
      Buffer cut{whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)};
      store_be16(cut, 4, static_cast<std::uint16_t>(size - 40));
      expect_silence(reason, cut, "a header cut off");
    }
  }
  const Buffer fragment = chain_echo({fragment_header()});
  for (std::size_t size = 40; size < 48; ++size) {
    Buffer cut{fragment.begin(), fragment.begin() + static_cast<std::ptrdiff_t>(size)};
    store_be16(cut, 4, static_cast<std::uint16_t>(size - 40));
    expect_silence(reason, cut, "a fragment header cut off");
  }
  Buffer short_packet = chain_echo({});
  store_be16(short_packet, 4, 9);
  expect_silence(DropReason::ip_bad_total_length, short_packet, "a payload longer than the packet");
  store_be16(short_packet, 4, 7);
  expect_silence(DropReason::icmp_short, short_packet, "a payload shorter than its header");
}

TEST_F(Ipv6Headers, JumbogramsAreNotSupported) {
  Buffer jumbo = chain_echo({options(hop_by_hop, hex("c2 04 00 01 00 00"))});
  expect_problem(DropReason::ip_bad_option, Code::option, 42, jumbo, "the option alone");
  store_be16(jumbo, 4, 0);
  expect_silence(DropReason::ip_bad_header_length, jumbo, "a payload length of 0 (RFC 2675 3)");
  Buffer empty = chain_echo({});
  store_be16(empty, 4, 0);
  expect_silence(DropReason::icmp_short, empty, "an empty payload");
}

TEST_F(Ipv6Headers, TheSenderIsToldOfAFragmentOfAWrongSize) {
  const DropReason reason = DropReason::ip_bad_fragment;
  const Extension more = fragment_header(0, true);
  expect_problem(reason, Code::header_field, 4, chain({more}, 58, echo_data(9)), "not a multiple of 8");
  expect_problem(reason, Code::header_field, 4, chain({options(hop_by_hop), more}, 58, echo_data(1231)),
                 "behind options");
  expect_problem(reason, Code::header_field, 42, chain({fragment_header(65'528)}, 58, Buffer(8)),
                 "65,536 bytes");
  deliver(chain({fragment_header(65'528)}, 58, Buffer(7)));
  EXPECT_THAT(tap.written, IsEmpty()) << "65,535 bytes wait";
  EXPECT_EQ(tap.drops.total(), 0U);
  const std::vector<Extension> behind{options(destination_options), fragment_header(65'528)};
  expect_problem(reason, Code::header_field, 50, chain(behind, 58, Buffer(7)),
                 "with the other headers, which count as well");
  expect_problem(reason, Code::header_field, 4, chain({fragment_header(65'528, true)}, 58, echo_data(9)),
                 "both: the length is looked at first");
  expect_silence(reason, chain({fragment_header(8)}, 58, {}), "nothing in it");
  expect_silence(DropReason::ip_wrong_address, chain({more}, 58, echo_data(9), kernel_ip6, all_nodes()),
                 "to a group", group_mac(all_nodes()));
  expect_silence(DropReason::ip_wrong_address, chain({more}, 58, echo_data(9), kernel_ip6, "fd00::99"),
                 "for another host");
  Buffer error(9);
  store_u8(error, 0, icmpv6_type::time_exceeded);
  expect_silence(reason, chain({more}, 58, error), "of an ICMPv6 error");
}

TEST_F(Ipv6Headers, AFaultBehindAFragmentHeaderIsToldOfTheWhole) {
  const Buffer whole = chain_echo({options(destination_options, hex("9e 02 00 00"))});
  Buffer payload{whole.begin() + 40, whole.end()};
  payload.resize(24);  // the options and the ICMPv6 header stand in the first fragment (RFC 8200 4.5)
  deliver(chain({fragment_header(0, true)}, destination_options, Bytes{payload}.first(16)));
  EXPECT_THAT(tap.written, IsEmpty());
  deliver(chain({fragment_header(16)}, destination_options, Bytes{payload}.subspan(16)));
  ASSERT_THAT(tap.written, SizeIs(1));
  EXPECT_EQ(load_u8(tap.written[0], 14 + 41), 2U);
  EXPECT_EQ(load_be32(tap.written[0], 14 + 44), 42U);
  EXPECT_EQ(tap.drops[DropReason::ip_bad_option], 1U);
  EXPECT_EQ(tap.drops.total(), 1U);
}

TEST_F(Ipv6Headers, AnAtomicFragmentIsNotMixedWithOthersOfItsNumber) {
  const Buffer echo = icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(24));
  const auto parts = fragments(echo, 16);
  deliver(parts[0]);
  deliver(chain_echo({fragment_header()}));
  EXPECT_EQ(echoes(), 1U) << "RFC 6946: whole at once";
  deliver(parts[1]);
  EXPECT_EQ(echoes(), 1U) << "the other datagram goes on";
}

TEST_F(Ipv6Headers, FragmentsOfTwoDatagramsMayAlternate) {
  const auto one = fragments(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(100)), 16, 1);
  const auto other = fragments(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(100)), 16, 2);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_THAT(tap.written, IsEmpty());
    deliver(one[i]);
    deliver(other[other.size() - 1 - i]);
  }
  EXPECT_EQ(echoes(), 2U);
  // The same number from two senders.
  const auto of = [](const Ipv6Address& source) {
    return fragments(icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(40), source), 24, 3);
  };
  deliver(of("fd00::3")[0]);
  deliver(of("fd00::4")[1]);
  EXPECT_EQ(echoes(), 0U);
  deliver(of("fd00::4")[0]);
  deliver(of("fd00::3")[1]);
  EXPECT_EQ(echoes(), 2U);
}

TEST_F(Ipv6Headers, AnOverlapIsTheEndOfTheWholeDatagram) {
  const Buffer echo = icmpv6_packet({.type = icmpv6_type::echo_request}, Buffer(56));
  const auto parts = fragments(echo, 16);
  for (const std::size_t at : {8U, 24U}) {
    deliver(parts[0]);
    deliver(parts[1]);
    deliver(fragment(echo, at, 32, true));
    for (const Buffer& part : parts) deliver(part);  // RFC 5722: what comes later, too
    EXPECT_THAT(tap.written, IsEmpty());
    tap.clock.advance(61s);
    EXPECT_THAT(tap.written, IsEmpty()) << "in silence";
    EXPECT_EQ(tap.drops[DropReason::ip_bad_fragment], parts.size() + 3);
    EXPECT_EQ(tap.drops.total(), parts.size() + 3);
    tap.drops = {};
  }
  for (const Buffer& part : parts) deliver(part);
  EXPECT_EQ(echoes(), 1U) << "a later datagram of the number";
}

TEST_F(Ipv6Headers, AFragmentOfAFragmentIsNone) {
  const Buffer inner = chain({fragment_header(0, true, 5)}, 58, Buffer(16));
  const Bytes payload = Bytes{inner}.subspan(40);
  deliver(chain({fragment_header(0, true)}, ip_protocol::ipv6_fragment, payload.first(16)));
  deliver(chain({fragment_header(16)}, ip_protocol::ipv6_fragment, payload.subspan(16)));
  EXPECT_THAT(tap.written, IsEmpty());
  EXPECT_EQ(tap.drops[DropReason::ip_bad_fragment], 1U);
  EXPECT_EQ(tap.drops.total(), 1U);
}

}  // namespace
}  // namespace tunport
