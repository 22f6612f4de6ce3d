// Random streams of packets through the demultiplexers: what is delivered, and each counted drop, is as a
// naive decoder has it.
#include <chrono>
#include <set>
#include <sstream>

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/icmpv6.hpp"

#include "support/naive_decoder.hpp"

namespace tunport {
namespace {

using naive::Delivery;
using packet_stream::Octets;
using Deliveries = std::vector<Delivery>;

Octets octets(Bytes bytes) {
  Octets all;
  for (const std::byte byte : bytes) all.push_back(std::to_integer<std::uint8_t>(byte));
  return all;
}

template <class Address>
Octets octets_of(const Address& address) {
  std::array<std::byte, Address::size> bytes;
  address.store(bytes, 0);
  return octets(bytes);
}

Octets octets(const IpAddress& address) {
  return address.is_v4() ? octets_of(address.v4()) : octets_of(address.v6());
}

struct ArpRecorder : NetworkProtocol {
  explicit ArpRecorder(Deliveries& to) : delivered{to} {}
  void packet_received(Bytes payload, const Arrival& arrival) override {
    DropReason why{};
    const auto arp = ArpView::checked(payload, why);
    if (!arp) return arrival.transport.drop(why);
    Octets macs = octets_of(arp->sender_mac());
    packet_stream::add(macs, octets_of(arp->target_mac()));
    delivered.push_back({.layer = "arp",
                         .source = octets_of(arp->sender_ip()),
                         .destination = octets_of(arp->target_ip()),
                         .protocol = arp->operation(),
                         .payload = macs});
  }
  Deliveries& delivered;
};

/// Notes every datagram, and reads ICMP.
struct IpRecorder : TransportProtocol {
  explicit IpRecorder(Deliveries& to) : delivered{to} {}
  void datagram_received(const IpDatagram& datagram) override {
    delivered.push_back({.layer = "ip",
                         .source = octets(datagram.source()),
                         .destination = octets(datagram.destination()),
                         .protocol = datagram.protocol(),
                         .hop_limit = datagram.ip.hop_limit(),
                         .traffic_class = datagram.ip.traffic_class(),
                         .payload = octets(datagram.payload())});
    if (datagram.protocol() == (datagram.ip.is_v4() ? ip_protocol::icmp : ip_protocol::icmpv6))
      icmp(datagram);
  }
  void icmp(const IpDatagram& datagram) {
    DropReason why{};
    const auto note = [&](const auto& view) {
      if (!view) return datagram.arrival.transport.drop(why);
      Octets rest = octets(view->bytes());
      rest.erase(rest.begin(), rest.begin() + 4);
      delivered.push_back({.layer = "icmp", .first = view->type() * 256U + view->code(), .payload = rest});
    };
    if (datagram.ip.is_v4())
      note(IcmpView::checked(datagram.payload(), why));
    else
      note(Icmpv6View::checked(datagram.payload(), datagram.source().v6(), datagram.destination().v6(), why));
  }
  Deliveries& delivered;
};

struct UdpRecorder : DatagramProtocol {
  explicit UdpRecorder(Deliveries& to) : delivered{to} {}
  void datagram_received(const Datagram& datagram) override {
    delivered.push_back({.layer = "udp",
                         .source = octets(datagram.from.address),
                         .destination = octets(datagram.to.address),
                         .traffic_class = datagram.traffic_class,
                         .first = datagram.from.port,
                         .second = datagram.to.port,
                         .to_group = datagram.to_group,
                         .payload = octets(datagram.data)});
  }
  Deliveries& delivered;
};

std::ostream& operator<<(std::ostream& out, const Octets& bytes) {
  return out << packets::to_hex(
             as_bytes(std::string_view{reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
}

std::string text_of(const Delivery& one) {
  std::ostringstream out;
  out << one.layer << ' ' << one.source << " > " << one.destination << " protocol " << one.protocol
      << " hops " << one.hop_limit << " class " << one.traffic_class << " numbers " << one.first << ' '
      << one.second << (one.to_group ? " group " : " ") << one.payload;
  return out.str();
}

std::string text_of(const Octets& packet) {
  std::ostringstream out;
  out << packet;
  return out.str();
}

/// The demultiplexers of a port with recorders behind each.
class Stack {
 public:
  Stack(bool ethernet, bool any_vlan)
      : port{ethernet ? DeviceKind::tap : DeviceKind::tun},
        ethernet_{{.address = MacAddress{{2, 0, 0, 0, 0, 2}}, .any_vlan = any_vlan}} {
    ethernet_.add_proto(ethertype::arp, arp_);
    ethernet_.add_proto(ethertype::ipv4, ip_);
    ethernet_.add_proto(ethertype::ipv6, ip_);
    for (const int number : {ip_protocol::icmp, ip_protocol::icmpv6, ip_protocol::udp})
      ip_.add_proto(number, recorder_);
    ip_.add_proto(ip_protocol::udp, udp_);
    udp_.add_proto(42, datagrams_);
    udp_.add_proto(4242, datagrams_);
  }
  void receive(const Octets& packet) {
    packets::Buffer bytes;
    for (const std::uint8_t octet : packet) bytes.push_back(std::byte{octet});
    if (port.kind() == DeviceKind::tap)
      port.deliver(ethernet_, bytes);
    else
      port.deliver(ip_, bytes);
  }
  std::map<DropReason, std::uint64_t> drops() const {
    std::map<DropReason, std::uint64_t> all;
    port.drops.for_each([&](DropReason reason, std::uint64_t count) { all[reason] = count; });
    return all;
  }

  Deliveries delivered;
  FakeTransport port;

 private:
  ArpRecorder arp_{delivered};
  IpRecorder recorder_{delivered};
  UdpRecorder datagrams_{delivered};
  EthernetDemux ethernet_;
  IpDemux ip_;
  UdpDemux udp_;
};

/// The outcomes of a stream, for a look at its variety.
struct Seen {
  std::set<DropReason> reasons;
  std::map<std::string, std::size_t> layers;
  std::uint64_t packets = 0;
};

/// The first difference between the demultiplexers and the naive decoder over the packets; empty without one.
std::string difference(const std::vector<Octets>& packets, const naive::Options& options,
                       Seen* seen = nullptr) {
  Stack stack{options.ethernet, options.any_vlan};
  naive::Decoder decoder{options};
  std::ostringstream out;
  std::size_t compared = 0;
  const auto compare = [&](const std::string& what) {
    const bool same = stack.delivered.size() == decoder.delivered.size() &&
                      std::equal(stack.delivered.begin() + static_cast<long>(compared), stack.delivered.end(),
                                 decoder.delivered.begin() + static_cast<long>(compared)) &&
                      stack.drops() == decoder.drops;
    if (!same) {
      out << "after " << what << ":\n";
      for (std::size_t i = compared; i < stack.delivered.size(); ++i)
        out << "  delivered " << text_of(stack.delivered[i]) << '\n';
      for (std::size_t i = compared; i < decoder.delivered.size(); ++i)
        out << "  expected  " << text_of(decoder.delivered[i]) << '\n';
      out << "  drops " << stack.port.drops << ", expected";
      for (const auto& [reason, count] : decoder.drops) out << ' ' << to_string(reason) << ' ' << count;
      out << '\n';
    }
    compared = stack.delivered.size();
    return same;
  };
  for (const Octets& packet : packets) {
    stack.receive(packet);
    decoder.receive(packet);
    if (!compare(text_of(packet))) return out.str();
  }
  stack.port.clock.advance(std::chrono::seconds{61});
  decoder.finish();
  if (!compare("the time of the fragments")) return out.str();
  if (seen != nullptr) {
    for (const auto& [reason, count] : decoder.drops) seen->reasons.insert(reason);
    for (const Delivery& one : decoder.delivered) ++seen->layers[one.layer];
    seen->packets += packets.size();
  }
  return {};
}

RC_GTEST_PROP(DemuxProperty, StreamsAreDecodedAsByTheNaiveDecoder,
              (const std::vector<std::uint32_t>& seeds)) {
  const bool ethernet = *rc::gen::arbitrary<bool>();
  const bool any_vlan = *rc::gen::arbitrary<bool>();
  RC_ASSERT(
      difference(packet_stream::stream(seeds, ethernet), {.ethernet = ethernet, .any_vlan = any_vlan}) == "");
}

// The same streams on every machine, and many of them.
TEST(DemuxProperty, ManyFixedStreamsAreDecodedAsByTheNaiveDecoder) {
  for (const bool ethernet : {true, false}) {
    Seen seen;
    for (std::uint32_t first = 0; first < 300; ++first) {
      std::vector<std::uint32_t> seeds(40);
      for (std::size_t i = 0; i < seeds.size(); ++i) seeds[i] = first * 1000 + static_cast<std::uint32_t>(i);
      const auto packets = packet_stream::stream(seeds, ethernet);
      ASSERT_EQ(difference(packets, {.ethernet = ethernet, .any_vlan = first % 2 == 1}, &seen), "") << first;
    }
    // The streams reach every layer and every reason.
    EXPECT_GT(seen.packets, 15'000U);
    for (const char* layer : {"ip", "icmp", "udp"}) EXPECT_GT(seen.layers[layer], 500U) << layer;
    std::set<DropReason> expected{DropReason::ip_short,
                                  DropReason::ip_bad_version,
                                  DropReason::ip_bad_header_length,
                                  DropReason::ip_bad_total_length,
                                  DropReason::ip_bad_checksum,
                                  DropReason::ip_fragment,
                                  DropReason::ip_bad_fragment,
                                  DropReason::ip_bad_option,
                                  DropReason::ip_source_route,
                                  DropReason::icmp_short,
                                  DropReason::icmp_bad_checksum,
                                  DropReason::unknown_ip_protocol,
                                  DropReason::udp_short,
                                  DropReason::udp_bad_length,
                                  DropReason::udp_bad_checksum,
                                  DropReason::unknown_udp_port};
    if (ethernet)
      expected.insert({DropReason::ethernet_short, DropReason::ethernet_wrong_mac, DropReason::vlan_tagged,
                       DropReason::unknown_ethertype, DropReason::arp_malformed});
    EXPECT_EQ(seen.reasons, expected);
    EXPECT_EQ(seen.layers["arp"] > 500U, ethernet);
  }
}

}  // namespace
}  // namespace tunport
