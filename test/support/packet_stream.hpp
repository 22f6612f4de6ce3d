#pragma once
/// Random streams of packets for differential tests: valid, damaged, truncated, padded, tagged and fragmented
/// frames. The builder has no code in common with wire/.

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <random>
#include <vector>

namespace tunport::packet_stream {

using Octets = std::vector<std::uint8_t>;

/// Random numbers that are the same on every machine.
class Dice {
 public:
  explicit Dice(std::uint32_t seed) : engine_{seed} {}
  /// A number below `limit`, which is not 0.
  std::uint32_t below(std::size_t limit) {
    return static_cast<std::uint32_t>(engine_() % static_cast<std::uint32_t>(limit));
  }
  /// True once in `n` calls.
  bool once_in(std::uint32_t n) { return below(n) == 0; }
  template <class T>
  T one_of(std::initializer_list<T> all) {
    return all.begin()[below(all.size())];
  }
  Octets octets(std::size_t size) {
    Octets all(size);
    for (auto& octet : all) octet = static_cast<std::uint8_t>(below(256));
    return all;
  }

 private:
  std::mt19937 engine_;
};

inline void add(Octets& to, const Octets& more) { to.insert(to.end(), more.begin(), more.end()); }
inline void add8(Octets& to, std::size_t value) { to.push_back(static_cast<std::uint8_t>(value & 255)); }
inline void add16(Octets& to, std::size_t value) {
  add8(to, value >> 8);
  add8(to, value);
}
inline void add32(Octets& to, std::size_t value) {
  add16(to, value >> 16);
  add16(to, value);
}
inline void set16(Octets& in, std::size_t at, std::size_t value) {
  in[at] = static_cast<std::uint8_t>(value >> 8 & 255);
  in[at + 1] = static_cast<std::uint8_t>(value & 255);
}

/// The checksum of RFC 1071, by the words of its section 1.
inline std::uint16_t naive_checksum(const Octets& octets) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < octets.size(); i += 2) {
    sum += static_cast<std::uint32_t>(octets[i]) * 256 + (i + 1 < octets.size() ? octets[i + 1] : 0U);
    if (sum > 0xffff) sum = sum - 0x10000 + 1;
  }
  return static_cast<std::uint16_t>(0xffff - sum);
}

/// The pseudo-header of UDP and ICMPv6, with the payload behind it.
inline Octets with_pseudo_header(const Octets& source, const Octets& destination, std::uint8_t protocol,
                                 const Octets& payload) {
  Octets all = source;
  add(all, destination);
  if (source.size() == 4) {
    add8(all, 0);
    add8(all, protocol);
    add16(all, payload.size());
  } else {
    add32(all, payload.size());
    add32(all, protocol);
  }
  add(all, payload);
  return all;
}

inline const Octets station_mac{2, 0, 0, 0, 0, 2};

/// Makes the frames or packets of a datagram, or of a few, from a seed.
class Maker {
 public:
  /// `ethernet`: frames, otherwise IP packets.
  Maker(std::uint32_t seed, bool ethernet) : dice_{seed}, ethernet_{ethernet} {}

  /// The frames of one datagram: several for fragments.
  std::vector<Octets> make() {
    std::vector<Octets> all;
    if (ethernet_ && dice_.once_in(12)) {
      all.push_back(frame(arp(), 0x0806));
    } else {
      v6_ = dice_.once_in(2);
      source_ = address(1 + dice_.below(2));
      destination_ = address(7);
      for (Octets& packet : ip_packets())
        all.push_back(ethernet_ ? frame(std::move(packet), v6_ ? 0x86dd : 0x0800) : std::move(packet));
    }
    for (Octets& one : all)
      if (dice_.once_in(4)) damage(one);
    if (all.size() > 1 && dice_.once_in(3))
      std::shuffle(all.begin(), all.end(), std::mt19937{dice_.below(1000)});
    if (all.size() > 1 && dice_.once_in(4)) all.push_back(all[dice_.below(all.size())]);
    if (all.size() > 1 && dice_.once_in(8)) all.erase(all.begin() + dice_.below(all.size()));
    return all;
  }

 private:
  Octets address(std::size_t last) const {
    if (!v6_) return {10, 0, 0, static_cast<std::uint8_t>(last)};
    Octets all(16);
    all[0] = 0xfd;
    all[15] = static_cast<std::uint8_t>(last);
    return all;
  }

  Octets arp() {
    Octets packet{0, 1, 8, 0, 6, 4, 0, static_cast<std::uint8_t>(1 + dice_.below(2))};
    add(packet, dice_.octets(20));
    return packet;
  }

  Octets frame(Octets payload, std::uint16_t type) {
    Octets all = dice_.one_of<Octets>({station_mac,
                                       station_mac,
                                       station_mac,
                                       station_mac,
                                       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                       {0x33, 0x33, 0, 0, 0, 1},
                                       {2, 0, 0, 0, 0, 3}});
    add(all, {2, 0, 0, 0, 0, 1});
    for (std::size_t tags = dice_.once_in(3) ? 1 + dice_.below(3) : 0; tags > 0; --tags) {
      add16(all, dice_.one_of({0x8100U, 0x88a8U}));
      add16(all, dice_.one_of({0U, 0xa000U, 0x1000U, dice_.below(0x10000)}));
    }
    add16(all, dice_.once_in(24) ? dice_.one_of({0x0800U, 0x86ddU, 0x0806U, dice_.below(0x10000)}) : type);
    add(all, payload);
    if (dice_.once_in(3))
      all.resize(std::max<std::size_t>(all.size() + dice_.below(9), dice_.one_of({0U, 60U})), 0xee);
    return all;
  }

  Octets udp() {
    Octets data = dice_.octets(dice_.once_in(20) ? dice_.below(3000) : dice_.below(80));
    Octets all;
    add16(all, 1 + dice_.below(3));
    add16(all, dice_.one_of({42U, 42U, 42U, 4242U, 9U}));
    add16(all, 8 + data.size());
    add16(all, 0);
    add(all, data);
    if (dice_.once_in(8)) return all;  // without a checksum
    const std::uint16_t sum = naive_checksum(with_pseudo_header(source_, destination_, 17, all));
    set16(all, 6, sum == 0 ? 0xffff : sum);
    if (dice_.once_in(12))
      add(all, dice_.octets(1 + dice_.below(9)));  // behind the datagram, within the packet
    return all;
  }

  Octets icmp() {
    Octets all{static_cast<std::uint8_t>(v6_ ? 128 + dice_.below(10) : dice_.below(14)),
               static_cast<std::uint8_t>(dice_.below(3)), 0, 0};
    add(all, dice_.octets(4 + dice_.below(60)));
    set16(all, 2, naive_checksum(v6_ ? with_pseudo_header(source_, destination_, 58, all) : all));
    return all;
  }

  /// An extension header with the number of the next header left open.
  Octets extension(std::uint8_t kind) {
    if (kind == 43) {
      Octets all{0, 2, 0, static_cast<std::uint8_t>(dice_.once_in(8) ? 1 : 0), 0, 0, 0, 0};
      add(all, dice_.octets(16));
      return all;
    }
    if (kind == 44) {
      Octets all{0, 0, 0, static_cast<std::uint8_t>(dice_.below(6) / 5)};
      add(all, dice_.octets(4));
      return all;
    }
    const std::size_t units = 1 + dice_.below(3);
    Octets all{0, static_cast<std::uint8_t>(units - 1)};
    while (all.size() < units * 8) {
      const std::size_t room = units * 8 - all.size();
      const std::uint32_t choice = dice_.below(8);
      if (room == 1 || choice == 0) {
        add8(all, 0);
      } else if (choice == 1 && room >= 4) {
        add(all, {5, 2, 0, 0});  // the router alert
      } else {
        const std::size_t size = dice_.below(room - 1);
        add8(all, dice_.once_in(10) ? dice_.below(256) : dice_.one_of({1U, 1U, 0x1eU, 0x3eU}));
        add8(all, dice_.once_in(20) ? dice_.below(256) : size);
        add(all, Octets(size));
      }
    }
    return all;
  }

  /// Headers in a chain: the first number, and the bytes, whose last header announces `last`.
  struct Chain {
    std::uint8_t first_kind;
    Octets bytes;
    std::size_t last_at = 0;  // of the last header; without meaning in an empty chain
  };
  Chain chain(std::initializer_list<std::uint8_t> kinds, std::size_t most, std::uint8_t last) {
    Chain made{last, {}};
    for (std::size_t count = dice_.once_in(2) ? dice_.below(most + 1) : 0; count > 0; --count) {
      const std::uint8_t kind = dice_.one_of(kinds);
      (made.bytes.empty() ? made.first_kind : made.bytes[made.last_at]) = kind;
      made.last_at = made.bytes.size();
      add(made.bytes, extension(kind));
      made.bytes[made.last_at] = last;
    }
    return made;
  }

  std::vector<Octets> ip_packets() {
    const bool is_udp = !dice_.once_in(4);
    std::uint8_t protocol = v6_ ? 58 : 1;
    if (is_udp) protocol = 17;
    Octets payload = is_udp ? udp() : icmp();
    if (dice_.once_in(20)) protocol = static_cast<std::uint8_t>(dice_.below(256));
    if (v6_) {
      Chain behind = chain({60, 60, 43, 0, 44}, 2, protocol);
      protocol = behind.first_kind;
      add(behind.bytes, payload);
      payload = std::move(behind.bytes);
    }
    const std::size_t identification = dice_.below(6);
    std::vector<Octets> all;
    if (!dice_.once_in(3)) {
      all.push_back(packet(protocol, payload, 0, false, identification, v6_ && dice_.once_in(6)));
      return all;
    }
    // Fragments: cut at multiples of 8, with an overlap or a cut elsewhere now and then.
    std::size_t at = 0;
    while (at < payload.size() || all.empty()) {
      std::size_t size = 8 * (1 + dice_.below(payload.size() > 200 ? 100 : 6));
      if (dice_.once_in(40)) size -= dice_.below(9);
      const std::size_t end = std::min(payload.size(), at + size);
      const bool more = end < payload.size() ? !dice_.once_in(60) : dice_.once_in(60);
      all.push_back(packet(
          protocol, {payload.begin() + static_cast<long>(at), payload.begin() + static_cast<long>(end)}, at,
          more, identification, true));
      if (all.size() > 200) break;
      at = end;
      if (dice_.once_in(30) && at >= 16 && at < payload.size()) at -= 8;
      if (dice_.once_in(200)) at = 65'528;
      if (at > payload.size()) {
        all.push_back(packet(protocol, dice_.octets(dice_.below(40)), at, false, identification, true));
        break;
      }
    }
    return all;
  }

  Octets packet(std::uint8_t protocol, const Octets& payload, std::size_t offset, bool more,
                std::size_t identification, bool fragment_header) {
    Octets all;
    if (!v6_) {
      const std::size_t options = dice_.once_in(4) ? 4 * dice_.below(11) : 0;
      add8(all, 0x40 + 5 + options / 4);
      add8(all, dice_.below(256));
      add16(all, 20 + options + payload.size());
      add16(all, identification);
      add16(all, offset / 8 | (more ? 0x2000U : 0U) | dice_.one_of({0U, 0U, 0x4000U, 0x8000U}));
      add8(all, dice_.below(256));
      add8(all, protocol);
      add16(all, 0);
      add(all, source_);
      add(all, destination_);
      add(all, dice_.octets(options));
      set16(all, 10, naive_checksum(all));
      add(all, payload);
      return all;
    }
    Octets fragment;
    if (fragment_header) {
      add8(fragment, protocol);
      add8(fragment, dice_.below(256));  // reserved
      add16(fragment, offset | (more ? 1U : 0U) | dice_.below(4) << 1);
      add32(fragment, 0xabcd0000U + identification);
    }
    const Chain before = chain({60, 43}, 1, fragment_header ? 44 : protocol);
    const bool hop_by_hop = dice_.once_in(6);
    const Octets hops = hop_by_hop ? extension(0) : Octets{};
    add32(all, std::size_t{6} << 28 | dice_.below(1U << 28));
    add16(all, hops.size() + before.bytes.size() + fragment.size() + payload.size());
    add8(all, hop_by_hop ? 0 : before.first_kind);
    add8(all, dice_.below(256));
    add(all, source_);
    add(all, destination_);
    add(all, hops);
    if (hop_by_hop) all[40] = before.first_kind;
    add(all, before.bytes);
    add(all, fragment);
    add(all, payload);
    return all;
  }

  /// Cuts, lengthens, or changes some bytes; the header checksum of IPv4 is made right again now and then.
  void damage(Octets& bytes) {
    const std::size_t ip_at = ethernet_ ? 14 : 0;
    switch (dice_.below(5)) {
      case 0:
        bytes.resize(dice_.below(bytes.size() + 1));
        return;
      case 1:
        add(bytes, dice_.octets(1 + dice_.below(20)));
        return;
      case 2:
        bytes[dice_.below(bytes.size())] ^= static_cast<std::uint8_t>(1U << dice_.below(8));
        break;
      case 3:  // in a header, most likely
        bytes[dice_.below(std::min<std::size_t>(bytes.size(), ip_at + 64))] =
            static_cast<std::uint8_t>(dice_.below(256));
        break;
      default:  // the length fields of IP
        if (bytes.size() > ip_at + 5)
          bytes[ip_at + (v6_ ? 4 : 2) + dice_.below(2)] = static_cast<std::uint8_t>(dice_.below(70));
    }
    if (dice_.once_in(2) && bytes.size() >= ip_at + 20 && bytes[ip_at] >> 4 == 4) {
      const std::size_t length = (bytes[ip_at] & 15U) * 4;
      if (length < 20 || bytes.size() < ip_at + length) return;
      set16(bytes, ip_at + 10, 0);
      set16(bytes, ip_at + 10,
            naive_checksum({bytes.begin() + static_cast<long>(ip_at),
                            bytes.begin() + static_cast<long>(ip_at + length)}));
    }
  }

  Dice dice_;
  bool ethernet_;
  bool v6_ = false;
  Octets source_;
  Octets destination_;
};

/// The frames of several datagrams, in turn, some before their turn.
inline std::vector<Octets> stream(const std::vector<std::uint32_t>& seeds, bool ethernet) {
  std::vector<Octets> all;
  for (const std::uint32_t seed : seeds)
    for (Octets& one : Maker{seed, ethernet}.make()) all.push_back(std::move(one));
  Dice dice{seeds.empty() ? 0 : seeds.front()};
  for (std::size_t i = 0; i + 1 < all.size(); ++i)
    if (dice.once_in(6)) std::swap(all[i], all[i + dice.below(std::min<std::size_t>(8, all.size() - i))]);
  return all;
}

}  // namespace tunport::packet_stream
