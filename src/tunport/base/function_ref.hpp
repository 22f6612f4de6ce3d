#pragma once
/// A reference to a callable object.

#include <memory>
#include <type_traits>
#include <utility>

#include "tunport/base/cxx20.hpp"

namespace tunport {

template <class Signature>
class FunctionRef;

/// Borrows a callable object for a call: two words, no allocation. For parameters, never for members.
///
///     void each(FunctionRef<void(Bytes)> call);
///     each([&](Bytes bytes) { total += bytes.size(); });
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class Call>
  requires(!std::is_same_v<std::remove_cvref_t<Call>, FunctionRef> &&
           std::is_invocable_r_v<Result, Call&, Arguments...>)
      FunctionRef(Call&& call)  // NOLINT(google-explicit-constructor,bugprone-forwarding-reference-overload)
      : object_{const_cast<void*>(static_cast<const void*>(std::addressof(call)))},
        call_{[](void* object, Arguments... arguments) -> Result {
          return (*static_cast<std::remove_reference_t<Call>*>(object))(
              std::forward<Arguments>(arguments)...);
        }} {}

  /// Calls the borrowed object.
  Result operator()(Arguments... arguments) const {
    return call_(object_, std::forward<Arguments>(arguments)...);
  }

 private:
  void* object_;
  Result (*call_)(void*, Arguments...);
};

}  // namespace tunport
