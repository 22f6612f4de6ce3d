/// Receiving the datagrams of many flows from a TUN on two queues, each with a port and a thread of its own,
/// against a port on a single queue. Both have both cores, and so does the sender: on two cores the second
/// thread competes with the sender.

#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>
#include <vector>

#include <sys/socket.h>

#include "tunport/device/queues.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"

#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::size_t flows = 64;
constexpr std::uint64_t segments = 32;

/// A queue's port, on a loop of its own; counts payloads behind the demultiplexers.
class QueueReader : DatagramProtocol {
 public:
  QueueReader(const Stage& stage, Device queue)
      : tally_{stage.page().tally}, loop_{stage}, port_{loop_.reactor(), std::move(queue), ip_} {
    ip_.add_proto(ip_protocol::udp, udp_);
    udp_.add_proto(discard_port, *this);
    port_.start_listening();
  }
  void run() { loop_.run(); }
  void note_refused() const { loop_.note_refused(port_); }

 private:
  // Two threads count.
  void datagram_received(const Datagram& datagram) override {
    std::atomic_ref{tally_.bytes}.fetch_add(datagram.data.size() + packet_size - payload_size,
                                            std::memory_order_relaxed);
    std::atomic_ref{tally_.packets}.fetch_add(1, std::memory_order_relaxed);
  }

  Tally& tally_;
  StageLoop loop_;
  UdpDemux udp_;
  IpDemux ip_;
  TuntapPort port_;
};

/// Sends runs of datagrams of all flows in turn until `page.stop`.
void flood_flows(Page& page) {
  std::vector<UniqueFd> sockets;
  for (std::size_t i = 0; i < flows; ++i) {
    sockets.push_back(udp_socket_to(discard_port));
    page.peer_error = send_super_packets(sockets.back().get());
    if (page.peer_error != 0) return;
  }
  const std::vector<std::byte> payload(segments * payload_size);
  for (std::size_t i = 0; std::atomic_ref{page.stop}.load(std::memory_order_relaxed) == 0; ++i) {
    if (::send(sockets[i % flows].get(), payload.data(), payload.size(), 0) < 0) {
      page.peer_error = errno;
      return;
    }
    std::atomic_ref{page.sent}.store(page.sent + segments, std::memory_order_relaxed);
  }
}

template <std::size_t queues>
std::vector<double> flooded(const Settings& settings) {
  const Stage stage;
  const Page& page = stage.page();
  Child reader{Core::both, [&](const auto& ready) {
                 std::vector<std::unique_ptr<QueueReader>> readers;
                 for (Device& queue : open_queues(DeviceKind::tun, interface_name, queues,
                                                  {.offload = OffloadFeatures::all()}))
                   readers.push_back(std::make_unique<QueueReader>(stage, std::move(queue)));
                 configure_interface();
                 refuse_super_packets();
                 std::vector<std::thread> threads;
                 threads.reserve(readers.size());
                 for (const auto& one : readers) threads.emplace_back([&one] { one->run(); });
                 ready();
                 for (std::thread& thread : threads) thread.join();
                 for (const auto& one : readers) one->note_refused();
               }};
  reader.wait_ready();
  Child sender{Core::both, [&](const auto&) { flood_flows(stage.page()); }};
  const Rate rate = observe(stage, reader, settings.seconds);
  stage.stop_peer();
  sender.join();
  check_flood(page);
  const LinkCounters link = link_counters_after(page.sent);
  stage.stop_measured();
  reader.join();
  require(page.refused <= strangers, "the ports dropped packets");
  require(page.tally.packets + link.dropped + strangers >= page.sent,
          "packets sent were neither read nor dropped");
  return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
}

}  // namespace

std::vector<Comparison> queue_rows() {
  return {{{{"receive_64B_queues", "Mpps", Better::higher}, {"receive_64B_queues_cpu", "ns", Better::lower}},
           "one queue, one port",
           flooded<2>,
           flooded<1>}};
}

}  // namespace tunport::bench
