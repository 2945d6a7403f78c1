#include "tools/dtrpo/up_command.h"

#include <signal.h>

#include <csignal>
#include <filesystem>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "tools/certs/role_certificates.h"
#include "tools/local_cluster/local_cluster.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kTendEvery = absl::Milliseconds(100);

constexpr char kHelp[] =
    R"(Starts a coordinator, a replay store, a reference, a learner and the rollouts as child processes
on loopback, one log each, and looks after them: one that dies is started again, visibly and with
back-off. Ctrl-C (or SIGTERM) stops all of them in order.

  DIR/logs/NAME.log      what each prints          DIR/config/NAME.yaml   what it was started with
  DIR/cluster.json       pids and addresses        DIR/store              jobs and their pairs

Then, from another terminal:  dtrpoctl --address 127.0.0.1:7070 submit job.yaml --watch)";

// The only thing a signal handler may do safely.
volatile std::sig_atomic_t stop_requested = 0;
void RequestStop(int) { stop_requested = 1; }

// The services lie beside this program.
absl::StatusOr<std::string> BinDir() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::InternalError(absl::StrCat("/proc/self/exe: ", error.message()));
  return self.parent_path().string();
}

}  // namespace

void UpCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  app->add_option("--dir", dir_, "where logs, configurations and cluster.json go")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_option("--rollouts", rollouts_,
                  "rollout services; 0: none, for jobs with data.pairs alone")
      ->check(CLI::Range(0, 1024))
      ->type_name("N")
      ->capture_default_str();
  app->add_option(
         "--replay-shards", replay_shards_,
         "replay stores that jobs are spread over; the same number as long as DIR has jobs")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->capture_default_str();
  app->add_flag("--fresh", fresh_,
                "forget the jobs in DIR and their pairs; without it they go on. Checkpoints stay");
  app->add_option("--cores", cores_, "cores to divide among the services; 0: all")
      ->check(CLI::Range(0, 4096))
      ->type_name("N")
      ->capture_default_str();
  app->add_option("--port", port_, "the coordinator's port on 127.0.0.1; 0: a free one")
      ->check(CLI::Range(0, 65535))
      ->type_name("PORT")
      ->capture_default_str();
  app->add_option("--log-level", log_level_, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app->add_flag(
      "--tls", tls_,
      "encrypt all connections, with certificates that are made in DIR/certs, for 30 days");
}

absl::Status UpCommand::Run() {
  LocalClusterOptions options;
  std::error_code error;
  options.dir = std::filesystem::absolute(dir_, error).string();
  DTRPO_ASSIGN_OR_RETURN(options.bin_dir, BinDir());
  options.rollouts = rollouts_;
  options.replay_shards = replay_shards_;
  options.fresh = fresh_;
  options.cores = cores_;
  options.coordinator_port = port_;
  options.log_level = log_level_;
  if (tls_) {
    options.tls_dir = options.dir + "/certs";
    RoleCertificateOptions certificates;
    certificates.dir = options.tls_dir;
    DTRPO_RETURN_IF_ERROR(MakeRoleCertificates(certificates));
  }

  struct sigaction action = {};
  action.sa_handler = RequestStop;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);

  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<LocalCluster> cluster, LocalCluster::Start(options));
  for (const LocalCluster::Member& member : cluster->members()) {
    std::cout << absl::StrFormat("%-12s pid %-8d %s\n", member.name, member.pid, member.address);
  }
  std::cout << "up: coordinator=" << cluster->coordinator_address() << " dir=" << options.dir
            << std::endl;
  if (tls_) {
    const rpc::TlsFiles client = RoleFiles(options.tls_dir, "client");
    std::cout << "for dtrpoctl: export DTRPO_TLS_CERTIFICATE=" << client.certificate
              << " DTRPO_TLS_KEY=" << client.key << " DTRPO_TLS_CA=" << client.ca << std::endl;
  }
  while (stop_requested == 0) {
    cluster->Tend(
        [](const std::string& event) { std::cerr << "dtrpo up: " << event << std::endl; });
    absl::SleepFor(kTendEvery);
  }
  std::cerr << "dtrpo up: stopping" << std::endl;
  cluster->Stop();
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
