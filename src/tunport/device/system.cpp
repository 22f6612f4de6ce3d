#include "tunport/device/system.hpp"

#include "tunport/device/linux_links.hpp"

namespace tunport::inline v0 {

System linux_system() {
  static LinuxLinks links;
  return {linux_io(), links};
}

}  // namespace tunport::inline v0
