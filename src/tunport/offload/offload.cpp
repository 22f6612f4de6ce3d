#include "tunport/offload/offload.hpp"

#include <algorithm>
#include <array>

namespace tunport {
namespace {

struct Name {
  std::string_view text;
  bool OffloadSet::*member;
};
constexpr std::array names{Name{"checksum", &OffloadSet::checksum}, Name{"tso4", &OffloadSet::tso4},
                           Name{"tso6", &OffloadSet::tso6}, Name{"ecn", &OffloadSet::ecn},
                           Name{"uso", &OffloadSet::uso}};

}  // namespace

std::string to_string(const OffloadSet& set) {
  std::string text;
  for (const Name& name : names)
    if (set.*name.member) text.append(text.empty() ? "" : "+").append(name.text);
  return text.empty() ? "off" : text;
}

std::optional<OffloadSet> parse_offload_set(std::string_view text) {
  if (text == "auto") return OffloadSet::all();
  if (text == "off") return OffloadSet::none();
  OffloadSet set;
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
