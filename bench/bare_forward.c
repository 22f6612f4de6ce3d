#include <unistd.h>

#include "bare_loop.h"

static void pass_on(struct BareLoop* from, int to, struct Tally* tally) {
  for (int i = 0; i < bare_burst; ++i) {
    ssize_t size = read(from->device, from->buffer, from->size);
    if (size < bare_virtio_header) return;
    if (write(to, from->buffer, (size_t)size) == size)
      bare_count(tally, 1, (size_t)size - bare_virtio_header);
  }
}

void bare_forward(struct BareLoop* one, struct BareLoop* other, struct Tally* tally) {
  int ready_fds[3];
  if (bare_watch(one, other->device) != 0) return;
  for (int ready = 0; (ready = bare_wait(one, ready_fds)) >= 0;) {
    for (int i = 0; i < ready; ++i) {
      if (ready_fds[i] == one->device)
        pass_on(one, other->device, tally);
      else
        pass_on(other, one->device, tally);
    }
  }
}
