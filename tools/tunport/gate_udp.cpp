#include "gate_udp.hpp"

#include <algorithm>

namespace tunport::tool {

GateUdp::GateUdp(Reactor& reactor, const GateRules& rules, Proxy& proxy, FakeNames* names, UdpRelay& relay)
    : rules_{rules},
      names_{names},
      relay_{relay},
      has_datagrams_{proxy.upstream().kind == UpstreamKind::socks5},
      by_proxy_{reactor,
                proxy,
                {.answer =
                     [this](const ReplyTo& ticket, Bytes data) {
                       DatagramTransport* const back = connected_transport();
                       return back != nullptr && static_cast<bool>(back->reply(ticket, data));
                     },
                 .refuse = [this](const Datagrams& run) { GateUdp::relay(run); }}} {}

void GateUdp::stop_protocol() {
  by_proxy_.end_flows();
  relay_.end_flows();
}

void GateUdp::lose_transport(const DatagramTransport* transport) {
  relay_.lose_transport(transport);
  DatagramProtocol::lose_transport(transport);
}

void GateUdp::datagram_received(const Datagram& datagram) {
  datagrams_received({datagram.data, std::max<std::size_t>(datagram.data.size(), 1), datagram.from,
                      datagram.to, datagram.to_group, datagram.traffic_class});
}

void GateUdp::datagrams_received(const Datagrams& run) {
  if (has_datagrams_ && by_proxy_.send(run)) return;
  const Endpoint destination{run.to.address, run.to.port};
  const GateTarget target = rules_.decide(destination);
  if (target.way == GateWay::names) return answer(run);
  const bool is_ordinary = !run.to_group && run.from.port != 0 && run.to.port != 0;
  if (!has_datagrams_ || !is_ordinary || target.refusal || target.way != GateWay::upstream) return relay(run);
  std::optional<std::string> name;
  if (names_ != nullptr && FakeNames::covers(destination.address)) {
    name = names_->name_of(destination.address);
    if (!name) return relay(run);  // refused
  }
  by_proxy_.begin(run, name.value_or(std::string{}));
}

void GateUdp::answer(const Datagrams& run) {
  std::array<std::byte, longest_fake_answer> buffer;
  for (std::size_t i = 0; i < run.size(); ++i) {
    const Datagram query = run[i];
    if (const Bytes answer = answer_dns(query.data, *names_, buffer); !answer.empty())
      transport().reply(query.reply_to(), answer);
  }
}

void GateUdp::relay(const Datagrams& run) {
  if (DatagramTransport* const back = connected_transport()) relay_.make_connection(*back);
  relay_.datagrams_received(run);
}

}  // namespace tunport::tool
