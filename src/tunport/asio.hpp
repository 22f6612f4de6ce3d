#pragma once
/// The library on Asio: `AsioReactor`, `async_receive` and `async_send`. Opt-in: needs standalone Asio,
/// unlike the rest of tunport.

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/asio_completion.hpp"
#include "tunport/tunport.hpp"
