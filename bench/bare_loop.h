#ifndef TUNPORT_BENCH_BARE_LOOP_H
#define TUNPORT_BENCH_BARE_LOOP_H
/* The baselines: a C program on a TUN/TAP device, without a library in between. A program has an epoll set
 * and a buffer. A packet takes a read and a write; a burst ends without a packet or after 64. Nothing is
 * parsed or checked. With `bare_offload`, packets are super-packets behind a virtio header, and stay whole.
 * The size of a read is the port's. */

#include <stddef.h>  // NOLINT(modernize-deprecated-headers): included by C, too
#include <stdint.h>  // NOLINT(modernize-deprecated-headers)

#ifdef __cplusplus
extern "C" {
#endif

/* The work done so far, stored packet by packet: another process reads the tally. */
struct Tally {
  uint64_t packets; /* datagrams */
  uint64_t bytes;   /* bytes of the datagrams, with headers */
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
  size_t size;    /* bytes of a read */
  size_t framing; /* bytes before each packet: 10 with `bare_offload`, else 0 */
};

/* Opens the device `name` (IFF_NO_PI, non-blocking): TUN, or TAP with `bare_tap`. `bare_offload` adds the
 * virtio header and the whole offload mask. A readable `stop_fd` ends the loops. Returns 0 or an errno. */
int bare_open(struct BareLoop* loop, const char* name, int stop_fd, size_t size, unsigned flags);

/* Waits for at most three descriptors. Returns the number of ready descriptors, in `ready_fds`, or -1 at the
 * end. */
int bare_wait(const struct BareLoop* loop, int ready_fds[3]);

/* Watches a further descriptor. Returns 0 or an errno. */
int bare_watch(const struct BareLoop* loop, int fd);

/* Reads packets until the tally has `until` packets. A packet counts as a datagram. */
void bare_receive(struct BareLoop* loop, uint64_t until, struct Tally* tally);

/* As `bare_receive`, for UDP super-packets (IPv4, no options). The virtio header tells the datagrams. */
void bare_receive_super(struct BareLoop* loop, uint64_t until, struct Tally* tally);

/* Sends every packet (IPv4 and UDP, no options) back to the sender. The swap of addresses and ports keeps the
 * checksums right. */
void bare_echo(struct BareLoop* loop, struct Tally* tally);

/* As `bare_echo`, without sleep, until `*stop` is not 0. */
void bare_echo_spinning(struct BareLoop* loop, const uint32_t* stop, struct Tally* tally);

/* A packet to write, and its counts. */
struct BarePacket {
  const void* data;
  size_t size;    /* bytes at `data`, with the virtio header */
  size_t packets; /* datagrams in the packet */
  size_t bytes;   /* bytes of the datagrams, with headers */
};

/* Writes the packets in turn until `*stop` is not 0. */
void bare_write(struct BareLoop* loop, const struct BarePacket* packets, size_t count, const uint32_t* stop,
                struct Tally* tally);

/* Passes packets with their virtio headers from `one` to `other` and back, until the `stop_fd` of `one` is
 * readable. A packet written counts as a datagram, a super-packet, too. */
void bare_forward(struct BareLoop* one, struct BareLoop* other, struct Tally* tally);

/* Sets a UDP socket up as the port does: buffers of 4 MiB, UDP_GRO. */
void bare_udp_options(int socket);

/* A loop on a UDP socket, which stays the caller's. Returns 0 or an errno. */
int bare_udp_open(struct BareLoop* loop, int socket, int stop_fd);

/* Receives runs (UDP_GRO) until `stop_fd` is readable. Counts datagrams, and bytes of payload. */
void bare_udp_receive(struct BareLoop* loop, struct Tally* tally);

/* Sends each datagram back to its sender until `stop_fd` is readable: a recvmsg and a sendto for each. Counts
 * the answers, and bytes of payload. */
void bare_udp_answer(struct BareLoop* loop, struct Tally* tally);

/* Sends copies of a datagram to the socket's peer until `*stop` is not 0: 64 in a call (UDP_SEGMENT). */
void bare_udp_write(int socket, const void* datagram, size_t size, const uint32_t* stop, struct Tally* tally);

/* Carries packets between a TUN, without offload, and a connected UDP socket, until `stop_fd` is readable:
 * what a burst of reads finds goes out in runs (UDP_SEGMENT), and the datagrams of a run (UDP_GRO) into the
 * TUN. The tally counts packets into the TUN. `loop->size`: at least 64 KiB more than a packet. */
void bare_relay(struct BareLoop* loop, int socket, struct Tally* tally);

/* The memcpy of the C library. */
void bare_copy_memory(void* to, const void* from, size_t size);

/* The sum of 64-bit words without carries: the least work that reads every byte. */
uint64_t bare_read_memory(const void* data, size_t size);

#ifdef __cplusplus
}
#endif
#endif
