#include "tunport/port/port_config.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <optional>
#include <utility>

namespace tunport {
namespace {

constexpr std::array modes{OpenMode::create, OpenMode::attach, OpenMode::either};
constexpr std::array kinds{DeviceKind::tap, DeviceKind::tun};

/// A longer spin saves nothing, and a longer sleep loses packets.
constexpr auto longest_duration = std::chrono::milliseconds{1000};
struct Unit {
  std::string_view name;
  std::chrono::microseconds length;
};
constexpr std::array units{Unit{"us", std::chrono::microseconds{1}},
                           Unit{"ms", std::chrono::milliseconds{1}}};

/// Takes text apart from the front; each part has its position.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : rest_{text} {}

  struct Part {
    std::string_view text;
    std::size_t position;
    bool ended_by_delimiter;  ///< else the end of the text
  };
  /// The part up to `delimiter`, which is skipped, or up to the end.
  Part until(char delimiter) {
    const auto found = rest_.find(delimiter);
    const Part part{rest_.substr(0, found), position_, found != std::string_view::npos};
    const std::size_t taken = part.text.size() + (part.ended_by_delimiter ? 1 : 0);
    rest_.remove_prefix(taken);
    position_ += taken;
    return part;
  }
  /// The remaining text.
  Part rest() const { return {rest_, position_, false}; }

 private:
  std::string_view rest_;
  std::size_t position_ = 0;
};

PortConfigResult wrong(const Scanner::Part& part, std::string problem) {
  return {std::nullopt, {part.position, std::string{part.text}, std::move(problem)}};
}

/// The value whose `to_string` is `text`.
template <class Values>
auto value_named(const Values& values, std::string_view text) {
  const auto found = std::ranges::find_if(values, [&](auto value) { return to_string(value) == text; });
  return found == values.end() ? std::nullopt : std::optional{*found};
}

/// Sets an option from `text`. Returns the problem, or an empty string.
std::string set_mode(PortConfig& config, std::string_view text) {
  const auto mode = value_named(modes, text);
  if (!mode) return "no such mode; there are create, attach, either";
  config.mode = *mode;
  return {};
}

/// The number that is all of `text`.
std::optional<unsigned> number_in(std::string_view text) {
  unsigned number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  return error == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

std::string set_mtu(PortConfig& config, std::string_view text) {
  const unsigned most = most_mtu(config.kind);
  const auto mtu = number_in(text);
  if (!mtu || *mtu < least_mtu || *mtu > most)
    return "no MTU; it is a number from " + std::to_string(least_mtu) + " to " + std::to_string(most);
  config.interface.mtu = mtu;
  return {};
}

/// What is wrong with one option of the interface; empty if nothing is.
std::string problem_of(const InterfaceOptions& options, DeviceKind kind) {
  std::string part;
  const std::error_code ec = check(options, kind, part);
  return ec ? cause(ec).append("; ").append(remedy(ec)) : std::string{};
}

std::string set_address(PortConfig& config, std::string_view text) {
  const auto address = IpPrefix::parse(text);
  if (!address) return "no address with a prefix length, such as 10.77.0.1/24";
  config.interface.addresses.push_back(*address);
  return problem_of({.addresses = {*address}}, config.kind);
}

std::string set_mac(PortConfig& config, std::string_view text) {
  config.interface.mac = MacAddress::parse(text);
  if (!config.interface.mac) return "no MAC address, such as 02:00:00:00:00:01";
  return problem_of({.mac = config.interface.mac}, config.kind);
}

std::string set_tx_queue_length(PortConfig& config, std::string_view text) {
  config.interface.tx_queue_length = number_in(text);
  return config.interface.tx_queue_length ? "" : "no length of a queue; it is a number of packets";
}

std::string set_up(PortConfig& config, std::string_view) {
  config.interface.up = true;
  return {};
}

std::string set_fd(PortConfig& config, std::string_view text) {
  constexpr unsigned least = 3;  // behind the standard streams
  const auto number = number_in(text);
  if (!number || *number < least || *number > unsigned{INT_MAX})
    return "no descriptor of a device; it is a number from 3 on";
  config.fd = static_cast<int>(*number);
  return {};
}

std::string set_napi(PortConfig& config, std::string_view) {
  config.napi = true;
  return {};
}

std::string set_backpressure(PortConfig& config, std::string_view) {
  config.backpressure = true;
  return {};
}

std::string set_virtio_header_size(PortConfig& config, std::string_view text) {
  config.virtio_header_size = virtio_header_size(number_in(text).value_or(0));
  return config.virtio_header_size ? "" : "no size of a virtio header; it is 10, 12, 20 or 24 bytes";
}

std::string set_network_namespace(PortConfig& config, std::string_view text) {
  if (text.empty() || text == "." || text == ".." || text.find('/') != std::string_view::npos)
    return "no name of a network namespace; one is made by 'ip netns add NAME', and has no '/'";
  config.network_namespace = text;
  return {};
}

std::string set_offload(PortConfig& config, std::string_view text) {
  const auto set = parse_offload_features(text);
  if (!set) return "no offload; it is auto, off, or some of checksum+tso4+tso6+ecn+uso";
  config.offload = *set;
  return {};
}

/// Sets `duration` from a number and a unit.
std::string set_duration(std::chrono::microseconds& duration, std::string_view text) {
  std::uint32_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  const auto unit = std::ranges::find(units, std::string_view{stop, end}, &Unit::name);
  if (error != std::errc{} || unit == units.end() || number * unit->length > longest_duration)
    return "no duration; it is a number and us or ms, up to 1000ms: 50us";
  duration = number * unit->length;
  return {};
}

std::string set_spin(PortConfig& config, std::string_view text) { return set_duration(config.spin, text); }
std::string set_moderation(PortConfig& config, std::string_view text) {
  return set_duration(config.moderation, text);
}

struct Option {
  std::string_view name;
  std::string (*set)(PortConfig& config, std::string_view text);
  bool takes_value = true;
  bool repeats = false;
};
constexpr std::array known_options{Option{"mode", set_mode},
                                   Option{"fd", set_fd},
                                   Option{"address", set_address, true, true},
                                   Option{"mtu", set_mtu},
                                   Option{"mac", set_mac},
                                   Option{"txqueuelen", set_tx_queue_length},
                                   Option{"up", set_up, false},
                                   Option{"napi", set_napi, false},
                                   Option{"backpressure", set_backpressure, false},
                                   Option{"vnethdr", set_virtio_header_size},
                                   Option{"netns", set_network_namespace},
                                   Option{"offload", set_offload},
                                   Option{"spin", set_spin},
                                   Option{"moderation", set_moderation}};

std::string names_of_options() {
  std::string names;
  for (const Option& option : known_options) names.append(names.empty() ? "" : ", ").append(option.name);
  return names;
}

}  // namespace

PortConfigResult PortConfig::parse(std::string_view text) {
  Scanner scanner{text};
  PortConfig config;

  const auto kind = scanner.until(':');
  if (!kind.ended_by_delimiter) return wrong(kind, "no port's name; one is tap:NAME or tun:NAME");
  const auto known_kind = value_named(kinds, kind.text);
  if (!known_kind) return wrong(kind, "no such kind; there are tap, tun");
  config.kind = *known_kind;

  const auto name = scanner.until(',');
  config.name = name.text;
  if (name.text.empty()) return wrong(name, "the interface's name is missing");
  if (!is_device_name(config.name)) {
    const std::error_code ec = Errc::invalid_name;
    return wrong(name, cause(ec).append("; ").append(remedy(ec)));
  }

  std::array<bool, known_options.size()> given{};
  auto mtu_part = name;
  auto fd_part = name;
  auto last_duration = name;
  for (bool more = name.ended_by_delimiter; more;) {
    const auto part = scanner.until(',');
    more = part.ended_by_delimiter;
    Scanner inside{part.text};
    auto key = inside.until('=');
    auto value = inside.rest();
    key.position += part.position;
    value.position += part.position;

    const auto option = std::ranges::find(known_options, key.text, &Option::name);
    if (option == known_options.end()) {
      if (part.text.empty()) return wrong(part, "an option is missing; there are " + names_of_options());
      return wrong(key, "no such option; there are " + names_of_options());
    }
    if (std::exchange(given[static_cast<std::size_t>(option - known_options.begin())], true) &&
        !option->repeats)
      return wrong(key, "given twice");
    if (key.ended_by_delimiter && !option->takes_value)
      return wrong(value, std::string{"'"}.append(option->name).append("' has no value"));
    if (option->set == set_mtu) mtu_part = value;
    if (option->set == set_fd) fd_part = value;
    if (option->set == set_spin || option->set == set_moderation) last_duration = value;
    if (std::string problem = option->set(config, value.text); !problem.empty())
      return wrong(value, std::move(problem));
  }
  std::string part;
  if (check(config.interface, config.kind, part))  // each for itself is right
    return wrong(mtu_part, "IPv6 needs an MTU of 1280 or more; raise it, or leave out " + part);
  if (config.spin.count() != 0 && config.moderation.count() != 0)
    return wrong(last_duration, "spin and moderation exclude each other; leave one of them out");
  if (config.mode == OpenMode::attach && name.text.find('%') != std::string_view::npos)
    return wrong(name, "a template names no device to attach to; write the device's name");
  const bool is_for_an_open = config.mode != OpenMode::either || !config.network_namespace.empty() ||
                              config.napi || config.backpressure || config.virtio_header_size ||
                              name.text.find('%') != std::string_view::npos;
  if (config.fd && is_for_an_open)
    return wrong(
        fd_part,
        "fd is for a device that is open already; leave mode, netns, napi, backpressure, vnethdr and "
        "templates out");
  return {std::move(config)};
}

PortOptions PortConfig::options(PortOptions rest) const {
  rest.device.mode = mode;
  if (!network_namespace.empty()) rest.device.network_namespace = network_namespace;
  if (fd) rest.fd = fd;
  rest.device.napi = napi;
  if (backpressure) rest.device.backpressure = true;
  if (virtio_header_size) rest.device.virtio_header_size = virtio_header_size;
  rest.interface = interface;
  rest.offload = offload;
  rest.spin = spin;
  rest.moderation = moderation;
  return rest;
}

std::string_view to_string(OpenMode mode) {
  switch (mode) {
    case OpenMode::either:
      return "either";
    case OpenMode::create:
      return "create";
    case OpenMode::attach:
      return "attach";
  }
  return "unknown";
}

std::string to_string(const PortConfig& config) {
  std::string text{to_string(config.kind)};
  text.append(":").append(config.name);
  if (config.mode != OpenMode::either) text.append(",mode=").append(to_string(config.mode));
  if (config.fd) text.append(",fd=").append(std::to_string(*config.fd));
  const InterfaceOptions& interface = config.interface;
  for (const IpPrefix& address : interface.addresses) text.append(",address=").append(to_string(address));
  if (interface.mtu) text.append(",mtu=").append(std::to_string(*interface.mtu));
  if (interface.mac) text.append(",mac=").append(to_string(*interface.mac));
  if (interface.tx_queue_length)
    text.append(",txqueuelen=").append(std::to_string(*interface.tx_queue_length));
  if (interface.up) text.append(",up");
  if (config.napi) text.append(",napi");
  if (config.backpressure) text.append(",backpressure");
  if (config.virtio_header_size)
    text.append(",vnethdr=").append(std::to_string(static_cast<unsigned>(*config.virtio_header_size)));
  if (!config.network_namespace.empty()) text.append(",netns=").append(config.network_namespace);
  if (config.offload != OffloadFeatures::all()) text.append(",offload=").append(to_string(config.offload));
  if (config.spin != std::chrono::microseconds::zero())
    text.append(",spin=").append(std::to_string(config.spin.count())).append("us");
  if (config.moderation != std::chrono::microseconds::zero())
    text.append(",moderation=").append(std::to_string(config.moderation.count())).append("us");
  return text;
}

std::string to_string(const PortConfigError& error) {
  std::string text = "at character " + std::to_string(error.position + 1);
  if (!error.part.empty()) text.append(", '").append(error.part).append("'");
  return text.append(": ").append(error.problem);
}

}  // namespace tunport
