#include "gate_connection.hpp"

#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>

#include "tunport/base/error.hpp"

namespace tunport::tool {
namespace {

std::string_view word_for(RelayEnd end) {
  switch (end) {
    case RelayEnd::closed:
      return "closed";
    case RelayEnd::reset_by_a:
      return "reset by the client";
    case RelayEnd::reset_by_b:
      return "reset by the server";
    case RelayEnd::idle:
      return "idle";
    case RelayEnd::cancelled:
      return "cancelled";
    case RelayEnd::failed:
      break;
  }
  return "failed";
}

std::string_view word_for(GateRefusal refusal) {
  switch (refusal) {
    case GateRefusal::reset:
      return "refused";
    case GateRefusal::host_unreachable:
      return "unreachable";
    case GateRefusal::network_unreachable:
      return "network unreachable";
    case GateRefusal::prohibited:
      return "prohibited";
    case GateRefusal::drop:
      break;
  }
  return "dropped";
}

/// UTC, to the millisecond: "2026-11-27T10:00:00.123Z".
std::string text_of(std::chrono::system_clock::time_point time) {
  const auto since = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(since / 1000)),
                     since % 1000);
}

}  // namespace

std::string to_json(const ConnectionRecord& record) {
  nlohmann::ordered_json line{
      {"begun", text_of(record.begun)},     {"ended", text_of(std::chrono::system_clock::now())},
      {"source", to_string(record.source)}, {"destination", to_string(record.destination)},
      {"target", to_string(record.target)}, {"bytes_out", record.bytes_out},
      {"bytes_in", record.bytes_in},        {"end", record.end}};
  if (!record.name.empty()) line["name"] = record.name;
  return line.dump();
}

GateConnection::GateConnection(Reactor& reactor, PipePool& pipes, GateRequest request,
                               const GateTarget& target, Proxy* proxy, std::string name)
    : reactor_{reactor},
      pipes_{pipes},
      request_{std::move(request)},
      refusal_{target.refusal},
      proxy_{proxy},
      record_{.source = request_.source(),
              .destination = request_.destination(),
              .target = target.endpoint,
              .name = std::move(name),
              .begun = std::chrono::system_clock::now(),
              .end = {}} {}

/// A server whose client has gone before the relay is told by a reset: nothing was complete.
GateConnection::~GateConnection() {
  constexpr linger reset{.l_onoff = 1, .l_linger = 0};
  if (outer_) ::setsockopt(outer_.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

void GateConnection::start(Ended ended) {
  ended_ = std::move(ended);
  if (refusal_) {
    request_.refuse(*refusal_);
    over_ = reactor_.call_later(Duration::zero(), [this] { end(std::string{word_for(*refusal_)}); });
    return;
  }
  auto done = [this](const std::error_code& ec, UniqueFd socket) { connected(ec, std::move(socket)); };
  if (proxy_ != nullptr)
    connecting_ = std::make_unique<ProxyConnection>(
        reactor_, *proxy_, ProxyRequest{.destination = record_.target, .name = record_.name}, done);
  else
    connecting_ = std::make_unique<OuterConnection>(reactor_, record_.target, done);
}

void GateConnection::look_after_client() {
  if (!refusal_ && !outer_ && !relay_ && !request_) end("the client has gone");
}

void GateConnection::connected(const std::error_code& ec, UniqueFd socket) {
  if (ec) {
    request_.refuse(refusal_for(ec));
    return end("connect: " + cause(ec));
  }
  outer_ = std::move(socket);
  request_.accept([this, life = std::weak_ptr{life_}](const std::error_code& failed, UniqueFd client) {
    if (!life.expired()) accepted(failed, std::move(client));
  });
}

void GateConnection::accepted(const std::error_code& ec, UniqueFd socket) {
  if (ec) return end("the client has gone");
  try {
    relay_ = std::make_unique<Relay>(
        reactor_, pipes_, std::move(socket), std::move(outer_), RelayOptions{.progress = &progress_},
        [this](const std::error_code& failed, const RelayResult& result) {
          record_.bytes_out = result.a_to_b;
          record_.bytes_in = result.b_to_a;
          end(failed && result.end == RelayEnd::failed ? cause(failed) : std::string{word_for(result.end)});
        });
  } catch (const Error& error) {
    end(error.what());
  }
}

ConnectionRecord GateConnection::cut_off() const {
  ConnectionRecord record = record_;
  record.bytes_out = progress_.a_to_b;
  record.bytes_in = progress_.b_to_a;
  record.end = "cut off";
  return record;
}

void GateConnection::end(const std::string& how) {
  record_.end = how;
  const Ended ended = std::move(ended_);
  const ConnectionRecord record = record_;
  ended(record);  // may destroy us
}

}  // namespace tunport::tool
