// A device without an event loop: a blocking read for each packet.
//
//   example_device tun0 & ip addr add 10.0.0.1/24 dev tun0; ip link set tun0 up; ping -c 3 10.0.0.2
#include <array>
#include <iostream>

#include <tunport/tunport.hpp>

int main(int argc, char** argv) try {
  tunport::Device device =
      tunport::Device::open(tunport::DeviceKind::tun, argc > 1 ? argv[1] : "", {.blocking = true});
  std::cout << device.name() << std::endl;
  std::array<std::byte, 65'536> buffer;
  for (;;) {
    const tunport::ReadResult result = device.read(buffer);
    if (result.error != 0) throw tunport::Error{tunport::errno_code(result.error), device.name()};
    tunport::DropReason why{};
    const auto bytes = tunport::Bytes{buffer}.first(result.size);
    if (const auto ip = tunport::Ipv4View::checked(bytes, why))
      std::cout << to_string(ip->source()) << " > " << to_string(ip->destination()) << ", protocol "
                << int{ip->protocol()} << ", " << ip->payload().size() << " bytes" << std::endl;
    else
      std::cout << result.size << " bytes: " << to_string(why) << std::endl;
  }
} catch (const std::exception& error) {
  std::cerr << "example_device: " << error.what() << '\n';
  return 1;
}
