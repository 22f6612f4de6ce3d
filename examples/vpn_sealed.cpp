// IP packets carried over UDP between two machines, each encrypted by libsodium (XChaCha20-Poly1305).
//
//   a# head -c 32 /dev/urandom > key; chmod 600 key; scp key b:
//   a# example_vpn_sealed tun0 192.0.2.1:5000 192.0.2.2:5000 10.9.0.1/24 key
//   b# example_vpn_sealed tun0 192.0.2.2:5000 192.0.2.1:5000 10.9.0.2/24 key
//
// A datagram is a nonce of 24 bytes, the encrypted packet, and a tag of 16 bytes. The packets are encrypted
// in place, where the run of datagrams is made. A datagram with a wrong tag is dropped and counted as
// `not_sealed`. This is an example of the room around a datagram: a datagram that is sent twice is accepted
// twice, and the key stays for ever. WireGuard does better.
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iostream>

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <sodium.h>
#include <tunport/asio.hpp>

namespace {

constexpr std::size_t nonce_size = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t tag_size = crypto_aead_xchacha20poly1305_ietf_ABYTES;
constexpr std::size_t overhead = nonce_size + tag_size;

unsigned char* octets(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* octets(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }

class Cipher {
 public:
  explicit Cipher(const char* key_file) {
    std::ifstream file{key_file, std::ios::binary};
    if (!file.read(reinterpret_cast<char*>(key_.data()), static_cast<std::streamsize>(key_.size())))
      throw std::runtime_error(
          std::string{key_file}.append(": not a file of 32 bytes (head -c 32 /dev/urandom > key)"));
    randombytes_buf(nonce_.data(), nonce_.size());
  }

  /// Encrypts in place: nonce, packet, tag. No nonce comes twice: the first bytes are random, the last count.
  void seal(tunport::MutableBytes datagram) {
    sodium_increment(nonce_.data(), 8);
    std::memcpy(datagram.data(), nonce_.data(), nonce_size);
    unsigned char* const packet = octets(datagram.data()) + nonce_size;
    const std::size_t size = datagram.size() - overhead;
    crypto_aead_xchacha20poly1305_ietf_encrypt_detached(packet, packet + size, nullptr, packet, size, nullptr,
                                                        0, nullptr, nonce_.data(), key_.data());
  }

  /// The packet of a datagram, until the next call; empty for a datagram that is not sealed with the key.
  tunport::Bytes open(tunport::Bytes datagram) {
    if (datagram.size() <= overhead) return {};
    const std::size_t size = datagram.size() - overhead;
    const unsigned char* const packet = octets(datagram.data()) + nonce_size;
    const bool right = crypto_aead_xchacha20poly1305_ietf_decrypt_detached(
                           octets(plain_.data()), nullptr, packet, size, packet + size, nullptr, 0,
                           octets(datagram.data()), key_.data()) == 0;
    return right ? tunport::Bytes{plain_}.first(size) : tunport::Bytes{};
  }

 private:
  std::array<unsigned char, crypto_aead_xchacha20poly1305_ietf_KEYBYTES> key_{};
  std::array<unsigned char, nonce_size> nonce_{};
  std::array<std::byte, 65'536> plain_{};
};

}  // namespace

int main(int argc, char** argv) try {
  const auto local = tunport::Endpoint::parse(argc == 6 ? argv[2] : "");
  const auto peer = tunport::Endpoint::parse(argc == 6 ? argv[3] : "");
  const auto address = tunport::IpPrefix::parse(argc == 6 ? argv[4] : "");
  if (!local || !peer || !address) {
    std::cerr << "usage: example_vpn_sealed TUN ADDRESS:PORT PEER-ADDRESS:PORT TUN-ADDRESS/LENGTH KEY-FILE\n";
    return 2;
  }
  if (sodium_init() < 0) throw std::runtime_error("libsodium does not start");
  Cipher cipher{argv[5]};
  const tunport::DropReason not_sealed =
      tunport::register_drop_reason("not_sealed", "forged, damaged, or sealed with another key");

  asio::io_context io;
  tunport::AsioReactor reactor{io};
  // A packet of 1400 bytes in its datagram fits into a path of 1500, over IPv6 as well.
  tunport::TuntapPort tun{reactor,
                          tunport::DeviceKind::tun,
                          argv[1],
                          {.interface = {.addresses = {*address}, .mtu = 1400, .up = true}}};
  tunport::UdpPort udp{reactor, *local};

  tun.on_frame(
      [&](const tunport::Packet& packet) {
        udp.write_segments(*peer, packet, {.before = nonce_size, .behind = tag_size},
                           [&](tunport::MutableBytes datagram) { cipher.seal(datagram); });
      },
      tunport::PacketForm::whole);
  udp.on_datagram([&](const tunport::Datagram& datagram) {
    if (datagram.from != *peer) return udp.drop(tunport::DropReason::ip_bad_source);
    const tunport::Bytes packet = cipher.open(datagram.data);
    if (packet.empty()) return udp.drop(not_sealed);
    tun.write(packet);
  });

  std::error_code lost;
  tun.on_connection_lost([&](const std::error_code& reason) {
    lost = reason;
    io.stop();
  });
  asio::signal_set signals{io, SIGINT, SIGTERM};
  signals.async_wait([&](const std::error_code&, int) { io.stop(); });
  tun.start_listening();
  udp.start_listening();
  std::cout << tun << ' ' << udp << std::endl;
  io.run();  // until the device is deleted, or a signal
  std::cout << "received " << udp.statistics().packets_in << ", dropped: " << udp.statistics().drops
            << std::endl;
  if (lost) throw tunport::Error{lost, tun.get_host().name};
} catch (const std::exception& error) {
  std::cerr << "example_vpn_sealed: " << error.what() << '\n';
  return 1;
}
