// The part of Coordinator that makes jobs outlive the process.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/coordinator.h"
#include "services/coordinator/coordinator_operation.h"

namespace dtrpo::coordinator {
namespace {

constexpr absl::Duration kLogTimeout = absl::Seconds(20);
constexpr size_t kProgressEvery = 20000;  // operations

template <typename Message>
absl::StatusOr<Message> Parse(const LoggedOperation& operation) {
  Message message;
  if (message.ParseFromString(operation.message)) return message;
  return absl::DataLossError("the message of an operation can't be read");
}

// The limits under which a job was accepted, which a new configuration doesn't change.
std::string EncodeLimits(const JobRun::Options& options) {
  return absl::StrJoin(
      {absl::ToInt64Milliseconds(options.lease), static_cast<int64_t>(options.max_job_attempts),
       static_cast<int64_t>(options.max_prompt_attempts),
       absl::ToInt64Milliseconds(options.evaluation_give_up_after),
       absl::ToInt64Milliseconds(options.last_events_timeout),
       static_cast<int64_t>(options.vocabulary_size)},
      " ");
}

absl::Status DecodeLimits(absl::string_view text, JobRun::Options& options) {
  std::vector<int64_t> numbers;
  for (absl::string_view word : absl::StrSplit(text, ' ')) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(word, &number)) return absl::DataLossError("the limits of a job");
    numbers.push_back(number);
  }
  // Older logs don't know the vocabulary.
  if (numbers.size() != 5 && numbers.size() != 6) return absl::DataLossError("the limits of a job");
  options.lease = absl::Milliseconds(numbers[0]);
  options.max_job_attempts = static_cast<int32_t>(numbers[1]);
  options.max_prompt_attempts = static_cast<int32_t>(numbers[2]);
  options.evaluation_give_up_after = absl::Milliseconds(numbers[3]);
  options.last_events_timeout = absl::Milliseconds(numbers[4]);
  options.vocabulary_size = numbers.size() > 5 ? static_cast<int32_t>(numbers[5]) : 0;
  return absl::OkStatus();
}

PromptLines SplitLines(const std::string& text) {
  if (text.empty()) return {};
  return absl::StrSplit(text, '\n');
}

}  // namespace

// ------------------------------------------------------------------ logging

absl::Time Coordinator::Now() const { return repeating_ ? *repeating_ : deps_.clock->Now(); }

uint64_t Coordinator::Revisions() const {
  uint64_t sum = jobs_.size();
  for (const auto& job : jobs_) sum += job->revision();
  return sum;
}

uint64_t Coordinator::Digest() const {
  base::StableHasher hasher;
  hasher.Add(jobs_.size());
  for (const auto& job : jobs_) {
    if (!job->final()) hasher.Add(job->Digest());
  }
  return hasher.Finish();
}

std::vector<int64_t> Coordinator::TakeGivenUp() {
  std::vector<int64_t> versions;
  for (const auto& job : jobs_) {  // the head may just have ended
    const std::vector<int64_t> given_up = job->TakeGivenUp();
    versions.insert(versions.end(), given_up.begin(), given_up.end());
  }
  return versions;
}

void Coordinator::Log(const LoggedOperation& operation, std::vector<std::string> bodies) {
  next_body_ += static_cast<storage::BodyId>(bodies.size());
  if (deps_.engine == nullptr || repeating_ || !log_failed_.ok()) return;
  storage::Operations step;
  step.records.push_back(EncodeOperation(operation));
  storage::BodyId id = next_body_ - static_cast<storage::BodyId>(bodies.size());
  for (std::string& body : bodies) step.bodies.emplace_back(id++, std::move(body));
  const absl::StatusOr<storage::Written> written = deps_.engine->Write(kLog, std::move(step));
  if (written.ok()) {
    logged_ = written->sequence;
    logged_position_ = written->position;
    WriteSnapshotWhenDue();
    return;
  }
  // What happened in memory and isn't in the log must not be told to anybody.
  log_failed_ = base::Annotate(written.status(), "the coordinator's log");
  base::LogError("the log can't be written", {{"error", log_failed_}});
}

absl::Status Coordinator::Durable() {
  if (deps_.engine == nullptr) return absl::OkStatus();
  storage::Sequence logged = 0;
  {
    absl::MutexLock lock(&mutex_);
    DTRPO_RETURN_IF_ERROR(log_failed_);
    logged = logged_;
  }
  const absl::Time started = deps_.clock->Now();
  const absl::Status confirmed =
      deps_.engine->Confirm(logged, storage::Durability::kSync, kLogTimeout).status();
  deps_.metrics->log_confirm_seconds->Observe(absl::ToDoubleSeconds(deps_.clock->Now() - started));
  return base::Annotate(confirmed, "the coordinator's log");
}

bool Coordinator::LogFailed() {
  absl::MutexLock lock(&mutex_);
  return !log_failed_.ok();
}

std::string Coordinator::Accept(const v1::SubmitJobRequest& request, job::JobSpec spec,
                                PromptLines prompts, PromptLines heldout,
                                const JobRun::Options& options) {
  Operation operation(this, OperationKind::kSubmitJob, "", &request);
  operation.logged().text = EncodeLimits(options);
  operation.logged().number = next_body_;
  operation.AddBody(absl::StrJoin(prompts, "\n"));
  operation.AddBody(absl::StrJoin(heldout, "\n"));
  sources_.push_back({.first_body = operation.logged().number,
                      .prompts = static_cast<int64_t>(prompts.size()),
                      .heldout = static_cast<int64_t>(heldout.size())});
  const std::string id = absl::StrCat(spec.name, "-", jobs_.size() + 1);
  base::LogInfo("job submitted", {{"job", id},
                                  {"prompts", prompts.size()},
                                  {"heldout", heldout.size()},
                                  {"steps", spec.training.steps}});
  jobs_.push_back(std::make_unique<JobRun>(id, std::move(spec), std::move(prompts),
                                           std::move(heldout), options, operation.now()));
  if (repeating_) jobs_.back()->GiveUpOnly({});
  const std::string& key = request.idempotency_key();
  if (!key.empty()) by_key_[key] = id;
  deps_.metrics->jobs_submitted->Increment();
  TickLocked(operation.now());
  return id;
}

// ------------------------------------------------------------------ restoring

absl::Status Coordinator::Restore() {
  if (deps_.engine == nullptr) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const storage::LogSize size, deps_.engine->SizeOf(kLog));
  DTRPO_ASSIGN_OR_RETURN(const storage::Position snapshot,
                         base::Annotate(RestoreSnapshot(), "the coordinator's log"));
  // What was said then needn't be said again.
  base::LogLevel level = base::LogLevel::kDebug;
  while (!base::IsLogged(level)) level = static_cast<base::LogLevel>(static_cast<int>(level) + 1);
  if (size.last > 0) {
    base::LogInfo("restoring jobs",
                  {{"operations", size.last - snapshot}, {"in_snapshot", snapshot}});
  }
  base::SetLogLevel(base::LogLevel::kError);
  // Repeating asks the engine for prompts, which a visitor of its log may not do.
  std::vector<std::string> records;
  absl::Status read =
      deps_.engine->Replay(kLog, snapshot, [&records](storage::Position, absl::string_view record) {
        records.emplace_back(record);
        return absl::OkStatus();
      });
  for (size_t i = 0; i < records.size() && read.ok(); ++i) {
    absl::StatusOr<LoggedOperation> operation = DecodeOperation(records[i]);
    read = operation.ok() ? Repeat(*operation) : operation.status();
    read = base::Annotate(read, "operation ", snapshot + static_cast<int64_t>(i) + 1);
    if ((i + 1) % kProgressEvery != 0) continue;
    base::SetLogLevel(level);
    base::LogInfo("restoring jobs", {{"operation", i + 1}, {"of", records.size()}});
    base::SetLogLevel(base::LogLevel::kError);
  }
  base::SetLogLevel(level);
  DTRPO_RETURN_IF_ERROR(base::Annotate(read, "the coordinator's log"));
  {
    absl::MutexLock lock(&mutex_);
    repeating_.reset();
    logged_position_ = size.last;
    for (const auto& job : jobs_) job->GiveUpByTime();
  }
  if (size.last > 0) OnRestored("");
  return Durable();
}

void Coordinator::OnRestored(const std::string& why) {
  absl::MutexLock lock(&mutex_);
  Operation operation(this, OperationKind::kRestore);
  operation.Always();
  operation.logged().text = why;
  if (!why.empty()) base::LogWarning("leases and workers get a new term", {{"why", why}});
  workers_.RestoredAt(operation.now());
  for (const auto& job : jobs_) {
    if (!job->final()) job->RestoredAt(operation.now(), why);
  }
}

void Coordinator::GiveUpOnly(const std::vector<int64_t>& versions) {
  absl::MutexLock lock(&mutex_);
  if (JobRun* head = Head()) head->GiveUpOnly(versions);
}

void Coordinator::OnWorkerLost(const std::string& worker_id, const std::string& why) {
  absl::MutexLock lock(&mutex_);
  Operation operation(this, OperationKind::kLoseWorker, worker_id);
  operation.Always();
  operation.logged().text = why;
  workers_.Remove(worker_id);
  LoseWorker(worker_id, why, operation.now());
}

absl::Status Coordinator::RepeatSubmit(const LoggedOperation& operation) {
  DTRPO_ASSIGN_OR_RETURN(const auto request, Parse<v1::SubmitJobRequest>(operation));
  DTRPO_ASSIGN_OR_RETURN(job::JobSpec spec, wire::FromProto(request.spec()));
  JobRun::Options options = options_.job;
  DTRPO_RETURN_IF_ERROR(DecodeLimits(operation.text, options));
  PromptLines prompts, heldout;
  DTRPO_RETURN_IF_ERROR(ReadPrompts({.first_body = operation.number}, prompts, heldout));
  absl::MutexLock lock(&mutex_);
  Accept(request, std::move(spec), std::move(prompts), std::move(heldout), options);
  return absl::OkStatus();
}

absl::Status Coordinator::ReadPrompts(const JobSource& source, PromptLines& prompts,
                                      PromptLines& heldout) {
  DTRPO_ASSIGN_OR_RETURN(
      const std::vector<std::string> bodies,
      deps_.engine->ReadBodies(kLog, {source.first_body, source.first_body + 1}));
  prompts = SplitLines(bodies[0]);
  heldout = SplitLines(bodies[1]);
  return absl::OkStatus();
}

// Errors that the operation had then it has again; only what became of the jobs counts.
absl::Status Coordinator::Repeat(const LoggedOperation& operation) {
  {
    absl::MutexLock lock(&mutex_);
    repeating_ = operation.time;
  }
  GiveUpOnly(operation.given_up);
  auto repeat = [&](auto request, auto call) -> absl::Status {
    DTRPO_ASSIGN_OR_RETURN(request, Parse<decltype(request)>(operation));
    call(request);
    return absl::OkStatus();
  };
  absl::Status status;
  switch (operation.kind) {
    case OperationKind::kSubmitJob:
      status = RepeatSubmit(operation);
      break;
    case OperationKind::kCancelJob:
      status = repeat(v1::CancelJobRequest(), [&](auto& r) { CancelJob(r).IgnoreError(); });
      break;
    case OperationKind::kPauseJob:
      status = repeat(v1::PauseJobRequest(), [&](auto& r) { PauseJob(r).IgnoreError(); });
      break;
    case OperationKind::kResumeJob:
      status = repeat(v1::ResumeJobRequest(), [&](auto& r) { ResumeJob(r).IgnoreError(); });
      break;
    case OperationKind::kRollBackJob:
      status = repeat(v1::RollBackJobRequest(), [&](auto& r) { RollBackJob(r).IgnoreError(); });
      break;
    case OperationKind::kRegisterWorker:
      status =
          repeat(v1::RegisterWorkerRequest(), [&](auto& r) { RegisterWorker(r).IgnoreError(); });
      break;
    case OperationKind::kLoseWorker:
      OnWorkerLost(operation.name, operation.text);
      break;
    case OperationKind::kLeasePrompts:
      status = repeat(v1::LeasePromptsRequest(), [&](auto& r) { LeasePrompts(r).IgnoreError(); });
      break;
    case OperationKind::kReportPrompts:
      status = repeat(v1::ReportPromptsRequest(), [&](auto& r) { ReportPrompts(r).IgnoreError(); });
      break;
    case OperationKind::kRegisterVersion:
      status =
          repeat(v1::RegisterVersionRequest(), [&](auto& r) { RegisterVersion(r).IgnoreError(); });
      break;
    case OperationKind::kReportStep:
      status = repeat(v1::ReportStepRequest(), [&](auto& r) { ReportStep(r).IgnoreError(); });
      break;
    case OperationKind::kRegisterCheckpoint:
      status = repeat(v1::RegisterCheckpointRequest(),
                      [&](auto& r) { RegisterCheckpoint(r).IgnoreError(); });
      break;
    case OperationKind::kReportPairs:
      status = repeat(v1::ReportPairsRequest(), [&](auto& r) { ReportPairs(r).IgnoreError(); });
      break;
    case OperationKind::kFinishTraining:
      status =
          repeat(v1::FinishTrainingRequest(), [&](auto& r) { FinishTraining(r).IgnoreError(); });
      break;
    case OperationKind::kTick: {
      absl::MutexLock lock(&mutex_);
      Operation tick(this, OperationKind::kTick);
      TickLocked(tick.now());
      break;
    }
    case OperationKind::kReplayOpened:
      OnReplayOpened(operation.name,
                     absl::Status(static_cast<absl::StatusCode>(operation.number), operation.text));
      break;
    case OperationKind::kReplayClosed:
      OnReplayClosed(operation.name);
      break;
    case OperationKind::kPromptEvents: {
      absl::StatusOr<v1::PollPromptEventsResponse> response =
          Parse<v1::PollPromptEventsResponse>(operation);
      if (response.ok() && operation.number != 0) {
        response = absl::Status(static_cast<absl::StatusCode>(operation.number), operation.text);
      }
      OnPromptEvents(operation.name, response, absl::FromUnixNanos(operation.number2));
      break;
    }
    case OperationKind::kReplayStats:
      status =
          repeat(v1::GetReplayStatsResponse(), [&](auto& r) { OnReplayStats(operation.name, r); });
      break;
    case OperationKind::kRestore:
      OnRestored(operation.text);
      break;
    case OperationKind::kResultsWritten:
      OnResultsWritten(operation.name, absl::Status(static_cast<absl::StatusCode>(operation.number),
                                                    operation.text));
      break;
    default:
      return absl::DataLossError(
          absl::StrCat("operation of unknown kind ", static_cast<int>(operation.kind)));
  }
  DTRPO_RETURN_IF_ERROR(status);
  absl::MutexLock lock(&mutex_);
  if (Digest() == operation.digest) return absl::OkStatus();
  return absl::DataLossError(
      "it leads to other jobs than it did: another program wrote this log, or it is damaged");
}

// ------------------------------------------------------------------ answers of the replay store

void Coordinator::OnReplayOpened(const std::string& job_id, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(job_id);
  if (!job.ok()) return;
  Operation operation(this, OperationKind::kReplayOpened, job_id);
  // What is merely asked again needn't be remembered.
  if (status.ok()) operation.Always();
  operation.logged().number = static_cast<int64_t>(status.code());
  operation.logged().text = std::string(status.message());
  (*job)->OnReplayOpened(status, operation.now());
  TickLocked(operation.now());
}

void Coordinator::OnReplayClosed(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(job_id);
  if (!job.ok()) return;
  Operation operation(this, OperationKind::kReplayClosed, job_id);
  operation.Always();
  (*job)->OnReplayClosed();
}

// Said again after a restart, so it isn't logged.
void Coordinator::OnNewestSent(const ReplayWork& work) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(work.job_id);
  if (job.ok()) (*job)->OnNewestSent(work);
}

void Coordinator::OnPromptEvents(const std::string& job_id,
                                 const absl::StatusOr<v1::PollPromptEventsResponse>& response,
                                 absl::Time polled_at) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(job_id);
  if (!job.ok()) return;
  Operation operation(this, OperationKind::kPromptEvents, job_id,
                      response.ok() ? &*response : nullptr);
  // The last, empty answer ends a job.
  if ((*job)->training_finished() && !(*job)->final()) operation.Always();
  operation.logged().number = static_cast<int64_t>(response.status().code());
  operation.logged().number2 = absl::ToUnixNanos(polled_at);
  operation.logged().text = std::string(response.status().message());
  (*job)->OnPromptEvents(response, polled_at, operation.now());
  TickLocked(operation.now());
}

void Coordinator::OnReplayStats(const std::string& job_id,
                                const v1::GetReplayStatsResponse& stats) {
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<JobRun*> job = FindJob(job_id);
  if (!job.ok()) return;
  Operation operation(this, OperationKind::kReplayStats, job_id, &stats);
  std::string& last = last_stats_[job_id];
  std::string bytes = stats.SerializeAsString();
  if (bytes != last) operation.Always();
  last = std::move(bytes);
  (*job)->OnReplayStats(stats);
  TickLocked(operation.now());
}

}  // namespace dtrpo::coordinator
