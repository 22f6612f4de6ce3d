#pragma once
/// A reactor on an executor of Asio: the common part of `AsioReactor` and `BoostAsioReactor`. Header-only:
/// the user's own Asio compiles the reactor.
///
/// Theory. `async_wait` watches a descriptor. Asio's reads are not used: they turn an empty packet into an
/// end of file and break packet boundaries. Up to three waits are outstanding. The wait for errors is always
/// there, also while the descriptor is paused: without an armed event the kernel does not report a deleted
/// device. Waits for reading and writing follow the wanted directions. An unwanted wait is not cancelled but
/// completes once in vain at the most, so pausing is free. Asio reuses the state of a removed descriptor, so
/// the next descriptor may get an event of the former. Reading and writing in vain is harmless; an error is
/// checked with poll(2) before `do_error`. The context keeps running while a descriptor is watched or a timer
/// is pending.

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include <poll.h>

#include "tunport/base/error.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// See the theory above. `Asio` names the types of standalone Asio or of Boost.Asio.
template <class Asio>
class BasicAsioReactor final : public Reactor {
  using Descriptor = typename Asio::descriptor;
  using Delay = typename Asio::timer;

 public:
  using executor_type = typename Asio::executor;

  /// On a context, which outlives the reactor, and which one thread runs.
  explicit BasicAsioReactor(typename Asio::context& context) : executor_{context.get_executor()} {}
  /// On an executor: of a context that one thread runs, or a strand. The ports are used from the strand only.
  explicit BasicAsioReactor(executor_type executor) : executor_{std::move(executor)} {}

  /// The executor on which everything runs.
  executor_type get_executor() const { return executor_; }

  void add(Watched& fd) override {
    auto watch = std::make_shared<Watch>(executor_, fd);
    typename Asio::error_code ec;
    watch->descriptor.assign(fd.fileno(), ec);  // EEXIST, EPERM: not a watchable descriptor
    if (ec) throw Error{errno_code(ec.value()), "descriptor " + std::to_string(fd.fileno())};
    watches_[&fd] = watch;
    Watch::arm_error(watch);
    update(fd);
  }

  void remove(Watched& fd) noexcept override {
    const auto found = watches_.find(&fd);
    if (found == watches_.end()) return;
    found->second->fd = nullptr;
    found->second->descriptor.release();  // the owner closes the descriptor
    watches_.erase(found);
  }

  void update(Watched& fd) override {
    const auto found = watches_.find(&fd);
    if (found == watches_.end()) return;
    Watch::arm_read(found->second);
    Watch::arm_write(found->second);
  }

  TimePoint now() const override { return Clock::now(); }
  void post(std::function<void()> call) override { Asio::post(executor_, std::move(call)); }

 protected:
  std::uint64_t start_timer(Duration delay, std::function<void()> call) override {
    const std::uint64_t id = ++last_timer_;
    auto timer = std::make_unique<Delay>(executor_, delay);
    // An expired wait may be queued already when its timer is cancelled or the reactor is destroyed.
    timer->async_wait(
        [timers = std::weak_ptr{timers_}, id, call = std::move(call)](const typename Asio::error_code& ec) {
          const auto there = timers.lock();
          if (ec || !there || there->erase(id) == 0) return;
          call();
        });
    timers_->emplace(id, std::move(timer));
    return id;
  }

  void cancel_timer(std::uint64_t id) noexcept override { timers_->erase(id); }

 private:
  struct Watch {
    Watch(const executor_type& executor, Watched& watched) : descriptor{executor}, fd{&watched} {}

    using Ptr = std::shared_ptr<Watch>;  // held by the waits, so that they may outlive the registration

    static void arm_error(const Ptr& watch) {
      watch->descriptor.async_wait(Descriptor::wait_error, [watch](const typename Asio::error_code& ec) {
        if (ec || watch->fd == nullptr) return;
        if (watch->has_error()) watch->fd->do_error();
        if (watch->fd != nullptr) arm_error(watch);
      });
    }
    bool has_error() {
      pollfd entry{descriptor.native_handle(), POLLPRI, 0};
      return ::poll(&entry, 1, 0) == 1;
    }
    static void arm_read(const Ptr& watch) {
      if (watch->read_armed || !watch->fd->reading()) return;
      watch->read_armed = true;
      watch->descriptor.async_wait(Descriptor::wait_read, [watch](const typename Asio::error_code& ec) {
        watch->read_armed = false;
        if (ec || watch->fd == nullptr || !watch->fd->reading()) return;
        watch->fd->do_read();
        if (watch->fd != nullptr) arm_read(watch);
      });
    }
    static void arm_write(const Ptr& watch) {
      if (watch->write_armed || !watch->fd->writing()) return;
      watch->write_armed = true;
      watch->descriptor.async_wait(Descriptor::wait_write, [watch](const typename Asio::error_code& ec) {
        watch->write_armed = false;
        if (ec || watch->fd == nullptr || !watch->fd->writing()) return;
        watch->fd->do_write();
        if (watch->fd != nullptr) arm_write(watch);
      });
    }

    Descriptor descriptor;
    Watched* fd;
    bool read_armed = false;
    bool write_armed = false;
  };

  using Timers = std::unordered_map<std::uint64_t, std::unique_ptr<Delay>>;

  executor_type executor_;
  std::unordered_map<Watched*, typename Watch::Ptr> watches_;
  std::shared_ptr<Timers> timers_ = std::make_shared<Timers>();
  std::uint64_t last_timer_ = 0;
};

}  // namespace tunport
