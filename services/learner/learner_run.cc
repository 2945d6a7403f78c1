#include "services/learner/learner_run.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/fault_points.h"
#include "common/base/logging.h"
#include "common/base/retry.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/retention.h"
#include "common/model/compute_dtype.h"
#include "common/training/training_state.h"
#include "common/training/weights_image.h"

namespace dtrpo::learner {
namespace {

// At what is desired, while waiting for anything.
constexpr absl::Duration kLookAgain = absl::Milliseconds(500);

std::vector<training::TrainingPair> TrainingPairs(const FedBatch& fed) {
  std::vector<training::TrainingPair> pairs;
  for (size_t i = 0; i < fed.batch.items.size(); ++i) {
    pairs.push_back({.pair = &fed.batch.items[i].pair,
                     .use_index = fed.batch.items[i].use_index,
                     .reference_chosen = fed.reference[2 * i],
                     .reference_rejected = fed.reference[2 * i + 1]});
  }
  return pairs;
}

// The tensors' names and shapes, at least.
absl::Status CheckSameModel(const checkpoint::CheckpointFolder& saved,
                            const checkpoint::CheckpointFolder& base) {
  const auto shape = [](const checkpoint::CheckpointFolder& folder) {
    const checkpoint::ModelDescriptor& d = folder.descriptor();
    return absl::StrCat(d.family, " of width ", d.hidden_size, ", ", d.num_layers, " layers, ",
                        d.num_heads, "/", d.num_key_value_heads, " heads of ", d.head_dim,
                        ", intermediate ", d.intermediate_size, ", vocabulary ", d.vocab_size,
                        d.tie_word_embeddings ? ", tied head" : ", untied head");
  };
  if (shape(saved) == shape(base)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("checkpoint ", saved.path(), " is of another ",
                                                    "model, ", shape(saved), "; ", base.path(),
                                                    " is ", shape(base)));
}

}  // namespace

LearnerRun::LearnerRun(Options options, Deps deps)
    : options_(std::move(options)), deps_(std::move(deps)) {}
LearnerRun::~LearnerRun() = default;

void LearnerRun::SetDesired(Desired desired, const std::string& why) {
  if (desired == Desired::kAbandon && deps_.group != nullptr) {
    deps_.group->Abort(why.empty() ? "the attempt is over" : why);
  }
  absl::MutexLock lock(&mutex_);
  const bool leaving = desired_ == Desired::kDrain || desired_ == Desired::kAbandon;
  if (!leaving || desired == Desired::kAbandon) desired_ = desired;
}

Desired LearnerRun::desired() const {
  absl::MutexLock lock(&mutex_);
  return desired_;
}

bool LearnerRun::leaving() const {
  const Desired now = desired();
  return now == Desired::kDrain || now == Desired::kAbandon;
}

std::string LearnerRun::state() const {
  absl::MutexLock lock(&mutex_);
  return state_;
}

int64_t LearnerRun::version() const {
  absl::MutexLock lock(&mutex_);
  return version_;
}

void LearnerRun::SetState(std::string state, int64_t version) {
  absl::MutexLock lock(&mutex_);
  state_ =
      deps_.group == nullptr ? std::move(state) : absl::StrCat(deps_.group->Who(), ": ", state);
  version_ = version;
}

absl::Status LearnerRun::Persist(const std::string& what, const std::string& on_whom,
                                 const std::function<absl::Status(absl::Time)>& call) {
  base::ScopedWait wait(deps_.waits, what, on_whom);
  base::Backoff backoff({}, /*seed=*/static_cast<uint64_t>(options_.attempt));
  for (;;) {
    const absl::Status status = call(deps_.clock->Now() + options_.call_timeout);
    if (status.ok() || !base::IsRetryable(status) || leaving()) return NotePeer(status);
    deps_.clock->SleepFor(std::min(backoff.Next(status), kLookAgain));
  }
}

// NOT_FOUND: the coordinator or replay doesn't know the job any more.
absl::Status LearnerRun::NotePeer(absl::Status status) {
  if (absl::IsNotFound(status) || base::GetReason(status) == "stale_attempt") superseded_ = true;
  return status;
}

absl::Status LearnerRun::Load() {
  if (deps_.group != nullptr) DTRPO_RETURN_IF_ERROR(JoinOthers());
  // Of an attempt that died while it wrote or removed a checkpoint.
  if (leads()) {
    checkpoint::CheckpointRoot root(deps_.files, checkpoints_folder());
    DTRPO_RETURN_IF_ERROR(root.RemoveLeftovers());
  }
  const job::ModelSpec& spec = options_.spec.model;
  const checkpoint::DescriptorOverrides overrides =
      checkpoint::GivenOverrides(spec.mask_token_id, spec.block_size, spec.stop_ids);
  DTRPO_ASSIGN_OR_RETURN(checkpoint::CheckpointFolder base,
                         checkpoint::CheckpointFolder::Open(spec.path, overrides, deps_.files));
  base_ = std::make_unique<checkpoint::CheckpointFolder>(std::move(base));

  const bool resume = !options_.resume_checkpoint.empty();
  // After a rollback to the base model there is nothing to read, and nothing to save yet.
  if (options_.resume_step > 0) step_ = resumed_step_ = checkpointed_step_ = options_.resume_step;
  if (resume) {
    DTRPO_ASSIGN_OR_RETURN(const training::TrainingProgress progress,
                           training::ReadTrainingProgress(deps_.files, options_.resume_checkpoint));
    const std::string trained = model::Describe(training::TrainedPartsOf(options_.spec));
    if (progress.trained != trained) {
      return absl::FailedPreconditionError(absl::StrCat("checkpoint ", options_.resume_checkpoint,
                                                        " trains ", progress.trained, ", job ",
                                                        options_.job_id, " trains ", trained));
    }
    if (progress.job_id != options_.job_id || progress.job_hash != options_.job_hash) {
      return absl::FailedPreconditionError(absl::StrCat(
          "checkpoint ", options_.resume_checkpoint, " is of job ", progress.job_id,
          ", or of another specification of it; job ", options_.job_id, " can't resume from it"));
    }
    // After a rollback the weights of an earlier step stand for those of a later one.
    step_ = resumed_step_ = checkpointed_step_ = std::max(progress.step, options_.resume_step);
    checkpoint_path_ = options_.resume_checkpoint;
    if (leads() && step_ > progress.step) {
      DTRPO_RETURN_IF_ERROR(
          checkpoint::CheckpointRoot(deps_.files, checkpoints_folder()).SetLatest(progress.step));
    }
  }
  // By the base checkpoint, as rollouts and reference decide.
  DTRPO_ASSIGN_OR_RETURN(const model::ComputeDtype chosen, model::ChooseDtype(spec.dtype, *base_));
  training::TrainingOptions trained_options =
      training::TrainingOptionsOf(options_.spec, chosen.dtype);
  trained_options.device = options_.device;
  // Adapters are in the checkpoint's state; what they are added to is the base.
  const bool adapters = trained_options.parts.lora.rank > 0;
  const std::string& path = resume && !adapters ? options_.resume_checkpoint : spec.path;
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(path, overrides, deps_.files));
  DTRPO_RETURN_IF_ERROR(CheckSameModel(folder, *base_));
  DTRPO_ASSIGN_OR_RETURN(training::TrainedModel trained,
                         training::TrainedModel::Load(folder, trained_options));
  if (resume && trained.parameters_are_state()) {
    DTRPO_RETURN_IF_ERROR(training::RestoreMasters(options_.resume_checkpoint, trained));
  }
  DTRPO_ASSIGN_OR_RETURN(
      trainer_, training::PreferenceTrainer::Create(std::move(trained), options_.spec, deps_.group,
                                                    deps_.clock));
  if (resume) DTRPO_RETURN_IF_ERROR(RestoreOptimizer());
  base::LogInfo("model loaded", {{"job", options_.job_id},
                                 {"path", path},
                                 {"step", resumed_step_},
                                 {"trained", model::Describe(trained_options.parts)},
                                 {"dtype", model::DtypeName(chosen.dtype)},
                                 {"device", options_.device.str()},
                                 {"why", chosen.why}});
  return absl::OkStatus();
}

absl::Status LearnerRun::PublishLoaded() {
  const int64_t version = resumed_step_ / options_.spec.training.publish_every;
  if (version > 0 || resumed_step_ == 0) return Publish(version);
  SetState(absl::StrCat("step ", step_, " of ", options_.spec.training.steps), version);
  return absl::OkStatus();
}

absl::Status LearnerRun::Publish(int64_t version) {
  if (!leads()) {
    SetState(absl::StrCat("step ", step_, " of ", options_.spec.training.steps), version);
    return absl::OkStatus();
  }
  const absl::Time started = deps_.clock->Now();
  DTRPO_ASSIGN_OR_RETURN(
      std::shared_ptr<const weights::Image> image,
      training::MakeImage(trainer_->trained(), options_.job_id, version, options_.attempt - 1));
  const absl::Time made = deps_.clock->Now();
  DTRPO_RETURN_IF_ERROR(Persist(
      absl::StrCat("registration of version ", version), "coordinator", [&](absl::Time deadline) {
        return deps_.peers->RegisterVersion(image->manifest(), step_, deadline);
      }));
  deps_.metrics->image_seconds->Observe(absl::ToDoubleSeconds(made - started));
  deps_.metrics->register_seconds->Observe(absl::ToDoubleSeconds(deps_.clock->Now() - made));
  deps_.metrics->SetVersion(options_.job_id, version);
  SetState(absl::StrCat("step ", step_, " of ", options_.spec.training.steps), version);
  deps_.publish(std::move(image));
  return absl::OkStatus();
}

absl::Status LearnerRun::Acknowledge() {
  if (!leads()) return absl::OkStatus();
  return Persist(absl::StrCat("acknowledgement of batch ", step_), "replay",
                 [&](absl::Time deadline) { return deps_.peers->Acknowledge(step_, deadline); });
}

// Each rank speaks for its slice of the batch. Batches that are formed ahead don't know it yet; a
// step that is made again, from the same weights, says the same.
absl::Status LearnerRun::TellPriorities(const std::vector<double>& priorities) {
  const job::ReplaySpec& replay = options_.spec.replay;
  const bool wanted = replay.selector == "prioritised" && replay.priority == "learner";
  if (!wanted || priorities.empty()) return absl::OkStatus();
  return Persist(absl::StrCat("priorities of batch ", step_), "replay", [&](absl::Time deadline) {
    return deps_.peers->UpdatePriorities(step_, priorities, deadline);
  });
}

absl::StatusOr<StepAnswer> LearnerRun::Report(const training::StepOutcome& outcome) {
  StepAnswer answer;
  if (!leads()) return answer;
  DTRPO_RETURN_IF_ERROR(
      Persist(absl::StrCat("report of step ", step_), "coordinator",
              [&](absl::Time deadline) -> absl::Status {
                DTRPO_ASSIGN_OR_RETURN(
                    answer, deps_.peers->ReportStep({step_, version(), outcome.values}, deadline));
                return absl::OkStatus();
              }));
  return answer;
}

absl::Status LearnerRun::Finish(bool succeeded, std::string reason) {
  if (succeeded && !leads()) return absl::OkStatus();
  if (!succeeded && deps_.group != nullptr) {
    reason = absl::StrCat(deps_.group->Who(), ": ", reason);
  }
  base::LogInfo(
      "training ended",
      {{"job", options_.job_id}, {"step", step_}, {"succeeded", succeeded}, {"reason", reason}});
  return Persist("the end of training", "coordinator", [&](absl::Time deadline) {
    return deps_.peers->FinishTraining(succeeded, reason, checkpoint_path_, step_, deadline);
  });
}

bool LearnerRun::MayContinue() {
  if (desired() == Desired::kPause) {
    if (const absl::Status status = Checkpoint(); !status.ok()) {
      base::LogWarning("no checkpoint before the pause", {{"error", status}});
    }
    base::ScopedWait wait(deps_.waits, "the job to be resumed", "coordinator");
    while (desired() == Desired::kPause) deps_.clock->SleepFor(kLookAgain);
  }
  return desired() == Desired::kRun;
}

absl::StatusOr<training::StepOutcome> LearnerRun::Step(const FedBatch& fed, absl::Duration waited) {
  const absl::Time started = deps_.clock->Now();
  const training::StepInput input{.step = step_ + 1,
                                  .policy_version = fed.batch.policy_version,
                                  .global_pairs = fed.batch.global_pairs,
                                  .pairs = TrainingPairs(fed)};
  DTRPO_ASSIGN_OR_RETURN(training::StepOutcome outcome, trainer_->Step(input));
  ++step_;
  outcome.values["seconds_batch_wait"] = absl::ToDoubleSeconds(waited);
  outcome.values["seconds_reference"] = absl::ToDoubleSeconds(fed.score_time);
  outcome.values["seconds_step"] = absl::ToDoubleSeconds(deps_.clock->Now() - started);
  outcome.values["skipped"] = outcome.skipped;
  if (!options_.spec.data.pairs.empty()) {
    outcome.values["external_pairs"] = static_cast<double>(
        std::count_if(fed.batch.items.begin(), fed.batch.items.end(),
                      [](const wire::BatchItem& item) { return item.pair.chosen.external; }));
  }
  deps_.metrics->batch_wait_seconds->Observe(outcome.values["seconds_batch_wait"]);
  deps_.metrics->forward_seconds->Observe(absl::ToDoubleSeconds(outcome.times.forward));
  deps_.metrics->backward_seconds->Observe(absl::ToDoubleSeconds(outcome.times.backward));
  deps_.metrics->allreduce_seconds->Observe(absl::ToDoubleSeconds(outcome.times.allreduce));
  deps_.metrics->optimizer_seconds->Observe(absl::ToDoubleSeconds(outcome.times.optimizer));
  for (const wire::BatchItem& item : fed.batch.items) {
    if (item.pair.chosen.external) continue;
    deps_.metrics->pair_staleness_versions->Observe(static_cast<double>(item.lag_versions));
  }
  deps_.metrics->reference_seconds->Observe(outcome.values["seconds_reference"]);
  deps_.metrics->step_seconds->Observe(outcome.values["seconds_step"]);
  deps_.metrics->steps->Increment();
  deps_.metrics->pairs->Increment(static_cast<double>(input.pairs.size()));
  deps_.metrics->target_tokens->Increment(outcome.values["target_tokens"]);
  deps_.metrics->SetStep(options_.job_id, step_);
  deps_.metrics->SetStepValues(options_.job_id, outcome.values);
  if (outcome.skipped) {
    deps_.metrics->skipped_steps->Increment();
    base::LogWarning("step skipped: numbers that aren't finite",
                     {{"step", step_}, {"pair", outcome.offending_pair}});
  }
  return outcome;
}

absl::Status LearnerRun::Train() {
  const job::TrainingSpec& training = options_.spec.training;
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan,
                         training::PlanOptions(options_.spec, base_->descriptor().attention));
  BatchFeeder feeder({.first_step = step_ + 1,
                      .last_step = training.steps,
                      .plan = plan,
                      .call_timeout = options_.call_timeout},
                     deps_.peers, deps_.clock, deps_.waits);
  if (step_ == 0) DTRPO_RETURN_IF_ERROR(NotePeer(EvaluatePairs()));
  int skipped_in_a_row = 0;
  absl::Time waiting_since = deps_.clock->Now();
  while (step_ < training.steps) {
    if (pairs_ != nullptr) DTRPO_RETURN_IF_ERROR(NotePeer(pairs_->status()));
    std::optional<FedBatch> fed;
    DTRPO_ASSIGN_OR_RETURN(const Word own, NextWord(feeder, fed));
    DTRPO_ASSIGN_OR_RETURN(const Word word, Agree(deps_.group, own));
    if (word == Word::kLeave) {
      const bool keep = desired() != Desired::kAbandon && step_ > resumed_step_;
      return keep ? Checkpoint() : absl::OkStatus();
    }
    if (word == Word::kCheckpoint) DTRPO_RETURN_IF_ERROR(Checkpoint());
    if (word == Word::kEnd) break;
    if (word != Word::kStep) continue;
    if (!fed.has_value()) {
      DTRPO_ASSIGN_OR_RETURN(fed, OwnSlice(feeder));
    }
    deps_.metrics->batches_ahead->Set(static_cast<double>(feeder.ready()));
    DTRPO_ASSIGN_OR_RETURN(const training::StepOutcome outcome,
                           Step(*fed, deps_.clock->Now() - waiting_since));
    skipped_in_a_row = outcome.skipped ? skipped_in_a_row + 1 : 0;
    if (skipped_in_a_row > training.max_skipped_steps) {
      return absl::DataLossError(absl::StrCat(
          skipped_in_a_row, " steps in a row gave numbers that aren't finite; last at step ", step_,
          outcome.offending_pair.empty() ? "" : ", pair " + outcome.offending_pair));
    }
    DTRPO_RETURN_IF_ERROR(TellPriorities(outcome.priorities));
    if (step_ % training.publish_every == 0) {
      DTRPO_RETURN_IF_ERROR(Publish(step_ / training.publish_every));
    }
    DTRPO_ASSIGN_OR_RETURN(StepAnswer answer, Report(outcome));
    SetState(absl::StrCat("step ", step_, " of ", training.steps), version());
    // Several ranks agree on an early checkpoint, or end, first.
    checkpoint_asked_ = answer.checkpoint_now;
    stop_ = std::move(answer.stop);
    const bool early = checkpoint_asked_ && deps_.group == nullptr;
    if (early || step_ % training.checkpoint_every == 0 || WillBeEvaluated()) {
      DTRPO_RETURN_IF_ERROR(Checkpoint());
    }
    waiting_since = deps_.clock->Now();
  }
  // The final weights are evaluated, so they need a version even when the last interval was cut
  // short.
  if (step_ % training.publish_every != 0) {
    DTRPO_RETURN_IF_ERROR(Publish(step_ / training.publish_every + 1));
  }
  DTRPO_RETURN_IF_ERROR(Checkpoint());
  const bool all = step_ == training.steps;
  return Finish(true, all              ? "all steps made"
                      : !stop_.empty() ? stop_
                                       : absl::StrCat("the data ended at step ", step_));
}

absl::Status LearnerRun::EvaluatePairs() {
  if (pairs_ == nullptr) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const trajectory::MaskPlanOptions plan,
                         training::PlanOptions(options_.spec, base_->descriptor().attention));
  return pairs_->Evaluate(
      trainer_->model(), plan, step_,
      [this](const std::string& what, const std::string& on_whom,
             const std::function<absl::Status(absl::Time)>& call) {
        return Persist(what, on_whom, call);
      },
      [this] { return leaving(); });
}

absl::Status LearnerRun::Run() {
  if (deps_.pairs != nullptr && !options_.spec.data.pairs.empty()) {
    pairs_ = std::make_unique<PairRun>(
        PairImporter::Options{.job_id = options_.job_id,
                              .spec = options_.spec,
                              .call_timeout = options_.call_timeout},
        PairImporter::Deps{
            .peers = deps_.pairs, .files = deps_.files, .clock = deps_.clock, .waits = deps_.waits},
        deps_.peers);
  }
  absl::Status status = Load();
  if (status.ok()) status = PublishLoaded();
  if (status.ok() && resumed_step_ > 0) status = SettleResumed();
  if (status.ok()) status = Train();
  pairs_.reset();
  // The ranks have lost each other: an end of the attempt, not of the job.
  if (!status.ok() && deps_.group != nullptr && deps_.group->broken()) return status;
  if (status.ok() || leaving()) return absl::OkStatus();
  // What may get better was tried again all along; another attempt would meet the rest too.
  return superseded_ ? status : Finish(false, std::string(status.message()));
}

}  // namespace dtrpo::learner
