#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <sys/socket.h>

#include "tunport/base/log.hpp"
#include "tunport/port/control_internal.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"
#include "tunport/port/udp_sink_internal.hpp"

namespace tunport {

void UdpSink::reset(bool segments, const std::optional<Endpoint>& peer) {
  segments_ = segments;
  peer_ = peer;
  longest_segment_ = max_run_size;
  longer_ = 0;
  said_ = false;
  run_count_ = 0;
  filling_ = nullptr;
  forget();
}

std::optional<DropReason> UdpSink::objection(const Tag& tag, const Parts& parts) const {
  if (tag.segment_size == 0 && parts.size() > max_packet_size_) return DropReason::too_long;
  if (tag.to.address.is_v4() != v4_) return DropReason::no_route;
  return std::nullopt;
}

/// The latest run to the receiver, if the run takes more datagrams, and goes the same way.
UdpSink::Run* UdpSink::open_run_of(const Tag& tag) {
  for (std::size_t i = run_count_; i-- > 0;)
    if (runs_[i].way.to == tag.to) return runs_[i].open && runs_[i].way.same_way(tag) ? &runs_[i] : nullptr;
  return nullptr;
}

/// False for a datagram that is longer than the path's MTU, as far as known. Paths get longer again: a run is
/// tried anew now and then.
bool UdpSink::fits_path(std::size_t size) {
  if (size <= longest_segment_) return true;
  if (++longer_ < longer_per_trial) return false;
  longer_ = 0;
  longest_segment_ = max_run_size;
  return true;
}

/// The run that takes a datagram, with room for the datagram; null if the datagram cannot be gathered.
UdpSink::Run* UdpSink::run_for(const Tag& tag, std::size_t size) {
  if (tag.segment_size != 0 || !fits_path(size) || size > max_run_size / 2) return nullptr;
  Run* run = open_run_of(tag);
  if (run != nullptr && (size > run->segment_size || size == 0 || run->size + size > max_run_size)) {
    run->open = false;
    run = nullptr;
  }
  if (run != nullptr || run_count_ == max_runs) return run;
  run = &runs_[run_count_];
  if (!run->bytes) run->bytes.reset(new (std::nothrow) std::byte[max_run_size]);
  if (!run->bytes) return nullptr;
  run->way = tag;
  run->size = run->datagrams = 0;
  run->segment_size = size;
  run->open = true;
  return run;
}

void UdpSink::took(Run& run, std::size_t size) {
  if (run.datagrams == 0) ++run_count_;
  run.size += size;
  ++run.datagrams;
  if (size < run.segment_size || size == 0 || run.datagrams == max_segments) run.open = false;
  filling_ = nullptr;
}

bool UdpSink::gather(const Tag& tag, const Parts& parts) {
  Run* const run = run_for(tag, parts.size());
  if (run == nullptr) return false;
  std::byte* at = run->bytes.get() + run->size;
  for (const Bytes part : parts.bytes) {
    if (!part.empty()) std::memcpy(at, part.data(), part.size());
    at += part.size();
  }
  took(*run, parts.size());
  return true;
}

MutableBytes UdpSink::place_for(const Tag& tag, std::size_t size) {
  filling_ = run_for(tag, size);
  if (filling_ == nullptr) return {};
  return {filling_->bytes.get() + filling_->size, size};
}

bool UdpSink::keep(std::size_t size) {
  if (filling_ == nullptr) return false;
  took(*filling_, size);
  return true;
}

int UdpSink::write(const Tag& tag, const Parts& parts) {
  if (tag.segment_size == 0) return send(tag, parts.bytes);
  const Bytes run = parts.bytes.front();
  if (done_ != 0 || !segments_ || !fits_path(tag.segment_size)) return write_one_by_one(tag, run);
  const int error = send(tag, parts.bytes);
  switch (error) {
    case EINVAL:
    case EMSGSIZE:
    case EIO:
    case EOPNOTSUPP:
    case ENOPROTOOPT: {
      ++statistics_.super_packets_refused;
      const std::uint64_t before = statistics_.packets_out;
      const int otherwise = write_one_by_one(tag, run);
      if (statistics_.packets_out != before) demote(error, tag.segment_size);
      return otherwise;
    }
    default:
      return error;
  }
}

namespace {

/// What a message for sendmsg(2) borrows.
struct Storage {
  sockaddr_storage receiver;
  SendControl control;
};

void put(msghdr& message, Storage& storage, std::span<iovec> parts, const UdpSink::Tag& tag,
         const std::optional<Endpoint>& peer) {
  if (tag.to != peer) {
    message.msg_name = &storage.receiver;
    message.msg_namelen = tag.to.to_sockaddr(storage.receiver);
  }
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (tag.segment_size != 0) storage.control.add_segment_size(tag.segment_size);
  if (tag.from != IpAddress{}) storage.control.add_source(tag.from);
  if (tag.traffic_class >= 0) storage.control.add_traffic_class(tag.to.address.is_v4(), tag.traffic_class);
  storage.control.put(message);
}

}  // namespace

int UdpSink::send(const Tag& tag, std::span<const Bytes> parts) {
  std::array<iovec, max_write_parts> gathered;
  if (parts.size() > gathered.size()) return EMSGSIZE;
  std::ranges::transform(parts, gathered.begin(), [](Bytes part) {
    return iovec{const_cast<std::byte*>(part.data()), part.size()};
  });
  Storage storage;
  msghdr message{};
  put(message, storage, {gathered.data(), parts.size()}, tag, peer_);
  ssize_t sent = io_.sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  // An ICMP error to an earlier datagram is told by the next call, once: the second answer is this
  // datagram's.
  if (sent < 0 && is_icmp_error(static_cast<int>(-sent)))
    sent = io_.sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (sent < 0) return static_cast<int>(-sent);
  count(tag, static_cast<std::size_t>(sent));
  return 0;
}

/// Counts a sent datagram or run.
void UdpSink::count(const Tag& tag, std::size_t size) {
  statistics_.packets_out += datagrams(tag, size);
  statistics_.bytes_out += size;
  if (tag.segment_size != 0) ++statistics_.super_packets_out;
}

/// Sends several runs in one call. Returns the number of runs that the kernel took, from the first on. The
/// next one is `write`'s.
std::size_t UdpSink::write_many(std::span<const Run> runs) {
  if (runs.size() < 2 || !segments_) return 0;
  std::array<mmsghdr, max_runs> messages{};
  std::array<Storage, max_runs> storage;
  std::array<iovec, max_runs> parts;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    parts[i] = {runs[i].bytes.get(), runs[i].size};
    put(messages[i].msg_hdr, storage[i], {&parts[i], 1}, runs[i].tag(), peer_);
  }
  const int sent = io_.sendmmsg(socket_.get(), {messages.data(), runs.size()}, MSG_NOSIGNAL);
  for (int i = 0; i < sent; ++i) {
    const auto at = static_cast<std::size_t>(i);
    count(runs[at].tag(), messages[at].msg_len);
  }
  return sent < 0 ? 0 : static_cast<std::size_t>(sent);
}

/// Writes each datagram of a run by itself, except those done. Returns zero if the kernel took a datagram;
/// refused ones are counted as dropped then.
int UdpSink::write_one_by_one(const Tag& tag, Bytes run) {
  Tag single = tag;
  single.segment_size = 0;
  int first_error = 0;
  std::size_t taken = 0;
  std::size_t lost = 0;
  bool waits = false;
  for (std::size_t at = done_ * tag.segment_size; at < run.size(); at += tag.segment_size) {
    const Bytes datagram = run.subspan(at, std::min<std::size_t>(tag.segment_size, run.size() - at));
    const int error = send(single, {&datagram, 1});
    if (error == 0) {
      ++taken;
      continue;
    }
    waits = fate_of(error).kind == Fate::wait;
    if (waits) break;
    ++lost;
    if (first_error == 0) first_error = error;
  }
  if (taken == 0 && !waits) return first_error;
  if (lost != 0) count_drop(statistics_, fate_of(first_error).reason, lost);
  done_ = waits ? done_ + taken + lost : 0;
  return waits ? EAGAIN : 0;
}

void UdpSink::demote(int error, std::uint16_t segment_size) {
  if (error == EINVAL || error == EMSGSIZE) {
    longest_segment_ = segment_size - 1U;
    if (std::exchange(said_, true)) return;
    log(LogLevel::info, name_,
        "datagrams of " + std::to_string(segment_size) +
            " bytes and more are sent one by one: they do not fit into the path's MTU");
    return;
  }
  segments_ = false;
  log(LogLevel::warning, name_, "the kernel refuses many datagrams in one call: they are sent one by one");
}

}  // namespace tunport
