#include "iperf.hpp"

#include <chrono>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/net_namespace_internal.hpp"

#include "harness.hpp"
#include "stage.hpp"

namespace tunport::bench {
namespace {

constexpr std::uint16_t iperf_port = 5201;

/// True if a socket listens on the TCP port in the caller's namespace.
bool is_listening(std::uint16_t port) {
  constexpr char listening[] = "0A";
  std::ifstream file{"/proc/self/net/tcp"};
  std::string line;
  std::getline(file, line);
  for (std::string number, local, remote, state; file >> number >> local >> remote >> state;) {
    std::getline(file, line);
    if (state == listening && std::stoul(local.substr(local.find(':') + 1), nullptr, 16) == port) return true;
  }
  return false;
}

UniqueFd memory_file() {
  UniqueFd fd{::memfd_create("bench", MFD_CLOEXEC)};
  require(static_cast<bool>(fd), "no memory for a command's output");
  return fd;
}

std::string text_of(const UniqueFd& fd) {
  std::string text(static_cast<std::size_t>(::lseek(fd.get(), 0, SEEK_END)), ' ');
  require(::pread(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
          "a command's output cannot be read");
  return text;
}

}  // namespace

void inside(int network_namespace, const std::function<void()>& call) {
  std::error_code ec;
  in_namespace(network_namespace, call, ec);
  if (ec) throw Error{ec, "the other namespace"};
}

void need_iperf() {
  static const bool has_iperf = has_command("iperf3");
  if (!has_iperf) throw NotHere{"iperf3 is not there"};
}

TcpStream run_iperf(int server_namespace, Ipv4Address address, double seconds, Direction direction,
                    int client_namespace, unsigned streams) {
  const std::string port = std::to_string(iperf_port);
  const UniqueFd output = memory_file();
  Child server{Core::both, [&](const auto&) {
                 require(::setns(server_namespace, CLONE_NEWNET) == 0, "no way into the namespace");
                 run_command({"iperf3", "-4", "-s", "-1", "-p", port}, memory_file().get());
               }};
  const double patience = now() + 10;
  bool listening = false;
  while (!listening && now() < patience) {
    sleep_for(0.01);
    inside(server_namespace, [&] { listening = is_listening(iperf_port); });
  }
  require(listening, "iperf3 does not listen");
  const int length = std::max(1, static_cast<int>(std::lround(seconds)));
  std::vector<std::string> command{
      "iperf3", "-4", "-c", to_string(address), "-p", port, "-t", std::to_string(length), "-J"};
  if (direction == Direction::back) command.emplace_back("--reverse");
  if (streams > 1) command.insert(command.end(), {"-P", std::to_string(streams)});
  Child client{Core::both, [&](const auto&) {
                 require(client_namespace < 0 || ::setns(client_namespace, CLONE_NEWNET) == 0,
                         "no way into the client's namespace");
                 run_command(command, output.get());
               }};
  client.join(std::chrono::seconds{30 + length});
  server.join(std::chrono::seconds{10});
  const auto end = nlohmann::json::parse(text_of(output)).at("end");
  const auto& received = end.at("sum_received");
  return {received.at("bits_per_second").get<double>(), received.at("bytes").get<double>(),
          end.at("sum_sent").value("retransmits", 0.0)};
}

}  // namespace tunport::bench
