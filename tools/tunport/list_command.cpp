#include "list_command.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grp.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <unistd.h>

#include "tunport/base/error.hpp"
#include "tunport/device/fdinfo_internal.hpp"
#include "tunport/device/system.hpp"

#include "output.hpp"

namespace tunport::tool {
namespace {

namespace fs = std::filesystem;

/// What a folder holds; nothing where this user may not look.
std::vector<fs::path> entries_of(const fs::path& folder) {
  std::error_code ec;
  std::vector<fs::path> entries;
  for (fs::directory_iterator entry{folder, ec}, end; !ec && entry != end; entry.increment(ec))
    entries.push_back(entry->path());
  return entries;
}

std::string user_name(std::uint32_t uid) {
  const passwd* const user = ::getpwuid(uid);
  return user != nullptr ? user->pw_name : std::to_string(uid);
}
std::string group_name(std::uint32_t gid) {
  const group* const found = ::getgrgid(gid);
  return found != nullptr ? found->gr_name : std::to_string(gid);
}

std::string state_of(const LinkInfo& link) {
  if (!link.up) return "down";
  return link.carrier ? "up" : "no carrier";
}

std::vector<std::string> flags_of(const TunnelInfo& tunnel) {
  std::vector<std::string> flags;
  if (tunnel.multi_queue) flags.emplace_back("multi_queue");
  if (tunnel.vnet_header) flags.emplace_back("vnet_hdr");
  if (tunnel.persistent) flags.emplace_back("persist");
  if (tunnel.packet_information) flags.emplace_back("pi");
  return flags;
}

std::string joined(const std::vector<std::string>& words) {
  return words.empty() ? "-" : fmt::format("{}", fmt::join(words, ","));
}

}  // namespace

std::vector<Holder> holders_of(const std::string& interface) {
  std::vector<Holder> holders;
  std::error_code ec;
  const fs::path here = fs::read_symlink("/proc/self/ns/net", ec);
  for (const fs::path& process : entries_of("/proc")) {
    const std::string number = process.filename();
    int pid = 0;
    if (std::from_chars(number.data(), number.data() + number.size(), pid).ptr !=
        number.data() + number.size())
      continue;
    // A namesake may be held in another namespace.
    if (fs::read_symlink(process / "ns/net", ec) != here || ec) continue;
    const auto descriptors = entries_of(process / "fdinfo");
    if (std::ranges::none_of(descriptors, [&](const fs::path& fd) { return is_bound_to(fd, interface); }))
      continue;
    std::string name;
    std::getline(std::ifstream{process / "comm"}, name);
    holders.push_back({pid, name});
  }
  std::ranges::sort(holders, {}, &Holder::pid);
  return holders;
}

std::vector<ListedInterface> list_interfaces(LinkSystem& links, const HoldersOf& holders) {
  std::vector<ListedInterface> found;
  std::vector<LinkInfo> all = throwing("interfaces", [&](std::error_code& ec) { return links.list(ec); });
  for (LinkInfo& link : all) {
    if (!link.tunnel) continue;
    std::error_code gone;  // meanwhile
    auto addresses = links.addresses(link.name, gone);
    if (gone == Errc::no_such_device) continue;
    found.push_back({std::move(link), std::move(addresses), {}});
    found.back().holders = holders(found.back().link.name);
  }
  std::ranges::sort(found, {},
                    [](const ListedInterface& one) -> const std::string& { return one.link.name; });
  return found;
}

std::string to_table(const std::vector<ListedInterface>& interfaces) {
  if (interfaces.empty())
    return "There is no TUN/TAP interface here; 'tunport host tap:tp0 ...' makes one.\n";
  std::vector<std::array<std::string, 11>> rows{{"NAME", "KIND", "STATE", "MTU", "QUEUES", "FLAGS", "OWNER",
                                                 "GROUP", "DROPPED", "HELD BY", "ADDRESSES"}};
  for (const auto& [link, addresses, holders] : interfaces) {
    const TunnelInfo& tunnel = *link.tunnel;
    std::vector<std::string> held;
    held.reserve(holders.size());
    for (const Holder& holder : holders) held.push_back(fmt::format("{}({})", holder.name, holder.pid));
    std::vector<std::string> own;
    own.reserve(addresses.size());
    for (const IpPrefix& address : addresses) own.push_back(to_string(address));
    rows.push_back({link.name, std::string{to_string(tunnel.kind)}, state_of(link), std::to_string(link.mtu),
                    tunnel.queues ? std::to_string(*tunnel.queues) : "-", joined(flags_of(tunnel)),
                    tunnel.owner ? user_name(*tunnel.owner) : "-",
                    tunnel.group ? group_name(*tunnel.group) : "-", std::to_string(link.tx_dropped),
                    joined(held), joined(own)});
  }
  std::array<std::size_t, 11> widths{};
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}  ", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string to_json(const std::vector<ListedInterface>& interfaces) {
  using Json = nlohmann::ordered_json;
  const auto number = [](const auto& value) { return value ? Json(*value) : Json(); };
  Json all = Json::array();
  for (const auto& [link, addresses, holders] : interfaces) {
    const TunnelInfo& tunnel = *link.tunnel;
    Json own = Json::array();
    for (const IpPrefix& address : addresses) own.push_back(to_string(address));
    Json held = Json::array();
    for (const Holder& holder : holders) held.push_back({{"pid", holder.pid}, {"name", holder.name}});
    all.push_back({{"name", link.name},
                   {"index", link.index},
                   {"kind", to_string(tunnel.kind)},
                   {"state", state_of(link)},
                   {"mtu", link.mtu},
                   {"mac", tunnel.kind == DeviceKind::tap ? Json(to_string(link.mac)) : Json()},
                   {"queues", number(tunnel.queues)},
                   {"flags", flags_of(tunnel)},
                   {"owner", number(tunnel.owner)},
                   {"group", number(tunnel.group)},
                   {"tx_queue_length", link.tx_queue_length},
                   {"tx_dropped", link.tx_dropped},
                   {"addresses", own},
                   {"held_by", held}});
  }
  // A command's name may hold any bytes.
  return Json{{"interfaces", all}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

int run_list(bool json) {
  const auto found = list_interfaces(linux_system().links, holders_of);
  print(STDOUT_FILENO, json ? to_json(found) + '\n' : to_table(found));
  return 0;
}

}  // namespace tunport::tool
