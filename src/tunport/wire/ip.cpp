#include "tunport/wire/ip.hpp"

namespace tunport {
namespace {

constexpr std::size_t fragment_header_size = 8;

/// True unless an option of the packet from `at` to `end` is cut off, or must be understood. The two highest
/// bits of an unknown type tell what becomes of the packet (RFC 8200 4.2): 00 the option is skipped, 01 the
/// packet is dropped, 10 the sender is told, 11 the sender is told unless the destination is a group.
bool may_skip(Bytes packet, std::size_t at, std::size_t end, std::optional<Ipv6Problem>& problem) {
  constexpr std::uint8_t pad1 = 0;
  while (at < end) {
    const std::uint8_t type = load_u8(packet, at);
    const unsigned action = type >> 6;
    if (action >= 2)
      problem = {.code = Ipv6Problem::Code::option, .pointer = at, .is_told_by_groups = action == 2};
    if (action != 0) return false;
    if (type != pad1 && end - at < 2) return false;
    const std::size_t size = type == pad1 ? 1 : std::size_t{2} + load_u8(packet, at + 1);
    if (size > end - at) return false;
    at += size;
  }
  return true;
}

}  // namespace

std::optional<IpView> IpView::checked(Bytes bytes, DropReason& why) {
  std::optional<Ipv6Problem> ignored;
  return checked(bytes, why, ignored);
}

std::optional<IpView> IpView::checked(Bytes bytes, DropReason& why, std::optional<Ipv6Problem>& problem) {
  problem.reset();
  if (!bytes.empty() && load_u8(bytes, 0) >> 4 == 6) {
    const auto ip = Ipv6View::checked(bytes, why);
    if (!ip) return std::nullopt;
    IpView view{ip->bytes()};
    view.v6_ = true;
    return view.skip_extensions(why, problem) ? std::optional{view} : std::nullopt;
  }
  const auto ip = Ipv4View::checked(bytes, why);
  if (!ip) return std::nullopt;
  IpView view{ip->bytes()};
  view.payload_at_ = static_cast<std::uint16_t>(ip->header_length());
  view.protocol_ = ip->protocol();
  if (ip->is_fragment()) view.fragment_at_ = 4;
  return view;
}

std::optional<IpView> IpView::by_fixed_header(Bytes bytes) {
  DropReason ignored{};
  const auto ip = Ipv6View::checked(bytes, ignored);
  if (!ip) return std::nullopt;
  IpView view{ip->bytes()};
  view.v6_ = true;
  view.payload_at_ = Ipv6Header::size;
  view.protocol_at_ = 6;
  view.protocol_ = ip->next_header();
  return view;
}

/// Finds the payload of an IPv6 packet. Each header has 8 bytes at least, so the packet bounds the walk.
bool IpView::skip_extensions(DropReason& why, std::optional<Ipv6Problem>& problem) {
  protocol_at_ = 6;
  protocol_ = load_u8(bytes_, protocol_at_);
  std::size_t at = Ipv6Header::size;
  const auto refuse = [&](DropReason reason) {
    why = reason;
    return false;
  };
  for (bool skipped = true; skipped;) {
    std::size_t size = 0;
    // Hop-by-hop options stand behind the fixed header only (RFC 8200 4.1); elsewhere an unknown protocol.
    const bool extends = (protocol_ == ip_protocol::hop_by_hop && at == Ipv6Header::size) ||
                         protocol_ == ip_protocol::destination_options || protocol_ == ip_protocol::routing ||
                         protocol_ == ip_protocol::ipv6_fragment;
    skipped = extends;
    if (!extends) break;
    if (bytes_.size() - at < 8) return refuse(DropReason::ip_bad_header_length);
    if (protocol_ == ip_protocol::ipv6_fragment) {
      size = fragment_header_size;
      if ((load_be16(bytes_, at + 2) & 0xfff9) != 0) {  // an offset, or more fragments
        fragment_at_ = static_cast<std::uint16_t>(at);
        at += size;
        break;
      }
    } else {
      size = (load_u8(bytes_, at + 1) + std::size_t{1}) * 8;
      if (bytes_.size() - at < size) return refuse(DropReason::ip_bad_header_length);
      if (protocol_ == ip_protocol::routing) {
        if (load_u8(bytes_, at + 3) != 0) {
          problem = {.pointer = at + 2};  // the routing type; type 0 is unknown, too (RFC 5095)
          return refuse(DropReason::ip_source_route);
        }
      } else if (!may_skip(bytes_, at + 2, at + size, problem)) {
        return refuse(DropReason::ip_bad_option);
      }
    }
    protocol_at_ = static_cast<std::uint16_t>(at);
    protocol_ = load_u8(bytes_, at);
    at += size;
  }
  payload_at_ = static_cast<std::uint16_t>(at);
  return true;
}

IpFragment IpView::fragment() const {
  if (v6_) {
    const std::uint16_t place = load_be16(bytes_, fragment_at_ + std::size_t{2});
    return {.identification = load_be32(bytes_, fragment_at_ + std::size_t{4}),
            .offset = place & 0xfff8U,
            .more = (place & 1) != 0,
            .protocol = load_u8(bytes_, fragment_at_)};
  }
  const std::uint16_t place = load_be16(bytes_, 6);
  return {.identification = load_be16(bytes_, 4),
          .offset = (place & 0x1fffU) * 8,
          .more = (place & 0x2000) != 0,
          .protocol = protocol_};
}

}  // namespace tunport
