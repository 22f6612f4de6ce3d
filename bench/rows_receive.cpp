/// Receiving 64 B UDP datagrams from a TUN.
///
/// Saturated: a sender gives the kernel many datagrams in a call (UDP_SEGMENT). The kernel segments them on
/// the way into the TUN (`refuse_super_packets`). The sender is three times as fast as the readers, so the
/// reader is measured. A plain flood would measure the sender, and flatter a slower reader, because a slower
/// reader disturbs the sender less. In the rows with `uso` super-packets go into the TUN. Burst: 500
/// datagrams, the default capacity of a TUN, are queued while the reader rests; the figure is the time to
/// drain them. A sender of super-packets does not saturate a reader that keeps them whole: the cost of
/// segmentation shows in the CPU time, and in the bursts. Paced: single datagrams, 280,000 a second; a port
/// that sleeps after each burst (`moderation`) against a loop that is woken for every few.

#include <atomic>
#include <cerrno>
#include <chrono>
#include <limits>
#include <memory>

#include <sys/socket.h>
#include <unistd.h>

#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"

#include "port_loop.hpp"
#include "rows.hpp"
#include "traffic.hpp"

namespace tunport::bench {
namespace {

constexpr std::uint64_t plain_segments = 32;
constexpr std::uint64_t burst = 500;
constexpr std::uint64_t forever = std::numeric_limits<std::uint64_t>::max();

class Reader {
 public:
  virtual ~Reader() = default;
  /// Reads until the tally has `packets`, or until the stage stops.
  virtual void run_until(std::uint64_t packets) = 0;
};

template <unsigned flags>
class BareReader final : public Reader {
 public:
  explicit BareReader(const Stage& stage) : loop_{open_bare(stage, flags)}, tally_{stage.page().tally} {}
  void run_until(std::uint64_t packets) override { bare_receive(&loop_, packets, &tally_); }

 private:
  BareLoop loop_;
  Tally& tally_;
};

class BareSuperReader final : public Reader {
 public:
  explicit BareSuperReader(const Stage& stage)
      : loop_{open_bare(stage, bare_offload)}, tally_{stage.page().tally} {}
  void run_until(std::uint64_t packets) override { bare_receive_super(&loop_, packets, &tally_); }

 private:
  BareLoop loop_;
  Tally& tally_;
};

/// The port, with a counting protocol right behind.
class PortReader : public Reader, protected IpPacketProtocol {
 public:
  explicit PortReader(const Stage& stage, PortOptions options = {})
      : tally_{stage.page().tally}, loop_{*this, stage, std::move(options)} {}
  void run_until(std::uint64_t packets) override {
    until_ = packets;
    loop_.run();
  }

 private:
  void frame_received(const Packet& packet) override {
    bare_count(&tally_, 1, packet.size());
    if (tally_.packets == until_) loop_.interrupt();
  }

  Tally& tally_;
  std::uint64_t until_ = 0;
  PortLoop loop_;
};

class PlainPortReader final : public PortReader {
 public:
  explicit PlainPortReader(const Stage& stage) : PortReader{stage, {.offload = OffloadFeatures::none()}} {}
};

class SleepingPortReader final : public PortReader {
 public:
  explicit SleepingPortReader(const Stage& stage)
      : PortReader{stage, {.moderation = std::chrono::microseconds{200}}} {}
};

/// The port, the demultiplexers, and a protocol that counts payloads. Every header and checksum is verified.
class UdpReader final : public Reader, DatagramProtocol {
 public:
  explicit UdpReader(const Stage& stage) : tally_{stage.page().tally}, loop_{ip_, stage} {
    ip_.add_proto(ip_protocol::udp, udp_);
    udp_.add_proto(discard_port, *this);
  }
  void run_until(std::uint64_t packets) override {
    until_ = packets;
    loop_.run();
  }

 private:
  void datagram_received(const Datagram& datagram) override {
    bare_count(&tally_, 1, datagram.data.size() + packet_size - payload_size);
    if (tally_.packets == until_) loop_.interrupt();
  }

  Tally& tally_;
  std::uint64_t until_ = 0;
  UdpDemux udp_;
  IpDemux ip_;
  PortLoop loop_;
};

template <class Kind>
std::unique_ptr<Reader> make(const Stage& stage) {
  return std::make_unique<Kind>(stage);
}
using MakeReader = std::unique_ptr<Reader> (*)(const Stage&);

bool about(std::uint64_t a, std::uint64_t b) { return a <= b + strangers && b <= a + strangers; }

/// Throws unless every packet read was sent by the peer, and whole, and the port dropped nothing.
void check_packets(const Page& page) {
  require(about(page.tally.bytes / packet_size, page.tally.packets),
          "packets were not of the size that was sent");
  require(page.refused <= strangers, "the port dropped packets");
}

enum class Into : std::uint8_t { plain, super_packets };

template <Into into>
std::vector<double> saturated(MakeReader make_reader, const Settings& settings) {
  constexpr bool plain = into == Into::plain;
  if (!plain) need_uso();
  const Stage stage;
  const Page& page = stage.page();
  Child reader{Core::measured, [&](const auto& ready) {
                 const auto self = make_reader(stage);
                 configure_interface();
                 if (plain) refuse_super_packets();
                 ready();
                 self->run_until(forever);
               }};
  reader.wait_ready();
  Child sender{Core::peer, [&](const auto&) { flood(stage.page(), plain ? plain_segments : 0); }};
  const Rate rate = observe(stage, reader, settings.seconds);
  stage.stop_peer();
  sender.join();
  check_flood(page);
  const std::uint64_t each = plain ? 1 : page.segments;
  const LinkCounters link = link_counters_after(page.sent / each);
  stage.stop_measured();
  reader.join();
  check_packets(page);
  require(about(link.read, page.tally.packets / each),
          "not all packets read were counted, or more than were");
  require(about(page.sent / each, page.tally.packets / each + link.dropped),
          "packets sent were neither read nor dropped");
  if (plain && link.dropped <= page.sent / 100) throw Unsteady{"the sender did not saturate the reader"};
  return {rate.packets_per_second / 1e6, rate.cpu_seconds_per_packet * 1e9};
}

/// A reader that keeps up, and so sleeps between packets.
std::vector<double> paced(MakeReader make_reader, const Settings& settings) {
  constexpr double packets_per_second = 280'000;
  const Stage stage;
  const Page& page = stage.page();
  Child reader{Core::measured, [&](const auto& ready) {
                 const auto self = make_reader(stage);
                 configure_interface();
                 ready();
                 self->run_until(forever);
               }};
  reader.wait_ready();
  Child sender{Core::peer, [&](const auto&) { send_paced(stage.page(), packets_per_second); }};
  const Rate rate = observe(stage, reader, settings.seconds);
  stage.stop_peer();
  sender.join();
  require(page.peer_error == 0, "the sender could not go on");
  const LinkCounters link = link_counters_after(page.sent);
  stage.stop_measured();
  reader.join();
  check_packets(page);
  require(about(link.read, page.tally.packets), "not all packets read were counted, or more than were");
  require(about(page.sent, page.tally.packets + link.dropped), "packets sent were neither read nor dropped");
  if (rate.packets_per_second < 0.9 * packets_per_second) throw Unsteady{"the sender did not keep its pace"};
  return {rate.cpu_seconds_per_packet * 1e9};
}

/// Sends a burst for each byte from `asked`, until the end of the pipe.
void send_bursts(int asked, int done, Page& page, std::uint64_t segments) {
  const UniqueFd fd = udp_socket_to(discard_port);
  if (segments != 1) page.peer_error = send_super_packets(fd.get());
  const std::vector<std::byte> payload(segments * payload_size);
  for (char byte = 0; ::read(asked, &byte, 1) == 1;) {
    for (std::uint64_t i = 0; i < burst; ++i)
      if (::send(fd.get(), payload.data(), payload.size(), 0) < 0) page.peer_error = errno;
    page.sent += burst * segments;
    if (::write(done, &byte, 1) != 1) return;
  }
}

template <std::uint64_t segments>
std::vector<double> bursts(MakeReader make_reader, const Settings& settings) {
  if (segments != 1) need_uso();
  const Stage stage;
  Page& page = stage.page();
  std::array<int, 2> ask{};
  std::array<int, 2> answer{};
  require(::pipe(ask.data()) == 0 && ::pipe(answer.data()) == 0, "no pipe");
  UniqueFd asked{ask[0]};
  UniqueFd asking{ask[1]};
  UniqueFd done{answer[1]};
  UniqueFd told{answer[0]};
  Child reader{Core::measured, [&](const auto& ready) {
                 const auto self = make_reader(stage);
                 configure_interface();
                 asked.reset();
                 done.reset();
                 ready();
                 constexpr int warm_up_rounds = 20;
                 constexpr int least_rounds = 100;
                 std::vector<double> rounds;
                 double end = now() + settings.seconds;
                 for (int round = 0; round < least_rounds || now() < end; ++round) {
                   char byte = 0;
                   require(::write(asking.get(), &byte, 1) == 1 && ::read(told.get(), &byte, 1) == 1,
                           "the sender of bursts is gone");
                   const double start = now();
                   self->run_until(page.tally.packets + burst * segments);
                   if (round >= warm_up_rounds)
                     rounds.push_back((now() - start) * 1e9 / double{burst * segments});
                 }
                 page.figures[0] = median(rounds);
               }};
  reader.wait_ready();
  Child sender{Core::peer, [&](const auto&) {
                 asking.reset();
                 told.reset();
                 send_bursts(asked.get(), done.get(), page, segments);
               }};
  for (UniqueFd* const fd : {&asked, &asking, &done, &told}) fd->reset();
  reader.join(std::chrono::milliseconds{static_cast<int>(settings.seconds * 1000) + 5000});
  sender.join();
  check_packets(page);
  require(page.peer_error == 0 || page.peer_error == EIO, "the sender could not go on");
  require(page.sent == page.tally.packets, "packets of a burst were lost");
  return {page.figures[0]};
}

Measure measure(std::vector<double> (*how)(MakeReader, const Settings&), MakeReader make_reader) {
  return [=](const Settings& settings) { return how(make_reader, settings); };
}

}  // namespace

std::vector<Comparison> receive_rows() {
  return {
      {{{"receive_uso_64B", "Mpps", Better::higher, 0.90},
        {"receive_uso_64B_cpu", "ns", Better::lower, std::nullopt, 50}},
       "bare loop, not splitting",
       measure(saturated<Into::super_packets>, make<UdpReader>),
       measure(saturated<Into::super_packets>, make<BareSuperReader>)},
      {{{"receive_uso_64B_burst", "ns", Better::lower}},
       "bare loop, not splitting",
       measure(bursts<plain_segments>, make<UdpReader>),
       measure(bursts<plain_segments>, make<BareSuperReader>)},
      {{{"receive_64B", "Mpps", Better::higher, 0.97}, {"receive_64B_cpu", "ns", Better::lower}},
       "bare loop",
       measure(saturated<Into::plain>, make<PortReader>),
       measure(saturated<Into::plain>, make<BareReader<bare_offload>>)},
      {{{"receive_64B_burst", "ns", Better::lower, 1.05}},
       "bare loop",
       measure(bursts<1>, make<PortReader>),
       measure(bursts<1>, make<BareReader<bare_offload>>)},
      {{{"receive_64B_off", "Mpps", Better::higher, 0.97}, {"receive_64B_off_cpu", "ns", Better::lower}},
       "bare, no virtio header",
       measure(saturated<Into::plain>, make<PlainPortReader>),
       measure(saturated<Into::plain>, make<BareReader<0>>)},
      {{{"receive_64B_off_burst", "ns", Better::lower, 1.05}},
       "bare, no virtio header",
       measure(bursts<1>, make<PlainPortReader>),
       measure(bursts<1>, make<BareReader<0>>)},
      {{{"receive_64B_unlike", "Mpps", Better::higher}, {"receive_64B_unlike_cpu", "ns", Better::lower}},
       "bare, no virtio header",
       measure(saturated<Into::plain>, make<PortReader>),
       measure(saturated<Into::plain>, make<BareReader<0>>)},
      {{{"receive_64B_udp", "Mpps", Better::higher}, {"receive_64B_udp_cpu", "ns", Better::lower}},
       "bare loop",
       measure(saturated<Into::plain>, make<UdpReader>),
       measure(saturated<Into::plain>, make<BareReader<bare_offload>>)},
      {{{"receive_paced_cpu", "ns", Better::lower, 0.70}},
       "bare loop",
       measure(paced, make<SleepingPortReader>),
       measure(paced, make<BareReader<bare_offload>>)},
  };
}

}  // namespace tunport::bench
