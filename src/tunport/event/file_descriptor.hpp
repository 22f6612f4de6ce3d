#pragma once
/// The abstract descriptor of the reference: two directions, a producer, and an end.
///
/// Theory. A FileDescriptor tells the reactor of each start and stop of reading and writing. A FileDescriptor
/// is a consumer: a producer may be registered, and is paused while the queue is too long. A FileDescriptor
/// is a producer as well: reading can be paused and resumed. The end comes once: `lose_connection` asks for
/// an orderly end; `connection_lost` carries the end out, always called by the reactor, never from inside a
/// user's call. A FileDescriptor is neither copied nor moved, because the registration is its identity; the
/// configuration persists.

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
  /// The reactor is borrowed and outlives the descriptor.
  explicit FileDescriptor(Reactor& reactor) : reactor_{reactor} {}
  ~FileDescriptor() override;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  /// The reactor given to the constructor.
  Reactor& reactor() const { return reactor_; }

  /// Reads what is ready. Default: nothing.
  void do_read() override {}

  /// Sends what was gathered. The reactor calls `flush` when the last `Cork` goes. Default: nothing.
  virtual void flush() {}

  /// Tries once to write now, without queueing. Returns the bytes taken, or zero with `ec` set. Trying again
  /// helps if `is_transient(ec)`.
  virtual std::size_t write_some_data(Bytes data, std::error_code& ec) = 0;

  /// Ends the descriptor. The reactor calls `connection_lost` once; overriders call the base's.
  virtual void connection_lost(const std::error_code& reason) = 0;
  /// Ends the reading side. Default: `connection_lost`.
  virtual void read_connection_lost(const std::error_code& reason) { connection_lost(reason); }
  /// Ends the writing side. Default: `connection_lost`.
  virtual void write_connection_lost(const std::error_code& reason) { connection_lost(reason); }

  /// Ends in order: queued packets are sent first.
  virtual void lose_connection() = 0;
  /// Ends the writing side in order: flushes, then calls `close_write_connection`. Later writes are refused,
  /// reading goes on.
  virtual void lose_write_connection() = 0;

  /// Watches for reading. Idempotent; no effect on a closed descriptor.
  void start_reading();
  /// Stops watching for reading. Idempotent.
  void stop_reading();
  /// Watches for writing. Idempotent; no effect on a closed descriptor.
  void start_writing();
  /// Stops watching for writing. Idempotent.
  void stop_writing();
  /// True while the reactor should watch for reading: a wanted event of a foreign loop.
  bool reading() const final { return reading_ && !resting_; }
  /// True while the reactor should watch for writing: the second wanted event.
  bool writing() const final { return writing_; }

  /// Registers the producer of the writes; `producer` is borrowed until unregistered or stopped. A push
  /// producer is paused above the high mark, and resumed at or below the low mark. A pull producer is resumed
  /// at once, and after its writes when the descriptor takes more. On a closed descriptor `stop_producing` is
  /// called at once. Throws std::logic_error while another producer is registered.
  void register_producer(Producer& producer, ProducerKind kind);
  /// Forgets the producer; a pending end goes on. Idempotent.
  void unregister_producer();
  /// True from `register_producer` until the producer is unregistered or stopped.
  bool has_producer() const { return producer_ != nullptr; }
  /// Takes no more from the producer: unregisters, then calls `lose_connection`.
  void stop_consuming();

  /// As a push producer: starts reading.
  void resume_producing() override { start_reading(); }
  /// As a push producer: stops reading.
  void pause_producing() override { stop_reading(); }
  /// As a push producer: `lose_connection`.
  void stop_producing() override { lose_connection(); }

  /// The prefix of log lines.
  const std::string& log_prefix() const { return log_prefix_; }
  /// Sets the prefix of log lines.
  void set_log_prefix(std::string prefix) { log_prefix_ = std::move(prefix); }

 protected:
  /// Hook: the packets queued before `lose_connection` are sent.
  virtual void post_lose_connection() {}
  /// Hook: the writing side may close now.
  virtual void close_write_connection() {}
  /// True while the descriptor may read and take producers.
  virtual bool is_open() const { return fileno() >= 0; }
  /// True while the writing side is open too: a producer may be registered.
  virtual bool is_open_for_writing() const { return is_open(); }
  /// Called after the producer is unregistered.
  virtual void producer_gone() {}

  /// Has the reactor call `flush` once, when the last `Cork` goes. Idempotent. Precondition: the reactor is
  /// corked.
  void flush_when_uncorked() {
    if (!gathering_) begin_gathering();
  }

  /// Registers with the reactor, for descriptors that open and close. Throws as `Reactor::add`. Idempotent.
  void attach();
  /// True: nothing is read until false or `detach`, whatever `start_reading` says.
  void set_resting(bool resting);
  /// Undoes `attach`. Idempotent.
  void detach() noexcept;

  /// True while a pull producer is registered.
  bool has_pull_producer() const { return producer_ != nullptr && producer_kind_ == ProducerKind::pull; }
  /// Pauses a push producer, unless paused already.
  void pause_producer();
  /// Resumes a push producer, if paused.
  void resume_producer();
  /// Lets a pull producer write one portion.
  virtual void pull_from_producer();
  /// Unregisters the producer and calls its `stop_producing`.
  void stop_producer();

 private:
  friend Reactor;
  void begin_gathering();
  void forget_flush() noexcept;

  Reactor& reactor_;
  bool attached_ = false;
  bool gathering_ = false;
  bool reading_ = false;
  bool resting_ = false;
  bool writing_ = false;
  Producer* producer_ = nullptr;
  ProducerKind producer_kind_ = ProducerKind::push;
  bool producer_paused_ = false;
  std::string log_prefix_;
};

}  // namespace tunport
