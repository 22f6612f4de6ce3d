// Answers of the kernel's rtnetlink, in bytes: interfaces and addresses. An answer of any bytes is read
// within its length. Routes are libnl's to read, which trusts the lengths within them. The first byte of the
// input chooses the type of the message.
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include <linux/rtnetlink.h>

#include "tunport/device/linux_links_internal.hpp"

#include "input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tunport;
  using fuzz::require;
  fuzz::Input input{data, size};
  constexpr std::array<std::uint16_t, 4> types{RTM_NEWLINK, RTM_NEWADDR, RTM_DELLINK, NLMSG_DONE};
  const std::uint16_t type = types[input.u8() % types.size()];
  const std::vector<std::byte> body = input.rest();
  // As libnl's: a buffer of the message's length, aligned to its header. Words end where bytes end, so that a
  // sanitizer sees each step beyond.
  const std::size_t length = NLMSG_HDRLEN + body.size() / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
  std::vector<std::uint32_t> memory(length / sizeof(std::uint32_t));
  auto& message = *reinterpret_cast<nlmsghdr*>(memory.data());
  message.nlmsg_len = static_cast<std::uint32_t>(length);
  message.nlmsg_type = type;
  if (length > NLMSG_HDRLEN)
    std::memcpy(reinterpret_cast<char*>(memory.data()) + NLMSG_HDRLEN, body.data(), length - NLMSG_HDRLEN);

  const auto link = parse_link(message);
  require(!link || type == RTM_NEWLINK);
  if (link) require(link->name.size() < length);
  const auto address = parse_address(message, 1);
  require(!address || type == RTM_NEWADDR);
  if (address && address->peer) require(address->peer->is_v4() == address->prefix.address.is_v4());
  return 0;
}
