// Not thread-safe: one command per process.
//
// What each subcommand does, apart from how it is spelled on the command line. Output goes to the
// streams that are passed in; each function returns the exit code (exit_codes.h).
#pragma once

#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/wire/job_client.h"

namespace dtrpo::ctl {

struct Session {
  wire::JobClient* client;
  std::string address;  // of the coordinator, for messages
  std::ostream* out;
  std::ostream* err;
  bool json = false;
  size_t live_columns =
      0;  // of the terminal that `out` is: the progress line is rewritten; 0: none
  absl::Duration timeout =
      absl::Seconds(10);  // of a call; submitting takes longer, see commands.cc
  base::Clock* clock = base::RealClock();
  base::FileSystem* files = base::PosixFileSystem();
};

struct SubmitOptions {
  std::string file;
  std::string directory;  // that relative paths in the file are taken from
  std::string idempotency_key;
  bool dry_run = false;
  bool watch = false;
};

int Submit(const Session& session, const SubmitOptions& options);
int Get(const Session& session, const std::string& job_id, bool steps);
int List(const Session& session);
// Until the job is over, or the coordinator was silent for half a minute.
int Watch(const Session& session, const std::string& job_id);
int Cancel(const Session& session, const std::string& job_id, const std::string& reason);
int Pause(const Session& session, const std::string& job_id);
int Resume(const Session& session, const std::string& job_id);
int Workers(const Session& session);

// Says on `err` what went wrong and returns its exit code.
int Report(const Session& session, const absl::Status& status);

}  // namespace dtrpo::ctl
