#pragma once
/// The library on Asio: its reactor, and `async_receive` and `async_send`. Opt-in: needs standalone Asio,
/// which tunport itself does not.

#include "tunport/event/asio_reactor.hpp"
#include "tunport/port/asio_completion.hpp"
#include "tunport/tunport.hpp"
