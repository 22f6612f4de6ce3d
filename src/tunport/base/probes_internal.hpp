#pragma once
/// USDT probes for tracers (bpftrace, perf, SystemTap), provider "tunport". Without a tracer a probe is a nop
/// and a note in the ELF file; docs/packet-path.md lists the probes. A build without <sys/sdt.h> (Debian:
/// systemtap-sdt-dev) has no probes.

#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define TUNPORT_PROBE(name, first, second) STAP_PROBE2(tunport, name, first, second)
#else
#define TUNPORT_PROBE(name, first, second) (static_cast<void>(first), static_cast<void>(second))
#endif
