#include "tunport/port/write_result.hpp"

#include <ostream>

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
  return "refused: " + std::string{to_string(result.reason())};
}

std::ostream& operator<<(std::ostream& out, const WriteResult& result) { return out << to_string(result); }

}  // namespace tunport
