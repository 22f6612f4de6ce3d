/// `tunport gate --to`: the connections of a COMMAND go by a proxy.

#include <cstdlib>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tunport/wire/address.hpp"

#include "command/command.hpp"
#include "kernel/sandbox.hpp"

namespace tunport::command {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

/// A web server at 198.51.100.7:80, which answers with the client's address; printed: "ready".
constexpr const char* web_server = R"(
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f'{self.client_address[0]} for {self.headers["Host"]}\n'.encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
server = http.server.ThreadingHTTPServer(('198.51.100.7', 80), Handler)
print('ready', flush=True)
server.serve_forever()
)";

/// Says what becomes of a connection to ADDRESS PORT, for each such pair.
constexpr const char* probe = R"(
import errno, socket, sys
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    s = socket.socket(); s.settimeout(10)
    print(errno.errorcode.get(s.connect_ex((address, int(port))), 'connected'))
)";

/// An HTTP proxy with CONNECT alone, at 127.0.0.1:1080, whose connections come from 198.51.100.8. The name
/// "server.test" is known. With an argument, USER:PASSWORD must be given.
constexpr const char* http_proxy = R"(
import base64, errno, socket, sys, threading
def pump(a, b):
    try:
        while data := a.recv(65536): b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError: pass
def serve(client):
    head = b''
    while b'\r\n\r\n' not in head:
        data = client.recv(1)
        if not data: return
        head += data
    request, *headers = head.decode().split('\r\n')
    method, place, version = request.split(' ')
    def answer(text): client.sendall(f'HTTP/1.1 {text}\r\nVia: test\r\n\r\n'.encode())
    if sys.argv[1:]:
        wanted = 'Proxy-Authorization: Basic ' + base64.b64encode(sys.argv[1].encode()).decode()
        if wanted not in headers: answer('407 Proxy Authentication Required'); client.close(); return
    host, port = place.rsplit(':', 1)
    try:
        server = socket.create_connection((host.replace('server.test', '198.51.100.7'), int(port)), 10,
                                          ('198.51.100.8', 0))
    except OSError as error:
        answer('503 Refused' if error.errno == errno.ECONNREFUSED else '502 Unreachable')
        client.close()
        return
    answer('200 Connection established')
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)
listener = socket.create_server(('127.0.0.1', 1080))
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
)";

/// An echo of UDP at 198.51.100.7:7777.
constexpr const char* udp_echo = R"(
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('198.51.100.7', 7777))
print('ready', flush=True)
while True:
    data, peer = s.recvfrom(65536); s.sendto(data, peer)
)";

/// Sends datagrams to each HOST, and prints the lengths of the answers.
constexpr const char* udp_client = R"(
import socket, sys
for host in sys.argv[1:]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5)
    s.connect((socket.gethostbyname(host), 7777))
    for size in (1, 1000, 60000):
        s.send(b'x' * size)
        try: print(len(s.recv(65536)))
        except OSError as error: print(error.strerror)
)";

constexpr const char* dante_configuration = R"(
logoutput: stderr
internal: 127.0.0.1 port = 1080
external: 198.51.100.8
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: root
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks block { from: 0.0.0.0/0 to: 203.0.113.0/24 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
)";

/// A file of a test.
class File {
 public:
  explicit File(std::string_view text) {
    const UniqueFd file{::mkstemp(path_)};
    ::fchmod(file.get(), 0644);
    EXPECT_EQ(::write(file.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  ~File() { ::unlink(path_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  const char* path() const { return path_; }

 private:
  char path_[30] = "/tmp/tunport-gate-XXXXXX";
};

bool is_there(const Endpoint& endpoint) {
  const int family = endpoint.address.is_v6() ? AF_INET6 : AF_INET;
  const UniqueFd socket{::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_storage storage{};
  const socklen_t length = endpoint.to_sockaddr(storage);
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&storage), length) == 0;
}

class CommandGateProxy : public sandbox::KernelTest {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "ThreadSanitizer has a thread of its own, which forbids to join a mount namespace";
#endif
    KernelTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    links.add_address("lo", "198.51.100.7/32");
    links.add_address("lo", "198.51.100.8/32");
    server_.emplace(Words{"-c", web_server}, Circumstances{.program = "/usr/bin/python3"});
    ASSERT_TRUE(server_->has_said("ready"));
  }
  /// A proxy, which the test waits for. Its connections come from 198.51.100.8.
  void start_microsocks(Words options = {}) {
    Words words{"-i", "127.0.0.1", "-p", "1080", "-b", "198.51.100.8"};
    words.insert(words.end(), options.begin(), options.end());
    start({words, {.mounts = [this] { return mount_hosts(); }, .program = "/usr/bin/microsocks"}});
  }
  void start_dante() {
    start(
        {{"-f", dante_.path()}, {.mounts = [this] { return mount_hosts(); }, .program = "/usr/sbin/danted"}});
  }
  void start_http_proxy(const Words& arguments = {}) {
    Words words{"-c", http_proxy};
    words.insert(words.end(), arguments.begin(), arguments.end());
    start({words, {.program = "/usr/bin/python3"}});
  }
  /// Names that a proxy finds.
  bool mount_hosts() const { return ::mount(hosts_.path(), "/etc/hosts", nullptr, MS_BIND, nullptr) == 0; }
  void start(const std::pair<Words, Circumstances>& how) {
    proxy_.emplace(how.first, how.second);
    ASSERT_TRUE(sandbox::wait_until([] { return is_there(*Endpoint::parse("127.0.0.1:1080")); }))
        << proxy_->err();
  }
  Finished gate(const Words& options, const Words& command) {
    Words words{"gate", "tun:t0", "--sandbox", "--quiet"};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    words.insert(words.end(), command.begin(), command.end());
    return run(words);
  }
  std::optional<Running> proxy_;

 private:
  File hosts_{"127.0.0.1 localhost\n198.51.100.7 server.test\n"};
  File dante_{dante_configuration};
  std::optional<Running> server_;
};

const Words ask_web{"curl", "-sS", "-m", "10", "http://198.51.100.7/"};

TEST_F(CommandGateProxy, CurlReachesAWebServerByMicrosocks) {
  start_microsocks();
  const Finished finished = gate({"--to", "socks5://127.0.0.1:1080"}, ask_web);
  EXPECT_EQ(finished.out, "198.51.100.8 for 198.51.100.7\n") << finished.err;
  EXPECT_THAT(finished.err, IsEmpty());
}

TEST_F(CommandGateProxy, AProxyHasANameOrAnAddressOfIpv6) {
  start_microsocks();
  const Finished by_name = gate({"--to", "socks5://localhost:1080"}, ask_web);
  EXPECT_EQ(by_name.out, "198.51.100.8 for 198.51.100.7\n") << by_name.err;
  const Running v6{{"-i", "::1", "-p", "1081"}, {.program = "/usr/bin/microsocks"}};
  ASSERT_TRUE(sandbox::wait_until([] { return is_there(*Endpoint::parse("[::1]:1081")); })) << v6.err();
  const Finished by_v6 = gate({"--to", "socks5://[::1]:1081"}, ask_web);
  EXPECT_EQ(by_v6.out, "198.51.100.7 for 198.51.100.7\n") << by_v6.err;
}

TEST_F(CommandGateProxy, AProxyAsksForThePassword) {
  start_microsocks({"-u", "us:er", "-P", "p@ss"});
  const Finished right = gate({"--to", "socks5://us%3Aer:p%40ss@127.0.0.1:1080"}, ask_web);
  EXPECT_EQ(right.out, "198.51.100.8 for 198.51.100.7\n") << right.err;
  const Words twice{"python3", "-c", probe, "198.51.100.7", "80", "198.51.100.7", "80"};
  const Finished wrong = gate({"--to", "socks5://user:secret@127.0.0.1:1080"}, twice);
  EXPECT_EQ(wrong.out, "ECONNREFUSED\nECONNREFUSED\n");
  EXPECT_EQ(
      wrong.err,
      "tunport: the proxy socks5://127.0.0.1:1080: it refuses user and password; connections are refused "
      "meanwhile\n");
  const Finished none = gate({"--to", "socks5://127.0.0.1:1080"}, twice);
  EXPECT_EQ(none.out, "ECONNREFUSED\nECONNREFUSED\n");
  EXPECT_THAT(none.err, HasSubstr("it wants a user and a password"));
}

TEST_F(CommandGateProxy, TheClientSeesWhatTheProxySees) {
  start_microsocks();
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080"},
           {"python3", "-c", probe, "198.51.100.7", "1", "198.51.100.7", "80", "203.0.113.9", "80"});
  EXPECT_EQ(finished.out, "ECONNREFUSED\nconnected\nENETUNREACH\n") << finished.err;
  EXPECT_THAT(finished.err, IsEmpty());
}

TEST_F(CommandGateProxy, AProxyThatIsDownIsSaidOnceAndTriedAgain) {
  constexpr const char* script = R"(
python3 -c "$0" 198.51.100.7 80 198.51.100.7 80 198.51.100.7 80
echo next
for i in 1 2 3 4 5 6 7 8 9; do
  curl -sS -m 10 http://198.51.100.7/ 2>/dev/null && break
  sleep 0.3
done
)";
  Running gate{{"gate", "tun:t0", "--sandbox", "--quiet", "--to", "socks5://127.0.0.1:1080", "--", "sh", "-c",
                script, probe}};
  ASSERT_TRUE(gate.has_said("next"));
  start_microsocks();
  const Finished finished = gate.wait();
  EXPECT_EQ(finished.out, "ECONNREFUSED\nECONNREFUSED\nECONNREFUSED\nnext\n198.51.100.8 for 198.51.100.7\n");
  EXPECT_EQ(finished.err,
            "tunport: the proxy socks5://127.0.0.1:1080: Connection refused; connections are refused "
            "meanwhile\n");
}

TEST_F(CommandGateProxy, MappedConnectionsAndDeniedOnesDoNotReachTheProxy) {
  // There is no proxy.
  const Finished finished = gate(
      {"--to", "socks5://127.0.0.1:1080", "--map", "203.0.113.1:80=198.51.100.7:80", "--deny", "203.0.113.2"},
      {"sh", "-c", "curl -sS -m 10 http://203.0.113.1/; python3 -c \"$0\" 203.0.113.2 80", probe});
  EXPECT_EQ(finished.out, "198.51.100.7 for 203.0.113.1\nEHOSTUNREACH\n");
  EXPECT_THAT(finished.err, IsEmpty());
}

TEST_F(CommandGateProxy, TheProxysOwnAddressIsNotReachedFromInside) {
  start_microsocks();
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"python3", "-c", probe, "10.0.2.2", "1080"});
  EXPECT_EQ(finished.out, "EHOSTUNREACH\n") << finished.err;
}

TEST_F(CommandGateProxy, ARouteToTheProxyIntoTheInterfaceIsNoLoop) {
  Running gate{{"gate", "tun:t0", "--interface-address", "10.0.2.100/24", "--route", "203.0.113.0/24", "--to",
                "socks5://203.0.113.5:1080"}};
  ASSERT_TRUE(gate.has_said("is a gate for 203.0.113.0/24"));
  EXPECT_EQ(sandbox::run({"python3", "-c", probe, "203.0.113.7", "80"}).output, "ECONNREFUSED\n");
  gate.send(SIGTERM);
  const Finished finished = gate.wait();
  EXPECT_THAT(finished.err, HasSubstr("the proxy socks5://203.0.113.5:1080: No route to host"));
  EXPECT_THAT(finished.out, HasSubstr("connections asked for                2\n"));
}

TEST_F(CommandGateProxy, AProxyOfGarbageRefuses) {
  start({{"-u", "-c",
          "import socket\n"
          "l = socket.create_server(('127.0.0.1', 1080))\n"
          "while True:\n"
          "    c = l.accept()[0]; c.sendall(b'SSH-2.0-garbage\\r\\n' * 1000); c.close()\n"},
         {.program = "/usr/bin/python3"}});
  for (const char* kind : {"socks5", "http"}) {
    const Finished finished = gate({"--to", std::string{kind} + "://127.0.0.1:1080"},
                                   {"python3", "-c", probe, "198.51.100.7", "80"});
    EXPECT_EQ(finished.out, "ECONNREFUSED\n");
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
}

TEST_F(CommandGateProxy, AProxyThatHangsKeepsNobodyFromEnding) {
  start({{"-u", "-c",
          "import socket\n"
          "l = socket.create_server(('127.0.0.1', 1080))\n"
          "kept = []\n"
          "while True: kept.append(l.accept()[0])\n"},
         {.program = "/usr/bin/python3"}});
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"curl", "-sS", "-m", "1", "http://198.51.100.7/"});
  EXPECT_EQ(finished.status, 28) << "curl's own timeout";
}

const Words ask_by_name{"curl", "-sS", "-m", "10", "http://server.test/"};

TEST_F(CommandGateProxy, NamesAreTheProxysToFind) {
  start_microsocks();
  const File log{""};
  // COMMAND's end cuts off what stands still.
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080", "--log", log.path()},
           {"sh", "-c", "curl -sS -m 10 http://server.test/; until [ -s \"$0\" ]; do sleep 0.05; done",
            log.path()});
  EXPECT_EQ(finished.out, "198.51.100.8 for server.test\n") << finished.err;
  std::ifstream written{log.path()};
  std::string line;
  ASSERT_TRUE(std::getline(written, line));
  const auto record = nlohmann::json::parse(line);
  EXPECT_EQ(record["name"], "server.test");
  EXPECT_EQ(record["destination"], "198.18.0.1:80");
  EXPECT_EQ(record["end"], "closed");
}

TEST_F(CommandGateProxy, AnAddressThatStandsForNoNameIsUnreachable) {
  start_microsocks();
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"python3", "-c", probe, "198.18.0.9", "80"});
  EXPECT_EQ(finished.out, "EHOSTUNREACH\n") << finished.err;
}

TEST_F(CommandGateProxy, TheNameServerIsTheGatesAndHasNoTcp) {
  start_microsocks();
  const Finished finished =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"sh", "-c",
                                                 "cat /etc/resolv.conf; dig +short +tries=1 server.test;"
                                                 "dig +tries=1 server.test AAAA | grep -o NOERROR;"
                                                 "dig +tries=1 localhost | grep -o NXDOMAIN;"
                                                 "python3 -c \"$0\" 10.0.2.3 53",
                                                 probe});
  EXPECT_EQ(finished.out,
            "# made by tunport gate\nnameserver 10.0.2.3\n198.18.0.1\nNOERROR\nNXDOMAIN\nECONNREFUSED\n")
      << finished.err;
}

TEST_F(CommandGateProxy, ConnectionsAndDatagramsGoByDante) {
  start_dante();
  Running echo{{"-c", udp_echo}, {.program = "/usr/bin/python3"}};
  ASSERT_TRUE(echo.has_said("ready"));
  EXPECT_EQ(gate({"--to", "socks5://127.0.0.1:1080"}, ask_web).out, "198.51.100.8 for 198.51.100.7\n");
  EXPECT_EQ(gate({"--to", "socks5://127.0.0.1:1080"}, ask_by_name).out, "198.51.100.8 for server.test\n");
  const Finished forbidden =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"python3", "-c", probe, "203.0.113.9", "80"});
  EXPECT_EQ(forbidden.out, "EHOSTUNREACH\n") << forbidden.err;
  const Finished datagrams =
      gate({"--to", "socks5://127.0.0.1:1080"}, {"python3", "-c", udp_client, "198.51.100.7", "server.test"});
  EXPECT_EQ(datagrams.out, "1\n1000\n60000\n1\n1000\n60000\n") << datagrams.err << proxy_->err();
}

TEST_F(CommandGateProxy, WithoutDatagramsOfTheProxyTheClientIsRefused) {
  const Words client{"python3", "-c", udp_client, "198.51.100.7"};
  const std::string refused = "Connection refused\nConnection refused\nConnection refused\n";
  start_microsocks();
  const Finished socks5 = gate({"--to", "socks5://127.0.0.1:1080"}, client);
  EXPECT_EQ(socks5.out, refused) << socks5.err;
  const Finished http = gate({"--to", "http://127.0.0.1:1080"}, client);
  EXPECT_EQ(http.out, refused) << http.err;
}

TEST_F(CommandGateProxy, CurlReachesAWebServerByAnHttpProxy) {
  start_http_proxy();
  const Finished finished = gate({"--to", "http://127.0.0.1:1080"},
                                 {"sh", "-c",
                                  "curl -sS -m 10 http://198.51.100.7/; curl -sS -m 10 http://server.test/;"
                                  "python3 -c \"$0\" 198.51.100.7 1 203.0.113.9 80",
                                  probe});
  EXPECT_EQ(finished.out,
            "198.51.100.8 for 198.51.100.7\n198.51.100.8 for server.test\nECONNREFUSED\nEHOSTUNREACH\n")
      << proxy_->err();
  EXPECT_THAT(finished.err, IsEmpty());
}

TEST_F(CommandGateProxy, AnHttpProxyAsksForThePassword) {
  start_http_proxy({"user:p@ss"});
  const Finished right = gate({"--to", "http://user:p%40ss@127.0.0.1:1080"}, ask_web);
  EXPECT_EQ(right.out, "198.51.100.8 for 198.51.100.7\n") << right.err;
  const Words once{"python3", "-c", probe, "198.51.100.7", "80"};
  const Finished wrong = gate({"--to", "http://user:secret@127.0.0.1:1080"}, once);
  EXPECT_EQ(wrong.out, "ECONNREFUSED\n");
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("it refuses user and password"), Not(HasSubstr("secret"))));
  const Finished none = gate({"--to", "http://127.0.0.1:1080"}, once);
  EXPECT_THAT(none.err, HasSubstr("it wants a user and a password"));
}

TEST_F(CommandGateProxy, AnOrdinaryUserIsServed) {
  if (!sandbox::is_real_root()) GTEST_SKIP() << "becoming another user needs root";
  const sandbox::PublicCloneDevice device;
  start_microsocks();
  const Finished finished = run({"gate", "tun:t0", "--sandbox", "--quiet", "--to", "socks5://127.0.0.1:1080",
                                 "--", "curl", "-sS", "-m", "10", "http://server.test/"},
                                {.user = 65534, .clone_device = device.path()});
  EXPECT_EQ(finished.out, "198.51.100.8 for server.test\n") << finished.err;
}

TEST(CommandGateProxyUsage, WrongUsageIsStatusTwoAndDoesNotShowThePassword) {
  const struct {
    Words options;
    std::string said;
  } table[] = {
      {{"--to", "socks5://u:secret@h"}, "--to: the port is missing; write HOST:PORT, such as 127.0.0.1:1080"},
      {{"--to", "https://u:secret@h:1"}, "--to: not 'direct', socks5://HOST:PORT or http://HOST:PORT"},
      {{"--dns", "fake"}, "--dns 'fake': names need a proxy that finds them; add --to socks5://HOST:PORT"},
      {{"--to", "direct", "--dns", "fake"}, "--dns 'fake': names need a proxy"},
      {{"--to", "http://127.0.0.1:1", "--dns", "fake", "--interface-address", "fd00::1/64"},
       "--dns 'fake': the addresses of names are IPv4"},
      {{"--to", "http://127.0.0.1:1", "--dns", "fake", "--interface-address", "10.0.0.1/31"},
       "--dns 'fake': the interface's subnet has no room"},
  };
  for (const auto& [options, said] : table) {
    Words words{"gate", "tun:t0", "--sandbox"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "true"});
    const Finished finished = run(words);
    EXPECT_EQ(finished.status, 2) << said;
    EXPECT_THAT(finished.err, AllOf(HasSubstr(said), Not(HasSubstr("secret"))));
    EXPECT_EQ(lines(finished.err).size(), 1U) << finished.err;
  }
  const Finished finished =
      run({"gate", "tun:t0", "--sandbox", "--to", "socks5://tunport.invalid:1", "--", "true"});
  EXPECT_EQ(finished.status, 1);
  EXPECT_THAT(finished.err, HasSubstr("--to socks5://tunport.invalid:1: 'tunport.invalid'"));
}

}  // namespace
}  // namespace tunport::command
