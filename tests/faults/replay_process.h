// Not thread-safe. dtrpo-replay as a process that a test kills and starts again, always on the same
// port and the same folder.
#pragma once

#include <csignal>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/atomic_file.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tools/local_cluster/child_process.h"

namespace dtrpo::faults {

class ReplayProcess {
 public:
  // `settings`: lines of the configuration; `server`: lines of its section `server`, indented by 2.
  // `program`: another service, "coordinator".
  ReplayProcess(std::string folder, std::string settings, std::string server = "",
                std::string program = "replay")
      : folder_(std::move(folder)),
        settings_(std::move(settings)),
        server_(std::move(server)),
        program_(std::move(program)) {}

  // Returns once it answers. `fault_points`: as DTRPO_FAULT_POINTS. DEADLINE_EXCEEDED after a
  // minute; ABORTED when it died before, as a fault point in recovery makes it.
  absl::Status Start(const std::string& fault_points = "") {
    const std::string config = folder_ + "/replay.yaml";
    const std::string ports = folder_ + "/ports.json";
    std::remove(ports.c_str());
    DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(
        base::PosixFileSystem(), config,
        absl::StrCat(settings_, "server:\n  listen: \"127.0.0.1:", port_,
                     "\"\n  metrics_listen: \"off\"\n  log_level: info\n  port_file: \"", ports,
                     "\"\n", server_)));
    DTRPO_ASSIGN_OR_RETURN(
        tools::ChildProcess child,
        tools::ChildProcess::Start(
            {.arguments = {DTRPO_BIN_DIR "/dtrpo-" + program_, "--config", config},
             .environment = {"DTRPO_FAULT_POINTS=" + fault_points},
             .log_path = log_path()}));
    child_ = child;
    for (const absl::Time end = absl::Now() + absl::Minutes(1); absl::Now() < end;) {
      std::ifstream file(ports);
      const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
      if (json.is_object() && json.contains("grpc")) {
        address_ = json["grpc"].get<std::string>();
        port_ = address_.substr(address_.rfind(':') + 1);
        return absl::OkStatus();
      }
      if (const auto ended = child_->PollEnd()) return absl::AbortedError(*ended);
      absl::SleepFor(absl::Milliseconds(2));
    }
    return absl::DeadlineExceededError("dtrpo-replay has bound no port; see " + log_path());
  }

  bool Running() { return child_.has_value() && !child_->PollEnd().has_value(); }

  // SIGKILL, and waits for the end.
  void Kill() {
    child_->Signal(SIGKILL);
    while (Running()) absl::SleepFor(absl::Milliseconds(1));
  }
  // SIGTERM; how it ended.
  std::string Stop() { return child_->Stop(absl::Seconds(30)); }

  pid_t pid() const { return child_->pid(); }
  const std::string& address() const { return address_; }
  std::string log_path() const { return folder_ + "/replay.log"; }

 private:
  const std::string folder_;
  const std::string settings_;
  const std::string server_;
  const std::string program_;
  std::string port_ = "0";
  std::string address_;
  std::optional<tools::ChildProcess> child_;
};

}  // namespace dtrpo::faults
