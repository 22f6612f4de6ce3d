#pragma once
/// What is said between the gate and a proxy before the bytes of a connection.
///
/// Theory. No sockets: the caller sends `to_send`, and gives received bytes to `receive`, which tells how
/// many of them it has taken. So bytes behind the handshake, the first of the connection, stay with the
/// caller. SOCKS5 (RFC 1928): the methods, user and password (RFC 1929) if the proxy wants them, then the
/// request; each answer says its own length in its first bytes. HTTP: one request, and an answer up to the
/// empty line; answers 1xx are skipped. Lengths are never trusted beyond the buffers here: an answer of
/// SOCKS5 has at most 262 bytes, all answers of an HTTP proxy together 16 KiB.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

#include "upstream.hpp"

namespace tunport::tool {

/// What a proxy is asked for.
struct ProxyRequest {
  Endpoint destination = {};  ///< the address does not count with a name
  std::string name = {};      ///< the destination by name; empty: by address. `is_host_name` holds.
  bool associates = false;    ///< datagrams instead of a connection: SOCKS5 only
};

/// One handshake.
class ProxyHandshake {
 public:
  enum class State : std::uint8_t { going_on, done, failed };

  ProxyHandshake(const Upstream& proxy, const ProxyRequest& request);

  State state() const { return state_; }
  /// The bytes that wait to be sent.
  Bytes to_send() const { return as_bytes(out_).subspan(sent_); }
  /// `count` of them were sent.
  void sent(std::size_t count) { sent_ += count; }
  /// Takes received bytes, and returns how many: all of them, unless the handshake is over.
  std::size_t receive(Bytes bytes);
  /// The connection has ended before the handshake.
  void end_of_stream();

  /// The errno for the client of a failed handshake. A fault of the proxy itself is ECONNREFUSED.
  int error() const { return error_; }
  /// What is wrong with the proxy, in words; empty where the proxy works, and refuses the destination.
  const std::string& fault() const { return fault_; }
  /// The address of a done handshake's answer of SOCKS5; nothing for a name.
  const std::optional<Endpoint>& bound() const { return bound_; }
  /// True if the proxy does not know the request (SOCKS5 reply 7).
  bool is_unsupported() const { return is_unsupported_; }

 private:
  enum class Step : std::uint8_t { method, authentication, reply, status_line, headers };

  void begin_socks5();
  void begin_http();
  void request_socks5();
  void expect(Step step, std::size_t size);
  void take_answer();
  void take_method();
  void take_reply();
  void take_byte_of_http(char byte);
  void take_status_line();
  void end_of_headers();
  void say(std::string text) {
    out_ = std::move(text);
    sent_ = 0;
  }
  void fail(int error, std::string fault = {});

  Upstream proxy_;
  ProxyRequest request_;
  State state_ = State::going_on;
  Step step_ = Step::method;
  std::string out_;
  std::size_t sent_ = 0;
  std::array<std::byte, 262> answer_{};  // of SOCKS5: the longest reply has a name of 255 bytes
  std::size_t answered_ = 0;
  std::size_t expected_ = 0;
  std::string line_;        // the status line of HTTP, the beginning of it
  std::size_t length_ = 0;  // of the present line, without its end
  std::size_t total_ = 0;   // bytes of HTTP
  unsigned status_ = 0;     // of HTTP
  int error_ = 0;
  std::string fault_;
  std::optional<Endpoint> bound_;
  bool is_unsupported_ = false;
};

}  // namespace tunport::tool
