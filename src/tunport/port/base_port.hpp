#pragma once
/// What every port shares: its start, its bursts, its write queue, its orderly end, its counters.
///
/// Theory. A port is closed, listening, losing (its end was asked for in order and its queue drains), ending
/// (the end is decided), and closed again; it can then be started anew. `start_listening` opens
/// (`bind_device`), watches, and connects the protocol (`connect_to_protocol`); whatever fails, nothing stays
/// open. The end is carried out by the reactor, so nobody finds the port gone under its call: from the
/// decision on the descriptor is not watched any more (a dead device cannot spin the loop), and in the next
/// turn `connection_lost` runs, once: the producer and the protocol are stopped, the descriptor is closed,
/// completions and the handler are called.
///
/// A burst: when the reactor says readable, packets are read one by one, each delivered before the next is
/// read, until the device is empty, reading is paused, the port ends, or the budget is spent
/// (`burst_packets`, `max_throughput`). They are read into the slab, which belongs to the port and is
/// allocated once; a protocol borrows them. The reactor is corked meanwhile, and flushed at the end: until
/// then nothing is read over a packet that a port has gathered by reference (`PacketOrigin::referred_to`);
/// others are read to the same place one after the other, which stays in the cache. Any callback may pause,
/// stop or destroy the port: what runs callbacks holds a `Lifeline::Watch`. A pause takes
/// effect after the packet that was read, and a super-packet is one. A stop and the port's end take effect at
/// once: the rest of a super-packet is dropped as `aborted`.
///
/// Writes go straight to the kernel. What it does not take now (EAGAIN) is copied to the queue, bounded in
/// bytes; from then on nothing overtakes the queue. It drains when the reactor says writable, and is tried at
/// intervals besides: a link that is down withholds writability, and a queue that waited for it would burst
/// out an hour later. The try meets the link's EIO, and the queue is dropped and counted.

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/base/lifeline.hpp"
#include "tunport/base/token_bucket.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/file_descriptor.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/port_options.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/statistics.hpp"
#include "tunport/port/write_queue.hpp"
#include "tunport/port/write_result.hpp"

namespace tunport {

/// See the theory above. Members carry the reference's names; docs/twisted.md has the table.
class BasePort : public FileDescriptor {
 public:
  /// Bytes before each packet in memory, for what goes before it on a descriptor.
  static constexpr std::size_t headroom = max_framing;

  /// Told when it is over: no error for an end that was asked for, else why (`Errc::device_gone`).
  using LostHandler = std::function<void(const std::error_code& reason)>;

  ~BasePort() override;

  /// Opens, watches, connects the protocol. Throws `CannotListenError` (`Errc::already_listening`, or what
  /// opening gives; trying again helps if `is_transient(code())`), or what `start_protocol` throws. Nothing
  /// is left open then.
  void start_listening();
  /// The same; errors of the system go to `ec`. What `start_protocol` throws is thrown here too.
  void start_listening(std::error_code& ec);
  /// Ends now: what is queued is dropped and counted as `aborted`. `completion` is called by the reactor when
  /// it is over (also if it was over before), with no error. Idempotent.
  void stop_listening(std::function<void()> completion = {});
  /// Ends in order: reading stops, the queue is flushed, a registered producer is waited for, all within
  /// `linger`. Idempotent; no effect on a closed port.
  void lose_connection() override;
  /// Writing ends once a registered producer is done and the queue is out; without a producer, further writes
  /// are refused at once (`not_listening`). Reading goes on.
  void lose_write_connection() override;
  /// What the reactor calls in the end, once for each start. Overriders call this.
  void connection_lost(const std::error_code& reason) override;
  /// Sets who is told of the end, last of all; may start the port again, or destroy it.
  void on_connection_lost(LostHandler handler) { lost_handler_ = std::move(handler); }

  /// True from a successful start until its end is asked for.
  bool listening() const { return state_ == State::listening; }

  /// One burst; with `spin`, as many packets as come within it. Throws std::logic_error from inside a burst
  /// of this port. No effect unless listening and reading.
  void do_read() override;
  /// Drains the queue, and lets a pull producer write. Throws std::logic_error if neither is there: nobody
  /// asked.
  void do_write() override;
  /// One attempt to write a datagram now, without queueing; zero bytes and `ec` while others are queued
  /// (EAGAIN).
  std::size_t write_some_data(Bytes data, std::error_code& ec) override;

  /// A non-blocking, close-on-exec socket of the port's system. Throws `Error`.
  UniqueFd create_internet_socket(int domain, int type);

  /// Counts the exception that is being handled as one of the protocol, and logs it within reason. For those
  /// who deliver for the port; in a catch block only.
  void note_exception();

  const Statistics& statistics() const { return statistics_; }
  /// Bytes that wait in the queue.
  std::size_t queued_bytes() const { return queue_.bytes(); }
  const PortOptions& options() const { return options_; }

 protected:
  /// Throws std::invalid_argument for options that contradict each other.
  BasePort(Reactor& reactor, PortOptions options);

  /// What a kind of port brings: opening and closing,
  virtual void bind_device(std::error_code& ec) = 0;
  virtual void close_device() noexcept = 0;
  /// telling the protocol that it is connected, and that it is not any more,
  virtual void connect_to_protocol() = 0;
  virtual void disconnect_protocol() = 0;
  /// how much space one packet needs, in bytes; asked while open,
  virtual std::size_t packet_space() const { return options_.max_packet_size + 1; }
  /// reading one packet into `space`, at `headroom`, and delivering it (its bytes, or a negated errno;
  /// nothing of the port may be touched after delivering),
  virtual ssize_t receive_packet(MutableBytes space) = 0;
  /// and giving the kernel one datagram, or what was queued as one. Zero, and it is counted, or a positive
  /// errno.
  virtual int transmit(std::span<const Bytes> parts) = 0;
  /// The same for a datagram as it is, with nothing queued about it.
  virtual int transmit_plain(Bytes data) { return transmit({&data, 1}); }
  /// What `flush` does, but calls nobody: for whoever goes on with the port.
  virtual void flush_quietly() {}
  /// What is bound, for errors: "tp0".
  virtual std::string subject() const = 0;

  bool is_open() const override { return state_ == State::listening; }
  bool is_open_for_writing() const override { return is_open() && write_end_ == WriteEnd::none; }
  void producer_gone() override;

  /// Of the packet that is being delivered. Precondition: was started once.
  PacketOrigin& packet_origin() { return slab_->origin; }

  /// Sends or queues one datagram, already checked. With a `ticket`, its fate after queueing goes to
  /// `ticket_done`.
  WriteResult submit(std::span<const Bytes> parts, std::uint64_t ticket = 0);
  /// True unless it is over, or the writing side is.
  bool takes_writes() const {
    return write_end_ <= WriteEnd::asked && (state_ == State::listening || state_ == State::losing);
  }
  /// `submit` in its steps, for a port that knows a shorter way to its kernel than `transmit`: true if a
  /// datagram may go there at once,
  bool may_transmit() const { return queue_.empty() && takes_writes(); }
  /// it has gone, which counts it,
  WriteResult note_sent(std::size_t size, std::size_t datagrams = 1) {
    statistics_.packets_out += datagrams;
    statistics_.bytes_out += size;
    return WriteResult::make_sent();
  }
  /// or it has not, by a positive errno; EAGAIN if it was not tried. Pauses the producer last of all, which
  /// may destroy the port.
  WriteResult not_sent(int error, std::span<const Bytes> parts, std::uint64_t ticket = 0,
                       std::size_t datagrams = 1);
  /// What becomes of a datagram (or so many in one) that the kernel did not take, by a positive errno: it is
  /// queued, or dropped and counted. Calls nobody: afterwards, `pause_producer_if_high`.
  WriteResult settle(int error, std::span<const Bytes> parts, std::size_t datagrams = 1,
                     std::uint64_t ticket = 0);
  /// May destroy the port, as it runs the producer's code.
  void pause_producer_if_high();
  /// Counts and returns a refusal.
  WriteResult refuse(DropReason reason, std::size_t datagrams = 1);
  /// How many datagrams the queue's oldest record is.
  virtual std::size_t datagrams_of(Bytes /*record*/) const { return 1; }
  /// What became of the queue's oldest record, which leaves it; 0 if it has no ticket. Must not call the
  /// user's code: it runs amidst the queue.
  virtual void ticket_done(std::uint64_t /*ticket*/, const std::error_code& /*ec*/) {}

  /// Runs protocol code: what it throws is counted, and logged within reason.
  template <class Call>
  void guarded(Call call) {
    const Lifeline::Watch watch{lifeline_};
    try {
      call();
    } catch (...) {
      if (watch.alive()) note_exception();
    }
  }

  /// What a destructor does while the virtual functions are still there: nothing is watched any more, the
  /// producer and the protocol are stopped, without `connection_lost`.
  void abandon() noexcept;
  /// Decides the end: nothing is watched any more, `connection_lost(reason)` follows from the reactor.
  void finish(const std::error_code& reason);

  /// Where packets are read to.
  struct Slab {
    explicit Slab(std::size_t capacity)
        : bytes{std::make_unique_for_overwrite<std::byte[]>(capacity)}, size{capacity} {}
    PacketOrigin origin;
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size;
  };

  /// How often a call that a signal interrupted is tried again.
  static constexpr int interrupted_retries = 8;

  Statistics statistics_;
  Lifeline lifeline_;

 private:
  enum class State : std::uint8_t { closed, listening, losing, ending };
  /// How far `lose_write_connection` has come: the producer writes on, the queue drains, it is done.
  enum class WriteEnd : std::uint8_t { none, asked, flushing, done };

  int read_packets(const Lifeline::Watch& watch, std::size_t& packets);
  void drain();
  void drop_queue(DropReason reason);
  void drained();
  void retry_later();
  void end_writing_if_done();
  void finish_if_flushed();
  void disconnect();

  PortOptions options_;
  State state_ = State::closed;
  bool connected_ = false;  // the protocol is
  WriteEnd write_end_ = WriteEnd::none;
  bool in_burst_ = false;
  std::size_t packet_space_ = 0;
  std::shared_ptr<Slab> slab_;  // a burst holds it too: what it borrows outlives the port
  WriteQueue queue_;
  Reactor::Timer end_timer_;
  Reactor::Timer linger_timer_;
  Reactor::Timer retry_timer_;
  Reactor::Timer turn_timer_;
  std::vector<std::function<void()>> stop_completions_;
  LostHandler lost_handler_;
  TokenBucket exception_log_{1, 5};
};

}  // namespace tunport
