#include "services/learner/pair_importer.h"

#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/hash.h"
#include "common/base/logging.h"
#include "common/base/retry.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/job/job_limits.h"
#include "common/training/sft_order.h"

namespace dtrpo::learner {
namespace {

// A store that is full now has room again after the next step.
constexpr absl::Duration kMaxBackoff = absl::Milliseconds(200);
constexpr absl::Duration kProgressEvery = absl::Seconds(10);
constexpr int64_t kDefaultHeldOut = 256;

// The store takes no more, because the job is over.
bool IsOver(const absl::Status& status) {
  const std::string reason = base::GetReason(status);
  return reason == "end_of_data" || reason == "job_closed";
}

}  // namespace

std::string PairImporter::RejectsPath(const job::JobSpec& spec) {
  return base::JoinPath(spec.output, "rejects.jsonl");
}

PairImporter::PairImporter(Options options, Deps deps)
    : options_(std::move(options)), deps_(deps), thread_([this] { Run(); }) {}

PairImporter::~PairImporter() {
  stop_.Stop();
  thread_.join();
}

absl::StatusOr<absl::Span<const trajectory::PreferencePair>> PairImporter::HeldOut(
    absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto known = [this]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return told_ || !status_.ok(); };
  deps_.clock->AwaitUntil(&mutex_, absl::Condition(&known), deadline);
  DTRPO_RETURN_IF_ERROR(status_);
  if (!told_) return absl::DeadlineExceededError("data.pairs is being read");
  return absl::MakeConstSpan(file_->heldout());
}

absl::Status PairImporter::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void PairImporter::Run() {
  absl::Status status = Import();
  if (status.ok() || stop_.stopped() || IsOver(status)) return;
  base::LogError("import of pairs ended", {{"job", options_.job_id}, {"error", status}});
  absl::MutexLock lock(&mutex_);
  status_ = std::move(status);
}

absl::Status PairImporter::Persist(const std::string& what, const std::string& on_whom,
                                   const std::function<absl::Status(absl::Time)>& call) {
  base::ScopedWait wait(deps_.waits, what, on_whom);
  base::Backoff backoff({.max_backoff = kMaxBackoff}, /*seed=*/base::StableHash(what));
  for (;;) {
    const absl::Status status = call(deps_.clock->Now() + options_.call_timeout);
    if (status.ok() || !base::IsRetryable(status) || stop_.stopped()) return status;
    stop_.SleepFor(*deps_.clock, backoff.Next(status));
  }
}

absl::Status PairImporter::ReadFile() {
  const job::JobSpec& spec = options_.spec;
  base::ScopedWait wait(deps_.waits, "reading of data.pairs", "disk");
  DTRPO_ASSIGN_OR_RETURN(reader_, pairs::PairReader::Load(spec, deps_.files));
  absl::Time told = deps_.clock->Now();
  const auto progress = [&](double share) {
    if (deps_.clock->Now() - told > kProgressEvery) {
      told = deps_.clock->Now();
      base::LogInfo("reading data.pairs", {{"job", options_.job_id}, {"share", share}});
    }
    return !stop_.stopped();
  };
  const int64_t limit = spec.evaluation.max_prompts;
  DTRPO_ASSIGN_OR_RETURN(file_,
                         pairs::PairFile::Read(deps_.files, spec.data.pairs, reader_.get(),
                                               {.rejects_path = RejectsPath(spec),
                                                .max_heldout = limit > 0 ? limit : kDefaultHeldOut,
                                                .progress = progress}));
  return absl::OkStatus();
}

absl::StatusOr<v1::ReportPairsResponse> PairImporter::Tell(const v1::ReportPairsRequest& request) {
  v1::ReportPairsResponse response;
  DTRPO_RETURN_IF_ERROR(
      Persist("report of data.pairs", "coordinator", [&](absl::Time deadline) -> absl::Status {
        DTRPO_ASSIGN_OR_RETURN(response, deps_.peers->ReportPairs(request, deadline));
        return absl::OkStatus();
      }));
  return response;
}

absl::Status PairImporter::Import() {
  DTRPO_RETURN_IF_ERROR(base::Annotate(ReadFile(), "data.pairs"));
  const pairs::PairCounts& counts = file_->counts();
  v1::ReportPairsRequest request;
  request.set_fingerprint(file_->fingerprint());
  request.mutable_file()->set_lines(counts.lines);
  request.mutable_file()->set_rejected(counts.rejected);
  request.mutable_file()->set_held_out(counts.held_out);
  request.mutable_file()->set_usable(counts.usable);
  if (counts.rejected > 0) request.mutable_file()->set_rejects(RejectsPath(options_.spec));
  DTRPO_ASSIGN_OR_RETURN(const v1::ReportPairsResponse before, Tell(request));
  {
    absl::MutexLock lock(&mutex_);
    told_ = true;
  }
  base::LogInfo("importing pairs", {{"job", options_.job_id},
                                    {"usable", counts.usable},
                                    {"held_out", counts.held_out},
                                    {"rejected", counts.rejected},
                                    {"from_use", before.first_use()}});
  const std::unordered_set<int64_t> known(before.known_uses().begin(), before.known_uses().end());
  training::SftOrder order(counts.usable, options_.spec.seed);
  const int64_t uses = counts.usable * options_.spec.data.epochs;
  for (int64_t use = before.first_use(); use < uses; ++use) {
    if (known.count(use) > 0) continue;
    DTRPO_RETURN_IF_ERROR(InsertUse(use, order.ExampleAt(use)));
    if (stop_.stopped()) return absl::CancelledError("the run ended");
  }
  v1::ReportPairsRequest done;
  done.set_all_imported(true);
  return Tell(done).status();
}

absl::Status PairImporter::InsertUse(int64_t use, int64_t index) {
  const int64_t usable = file_->counts().usable;
  wire::PromptOutcome outcome;
  outcome.epoch = use / usable;
  outcome.prompt_index = job::kFirstExternalPrompt + use % usable;
  DTRPO_ASSIGN_OR_RETURN(trajectory::PreferencePair pair, file_->Usable(index));
  // Other draws in each epoch, of the same order of unmasking.
  pair.id = absl::StrCat(options_.job_id, "/", outcome.epoch, "/", pair.id);
  pair.chosen.id = absl::StrCat(pair.id, "/chosen");
  pair.rejected.id = absl::StrCat(pair.id, "/rejected");
  outcome.pairs.push_back(std::move(pair));
  DTRPO_FAULT_POINT("learner.before_insert_pair");
  return Persist("room for a pair", "replay",
                 [&](absl::Time deadline) { return deps_.peers->Insert(outcome, deadline); });
}

}  // namespace dtrpo::learner
