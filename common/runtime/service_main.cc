#include "common/runtime/service_main.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/file_system.h"
#include "common/base/logging.h"

namespace dtrpo::runtime {
namespace {

constexpr int kFailedExitCode = 1;
constexpr int kBadUsageExitCode = 2;

}  // namespace

int RunServiceProgram(int argc, char** argv, const ServiceProgram& program) {
  // Debian builds Abseil without NDEBUG, and such a build checks the order of locks at every lock.
  // Tests keep the check.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const std::string program_name = absl::StrCat("dtrpo-", program.role);
  std::vector<std::string> config_files;
  std::string name, port_file;
  bool print_config = false;
  CLI::App app(absl::StrCat("The ", program.role, " service of dTRPO."), program_name);
  app.add_option("--config", config_files,
                 "YAML configuration (proto/dtrpo/v1/config.proto); given more than once, a later "
                 "file replaces the fields that it names");
  app.add_option("--name", name, "Name of this process in logs and calls; default: its role");
  app.add_option("--port-file", port_file, "Where to write the bound ports, as JSON");
  app.add_flag("--print-config", print_config, "Print the configuration in effect and exit");
  try {  // CLI11 reports by throwing, --help included
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kBadUsageExitCode;
  }

  auto fail = [&](const absl::Status& status, int exit_code) {
    std::cerr << program_name << ": " << status.message() << std::endl;
    return exit_code;
  };
  absl::Status loaded;
  for (size_t i = 0; i < config_files.size() && loaded.ok(); ++i) {
    const bool last = i + 1 == config_files.size();
    loaded = LoadConfig(base::PosixFileSystem(), config_files[i], program.config,
                        last ? program.check : nullptr);
  }
  if (config_files.empty()) {
    loaded = ParseConfig("", "configuration", program.config, program.check);
  }
  if (!loaded.ok()) return fail(loaded, kBadUsageExitCode);
  if (!port_file.empty()) program.server->set_port_file(port_file);
  if (print_config) {
    std::cout << PrintConfigWithoutSecrets(*program.config);
    return 0;
  }

  HostOptions options;
  options.role = program.role;
  options.name = name;
  options.server = *program.server;
  absl::StatusOr<std::unique_ptr<ServiceHost>> host = ServiceHost::Create(std::move(options));
  if (!host.ok()) return fail(host.status(), kFailedExitCode);
  const absl::Status result = program.run(**host);
  return result.ok() ? 0 : fail(result, kFailedExitCode);
}

}  // namespace dtrpo::runtime
