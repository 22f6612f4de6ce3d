#include "tunport/offload/offload.hpp"

#include <algorithm>
#include <array>

namespace tunport {
namespace {

struct Name {
  std::string_view text;
  bool OffloadFeatures::*member;
};
constexpr std::array names{Name{"checksum", &OffloadFeatures::checksum}, Name{"tso4", &OffloadFeatures::tso4},
                           Name{"tso6", &OffloadFeatures::tso6}, Name{"ecn", &OffloadFeatures::ecn},
                           Name{"uso", &OffloadFeatures::uso}};

}  // namespace

std::string to_string(const OffloadFeatures& set) {
  std::string text;
  for (const Name& name : names)
    if (set.*name.member) text.append(text.empty() ? "" : "+").append(name.text);
  return text.empty() ? "off" : text;
}

std::optional<OffloadFeatures> parse_offload_features(std::string_view text) {
  if (text == "auto") return OffloadFeatures::all();
  if (text == "off") return OffloadFeatures::none();
  OffloadFeatures set;
  for (bool more = true; more;) {
    const auto plus = text.find('+');
    const auto name = std::ranges::find(names, text.substr(0, plus), &Name::text);
    if (name == names.end() || set.*name->member) return std::nullopt;
    set.*name->member = true;
    more = plus != std::string_view::npos;
    if (more) text.remove_prefix(plus + 1);
  }
  if (!set.checksum || (set.ecn && !set.tso4 && !set.tso6)) return std::nullopt;
  return set;
}

}  // namespace tunport
