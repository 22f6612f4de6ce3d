#pragma once
/// Producers and consumers: a consumer slows its producer down.

#include <cstdint>

#include "tunport/base/cxx20.hpp"

namespace tunport {

/// The kinds of producers.
enum class ProducerKind : std::uint8_t {
  push,  ///< writes on its own until paused ("streaming")
  pull,  ///< writes a portion at each resumption
};

/// A source of writes to a consumer. The consumer pauses and resumes a registered producer.
class Producer {
 public:
  virtual ~Producer() = default;
  /// Go on writing; a pull producer writes a portion.
  virtual void resume_producing() = 0;
  /// Stop writing until resumed. Only push producers are paused.
  virtual void pause_producing() {}
  /// Stop for good: the consumer takes no more.
  virtual void stop_producing() = 0;
};

}  // namespace tunport
