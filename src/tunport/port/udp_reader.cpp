#include <algorithm>
#include <cstring>
#include <new>

#include "tunport/port/udp_reader_internal.hpp"

namespace tunport {

UdpReader::UdpReader(std::size_t longest)
    : longest_{longest}, short_{std::make_unique_for_overwrite<std::byte[]>(most * short_size)} {
  long_[0] = std::make_unique_for_overwrite<std::byte[]>(longest);
  for (std::size_t i = 0; i < most; ++i) {
    parts_[i][0] = {short_.get() + i * short_size, short_size};
    msghdr& message = messages_[i].msg_hdr;
    message.msg_name = &sources_[i];
    message.msg_iov = parts_[i].data();
    message.msg_iovlen = parts_[i].size();
    message.msg_control = controls_[i].data();
  }
}

void UdpReader::reset(std::size_t index) {
  msghdr& message = messages_[index].msg_hdr;
  message.msg_namelen = sizeof sources_[index];
  message.msg_controllen = controls_[index].size();
  message.msg_flags = 0;
}

/// Without memory, datagrams are read one by one.
bool UdpReader::have_memory_for_many() {
  for (std::size_t i = 0; i < most; ++i) {
    if (!long_[i]) long_[i].reset(new (std::nothrow) std::byte[longest_]);
    if (!long_[i]) return false;
    parts_[i][1] = {long_place(i) + short_size, longest_ - short_size};
  }
  return true;
}

void UdpReader::note(std::size_t size) { shorts_ = size > short_size ? 0 : shorts_ + 1; }

int UdpReader::read(IoSystem& io, int fd, std::size_t limit) {
  const bool many = limit > 1 && shorts_ >= shorts_before_many && have_memory_for_many();
  return many ? read_many(io, fd, std::min(limit, most)) : read_one(io, fd);
}

int UdpReader::read_one(IoSystem& io, int fd) {
  reset(0);
  drained_ = false;
  msghdr message = messages_[0].msg_hdr;
  iovec part{long_place(0), longest_};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t got = io.recvmsg(fd, &message, 0);
  if (got < 0) return static_cast<int>(got);
  messages_[0].msg_hdr.msg_namelen = message.msg_namelen;
  messages_[0].msg_hdr.msg_controllen = message.msg_controllen;
  messages_[0].msg_hdr.msg_flags = message.msg_flags;
  const auto size = static_cast<std::size_t>(got);
  bytes_[0] = {long_place(0), size};
  note(size);
  return 1;
}

int UdpReader::read_many(IoSystem& io, int fd, std::size_t limit) {
  for (std::size_t i = 0; i < limit; ++i) reset(i);
  const int got = io.recvmmsg(fd, {messages_.data(), limit}, 0);
  if (got < 0) return got;
  const auto count = static_cast<std::size_t>(got);
  drained_ = count < limit;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t size = messages_[i].msg_len;
    const auto begin = static_cast<std::byte*>(parts_[i][0].iov_base);
    bytes_[i] = {begin, size};
    if (size > short_size) {
      std::memcpy(long_place(i), begin, short_size);
      bytes_[i] = {long_place(i), size};
    }
    note(size);
  }
  return got;
}

}  // namespace tunport
