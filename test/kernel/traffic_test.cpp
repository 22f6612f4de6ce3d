// Real TCP and UDP through two ports that forward super-packets from one network namespace to another.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <sched.h>

#include "tunport/device/net_namespace_internal.hpp"
#include "tunport/offload/virtio_header_internal.hpp"

#include "kernel/port_kit.hpp"
#include "support/shape.hpp"

namespace tunport::sandbox {
namespace {

using shapes::Buffer;
using shapes::Shape;

/// Forwards every packet to the other port.
class Passer : public FrameProtocol {
 public:
  explicit Passer(bool whole) : whole_{whole} {}
  bool accepts_super_packets() const override { return whole_; }
  void frame_received(const Packet& packet) override {
    ++seen[static_cast<std::size_t>(packet.offload().kind)];
    if (whole_)
      to->forward(packet);
    else
      to->write(packet.bytes());
  }
  TuntapPort* to = nullptr;
  std::array<int, 4> seen{};  // by SegmentKind

 private:
  bool whole_;
};

/// The kernel, but with a time of refused super-packets.
class RefusingIo : public ForwardingIo {
 public:
  ssize_t write(int fd, const void* buffer, std::size_t size) override {
    return refuses({static_cast<const std::byte*>(buffer), size}) ? -EINVAL
                                                                  : ForwardingIo::write(fd, buffer, size);
  }
  ssize_t writev(int fd, std::span<const iovec> parts) override {
    return refuses({static_cast<const std::byte*>(parts[0].iov_base), parts[0].iov_len})
               ? -EINVAL
               : ForwardingIo::writev(fd, parts);
  }
  std::atomic<bool> refusing = false;
  std::atomic<int> refused = 0;

 private:
  bool refuses(Bytes framed) {
    const bool answer = refusing && framed.size() >= virtio_header::size && load_u8(framed, 1) != 0;
    if (answer) ++refused;
    return answer;
  }
};

/// Two namespaces, here ("near", 10.77.0.1) and another ("far", 10.77.0.2), and a port in each.
class TrafficTest : public KernelTest, public testing::WithParamInterface<DeviceKind> {
 protected:
  void SetUp() override {
    KernelTest::SetUp();
    if (IsSkipped()) return;
    disable_ipv6();
    const UniqueFd here = current_namespace(ec);
    ASSERT_FALSE(ec) << ec.message();
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    far = current_namespace(ec);
    disable_ipv6();
    ASSERT_EQ(::setns(here.get(), CLONE_NEWNET), 0);
  }

  /// Joins the namespaces by ports whose protocols take super-packets whole, or not.
  void join(bool whole, const PortOptions& options = {}) {
    passers[0] = std::make_unique<Passer>(whole);
    passers[1] = std::make_unique<Passer>(whole);
    PortOptions there = options;
    there.device.network_namespace = "/proc/self/fd/" + std::to_string(far.get());
    ports[0] = std::make_unique<TuntapPort>(loop.reactor(), GetParam(), "tp0", *passers[0], options);
    ports[1] = std::make_unique<TuntapPort>(loop.reactor(), GetParam(), "tp1", *passers[1], there);
    for (std::size_t i = 0; i < 2; ++i) {
      passers[i]->to = ports[1 - i].get();
      ports[i]->start_listening();
    }
    configure("tp0", "10.77.0.1/24");
    in_far([&] { configure("tp1", "10.77.0.2/24"); });
  }
  /// Ends the ports, before the end of borrowed objects or another `join`.
  void part() {
    for (auto& port : ports) port.reset();
    each_turn = {};
  }
  void configure(const std::string& name, const char* address) {
    std::error_code error;
    links.add_address(name, *IpPrefix::parse(address), error);
    EXPECT_FALSE(error) << name << ": " << error.message();
    links.set_up(name, true, error);
    EXPECT_FALSE(error) << name << ": " << error.message();
  }
  void in_far(const std::function<void()>& work) {
    std::error_code error;
    in_namespace(far.get(), work, error);
    ASSERT_FALSE(error) << error.message();
  }
  /// Runs a server here and a client there, while the loop turns. Returns the client's result.
  CommandResult run_between(const std::vector<std::string>& server, const std::vector<std::string>& client) {
    CommandResult result;
    std::atomic<bool> done = false;
    std::thread serving{[&] { run(server, seconds{20}); }};
    std::thread asking{[&] {
      in_far([&] {
        // Tries until the server listens.
        wait_until([&] { return (result = run(client, seconds{15})).status == 0; }, seconds{15});
      });
      done = true;
    }};
    while (!done) {
      loop.turn(milliseconds{5});
      if (each_turn) each_turn();
    }
    asking.join();
    serving.join();
    return result;
  }
  void expect_no_drops() {
    for (const auto& port : ports) {
      const Statistics& statistics = port->statistics();
      EXPECT_EQ(statistics.drops.total(), statistics.drops[DropReason::link_down])
          << "except packets from before the interface was up";
      EXPECT_EQ(statistics.exceptions, 0U);
    }
  }

  void expect_wrong_checksums_stay_wrong();

  PollLoop loop;
  UniqueFd far;
  std::array<std::unique_ptr<Passer>, 2> passers;
  std::array<std::unique_ptr<TuntapPort>, 2> ports;
  std::function<void()> each_turn;
};

INSTANTIATE_TEST_SUITE_P(Kinds, TrafficTest, testing::Values(DeviceKind::tun, DeviceKind::tap),
                         [](const auto& kind) { return std::string{to_string(kind.param)}; });

const std::vector<std::string> iperf_server{"iperf3", "--server", "--one-off", "--bind", "10.77.0.1"};
const std::vector<std::string> iperf_client{"iperf3", "--client", "10.77.0.1", "--time", "1", "--bidir"};

TEST_P(TrafficTest, IperfBothWaysInSuperPackets) {
  join(true);
  const CommandResult result = run_between(iperf_server, iperf_client);
  EXPECT_EQ(result.status, 0) << result.output;
  for (const auto& port : ports) {
    EXPECT_GT(port->statistics().super_packets_in, 0U);
    EXPECT_GT(port->statistics().super_packets_out, 0U);
  }
  expect_no_drops();
}

TEST_P(TrafficTest, IperfThroughProtocolsThatKnowNothingOfThem) {
  join(false);
  const CommandResult result = run_between(iperf_server, iperf_client);
  EXPECT_EQ(result.status, 0) << result.output;
  for (const auto& port : ports) {
    EXPECT_GT(port->statistics().super_packets_in, 0U) << "taken apart";
    EXPECT_GT(port->statistics().super_packets_out, 0U) << "and joined again";
  }
  expect_no_drops();
}

/// As on a kernel before 6.2.
TEST_P(TrafficTest, IperfWithoutUdpSuperPackets) {
  OffloadFeatures without = OffloadFeatures::all();
  without.uso = false;
  join(true, {.offload = without});
  CommandResult result = run_between(iperf_server, iperf_client);
  EXPECT_EQ(result.status, 0) << result.output;
  result = run_between(iperf_server, {"iperf3", "--client", "10.77.0.1", "--time", "1", "--udp"});
  EXPECT_EQ(result.status, 0) << result.output;
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(ports[i]->device().capabilities().offload, without);
    EXPECT_GT(passers[i]->seen[static_cast<std::size_t>(SegmentKind::tcp4)], 0);
    EXPECT_GT(passers[i]->seen[static_cast<std::size_t>(SegmentKind::none)], 0);
    EXPECT_EQ(passers[i]->seen[static_cast<std::size_t>(SegmentKind::udp)], 0);
  }
  expect_no_drops();
}

TEST_P(TrafficTest, IperfOverIpv6) {
  join(true);
  const auto configure_v6 = [](const std::string& name, const std::string& address) {
    const CommandResult enabled =
        run({"sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/" + name + "/disable_ipv6"});
    const CommandResult added = run({"ip", "-6", "address", "add", address, "dev", name, "nodad"});
    return enabled.status == 0 && added.status == 0 ? "" : enabled.output + added.output;
  };
  std::string fault = configure_v6("tp0", "fd00:77::1/64");
  in_far([&] { fault += configure_v6("tp1", "fd00:77::2/64"); });
  if (!fault.empty()) GTEST_SKIP() << "this kernel has no IPv6: " << fault;
  const CommandResult result = run_between({"iperf3", "--server", "--one-off", "--bind", "fd00:77::1"},
                                           {"iperf3", "--client", "fd00:77::1", "--time", "1", "--bidir"});
  EXPECT_EQ(result.status, 0) << result.output;
  for (const auto& passer : passers) EXPECT_GT(passer->seen[static_cast<std::size_t>(SegmentKind::tcp6)], 0);
  expect_no_drops();
}

TEST_P(TrafficTest, IperfWhileTheKernelBeginsToRefuseSuperPackets) {
  RefusingIo io;
  LinuxLinks its_links;
  set_log_sink([](LogLevel, std::string_view, std::string_view) {});
  join(true, {.system = {io, its_links}});
  each_turn = [&] { io.refusing = ports[1]->statistics().bytes_out > 10'000'000; };
  const CommandResult result = run_between(iperf_server, iperf_client);
  set_log_sink({});
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_GT(io.refused, 0);
  EXPECT_LE(io.refused, 2) << "once in each direction; segmented from then on";
  expect_no_drops();
  part();
}

/// A file of random bytes, served over HTTP from its own folder.
class ServedFile {
 public:
  static constexpr std::size_t size = 48U << 20U;

  ServedFile() {
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    std::ofstream file{folder_ + "/file", std::ios::binary};
    std::uint64_t state = 88172645463325252U;
    for (std::size_t i = 0; i < size / sizeof state; ++i) {
      state ^= state << 13U;
      state ^= state >> 7U;
      state ^= state << 17U;
      file.write(reinterpret_cast<const char*>(&state), sizeof state);
    }
  }
  ~ServedFile() { std::filesystem::remove_all(folder_); }
  ServedFile(const ServedFile&) = delete;
  ServedFile& operator=(const ServedFile&) = delete;

  /// Serves one request, and ends.
  std::vector<std::string> server() const {
    return {"python3", "-c",
            "import functools, http.server as h, sys\n"
            "handler = functools.partial(h.SimpleHTTPRequestHandler, directory=sys.argv[1])\n"
            "h.HTTPServer(('10.77.0.1', 8000), handler).handle_request()",
            folder_};
  }
  std::vector<std::string> client() const {
    return {"curl", "--silent", "--fail",          "--max-time",
            "14",   "--output", folder_ + "/copy", "http://10.77.0.1:8000/file"};
  }
  bool arrived() const { return run({"cmp", folder_ + "/file", folder_ + "/copy"}, seconds{10}).status == 0; }

 private:
  std::string folder_ = std::filesystem::temp_directory_path() / "tunport-traffic-XXXXXX";
};

/// Whole super-packets all the way, or segmented and joined again.
const auto whole_or_not = {true, false};

TEST_P(TrafficTest, ALargeFileArrivesWhole) {
  for (const bool whole : whole_or_not) {
    SCOPED_TRACE(whole);
    const ServedFile file;
    join(whole);
    const CommandResult result = run_between(file.server(), file.client());
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_TRUE(file.arrived());
    EXPECT_GT(ports[0]->statistics().super_packets_in, 0U);
    EXPECT_GT(ports[1]->statistics().super_packets_out, 0U);
    part();
  }
}

TEST_P(TrafficTest, ALargeFileArrivesWholeWhileTheKernelBeginsToRefuseSuperPackets) {
  for (const bool whole : whole_or_not) {
    SCOPED_TRACE(whole);
    const ServedFile file;
    RefusingIo io;
    LinuxLinks its_links;
    set_log_sink([](LogLevel, std::string_view, std::string_view) {});
    join(whole, {.system = {io, its_links}});
    each_turn = [&] { io.refusing = ports[1]->statistics().bytes_out > ServedFile::size / 3; };
    const CommandResult result = run_between(file.server(), file.client());
    set_log_sink({});
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_TRUE(file.arrived());
    EXPECT_GT(io.refused, 0);
    EXPECT_LE(io.refused, 2) << "once in each direction; segmented from then on";
    part();
  }
}

/// A counter of the thread's namespace, from /proc/net/snmp: "Udp", "InCsumErrors".
std::uint64_t snmp(const std::string& protocol, const std::string& counter) {
  std::ifstream file{"/proc/thread-self/net/snmp"};
  std::string names;
  std::string values;
  while (std::getline(file, names) && std::getline(file, values)) {
    std::istringstream name_stream{names};
    std::istringstream value_stream{values};
    std::string name;
    std::string value;
    name_stream >> name;
    value_stream >> value;
    if (name != protocol + ":") continue;
    while (name_stream >> name && value_stream >> value)
      if (name == counter) return std::stoull(value);
  }
  return 0;
}

void TrafficTest::expect_wrong_checksums_stay_wrong() {
  Shape shape{.protocol = ip_protocol::udp,
              .kind = GetParam(),
              .source4 = Ipv4Address{0x0a4d0001},
              .destination4 = Ipv4Address{0x0a4d0002}};
  UniqueFd socket;
  in_far([&] {
    socket.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(53);
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    shape.destination_mac = links.find("tp1", ec)->mac;
  });
  shape.source_mac = links.find("tp0", ec)->mac;
  PacketSocket sender{"tp0"};
  // One flow without gaps, so that the good datagrams are joined; each fifth datagram is damaged.
  std::vector<Buffer> datagrams;
  for (std::uint16_t i = 0; i < 30; ++i) {
    shape.identification = i;
    datagrams.push_back(shapes::datagram(shape, shapes::some_bytes(1000, i)));
    if (i % 5 == 4) datagrams.back().back() ^= std::byte{0x10};
  }
  ports[0]->pause_producing();
  for (const Buffer& datagram : datagrams) EXPECT_EQ(sender.send(datagram), 0);
  ports[0]->resume_producing();
  // The kernel checks a checksum when the datagram is received.
  int right = 0;
  std::uint64_t wrong = 0;
  EXPECT_TRUE(wait_until([&] {
    loop.turn(milliseconds{5});
    std::array<std::byte, 2000> buffer;
    while (::recv(socket.get(), buffer.data(), buffer.size(), 0) == 1000) ++right;
    in_far([&] { wrong = snmp("Udp", "InCsumErrors"); });
    return right + static_cast<int>(wrong) == 30;
  }));
  EXPECT_EQ(right, 24);
  EXPECT_EQ(wrong, 6U);
  if (ports[1]->device().capabilities().offload.uso) {
    EXPECT_GT(ports[1]->statistics().super_packets_out, 0U);
  }
}

TEST_P(TrafficTest, AWrongChecksumIsNotTrustedOnTheWay) {
  join(true);
  expect_wrong_checksums_stay_wrong();
}

TEST_P(TrafficTest, NorByAProtocolThatWritesWhatItGets) {
  join(false);
  expect_wrong_checksums_stay_wrong();
}

}  // namespace
}  // namespace tunport::sandbox
