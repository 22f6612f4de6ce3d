#include "explain.hpp"

#include <iterator>

#include <fmt/format.h>

#include "tunport/base/drop_reason.hpp"

#include "failure.hpp"

namespace tunport::tool {

std::string explain(const std::string& reason) {
  std::string text;
  for (std::size_t i = 0; i < drop_reason_count; ++i) {
    const auto known = static_cast<DropReason>(i);
    if (reason == "all" || reason == to_string(known))
      fmt::format_to(std::back_inserter(text), "{:<22}{}\n", to_string(known), explanation_of(known));
  }
  if (text.empty())
    throw Failure{
        status::usage,
        "--explain '" + reason + "': no reason for a drop; 'tunport host --explain all' lists each of them"};
  return text;
}

}  // namespace tunport::tool
