/// A UDP port against a bare loop, on loopback: both with runs (UDP_GRO, UDP_SEGMENT) and buffers of 4 MiB.
///
/// Receiving: a peer sends 64 datagrams in a call, more than either reader takes; the rest is dropped by the
/// socket. Writing: datagrams for a socket without a reader, a run under a `Cork`, or in a call of the bare
/// loop after 64 copies.

#include <algorithm>
#include <array>
#include <atomic>
#include <vector>

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "tunport/port/function_protocol.hpp"
#include "tunport/port/udp_port.hpp"

#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr Ipv4Address loopback{0x7f000001};
constexpr std::size_t burst = 64;
constexpr std::size_t longest = 1400;

/// The datagrams of a run: as many as both sides put into a call.
std::size_t run_of(std::size_t payload) { return std::min<std::size_t>(burst, 65'507 / payload); }

bool is_stopped(Page& page) { return std::atomic_ref{page.stop}.load(std::memory_order_relaxed) != 0; }

void receive_by_port(const Stage& stage, const std::function<void()>& ready) {
  StageLoop loop{stage};
  Tally& tally = stage.page().tally;
  auto count = on_datagram([&](const Datagram& datagram) { bare_count(&tally, 1, datagram.data.size()); });
  UdpPort port{loop.reactor(), {loopback, discard_port}, count};
  port.start_listening();
  ready();
  loop.run();
  stage.page().refused = port.statistics().exceptions;
}

void receive_bare(const Stage& stage, const std::function<void()>& ready) {
  const UniqueFd socket = udp_socket(discard_port, loopback);
  bare_udp_options(socket.get());
  BareLoop loop{};
  require(bare_udp_open(&loop, socket.get(), stage.stop_fd()) == 0, "no loop");
  ready();
  bare_udp_receive(&loop, &stage.page().tally);
}

/// Sends runs to the reader until the stage stops the peer.
void send_runs(Page& page, std::size_t payload) {
  const UniqueFd fd = udp_socket(0, loopback);
  const int size = static_cast<int>(payload);
  const Endpoint reader{loopback, discard_port};
  sockaddr_storage to{};
  const socklen_t length = reader.to_sockaddr(to);
  if (::setsockopt(fd.get(), IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) != 0 ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), length) != 0) {
    page.peer_error = errno;
    return;
  }
  const std::vector<std::byte> run(run_of(payload) * payload);
  while (!is_stopped(page)) ::send(fd.get(), run.data(), run.size(), 0);
}

template <class Receive>
Measure receiving(Receive receive, std::size_t payload) {
  return [=](const Settings& settings) -> std::vector<double> {
    const Stage stage;
    Page& page = stage.page();
    Child reader{Core::measured, [&](const auto& ready) { receive(stage, ready); }};
    reader.wait_ready();
    Child sender{Core::peer, [&](const auto&) { send_runs(page, payload); }};
    const Rate rate = observe(stage, reader, settings.seconds);
    stage.stop_peer();
    sender.join();
    require(page.peer_error == 0, "the sender failed");
    stage.stop_measured();
    reader.join();
    require(page.tally.bytes == page.tally.packets * payload, "datagrams were not of the size that was sent");
    require(page.refused == 0, "the protocol threw");
    return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
  };
}

/// The clients of the answering rows: more than the port answers in a call.
constexpr std::size_t clients = 32;

void answer_by_port(const Stage& stage, const std::function<void()>& ready) {
  StageLoop loop{stage};
  UdpPort* answering = nullptr;
  Tally& tally = stage.page().tally;
  auto answer = on_datagram([&](const Datagram& datagram) {
    if (answering->write_to(datagram.from, datagram.data)) bare_count(&tally, 1, datagram.data.size());
  });
  UdpPort port{loop.reactor(), {loopback, discard_port}, answer};
  answering = &port;
  port.start_listening();
  ready();
  loop.run();
  const Statistics& counted = port.statistics();
  stage.page().refused = counted.exceptions + (tally.packets - counted.packets_out);
}

void answer_bare(const Stage& stage, const std::function<void()>& ready) {
  const UniqueFd socket = udp_socket(discard_port, loopback);
  bare_udp_options(socket.get());
  BareLoop loop{};
  require(bare_udp_open(&loop, socket.get(), stage.stop_fd()) == 0, "no loop");
  ready();
  bare_udp_answer(&loop, &stage.page().tally);
}

/// Each client sends a datagram, and takes its answer, in turn: the reader finds some of every client.
void ask(Page& page) {
  std::vector<UniqueFd> sockets;
  const Endpoint reader{loopback, discard_port};
  sockaddr_storage to{};
  const socklen_t length = reader.to_sockaddr(to);
  for (std::size_t i = 0; i < clients; ++i) {
    sockets.push_back(udp_socket(0, loopback));
    if (::connect(sockets.back().get(), reinterpret_cast<const sockaddr*>(&to), length) != 0)
      page.peer_error = errno;
  }
  std::array<std::byte, payload_size> datagram{};
  while (!is_stopped(page) && page.peer_error == 0) {
    for (const UniqueFd& socket : sockets)
      ::send(socket.get(), datagram.data(), datagram.size(), MSG_DONTWAIT);
    for (const UniqueFd& socket : sockets)
      while (::recv(socket.get(), datagram.data(), datagram.size(), MSG_DONTWAIT) > 0) {
      }
  }
}

template <class Answer>
Measure answering(Answer answer) {
  return [=](const Settings& settings) -> std::vector<double> {
    const Stage stage;
    Page& page = stage.page();
    Child reader{Core::measured, [&](const auto& ready) { answer(stage, ready); }};
    reader.wait_ready();
    Child asker{Core::peer, [&](const auto&) { ask(page); }};
    const Rate rate = observe(stage, reader, settings.seconds);
    stage.stop_peer();
    asker.join();
    require(page.peer_error == 0, "the clients failed");
    stage.stop_measured();
    reader.join();
    require(page.tally.bytes == page.tally.packets * payload_size, "answers were not of the size asked with");
    require(page.refused == 0, "the port refused answers");
    return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
  };
}

void write_by_port(Stage& stage, std::size_t payload, const std::function<void()>& ready) {
  StageLoop loop{stage};
  Page& page = stage.page();
  auto ignore = on_datagram([](const Datagram&) {});
  UdpPort port{loop.reactor(), {loopback, 0}, ignore, {.socket = {.peer = Endpoint{loopback, discard_port}}}};
  port.start_listening();
  const std::array<std::byte, longest> datagram{};
  const Bytes bytes = Bytes{datagram}.first(payload);
  ready();
  while (!is_stopped(page)) {
    const std::uint64_t before = port.statistics().packets_out;
    {
      const Cork cork{loop.reactor()};
      for (std::size_t i = 0; i < run_of(payload); ++i) port.write(bytes);
    }
    const std::uint64_t sent = port.statistics().packets_out - before;
    bare_count(&page.tally, sent, sent * payload);
  }
  loop.note_refused(port);
}

void write_bare(Stage& stage, std::size_t payload, const std::function<void()>& ready) {
  Page& page = stage.page();
  const UniqueFd fd = udp_socket(0, loopback);
  bare_udp_options(fd.get());
  const Endpoint sink{loopback, discard_port};
  sockaddr_storage to{};
  const socklen_t length = sink.to_sockaddr(to);
  require(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), length) == 0, "no connection");
  const std::array<std::byte, longest> datagram{};
  ready();
  bare_udp_write(fd.get(), datagram.data(), payload, &page.stop, &page.tally);
}

template <class Write>
Measure writing(Write write, std::size_t payload) {
  return [=](const Settings& settings) -> std::vector<double> {
    Stage stage;
    const Page& page = stage.page();
    const UniqueFd sink = udp_socket(discard_port, loopback);
    Child writer{Core::measured, [&](const auto& ready) { write(stage, payload, ready); }};
    writer.wait_ready();
    const Rate rate = observe(stage, writer, settings.seconds);
    stage.stop_peer();
    writer.join();
    require(page.refused == 0, "the port refused datagrams");
    std::array<std::byte, longest + 1> first{};
    require(::recv(sink.get(), first.data(), first.size(), MSG_DONTWAIT) == static_cast<ssize_t>(payload),
            "what was written did not arrive");
    return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
  };
}

}  // namespace

std::vector<Comparison> udp_rows() {
  const char* const baseline = "bare, UDP_GRO and UDP_SEGMENT";
  std::vector<Comparison> rows;
  for (const std::size_t payload : {payload_size, longest}) {
    const std::string size = '_' + std::to_string(payload) + 'B';
    rows.push_back({{{"udp_receive" + size, "Mpps", Better::higher, 0.95},
                     {"udp_receive" + size + "_cpu", "ns", Better::lower}},
                    baseline,
                    receiving(receive_by_port, payload),
                    receiving(receive_bare, payload)});
    rows.push_back({{{"udp_write" + size, "Mpps", Better::higher, 0.95},
                     {"udp_write" + size + "_cpu", "ns", Better::lower}},
                    baseline,
                    writing(write_by_port, payload),
                    writing(write_bare, payload)});
  }
  rows.push_back({{{"udp_answer_64B", "Mpps", Better::higher}, {"udp_answer_64B_cpu", "ns", Better::lower}},
                  "bare, a call for each",
                  answering(answer_by_port),
                  answering(answer_bare)});
  return rows;
}

}  // namespace tunport::bench
