#include "bare_loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* linux-libc-dev 6.1 lacks the USO bits. */
enum { tun_f_uso4 = 0x20, tun_f_uso6 = 0x40 };

int bare_watch(const struct BareLoop* loop, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? errno : 0;
}

int bare_open(struct BareLoop* loop, const char* name, int stop_fd, size_t size, unsigned flags) {
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  request.ifr_flags = (short)(((flags & bare_tap) != 0 ? IFF_TAP : IFF_TUN) | IFF_NO_PI |
                              ((flags & bare_offload) != 0 ? IFF_VNET_HDR : 0));
  const unsigned long offload =
      TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | tun_f_uso4 | tun_f_uso6;

  loop->stop_fd = stop_fd;
  loop->size = size;
  loop->framing = (flags & bare_offload) != 0 ? bare_virtio_header : 0;
  loop->buffer = malloc(size);
  loop->device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  if (loop->buffer == NULL || loop->device < 0 || loop->epoll < 0) return errno;
  if (ioctl(loop->device, TUNSETIFF, &request) < 0) return errno;
  if ((flags & bare_offload) != 0 && ioctl(loop->device, TUNSETOFFLOAD, offload) < 0) return errno;
  const int error = bare_watch(loop, loop->device);
  return error != 0 ? error : bare_watch(loop, stop_fd);
}

int bare_wait(const struct BareLoop* loop, int ready_fds[3]) {
  struct epoll_event events[3];
  int ready = epoll_wait(loop->epoll, events, 3, -1);
  if (ready < 0) return errno == EINTR ? 0 : -1;
  for (int i = 0; i < ready; ++i) {
    ready_fds[i] = events[i].data.fd;
    if (ready_fds[i] == loop->stop_fd) return -1;
  }
  return ready;
}
