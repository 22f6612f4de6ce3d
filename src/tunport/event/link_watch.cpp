#include "tunport/event/link_watch.hpp"

#include <optional>
#include <utility>

#include "tunport/base/throwing.hpp"

namespace tunport {

/// Makes events of notices. Outlives the watch during a delivery: the handler may destroy the watch.
class LinkWatch::Teller {
 public:
  explicit Teller(Handler handler) : handler_{std::move(handler)} {}

  void read(const LinkNotice& notice, const Lifeline::Watch& alive) {
    using enum LinkNotice::Kind;
    switch (notice.kind) {
      case state:
        return compare(std::exchange(known_, notice.link), alive);
      case addresses:
        return tell_if(known_.has_value(), LinkEvent::addresses_changed, alive);
      case moved:
        return tell_if(true, LinkEvent::moved, alive);
      case deleted:
        return tell_if(true, LinkEvent::deleted, alive);
      case lost:
        lost_ = true;
        return;
    }
  }

 private:
  void tell_if(bool is_due, LinkEvent event, const Lifeline::Watch& alive) {
    if (is_due && alive.alive()) handler_(event, known_ ? *known_ : LinkInfo{});
  }

  /// Tells the changes since `before`; without a state of before, or after a loss, the present state.
  void compare(const std::optional<LinkInfo>& before, const Lifeline::Watch& alive) {
    const LinkInfo& now = *known_;
    const bool again = std::exchange(lost_, false) || !before;
    tell_if(before && before->name != now.name, LinkEvent::renamed, alive);
    tell_if(before && before->mtu != now.mtu, LinkEvent::mtu_changed, alive);
    tell_if(again || before->up != now.up, now.up ? LinkEvent::up : LinkEvent::down, alive);
    tell_if(before && before->carrier != now.carrier,
            now.carrier ? LinkEvent::carrier_found : LinkEvent::carrier_lost, alive);
    tell_if(again && before, LinkEvent::addresses_changed, alive);
  }

  Handler handler_;
  std::optional<LinkInfo> known_;
  bool lost_ = false;  // notices, since the last state
};

LinkWatch::LinkWatch(Reactor& reactor, const Link& link, Handler handler)
    : reactor_{reactor},
      teller_{std::make_shared<Teller>(std::move(handler))},
      monitor_{throwing(link.name(),
                        [&](std::error_code& ec) { return link.system().monitor(link.name(), ec); })} {
  reactor_.add(*this);
}

LinkWatch::~LinkWatch() { reactor_.remove(*this); }

void LinkWatch::do_read() {
  const Lifeline::Watch alive{lifeline_};
  const std::shared_ptr<Teller> teller = teller_;
  for (const LinkNotice& notice : monitor_->take()) {
    teller->read(notice, alive);
    if (!alive.alive()) return;
  }
}

}  // namespace tunport
