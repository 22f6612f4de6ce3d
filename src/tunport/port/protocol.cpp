#include "tunport/port/protocol.hpp"

#include <cstdlib>
#include <memory>
#include <typeinfo>

#include <cxxabi.h>

namespace tunport {

std::string Protocol::name() const {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text{
      abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status), &std::free};
  if (!text) return "protocol";
  const std::string whole = text.get();
  const auto last = whole.rfind("::");
  return last == std::string::npos ? whole : whole.substr(last + 2);
}

}  // namespace tunport
