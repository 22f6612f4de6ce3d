#include "account.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

namespace tunport::tool {
namespace {

std::vector<gid_t> groups_of(const char* name, gid_t gid) {
  int count = 64;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  if (::getgrouplist(name, gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(name, gid, groups.data(), &count) < 0) return {gid};
  }
  groups.resize(static_cast<std::size_t>(count));
  return groups;
}

Account account_of(const passwd& entry, gid_t gid) {
  return {entry.pw_uid, gid, entry.pw_name, entry.pw_dir, groups_of(entry.pw_name, gid)};
}

/// The number in a variable of the environment.
std::optional<unsigned> number_in(const char* variable) {
  const char* const text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  unsigned number = 0;
  const char* const end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, number);
  return error == std::errc{} && stop == end ? std::optional{number} : std::nullopt;
}

}  // namespace

std::optional<Account> find_account(const std::string& name) {
  const passwd* const entry = ::getpwnam(name.c_str());
  return entry == nullptr ? std::nullopt : std::optional{account_of(*entry, entry->pw_gid)};
}

std::optional<Account> invoking_account() {
  if (::geteuid() != 0) return std::nullopt;
  const auto uid = number_in("SUDO_UID");
  const auto gid = number_in("SUDO_GID");
  if (!uid || !gid || *uid == 0) return std::nullopt;
  if (const passwd* const entry = ::getpwuid(*uid); entry != nullptr) return account_of(*entry, *gid);
  return Account{*uid, *gid, {}, {}, {*gid}};
}

}  // namespace tunport::tool
