#pragma once
/// The rules of reassembly in the plainest form, with a switch for each rule in which Linux differs from
/// tunport.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tunport::fragment_rules {

/// A fragment: its place in the datagram's payload, in bytes.
struct Piece {
  unsigned begin = 0;  ///< a multiple of 8
  unsigned end = 0;
  bool more = false;
};
using Pieces = std::vector<Piece>;
using Payload = std::vector<std::uint8_t>;

/// The byte of a piece at a place of the datagram: tells the piece and the place.
constexpr std::uint8_t byte_of(std::size_t piece, unsigned at) {
  return static_cast<std::uint8_t>(piece * 41 + at);
}

/// Text for a failure: "0-8+ 8-13", with a plus for "more fragments".
inline std::string text_of(const Pieces& pieces) {
  std::string text;
  for (const Piece& piece : pieces)
    text += (text.empty() ? "" : " ") + std::to_string(piece.begin) + '-' + std::to_string(piece.end) +
            (piece.more ? "+" : "");
  return text;
}

/// Where Linux differs. Without any the rules are tunport's.
struct Rules {
  bool v6 = false;
  bool forgets = false;  ///< what comes after an overlap is a new datagram
  bool duplicates_in_runs =
      false;                      ///< a duplicate lies within fragments that came in order, each the highest
  bool end_of_duplicate = false;  ///< the end that a duplicate tells is believed
  bool empty_ends = false;        ///< an empty fragment ends the datagram, instead of being dropped alone
  bool odd_is_cut = false;        ///< a fragment of an odd size is cut to a multiple of 8, instead of dropped
};

/// The datagrams delivered of the pieces, which have the same identification, in their order.
inline std::vector<Payload> delivered(const Pieces& pieces, const Rules& rules) {
  struct Range {
    unsigned begin;
    unsigned end;
  };
  struct Datagram {
    std::vector<Range> ranges;  // in order
    std::vector<std::optional<std::uint8_t>> bytes = std::vector<std::optional<std::uint8_t>>(128);
    unsigned highest = 0;
    bool has_end = false;
    bool bad = false;
  };
  std::vector<Payload> all;
  Datagram datagram;
  const auto overlap = [&] {
    datagram = {};
    datagram.bad = !rules.forgets;
  };
  for (std::size_t number = 0; number < pieces.size(); ++number) {
    auto [begin, end, more] = pieces[number];
    if (begin == 0 && !more) {  // no fragment, but a whole datagram
      Payload& payload = all.emplace_back();
      for (unsigned at = begin; at < end; ++at) payload.push_back(byte_of(number, at));
      continue;
    }
    const bool odd = more && (end - begin) % 8 != 0;
    if (odd && !rules.odd_is_cut) continue;
    if (odd) end -= end % 8;
    if (begin == end && !rules.empty_ends) continue;
    if (begin == end && rules.v6 && begin == 0)
      continue;  // without any header: dropped alone by RFC 8200 4.5
    if (datagram.bad) continue;
    // The end of the datagram.
    if (more ? datagram.has_end && end > datagram.highest
             : end < datagram.highest || (datagram.has_end && end != datagram.highest)) {
      overlap();
      continue;
    }
    const bool tells_end = !more && !datagram.has_end;
    if (begin == end) {
      overlap();
      continue;
    }
    bool duplicate = false;
    bool overlaps = false;
    for (const Range& range : datagram.ranges) {
      if (range.begin <= begin && end <= range.end)
        duplicate = true;
      else if (range.begin < end && begin < range.end)
        overlaps = true;
    }
    if (overlaps || (duplicate && tells_end && !rules.end_of_duplicate)) {
      overlap();
      continue;
    }
    if (tells_end) datagram.has_end = true;
    if (end > datagram.highest) datagram.highest = end;
    if (duplicate) continue;
    for (unsigned at = begin; at < end; ++at) datagram.bytes[at] = byte_of(number, at);
    // Linux extends the last run only; tunport joins whatever is adjacent.
    auto& ranges = datagram.ranges;
    std::size_t place = 0;
    while (place < ranges.size() && ranges[place].begin < begin) ++place;
    const bool goes_on = place == ranges.size() && place > 0 && ranges[place - 1].end == begin;
    if (goes_on)
      ranges[place - 1].end = end;
    else
      ranges.insert(ranges.begin() + static_cast<std::ptrdiff_t>(place), {begin, end});
    for (std::size_t i = 0; !rules.duplicates_in_runs && i + 1 < ranges.size();) {
      if (ranges[i].end != ranges[i + 1].begin) {
        ++i;
        continue;
      }
      ranges[i].end = ranges[i + 1].end;
      ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    }
    if (!datagram.has_end) continue;
    Payload payload;
    for (unsigned at = 0; at < datagram.highest && datagram.bytes[at]; ++at)
      payload.push_back(*datagram.bytes[at]);
    if (payload.size() != datagram.highest) continue;
    all.push_back(payload);
    datagram = {};
  }
  return all;
}

}  // namespace tunport::fragment_rules
