#include "tunport/port/base_port.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <stdexcept>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/port/count_drop_internal.hpp"

namespace tunport {
namespace {

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }
/// What a read may fail with and work again later. Anything else would be told again in every turn.
bool passes(int error) { return error == ENOBUFS || error == ENOMEM || error == EIO || error == ENETDOWN; }
bool is_terminal(int error) { return error == EBADFD || error == EBADF; }

std::error_code code_of(int error) {
  if (error == EBADF) return Errc::device_gone;
  if (error == EIO) return Errc::link_down;
  return errno_code(error);
}

/// Where the next packet begins in a slab after one of `size` bytes at `begin`: at multiples of 16, so that
/// the headers of all are aligned.
constexpr std::size_t packet_end(std::size_t begin, std::size_t size) {
  return begin + (BasePort::headroom + size + 1 + 15) / 16 * 16;
}

/// Sizes up to this cannot overflow what is made of them.
constexpr std::size_t largest_size = std::size_t{1} << 30;

PortOptions checked(PortOptions options) {
  if (std::max({options.max_packet_size, options.max_throughput, options.queue_limit}) > largest_size)
    throw std::invalid_argument("max_packet_size, max_throughput and queue_limit must be at most 1 GiB");
  if (options.max_packet_size == 0) throw std::invalid_argument("max_packet_size must be at least 1 byte");
  if (options.max_throughput == 0) throw std::invalid_argument("max_throughput must be at least 1 byte");
  if (options.queue_low_mark > options.queue_high_mark || options.queue_high_mark > options.queue_limit)
    throw std::invalid_argument("queue_low_mark <= queue_high_mark <= queue_limit must hold");
  if (options.queue_high_mark < options.max_packet_size)
    throw std::invalid_argument("queue_high_mark must admit one packet of max_packet_size");
  if (options.device.blocking)
    throw std::invalid_argument("device.blocking is not for ports: a read would stop the loop");
  return options;
}

}  // namespace

BasePort::BasePort(Reactor& reactor, PortOptions options)
    : FileDescriptor{reactor},
      options_{checked(std::move(options))},
      // A record carries an address, or what is left to do, besides the datagram.
      queue_{options_.queue_limit, std::max(options_.max_packet_size, max_super_packet) + headroom} {}

BasePort::~BasePort() {
  if (slab_) {
    slab_->origin.ended = true;
    slab_->origin.port = nullptr;
  }
}

void BasePort::start_listening() {
  std::error_code ec;
  start_listening(ec);
  if (ec) throw CannotListenError{ec, subject()};
}

void BasePort::start_listening(std::error_code& ec) {
  ec.clear();
  if (state_ != State::closed) {
    ec = Errc::already_listening;
    return;
  }
  bind_device(ec);
  if (ec) return;
  try {
    packet_space_ = headroom + packet_space();
    const std::size_t slab =
        packet_end(options_.max_throughput, 0) + burst_packets * packet_end(0, 0) + packet_space_;
    if (!slab_ || slab_->size < slab) slab_ = std::make_shared<Slab>(slab);
    slab_->origin.reactor = &reactor();
    slab_->origin.port = this;
    attach();
  } catch (const Error& error) {  // the reactor cannot watch it
    ec = error.code();
    close_device();
    return;
  } catch (...) {
    close_device();
    throw;
  }
  state_ = State::listening;
  write_end_ = WriteEnd::none;
  const Lifeline::Watch watch{lifeline_};
  try {
    start_reading();    // before the protocol starts, so that it may pause at once
    connected_ = true;  // likewise, as it may destroy the port
    connect_to_protocol();
  } catch (...) {
    if (!watch.alive()) throw;
    connected_ = false;
    flush_quietly();
    end_timer_.cancel();
    linger_timer_.cancel();
    detach();
    drop_queue(DropReason::aborted);
    retry_timer_.cancel();
    turn_timer_.cancel();
    guarded([this] { stop_producer(); });
    if (!watch.alive()) throw;
    close_device();
    state_ = State::closed;
    for (auto& completion : std::exchange(stop_completions_, {})) reactor().post(std::move(completion));
    throw;
  }
}

void BasePort::stop_listening(std::function<void()> completion) {
  if (state_ == State::closed) {
    if (completion) reactor().post(std::move(completion));
    return;
  }
  if (completion) stop_completions_.push_back(std::move(completion));
  finish({});
}

void BasePort::lose_connection() {
  if (state_ != State::listening) return;
  flush_quietly();
  if (state_ != State::listening) return;  // what was flushed has met the end already
  stop_reading();
  slab_->origin.ended = true;
  state_ = State::losing;
  linger_timer_ = reactor().call_later(options_.linger, [this] { finish({}); });
  finish_if_flushed();
}

void BasePort::lose_write_connection() {
  if (state_ != State::listening || write_end_ != WriteEnd::none) return;
  flush_quietly();
  if (state_ != State::listening) return;
  write_end_ = WriteEnd::asked;
  end_writing_if_done();
}

void BasePort::end_writing_if_done() {
  if (write_end_ == WriteEnd::asked && !has_producer()) write_end_ = WriteEnd::flushing;
  if (write_end_ != WriteEnd::flushing || !queue_.empty()) return;
  write_end_ = WriteEnd::done;
  close_write_connection();
}

void BasePort::finish_if_flushed() {
  if (state_ != State::losing || !queue_.empty() || has_producer()) return;
  const Lifeline::Watch watch{lifeline_};
  post_lose_connection();
  if (watch.alive()) finish({});
}

void BasePort::disconnect() {
  if (std::exchange(connected_, false)) guarded([this] { disconnect_protocol(); });
}

void BasePort::abandon() noexcept {
  for (auto& completion : std::exchange(stop_completions_, {})) reactor().post(std::move(completion));
  flush_quietly();
  detach();
  guarded([this] { stop_producer(); });
  disconnect();
}

void BasePort::finish(const std::error_code& reason) {
  if (state_ == State::closed || state_ == State::ending) return;
  flush_quietly();
  if (state_ == State::ending) return;  // what was flushed has met the end already
  state_ = State::ending;
  detach();
  slab_->origin.ended = true;
  linger_timer_.cancel();
  retry_timer_.cancel();
  turn_timer_.cancel();
  end_timer_ = reactor().call_later(Duration::zero(), [this, reason] { connection_lost(reason); });
}

void BasePort::connection_lost(const std::error_code& reason) {
  if (state_ == State::closed) return;
  const Lifeline::Watch watch{lifeline_};
  detach();
  end_timer_.cancel();
  linger_timer_.cancel();
  retry_timer_.cancel();
  turn_timer_.cancel();
  state_ = State::ending;
  drop_queue(reason ? DropReason::device_gone : DropReason::aborted);
  guarded([this] { stop_producer(); });
  if (!watch.alive()) return;
  disconnect();
  if (!watch.alive()) return;
  close_device();
  state_ = State::closed;
  // From here on the port may be started again, or destroyed, by any of these.
  const auto completions = std::exchange(stop_completions_, {});
  const LostHandler handler = lost_handler_;
  std::exception_ptr first;
  const auto call_all_the_same = [&](const auto& call) {
    try {
      call();
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  };
  for (const auto& completion : completions) call_all_the_same(completion);
  if (handler) call_all_the_same([&] { handler(reason); });
  if (first) std::rethrow_exception(first);
}

void BasePort::do_read() {
  if (in_burst_) throw std::logic_error(log_prefix() + ": do_read inside do_read");
  if (!reading()) return;
  const Lifeline::Watch watch{lifeline_};
  const std::shared_ptr<Slab> borrowed = slab_;
  Reactor& loop = reactor();
  in_burst_ = true;
  std::size_t packets = 0;
  int error = 0;
  {
    const Cork cork{loop};
    error = read_packets(watch, packets);
  }
  if (loop.corked()) loop.flush();  // by others too: what was gathered may lie in the slab
  if (!watch.alive()) return;
  in_burst_ = false;
  if (packets != 0) ++statistics_.bursts;
  if (error != 0 && !would_block(error) && !passes(error)) finish(code_of(error));
}

/// Reads and delivers until that ends; why, if it was an error. `packets` counts those read.
int BasePort::read_packets(const Lifeline::Watch& watch, std::size_t& packets) {
  std::size_t bytes = 0;
  std::size_t used = 0;  // of the slab
  int interrupted = 0;
  bool idle = false;      // nothing was there at the last look
  bool spinning = false;  // since `spun_since`, and not longer than `spin`: others want their turn
  bool found = false;     // something, by spinning: so it goes on after others have had it
  TimePoint spun_since;
  while (watch.alive() && reading() && packets < burst_packets && bytes < options_.max_throughput) {
    const ssize_t got = receive_packet({slab_->bytes.get() + used, packet_space_});
    if (!watch.alive()) return 0;
    if (got >= 0) {
      if (const std::size_t aborted = std::exchange(slab_->origin.aborted, 0); aborted != 0)
        count_drop(statistics_, DropReason::aborted, aborted);
      ++packets;
      bytes += static_cast<std::size_t>(got);
      // Else the next one goes to the same place, which is in the cache.
      if (slab_->origin.referred_to) used = packet_end(used, static_cast<std::size_t>(got));
      idle = false;
      found = spinning;
    } else if (got == -EINTR && ++interrupted <= interrupted_retries) {
      continue;
    } else if (got != -EAGAIN || options_.spin <= Duration::zero()) {
      return static_cast<int>(-got);
    } else if (!idle) {  // nothing there: look again for a while of real time, with all answers out
      reactor().flush();
      if (!watch.alive()) return 0;
      idle = true;
      if (!std::exchange(spinning, true)) spun_since = Clock::now();
    } else if (Clock::now() - spun_since >= options_.spin) {
      break;
    }
  }
  if (found && watch.alive() && reading())
    turn_timer_ = reactor().call_later(Duration::zero(), [this] { do_read(); });
  return 0;
}

WriteResult BasePort::submit(std::span<const Bytes> parts, std::uint64_t ticket) {
  const int error = may_transmit() ? transmit(parts) : EAGAIN;
  return error == 0 ? WriteResult::make_sent() : not_sent(error, parts, ticket);
}

WriteResult BasePort::not_sent(int error, std::span<const Bytes> parts, std::uint64_t ticket,
                               std::size_t datagrams) {
  if (!takes_writes()) return refuse(DropReason::not_listening, datagrams);
  for (int tries = 0; error == EINTR && tries < interrupted_retries; ++tries) error = transmit(parts);
  if (error == 0) return WriteResult::make_sent();
  const WriteResult result = settle(queue_.empty() ? error : EAGAIN, parts, datagrams, ticket);
  pause_producer_if_high();
  return result;
}

WriteResult BasePort::settle(int error, std::span<const Bytes> parts, std::size_t datagrams,
                             std::uint64_t ticket) {
  if (state_ == State::ending) return refuse(DropReason::device_gone, datagrams);
  if (state_ == State::closed) return refuse(DropReason::aborted, datagrams);
  if (!would_block(error)) {
    if (is_terminal(error)) finish(Errc::device_gone);
    return refuse(drop_reason_of(error), datagrams);
  }
  const bool first = queue_.empty();
  if (!queue_.push(parts, ticket)) return refuse(DropReason::queue_full, datagrams);
  if (first) {
    start_writing();
    retry_later();
  }
  return WriteResult::make_queued();
}

void BasePort::pause_producer_if_high() {
  if (queue_.bytes() > options_.queue_high_mark) guarded([this] { pause_producer(); });
}

WriteResult BasePort::refuse(DropReason reason, std::size_t datagrams) {
  count_drop(statistics_, reason, datagrams);
  return WriteResult::make_refused(reason);
}

std::size_t BasePort::write_some_data(Bytes data, std::error_code& ec) {
  ec.clear();
  flush_quietly();
  int error = EAGAIN;
  if (!listening() || !takes_writes())
    ec = Errc::not_listening;
  else if (!queue_.empty() || (error = transmit_plain(data)) != 0)
    ec = code_of(error);
  return ec ? 0 : data.size();
}

void BasePort::do_write() {
  if (queue_.empty() && !has_pull_producer()) {
    if (!writing()) throw std::logic_error(log_prefix() + ": nothing to write");
    return stop_writing();  // somebody asked to be told, and there is nothing to do
  }
  const Lifeline::Watch watch{lifeline_};
  if (!queue_.empty()) drain();
  if (watch.alive() && queue_.empty() && has_pull_producer()) guarded([this] { pull_from_producer(); });
}

void BasePort::drain() {
  const Lifeline::Watch watch{lifeline_};
  while (!queue_.empty()) {
    const Bytes record = queue_.front();
    const int error = transmit({&record, 1});
    if (would_block(error)) break;
    if (error == EIO || is_terminal(error)) {
      drop_queue(drop_reason_of(error));  // the whole: it would be no better for the rest
      if (is_terminal(error)) finish(Errc::device_gone);
      break;
    }
    if (error != 0) count_drop(statistics_, drop_reason_of(error), datagrams_of(record));
    ticket_done(queue_.front_ticket(), error == 0 ? std::error_code{} : code_of(error));
    queue_.pop();
  }
  if (queue_.bytes() <= options_.queue_low_mark) guarded([this] { resume_producer(); });
  if (watch.alive() && queue_.empty()) drained();
}

void BasePort::drained() {
  retry_timer_.cancel();
  if (!has_pull_producer()) stop_writing();
  const Lifeline::Watch watch{lifeline_};
  end_writing_if_done();
  if (watch.alive()) finish_if_flushed();
}

void BasePort::drop_queue(DropReason reason) {
  const std::error_code ec = reason == DropReason::link_down     ? Errc::link_down
                             : reason == DropReason::device_gone ? Errc::device_gone
                                                                 : Errc::operation_aborted;
  for (; !queue_.empty(); queue_.pop()) {
    count_drop(statistics_, reason, datagrams_of(queue_.front()));
    ticket_done(queue_.front_ticket(), ec);
  }
}

void BasePort::retry_later() {
  retry_timer_ = reactor().call_later(queue_retry_interval, [this] {
    const Lifeline::Watch watch{lifeline_};
    drain();
    if (watch.alive() && !queue_.empty()) retry_later();
  });
}

void BasePort::producer_gone() {
  flush_quietly();  // its last writes may begin a queue, which is waited for then
  if (!queue_.empty()) return;
  stop_writing();
  const Lifeline::Watch watch{lifeline_};
  end_writing_if_done();
  if (watch.alive()) finish_if_flushed();
}

UniqueFd BasePort::create_internet_socket(int domain, int type) {
  const int fd = options_.system.io.socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) throw Error{errno_code(-fd), "socket"};
  return UniqueFd{fd};
}

void BasePort::note_exception() {
  ++statistics_.exceptions;
  if (!exception_log_.take(reactor().now())) return;
  std::string what = "not a std::exception";
  try {
    throw;
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  log(LogLevel::error, log_prefix(), "exception from the protocol: " + what);
}

}  // namespace tunport
