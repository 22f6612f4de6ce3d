#include "metrics_file.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/port/metrics.hpp"

#include "failure.hpp"

namespace tunport::tool {

std::string to_prometheus(const HostSummary& summary) {
  const std::string port = to_string(summary.where);
  const std::array ports{PortMetrics{port, summary.port, summary.kernel_drops}};
  std::string text = tunport::to_prometheus(ports);
  text +=
      "# HELP tunport_host_answers_total What the host has sent, by kind.\n"
      "# TYPE tunport_host_answers_total counter\n";
  const HostStatistics& host = summary.host;
  const std::pair<std::string_view, std::uint64_t> kinds[] = {
      {"arp_reply", host.arp_replies},
      {"arp_request", host.arp_requests},
      {"arp_announcement", host.arp_announcements},
      {"neighbor_advertisement", host.neighbor_advertisements},
      {"neighbor_solicitation", host.neighbor_solicitations},
      {"router_advertisement", host.router_advertisements},
      {"dhcp_answer", host.dhcp_answers},
      {"icmp_echo_reply", host.icmp_echo_replies},
      {"icmpv6_echo_reply", host.icmpv6_echo_replies},
      {"udp_echo", summary.udp_echoes},
      {"port_unreachable", host.port_unreachable},
      {"protocol_unreachable", host.protocol_unreachable},
      {"parameter_problem", host.parameter_problems},
      {"reassembly_timeout", host.reassembly_timeouts},
      {"tcp_reset", host.tcp_resets}};
  for (const auto& [kind, count] : kinds)
    text += fmt::format("tunport_host_answers_total{{port=\"{}\",kind=\"{}\"}} {}\n", prometheus_label(port),
                        kind, count);
  struct Event {
    std::string_view name;
    std::string_view help;
    std::uint64_t count;
  };
  const Event events[] = {
      {"duplicate_addresses", "IPv6 addresses that another station has.", host.duplicate_addresses},
      {"path_mtu_updates", "ICMP messages of a narrower path, believed.", host.path_mtu_updates},
      {"reassembled_datagrams", "Datagrams put together from fragments.", host.reassembled}};
  for (const Event& event : events)
    text += fmt::format(
        "# HELP tunport_host_{0}_total {1}\n# TYPE tunport_host_{0}_total counter\n"
        "tunport_host_{0}_total{{port=\"{2}\"}} {3}\n",
        event.name, event.help, prometheus_label(port), event.count);
  return text;
}

void replace_file(const std::string& file, const std::string& text) {
  // Beside the file: a rename is within one file system. The collector reads names that end with ".prom".
  const std::string fresh = fmt::format("{}.{}.new", file, ::getpid());
  const auto fail = [&](int error) {
    ::unlink(fresh.c_str());
    throw Failure{status::failed, fmt::format("--metrics '{}': {}", file, errno_code(error).message())};
  };
  UniqueFd made{::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644)};
  if (!made) fail(errno);
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = ::write(made.get(), rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(written < 0 ? errno : EIO);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::rename(fresh.c_str(), file.c_str()) != 0) fail(errno);
}

}  // namespace tunport::tool
