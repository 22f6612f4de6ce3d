#include "tunport/port/base_port.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <stdexcept>
#include <thread>
#include <utility>

#include "tunport/base/error.hpp"
#include "tunport/base/log.hpp"
#include "tunport/base/token_bucket_internal.hpp"
#include "tunport/port/count_drop_internal.hpp"
#include "tunport/port/fate_internal.hpp"

namespace tunport {
namespace {

constexpr Duration longest_moderation = std::chrono::seconds{1};

/// The largest size for which no sum of sizes overflows.
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
  if (std::min({options.spin, options.moderation, options.linger}) < Duration::zero())
    throw std::invalid_argument("spin, moderation and linger must not be negative");
  if (options.moderation > longest_moderation)
    throw std::invalid_argument("moderation must be at most a second: the loop waits for as long");
  if (options.spin > Duration::zero() && options.moderation > Duration::zero())
    throw std::invalid_argument("spin looks again at once, and moderation later: ask for one of them");
  if (options.device.blocking)
    throw std::invalid_argument("device.blocking is not for ports: a read would stop the loop");
  return options;
}

}  // namespace

struct BasePort::Slab {
  explicit Slab(std::size_t capacity)
      : bytes{std::make_unique_for_overwrite<std::byte[]>(capacity)}, size{capacity} {}
  PacketOrigin origin;
  std::unique_ptr<std::byte[]> bytes;
  std::size_t size;
};

BasePort::BasePort(Reactor& reactor, PortOptions options)
    : FileDescriptor{reactor},
      options_{checked(std::move(options))},
      exception_log_{std::make_unique<TokenBucket>(1, 5)} {}

BasePort::~BasePort() {
  if (!slab_) return;
  slab_->origin.ended = true;
  slab_->origin.port = nullptr;
}

BasePort::Burst::Burst(BasePort& port, const Lifeline::Watch& watch)
    : port_{port},
      watch_{watch},
      origin_{port.slab_->origin},
      space_{port.slab_->bytes.get(), port.slab_->size},
      packet_space_{port.packet_space_} {}

void BasePort::Burst::count_aborted() {
  count_drop(port_.statistics_, DropReason::aborted, std::exchange(origin_.aborted, 0));
}

PacketOrigin& BasePort::packet_origin() const { return slab_->origin; }

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
  try {
    const std::size_t packet_space = bind_device(ec);
    if (ec) return;
    open_slab(packet_space);
    attach();
  } catch (const Error& error) {  // the reactor cannot watch the descriptor
    ec = error.code();
    close_device();
    return;
  } catch (...) {
    close_device();
    throw;
  }
  state_ = State::listening;
  const std::uint64_t life = ++lives_;
  write_end_ = WriteEnd::none;
  outbox().open();
  const Lifeline::Watch watch{lifeline_};
  try {
    start_reading();    // before the protocol starts, which may pause at once
    connected_ = true;  // likewise: the protocol may destroy the port
    connect_to_protocol();
  } catch (...) {
    // The protocol may have ended this life in its start, and begun another.
    if (!watch.alive() || life != lives_ || is_closed()) throw;
    connected_ = false;
    if (!tear_down(DropReason::aborted)) throw;
    for (auto& completion : std::exchange(stop_completions_, {})) reactor().post(std::move(completion));
    throw;
  }
}

void BasePort::open_slab(std::size_t packet_space) {
  packet_space_ = headroom + packet_space;
  const std::size_t size =
      Burst::end_of(options_.max_throughput, 0) + burst_packets * Burst::end_of(0, 0) + packet_space_;
  if (!slab_ || slab_->size < size) slab_ = std::make_shared<Slab>(size);
  slab_->origin.reactor = &reactor();
  slab_->origin.port = this;
}

void BasePort::stop_listening(std::function<void()> completion) {
  if (state_ == State::closed) {
    if (completion) reactor().post(std::move(completion));
    return;
  }
  stop_completions_.reserve(stop_completions_.size() + 1);  // an exception comes before any effect
  finish({});
  if (completion) stop_completions_.push_back(std::move(completion));
}

void BasePort::lose_connection() {
  if (state_ != State::listening || !send_gathered()) return;
  timers_.linger = reactor().call_later(options_.linger, [this] { finish({}); });
  stop_reading();
  slab_->origin.ended = true;
  state_ = State::losing;
  finish_if_flushed();
}

void BasePort::lose_write_connection() {
  if (state_ != State::listening || write_end_ != WriteEnd::none || !send_gathered()) return;
  write_end_ = WriteEnd::asked;
  end_writing_if_done();
}

bool BasePort::send_gathered() {
  outbox().send_gathered();
  if (!outbox().is_gone()) return true;
  finish(Errc::device_gone);
  return false;
}

void BasePort::end_writing_if_done() {
  if (write_end_ == WriteEnd::asked && !has_producer()) {
    write_end_ = WriteEnd::flushing;
    outbox().shut();
  }
  if (write_end_ != WriteEnd::flushing || !outbox().queue_empty()) return;
  write_end_ = WriteEnd::done;
  close_write_connection();
}

void BasePort::finish_if_flushed() {
  if (state_ != State::losing || !outbox().queue_empty() || has_producer()) return;
  const Lifeline::Watch watch{lifeline_};
  post_lose_connection();
  if (watch.alive()) finish_if_possible({});
}

void BasePort::disconnect() {
  if (std::exchange(connected_, false)) guarded(&protocol(), [this] { disconnect_protocol(); });
}

void BasePort::abandon() noexcept {
  for (auto& completion : std::exchange(stop_completions_, {})) {
    try {
      reactor().post(std::move(completion));
    } catch (const std::bad_alloc&) {  // a destructor has nobody to tell
    }
  }
  if (state_ != State::closed) tear_down(DropReason::aborted);
}

void BasePort::finish(const std::error_code& reason) {
  if (state_ == State::closed || state_ == State::ending) return;
  outbox().send_gathered();
  const std::error_code why = outbox().is_gone() ? Errc::device_gone : reason;
  Reactor::Timer end = reactor().call_later(Duration::zero(), [this, why] { connection_lost(why); });
  outbox().shut();
  state_ = State::ending;
  detach();
  slab_->origin.ended = true;
  timers_ = {};
  timers_.end = std::move(end);
}

void BasePort::finish_if_possible(const std::error_code& reason) noexcept try {
  finish(reason);
} catch (const std::bad_alloc&) {
}

bool BasePort::tear_down(DropReason reason) {
  const Lifeline::Watch watch{lifeline_};
  tearing_down_ = true;
  outbox().send_gathered();
  outbox().shut();
  state_ = State::ending;
  detach();
  slab_->origin.ended = true;
  timers_ = {};
  outbox().drop(reason);
  guarded(nullptr, [this] { stop_producer(); });
  if (watch.alive()) disconnect();
  if (!watch.alive()) return false;
  close_device();
  state_ = State::closed;
  tearing_down_ = false;
  return true;
}

void BasePort::connection_lost(const std::error_code& reason) {
  if (state_ == State::closed || tearing_down_) return;  // the latter: called by the protocol that is stopped
  if (reason && !lost_handler_) {
    try {
      log(LogLevel::error, log_prefix(), subject() + ": " + reason.message());
    } catch (const std::bad_alloc&) {  // the end is more than a line about the end
    }
  }
  if (!tear_down(reason ? DropReason::device_gone : DropReason::aborted)) return;
  // From here on each call may restart or destroy the port.
  const auto completions = std::exchange(stop_completions_, {});
  const auto handler = lost_handler_;
  std::exception_ptr first;
  const auto call_all_the_same = [&](const auto& call) {
    try {
      call();
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  };
  for (const auto& completion : completions) call_all_the_same(completion);
  if (handler) call_all_the_same([&] { (*handler)(reason); });
  if (first) std::rethrow_exception(first);
}

void BasePort::do_read() {
  if (in_burst_) throw std::logic_error(log_prefix() + ": do_read inside do_read");
  if (!reading()) return;
  const Lifeline::Watch watch{lifeline_};
  const std::shared_ptr<Slab> borrowed = slab_;
  Reactor& loop = reactor();
  in_burst_ = true;
  Burst burst{*this, watch};
  int error = 0;
  {
    const Cork cork{loop};
    error = read_packets(burst);
  }
  if (loop.corked()) loop.flush();  // held by another cork too: gathered packets may lie in the slab
  if (!watch.alive()) return;
  in_burst_ = false;
  if (burst.packets() != 0) ++statistics_.bursts;
  if (error == EAGAIN && burst.packets() != 0 && options_.moderation > Duration::zero() && reading())
    std::this_thread::sleep_for(options_.moderation);
  if (error == 0) return;
  // A port that went on would meet a lasting error again in every turn.
  const Fate fate = fate_of(error);
  if (!is_transient(fate.code))
    finish(fate.code);
  else if (fate.kind != Fate::wait && state_ == State::listening)
    rest();
}

void BasePort::rest() {
  timers_.rest = reactor().call_later(queue_retry_interval, [this] { set_resting(false); });
  set_resting(true);
}

/// Reads and delivers until the burst ends. Returns the errno that ended the burst, or 0.
int BasePort::read_packets(Burst& burst) {
  bool idle = false;      // the last look found nothing
  bool spinning = false;  // since `spun_since`, for at most `spin`: other descriptors get their turn
  bool found = false;     // spinning found a packet: the spin continues after other descriptors' turns
  TimePoint spun_since;
  while (burst.goes_on()) {
    const std::size_t before = burst.packets();
    const int error = receive_packets(burst);
    if (!burst.alive()) return 0;
    if (burst.packets() != before) {
      idle = false;
      found = spinning;
    }
    if (error == 0) break;
    if (error != EAGAIN || options_.spin <= Duration::zero()) return error;
    if (!idle) {  // look again for a while of real time, with all answers sent
      reactor().flush();
      if (!burst.alive()) return 0;
      idle = true;
      if (!std::exchange(spinning, true)) spun_since = Clock::now();
    } else if (Clock::now() - spun_since >= options_.spin) {
      break;
    }
  }
  if (found && burst.alive() && reading())
    timers_.turn = reactor().call_later(Duration::zero(), [this] { do_read(); });
  return 0;
}

void BasePort::do_write() {
  if (outbox().queue_empty() && !has_pull_producer()) {
    if (!writing()) throw std::logic_error(log_prefix() + ": nothing to write");
    return stop_writing();  // a program called `start_writing`, but nothing waits
  }
  const Lifeline::Watch watch{lifeline_};
  if (!outbox().queue_empty()) outbox().drain();
  if (watch.alive() && outbox().queue_empty() && !outbox().awaits_write())
    guarded(nullptr, [this] { pull_from_producer(); });
}

/// Takes one portion from a pull producer. The next follows when the reactor reports writable after a write.
void BasePort::pull_from_producer() {
  if (!has_pull_producer()) return;
  stop_writing();
  outbox().await_write();
  FileDescriptor::pull_from_producer();
}

void BasePort::flush() { outbox().flush(); }

void BasePort::drop_queue(DropReason reason) {
  if (outbox().queue_empty()) return;
  outbox().drop(reason);
  outbox().flush();  // tells
}

void BasePort::drain_later() {
  start_writing();
  if (down_is_told_) return;
  try {
    timers_.retry = reactor().call_later(queue_retry_interval, [this] {
      const Lifeline::Watch watch{lifeline_};
      outbox().drain();
      if (watch.alive() && !outbox().queue_empty() && state_ != State::ending) drain_later();
    });
  } catch (const std::bad_alloc&) {  // the reactor's report drains the queue, too
  }
}

void BasePort::outbox_changed() {
  const AnyOutbox& out = outbox();
  if (out.is_gone()) finish_if_possible(Errc::device_gone);
  if (out.queue_empty()) timers_.retry.cancel();
  if (!out.queue_empty() || (has_pull_producer() && !out.awaits_write()))
    start_writing();
  else
    stop_writing();
  const Lifeline::Watch watch{lifeline_};
  if (out.queued_bytes() > options_.queue_high_mark)
    guarded(nullptr, [this] { pause_producer(); });
  else if (out.queued_bytes() <= options_.queue_low_mark)
    guarded(nullptr, [this] { resume_producer(); });
  if (!watch.alive() || !out.queue_empty()) return;
  end_writing_if_done();
  if (watch.alive()) finish_if_flushed();
}

void BasePort::producer_gone() {
  // The last writes may begin a queue; the end waits for the queue then.
  if (!send_gathered() || !outbox().queue_empty()) return;
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

void BasePort::note_exception(const Protocol* protocol) noexcept try {
  ++statistics_.exceptions;
  if (!exception_log_->take(reactor().now())) return;
  std::string what = "not a std::exception";
  try {
    throw;
  } catch (const std::exception& error) {
    what = error.what();
  } catch (...) {
  }
  if (protocol != nullptr)
    if (const Protocol& thrower = protocol->thrower(); &thrower != protocol)
      what = thrower.name() + ": " + what;
  log(LogLevel::error, log_prefix(),
      (protocol != nullptr ? "exception from the protocol: " : "exception from the producer: ") + what);
} catch (...) {  // no memory for the line, or a log sink that throws
}

}  // namespace tunport
