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
/// What is written goes through an `Outbox`, which the kind of port brings: it gathers, sends and queues. A
/// queue drains when the reactor says writable, and is tried at intervals besides: a link that is down
/// withholds writability, and a queue that waited for it would burst out an hour later. The try meets the
/// link's EIO, and the queue is dropped and counted. What follows from a change of the outbox is decided at
/// one place, `outbox_changed`, which may run callbacks and destroy the port.

#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "tunport/base/lifeline.hpp"
#include "tunport/base/unique_fd.hpp"
#include "tunport/event/file_descriptor.hpp"
#include "tunport/port/outbox_owner.hpp"
#include "tunport/port/packet.hpp"
#include "tunport/port/port_options.hpp"
#include "tunport/port/protocol.hpp"
#include "tunport/port/statistics.hpp"

namespace tunport {

class TokenBucket;

/// See the theory above. Members carry the reference's names; docs/twisted.md has the table.
class BasePort : public FileDescriptor, protected OutboxOwner {
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
  /// Sends what was gathered. The reactor calls it when it is uncorked.
  void flush() override;

  /// A non-blocking, close-on-exec socket of the port's system. Throws `Error`.
  UniqueFd create_internet_socket(int domain, int type);

  /// Counts the exception that is being handled as one of the protocol, and logs it within reason. For those
  /// who deliver for the port; in a catch block only.
  void note_exception();

  const Statistics& statistics() const { return statistics_; }
  /// Bytes that wait in the queue.
  std::size_t queued_bytes() const { return outbox().queued_bytes(); }
  const PortOptions& options() const { return options_; }

 protected:
  /// Throws std::invalid_argument for options that contradict each other, or are negative.
  BasePort(Reactor& reactor, PortOptions options);

  // What a kind of port brings.

  /// Opens what is read and written. Returns the space that one packet takes when it is read, in bytes.
  virtual std::size_t bind_device(std::error_code& ec) = 0;
  virtual void close_device() noexcept = 0;
  /// Tells the protocol that it is connected. What it throws makes the start fail.
  virtual void connect_to_protocol() = 0;
  virtual void disconnect_protocol() = 0;
  /// Reads one packet into `space`, at `headroom`, and delivers it. Returns its bytes, or a negated errno.
  /// Nothing of the port may be touched after delivering.
  virtual ssize_t receive_packet(MutableBytes space) = 0;
  /// What all writes go through.
  virtual AnyOutbox& outbox() const = 0;
  /// A write with a ticket, which was queued, has met its fate. Must not run code of users.
  void write_done(Ticket /*ticket*/, const std::error_code& /*ec*/) override {}
  /// What is bound, for errors: "tp0".
  virtual std::string subject() const = 0;

  bool is_open() const override { return state_ == State::listening; }
  bool is_open_for_writing() const override { return is_open() && write_end_ == WriteEnd::none; }
  void producer_gone() override;

  void pull_from_producer() override;

  /// Of the packet that is being delivered. Precondition: was started once.
  PacketOrigin& packet_origin() const;

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

  Statistics statistics_;
  Lifeline lifeline_;

 private:
  enum class State : std::uint8_t { closed, listening, losing, ending };
  /// How far `lose_write_connection` has come: the producer writes on, the queue drains, it is done.
  enum class WriteEnd : std::uint8_t { none, asked, flushing, done };

  /// Where packets are read to.
  struct Slab;
  /// All that the end of a port cancels.
  struct Timers {
    Reactor::Timer end;     // carries out the end that was decided
    Reactor::Timer linger;  // an orderly end waits no longer
    Reactor::Timer retry;   // a queue that waits is tried
    Reactor::Timer turn;    // a port that spins goes on after others had their turn
  };

  void flush_later() override { flush_when_uncorked(); }
  void drain_later() override;
  void outbox_changed() override;

  void open_slab(std::size_t packet_space);
  int read_packets(const Lifeline::Watch& watch, std::size_t& packets);
  /// What was gathered goes out. False if the device turned out to be gone: the end is decided.
  bool send_gathered();
  void end_writing_if_done();
  void finish_if_flushed();
  /// Ends all that runs, tells the producer and the protocol, and closes. False if that destroyed the port.
  bool tear_down(DropReason reason);
  void disconnect();

  PortOptions options_;
  State state_ = State::closed;
  bool connected_ = false;  // the protocol is
  WriteEnd write_end_ = WriteEnd::none;
  bool in_burst_ = false;
  std::size_t packet_space_ = 0;
  std::shared_ptr<Slab> slab_;  // a burst holds it too: what it borrows outlives the port
  Timers timers_;
  std::vector<std::function<void()>> stop_completions_;
  LostHandler lost_handler_;
  std::unique_ptr<TokenBucket> exception_log_;
};

}  // namespace tunport
