/// tunport_bench: the port against bare loops, on a real TUN in a private namespace.

#include <exception>
#include <fstream>
#include <iostream>

#include <CLI/CLI.hpp>

#include "tunport/device/device.hpp"

#include "rows.hpp"
#include "stage.hpp"

namespace tunport::bench {
namespace {

/// The status of a smoke test that cannot run here.
constexpr int skipped = 77;

int run(const Settings& settings) {
  std::ofstream out;
  if (!settings.out.empty()) {
    out.open(settings.out);
    if (!out) throw std::runtime_error{settings.out + ": cannot be written"};
  }
  try {
    enter_namespace();
    Device::open(DeviceKind::tun, interface_name);  // every row needs a device; the error tells the cause
  } catch (const std::exception& error) {
    if (!settings.smoke) throw;
    std::cerr << "tunport_bench: skipped: " << error.what() << '\n';
    return skipped;
  }
  std::vector<Result> results;
  bool failed = false;
  for (const auto& family : {receive_rows(), queue_rows(), write_rows(), forward_rows(), latency_rows(),
                             memory_rows(), udp_rows(), vpn_rows(), gate_rows()}) {
    for (const Comparison& comparison : family) {
      try {
        for (Result& result : compare(comparison, settings, std::cerr)) results.push_back(std::move(result));
      } catch (const NotHere& error) {
        std::cerr << comparison.rows.front().name << ": left out: " << error.what() << '\n';
      } catch (const Unsteady& error) {
        std::cerr << comparison.rows.front().name << ": " << error.what() << '\n';
        failed = failed || !settings.smoke;
      } catch (const std::exception& error) {
        std::cerr << comparison.rows.front().name << ": " << error.what() << '\n';
        failed = true;
      }
    }
  }
  if (settings.smoke) return failed ? 1 : 0;
  if (!results.empty()) std::cout << to_table(results);
  if (out.is_open()) out << to_json(results) << std::flush;
  return failed || results.empty() || (out.is_open() && !out) ? 1 : 0;
}

}  // namespace
}  // namespace tunport::bench

int main(int argc, char** argv) {
  tunport::bench::Settings settings;
  CLI::App app{"Measures tunport's port against bare loops, on a TUN in a network namespace of its own."};
  app.add_option("--out", settings.out, "write the results to this file as JSON");
  app.add_option("--filter", settings.filter, "only rows whose name matches this regular expression");
  app.add_option("--pairs", settings.pairs, "pairs of measurements for each row")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--seconds", settings.seconds, "length of one measurement")
      ->check(CLI::Range(0.01, 60.0))
      ->capture_default_str();
  app.add_flag("--smoke", settings.smoke, "only see whether every row runs; judge and write nothing");
  try {
    app.parse(argc, argv);
    return tunport::bench::run(settings);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const std::exception& error) {
    std::cerr << "tunport_bench: " << error.what() << '\n';
    return 1;
  }
}
