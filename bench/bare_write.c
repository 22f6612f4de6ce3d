#include <unistd.h>

#include "bare_loop.h"

void bare_write(struct BareLoop* loop, const struct BarePacket* packets, size_t count, const uint32_t* stop,
                struct Tally* tally) {
  while (__atomic_load_n(stop, __ATOMIC_RELAXED) == 0) {
    for (size_t i = 0; i < count; ++i) {
      const struct BarePacket* packet = packets + i;
      if (write(loop->device, packet->data, packet->size) == (ssize_t)packet->size)
        bare_count(tally, packet->packets, packet->bytes);
    }
  }
}
