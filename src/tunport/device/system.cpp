#include "tunport/device/system.hpp"

#include "tunport/device/linux_links_internal.hpp"

namespace tunport {

System linux_system() {
  static LinuxLinks links;
  return {linux_io(), links};
}

}  // namespace tunport
