// The packets of a gate by hand-made segments, on the fake kernel, in virtual time.
#include "tunport/gate/tcp_gate_internal.hpp"
#include "tunport/wire/icmpv6.hpp"

#include "support/super_packet_kit.hpp"

namespace tunport {
namespace {

using namespace port_test;
using packets::tcp;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr const char* client = "10.0.0.1:40000";
constexpr const char* server = "198.51.100.7:80";
constexpr const char* listener = "10.0.0.1:9999";

/// A segment of the gate's own: a bare header, not to be fragmented.
Buffer own(const std::string& from, const std::string& to, const TcpHeader& fields) {
  std::array<std::byte, TcpHeader::size> header;
  TcpHeader numbered = fields;
  numbered.source_port = packets::endpoint(from).port;
  numbered.destination_port = packets::endpoint(to).port;
  const IpAddress source = packets::endpoint(from).address;
  const IpAddress destination = packets::endpoint(to).address;
  numbered.emit(header, {}, source, destination);
  return packets::ipv4({.dont_fragment = true,
                        .protocol = ip_protocol::tcp,
                        .source = source.v4(),
                        .destination = destination.v4()},
                       Bytes{header});
}

class TcpGates : public SuperPackets {
 protected:
  TcpGates() { make(); }

  /// Makes the gate, with the options as they are.
  void make() {
    port.reset();
    gate = std::make_unique<TcpGate>(
        options, statistics, [this](const FlowId& id) { requests.push_back(id); },
        [this](const FlowId& id) { expired.push_back(id); });
    gate->set_listener(packets::endpoint(listener));
    demux = std::make_unique<IpDemux>();
    demux->add_proto(ip_protocol::tcp, *gate);
    start(*demux);
  }
  ~TcpGates() override { port.reset(); }

  /// Has the kernel send a packet into the interface. Returns the packets written in answer.
  Packets send(const Buffer& packet) {
    EXPECT_TRUE(interface().inject(packet));
    clock.run_ready();
    return interface().collect();
  }
  Packets syn(const char* from = client) {
    return send(tcp(from, server, {.sequence = 100, .flags = tcp_flag::syn}));
  }
  /// "D:n", the name of the last flow at the listener.
  std::string peer(std::size_t request = 0) {
    const FlowTable& table = gate->table();
    return "198.51.100.7:" + std::to_string(table[table.find_id(requests.at(request))].port);
  }
  /// Makes a connection: the client's next number is 101, the kernel's 501.
  void connect() {
    syn();
    ASSERT_TRUE(gate->admit(requests.back()));
    interface().collect();
    send(tcp(listener, peer().c_str(),
             {.sequence = 500, .acknowledgment = 101, .flags = tcp_flag::syn | tcp_flag::ack}));
    send(tcp(client, server, {.sequence = 101, .acknowledgment = 501}));
    ASSERT_TRUE(gate->accepted(packets::endpoint(peer().c_str())).has_value());
  }
  Packets from_client(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgment,
                      std::string_view text = {}) {
    return send(
        tcp(client, server, {.sequence = sequence, .acknowledgment = acknowledgment, .flags = flags}, text));
  }
  Packets from_kernel(std::uint8_t flags, std::uint32_t sequence, std::uint32_t acknowledgment,
                      std::string_view text = {}) {
    const std::string to = peer();
    return send(tcp(listener, to.c_str(),
                    {.sequence = sequence, .acknowledgment = acknowledgment, .flags = flags}, text));
  }
  FlowState state() {
    const FlowTable& table = gate->table();
    return table[table.find_id(requests.at(0))].state;
  }

  GateOptions options;
  GateStatistics statistics;
  std::vector<FlowId> requests;
  std::vector<FlowId> expired;
  std::unique_ptr<TcpGate> gate;
  std::unique_ptr<IpDemux> demux;
};

constexpr std::uint8_t fin = tcp_flag::fin | tcp_flag::ack;
constexpr std::uint8_t ack = tcp_flag::ack;
constexpr std::uint8_t rst = tcp_flag::rst;

TEST_F(TcpGates, ASynIsHeldUntilTheDecision) {
  EXPECT_THAT(syn(), IsEmpty());
  ASSERT_THAT(requests, SizeIs(1));
  EXPECT_EQ(gate->ends(requests[0]),
            (FlowEnds{packets::ip("10.0.0.1"), packets::ip("198.51.100.7"), 40000, 80}));
  EXPECT_THAT(syn(), IsEmpty());  // the client's kernel tries again
  EXPECT_THAT(requests, SizeIs(1));
  EXPECT_EQ(statistics.repeated_syns, 1U);
  EXPECT_EQ(drops(DropReason::request_pending), 1U);
  const std::string to = peer();
  EXPECT_TRUE(gate->admit(requests[0]));
  EXPECT_THAT(interface().collect(),
              ElementsAre(tcp(to, listener, {.sequence = 100, .flags = tcp_flag::syn})));
  EXPECT_FALSE(gate->admit(requests[0]));
}

TEST_F(TcpGates, BothDirectionsAreRewritten) {
  connect();
  EXPECT_THAT(from_client(ack, 101, 501, "question"),
              ElementsAre(tcp(peer(), listener, {.sequence = 101, .acknowledgment = 501}, "question")));
  EXPECT_THAT(from_kernel(ack, 501, 109, "answer"),
              ElementsAre(tcp(server, client, {.sequence = 501, .acknowledgment = 109}, "answer")));
  EXPECT_EQ(statistics.accepted, 1U);
  EXPECT_EQ(gate->flows(), 1U);
}

TEST_F(TcpGates, ASuperPacketPassesWhole) {
  connect();
  Shape shape;
  shape.source4 = packets::ip("10.0.0.1");
  shape.destination4 = packets::ip("198.51.100.7");
  inject(shape, 30'000, 1000);
  clock.run_ready();
  const auto written = interface().collect_packets();
  ASSERT_THAT(written, SizeIs(1));
  EXPECT_TRUE(written[0].offload.is_super_packet());
  shape.source4 = shape.destination4;
  shape.destination4 = packets::ip("10.0.0.1");
  Buffer expected = shapes::super_packet(shape, shapes::some_bytes(30'000));
  EXPECT_TRUE(
      rewrite_ends(expected, written[0].offload, DeviceKind::tun,
                   {shape.source4, shape.destination4, packets::endpoint(peer().c_str()).port, 9999}));
  EXPECT_EQ(written[0].bytes, expected);
}

TEST_F(TcpGates, AConnectionEndsWithBothFins) {
  connect();
  from_client(fin, 101, 501);
  from_kernel(ack, 501, 102);
  EXPECT_EQ(state(), FlowState::open);  // half closed
  from_kernel(fin, 501, 102);
  EXPECT_EQ(state(), FlowState::closing);
  EXPECT_THAT(from_client(ack, 102, 502), SizeIs(1));
  EXPECT_EQ(state(), FlowState::lingering);
  EXPECT_EQ(gate->flows(), 0U);
  EXPECT_THAT(from_client(ack, 102, 502), SizeIs(1)) << "the last packets may come again";
  clock.advance(std::chrono::seconds{7});
  EXPECT_EQ(gate->table().size(), 0U);
  EXPECT_THAT(expired, IsEmpty());
}

TEST_F(TcpGates, ATimeWaitOfTheKernelsSocketIsEnded) {
  connect();
  const std::string to = peer();
  from_kernel(fin, 501, 101);
  from_client(fin, 101, 502);
  // The kernel's acknowledgment goes to the client, and a reset to the kernel: at the expected number.
  EXPECT_THAT(from_kernel(ack, 502, 102), SizeIs(2));
  EXPECT_EQ(state(), FlowState::lingering);
}

TEST_F(TcpGates, AClientsPortUsedAgainHasTheSamePort) {
  connect();
  const std::string before = peer();
  from_client(rst, 101, 0);
  EXPECT_EQ(state(), FlowState::lingering);
  syn();
  ASSERT_THAT(requests, SizeIs(2));
  EXPECT_EQ(peer(1), before);
}

TEST_F(TcpGates, ARefusalIsWhatTheClientWouldHaveSeen) {
  const struct {
    GateRefusal how;
    std::uint8_t code;
  } table[] = {{GateRefusal::host_unreachable, 1},
               {GateRefusal::network_unreachable, 0},
               {GateRefusal::prohibited, 13}};
  const Buffer packet = tcp(client, server, {.sequence = 100, .flags = tcp_flag::syn});
  for (const auto& row : table) {
    EXPECT_THAT(send(packet), IsEmpty());
    EXPECT_TRUE(gate->refuse(requests.back(), row.how));
    const Packets answer = interface().collect();
    ASSERT_THAT(answer, SizeIs(1));
    const packets::Layers layers = packets::dissect(answer[0]);
    ASSERT_TRUE(layers.icmp);
    EXPECT_EQ(layers.icmp->type(), icmp_type::destination_unreachable);
    EXPECT_EQ(layers.icmp->code(), row.code);
    EXPECT_EQ(copy(layers.icmp->payload()), packet);
    EXPECT_EQ(layers.ipv4->source(), packets::ip("198.51.100.7"));
  }
  send(packet);
  EXPECT_TRUE(gate->refuse(requests.back(), GateRefusal::reset));
  EXPECT_THAT(
      interface().collect(),
      ElementsAre(own(server, client, {.acknowledgment = 101, .flags = tcp_flag::rst | tcp_flag::ack})));
  send(packet);
  EXPECT_TRUE(gate->refuse(requests.back(), GateRefusal::drop));
  EXPECT_THAT(interface().collect(), IsEmpty());
  EXPECT_EQ(statistics.refused, 5U);
  EXPECT_EQ(gate->table().size(), 0U);
}

TEST_F(TcpGates, AnEarlierConnectionOfTheKernelDoesNotEndARequest) {
  syn();
  EXPECT_THAT(from_kernel(tcp_flag::rst | tcp_flag::ack, 500, 101), IsEmpty());
  EXPECT_EQ(state(), FlowState::held);
  EXPECT_THAT(from_kernel(tcp_flag::ack, 500, 101),
              ElementsAre(own(peer(), listener, {.sequence = 101, .flags = tcp_flag::rst})));
  EXPECT_EQ(state(), FlowState::held);
  EXPECT_TRUE(gate->admit(requests.back()));
}

TEST_F(TcpGates, ASegmentToOrFromNoSingleHostHasNoAnswer) {
  for (const char* from : {"255.255.255.255:1", "224.0.0.1:1", "0.1.2.3:1", "127.0.0.1:1"})
    EXPECT_THAT(send(tcp(from, server, {.flags = ack})), IsEmpty()) << from;
  for (const char* to : {"255.255.255.255:1", "224.0.0.1:1", "0.1.2.3:1", "127.0.0.1:1"})
    EXPECT_THAT(send(tcp(client, to, {.flags = ack})), IsEmpty()) << to;
  EXPECT_EQ(drops(DropReason::unknown_tcp_flow), 8U);
  EXPECT_EQ(statistics.resets, 0U);
}

TEST_F(TcpGates, AListenerOfTheLoopbackIsResetStill) {
  gate->set_listener(packets::endpoint("127.0.0.9:9999"));
  EXPECT_THAT(send(tcp("127.0.0.9:9999", server, {.acknowledgment = 7, .flags = ack})),
              ElementsAre(own(server, "127.0.0.9:9999", {.sequence = 7, .flags = rst})));
}

TEST_F(TcpGates, ARequestEndsWithItsClient) {
  syn();
  clock.advance(std::chrono::seconds{1});
  syn();
  clock.advance(std::chrono::seconds{2});
  syn();  // 3 s after the first
  clock.advance(std::chrono::seconds{8});
  EXPECT_THAT(expired, IsEmpty()) << "the next copy comes 7 s after the first";
  clock.advance(std::chrono::seconds{3});
  EXPECT_EQ(expired, requests);
  EXPECT_FALSE(gate->admit(requests[0]));
  EXPECT_EQ(statistics.requests_expired, 1U);
}

TEST_F(TcpGates, ARequestThatIsResetEnds) {
  syn();
  from_client(rst, 101, 0);
  EXPECT_EQ(expired, requests);
}

TEST_F(TcpGates, AFloodOfSynsIsBounded) {
  options.max_requests = 10;
  make();
  for (int i = 1; i <= 1000; ++i) syn(("10.0.0.1:" + std::to_string(i)).c_str());
  EXPECT_EQ(gate->flows(), 10U);
  EXPECT_EQ(statistics.requests_expired, 990U);
  EXPECT_TRUE(gate->admit(requests.back())) << "the youngest are served";
}

TEST_F(TcpGates, BeyondTheMostConnectionsUnacceptedOnesMakeRoomAndThenClientsAreReset) {
  options.max_flows = 2;
  make();
  connect();
  syn("10.0.0.1:2");
  EXPECT_TRUE(gate->admit(requests[1]));
  syn("10.0.0.1:3");
  EXPECT_EQ(expired, std::vector{requests[1]});
  EXPECT_EQ(statistics.requests_expired, 1U);
  EXPECT_TRUE(gate->admit(requests[2]));
  ASSERT_TRUE(gate->accepted(packets::endpoint(peer(2).c_str())));
  interface().collect();
  EXPECT_THAT(syn("10.0.0.1:4"),
              ElementsAre(own(server, "10.0.0.1:4",
                              {.acknowledgment = 101, .flags = tcp_flag::rst | tcp_flag::ack})));
  EXPECT_EQ(drops(DropReason::too_many_flows), 1U);
}

TEST_F(TcpGates, UnknownSegmentsAreResetAtALimitedRate) {
  EXPECT_THAT(from_client(ack, 7, 9, "lost"),
              ElementsAre(own(server, client, {.sequence = 9, .flags = rst})));
  EXPECT_THAT(from_client(rst, 7, 9), IsEmpty());
  EXPECT_THAT(send(tcp(listener, server, {.sequence = 7, .acknowledgment = 9})),
              ElementsAre(own(server, listener, {.sequence = 9, .flags = rst})));
  std::size_t answers = 0;
  for (int i = 0; i < 1000; ++i) answers += from_client(ack, 7, 9).size();
  EXPECT_LT(answers, 200U);
  EXPECT_GT(drops(DropReason::rate_limited), 800U);
}

TEST_F(TcpGates, NoAnswerWhereNoneIsDue) {
  for (const char* from : {"224.0.0.1:1", "0.0.0.0:1", "255.255.255.255:1", "127.0.0.1:1", "198.51.100.7:1"})
    EXPECT_THAT(syn(from), IsEmpty()) << from;
  EXPECT_THAT(send(tcp(client, "224.0.0.9:80", {.flags = tcp_flag::syn})), IsEmpty());
  EXPECT_THAT(requests, IsEmpty());
}

TEST_F(TcpGates, ABrokenSynIsNoRequest) {
  Buffer packet = tcp(client, server, {.flags = tcp_flag::syn});
  packet[30] ^= std::byte{1};
  EXPECT_TRUE(interface().inject(packet));
  clock.run_ready();
  EXPECT_EQ(drops(DropReason::tcp_bad_checksum), 1U);
  send(packets::ipv4(
      {.protocol = ip_protocol::tcp, .source = packets::kernel_ip, .destination = packets::host_ip},
      "short"));
  EXPECT_EQ(drops(DropReason::tcp_short), 1U);
  EXPECT_THAT(requests, IsEmpty());
}

TEST_F(TcpGates, AStrangerAtTheListenerIsKnown) {
  connect();
  EXPECT_FALSE(gate->accepted(packets::endpoint("198.51.100.7:1")));
  EXPECT_FALSE(gate->accepted({packets::ip("198.51.100.8"), packets::endpoint(peer().c_str()).port}));
  EXPECT_EQ(statistics.strangers, 2U);
}

TEST_F(TcpGates, AnErrorAboutAPacketToTheClientReachesTheKernelsSocket) {
  connect();
  const Buffer quoted = tcp(server, client, {.sequence = 501, .acknowledgment = 101}, "too big");
  const Buffer expected = tcp(listener, peer(), {.sequence = 501, .acknowledgment = 101}, "too big");
  const Buffer error = packets::icmp({.type = icmp_type::destination_unreachable,
                                      .code = icmp_unreachable::fragmentation_needed,
                                      .rest = 1400},
                                     Bytes{quoted}.first(40));
  EXPECT_THAT(send(packets::ipv4({.protocol = ip_protocol::icmp,
                                  .source = packets::ip("10.0.0.254"),
                                  .destination = packets::ip("198.51.100.7")},
                                 error)),
              IsEmpty());
  struct Icmp : TransportProtocol {
    explicit Icmp(TcpGate& to) : gate{to} {}
    void datagram_received(const IpDatagram& datagram) override { taken = gate.error_received(datagram); }
    TcpGate& gate;
    bool taken = false;
  } icmp{*gate};
  demux->add_proto(ip_protocol::icmp, icmp);
  const Packets written = send(packets::ipv4({.protocol = ip_protocol::icmp,
                                              .source = packets::ip("10.0.0.254"),
                                              .destination = packets::ip("198.51.100.7")},
                                             error));
  EXPECT_TRUE(icmp.taken);
  ASSERT_THAT(written, SizeIs(1));
  const packets::Layers layers = packets::dissect(written[0]);
  ASSERT_TRUE(layers.icmp);
  EXPECT_EQ(layers.ipv4->destination(), packets::ip("10.0.0.1"));
  EXPECT_EQ(layers.icmp->rest(), 1400U);
  EXPECT_EQ(packets::to_hex(layers.icmp->payload()), packets::to_hex(Bytes{expected}.first(40)));
  demux->remove_proto(ip_protocol::icmp, icmp);
}

TEST_F(TcpGates, TheEndOfThePortForgetsEverything) {
  connect();
  syn("10.0.0.1:2");
  port.reset();
  EXPECT_EQ(gate->table().size(), 0U);
  EXPECT_EQ(expired, std::vector{requests[1]});
  EXPECT_FALSE(gate->admit(requests[1]));
}

}  // namespace
}  // namespace tunport
