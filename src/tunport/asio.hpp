#pragma once
/// The library on Asio: `AsioReactor`, `async_receive`, `async_send`, `async_request`, `async_accept` and
/// `relay`. Opt-in: needs standalone Asio, unlike the rest of tunport.

#include "tunport/event/asio_reactor.hpp"
#include "tunport/gate/asio_gate.hpp"
#include "tunport/gate/asio_relay.hpp"
#include "tunport/port/asio_completion.hpp"
#include "tunport/tunport.hpp"
