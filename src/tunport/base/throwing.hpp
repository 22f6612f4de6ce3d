#pragma once
/// The throwing form of a call that reports by `std::error_code&`.

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "tunport/base/error.hpp"

namespace tunport {

/// Returns the result of `call(ec)`, or throws `Error` if the call sets `ec`. `subject` names the object of
/// the call in the error. Every `f(..., std::error_code&)` with a throwing form has the form by `throwing`.
template <typename Call>
auto throwing(const std::string& subject, Call&& call) {
  std::error_code ec;
  const auto check = [&] {
    if (ec) throw Error{ec, subject};
  };
  if constexpr (std::is_void_v<std::invoke_result_t<Call, std::error_code&>>) {
    std::forward<Call>(call)(ec);
    check();
  } else {
    auto result = std::forward<Call>(call)(ec);
    check();
    return result;
  }
}

}  // namespace tunport
