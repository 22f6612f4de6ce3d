#pragma once
/// Producers and consumers: who writes, and who says when it is too much.

#include <cstdint>

namespace tunport {

/// How a producer works.
enum class ProducerKind : std::uint8_t {
  push,  ///< writes on its own until paused ("streaming")
  pull,  ///< writes something each time it is resumed
};

/// What writes to a consumer. Registered with it, so that the consumer can slow it down.
class Producer {
 public:
  virtual ~Producer() = default;
  /// Go on writing; a pull producer writes one portion.
  virtual void resume_producing() = 0;
  /// Stop writing until resumed. Only push producers are paused.
  virtual void pause_producing() {}
  /// Nobody wants it any more: final.
  virtual void stop_producing() = 0;
};

}  // namespace tunport
