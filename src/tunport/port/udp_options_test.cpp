/// The options of UDP ports, on the fake kernel and on the real loopback.

#include <cerrno>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "tunport/port/udp_port.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

namespace tunport {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

/// Records everything about datagrams and errors.
class Box : public DatagramProtocol {
 public:
  void datagram_received(const Datagram& datagram) override {
    received.emplace_back(as_text(datagram.data));
    heard.push_back(datagram);
    if (echo) transport().write_to(datagram.from, datagram.data);
  }
  void error_received(const DatagramError& error) override { errors.push_back(error); }
  std::vector<std::string> received;
  std::vector<Datagram> heard;  // without the data
  std::vector<DatagramError> errors;
  bool echo = false;
};

Endpoint at(const char* text) { return Endpoint::parse(text).value(); }

class UdpOptions : public testing::TestWithParam<const char*> {
 protected:
  PortOptions with(SocketOptions socket = {}) {
    if (fake) return {.socket = std::move(socket), .system = kernel};
    return {.socket = std::move(socket)};
  }
  UdpPort& start(const Endpoint& local, Box& box, SocketOptions socket = {}) {
    ports.push_back(std::make_unique<UdpPort>(clock, local, box, with(std::move(socket))));
    ports.back()->start_listening();
    return *ports.back();
  }
  /// The error of a start, and its subject.
  std::pair<int, std::string> refusal(const Endpoint& local, SocketOptions socket) {
    UdpPort port{clock, local, left, with(std::move(socket))};
    try {
      port.start_listening();
      return {0, ""};
    } catch (const CannotListenError& error) {
      EXPECT_EQ(port.fileno(), -1);
      return {error.code().value(), error.subject()};
    }
  }

  const bool fake = std::string_view{GetParam()} == "Fake";
  MemorySystem kernel;
  ManualReactor clock;
  Box left;
  Box right;
  std::vector<std::unique_ptr<UdpPort>> ports;
};

TEST_P(UdpOptions, AWildcardPortAnswersFromTheAddressThatWasAsked) {
  UdpPort& server = start(at("0.0.0.0:0"), right);
  UdpPort& client = start(at("127.0.0.1:0"), left);
  right.echo = true;
  for (const char* address : {"127.0.0.1", "127.0.0.9"}) {
    const Endpoint asked{*IpAddress::parse(address), server.get_host().port};
    EXPECT_TRUE(client.write_to(asked, as_bytes("hello")));
    clock.run_ready();
    EXPECT_EQ(right.heard.back().to, asked);
    EXPECT_FALSE(right.heard.back().to_group);
    EXPECT_EQ(left.heard.back().from, asked);
    EXPECT_EQ(left.heard.back().to, client.get_host());
  }
  right.echo = false;
  client.write_to({*IpAddress::parse("127.0.0.5"), server.get_host().port}, as_bytes("later"));
  clock.run_ready();
  const ReplyTo ticket = right.heard.back().reply_to();
  EXPECT_TRUE(right.transport().reply(ticket, as_bytes("answer")));
  EXPECT_TRUE(server.write_to(client.get_host(), as_bytes("chosen"), {.from = IpAddress{"127.0.0.6"}}));
  clock.run_ready();
  EXPECT_EQ(left.heard.at(2).from, ticket.from);
  EXPECT_EQ(left.heard.at(3).from.address, IpAddress{"127.0.0.6"});
  EXPECT_EQ(server.reply({client.get_host(), client.get_host()}, as_bytes("another port's")),
            WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(server.write_to(client.get_host(), as_bytes("x"), {.from = IpAddress{"192.0.2.77"}}),
            WriteResult::make_refused(DropReason::no_route));
  EXPECT_EQ(&right.transport().reactor(), &clock);
}

TEST_P(UdpOptions, AWildcardIpv6PortAnswersFromTheAddressThatWasAsked) {
  UdpPort& server = start(at("[::]:0"), right);
  UdpPort& client = start(at("[::1]:0"), left);
  right.echo = true;
  client.write_to({*IpAddress::parse("::1"), server.get_host().port}, as_bytes("hello"));
  clock.run_ready();
  EXPECT_EQ(right.heard.at(0).to, (Endpoint{*IpAddress::parse("::1"), server.get_host().port}));
  EXPECT_THAT(left.received, ElementsAre("hello"));
}

TEST_P(UdpOptions, DifferentSourcesAreNotGatheredIntoOneRun) {
  UdpPort& server = start(at("0.0.0.0:0"), right);
  UdpPort& client = start(at("127.0.0.1:0"), left);
  {
    const Cork cork{clock};
    for (const char* from : {"127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2"})
      EXPECT_TRUE(server.write_to(client.get_host(), as_bytes(from), {.from = *IpAddress::parse(from)}));
  }
  clock.run_ready();
  EXPECT_THAT(left.received, ElementsAre("127.0.0.2", "127.0.0.2", "127.0.0.3", "127.0.0.2"));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(to_string(left.heard[i].from.address), left.received[i]);
}

TEST_P(UdpOptions, TheTrafficClassIsSetAndRead) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    Box box;
    UdpPort& server = start(at(address), box, {.receive_traffic_class = true});
    UdpPort& client = start(at(address), left, {.traffic_class = 0x28});
    client.write_to(server.get_host(), as_bytes("by the port"));
    client.write_to(server.get_host(), as_bytes("by the call"), {.traffic_class = 0x02});
    clock.run_ready();
    ASSERT_THAT(box.heard, SizeIs(2)) << address;
    EXPECT_EQ(box.heard[0].traffic_class, 0x28);
    EXPECT_EQ(box.heard[1].traffic_class, 0x02) << "ECT(0)";
    ports.clear();
  }
}

TEST_P(UdpOptions, AConnectedPortKnowsItsPeerOnly) {
  UdpPort& server = start(at("127.0.0.1:0"), right);
  UdpPort& stranger = start(at("127.0.0.1:0"), right);
  UdpPort& client = start(at("0.0.0.0:0"), left, {.peer = server.get_host()});
  EXPECT_EQ(client.get_host().address, IpAddress{"127.0.0.1"}) << "chosen by the kernel";
  EXPECT_TRUE(client.write(as_bytes("hello")));
  std::error_code ec;
  EXPECT_EQ(client.write_some_data(as_bytes("again"), ec), 5U);
  stranger.write_to(client.get_host(), as_bytes("not for you"));
  server.write_to(client.get_host(), as_bytes("yes"));
  clock.run_ready();
  EXPECT_THAT(right.received, ElementsAre("hello", "again"));
  EXPECT_THAT(left.received, ElementsAre("yes"));
  EXPECT_THROW(server.write(as_bytes("x")), std::logic_error);
}

TEST_P(UdpOptions, AnErrorIsToldAndCountedAndTheNextDatagramGoes) {
  for (const char* address : {"127.0.0.1:0", "[::1]:0"}) {
    Box box;
    UdpPort& client = start(at(address), box);
    UdpPort& server = start(at(address), right);
    const Endpoint gone = [&] {
      UdpPort other{clock, at(address), left, with()};
      other.start_listening();
      return other.get_host();
    }();
    EXPECT_TRUE(client.write_to(gone, as_bytes("anybody?")));
    EXPECT_TRUE(client.write_to(server.get_host(), as_bytes("hello")));
    clock.run_ready();
    client.do_error();
    ASSERT_THAT(box.errors, SizeIs(1)) << address;
    EXPECT_EQ(box.errors[0].to, gone);
    EXPECT_EQ(box.errors[0].code, std::errc::connection_refused);
    EXPECT_EQ(box.errors[0].icmp_code, gone.address.is_v4() ? 3 : 4);
    EXPECT_EQ(box.errors[0].reporter, gone.address);
    EXPECT_EQ(client.errors().port_unreachable, 1U);
    EXPECT_TRUE(client.listening());
    EXPECT_EQ(client.statistics().drops.total(), 0U);
    EXPECT_EQ(right.received.back(), "hello");
    ports.clear();
  }
}

TEST_P(UdpOptions, GroupsAreJoinedAndLeft) {
  const SocketOptions on_lo{.multicast_hop_limit = 1, .multicast_loop = true, .multicast_device = "lo"};
  struct {
    const char* any;
    const char* group;
  } const families[] = {{"0.0.0.0:0", "239.1.2.3"}, {"[::]:0", "ff15::123"}};
  for (const auto& family : families) {
    SCOPED_TRACE(family.any);
    for (Box* const box : {&left, &right}) {
      box->received.clear();
      box->heard.clear();
    }
    UdpPort& member = start(at(family.any), right);
    UdpPort& sender = start(at(family.any), left, on_lo);
    const Endpoint group{*IpAddress::parse(family.group), member.get_host().port};
    member.join(group.address, "lo");
    EXPECT_THROW(member.join(group.address, "lo"), Error) << "a member already";
    if (fake || group.address.is_v4()) {  // the real "lo" has no route for IPv6 groups
      EXPECT_TRUE(sender.write_to(group, as_bytes("all")));
      clock.run_ready();
      ASSERT_THAT(right.received, ElementsAre("all"));
      EXPECT_EQ(right.heard[0].to.address, group.address);
      EXPECT_TRUE(right.heard[0].to_group);
      EXPECT_TRUE(member.reply(right.heard[0].reply_to(), as_bytes("one"))) << "not from the group's address";
      clock.run_ready();
      EXPECT_THAT(left.received, ElementsAre("one"));
    }
    member.leave(group.address, "lo");
    sender.write_to(group, as_bytes("nobody"));
    clock.run_ready();
    EXPECT_THAT(right.received, SizeIs(fake || group.address.is_v4() ? 1 : 0));
    std::error_code ec;
    member.leave(group.address, "lo", ec);
    EXPECT_EQ(ec, std::errc::address_not_available);
    member.join(*IpAddress::parse(group.address.is_v4() ? "192.0.2.1" : "fd00::1"), "lo", ec);
    EXPECT_EQ(ec, std::errc::invalid_argument);
    member.join(*IpAddress::parse(group.address.is_v4() ? "ff15::123" : "239.1.2.3"), "lo", ec);
    EXPECT_EQ(ec, std::errc::address_family_not_supported);
    member.join(group.address, "nosuch", ec);
    EXPECT_EQ(ec, std::errc::no_such_device);
    member.stop_listening();
    clock.run_ready();
    member.join(group.address, "lo", ec);
    EXPECT_EQ(ec, Errc::not_listening);
  }
}

TEST_P(UdpOptions, WithoutLoopGroupsOfThisHostHearNothing) {
  UdpPort& member = start(at("0.0.0.0:0"), right);
  UdpPort& sender = start(at("0.0.0.0:0"), left, {.multicast_loop = false, .multicast_device = "lo"});
  member.join(*IpAddress::parse("239.1.2.3"), "lo");
  EXPECT_TRUE(sender.write_to({*IpAddress::parse("239.1.2.3"), member.get_host().port}, as_bytes("x")));
  clock.run_ready();
  // The real loopback brings every packet back.
  EXPECT_THAT(right.received, SizeIs(fake ? 0 : 1));
}

TEST_P(UdpOptions, BroadcastsAreAskedFor) {
  UdpPort& all = start(at("0.0.0.0:0"), right);
  const Endpoint broadcast{*IpAddress::parse("127.255.255.255"), all.get_host().port};
  UdpPort& plain = start(at("127.0.0.1:0"), left);
  EXPECT_EQ(plain.write_to(broadcast, as_bytes("x")), WriteResult::make_refused(DropReason::kernel_refused));
  UdpPort& caller = start(at("127.0.0.1:0"), left, {.broadcast = true});
  EXPECT_TRUE(caller.write_to(broadcast, as_bytes("all")));
  clock.run_ready();
  ASSERT_THAT(right.received, ElementsAre("all"));
  EXPECT_TRUE(right.heard[0].to_group);
  EXPECT_TRUE(all.reply(right.heard[0].reply_to(), as_bytes("one")));
  clock.run_ready();
  EXPECT_THAT(left.received, ElementsAre("one"));
}

TEST_P(UdpOptions, ReusedPortsAreAgreedByAll) {
  UdpPort& first = start(at("127.0.0.1:0"), left, {.reuse_port = true});
  EXPECT_EQ(refusal(first.get_host(), {.reuse_port = true}).first, 0);
  EXPECT_EQ(refusal(first.get_host(), {}).first, EADDRINUSE);
}

TEST_P(UdpOptions, TheOptionsReachTheSocket) {
  UdpPort& port = start(at("127.0.0.1:0"), left,
                        {.device = "lo", .mark = 7, .hop_limit = 3, .path_mtu = PathMtu::dont_fragment});
  const auto option = [&](int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    EXPECT_EQ(port.options().system.io.getsockopt(port.fileno(), level, name, &value, &length), 0);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_MARK), 7);
  EXPECT_EQ(option(IPPROTO_IP, IP_TTL), 3);
  EXPECT_EQ(option(IPPROTO_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
  EXPECT_EQ(option(SOL_SOCKET, SO_RXQ_OVFL), 1);
  EXPECT_TRUE(port.write_to(port.get_host(), as_bytes("by lo")));
  clock.run_ready();
  EXPECT_THAT(left.received, ElementsAre("by lo"));
}

TEST_P(UdpOptions, ARefusedOptionIsNamed) {
  const Endpoint any = at("127.0.0.1:0");
  using Refusal = std::pair<int, std::string>;
  EXPECT_EQ(refusal(any, {.device = "nosuch"}), Refusal(ENODEV, "127.0.0.1:0, option device"));
  EXPECT_EQ(refusal(any, {.hop_limit = 0}), Refusal(EINVAL, "127.0.0.1:0, option hop_limit"));
  EXPECT_EQ(refusal(any, {.multicast_device = "nosuch"}),
            Refusal(ENODEV, "127.0.0.1:0, option multicast_device"));
  EXPECT_EQ(refusal(any, {.peer = at("[::1]:1")}), Refusal(EAFNOSUPPORT, "127.0.0.1:0, option peer"));
  EXPECT_EQ(refusal(at("192.0.2.77:0"), {}), Refusal(EADDRNOTAVAIL, "192.0.2.77:0"));
}

TEST_P(UdpOptions, TheProtocolIsSetBeforeTheStart) {
  UdpPort port{clock, at("127.0.0.1:0"), left, with()};
  port.set_protocol(right);
  port.start_listening();
  EXPECT_THROW(port.set_protocol(left), std::logic_error);
  port.write_to(port.get_host(), as_bytes("x"));
  clock.run_ready();
  EXPECT_THAT(right.received, SizeIs(1));
  EXPECT_THAT(left.received, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Systems, UdpOptions, testing::Values("Fake", "Kernel"),
                         [](const auto& system) { return std::string{system.param}; });

}  // namespace
}  // namespace tunport
