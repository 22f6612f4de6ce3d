#include "bare_loop.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { most_run = 65507, most_segments = 64, socket_buffer = 4 << 20 };

static void set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

void bare_udp_options(int socket) {
  set(socket, SOL_SOCKET, SO_RCVBUFFORCE, socket_buffer);
  set(socket, SOL_SOCKET, SO_SNDBUFFORCE, socket_buffer);
  set(socket, IPPROTO_UDP, UDP_GRO, 1);
}

int bare_udp_open(struct BareLoop* loop, int socket, int stop_fd) {
  loop->device = socket;
  loop->stop_fd = stop_fd;
  loop->size = most_run + 1;
  loop->framing = 0;
  loop->buffer = malloc(loop->size);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (loop->buffer == NULL || loop->epoll < 0) return errno;
  const int error = bare_watch(loop, socket);
  return error != 0 ? error : bare_watch(loop, stop_fd);
}

/* Receives a run. Returns the bytes, or -1; `segment` is the size of each datagram but the last. */
static ssize_t receive_run(int socket, char* buffer, size_t size, size_t* segment) {
  struct sockaddr_storage from;
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {buffer, size};
  struct msghdr message = {.msg_name = &from,
                           .msg_namelen = sizeof from,
                           .msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof control};
  const ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT);
  if (got < 0) return -1;
  *segment = (size_t)got;
  for (struct cmsghdr* header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header))
    if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == UDP_GRO) {
      int value = 0;
      memcpy(&value, CMSG_DATA(header), sizeof value);
      if (value > 0) *segment = (size_t)value;
    }
  return got;
}

/* Sends a run to the peer of the socket. */
static ssize_t send_run(int socket, char* run, size_t size, size_t segment) {
  union {
    char bytes[CMSG_SPACE(sizeof(uint16_t))];
    struct cmsghdr align;
  } control;
  struct iovec part = {run, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (size > segment) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr* const header = CMSG_FIRSTHDR(&message);
    const uint16_t value = (uint16_t)segment;
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof value);
    memcpy(CMSG_DATA(header), &value, sizeof value);
  }
  return sendmsg(socket, &message, 0);
}

void bare_udp_receive(struct BareLoop* loop, struct Tally* tally) {
  int ready[3];
  while (bare_wait(loop, ready) >= 0) {
    for (int i = 0; i < bare_burst; ++i) {
      size_t segment = 0;
      const ssize_t size = receive_run(loop->device, loop->buffer, loop->size, &segment);
      if (size <= 0) break;
      bare_count(tally, ((size_t)size + segment - 1) / segment, (size_t)size);
    }
  }
}

void bare_udp_answer(struct BareLoop* loop, struct Tally* tally) {
  int ready[3];
  while (bare_wait(loop, ready) >= 0) {
    for (int i = 0; i < bare_burst; ++i) {
      struct sockaddr_storage from;
      struct iovec part = {loop->buffer, loop->size};
      struct msghdr message = {
          .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
      const ssize_t size = recvmsg(loop->device, &message, MSG_DONTWAIT);
      if (size < 0) break;
      const struct sockaddr* const to = (const struct sockaddr*)&from;
      if (sendto(loop->device, loop->buffer, (size_t)size, MSG_DONTWAIT, to, message.msg_namelen) == size)
        bare_count(tally, 1, (size_t)size);
    }
  }
}

void bare_udp_write(int socket, const void* datagram, size_t size, const uint32_t* stop, struct Tally* tally) {
  static char run[most_run];
  const size_t most = most_run / size < most_segments ? most_run / size : most_segments;
  while (__atomic_load_n(stop, __ATOMIC_RELAXED) == 0) {
    for (size_t i = 0; i < most; ++i) memcpy(run + i * size, datagram, size);
    if (send_run(socket, run, most * size, size) > 0) bare_count(tally, most, most * size);
  }
}

/* From the TUN to the peer: successive packets of a size in a run, and a shorter one closes it. */
static void send_burst(struct BareLoop* loop, int socket) {
  size_t size = 0;
  size_t segment = 0;
  size_t count = 0;
  for (int i = 0; i < bare_burst; ++i) {
    const ssize_t got = read(loop->device, loop->buffer + size, loop->size - size);
    if (got <= 0) break;
    const size_t packet = (size_t)got;
    if (count != 0 && (packet > segment || size + packet > most_run || count == most_segments)) {
      send_run(socket, loop->buffer, size, segment);
      memmove(loop->buffer, loop->buffer + size, packet);
      size = count = 0;
    }
    if (count == 0) segment = packet;
    size += packet;
    ++count;
    if (packet < segment) {
      send_run(socket, loop->buffer, size, segment);
      size = count = 0;
    }
  }
  if (count != 0) send_run(socket, loop->buffer, size, segment);
}

static void receive_burst(struct BareLoop* loop, int socket, struct Tally* tally) {
  for (int i = 0; i < bare_burst; ++i) {
    size_t segment = 0;
    const ssize_t got = receive_run(socket, loop->buffer, most_run, &segment);
    if (got <= 0) return;
    for (size_t at = 0; at < (size_t)got; at += segment) {
      const size_t left = (size_t)got - at;
      const size_t size = left < segment ? left : segment;
      if (write(loop->device, loop->buffer + at, size) == (ssize_t)size) bare_count(tally, 1, size);
    }
  }
}

void bare_relay(struct BareLoop* loop, int socket, struct Tally* tally) {
  int ready_fds[3];
  if (bare_watch(loop, socket) != 0) return;
  for (int ready = 0; (ready = bare_wait(loop, ready_fds)) >= 0;) {
    for (int i = 0; i < ready; ++i) {
      if (ready_fds[i] == loop->device)
        send_burst(loop, socket);
      else
        receive_burst(loop, socket, tally);
    }
  }
}
