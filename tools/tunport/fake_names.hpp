#pragma once
/// Addresses that stand for names: `--dns fake`.
///
/// Theory. The gate's name server answers each name with an address of 198.18.0.0/15 (RFC 2544: of nobody on
/// the Internet), and a connection to the address is made by name, through the proxy. The table is bounded:
/// beyond 8,192 names the least recently used name makes room. Addresses are taken in a circle, so an address
/// gets another name only after 122,878 further names at least; between the two the address is unreachable.

#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tunport/base/bytes.hpp"
#include "tunport/wire/address.hpp"

namespace tunport::tool {

/// The table of names.
class FakeNames {
 public:
  static constexpr std::size_t default_capacity = 8192;

  /// `capacity`: 1 to 65,536.
  explicit FakeNames(std::size_t capacity = default_capacity) : capacity_{capacity} {}

  /// True for an address that can stand for a name.
  static bool covers(const IpAddress& address);
  /// The address of a name, made for a new name. The name becomes the most recently used.
  Ipv4Address address_of(std::string_view name);
  /// The name of an address; nothing for an address without one. The name becomes the most recently used.
  std::optional<std::string> name_of(const IpAddress& address);
  /// The number of names.
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string name;
    std::uint32_t address = 0;
  };
  using Place = std::list<Entry>::iterator;

  std::size_t capacity_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string_view, Place> by_name_;
  std::unordered_map<std::uint32_t, Place> by_address_;
  std::uint32_t next_ = 0;
};

/// The answer of the gate's name server to a DNS message (RFC 1035); empty: no answer is due. A for a host
/// name: its address of `names`. Further types: no records. A name that is no host name, and "localhost" (RFC
/// 6761 6.3): no such name. Written to `buffer`, of `longest_fake_answer` bytes.
Bytes answer_dns(Bytes query, FakeNames& names, MutableBytes buffer);

/// The header, a question with the longest name, and one address.
inline constexpr std::size_t longest_fake_answer = 12 + 255 + 4 + 16;

}  // namespace tunport::tool
