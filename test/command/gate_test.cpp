/// `tunport gate`: a COMMAND in a sandbox reaches servers outside, as if it were there.

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// A server of TCP and UDP at 198.51.100.7:7777 and 2001:db8::7, which echoes; printed: "ready". Python is
/// there for other tests already.
constexpr const char* echo_server = R"(
import socket, threading
def serve(family, address):
    tcp = socket.socket(family, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind((address, 7777)); tcp.listen(100)
    udp = socket.socket(family, socket.SOCK_DGRAM); udp.bind((address, 7777))
    def connection(c):
        with c:
            while True:
                data = c.recv(65536)
                if not data: break
                c.sendall(data)
    def accept():
        while True: threading.Thread(target=connection, args=(tcp.accept()[0],), daemon=True).start()
    def datagrams():
        while True:
            data, peer = udp.recvfrom(65536)
            udp.sendto(data, peer)
    threading.Thread(target=accept, daemon=True).start()
    threading.Thread(target=datagrams, daemon=True).start()
serve(socket.AF_INET, '198.51.100.7')
serve(socket.AF_INET6, '2001:db8::7')
print('ready', flush=True)
threading.Event().wait()
)";

/// A client: `TALK ADDRESS PORT BYTES` sends random bytes both ways at once, half closes, and compares;
/// prints "same".
constexpr const char* talk = R"(
import hashlib, os, socket, sys, threading
address, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
s = socket.create_connection((address, port), 10)
sent, got = hashlib.sha256(), hashlib.sha256()
def send():
    left = size
    while left:
        data = os.urandom(min(left, 1 << 16)); left -= len(data)
        sent.update(data); s.sendall(data)
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send); t.start()
while True:
    data = s.recv(1 << 16)
    if not data: break
    got.update(data)
t.join()
print('same' if sent.digest() == got.digest() else 'different')
)";

class CommandGate : public sandbox::KernelTest {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which forbids to join a mount namespace";
#endif
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    // The outside: addresses of the test's own namespace.
    links.add_address("lo", "198.51.100.7/32");
    links.add_address("lo", "2001:db8::7/128");
    ASSERT_EQ(sandbox::run({"ip", "-6", "route", "add", "default", "dev", "lo"}).status, 0);
    server_.emplace(Words{"-c", echo_server}, Circumstances{.program = "/usr/bin/python3"});
    ASSERT_TRUE(server_->has_said("ready"));
  }
  Finished gate(const Words& options, const Words& command) {
    Words words{"gate", "tun:t0", "--sandbox", "--quiet"};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return run(words);
  }

 private:
  std::optional<Running> server_;
};

TEST_F(CommandGate, BytesPassBothWaysWhole) {
  for (const char* address : {"198.51.100.7", "2001:db8::7"}) {
    const Finished finished = gate({}, {"python3", "-c", talk, address, "7777", "20000000"});
    EXPECT_EQ(finished.out, "same\n") << finished.err;
    EXPECT_EQ(finished.status, 0);
  }
  EXPECT_FALSE(links.find("t0", ec)) << "the interface is inside, and has gone";
}

TEST_F(CommandGate, AClosedPortIsRefusedAndAnUnknownNetworkUnreachable) {
  constexpr const char* tries = R"(
import errno, socket
for address, port in (('198.51.100.7', 1), ('2001:db8::7', 1), ('203.0.113.9', 80)):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family); s.settimeout(5)
    print(errno.errorcode.get(s.connect_ex((address, port)), 'connected'))
)";
  EXPECT_EQ(gate({}, {"python3", "-c", tries}).out, "ECONNREFUSED\nECONNREFUSED\nENETUNREACH\n");
}

TEST_F(CommandGate, UdpAndPingsComeBack) {
  constexpr const char* ask = R"(
import socket
for address in ('198.51.100.7', '2001:db8::7'):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5); s.connect((address, 7777)); s.send(b'x' * 5000)
    print(len(s.recv(65536)))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
s.connect(('198.51.100.7', 1)); s.send(b'x')
try: s.recv(10)
except ConnectionRefusedError: print('refused')
)";
  const Finished finished = gate({}, {"python3", "-c", ask});
  EXPECT_EQ(finished.out, "5000\n5000\nrefused\n") << finished.err;
}

TEST_F(CommandGate, PingsFollowTheRules) {
  std::ofstream{"/proc/sys/net/ipv4/ping_group_range"} << "0 2147483647\n";
  const Words ping{"sh", "-c", "ping -c 1 -W 5 198.51.100.7; ping -c 1 -W 5 2001:db8::7"};
  EXPECT_THAT(gate({}, ping).out, AllOf(HasSubstr("bytes from 198.51.100.7"),
                                        HasSubstr("bytes from 2001:db8::7"), HasSubstr("1 received")));
  EXPECT_THAT(gate({"--deny", "198.51.100.0/24", "2001:db8::/32"}, ping).out,
              AllOf(HasSubstr("Packet filtered"), HasSubstr("prohibited"), Not(HasSubstr("bytes from"))));
  EXPECT_THAT(gate({}, {"ping", "-c", "1", "-W", "5", "127.0.0.2"}).out, HasSubstr("1 received"))
      << "COMMAND's own loopback";
  EXPECT_THAT(gate({}, {"ping", "-c", "1", "-W", "5", "10.0.2.2"}).out, Not(HasSubstr("bytes from")))
      << "the machine's loopback";
}

TEST_F(CommandGate, OtherProtocolsAreUnreachable) {
  constexpr const char* ask = R"(
import errno, socket
for family, address in ((socket.AF_INET, '198.51.100.7'), (socket.AF_INET6, '2001:db8::7')):
    s = socket.socket(family, socket.SOCK_RAW, 253)
    s.settimeout(5); s.connect((address, 0)); s.send(b'eight bytes')
    try: s.recv(100)
    except OSError as e: print(errno.errorcode[e.errno])
)";
  if (!sandbox::is_real_root()) GTEST_SKIP() << "COMMAND needs raw sockets, so root. This test was not run.";
  const Finished finished = gate({"--json"}, {"python3", "-c", ask});
  EXPECT_THAT(finished.err, HasSubstr("ENOPROTOOPT\nEPROTO\n"));
  EXPECT_EQ(nlohmann::json::parse(finished.out)["gate"]["protocols_refused"], 2);
}

TEST_F(CommandGate, MapsAndDenials) {
  const Finished finished =
      gate({"--map", "203.0.113.7:80=198.51.100.7:7777", "*:25=refuse", "--deny", "198.51.100.0/24"},
           {"sh", "-c",
            "python3 -c \"$0\" 203.0.113.7 80 1000; "
            "python3 -c \"$0\" 198.51.100.7 7777 1 2>&1 | tail -n 1; "
            "python3 -c \"$0\" 203.0.113.8 25 1 2>&1 | tail -n 1",
            talk});
  EXPECT_THAT(lines(finished.out),
              testing::ElementsAre("same", HasSubstr("No route to host"), HasSubstr("Connection refused")))
      << finished.err;
}

TEST_F(CommandGate, TheMachinesLoopbackIsReachedOnlyIfAllowed) {
  constexpr const char* probe = R"(
import errno, socket
s = socket.socket(); s.settimeout(5)
print(errno.errorcode.get(s.connect_ex(('10.0.2.2', 9)), 'connected'))
)";
  EXPECT_EQ(gate({}, {"python3", "-c", probe}).out, "EHOSTUNREACH\n");
  EXPECT_EQ(gate({"--allow-host-loopback"}, {"python3", "-c", probe}).out, "ECONNREFUSED\n");
}

TEST_F(CommandGate, ManyConnectionsLeaveNothing) {
  constexpr const char* many = R"(
import socket
for i in range(500):
    with socket.create_connection(('198.51.100.7', 7777), 10) as s:
        s.sendall(b'x'); assert s.recv(1) == b'x'
)";
  const Finished finished = gate({"--json"}, {"python3", "-c", many});
  ASSERT_EQ(finished.status, 0) << finished.err;
  const auto summary = nlohmann::json::parse(finished.out);
  EXPECT_EQ(summary["gate"]["requests"], 500);
  EXPECT_EQ(summary["gate"]["accepted"], 500);
  EXPECT_EQ(summary["gate"]["strangers"], 0);
  EXPECT_EQ(summary["gate"]["bytes_out"], 500);
  EXPECT_EQ(summary["gate"]["bytes_in"], 500);
}

TEST_F(CommandGate, WhatCommandHadSentArrives) {
  constexpr const char* sink = R"(
import socket
s = socket.create_server(('198.51.100.7', 9))
print('ready', flush=True)
c, size = s.accept()[0], 0
while data := c.recv(1 << 16): size += len(data)
print('got', size, flush=True)
)";
  constexpr const char* send_and_end = R"(
import socket, os
s = socket.create_connection(('198.51.100.7', 9), 10)
s.sendall(bytes(3000000))
os._exit(0)
)";
  Running server{Words{"-c", sink}, Circumstances{.program = "/usr/bin/python3"}};
  ASSERT_TRUE(server.has_said("ready"));
  const Finished finished = gate({"--json"}, {"python3", "-c", send_and_end});
  ASSERT_EQ(finished.status, 0) << finished.err;
  EXPECT_TRUE(server.has_said("got 3000000"));
  const auto summary = nlohmann::json::parse(finished.out);
  EXPECT_EQ(summary["gate"]["bytes_out"], 3000000);
  EXPECT_EQ(summary["gate"]["flows_left"], 0);
}

TEST_F(CommandGate, AConnectionThatIsCutOffCountsItsBytes) {
  constexpr const char* leave_behind = R"(
import os, socket
s = socket.create_connection(('198.51.100.7', 7777), 5)
s.sendall(b'12345'); assert s.recv(5) == b'12345'
if os.fork() == 0:  # keeps the connection, for five seconds
    os.close(1); os.close(2)
    s.recv(1)
)";
  const Finished finished = gate({"--json"}, {"python3", "-c", leave_behind});
  ASSERT_EQ(finished.status, 0) << finished.err;
  const auto summary = nlohmann::json::parse(finished.out);
  EXPECT_EQ(summary["gate"]["bytes_out"], 5);
  EXPECT_EQ(summary["gate"]["bytes_in"], 5);
  EXPECT_EQ(summary["gate"]["flows_left"], 1);
}

TEST_F(CommandGate, TheListenerLooksClosedToOthers) {
  constexpr const char* probe = R"(
import errno, socket
for line in open('/proc/net/tcp').readlines()[1:]:
    fields = line.split()
    if fields[3] != '0A': continue
    address, port = fields[1].split(':')
    address = socket.inet_ntoa(int(address, 16).to_bytes(4, 'little'))
    s = socket.socket(); s.settimeout(5)
    print(address, errno.errorcode.get(s.connect_ex((address, int(port, 16))), 'connected'))
)";
  EXPECT_EQ(gate({}, {"python3", "-c", probe}).out, "192.0.0.8 ECONNREFUSED\n");
}

TEST_F(CommandGate, EachConnectionIsALineOfTheLog) {
  char log[] = "/tmp/tunport-gate-XXXXXX";
  const UniqueFd file{::mkstemp(log)};
  const Finished finished = gate({"--log", log}, {"python3", "-c", talk, "198.51.100.7", "7777", "1000"});
  EXPECT_EQ(finished.status, 0) << finished.err;
  std::ifstream written{log};
  std::string line;
  ASSERT_TRUE(std::getline(written, line));
  ::unlink(log);
  const auto record = nlohmann::json::parse(line);
  EXPECT_EQ(record["destination"], "198.51.100.7:7777");
  EXPECT_EQ(record["bytes_out"], 1000);
  EXPECT_EQ(record["bytes_in"], 1000);
  EXPECT_EQ(record["end"], "closed");
}

TEST_F(CommandGate, CommandsStatusAndOutputAreItsOwn) {
  const Finished finished = run({"gate", "tun:t0", "--sandbox", "--", "sh", "-c", "echo said; exit 7"});
  EXPECT_EQ(finished.status, 7);
  EXPECT_EQ(finished.out, "said\n");
  EXPECT_THAT(finished.err, HasSubstr("tun:t0 as a gate"));
  EXPECT_EQ(gate({}, {"tunport-no-such-command"}).status, 127);
}

TEST_F(CommandGate, CommandsWorkingDirectoryIsOurs) {
  char directory[] = "/tmp/tunport-gate-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  const Finished finished =
      run({"-c", "cd \"$1\" && exec \"$0\" gate tun:t0 --sandbox --quiet -- sh -c 'pwd -P; cd .. && pwd -P'",
           path(), directory},
          {.program = "/bin/sh"});
  ::rmdir(directory);
  EXPECT_EQ(finished.out, std::string{directory} + "\n/tmp\n") << finished.err;
}

TEST_F(CommandGate, WithoutASandboxTheInterfaceIsHere) {
  Running gate{{"gate", "tun:t0", "--interface-address", "10.0.2.100/24", "--route", "203.0.113.0/24",
                "--map", "203.0.113.7:80=198.51.100.7:7777"}};
  ASSERT_TRUE(gate.has_said("is a gate for 203.0.113.0/24"));
  const auto talked = sandbox::run({"python3", "-c", talk, "203.0.113.7", "80", "1000"});
  EXPECT_EQ(talked.output, "same\n");
  gate.send(SIGTERM);
  const Finished finished = gate.wait();
  EXPECT_EQ(finished.status, 0);
  EXPECT_THAT(finished.out, HasSubstr("accepted"));
  EXPECT_FALSE(links.find("t0", ec));
}

TEST(CommandGateUsage, WrongUsageIsStatusTwoAndOneLine) {
  const struct {
    Words words;
    std::string said;
  } table[] = {
      {{"gate"}, "PORT is missing"},
      {{"gate", "tap:t0"}, "a gate is for a TUN; write tun:t0"},
      {{"gate", "tun:t0"}, "--interface-address is missing"},
      {{"gate", "tun:t0", "--sandbox"}, "--sandbox needs a COMMAND"},
      {{"gate", "tun:t0", "--sandbox", "--map", "x", "--", "true"}, "--map 'x': the target is missing"},
      {{"gate", "tun:t0", "--sandbox", "--route", "x", "--", "true"}, "--route 'x': no address or prefix"},
      {{"gate", "tun:t0", "--sandbox", "--dns", "x", "--", "true"}, "--dns 'x': no address"},
      {{"gate", "tun:t0", "--interface-address", "10.0.0.1", "--", "true"},
       "no address with a prefix length"},
      {{"gate", "tun:t0", "--interface-address", "10.0.0.1/24", "--route", "fd00::/8"},
       "no address of this family"},
  };
  for (const auto& [words, said] : table) {
    const Finished finished = run(words);
    EXPECT_EQ(finished.status, 2) << said;
    EXPECT_THAT(finished.err, HasSubstr(said));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
    EXPECT_THAT(finished.out, IsEmpty());
  }
}

}  // namespace
}  // namespace tunport::command
