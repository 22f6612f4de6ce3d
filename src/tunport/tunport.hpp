#pragma once
/// The whole library, except the parts that need Asio (tunport/asio.hpp), {fmt} (tunport/fmt.hpp) or spdlog
/// (tunport/spdlog.hpp).

#include "tunport/base/log.hpp"
#include "tunport/device/device.hpp"
#include "tunport/device/queues.hpp"
#include "tunport/event/epoll_reactor.hpp"
#include "tunport/event/link_watch.hpp"
#include "tunport/event/poll_reactor.hpp"
#include "tunport/host/host.hpp"
#include "tunport/host/udp_echo.hpp"
#include "tunport/port/function_protocol.hpp"
#include "tunport/port/port_config.hpp"
#include "tunport/port/tuntap_port.hpp"
#include "tunport/port/udp_port.hpp"
#include "tunport/protocol/ethernet_demux.hpp"
#include "tunport/protocol/ip_demux.hpp"
#include "tunport/protocol/udp_demux.hpp"
#include "tunport/wire/arp.hpp"
#include "tunport/wire/checksum.hpp"
#include "tunport/wire/icmp.hpp"
#include "tunport/wire/ipv6.hpp"
#include "tunport/wire/tcp.hpp"
