#pragma once
/// Users of the system, as the command becomes them.

#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace tunport::tool {

/// A user with the groups that a login would give.
struct Account {
  uid_t uid = 0;
  gid_t gid = 0;
  std::string name;  ///< empty for a number without a name
  std::string home;  ///< empty likewise
  std::vector<gid_t> groups;
  bool operator==(const Account&) const = default;
};

/// The user of that name; nothing if the system knows none.
std::optional<Account> find_account(const std::string& name);
/// The user who called sudo(8), by SUDO_UID and SUDO_GID; nothing for a process that is not root's, and
/// without a sudo, or with one of root's own.
std::optional<Account> invoking_account();

}  // namespace tunport::tool
