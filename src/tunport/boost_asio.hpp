#pragma once
/// The library on Boost.Asio: `BoostAsioReactor`. Opt-in: needs Boost, unlike the rest of tunport. Completion
/// tokens (`async_receive`) are for standalone Asio.

#include "tunport/event/boost_asio_reactor.hpp"
#include "tunport/tunport.hpp"
