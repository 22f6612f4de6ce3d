#pragma once
/// Where the connections of `tunport gate` go on: `--to`.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tunport/wire/address.hpp"

namespace tunport::tool {

enum class UpstreamKind : std::uint8_t {
  direct,  ///< by sockets of this machine
  socks5,  ///< by a SOCKS5 proxy (RFC 1928), with user and password if given (RFC 1929)
  http,    ///< by an HTTP proxy, with CONNECT (RFC 9110 9.3.6), and Basic if given (RFC 7617)
};

/// The value of `--to`.
struct Upstream {
  UpstreamKind kind = UpstreamKind::direct;
  std::string host = {};  ///< an address without brackets, or a name
  std::uint16_t port = 0;
  bool has_credentials = false;
  std::string user = {};
  std::string password = {};
  bool operator==(const Upstream&) const = default;

  /// "direct", "socks5://[USER:PASSWORD@]HOST:PORT", "http://[USER:PASSWORD@]HOST:PORT". Otherwise nothing,
  /// and `problem` says what is wrong, without the password.
  static std::optional<Upstream> parse(std::string_view text, std::string& problem);
};

/// "socks5://127.0.0.1:1080": without user and password.
std::string to_string(const Upstream& upstream);
/// True for a name that may stand in a request to a proxy: letters, digits, '-', '_' and '.', at most 253
/// bytes, without empty parts or parts beyond 63 bytes.
bool is_host_name(std::string_view name);
/// The addresses of the proxy, at most four, asked of the machine's resolver. Blocks. Empty on failure, and
/// `problem` says why. Precondition: not direct.
std::vector<Endpoint> resolve(const Upstream& upstream, std::string& problem);

}  // namespace tunport::tool
