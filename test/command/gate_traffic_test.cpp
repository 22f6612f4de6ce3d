/// `tunport gate` under traffic: many connections, resets, floods, a link that goes down and up.

#include <csignal>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::HasSubstr;

#ifdef __SANITIZE_ADDRESS__
constexpr bool is_slow = true;
#else
constexpr bool is_slow = false;
#endif

/// Servers at 198.51.100.7 and 2001:db8::7. 7777 echoes; 7778 resets after a byte; 7779 says "reset" or "end"
/// of its client; 7780 answers the digest of what came, after the end; 7781 sends as many bytes as it is
/// told, and their digest; 7782 ends its own stream at once, and says what came afterwards.
constexpr const char* servers = R"(
import asyncio, hashlib, os, socket, struct
def reset(w):
    w.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    w.transport.abort()
async def echo(r, w):
    while data := await r.read(65536): w.write(data); await w.drain()
async def resetter(r, w):
    await r.readexactly(1); reset(w)
async def watcher(r, w):
    try:
        while await r.read(100): pass
        print('end', flush=True)
    except ConnectionResetError: print('reset', flush=True)
async def sink(r, w):
    digest = hashlib.sha256()
    while data := await r.read(1 << 18): digest.update(data)
    w.write(digest.digest())
async def source(r, w):
    size, digest = int(await r.readline()), hashlib.sha256()
    block = os.urandom(1 << 18)
    for _ in range(size >> 18): digest.update(block); w.write(block); await w.drain()
    w.write(digest.digest())
async def first(r, w):
    w.write_eof()
    print('came', (await r.read()).decode(), flush=True)
def closing(service):
    async def run(r, w):
        try: await service(r, w)
        except (ConnectionError, asyncio.IncompleteReadError): pass
        finally: w.close()
    return run
async def main():
    services = [echo, resetter, watcher, sink, source, first]
    for port, service in enumerate(services, 7777):
        for address in ('198.51.100.7', '2001:db8::7'):
            await asyncio.start_server(closing(service), address, port, backlog=4096)
    print('ready', flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
)";

class CommandGateTraffic : public sandbox::KernelTest {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which forbids to join a mount namespace";
#endif
    if (!sandbox::is_real_root())
      GTEST_SKIP() << "COMMAND sets the interface, so it needs root. This test was not run.";
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    links.add_address("lo", "198.51.100.7/32");
    links.add_address("lo", "2001:db8::7/128");
    ASSERT_EQ(sandbox::run({"ip", "-6", "route", "add", "default", "dev", "lo"}).status, 0);
    server_.emplace(Words{"-c", servers}, Circumstances{.program = "/usr/bin/python3"});
    ASSERT_TRUE(server_->has_said("ready"));
  }
  const Running& server() const { return *server_; }

  /// Runs a script of Python in the sandbox. Returns the summary; the script's output goes to `said`.
  nlohmann::json gate(const std::string& script, const Words& arguments = {}) {
    Words words{"gate", "tun:t0", "--sandbox", "--json", "--", "python3", "-c", script};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const Finished finished = Running{words}.wait(std::chrono::seconds{100});
    EXPECT_EQ(finished.status, 0) << finished.err;
    said = finished.err;
    return finished.status == 0 ? nlohmann::json::parse(finished.out) : nlohmann::json::object();
  }

  std::string said;

 private:
  std::optional<Running> server_;
};

TEST_F(CommandGateTraffic, TenThousandConnectionsLeaveNothing) {
  constexpr const char* many = R"(
import asyncio, sys
total, at_once = int(sys.argv[1]), 100
async def one():
    r, w = await asyncio.open_connection('198.51.100.7', 7777)
    w.write(b'hello'); w.write_eof()
    assert await r.read() == b'hello'
    w.close(); await w.wait_closed()
async def worker():
    for _ in range(total // at_once): await one()
async def main(): await asyncio.gather(*[worker() for _ in range(at_once)])
asyncio.run(main())
)";
  const int total = is_slow ? 1000 : 10'000;
  const auto summary = gate(many, {std::to_string(total)});
  ASSERT_TRUE(summary.contains("gate"));
  EXPECT_EQ(summary["gate"]["requests"], total);
  EXPECT_EQ(summary["gate"]["accepted"], total);
  EXPECT_EQ(summary["gate"]["requests_expired"], 0);
  EXPECT_EQ(summary["gate"]["bytes_out"], 5 * total);
  EXPECT_EQ(summary["gate"]["bytes_in"], 5 * total);
  EXPECT_EQ(summary["gate"]["flows_left"], 0);
}

TEST_F(CommandGateTraffic, AResetIsAResetBothWays) {
  constexpr const char* resets = R"(
import socket, struct
for address in ('198.51.100.7', '2001:db8::7'):
    s = socket.create_connection((address, 7778), 10)
    s.sendall(b'x')
    try: s.recv(1); raise SystemExit('the stream ended in order')
    except ConnectionResetError: pass
    for _ in range(10):  # at once: also before the gate has accepted the client
        s = socket.create_connection((address, 7779), 10)
        s.sendall(b'x')
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        s.close()
)";
  const auto summary = gate(resets);
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_EQ(summary["gate"]["flows_left"], 0);
  EXPECT_TRUE(sandbox::wait_until([&] { return lines(server().out()).size() == 21; }));
  EXPECT_THAT(server().out(), testing::Not(HasSubstr("end")));
}

TEST_F(CommandGateTraffic, AServerThatEndsFirstStillHears) {
  constexpr const char* hear = R"(
import socket
s = socket.create_connection(('198.51.100.7', 7782), 10)
assert s.recv(1) == b''
s.sendall(b'after the end')
s.close()
)";
  const auto summary = gate(hear);
  EXPECT_TRUE(server().has_said("came after the end"));
}

TEST_F(CommandGateTraffic, AClosedPortIsRefusedAtOnce) {
  constexpr const char* refused = R"(
import socket, statistics, sys, time
times = []
for _ in range(20):
    start = time.monotonic()
    try: socket.create_connection(('198.51.100.7', 1), 10)
    except ConnectionRefusedError: times.append(time.monotonic() - start)
assert len(times) == 20
print('refused after', statistics.median(times) * 1000, 'ms', file=sys.stderr)
assert statistics.median(times) < 0.5
)";
  const auto summary = gate(refused);
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_EQ(summary["gate"]["refused"], 20);
  RecordProperty("refused", said);
}

TEST_F(CommandGateTraffic, BytesAreWholeWhileTheLinkFlaps) {
  constexpr const char* transfer = R"(
import hashlib, os, socket, subprocess, sys, threading, time
size = int(sys.argv[1]) << 18
done = threading.Event()
def ip(*words): subprocess.run(['ip', *words], check=True)
def flap():
    for _ in range(3):
        if done.wait(0.3): return
        ip('link', 'set', 't0', 'down'); time.sleep(0.05)
        ip('link', 'set', 't0', 'up'); ip('route', 'add', 'default', 'dev', 't0')
def up():
    s = socket.create_connection(('198.51.100.7', 7780), 10); s.settimeout(60)
    block, digest = os.urandom(1 << 18), hashlib.sha256()
    for _ in range(size >> 18): digest.update(block); s.sendall(block)
    s.shutdown(socket.SHUT_WR)
    return digest.digest() == s.recv(32, socket.MSG_WAITALL)
def down():
    s = socket.create_connection(('198.51.100.7', 7781), 10); s.settimeout(60)
    s.sendall(b'%d\n' % size)
    digest, left = hashlib.sha256(), size
    while left:
        data = s.recv(min(left, 1 << 18)); assert data
        digest.update(data); left -= len(data)
    return digest.digest() == s.recv(32, socket.MSG_WAITALL)
same = {}
threads = [threading.Thread(target=lambda f=f: same.update({f.__name__: f()})) for f in (up, down)]
flapper = threading.Thread(target=flap); flapper.start()
for t in threads: t.start()
for t in threads: t.join()
done.set(); flapper.join()
assert same == {'up': True, 'down': True}, same
)";
  const auto summary = gate(transfer, {is_slow ? "100" : "1900"});  // times 256 KiB: 500 MB each way
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_EQ(summary["gate"]["accepted"], 2);
}

TEST_F(CommandGateTraffic, AFloodOfSynsIsBoundedAndOthersAreServed) {
  constexpr const char* flood = R"(
import random, socket, struct, subprocess, sys
subprocess.run(['ip', 'route', 'add', '172.16.0.0/12', 'dev', 'lo'], check=True)  # answers go nowhere
def total(data):
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
there = socket.inet_aton('198.51.100.7')
def syn():
    here = struct.pack('!I', 0xac100000 | random.getrandbits(20))
    tcp = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), 7777, random.getrandbits(32), 0, 0x50, 2, 65535, 0, 0)
    check = total(here + there + struct.pack('!BBH', 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack('!H', check) + tcp[18:]
    ip = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + here + there
    raw.sendto(ip + tcp, ('198.51.100.7', 0))
for round in range(int(sys.argv[1])):
    for _ in range(200): syn()
    with socket.create_connection(('198.51.100.7', 7777), 20) as s:
        s.sendall(b'x'); assert s.recv(1) == b'x'
)";
  const int rounds = is_slow ? 5 : 30;
  const auto summary = gate(flood, {std::to_string(rounds)});
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_GE(summary["gate"]["accepted"], rounds);
  EXPECT_GE(summary["gate"]["requests"], rounds + 1);
  EXPECT_LE(summary["gate"]["most_at_once"], 16'384);
}

TEST_F(CommandGateTraffic, AFloodToABlackHoleLeavesNoOuterConnectionsBehind) {
  // SYNs to an interface without a reader are lost, so outer connections take their two minutes.
  ASSERT_EQ(sandbox::run({"ip", "tuntap", "add", "dev", "hole", "mode", "tun"}).status, 0);
  links.set_up("hole", true, ec);
  ASSERT_EQ(sandbox::run({"ip", "route", "add", "203.0.113.0/24", "dev", "hole"}).status, 0);
  constexpr const char* flood = R"(
import socket, struct
def total(data):
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
there = socket.inet_aton('203.0.113.9')
for i in range(13000):
    here = struct.pack('!I', 0xac100000 + i)
    tcp = struct.pack('!HHIIBBHHH', 1024 + i, 80, i, 0, 0x50, 2, 65535, 0, 0)
    check = total(here + there + struct.pack('!BBH', 0, 6, len(tcp)) + tcp)
    tcp = tcp[:16] + struct.pack('!H', check) + tcp[18:]
    raw.sendto(struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0, 64, 6, 0) + here + there + tcp, ('203.0.113.9', 0))
    if i % 1000: continue
    with socket.create_connection(('198.51.100.7', 7777), 20) as s:
        s.sendall(b'x'); assert s.recv(1) == b'x'
)";
  const auto summary = gate(flood);
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_GE(summary["gate"]["accepted"], 13);
  EXPECT_GT(summary["gate"]["requests_expired"], 4000);
  EXPECT_LE(summary["gate"]["most_at_once"], 2 * 4096 + 100) << "twice those that may wait";
}

TEST_F(CommandGateTraffic, RoutesAndAddressesAreThereAgainAfterTheLinkWasDown) {
  Running gate{{"gate", "tun:t1", "--quiet", "--interface-address", "10.9.0.1/24", "--interface-address",
                "fd09::1/64", "--route", "203.0.113.0/24", "--route", "2001:db8:1::/64", "--map",
                "203.0.113.7:80=198.51.100.7:7777", "--map", "[2001:db8:1::7]:80=[2001:db8::7]:7777"}};
  const auto routes = [] {
    return sandbox::run(
               {"sh", "-c", "ip -4 route show dev t1 proto static; ip -6 route show dev t1 proto static"})
        .output;
  };
  ASSERT_TRUE(sandbox::wait_until([&] {
    const std::string there = routes();
    return there.starts_with("203.0.113.0/24") && there.find("\n2001:db8:1::/64") != std::string::npos;
  })) << routes();
  const std::string before = routes();
  for (int i = 0; i < 3; ++i) {
    links.set_up("t1", false, ec);
    EXPECT_EQ(routes(), "");
    links.set_up("t1", true, ec);
    EXPECT_TRUE(sandbox::wait_until([&] { return routes() == before; })) << routes();
  }
  constexpr const char* talk = R"(
import socket
for address in ('203.0.113.7', '2001:db8:1::7'):
    with socket.create_connection((address, 80), 10) as s:
        s.sendall(b'x'); print(s.recv(1))
)";
  EXPECT_EQ(sandbox::run({"python3", "-c", talk}).output, "b'x'\nb'x'\n");
}

TEST_F(CommandGateTraffic, NothingIsLeftBehind) {
  const auto files = [] { return sandbox::run({"sh", "-c", "ls -d /tmp/tunport-resolv.* 2>&1"}).output; };
  const std::string before = files();
  Running gate{
      {"gate", "tun:t0", "--sandbox", "--quiet", "--", "sh", "-c", "echo begun; exec sleep 1000.125"}};
  ASSERT_TRUE(gate.has_said("begun"));
  gate.send(SIGTERM);
  EXPECT_EQ(gate.wait().status, 128 + SIGTERM);
  EXPECT_FALSE(links.find("t0", ec));
  EXPECT_EQ(sandbox::run({"pgrep", "-f", "sleep 1000[.]125"}).output, "");
  EXPECT_EQ(files(), before);
}

TEST_F(CommandGateTraffic, SourcesBesidesTheInterfacesAddressAndEachReversePathFilter) {
  constexpr const char* sources = R"(
import socket, subprocess
def ip(*words): subprocess.run(['ip', *words], check=True)
ip('addr', 'add', '10.0.2.77/24', 'dev', 't0')
ip('addr', 'add', '192.0.2.99/32', 'dev', 'lo')
for rp_filter in (0, 1, 2):
    for name in ('all', 't0'): open(f'/proc/sys/net/ipv4/conf/{name}/rp_filter', 'w').write(str(rp_filter))
    for source in ('10.0.2.100', '10.0.2.77', '192.0.2.99'):
        with socket.create_connection(('198.51.100.7', 7777), 10, (source, 0)) as s:
            s.sendall(b'x'); assert s.recv(1) == b'x'
)";
  const auto summary = gate(sources);
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_EQ(summary["gate"]["accepted"], 9);
}

TEST_F(CommandGateTraffic, AFirewallThatDropsItsPacketsIsNamedAtTheStart) {
  const Words start{"gate",           "tun:t1",     "--interface-address",
                    "10.9.0.1/24",    "fd09::1/64", "--route",
                    "203.0.113.0/24", "--quiet",    "--",
                    "sleep",          "3"};
  EXPECT_EQ(run(start).err, "");
  for (const char* const rule :
       {"add table inet f", "add chain inet f in { type filter hook input priority 0; policy drop; }",
        "add rule inet f in iif lo accept"})
    if (sandbox::run({"nft", rule}).status != 0)
      GTEST_SKIP() << "nft makes no firewall here. This test was not run.";
  const auto told = lines(run(start).err);
  ASSERT_EQ(told.size(), 2U);
  EXPECT_THAT(told[0], testing::StartsWith("tunport: t1: the kernel does not answer at 10.9.0.1:"));
  EXPECT_THAT(told[0], HasSubstr("a firewall drops what comes in from t1"));
  EXPECT_THAT(told[1], HasSubstr("[fd09::1]:"));
}

TEST_F(CommandGateTraffic, A4TupleIsUsedAgain) {
  constexpr const char* again = R"(
import socket, struct
for i in range(200):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('10.0.2.100', 40000)); s.settimeout(10); s.connect(('198.51.100.7', 7777))
    s.sendall(b'x'); assert s.recv(1) == b'x'
    if i % 2:  # otherwise a reset
        s.shutdown(socket.SHUT_WR); assert s.recv(1) == b''
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    s.close()
)";
  const auto summary = gate(again);
  ASSERT_TRUE(summary.contains("gate")) << said;
  EXPECT_EQ(summary["gate"]["accepted"], 200);
}

TEST_F(CommandGateTraffic, DigAsksTheMachinesResolver) {
  Running dnsmasq{{"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
                   "--group=", "--no-resolv", "--no-hosts", "--bind-interfaces",
                   "--listen-address=198.51.100.7", "--address=/one.example/192.0.2.80"},
                  {.program = "/usr/sbin/dnsmasq"}};
  const Words ask{"+short", "+tries=1", "+time=1", "@198.51.100.7", "one.example"};
  std::string direct;
  for (int tries = 0; tries < 10 && direct.empty(); ++tries)
    direct = run(ask, {.program = "/usr/bin/dig"}).out.starts_with("192.0.2.80") ? "there" : "";
  ASSERT_EQ(direct, "there");
  char file[] = "/tmp/tunport-resolv-XXXXXX";
  const UniqueFd resolv{::mkstemp(file)};
  const std::string text = "nameserver 198.51.100.7\n";
  ASSERT_EQ(::write(resolv.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  ::fchmod(resolv.get(), 0644);
  Circumstances how;
  how.mounts = [&] { return ::mount(file, "/etc/resolv.conf", nullptr, MS_BIND, nullptr) == 0; };
  for (const char* const transport : {"+notcp", "+tcp"}) {
    const Finished finished =
        run({"gate", "tun:t0", "--sandbox", "--quiet", "--", "dig", "+short", transport, "one.example"}, how);
    EXPECT_EQ(finished.status, 0) << finished.err;
    EXPECT_EQ(finished.out, "192.0.2.80\n") << transport;
  }
  ::unlink(file);
}

}  // namespace
}  // namespace tunport::command
