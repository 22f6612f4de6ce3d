// Many datagrams in a call: short ones read together, and datagrams to several receivers sent together.
#include <cerrno>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "tunport/port/udp_port.hpp"
#include "tunport/port/udp_reader_internal.hpp"
#include "tunport/testing/manual_reactor.hpp"
#include "tunport/testing/memory_system.hpp"

#include "support/datagram_box.hpp"
#include "support/forwarding_io.hpp"

namespace tunport {
namespace {

using testing::ElementsAre;
using testing::Le;
using testing::SizeIs;

using Box = test_support::DatagramBox;

/// Counts calls.
class CountingIo : public test_support::ForwardingIo {
 public:
  using ForwardingIo::ForwardingIo;
  ssize_t recvmsg(int fd, msghdr* message, int flags) override {
    ++reads;
    return ForwardingIo::recvmsg(fd, message, flags);
  }
  int recvmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    ++reads;
    return ForwardingIo::recvmmsg(fd, messages, flags);
  }
  ssize_t sendmsg(int fd, const msghdr* message, int flags) override {
    ++writes;
    return ForwardingIo::sendmsg(fd, message, flags);
  }
  int sendmmsg(int fd, std::span<mmsghdr> messages, int flags) override {
    ++writes;
    return ForwardingIo::sendmmsg(fd, messages, flags);
  }
  int reads = 0;
  int writes = 0;
};

Endpoint any() { return {*IpAddress::parse("127.0.0.1"), 0}; }

/// On the fake kernel, and on the loopback of the real kernel: a port with many clients.
class UdpMany : public testing::TestWithParam<const char*> {
 protected:
  UdpMany() { server.start_listening(); }
  System system() { return {io, kernel.links()}; }  // no link is touched
  UdpPort& client(std::size_t index) {
    while (clients.size() <= index) {
      boxes.push_back(std::make_unique<Box>());
      clients.push_back(
          std::make_unique<UdpPort>(clock, any(), *boxes.back(), PortOptions{.system = system()}));
      clients.back()->start_listening();
    }
    return *clients[index];
  }
  /// Each of `count` clients sends a datagram.
  std::vector<std::string> ask(std::size_t count, std::size_t size = 20) {
    std::vector<std::string> asked;
    for (std::size_t i = 0; i < count; ++i) {
      asked.emplace_back(size, static_cast<char>('a' + i % 26));
      client(i).write_to(server.get_host(), as_bytes(asked.back()));
    }
    return asked;
  }
  /// Lets the server see enough short datagrams to read many in a call.
  void warm_up() {
    for (int i = 0; i < 8; ++i) ask(1);
    clock.run_ready();
    box.received.clear();
    io.reads = io.writes = 0;
  }
  void run_until(const std::function<bool()>& done) {
    for (int turns = 0; turns < 100 && !done(); ++turns) clock.run_ready();
  }

  const bool fake = std::string_view{GetParam()} == "Fake";
  MemorySystem kernel;
  CountingIo io{fake ? static_cast<IoSystem&>(kernel) : linux_io()};
  ManualReactor clock;
  Box box;
  UdpPort server{clock, any(), box, {.system = system()}};
  std::vector<std::unique_ptr<Box>> boxes;
  std::vector<std::unique_ptr<UdpPort>> clients;
};

INSTANTIATE_TEST_SUITE_P(Systems, UdpMany, testing::Values("Fake", "Kernel"),
                         [](const auto& system) { return std::string{system.param}; });

TEST_P(UdpMany, ShortDatagramsAreReadTogetherInTheirOrder) {
  warm_up();
  const auto asked = ask(40);
  io.reads = 0;
  server.do_read();
  EXPECT_EQ(box.received, asked);
  EXPECT_EQ(io.reads, 6) << "five times eight, and the end of the queue";
  EXPECT_EQ(server.statistics().packets_in, 8 + asked.size());
  EXPECT_EQ(server.statistics().drops.total(), 0U);
}

TEST_P(UdpMany, AnswersToManyLeaveInOneCall) {
  for (std::size_t i = 0; i < 20; ++i) client(i);
  warm_up();
  box.on_datagram = [&](const Datagram& datagram) { server.write_to(datagram.from, datagram.data); };
  const auto asked = ask(20);
  io.reads = io.writes = 0;
  server.do_read();
  EXPECT_EQ(box.received, asked);
  // 8, 8, and 4 with the end of the queue; the 16 places for receivers, and the rest.
  EXPECT_EQ(io.reads, 3);
  EXPECT_EQ(io.writes, 2);
  clock.run_ready();
  for (std::size_t i = 0; i < 20; ++i) EXPECT_THAT(boxes[i]->received, ElementsAre(asked[i])) << i;
  EXPECT_EQ(server.statistics().packets_out, 20U);
  EXPECT_EQ(server.statistics().bytes_out, 400U);
}

TEST_P(UdpMany, RunsAndLongDatagramsAmongShortOnesLoseNothing) {
  warm_up();
  std::mt19937 random{7};
  std::vector<std::string> sent;
  const std::size_t sizes[] = {0, 1, 20, 1400, 2047, 2048, 2049, 9000, 65'507};
  for (int round = 0; round < 200; ++round) {
    const std::size_t size = sizes[random() % std::size(sizes)];
    const std::size_t count = random() % 3 == 0 ? 1 + random() % 40 : 1;
    const Cork cork{clock};
    for (std::size_t i = 0; i < count && i * size < 100'000; ++i) {
      std::string text(size, '\0');
      for (char& c : text) c = static_cast<char>(random());
      client(0).write_to(server.get_host(), as_bytes(text));
      sent.push_back(std::move(text));
    }
    if (random() % 4 == 0) {
      clock.flush();
      clock.run_ready();
    }
  }
  run_until([&] { return box.received.size() >= sent.size(); });
  EXPECT_EQ(box.received.size(), sent.size());
  EXPECT_TRUE(box.received == sent);
}

TEST_P(UdpMany, APauseTakesEffectBehindWhatWasReadTogether) {
  client(0);
  warm_up();
  for (int i = 0; i < 20; ++i) ask(1);
  box.on_datagram = [&](const Datagram&) { server.pause_producing(); };
  clock.run_ready();
  EXPECT_THAT(box.received, SizeIs(Le(UdpReader::most)));
  box.on_datagram = nullptr;
  clock.run_ready();
  EXPECT_THAT(box.received, SizeIs(Le(UdpReader::most))) << "paused";
  server.resume_producing();
  clock.run_ready();
  EXPECT_THAT(box.received, SizeIs(20));
}

TEST_P(UdpMany, AStopAbortsAndCountsWhatWasReadTogether) {
  warm_up();
  for (int i = 0; i < 6; ++i) ask(1);
  box.on_datagram = [&](const Datagram&) {
    if (box.received.size() == 2) server.stop_listening();
  };
  clock.run_ready();
  EXPECT_THAT(box.received, SizeIs(2));
  EXPECT_EQ(server.statistics().packets_in, 8 + 6U);
  EXPECT_EQ(server.statistics().drops[DropReason::aborted], 4U);
}

TEST_P(UdpMany, AnExceptionCostsOneDatagram) {
  warm_up();
  for (int i = 0; i < 6; ++i) ask(1);
  box.on_datagram = [&](const Datagram&) {
    if (box.received.size() == 2) throw std::runtime_error{"once"};
  };
  clock.run_ready();
  EXPECT_THAT(box.received, SizeIs(6));
  EXPECT_EQ(server.statistics().exceptions, 1U);
}

TEST_P(UdpMany, TheFirstMayDestroyThePort) {
  Box victim;
  auto port = std::make_unique<UdpPort>(clock, any(), victim, PortOptions{.system = system()});
  port->start_listening();
  const auto send = [&](int count) {
    for (int i = 0; i < count; ++i) client(0).write_to(port->get_host(), as_bytes("short"));
  };
  send(8);
  clock.run_ready();
  send(8);
  victim.on_datagram = [&](const Datagram& datagram) {
    port.reset();
    EXPECT_EQ(as_text(datagram.data), "short") << "the bytes stay until the call returns";
  };
  clock.run_ready();
  EXPECT_THAT(victim.received, SizeIs(9));
}

TEST_P(UdpMany, ReceivesGetOneEach) {
  UdpPort port{clock, any(), PortOptions{.system = system()}};
  port.start_listening();
  std::string all;
  std::array<std::byte, 100> buffer{};
  std::function<void()> receive = [&] {
    port.receive(MutableBytes{buffer}, [&](const std::error_code& ec, const UdpPort::Received& got) {
      if (ec) return;
      all += as_text(got.data);
      if (all.size() != 15) receive();
    });
  };
  for (char c = 'a'; c < 'a' + 20; ++c) client(0).write_to(port.get_host(), as_bytes(std::string(1, c)));
  receive();
  clock.run_ready();
  EXPECT_EQ(all, "abcdefghijklmno");
  receive();
  clock.run_ready();
  EXPECT_EQ(all, "abcdefghijklmnopqrst");
}

TEST_P(UdpMany, AReceiverThatIsRefusedCostsTheOthersNothing) {
  for (std::size_t i = 0; i < 5; ++i) client(i);
  {
    const Cork cork{clock};
    for (std::size_t i = 0; i < 5; ++i) {
      if (i == 2) server.write_to({*IpAddress::parse("127.0.0.1"), 0}, as_bytes("no port"));
      server.write_to(client(i).get_host(), as_bytes("answer"));
    }
  }
  clock.run_ready();
  for (const auto& one : boxes) EXPECT_THAT(one->received, ElementsAre("answer"));
  EXPECT_EQ(server.statistics().packets_out, 5U);
  EXPECT_EQ(server.statistics().drops[DropReason::kernel_refused], 1U);
}

/// On the fake kernel, which fails when told.
class UdpManyFaults : public testing::Test {
 protected:
  UdpManyFaults() {
    for (UdpPort* const port : {&left, &one, &two, &three}) port->start_listening();
  }
  void write() {
    const Cork cork{clock};
    for (UdpPort* const port : {&one, &two, &three}) left.write_to(port->get_host(), as_bytes("text"));
  }

  MemorySystem kernel;
  ManualReactor clock;
  Box west;
  Box east;
  UdpPort left{clock, any(), west, {.system = kernel}};
  UdpPort one{clock, any(), east, {.system = kernel}};
  UdpPort two{clock, any(), east, {.system = kernel}};
  UdpPort three{clock, any(), east, {.system = kernel}};
};

TEST_F(UdpManyFaults, AFullBufferQueuesTheRestInOrder) {
  kernel.fail_next(Call::sendmsg, EAGAIN, 2);
  write();
  EXPECT_NE(left.queued_bytes(), 0U);
  clock.run_ready();
  EXPECT_THAT(east.received, ElementsAre("text", "text", "text"));
  EXPECT_EQ(left.statistics().packets_out, 3U);
  EXPECT_EQ(left.statistics().drops.total(), 0U);
}

TEST_F(UdpManyFaults, TheFakeReadsAsManyAsThereAre) {
  for (int i = 0; i < 8; ++i) left.write_to(one.get_host(), as_bytes("short"));
  clock.run_ready();
  for (int i = 0; i < 3; ++i) left.write_to(one.get_host(), as_bytes("short"));
  mmsghdr many[4]{};
  const int fd = one.fileno();
  EXPECT_EQ(kernel.recvmmsg(fd, {many, 1}, 0), 1);
  kernel.fail_next(Call::recvmsg, EAGAIN);
  EXPECT_EQ(kernel.recvmmsg(fd, many, 0), -EAGAIN);
  EXPECT_EQ(kernel.recvmmsg(fd, many, 0), 2);
  EXPECT_EQ(kernel.recvmmsg(fd, many, 0), -EAGAIN);
}

}  // namespace
}  // namespace tunport
