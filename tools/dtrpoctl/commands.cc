#include "tools/dtrpoctl/commands.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/runtime/config_loader.h"
#include "common/wire/job_codec.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"
#include "tools/dtrpoctl/job_file.h"

namespace dtrpo::ctl {
namespace {

// The coordinator reads and checks every prompt before it answers.
constexpr absl::Duration kSubmitTimeout = absl::Minutes(2);
constexpr absl::Duration kWatchSilence = absl::Seconds(30);
constexpr absl::Duration kWatchCall = absl::Seconds(30);
constexpr absl::Duration kPlainLineInterval = absl::Seconds(1);

absl::Time Deadline(const Session& session) { return session.clock->Now() + session.timeout; }

// Shows the status that a job was left in by a command.
int Show(const Session& session, const absl::StatusOr<v1::JobStatus>& status) {
  if (!status.ok()) return Report(session, status.status());
  *session.out << (session.json ? Json(*status) : ProgressLine(*status)) << "\n";
  return kOk;
}

int ExitCodeOf(v1::JobState state) {
  if (state == v1::FAILED) return kJobFailed;
  return state == v1::JOB_CANCELLED ? kJobCancelled : kOk;
}

// Prints statuses as they come: JSON lines, a line that is rewritten, or a line a second.
class ProgressPrinter {
 public:
  explicit ProgressPrinter(const Session& session) : session_(session) {}

  void Print(const v1::JobStatus& status) {
    if (session_.json) {
      *session_.out << Json(status) << std::endl;
      return;
    }
    std::string line = ProgressLine(status);
    const bool over = wire::IsFinal(status.state());
    if (session_.live_columns > 0) {
      // A line that wraps can't be rewritten; the last one may be as long as it is.
      if (!over) line.resize(std::min(line.size(), session_.live_columns - 1));
      // Blanks over what is left of a longer line before.
      const size_t blanks = last_width_ > line.size() ? last_width_ - line.size() : 0;
      *session_.out << "\r" << line << std::string(blanks, ' ') << (over ? "\n" : "") << std::flush;
      last_width_ = line.size();
      return;
    }
    const absl::Time now = session_.clock->Now();
    if (line == last_line_ || (now < next_line_ && !over)) return;
    *session_.out << line << std::endl;
    last_line_ = line;
    next_line_ = now + kPlainLineInterval;
  }

 private:
  const Session& session_;
  size_t last_width_ = 0;
  std::string last_line_;
  absl::Time next_line_ = absl::InfinitePast();
};

}  // namespace

int Report(const Session& session, const absl::Status& status) {
  const bool unreachable = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
  if (unreachable) {
    *session.err << "dtrpoctl: no answer from the coordinator at " << session.address << ": "
                 << status.message() << "\n";
    return kUnreachable;
  }
  *session.err << "dtrpoctl: ";
  if (absl::IsUnimplemented(status)) {
    *session.err << "the coordinator at " << session.address << " is of an older release: ";
  }
  *session.err << status.message() << "\n";
  return kFailed;
}

// Without a coordinator only the file is checked, and that is said.
int DryRun(const Session& session, const v1::JobSpec& spec) {
  absl::StatusOr<v1::SubmitJobResponse> checked =
      session.client->Events(/*job_id=*/"", /*after=*/0, Deadline(session)).status();
  if (absl::IsNotFound(checked.status())) {
    checked = session.client->DryRun(
        spec, session.clock->Now() + std::max(session.timeout, kSubmitTimeout));
  }
  const bool away =
      absl::IsUnavailable(checked.status()) || absl::IsDeadlineExceeded(checked.status());
  if (!checked.ok() && !away) return Report(session, checked.status());
  if (session.json) {
    *session.out << (checked.ok() ? Json(*checked) : Json(spec)) << "\n";
  } else {
    *session.out << runtime::PrintConfig(checked.ok() ? checked->spec() : spec);
  }
  if (away) {
    *session.err
        << "dtrpoctl: no coordinator at " << session.address
        << ": the files that the job names weren't looked at, and its sizes aren't known\n";
  } else if (!session.json) {
    *session.out << SizeLines(*checked);
  }
  return kOk;
}

int Submit(const Session& session, const SubmitOptions& options) {
  const auto spec = LoadJobFile(session.files, options.file, options.directory);
  if (!spec.ok()) return Report(session, spec.status());
  if (options.dry_run) return DryRun(session, *spec);
  const auto job_id =
      session.client->Submit(*spec, options.idempotency_key,
                             session.clock->Now() + std::max(session.timeout, kSubmitTimeout));
  if (!job_id.ok()) return Report(session, job_id.status());
  if (session.json) {
    v1::SubmitJobResponse response;
    response.set_job_id(*job_id);
    *session.out << Json(response) << std::endl;
  } else {
    *session.out << *job_id << std::endl;
  }
  return options.watch ? Watch(session, *job_id) : kOk;
}

int Get(const Session& session, const std::string& job_id, bool steps) {
  const auto status = session.client->Get(job_id, steps, Deadline(session));
  if (!status.ok()) return Report(session, status.status());
  *session.out << (session.json ? absl::StrCat(Json(*status), "\n") : Details(*status));
  return kOk;
}

int List(const Session& session) {
  const auto jobs = session.client->List(Deadline(session));
  if (!jobs.ok()) return Report(session, jobs.status());
  *session.out << (session.json ? absl::StrCat(Json(*jobs), "\n") : JobTable(*jobs));
  return kOk;
}

int Watch(const Session& session, const std::string& job_id) {
  // Tells a wrong id or address at once, without the patience of the watch.
  const auto first = session.client->Get(job_id, /*include_steps=*/false, Deadline(session));
  if (!first.ok()) return Report(session, first.status());

  ProgressPrinter printer(session);
  int64_t after_step = 0;
  absl::Time last_heard = session.clock->Now();
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  auto on_status = [&](const v1::JobStatus& status) {
    last_heard = session.clock->Now();
    state = status.state();
    for (const v1::StepRecord& step : status.steps()) {
      after_step = std::max(after_step, step.step());
    }
    printer.Print(status);
    return true;
  };
  for (;;) {
    const absl::Status end =
        session.client->Watch(job_id, after_step, on_status, session.clock->Now() + kWatchCall);
    if (end.ok()) return ExitCodeOf(state);
    const bool broken = absl::IsUnavailable(end) || absl::IsDeadlineExceeded(end);
    if (!broken || session.clock->Now() - last_heard > kWatchSilence) {
      if (session.live_columns > 0) *session.out << "\n";
      return Report(session, end);
    }
    session.clock->SleepFor(absl::Milliseconds(200));
  }
}

int Cancel(const Session& session, const std::string& job_id, const std::string& reason) {
  return Show(session, session.client->Cancel(job_id, reason, Deadline(session)));
}

int Pause(const Session& session, const std::string& job_id) {
  return Show(session, session.client->Pause(job_id, Deadline(session)));
}

int Resume(const Session& session, const std::string& job_id) {
  return Show(session, session.client->Resume(job_id, Deadline(session)));
}

int Workers(const Session& session) {
  const auto workers = session.client->ListWorkers(Deadline(session));
  if (!workers.ok()) return Report(session, workers.status());
  *session.out << (session.json ? absl::StrCat(Json(*workers), "\n")
                                : WorkerTable(*workers, absl::ToUnixMillis(session.clock->Now())));
  return kOk;
}

}  // namespace dtrpo::ctl
