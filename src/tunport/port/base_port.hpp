#pragma once
/// The common part of all ports: start, bursts, write queue, orderly end, counters.
///
/// Theory. A port is closed, listening, losing (an orderly end was asked for and the queue drains), ending
/// (the end is decided), and closed again; a closed port can be started anew. `start_listening` opens
/// (`bind_device`), watches, and connects the protocol (`connect_to_protocol`); after a failure nothing stays
/// open. The reactor carries out the end, so no caller finds the port gone under its call. From the decision
/// on, the descriptor is not watched: a dead device cannot spin the loop. In the next turn `connection_lost`
/// runs, once: the producer and the protocol are stopped, the descriptor is closed, completions and the
/// handler are called.
///
/// A burst: when the reactor reports readable, packets are read one by one, each delivered before the next is
/// read, until the device is empty, reading is paused, the port ends, or the budget is spent
/// (`burst_packets`, `max_throughput`). Packets are read into the slab, which belongs to the port and is
/// allocated once; a protocol borrows them. The reactor is corked during the burst, and flushed at its end.
/// Until then no read overwrites a packet that a port has gathered by reference
/// (`PacketOrigin::referred_to`). Packets without references are read to the same place one after the other,
/// to stay in the cache. Any callback may pause, stop or destroy the port, so code that runs callbacks holds
/// a `Lifeline::Watch`. A pause takes effect after the packet being delivered; a super-packet counts as one
/// packet. A stop and the port's end take effect at once: the rest of a super-packet is dropped as `aborted`.
/// With `moderation`, the port sleeps at the end of a burst that took all there was.
///
/// Every write goes through the `Outbox` of the kind of port, and is gathered, sent or queued there. A queue
/// drains when the reactor reports writable, and is tried at intervals besides: a link that is down withholds
/// writability, and without the tries the queue would burst out an hour later. A try meets the link's EIO,
/// and the queue is dropped and counted. The consequences of a change of the outbox are decided in one place,
/// `outbox_changed`, which may run callbacks and destroy the port.

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
  /// Bytes of space before each packet in memory, for the framing on a descriptor.
  static constexpr std::size_t headroom = max_framing;

  /// Called after the end of a port. No error for an end by the program, else the reason
  /// (`Errc::device_gone`).
  using LostHandler = std::function<void(const std::error_code& reason)>;

  ~BasePort() override;

  /// Opens, watches, connects the protocol. Throws `CannotListenError` (`Errc::already_listening`, or the
  /// error of opening; trying again helps if `is_transient(code())`), or the exception of `start_protocol`.
  /// After an exception nothing is open.
  void start_listening();
  /// As the throwing form, with errors of the system in `ec`. Exceptions of `start_protocol` are thrown here
  /// too.
  void start_listening(std::error_code& ec);
  /// Ends now: queued packets are dropped and counted as `aborted`. The reactor calls `completion`, without
  /// an error, after the end, also if the port was closed already. Idempotent.
  void stop_listening(std::function<void()> completion = {});
  /// Ends in order, within `linger`: reading stops, the queue drains, a registered producer finishes.
  /// Idempotent; no effect on a closed port.
  void lose_connection() override;
  /// Ends writing once a registered producer has finished and the queue has drained. Without a producer,
  /// further writes are refused at once (`not_listening`). Reading goes on.
  void lose_write_connection() override;
  /// Carries out the end. The reactor calls `connection_lost`, once for each start; overriders call the
  /// base's.
  void connection_lost(const std::error_code& reason) override;
  /// Sets the handler of the end. The handler is called last of all, and may restart or destroy the port.
  void on_connection_lost(LostHandler handler) {
    lost_handler_ = handler ? std::make_shared<const LostHandler>(std::move(handler)) : nullptr;
  }

  /// True from a successful start until an end is asked for or decided.
  bool listening() const { return state_ == State::listening; }

  /// Runs one burst; with `spin`, for as long as packets come within that time. Throws std::logic_error from
  /// inside a burst of the same port. No effect unless listening and reading.
  void do_read() override;
  /// Drains the queue, and lets a pull producer write. Throws std::logic_error if the port has neither and
  /// does not watch for writing.
  void do_write() override;
  /// Sends what was gathered. The reactor calls `flush` when the last `Cork` goes.
  void flush() override;

  /// Makes a non-blocking, close-on-exec socket by the port's system. Throws `Error` with the errno of
  /// socket(2); trying again helps if `is_transient(code())`.
  UniqueFd create_internet_socket(int domain, int type);

  /// Counts the exception being handled as an exception of the protocol, and logs at a limited rate, with the
  /// name of the thrower. For code that delivers in the port's place; in a catch block only.
  void note_exception() { note_exception(&protocol()); }

  /// The port's counters since it was made. Valid as long as the port.
  const Statistics& statistics() const { return statistics_; }
  /// Bytes of the queue, book-keeping included.
  std::size_t queued_bytes() const { return outbox().queued_bytes(); }
  /// The options given to the constructor.
  const PortOptions& options() const { return options_; }

 protected:
  /// A burst on its way: its place in the slab, and its budget.
  class Burst {
   public:
    /// True while another packet is to be read.
    bool goes_on() const {
      return alive() && port_.reading() && packets_ < burst_packets && bytes_ < port_.options_.max_throughput;
    }
    /// False once a callback has destroyed the port.
    bool alive() const { return watch_.alive(); }
    /// The space for the next packet.
    MutableBytes space() const { return space_.subspan(used_, packet_space_); }
    /// Counts a packet of `size` bytes in `space`. Without a reference, the next packet goes to the same
    /// place, which is in the cache.
    void note(std::size_t size) {
      if (origin_.aborted != 0) count_aborted();
      ++packets_;
      bytes_ += size;
      if (origin_.referred_to) used_ = end_of(used_, size);
    }
    /// The packets that the burst has room for.
    std::size_t room() const { return burst_packets - packets_; }
    /// The packets read.
    std::size_t packets() const { return packets_; }

   private:
    friend BasePort;
    Burst(BasePort& port, const Lifeline::Watch& watch);
    /// The place of the next packet in a slab, after a packet of `size` bytes at `begin`: a multiple of 16,
    /// to align the headers.
    static constexpr std::size_t end_of(std::size_t begin, std::size_t size) {
      return begin + (headroom + size + 1 + 15) / 16 * 16;
    }
    void count_aborted();

    BasePort& port_;
    const Lifeline::Watch& watch_;
    PacketOrigin& origin_;
    MutableBytes space_;
    std::size_t packet_space_;
    std::size_t used_ = 0;
    std::size_t packets_ = 0;
    std::size_t bytes_ = 0;
  };

  /// Throws std::invalid_argument for options that are negative, too large, or contradict each other.
  BasePort(Reactor& reactor, PortOptions options);

  // The part of each kind of port.

  /// Opens what is read and written. Returns the space for reading a packet, in bytes.
  virtual std::size_t bind_device(std::error_code& ec) = 0;
  /// Closes what `bind_device` opened.
  virtual void close_device() noexcept = 0;
  /// Connects and starts the protocol. An exception makes the start fail.
  virtual void connect_to_protocol() = 0;
  /// Stops and disconnects the protocol. An exception is counted.
  virtual void disconnect_protocol() = 0;
  /// Reads and delivers packets while `burst` goes on. Returns the errno that ended the burst, or 0.
  virtual int receive_packets(Burst& burst) = 0;
  /// The body of `receive_packets`. `receive(space)` reads a packet into `space`, at `headroom`, and delivers
  /// it; returns the packet's bytes, or a negated errno; must not touch the port after delivering. Inlined
  /// with its system call: each frame between system call and loop costs some 10 ns a packet.
  template <class Receive>
  static int receive_each(Burst& burst, Receive receive) {
    while (burst.goes_on()) {
      const ssize_t got = receive(burst.space());
      if (!burst.alive()) return 0;
      if (got < 0) return static_cast<int>(-got);
      burst.note(static_cast<std::size_t>(got));
    }
    return 0;
  }
  /// The outbox of all writes.
  virtual AnyOutbox& outbox() const = 0;
  /// The queued write of `ticket` is sent or dropped. Must not run code of users.
  void write_done(Ticket /*ticket*/, const std::error_code& /*ec*/) override {}
  /// The protocol of the port.
  virtual const Protocol& protocol() const = 0;
  /// The name of what is bound, for errors: "tp0".
  virtual std::string subject() const = 0;

  /// True until a start, and after an end.
  bool is_closed() const { return state_ == State::closed; }
  bool is_open() const override { return state_ == State::listening; }
  bool is_open_for_writing() const override { return is_open() && write_end_ == WriteEnd::none; }
  void producer_gone() override;

  void pull_from_producer() override;

  /// Drops the queue, counted as `reason`. May destroy the port.
  void drop_queue(DropReason reason);
  /// True: the link is up, and the port is told when the link goes down. False, the default: a waiting queue
  /// is tried now and then, because a link that is down withholds writability.
  void set_down_is_told(bool told) { down_is_told_ = told; }

  /// The origin of the packet being delivered. Precondition: the port was started once.
  PacketOrigin& packet_origin() const;

  /// Runs code of `protocol`, or of the producer if that is null: an exception is counted, and logged at a
  /// limited rate.
  template <class Call>
  void guarded(const Protocol* protocol, Call call) {
    const Lifeline::Watch watch{lifeline_};
    try {
      call();
    } catch (...) {
      if (watch.alive()) note_exception(protocol);
    }
  }

  /// For destructors, while the virtual functions are still there: stops watching, stops the producer and the
  /// protocol, without `connection_lost`.
  void abandon() noexcept;
  /// Decides the end: stops watching, and has the reactor call `connection_lost(reason)`. Throws
  /// std::bad_alloc, with nothing changed, if the reactor has no memory for the call.
  void finish(const std::error_code& reason);

  Statistics statistics_;
  Lifeline lifeline_;

 private:
  enum class State : std::uint8_t { closed, listening, losing, ending };
  /// The progress of `lose_write_connection`: the producer writes on, the queue drains, writing has ended.
  enum class WriteEnd : std::uint8_t { none, asked, flushing, done };

  /// The memory that packets are read into.
  struct Slab;
  /// The timers of a port: each is cancelled at the end.
  struct Timers {
    Reactor::Timer end;     // carries out a decided end
    Reactor::Timer linger;  // ends an orderly end that takes too long
    Reactor::Timer retry;   // tries a queue
    Reactor::Timer rest;    // ends a rest from reading
    Reactor::Timer turn;    // continues a spin after other descriptors' turns
  };

  void flush_later() override { flush_when_uncorked(); }
  void drain_later() override;
  void outbox_changed() override;

  void note_exception(const Protocol* protocol) noexcept;
  /// As `finish`, where an exception would lose what was done before. The next event of the descriptor, or
  /// the next call of the program, ends the port otherwise.
  void finish_if_possible(const std::error_code& reason) noexcept;
  void open_slab(std::size_t packet_space);
  int read_packets(Burst& burst);
  /// Stops reading for a while: the descriptor stays readable after an error, and the loop would spin.
  void rest();
  /// Sends what was gathered. False if the device is gone: the end is decided.
  bool send_gathered();
  void end_writing_if_done();
  void finish_if_flushed();
  /// Stops everything, tells the producer and the protocol, and closes. False if a callback destroyed the
  /// port.
  bool tear_down(DropReason reason);
  void disconnect();

  PortOptions options_;
  State state_ = State::closed;
  bool connected_ = false;  // to the protocol
  WriteEnd write_end_ = WriteEnd::none;
  std::uint64_t lives_ = 0;  // starts so far
  bool in_burst_ = false;
  bool down_is_told_ = false;
  bool tearing_down_ = false;  // the producer and the protocol are being stopped
  std::size_t packet_space_ = 0;
  std::shared_ptr<Slab> slab_;  // held by a burst too: its packets outlive the port
  Timers timers_;
  std::vector<std::function<void()>> stop_completions_;
  std::shared_ptr<const LostHandler> lost_handler_;  // held by a call of the handler too
  std::unique_ptr<TokenBucket> exception_log_;
};

}  // namespace tunport
