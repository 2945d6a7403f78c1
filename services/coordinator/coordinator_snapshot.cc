// The part of Coordinator that keeps its log short: a snapshot of all jobs takes the place of the
// operations that led to them.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/wire/job_codec.h"
#include "services/coordinator/coordinator.h"
#include "services/coordinator/kept_state.h"

namespace dtrpo::coordinator {
namespace {

// Raised when a list of members changes in another way than by growing at its end.
constexpr uint64_t kFormat = 1;

absl::Status Unreadable() {
  return absl::DataLossError(
      "the snapshot of the jobs can't be read: a newer program wrote it, or it is damaged");
}

}  // namespace

std::string Coordinator::EncodeState() const {
  KeptWriter writer;
  writer(kFormat, Digest(), next_body_, by_key_, workers_, uint64_t{jobs_.size()});
  for (size_t i = 0; i < jobs_.size(); ++i) {
    v1::JobSpec spec;
    wire::ToProto(jobs_[i]->spec(), &spec);
    writer(jobs_[i]->id(), spec, jobs_[i]->options(), jobs_[i]->submitted(), sources_[i],
           *jobs_[i]);
  }
  return writer.Take();
}

absl::Status Coordinator::DecodeState(absl::string_view state) {
  KeptReader reader(state);
  uint64_t format = 0, digest = 0, jobs = 0;
  reader(format);
  if (format != kFormat) {
    return absl::DataLossError(absl::StrCat("the snapshot of the jobs is of format ", format,
                                            "; this program reads format ", kFormat));
  }
  reader(digest, next_body_, by_key_, workers_, jobs);
  for (uint64_t i = 0; i < jobs && reader.ok(); ++i) {
    std::string id;
    v1::JobSpec proto;
    JobRun::Options options;
    absl::Time submitted;
    JobSource source;
    reader(id, proto, options, submitted, source);
    if (!reader.ok()) break;
    DTRPO_ASSIGN_OR_RETURN(job::JobSpec spec, base::Annotate(wire::FromProto(proto), "job ", id));
    // A job that is over needs its prompts no more, and they may be gone.
    PromptLines prompts(source.prompts), heldout(source.heldout);
    if (!source.over) {
      DTRPO_RETURN_IF_ERROR(base::Annotate(ReadPrompts(source, prompts, heldout), "job ", id));
    }
    jobs_.push_back(std::make_unique<JobRun>(id, std::move(spec), std::move(prompts),
                                             std::move(heldout), options, submitted));
    jobs_.back()->GiveUpOnly({});
    sources_.push_back(source);
    reader(*jobs_.back());
  }
  if (!reader.ok() || !reader.AtEnd()) return Unreadable();
  if (Digest() != digest) {
    return absl::DataLossError(
        "the snapshot leads to other jobs than those it was made of: another program wrote it, or "
        "it is damaged");
  }
  return absl::OkStatus();
}

absl::StatusOr<storage::Position> Coordinator::RestoreSnapshot() {
  DTRPO_ASSIGN_OR_RETURN(const std::optional<storage::Snapshot> snapshot,
                         deps_.engine->ReadSnapshot(kLog));
  if (!snapshot.has_value()) return storage::Position{0};
  absl::MutexLock lock(&mutex_);
  DTRPO_RETURN_IF_ERROR(DecodeState(snapshot->state));
  snapshot_position_ = snapshot->position;
  logged_position_ = snapshot->position;
  return snapshot->position;
}

void Coordinator::WriteSnapshotWhenDue() {
  if (deps_.engine == nullptr || repeating_ || !log_failed_.ok() ||
      logged_position_ - snapshot_position_ < options_.records_per_snapshot) {
    return;
  }
  base::HitFaultPoint("coordinator.before_snapshot").IgnoreError();
  // Of jobs that are over; the snapshot knows it, so that nobody reads them again.
  storage::Operations prompts;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    if (sources_[i].over || !jobs_[i]->final()) continue;
    sources_[i].over = true;
    prompts.deleted_bodies.push_back(
        {.first = sources_[i].first_body, .end = sources_[i].first_body + kBodiesPerJob});
  }
  absl::Status written =
      deps_.engine->WriteSnapshot(kLog, {.position = logged_position_, .state = EncodeState()});
  base::HitFaultPoint("coordinator.after_snapshot").IgnoreError();
  if (written.ok() && !prompts.deleted_bodies.empty()) {
    written = deps_.engine->Write(kLog, std::move(prompts)).status();
  }
  if (!written.ok()) {
    // The log still has it all; as many operations later it is tried again.
    base::LogWarning("can't write a snapshot", {{"error", written}});
  }
  snapshot_position_ = logged_position_;
}

}  // namespace dtrpo::coordinator
