#pragma once
/// The state of an interface, as events of a reactor.
///
/// Theory. The kernel sends a message to the group RTNLGRP_LINK of rtnetlink at each change of an interface
/// (linux/rtnetlink.h). A watch joins the group, then asks for the present state, so that no change falls in
/// between. A socket that is read too late loses messages (ENOBUFS). The watch then forgets the state, and
/// asks again: after a lost change and its undoing, the state is told once more.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "tunport/base/lifeline.hpp"
#include "tunport/device/link.hpp"
#include "tunport/event/reactor.hpp"

namespace tunport {

/// The state of an interface.
enum class LinkState : std::uint8_t {
  down,  ///< set down: packets are refused
  up,    ///< set up (IFF_UP): packets are taken
  gone,  ///< deleted, or moved to another namespace
};

/// Tells the states of an interface, also after a rename.
///
///     LinkWatch watch{reactor, port.device().link(), [&](LinkState state) {
///       if (state == LinkState::up) host.announce(port);
///     }};
///
/// For the reactor's thread. A watch needs no privilege in the caller's network namespace.
class LinkWatch final : public Watched {
 public:
  /// Called with the present state, then with each change; after a loss of messages also with the state of
  /// before. May destroy the watch.
  using Handler = std::function<void(LinkState state)>;

  /// Watches the interface of `link`, in the interface's own namespace. The reactor is borrowed, and calls
  /// `handler`; the constructor does not. Throws `Error`: `no_such_device`, `namespace_denied`, or the errno
  /// of a netlink socket (EMFILE: no descriptor is left).
  LinkWatch(Reactor& reactor, const Link& link, Handler handler);
  ~LinkWatch() override;
  LinkWatch(const LinkWatch&) = delete;
  LinkWatch& operator=(const LinkWatch&) = delete;

  /// The netlink socket.
  int fileno() const override;
  /// True.
  bool reading() const override { return true; }
  /// False.
  bool writing() const override { return false; }
  /// Takes the messages that have come.
  void do_read() override;
  /// No effect.
  void do_write() override {}
  /// Takes note of a loss of messages, which is the error of a netlink socket.
  void do_error() override { do_read(); }

 private:
  struct Socket;

  Reactor& reactor_;
  Handler handler_;
  std::unique_ptr<Socket> socket_;
  std::optional<LinkState> known_;
  Lifeline lifeline_;
};

}  // namespace tunport
