#include "tunport/port/write_result.hpp"

#include <ostream>

#include "tunport/base/error.hpp"

namespace tunport {

std::string to_string(const WriteResult& result) {
  switch (result.status()) {
    case WriteResult::sent:
      return "sent";
    case WriteResult::queued:
      return "queued";
    case WriteResult::refused:
      break;
  }
  std::string text = "refused: " + std::string{to_string(result.reason())};
  if (result.error() != 0) text += " (" + errno_code(result.error()).message() + ')';
  return text;
}

std::ostream& operator<<(std::ostream& out, const WriteResult& result) { return out << to_string(result); }

}  // namespace tunport
