#include "fake_names.hpp"

#include <algorithm>
#include <array>

#include "upstream.hpp"

// The message (RFC 1035 4.1.1):
//
//    0                   1                   2                   3
//    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//   +-------------------------------+-+-------+-+-+-+-+-----+-------+
//   |              ID               |Q|Opcode |A|T|R|R|  Z  | RCODE |
//   +-------------------------------+-+-------+-+-+-+-+-----+-------+
//   |           questions           |            answers            |
//   +-------------------------------+-------------------------------+
//   |          authorities          |          additionals          |
//   +-------------------------------+-------------------------------+
//   |  the name in labels, 0 | type | class | ...

namespace tunport::tool {
namespace {

constexpr std::uint32_t first_address = 0xc6120001;  // 198.18.0.1
constexpr std::uint32_t address_count = 0x20000 - 2;

constexpr std::size_t header_size = 12;
constexpr std::size_t flags_at = 2;
constexpr std::size_t questions_at = 4;
constexpr std::size_t answers_at = 6;
constexpr std::size_t longest_wire_name = 255;
constexpr unsigned longest_label = 63;  // beyond: a pointer, which a question does not need
constexpr std::uint16_t response = 0x8000;
constexpr std::uint16_t opcode = 0x7800;
constexpr std::uint16_t recursion_desired = 0x0100;
constexpr std::uint16_t recursion_available = 0x0080;
constexpr std::uint16_t no_error = 0;
constexpr std::uint16_t format_error = 1;
constexpr std::uint16_t no_such_name = 3;
constexpr std::uint16_t not_implemented = 4;
constexpr std::uint16_t refused = 5;
constexpr std::uint16_t type_a = 1;
constexpr std::uint16_t class_in = 1;
constexpr std::uint32_t time_to_live = 1;  // seconds: the table may forget the name

struct Question {
  std::string name;            // in small letters, as far as the name is of ASCII
  bool has_odd_label = false;  // with a dot inside
  std::uint16_t type = 0;
  std::uint16_t klass = 0;
  std::size_t size = 0;  // bytes in the message
};

/// Reads the question behind the header.
std::optional<Question> read_question(Bytes message) {
  Question question;
  std::size_t at = header_size;
  for (;;) {
    if (at >= message.size() || at - header_size >= longest_wire_name) return std::nullopt;
    const std::size_t length = load_u8(message, at++);
    if (length == 0) break;
    if (length > longest_label || message.size() - at < length) return std::nullopt;
    if (!question.name.empty()) question.name += '.';
    for (std::size_t i = 0; i < length; ++i) {
      const char c = static_cast<char>(load_u8(message, at + i));
      question.has_odd_label = question.has_odd_label || c == '.';
      question.name += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
    at += length;
  }
  if (at - header_size > longest_wire_name || message.size() - at < 4) return std::nullopt;
  question.type = load_be16(message, at);
  question.klass = load_be16(message, at + 2);
  question.size = at + 4 - header_size;
  return question;
}

/// The header and the question of an answer. Returns the bytes written.
std::size_t begin_answer(Bytes query, std::uint16_t code, std::size_t question_size, MutableBytes buffer) {
  std::ranges::fill(buffer.first(header_size), std::byte{});
  std::copy_n(query.begin(), 2, buffer.begin());
  const std::uint16_t asked = load_be16(query, flags_at) & (opcode | recursion_desired);
  store_be16(buffer, flags_at, static_cast<std::uint16_t>(response | asked | recursion_available | code));
  if (question_size == 0) return header_size;
  store_be16(buffer, questions_at, 1);
  std::copy_n(query.begin() + header_size, question_size, buffer.begin() + header_size);
  return header_size + question_size;
}

bool is_localhost(std::string_view name) { return name == "localhost" || name.ends_with(".localhost"); }

}  // namespace

bool FakeNames::covers(const IpAddress& address) {
  return address.is_v4() && address.v4().value() - first_address < address_count;
}

Ipv4Address FakeNames::address_of(std::string_view name) {
  if (const auto known = by_name_.find(name); known != by_name_.end()) {
    entries_.splice(entries_.begin(), entries_, known->second);
    return Ipv4Address{entries_.front().address};
  }
  if (entries_.size() >= capacity_) {
    by_name_.erase(entries_.back().name);
    by_address_.erase(entries_.back().address);
    entries_.pop_back();
  }
  // Ends: there are more addresses than names.
  while (by_address_.contains(first_address + next_)) next_ = (next_ + 1) % address_count;
  entries_.push_front({std::string{name}, first_address + next_});
  next_ = (next_ + 1) % address_count;
  by_name_.emplace(entries_.front().name, entries_.begin());
  by_address_.emplace(entries_.front().address, entries_.begin());
  return Ipv4Address{entries_.front().address};
}

std::optional<std::string> FakeNames::name_of(const IpAddress& address) {
  if (!address.is_v4()) return std::nullopt;
  const auto known = by_address_.find(address.v4().value());
  if (known == by_address_.end()) return std::nullopt;
  entries_.splice(entries_.begin(), entries_, known->second);
  return entries_.front().name;
}

Bytes answer_dns(Bytes query, FakeNames& names, MutableBytes buffer) {
  if (query.size() < header_size || (load_be16(query, flags_at) & response) != 0) return {};
  const auto only = [&](std::uint16_t code) { return buffer.first(begin_answer(query, code, 0, buffer)); };
  if ((load_be16(query, flags_at) & opcode) != 0) return only(not_implemented);
  if (load_be16(query, questions_at) != 1) return only(format_error);
  const auto question = read_question(query);
  if (!question) return only(format_error);
  std::uint16_t code = no_error;
  if (question->klass != class_in)
    code = refused;
  else if (question->has_odd_label || !is_host_name(question->name) || is_localhost(question->name))
    code = no_such_name;
  std::size_t size = begin_answer(query, code, question->size, buffer);
  if (code != no_error || question->type != type_a) return buffer.first(size);
  store_be16(buffer, answers_at, 1);
  store_be16(buffer, size, 0xc000 | header_size);  // a pointer to the question's name
  store_be16(buffer, size + 2, type_a);
  store_be16(buffer, size + 4, class_in);
  store_be32(buffer, size + 6, time_to_live);
  store_be16(buffer, size + 10, Ipv4Address::size);
  names.address_of(question->name).store(buffer, size + 12);
  size += 12 + Ipv4Address::size;
  return buffer.first(size);
}

}  // namespace tunport::tool
