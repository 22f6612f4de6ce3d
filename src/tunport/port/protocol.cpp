#include "tunport/port/protocol.hpp"

#include <cstdlib>
#include <memory>
#include <string_view>
#include <typeinfo>
#include <vector>

#include <cxxabi.h>

namespace tunport {

namespace {

/// The name without the namespaces and classes around it, nor around its template arguments: "Till<Answer>".
std::string unqualified(std::string_view name) {
  std::string text;
  std::vector<std::size_t> starts{0};  // where the name begins, for each open bracket
  for (std::size_t i = 0; i < name.size(); ++i) {
    if (name.substr(i, 2) == "::") {
      text.resize(starts.back());
      ++i;
      continue;
    }
    text += name[i];
    constexpr std::string_view open = "<({[";
    constexpr std::string_view close = ">)}]";
    if (open.find(name[i]) != std::string_view::npos)
      starts.push_back(text.size());
    else if (close.find(name[i]) != std::string_view::npos && starts.size() > 1)
      starts.pop_back();
    else if (name[i] == ' ' && name[i - 1] == ',')
      starts.back() = text.size();
  }
  return text;
}

}  // namespace

std::string Protocol::name() const {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text{
      abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status), &std::free};
  return text ? unqualified(text.get()) : "protocol";
}

}  // namespace tunport
