#pragma once
/// A guard against destruction from inside a callback.

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// A member of an object that callbacks may destroy. Code that runs a callback has a `Watch` on the stack:
/// the watch tells afterwards whether the object is alive. For a single thread. The watches of an object end
/// in the reverse order of their beginnings, like objects on a stack.
///
///     void Port::tell() {
///       const Lifeline::Watch watch{lifeline_};
///       handler_();                        // may destroy this port
///       if (watch.alive()) ++told_;
///     }
class Lifeline {
 public:
  Lifeline() = default;
  ~Lifeline() {
    for (Watch* watch = innermost_; watch != nullptr; watch = watch->outer_) watch->lifeline_ = nullptr;
  }
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  /// Notices the end of the lifeline's object.
  class Watch {
   public:
    /// Watches the object of `lifeline`, which must be alive.
    explicit Watch(Lifeline& lifeline) : lifeline_{&lifeline}, outer_{lifeline.innermost_} {
      lifeline.innermost_ = this;
    }
    ~Watch() {
      if (lifeline_ != nullptr) lifeline_->innermost_ = outer_;
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    /// False after the destruction of the object.
    bool alive() const { return lifeline_ != nullptr; }

   private:
    friend Lifeline;
    Lifeline* lifeline_;
    Watch* outer_;
  };

 private:
  Watch* innermost_ = nullptr;
};

}  // namespace tunport
