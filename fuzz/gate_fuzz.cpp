// Any packets into the TCP of a gate, with decisions of the program and hours between. The flow table's
// invariants hold after each step, no packet is lost without a count, and what is written is whole, has right
// checksums, and goes to the listener, or to the client of the packet.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "tunport/gate/tcp_gate_internal.hpp"
#include "tunport/testing/fake_transport.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/icmp.hpp"

#include "input.hpp"

namespace {

using namespace tunport;
using fuzz::require;
using packets::Buffer;

constexpr std::size_t max_flows = 8;
constexpr std::size_t max_requests = 3;
const Endpoint listener{IpAddress{"10.0.0.1"}, 9999};

/// Gives ICMP to a gate, as an EchoRelay does.
class IcmpToGate final : public TransportProtocol {
 public:
  explicit IcmpToGate(TcpGate& gate) : gate_{gate} {}
  void datagram_received(const IpDatagram& datagram) override {
    if (!gate_.error_received(datagram)) datagram.arrival.transport.drop(DropReason::icmp_unhandled);
  }

 private:
  TcpGate& gate_;
};

void check_table(const TcpGate& gate) {
  const FlowTable& table = gate.table();
  std::size_t flows = 0;
  for (std::size_t state = 0; state < flow_states; ++state) {
    const auto wanted = static_cast<FlowState>(state);
    std::size_t count = 0;
    std::uint32_t last = 0;
    for (std::uint32_t place = table.oldest(wanted); place != FlowTable::none; place = table.younger(place)) {
      const Flow& flow = table[place];
      require(flow.state == wanted && flow.port >= FlowTable::first_port);
      require(table.find(flow.ends) == place && table.find_port(flow.port) == place);
      require(table.find_id(table.id_of(place)) == place);
      require(flow.last_seen >= last && flow.first_seen <= flow.last_seen);
      require((wanted == FlowState::held) == !flow.syn.bytes().empty());
      last = flow.last_seen;
      require(++count <= table.count(wanted));
    }
    require(count == table.count(wanted));
    flows += count;
  }
  require(flows == table.size() && flows <= 2 * max_flows);
  require(gate.flows() <= max_flows && table.count(FlowState::held) <= max_requests);
}

std::uint16_t tcp_sum(Bytes ip, Bytes tcp) {
  Checksum sum;
  sum.add(ip.subspan(12, 8));
  std::array<std::byte, 4> rest{};
  store_u8(rest, 1, load_u8(ip, 9));
  store_be16(rest, 2, static_cast<std::uint16_t>(tcp.size()));
  sum.add(rest);
  sum.add(tcp);
  return sum.finish();
}

/// A packet that the gate has written on `asked`. `is_spoilt`: the packet's checksum may be wrong, and stays
/// so.
void check_written(Bytes answer, Bytes asked, bool is_spoilt) {
  require(answer.size() >= 20 && load_u8(answer, 0) >> 4 == 4 && load_be16(answer, 2) == answer.size());
  const std::size_t header = (load_u8(answer, 0) & 0xfU) * 4U;
  require(header >= 20 && answer.size() >= header);
  if (!is_spoilt) require(internet_checksum(answer.first(header)) == 0);
  const Ipv4Address to = Ipv4Address::load(answer, 16);
  const bool to_listener = IpAddress{to} == listener.address && load_u8(answer, 9) == ip_protocol::tcp &&
                           answer.size() >= header + 4 && load_be16(answer, header + 2) == listener.port;
  require(to_listener || (is_single_host(to) && !to.is_multicast()));
  if (load_u8(answer, 9) != ip_protocol::tcp) return require(load_u8(answer, 9) == ip_protocol::icmp);
  const Bytes tcp = answer.subspan(header);
  require(tcp.size() >= 20);
  if (!is_spoilt) require(tcp_sum(answer, tcp) == 0);
  // What goes to or from no host is never answered.
  if (asked.size() >= 20 && !to_listener) {
    require(!Ipv4Address::load(asked, 16).is_multicast() && !Ipv4Address::load(asked, 16).is_broadcast());
    require(is_single_host(Ipv4Address::load(asked, 12)));
  }
  // A reset of the gate's own never answers a reset.
  if (asked.size() < 40 || load_u8(asked, 9) != ip_protocol::tcp || is_spoilt) return;
  const bool was_reset = (load_u8(asked, 33) & tcp_flag::rst) != 0;
  const bool is_own = tcp.size() == 20 && load_be16(answer, 4) == 0 && to == Ipv4Address::load(asked, 12);
  if (was_reset) require(!is_own || (load_u8(tcp, 13) & tcp_flag::rst) == 0 || to_listener);
}

std::string name_of(const char* network, unsigned host, unsigned port) {
  return std::string{network} + std::to_string(host) + ':' + std::to_string(port);
}

class Run {
 public:
  explicit Run(fuzz::Input& input) : input_{input} {
    demux_.add_proto(ip_protocol::tcp, gate_);
    demux_.add_proto(ip_protocol::icmp, icmp_);
    demux_.connect(port_);
    gate_.set_listener(listener);
  }
  ~Run() {
    demux_.disconnect(port_);
    require(gate_.table().size() == 0);
  }
  void step() {
    const std::uint8_t choice = input_.u8();
    switch (choice & 7) {
      case 0:
      case 1:
        return deliver((choice & 0x10) != 0 ? odd_segment() : client_segment(), choice);
      case 2:
      case 3:
        return deliver(kernel_segment(), choice);
      case 4:
        return decide();
      case 5:
        gate_.accepted({server_of(input_.u8()).address, port_of(input_.u8())});
        return check_table(gate_);
      case 6:
        port_.clock.advance(std::chrono::seconds{input_.u8() * ((choice & 8) != 0 ? 60 : 1)});
        return check_table(gate_);
      default:
        return deliver((choice & 8) != 0 ? error() : input_.take(20U + input_.u8()), choice | 0x80U);
    }
  }

 private:
  static Endpoint server_of(unsigned which) {
    return packets::endpoint(name_of("198.51.100.", 1 + which % 2, 80).c_str());
  }
  /// The port of a flow, or any.
  std::uint16_t port_of(unsigned which) const {
    const FlowTable& table = gate_.table();
    const auto state = static_cast<FlowState>(which % flow_states);
    const std::uint32_t place = table.oldest(state);
    return place == FlowTable::none ? static_cast<std::uint16_t>(1024 + which) : table[place].port;
  }
  TcpHeader fields() {
    const std::uint8_t flags = input_.u8();
    return {.sequence = input_.u8(), .acknowledgment = input_.u8(), .flags = flags};
  }
  Buffer client_segment() {
    const std::uint8_t who = input_.u8();
    const TcpHeader header = fields();
    return packets::tcp(name_of("10.0.0.", 2 + (who & 1U), 40000 + (who >> 1) % 12),
                        name_of("198.51.100.", 1 + (who >> 6) % 2, 80), header, input_.take(who & 15U));
  }
  /// A right segment to or from addresses that are no host's, or the listener's own.
  Buffer odd_segment() {
    static constexpr std::array<const char*, 8> networks{
        "255.255.255.", "224.0.0.", "0.0.0.", "127.0.0.", "240.0.0.", "198.51.100.", "10.0.0.", "169.254.1."};
    const std::uint8_t who = input_.u8();
    const std::uint8_t host = input_.u8();
    const unsigned from = (host & 1) != 0 ? 255 : 1;
    const unsigned to = (host & 2) != 0 ? 255 : 1;
    const TcpHeader header = fields();
    return packets::tcp(name_of(networks[who & 7U], from, (host & 4) != 0 ? listener.port : 40000U),
                        name_of(networks[(who >> 3) & 7U], to, (host & 8) != 0 ? listener.port : 80U), header,
                        input_.take(who >> 6));
  }
  Buffer kernel_segment() {
    const std::uint8_t who = input_.u8();
    const TcpHeader header = fields();
    const Endpoint to{server_of(who & 1).address, port_of(who >> 1)};
    return packets::tcp(to_string(listener), to_string(to), header, input_.take(who & 15U));
  }
  /// An error of a router about a packet that the gate has written, or about none.
  Buffer error() {
    const Buffer quoted = last_.empty() ? input_.take(28) : last_;
    const Bytes bytes{quoted};
    const Bytes front = bytes.first(std::min<std::size_t>(bytes.size(), 28));
    Buffer message(IcmpHeader::size);
    IcmpHeader{.type = 3, .code = static_cast<std::uint8_t>(input_.u8() % 16), .rest = input_.u16()}.emit(
        message, front);
    message.insert(message.end(), front.begin(), front.end());
    const Ipv4Address to = quoted.size() >= 20 ? Ipv4Address::load(bytes, 12) : Ipv4Address{0x0a000002};
    return packets::ipv4(
        {.protocol = ip_protocol::icmp, .source = Ipv4Address{0xcb007101}, .destination = to},
        Bytes{message});
  }
  void deliver(Buffer packet, unsigned choice) {
    bool is_spoilt = (choice & 0x80) != 0;
    if ((choice & 0x40) != 0 && !packet.empty()) {
      packet[input_.u8() % packet.size()] = static_cast<std::byte>(input_.u8());
      is_spoilt = true;
    }
    port_.written.clear();
    const std::uint64_t counted = port_.drops.total() + statistics_.requests;
    port_.deliver(demux_, packet);
    require(port_.drops.total() + statistics_.requests + port_.written.size() > counted ||
            is_fragment(packet));
    require(port_.written.size() <= 2);
    for (const Buffer& written : port_.written) check_written(written, packet, is_spoilt);
    if (!port_.written.empty() && !is_spoilt) last_ = port_.written.back();
    check_table(gate_);
  }
  static bool is_fragment(Bytes packet) {
    return packet.size() >= 8 && ((load_be16(packet, 6) & 0x3fff) != 0 || load_u8(packet, 0) >> 4 == 6);
  }
  void decide() {
    const std::uint8_t choice = input_.u8();
    if (requests_.empty()) return;
    const FlowId id = requests_[choice % requests_.size()];
    port_.written.clear();
    const bool was_there = gate_.ends(id).has_value();
    const bool done = (choice & 0x80) != 0 ? gate_.refuse(id, static_cast<GateRefusal>((choice >> 4) % 5))
                                           : gate_.admit(id);
    require(!done || was_there);
    for (const Buffer& written : port_.written) check_written(written, {}, false);
    require(port_.written.size() <= 1);
    check_table(gate_);
  }

  fuzz::Input& input_;
  GateOptions options_{.max_flows = max_flows, .max_requests = max_requests};
  GateStatistics statistics_;
  std::vector<FlowId> requests_;
  TcpGate gate_{options_, statistics_, [this](const FlowId& id) { requests_.push_back(id); },
                [](const FlowId&) {}};
  IcmpToGate icmp_{gate_};
  IpDemux demux_;
  FakeTransport port_{DeviceKind::tun};
  Buffer last_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input input{data, size};
  Run run{input};
  for (int steps = 0; steps < 200 && !input.empty(); ++steps) run.step();
  return 0;
}
