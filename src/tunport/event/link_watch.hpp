#pragma once
/// The events of an interface, on a reactor.

#include <functional>
#include <memory>

#include "tunport/base/lifeline.hpp"
#include "tunport/device/link.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// Tells the events of an interface, also after a rename. A port has a watch of its own, and tells the
/// protocol (`FrameProtocol::link_changed`); a class for other programs and other interfaces.
///
///     LinkWatch watch{reactor, port.device().link(), [](LinkEvent event, const LinkInfo& link) {
///       std::cout << link.name << ": " << to_string(event) << '\n';
///     }};
///
/// For the reactor's thread. A watch needs no privilege in the caller's network namespace, and ends with the
/// interface: nothing follows `moved` and `deleted`.
class LinkWatch final : public Watched {
 public:
  /// Called with the present state (`up` or `down`), then with each change, and the state of the interface
  /// after the change (before `moved` and `deleted`). Kernels lose notices when a program does not read them:
  /// then the present state is told again, as are the addresses. May destroy the watch.
  using Handler = std::function<void(LinkEvent event, const LinkInfo& link)>;

  /// Watches the interface of `link`, in the interface's own namespace. The reactor is borrowed, and calls
  /// `handler`; the constructor does not. Throws `Error`: `no_such_device`, `namespace_denied`, or the errno
  /// of a netlink socket (EMFILE: no descriptor is left).
  LinkWatch(Reactor& reactor, const Link& link, Handler handler);
  ~LinkWatch() override;
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  /// The descriptor of the notices.
  int fileno() const override { return monitor_->fileno(); }
  /// True.
  bool reading() const override { return true; }
  /// False.
  bool writing() const override { return false; }
  /// Takes the notices that have come.
  void do_read() override;
  /// No effect.
  void do_write() override {}
  /// Takes note of a loss of notices, which is the error of a netlink socket.
  void do_error() override { do_read(); }

 private:
  class Teller;

  Reactor& reactor_;
  std::shared_ptr<Teller> teller_;  // held by a delivery too
  std::unique_ptr<LinkMonitor> monitor_;
  Lifeline lifeline_;
};

}  // namespace tunport
