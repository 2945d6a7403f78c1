#include "tools/local_cluster/local_cluster.h"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(20);
constexpr absl::Duration kStableAfter =
    absl::Seconds(60);  // a service that lived so long starts its back-off anew

// Start order; the coordinator needs replay's address, the workers the coordinator's.
constexpr const char* kKinds[] = {"replay", "coordinator", "reference", "learner", "rollout"};

std::string LogTail(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    lines.push_back(line);
    if (lines.size() > 5) lines.erase(lines.begin());
  }
  std::string tail;
  for (const std::string& line : lines) absl::StrAppend(&tail, "\n  ", line);
  return tail;
}

}  // namespace

struct LocalCluster::Service {
  std::string name, kind;
  std::string listen =
      "127.0.0.1:0";  // after the first start: the port it got, so that a restart keeps it
  std::string address, metrics_address;
  std::optional<ChildProcess> child;
  absl::Time started, restart_at = absl::InfiniteFuture();
  absl::Duration backoff;
  int restarts = 0;
};

LocalCluster::LocalCluster(LocalClusterOptions options) : options_(std::move(options)) {}
LocalCluster::~LocalCluster() { Stop(); }

absl::StatusOr<std::unique_ptr<LocalCluster>> LocalCluster::Start(
    const LocalClusterOptions& options) {
  if (options.rollouts < 0) return absl::InvalidArgumentError("rollouts: less than 0");
  if (options.replay_shards < 1) return absl::InvalidArgumentError("replay_shards: less than 1");
  if (options.learners < 1) return absl::InvalidArgumentError("at least one learner is needed");
  std::unique_ptr<LocalCluster> cluster(new LocalCluster(options));
  DTRPO_RETURN_IF_ERROR(cluster->StartAll());
  return cluster;
}

absl::Status LocalCluster::StartAll() {
  base::FileSystem* files = base::PosixFileSystem();
  for (const char* sub : {"config", "logs", "ports", "store"}) {
    DTRPO_RETURN_IF_ERROR(files->MakeDirectories(absl::StrCat(options_.dir, "/", sub)));
  }
  DTRPO_RETURN_IF_ERROR(PrepareStores());
  for (const char* kind : kKinds) {
    const bool is_rollout = std::string(kind) == "rollout";
    const int count = is_rollout                       ? options_.rollouts
                      : std::string(kind) == "learner" ? options_.learners
                      : std::string(kind) == "replay"  ? options_.replay_shards
                                                       : 1;
    for (int i = 0; i < count; ++i) {
      auto service = std::make_unique<Service>();
      service->kind = kind;
      service->name = is_rollout || count > 1 ? absl::StrCat(kind, "-", i) : kind;
      service->backoff = options_.first_backoff;
      if (service->kind == "coordinator")
        service->listen = absl::StrCat("127.0.0.1:", options_.coordinator_port);
      services_.push_back(std::move(service));
    }
  }
  for (const auto& service : services_) {
    DTRPO_RETURN_IF_ERROR(StartService(*service));
    // Later services need these addresses; the workers may come up side by side.
    if (service->kind == "replay" || service->kind == "coordinator")
      DTRPO_RETURN_IF_ERROR(AwaitPorts(*service));
  }
  for (const auto& service : services_) DTRPO_RETURN_IF_ERROR(AwaitPorts(*service));
  return WriteClusterFile();
}

int LocalCluster::ThreadsOf(const std::string& kind) const {
  const int cores =
      options_.cores > 0 ? options_.cores : static_cast<int>(std::thread::hardware_concurrency());
  // The learner and the rollouts work all the time, the reference in between.
  if (kind == "learner") return std::max(1, cores / 2 / options_.learners);
  if (kind == "rollout") return std::max(1, (cores - cores / 2) / std::max(1, options_.rollouts));
  return std::max(1, cores / 4);
}

LocalCluster::Service* LocalCluster::Find(const std::string& kind) const {
  for (const auto& service : services_) {
    if (service->kind == kind) return service.get();
  }
  return nullptr;
}

// The stores of jobs that were begun with another number of shards are of no use to them.
absl::Status LocalCluster::PrepareStores() const {
  base::FileSystem* files = base::PosixFileSystem();
  const std::string folder = options_.dir + "/store", note = folder + "/replay_shards";
  const absl::StatusOr<std::string> noted = files->Read(note);
  const std::string shards = absl::StrCat(options_.replay_shards, "\n");
  if (options_.fresh) {
    DTRPO_RETURN_IF_ERROR(files->RemoveTree(folder));
    DTRPO_RETURN_IF_ERROR(files->MakeDirectories(folder));
  } else if (noted.ok() && *noted != shards) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder, ": holds jobs that began with ", absl::StripTrailingAsciiWhitespace(*noted),
        " replay shards, not ", options_.replay_shards,
        "; give the same number (--replay-shards), or forget them (--fresh)"));
  }
  return base::WriteFileAtomically(files, note, shards);
}

std::string LocalCluster::ReplayFolder(const Service& service) const {
  return absl::StrCat(options_.dir, "/store/", service.name);
}
std::string LocalCluster::CoordinatorFolder() const { return options_.dir + "/store/coordinator"; }

std::string LocalCluster::ConfigOf(const Service& service) const {
  std::string yaml;
  if (service.kind == "coordinator") {
    std::vector<std::string> shards;
    for (const auto& one : services_) {
      if (one->kind == "replay") shards.push_back(absl::StrCat("\"", one->address, "\""));
    }
    absl::StrAppend(&yaml, "replay: [", absl::StrJoin(shards, ", "), "]\npath: \"",
                    CoordinatorFolder(), "\"\n");
  } else if (service.kind == "replay") {
    absl::StrAppend(&yaml, "engine: rocksdb\npath: \"", ReplayFolder(service), "\"\n");
  } else {
    absl::StrAppend(&yaml, "coordinator: \"", Find("coordinator")->address, "\"\n",
                    "threads: ", ThreadsOf(service.kind), "\n");
  }
  absl::StrAppend(&yaml, "server:\n  listen: \"", service.listen,
                  "\"\n  metrics_listen: \"127.0.0.1:0\"\n  log_level: ", options_.log_level,
                  "\n  port_file: \"", options_.dir, "/ports/", service.name, ".json\"\n");
  if (!options_.tls_dir.empty()) {
    const std::string folder = absl::StrCat(options_.tls_dir, "/", service.kind, "/");
    absl::StrAppend(&yaml, "  tls: {certificate: \"", folder, "tls.crt\", key: \"", folder,
                    "tls.key\", ca: \"", folder, "ca.crt\"}\n");
  }
  if (options_.extra_config) absl::StrAppend(&yaml, options_.extra_config(service.kind));
  return yaml;
}

absl::Status LocalCluster::StartService(Service& service) {
  const std::string config = absl::StrCat(options_.dir, "/config/", service.name, ".yaml");
  const std::string ports = absl::StrCat(options_.dir, "/ports/", service.name, ".json");
  std::error_code ignored;
  std::filesystem::remove(ports, ignored);
  DTRPO_RETURN_IF_ERROR(
      base::WriteFileAtomically(base::PosixFileSystem(), config, ConfigOf(service)));
  const int threads = ThreadsOf(service.kind);
  DTRPO_ASSIGN_OR_RETURN(ChildProcess child,
                         ChildProcess::Start({
                             .arguments = {absl::StrCat(options_.bin_dir, "/dtrpo-", service.kind),
                                           "--config", config},
                             .environment = {absl::StrCat("OMP_NUM_THREADS=", threads)},
                             .log_path = absl::StrCat(options_.dir, "/logs/", service.name, ".log"),
                         }));
  service.child = std::move(child);
  service.started = absl::Now();
  service.restart_at = absl::InfiniteFuture();
  service.address.clear();
  return absl::OkStatus();
}

bool LocalCluster::ReadPorts(Service& service) const {
  std::ifstream file(absl::StrCat(options_.dir, "/ports/", service.name, ".json"));
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("grpc")) return false;
  service.address = json["grpc"].get<std::string>();
  service.metrics_address = json.value("metrics", "");
  service.listen = service.address;
  return true;
}

absl::Status LocalCluster::AwaitPorts(Service& service) const {
  const std::string log = absl::StrCat(options_.dir, "/logs/", service.name, ".log");
  const absl::Time deadline = absl::Now() + options_.start_timeout;
  while (service.address.empty() && !ReadPorts(service)) {
    if (const auto end = service.child->PollEnd()) {
      return absl::FailedPreconditionError(absl::StrCat(
          service.name, " ", *end, " while starting; end of ", log, ":", LogTail(log)));
    }
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(service.name, " has bound no port after ",
                                                      absl::FormatDuration(options_.start_timeout),
                                                      "; end of ", log, ":", LogTail(log)));
    }
    absl::SleepFor(kPollInterval);
  }
  return absl::OkStatus();
}

void LocalCluster::Tend(const std::function<void(const std::string&)>& report) {
  bool changed = false;
  for (const auto& service : services_) {
    if (service->child.has_value()) {
      const auto end = service->child->PollEnd();
      if (!end.has_value()) {
        if (service->address.empty() && ReadPorts(*service)) changed = true;
        continue;
      }
      if (absl::Now() - service->started > kStableAfter) service->backoff = options_.first_backoff;
      report(absl::StrCat(service->name, " (pid ", service->child->pid(), ") ", *end,
                          "; restarting in ", absl::FormatDuration(service->backoff),
                          ", log: ", options_.dir, "/logs/", service->name, ".log"));
      service->child.reset();
      service->restart_at = absl::Now() + service->backoff;
      service->backoff = std::min(service->backoff * 2, options_.max_backoff);
      changed = true;
    } else if (absl::Now() >= service->restart_at) {
      const absl::Status status = StartService(*service);
      if (status.ok()) {
        ++service->restarts;
        report(absl::StrCat(service->name, " started again as pid ", service->child->pid()));
      } else {
        report(absl::StrCat(service->name, ": ", status.message()));
        service->restart_at = absl::Now() + service->backoff;
      }
      changed = true;
    }
  }
  if (changed) {
    if (const absl::Status status = WriteClusterFile(); !status.ok())
      report(std::string(status.message()));
  }
}

void LocalCluster::Stop() {
  // Workers first: they hand their leases back while the others still answer.
  const auto stop = [this](const std::function<bool(const std::string&)>& chosen) {
    for (const auto& service : services_) {
      if (service->child.has_value() && chosen(service->kind)) service->child->Signal(SIGTERM);
    }
    for (const auto& service : services_) {
      if (!service->child.has_value() || !chosen(service->kind)) continue;
      service->child->Stop(options_.stop_patience);
      service->child.reset();
    }
  };
  stop([](const std::string& kind) { return kind != "coordinator" && kind != "replay"; });
  stop([](const std::string& kind) { return kind == "coordinator"; });
  stop([](const std::string&) { return true; });
}

std::vector<LocalCluster::Member> LocalCluster::members() const {
  std::vector<Member> members;
  for (const auto& service : services_) {
    members.push_back({.name = service->name,
                       .kind = service->kind,
                       .address = service->address,
                       .metrics_address = service->metrics_address,
                       .pid = service->child.has_value() ? service->child->pid() : 0,
                       .running = service->child.has_value(),
                       .restarts = service->restarts});
  }
  return members;
}

std::string LocalCluster::coordinator_address() const { return Find("coordinator")->address; }

absl::Status LocalCluster::WriteClusterFile() const {
  nlohmann::json json = nlohmann::json::object();
  for (const Member& member : members()) {
    json[member.name] = {{"kind", member.kind},
                         {"pid", member.pid},
                         {"address", member.address},
                         {"metrics", member.metrics_address},
                         {"restarts", member.restarts}};
  }
  return base::WriteFileAtomically(
      base::PosixFileSystem(), absl::StrCat(options_.dir, "/cluster.json"), json.dump(2) + "\n");
}

}  // namespace dtrpo::tools
