#pragma once
/// USDT probes: places where a tracer (bpftrace, perf, SystemTap) may look in, provider "tunport". Each is a
/// nop and a note in the ELF file until somebody does; docs/packet-path.md lists them. Without <sys/sdt.h>
/// (Debian: systemtap-sdt-dev) at build time there are none.

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define TUNPORT_PROBE(name, first, second) STAP_PROBE2(tunport, name, first, second)
#else
#define TUNPORT_PROBE(name, first, second) (static_cast<void>(first), static_cast<void>(second))
#endif
