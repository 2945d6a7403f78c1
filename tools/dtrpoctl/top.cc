#include "tools/dtrpoctl/top.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/wire/job_codec.h"
#include "tools/dtrpoctl/display.h"
#include "tools/dtrpoctl/exit_codes.h"

namespace dtrpo::ctl {
namespace {

// A wait as long as this is worth a place on the screen.
constexpr int64_t kNotableMs = 1000;

std::string Ago(int64_t unix_ms, int64_t now_unix_ms) {
  if (unix_ms == 0) return "never";
  return absl::StrFormat("%.1fs ago",
                         static_cast<double>(std::max<int64_t>(0, now_unix_ms - unix_ms)) / 1000);
}

// The wait that lasts longest.
std::string WaitOf(const v1::WorkerStatus& worker, int64_t now_unix_ms) {
  const v1::WaitState* oldest = nullptr;
  for (const v1::WaitState& wait : worker.waits()) {
    if (oldest == nullptr || wait.since_unix_ms() < oldest->since_unix_ms()) oldest = &wait;
  }
  if (oldest == nullptr || now_unix_ms - oldest->since_unix_ms() < kNotableMs) return "-";
  return absl::StrFormat("%s from %s, %.0fs", oldest->what(), oldest->on_whom(),
                         static_cast<double>(now_unix_ms - oldest->since_unix_ms()) / 1000);
}

void AddPeer(const v1::WorkerStatus& worker, const v1::JobStatus* job, int64_t now_unix_ms,
             const std::string& state, std::vector<Row>* rows) {
  const bool serves = worker.role() == "rollout" && worker.version() >= 0 && job != nullptr;
  rows->push_back(
      {worker.worker_id(), serves ? absl::StrCat(worker.version()) : "-",
       serves ? absl::StrCat(std::max<int64_t>(0, job->version() - worker.version())) : "-",
       Ago(worker.last_heartbeat_unix_ms(), now_unix_ms), state, WaitOf(worker, now_unix_ms)});
}

}  // namespace

std::string TopFrame(const v1::ListJobsResponse& jobs, const v1::ListWorkersResponse& workers) {
  const int64_t now = workers.now_unix_ms();
  const v1::JobStatus* head = nullptr;
  std::string text;
  int over = 0;
  for (const v1::JobStatus& job : jobs.jobs()) {
    if (wire::IsFinal(job.state())) {
      ++over;
      continue;
    }
    if (head == nullptr) head = &job;
    const v1::PromptCounts& prompts = job.prompts();
    absl::StrAppend(&text, ProgressLine(job), "\n  prompts: ", prompts.leased(), " leased, ",
                    prompts.waiting(), " waiting, ", prompts.stored(), " stored, ",
                    prompts.consumed(), " consumed, ", prompts.no_pair(), " without a pair, ",
                    prompts.failed(), " failed\n");
  }
  if (head == nullptr) text = "no job runs\n";
  absl::StrAppend(&text, "jobs that are over: ", over, "\n\n");

  std::vector<Row> rows = {{"WHO", "VERSION", "LAG", "HEARD", "STATE", "WAITS FOR"}};
  for (const v1::WorkerStatus& worker : workers.workers()) {
    AddPeer(worker, head, now, worker.state(), &rows);
  }
  for (const v1::WorkerStatus& shard : workers.replay_shards()) {
    AddPeer(shard, head, now, shard.state(), &rows);
  }
  for (const v1::WorkerStatus& worker : workers.lost()) {
    AddPeer(worker, nullptr, now, "SILENT; last: " + worker.state(), &rows);
  }
  return text + Table(rows);
}

int Top(const Session& session, const TopOptions& options) {
  for (;;) {
    const absl::Time deadline = session.clock->Now() + session.timeout;
    const auto jobs = session.client->List(deadline);
    const auto workers = jobs.ok() ? session.client->ListWorkers(deadline)
                                   : absl::StatusOr<v1::ListWorkersResponse>(jobs.status());
    if (options.once && !workers.ok()) return Report(session, workers.status());
    std::string frame = workers.ok()
                            ? TopFrame(*jobs, *workers)
                            : absl::StrCat("no answer from the coordinator at ", session.address,
                                           ": ", workers.status().message(), "\n");
    if (session.live_columns > 0 && !options.once) {
      // Lines are cut, so that none wraps; what was below an earlier, longer frame is cleared.
      std::string screen = "\x1b[H";
      for (absl::string_view line : absl::StrSplit(frame, '\n')) {
        absl::StrAppend(&screen, line.substr(0, session.live_columns), "\x1b[K\n");
      }
      frame = screen + "\x1b[J";
    }
    *session.out << frame << std::flush;
    if (options.once) return kOk;
    session.clock->SleepFor(absl::Seconds(options.interval_seconds));
  }
}

}  // namespace dtrpo::ctl
