#include <linux/virtio_net.h>
#include <string.h>
#include <unistd.h>

#include "bare_loop.h"

void bare_receive(struct BareLoop* loop, uint64_t until, struct Tally* tally) {
  int ready[3];
  while (tally->packets < until && bare_wait(loop, ready) >= 0) {
    for (int i = 0; i < bare_burst; ++i) {
      ssize_t size = read(loop->device, loop->buffer, loop->size);
      if (size < (ssize_t)loop->framing) break;
      bare_count(tally, 1, (size_t)size - loop->framing);
    }
  }
}

void bare_receive_super(struct BareLoop* loop, uint64_t until, struct Tally* tally) {
  int ready[3];
  while (tally->packets < until && bare_wait(loop, ready) >= 0) {
    for (int i = 0; i < bare_burst; ++i) {
      ssize_t size = read(loop->device, loop->buffer, loop->size);
      if (size < bare_virtio_header) break;
      struct virtio_net_hdr header;
      memcpy(&header, loop->buffer, sizeof header);
      size_t bytes = (size_t)size - bare_virtio_header;
      size_t packets = 1;
      if (header.gso_size != 0 && bytes > bare_udp_headers)
        packets = (bytes - bare_udp_headers + header.gso_size - 1) / header.gso_size;
      bare_count(tally, packets, bytes + (packets - 1) * bare_udp_headers);
    }
  }
}

static void swap(char* a, char* b, size_t size) {
  char kept[4];
  memcpy(kept, a, size);
  memcpy(a, b, size);
  memcpy(b, kept, size);
}

static void echo_all(struct BareLoop* loop, struct Tally* tally) {
  char* packet = loop->buffer + loop->framing;
  for (int i = 0; i < bare_burst; ++i) {
    ssize_t size = read(loop->device, loop->buffer, loop->size);
    if (size < 0) break;
    if (size < (ssize_t)loop->framing + bare_udp_headers || packet[0] != 0x45) continue;
    swap(packet + 12, packet + 16, 4); /* addresses */
    swap(packet + 20, packet + 22, 2); /* ports */
    if (write(loop->device, loop->buffer, (size_t)size) == size)
      bare_count(tally, 1, (size_t)size - loop->framing);
  }
}

void bare_echo(struct BareLoop* loop, struct Tally* tally) {
  int ready[3];
  while (bare_wait(loop, ready) >= 0) echo_all(loop, tally);
}

void bare_echo_spinning(struct BareLoop* loop, const uint32_t* stop, struct Tally* tally) {
  while (__atomic_load_n(stop, __ATOMIC_RELAXED) == 0) echo_all(loop, tally);
}
