#pragma once
/// The place of completion tokens in the ports, which do not need Asio.

#include "tunport/base/cxx20.hpp"

namespace asio {
class mutable_buffer;
}

namespace tunport {
namespace detail {

/// `async_receive` and `async_send`: as asio_completion.hpp has them, or an error that says so.
template <class Token, class = void>
struct AsyncCalls {
  static void receive(const auto&...) {
    static_assert(sizeof(Token) == 0, "async_receive needs #include <tunport/asio.hpp>");
  }
  static void send(const auto&...) {
    static_assert(sizeof(Token) == 0, "async_send needs #include <tunport/asio.hpp>");
  }
};

}  // namespace detail
}  // namespace tunport
