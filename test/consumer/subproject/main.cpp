// The least that needs the library, and what the library is linked to.
#include <iostream>

#include "tunport/device/system.hpp"

int main() { std::cout << tunport::linux_system().links.find("lo").index << '\n'; }
