// The command line and the frame of main() of every service.
//
//   int main(int argc, char** argv) {
//     return runtime::ServiceMain<v1::ReplayConfig>(
//         argc, argv, "replay", DefaultReplayConfig(), CheckReplayConfig,
//         [](runtime::ServiceHost& host, const v1::ReplayConfig& config) -> absl::Status {
//           ReplayTables tables(config, host.clock(), host.metrics());
//           ReplayService service(&tables, host.stop());
//           DTRPO_RETURN_IF_ERROR(host.Start({&service}));
//           host.SetReady(true);
//           return host.RunUntilStopped();
//         });
//   }
//
// Flags: --config FILE (may be repeated: later files replace fields of earlier ones), --name NAME,
// --port-file FILE (overrides server.port_file), --print-config. Exit codes: 0 drained after a
// signal; 1 failed (one line on stderr says why); 2 bad flags or configuration; 70 drain overrun.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "common/runtime/config_loader.h"
#include "common/runtime/server_config.h"
#include "common/runtime/service_host.h"

namespace dtrpo::runtime {

// The parts of ServiceMain that don't depend on the type of the configuration.
struct ServiceProgram {
  std::string role;
  google::protobuf::Message* config;  // holds the defaults; filled from the file
  v1::ServerConfig* server;           // inside `config`
  ConfigCheck check;                  // of the whole configuration
  std::function<absl::Status(ServiceHost&)> run;
};
int RunServiceProgram(int argc, char** argv, const ServiceProgram& program);

// `Config` has a field `server` of type ServerConfig, which gets its defaults here.
// `check(config)` returns the problems of the other fields, as vector<FieldProblem>.
template <typename Config, typename Check, typename Run>
int ServiceMain(int argc, char** argv, const std::string& role, Config config, Check check,
                Run run) {
  *config.mutable_server() = DefaultServerConfig();
  ServiceProgram program;
  program.role = role;
  program.config = &config;
  program.server = config.mutable_server();
  program.check = [&] {
    std::vector<FieldProblem> problems = CheckServerConfig(config.server(), "server");
    for (FieldProblem& problem : check(config)) problems.push_back(std::move(problem));
    return problems;
  };
  program.run = [&](ServiceHost& host) { return run(host, std::as_const(config)); };
  return RunServiceProgram(argc, argv, program);
}

}  // namespace dtrpo::runtime
