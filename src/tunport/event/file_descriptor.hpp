#pragma once
/// The abstract descriptor of the reference: two directions, a producer, and an end.
///
/// Theory. A FileDescriptor reads or does not, writes or does not; the reactor is told of each change. It is
/// a consumer (a producer may be registered, and is paused while too much is queued) and a producer itself
/// (its reading can be paused and resumed). It ends once: `lose_connection` asks for it, in order;
/// `connection_lost` is what happens then, always from the reactor, never inside somebody's call. Its
/// identity is its registration: it can be neither copied nor moved, and what persists is the configuration
/// it was made from.

#include <cstddef>
#include <string>
#include <system_error>

#include "tunport/base/bytes.hpp"
#include "tunport/event/producer.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// See the theory above. Belongs to its reactor's thread.
class FileDescriptor : public Watched, public Producer {
 public:
  explicit FileDescriptor(Reactor& reactor) : reactor_{reactor} {}
  ~FileDescriptor() override;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  Reactor& reactor() const { return reactor_; }

  /// Default: nothing.
  void do_read() override {}

  /// The reactor says: what was gathered since it was corked goes out now. Default: nothing.
  virtual void flush() {}

  /// One attempt to write now, without queueing. The bytes taken; zero with `ec` set otherwise. Trying again
  /// helps if `is_transient(ec)`.
  virtual std::size_t write_some_data(Bytes data, std::error_code& ec) = 0;

  /// It is over. Called once, by the reactor. Overriders call the base's.
  virtual void connection_lost(const std::error_code& reason) = 0;
  /// The reading side is over. Default: `connection_lost`.
  virtual void read_connection_lost(const std::error_code& reason) { connection_lost(reason); }
  /// The writing side is over. Default: `connection_lost`.
  virtual void write_connection_lost(const std::error_code& reason) { connection_lost(reason); }

  /// Ends in order: what is queued goes out first.
  virtual void lose_connection() = 0;
  /// Ends the writing side in order: flushes, then `close_write_connection`. Later writes are refused,
  /// reading goes on.
  virtual void lose_write_connection() = 0;

  /// Each idempotent; none has an effect on a closed descriptor. A pull producer keeps the writing side
  /// watched.
  void start_reading();
  void stop_reading();
  void start_writing();
  void stop_writing();
  /// What the reactor should watch for: the wanted events of a foreign loop.
  bool reading() const final { return reading_; }
  bool writing() const final { return writing_; }

  /// Registers who writes here. A push producer is paused above the high mark and resumed below the low one;
  /// a pull producer is resumed at once and after each drain. On a closed descriptor `stop_producing` is
  /// called at once. Throws std::logic_error if another is registered.
  void register_producer(Producer& producer, ProducerKind kind);
  /// Forgets it. A pending end goes on. Idempotent.
  void unregister_producer();
  bool has_producer() const { return producer_ != nullptr; }
  /// A consumer that wants no more: unregisters, then `lose_connection`.
  void stop_consuming();

  /// The descriptor as a push producer: its reading.
  void resume_producing() override { start_reading(); }
  void pause_producing() override { stop_reading(); }
  void stop_producing() override { lose_connection(); }

  /// The name that log lines begin with.
  const std::string& log_prefix() const { return log_prefix_; }
  void set_log_prefix(std::string prefix) { log_prefix_ = std::move(prefix); }

 protected:
  /// Hook: all that was queued when `lose_connection` was called is out.
  virtual void post_lose_connection() {}
  /// Hook: the writing side may close now.
  virtual void close_write_connection() {}
  /// True while it may read and take producers.
  virtual bool is_open() const { return fileno() >= 0; }
  /// True while its writing side is, too: a producer may be registered.
  virtual bool is_open_for_writing() const { return is_open(); }
  /// Called after the producer has been unregistered.
  virtual void producer_gone() {}

  /// Has the reactor call `flush` once, at its end of this cork. Idempotent. Precondition: the reactor is
  /// corked.
  void flush_when_uncorked() {
    if (!gathering_) begin_gathering();
  }

  /// Registers with the reactor; `detach` undoes it. For descriptors that open and close.
  void attach();
  void detach() noexcept;

  bool has_pull_producer() const { return producer_ != nullptr && producer_kind_ == ProducerKind::pull; }
  /// Pauses, or resumes, a push producer; each only if it is not so already.
  void pause_producer();
  void resume_producer();
  /// Lets a pull producer write one portion.
  virtual void pull_from_producer();
  /// Unregisters the producer and tells it to stop.
  void stop_producer();

 private:
  friend Reactor;
  void begin_gathering();
  void forget_flush() noexcept;

  Reactor& reactor_;
  bool attached_ = false;
  bool gathering_ = false;
  bool reading_ = false;
  bool writing_ = false;
  Producer* producer_ = nullptr;
  ProducerKind producer_kind_ = ProducerKind::push;
  bool producer_paused_ = false;
  std::string log_prefix_;
};

}  // namespace tunport
