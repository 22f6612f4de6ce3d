#include "sandbox.hpp"

#include <cerrno>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tunport::tool {
namespace {

using testing::HasSubstr;

std::string why(int error, const std::map<std::string, long>& sysctls) {
  return why_no_user_namespace(error, [&](const std::string& path) {
    const auto found = sysctls.find(path);
    return found == sysctls.end() ? std::nullopt : std::optional{found->second};
  });
}

// How it is entered is tested with the command (test/command): it changes the process for good.
TEST(Sandbox, NamesTheSwitchThatIsOff) {
  EXPECT_EQ(why(ENOSPC, {{"user/max_user_namespaces", 0}}),
            "user namespaces are switched off (user.max_user_namespaces is 0); turn them on with "
            "'sysctl -w user.max_user_namespaces=15000', or run as root");
  EXPECT_THAT(why(EPERM, {{"user/max_user_namespaces", 100}, {"kernel/unprivileged_userns_clone", 0}}),
              HasSubstr("'sysctl -w kernel.unprivileged_userns_clone=1'"));
  EXPECT_THAT(why(EPERM, {{"kernel/unprivileged_userns_clone", 1},
                          {"kernel/apparmor_restrict_unprivileged_userns", 1}}),
              HasSubstr("'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0'"));
}

TEST(Sandbox, AShortageOnTheWayIsNotBlamedOnNamespaces) {
  EXPECT_EQ(why(EMFILE, {}),
            "no user namespace: Too many open files; close descriptors, or raise the limit ('ulimit -n')");
  EXPECT_THAT(why_no_network_namespace(ENOMEM), HasSubstr("the kernel is short of memory"));
}

TEST(Sandbox, TellsNetworkNamespacesFromUserNamespaces) {
  EXPECT_EQ(why_no_network_namespace(ENOSPC),
            "no more network namespaces can be made (No space left on device); end what uses them, or raise "
            "the limit ('sysctl -w user.max_net_namespaces=15000')");
  for (const int error : {ENOSPC, EINVAL, EPERM, ENOMEM})
    EXPECT_THAT(why_no_network_namespace(error), testing::Not(HasSubstr("user namespace")));
}

TEST(Sandbox, NamesTheWayIn) {
  EXPECT_EQ((Sandbox{false, true, ""}.way_in(7)), "nsenter --target 7 --mount --net");
  EXPECT_EQ((Sandbox{true, false, ""}.way_in(7)), "nsenter --target 7 --user --preserve-credentials --net");
}

TEST(Sandbox, SaysWhatElseMayForbidThem) {
  EXPECT_THAT(why(ENOSPC, {{"user/max_user_namespaces", 5}}), HasSubstr("no more user namespaces"));
  EXPECT_THAT(why(EINVAL, {}), HasSubstr("the kernel was built without them"));
  EXPECT_THAT(why(EPERM, {}), HasSubstr("--security-opt seccomp=unconfined"));
}

}  // namespace
}  // namespace tunport::tool
