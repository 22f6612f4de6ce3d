#pragma once
/// The throwing form of a call that reports by `std::error_code&`.

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "tunport/base/error.hpp"

namespace tunport {

/// What `call(ec)` returns; throws `Error` with `subject`, the name of what it happens to, where it sets
/// `ec`. Every `f(..., std::error_code&)` that has a form without the last argument has it by this: the same
/// errors, thrown.
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
