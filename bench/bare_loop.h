#ifndef TUNPORT_BENCH_BARE_LOOP_H
#define TUNPORT_BENCH_BARE_LOOP_H
/* The baselines: what a C program does with a TUN/TAP device when nothing stands between it and the kernel.
 * One epoll set, one buffer, one read per packet until there is none or 64 have been read, one write per
 * packet; nothing is parsed, nothing is checked. With `bare_offload`, packets are super-packets behind their
 * virtio header, and stay what they are. The size of a read is that of the port. */

#include <stddef.h>  // NOLINT(modernize-deprecated-headers): C includes this too
#include <stdint.h>  // NOLINT(modernize-deprecated-headers)

#ifdef __cplusplus
extern "C" {
#endif

/* What was done so far. In memory that another process looks at, so it is stored packet by packet. */
struct Tally {
  uint64_t packets; /* datagrams */
  uint64_t bytes;   /* of these, each with its headers */
};

static inline void bare_count(struct Tally* tally, size_t packets, size_t bytes) {
  __atomic_store_n(&tally->bytes, tally->bytes + bytes, __ATOMIC_RELAXED);
  __atomic_store_n(&tally->packets, tally->packets + packets, __ATOMIC_RELAXED);
}

enum { bare_burst = 64, bare_virtio_header = 10, bare_udp_headers = 28 };

enum BareFlags { bare_tap = 1, bare_offload = 2 };

struct BareLoop {
  int device;
  int epoll;
  int stop_fd;
  char* buffer;
  size_t size;    /* of a read */
  size_t framing; /* bytes before each packet: the virtio header's, or none */
};

/* Opens the device `name` (IFF_NO_PI, non-blocking): TUN, or TAP with `bare_tap`; with `bare_offload` with
 * the virtio header and all that the kernel can leave to do. The loops end when `stop_fd` is readable. 0, or
 * an errno. */
int bare_open(struct BareLoop* loop, const char* name, int stop_fd, size_t size, unsigned flags);

/* Waits; the number of events, the first of at most three being in `ready_fds`, or -1 when it is time to
 * stop. */
int bare_wait(const struct BareLoop* loop, int ready_fds[3]);

/* Watches one more descriptor. 0, or an errno. */
int bare_watch(const struct BareLoop* loop, int fd);

/* Reads packets until `tally` has `until` of them; each counts as one. */
void bare_receive(struct BareLoop* loop, uint64_t until, struct Tally* tally);

/* The same with UDP super-packets (IPv4, no options), counting datagrams as the virtio header has them. */
void bare_receive_super(struct BareLoop* loop, uint64_t until, struct Tally* tally);

/* Sends every packet (IPv4 and UDP, without options) back to where it came from: addresses and ports are
 * swapped in place, which leaves the checksums right. */
void bare_echo(struct BareLoop* loop, struct Tally* tally);

/* The same without ever sleeping, until `*stop` is not 0. */
void bare_echo_spinning(struct BareLoop* loop, const uint32_t* stop, struct Tally* tally);

/* Something ready to be written, and what it counts for. */
struct BarePacket {
  const void* data;
  size_t size;
  size_t packets;
  size_t bytes;
};

/* Writes the packets in turn until `*stop` is not 0. */
void bare_write(struct BareLoop* loop, const struct BarePacket* packets, size_t count, const uint32_t* stop,
                struct Tally* tally);

/* Writes to each of the two what it reads from the other, virtio header and all, until it is time for `one`
 * to stop. Counts what was written, super-packets as one. */
void bare_forward(struct BareLoop* one, struct BareLoop* other, struct Tally* tally);

/* Copies, as the C library does. */
void bare_copy_memory(void* to, const void* from, size_t size);

/* The sum of 64-bit words, carries lost: the least that looks at every byte. */
uint64_t bare_read_memory(const void* data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
