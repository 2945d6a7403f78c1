#include "tools/dtrpo/train_command.h"

#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/fault_points.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/pairs/pair_file.h"
#include "common/pairs/pair_reader.h"
#include "common/pairs/pair_rules.h"
#include "common/training/training_state.h"
#include "tools/dtrpo/output_folder.h"
#include "tools/dtrpo/train_resume.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);

constexpr char kHelp[] = R"(A line of the pairs is one of
  {"prompt": "2+2=", "chosen": "4", "rejected": "5"}
  the same with chat messages: {"prompt": [messages], "chosen": [answer], "rejected": [answer]}, or
      "chosen" and "rejected" as whole conversations that differ in their last message
  {"prompt_tokens": [1, 2], "chosen_tokens": [3], "rejected_tokens": [4]}
Lines that can't be read, have equal answers or are too long are counted and listed.

Policy and frozen reference (both --model at first) are in this process; the reference scores each
state once. Held-out pairs are looked at before, on the way and after: margin is
beta * (R(chosen) - R(rejected)), accuracy the share of pairs where it is positive (no news before
the first step), chosen_likelier the share whose chosen answer the policy itself finds likelier.
Ctrl-C ends the training after the step it is in and saves what it has learnt by then; a second one
ends the program. Interrupted or killed, the training goes on from its newest checkpoint when the
same command is given again, to the same weights bit for bit; --restart begins anew. The same pairs, options and number of --threads give the same weights on the same
kind of machine. The last line on standard error (of this process; time of the
steps alone, reference included):
  train: pairs=N steps=N seconds=S pairs_per_second=R peak_rss_bytes=B

Example: dtrpo train --model BASE --pairs pairs.jsonl --output DIR --learning-rate 1e-6)";

// The only thing a signal handler may do safely.
volatile std::sig_atomic_t stop_requested = 0;
void RequestStop(int) { stop_requested = 1; }

// Stops politely at the first signal; the second does what it always does.
class StopOnSignal {
 public:
  StopOnSignal() {
    stop_requested = 0;
    struct sigaction action = {};
    action.sa_handler = RequestStop;
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &interrupt_);
    sigaction(SIGTERM, &action, &terminate_);
  }
  ~StopOnSignal() {
    sigaction(SIGINT, &interrupt_, nullptr);
    sigaction(SIGTERM, &terminate_, nullptr);
  }

 private:
  struct sigaction interrupt_ = {};
  struct sigaction terminate_ = {};
};

int64_t PeakRssBytes() {
  struct rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

// `steps` and `uses` took `seconds`.
void PrintStep(const training::OfflineTrainer& trainer, const training::StepOutcome& outcome,
               int64_t steps, int64_t uses, double seconds) {
  const double left =
      seconds / static_cast<double>(steps) * static_cast<double>(trainer.steps() - trainer.step());
  std::cerr << absl::StrFormat(
                   "train: step %d of %d loss %.4f margin %.4f accuracy %.3f pairs/s %.2f ETA %s",
                   trainer.step(), trainer.steps(), outcome.values.at("loss"),
                   outcome.values.at("margin"), outcome.values.at("accuracy"),
                   static_cast<double>(uses) / seconds,
                   absl::FormatDuration(absl::Seconds(std::ceil(left))))
            << std::endl;
}

absl::Status PrintHeldOut(training::OfflineTrainer& trainer,
                          const std::vector<trajectory::PreferencePair>& heldout) {
  if (heldout.empty()) return absl::OkStatus();
  DTRPO_ASSIGN_OR_RETURN(const training::HeldOutPreferences now, trainer.Evaluate(heldout));
  std::cerr << absl::StrFormat(
                   "train: heldout step %d pairs %d loss %.4f margin %.4f accuracy %.3f "
                   "chosen_likelier %.3f",
                   trainer.step(), now.pairs, now.loss, now.margin, now.accuracy,
                   now.chosen_likelier)
            << std::endl;
  return absl::OkStatus();
}

}  // namespace

void TrainCommand::AddOptions(CLI::App* app) {
  app->footer(kHelp);
  AddTrainOptions(app, &options_);
}

absl::StatusOr<TrainCommand::Pairs> TrainCommand::ReadPairs(
    const checkpoint::CheckpointFolder& folder) const {
  const job::DataSpec& data = options_.job.data;
  DTRPO_ASSIGN_OR_RETURN(const trajectory::CanvasRules rules,
                         pairs::CanvasRulesOf(folder.descriptor(), folder.config(), options_.job));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::SyntheticOrder order, pairs::OrderOf(options_.job));
  DTRPO_ASSIGN_OR_RETURN(text::PromptEncoder encoder,
                         text::PromptEncoder::Load(folder.path(), data.apply_chat_template));
  const pairs::PairReader reader(std::move(encoder), rules, order, data.pairs_heldout);
  Pairs read;
  absl::Time last_progress = absl::Now();
  const auto progress = [&](double share) {
    if (absl::Now() - last_progress < kProgressEvery) return true;
    last_progress = absl::Now();
    std::cerr << absl::StrFormat("train: %s: %.0f %% read", data.pairs, 100 * share) << std::endl;
    return true;
  };
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<pairs::PairFile> file,
                         pairs::PairFile::Read(base::PosixFileSystem(), data.pairs, &reader,
                                               {.rejects_path = options_.rejects_path,
                                                .max_heldout = options_.heldout_pairs,
                                                .progress = progress,
                                                .usable = [&](trajectory::PreferencePair pair) {
                                                  read.train.push_back(std::move(pair));
                                                }}));
  read.heldout = file->heldout();
  read.fingerprint = file->fingerprint();
  const pairs::PairCounts& counts = file->counts();
  std::cerr << absl::StrFormat("train: %s: %d pairs to train on, %d held out, %d lines rejected",
                               data.pairs, counts.usable, counts.held_out, counts.rejected);
  if (counts.rejected > 0) std::cerr << ", listed in " << options_.rejects_path;
  std::cerr << std::endl;
  for (const text::RejectedLine& reject : file->rejects()) {
    std::cerr << "train: rejected " << data.pairs << ":" << reject.line << ": " << reject.reason
              << std::endl;
  }
  return read;
}

absl::Status TrainCommand::Train(training::OfflineTrainer& trainer,
                                 const std::vector<trajectory::PreferencePair>& heldout,
                                 const std::function<absl::Status()>& save) {
  const StopOnSignal stop_on_signal;
  DTRPO_RETURN_IF_ERROR(PrintHeldOut(trainer, heldout));
  base::Clock* const clock = base::RealClock();
  absl::Time last_progress = clock->Now();
  while (trainer.step() < trainer.steps() && stop_requested == 0) {
    const absl::Time started = clock->Now();
    DTRPO_ASSIGN_OR_RETURN(const training::StepOutcome outcome, trainer.Step());
    const absl::Time now = clock->Now();
    seconds_ += absl::ToDoubleSeconds(now - started);
    DTRPO_FAULT_POINT("train.step_made");
    if (outcome.skipped) {
      std::cerr << "train: step " << trainer.step() << " skipped: numbers that aren't finite"
                << (outcome.offending_pair.empty() ? "" : ", pair " + outcome.offending_pair)
                << std::endl;
    }
    const bool last = trainer.step() == trainer.steps();
    const bool evaluate =
        options_.evaluate_every > 0 && trainer.step() % options_.evaluate_every == 0;
    const bool first = trainer.step() == first_step_ + 1;
    if (!outcome.skipped && (first || last || evaluate || now - last_progress >= kProgressEvery)) {
      last_progress = now;
      PrintStep(trainer, outcome, trainer.step() - first_step_, trainer.uses() - first_use_,
                seconds_);
    }
    if (evaluate && !last) DTRPO_RETURN_IF_ERROR(PrintHeldOut(trainer, heldout));
    if (!last && trainer.step() % options_.job.training.checkpoint_every == 0) {
      DTRPO_RETURN_IF_ERROR(save());
    }
  }
  if (trainer.step() == first_step_) {
    return absl::CancelledError("stopped before a step was made; nothing new is saved");
  }
  if (trainer.step() < trainer.steps()) {
    std::cerr << "train: stopped after step " << trainer.step() << " of " << trainer.steps()
              << "; the checkpoint holds what was learnt so far, and the same command goes on"
              << std::endl;
    return absl::OkStatus();
  }
  return PrintHeldOut(trainer, heldout);
}

absl::StatusOr<std::unique_ptr<training::OfflineTrainer>> TrainCommand::MakeTrainer(
    const checkpoint::CheckpointFolder& folder, std::vector<trajectory::PreferencePair> pairs,
    const std::string& hash) {
  const std::string& output = options_.output_path;
  DTRPO_ASSIGN_OR_RETURN(first_step_,
                         StepToResume(base::PosixFileSystem(), output, hash, options_.restart));
  const bool resume = first_step_ > 0;
  // Adapters are in the checkpoint's state; what they are added to is the base.
  ModelOptions from = options_.model;
  if (resume && options_.job.training.lora.rank == 0) from.path = output;
  DTRPO_ASSIGN_OR_RETURN(ModelToTrain loaded, LoadModelToTrain(from, options_.job));
  if (resume && loaded.model.parameters_are_state()) {
    DTRPO_RETURN_IF_ERROR(training::RestoreMasters(output, loaded.model));
  }
  DTRPO_ASSIGN_OR_RETURN(
      reference_, model::Transformer::Load(folder, {.dtype = loaded.model.model().dtype(),
                                                    .device = loaded.model.model().device()}));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<training::OfflineTrainer> trainer,
                         training::OfflineTrainer::Create(std::move(loaded.model), reference_.get(),
                                                          std::move(pairs), options_.job));
  if (!resume) return trainer;
  DTRPO_RETURN_IF_ERROR(training::RestoreOptimizer(output, trainer->optimizer()));
  trainer->ResumeAt(first_step_);
  first_use_ = trainer->uses();
  std::cerr << "train: goes on after step " << first_step_ << " of " << trainer->steps() << " from "
            << output << std::endl;
  return trainer;
}

absl::Status TrainCommand::Save(training::OfflineTrainer& trainer,
                                const checkpoint::CheckpointFolder& folder, const std::string& hash,
                                bool resumable) {
  DTRPO_RETURN_IF_ERROR(training::WriteTrainingCheckpoint(
      base::PosixFileSystem(), options_.output_path, trainer.model(), folder,
      resumable ? &trainer.optimizer() : nullptr,
      {.job_id = kTrainJobId,
       .job_hash = hash,
       .step = trainer.step(),
       .trained = model::Describe(training::TrainedPartsOf(options_.job))},
      {.max_shard_bytes = options_.max_shard_bytes,
       .adapter_only = options_.job.training.lora.save == "adapter"}));
  DTRPO_FAULT_POINT("train.checkpoint_written");
  return absl::OkStatus();
}

absl::Status TrainCommand::Run() {
  options_.Resolve();
  DTRPO_RETURN_IF_ERROR(RecoverOutput(base::PosixFileSystem(), options_.output_path));
  DTRPO_RETURN_IF_ERROR(CheckOutputFolder(options_.output_path));
  DTRPO_ASSIGN_OR_RETURN(const checkpoint::CheckpointFolder folder,
                         OpenModelFolder(options_.model));
  DTRPO_ASSIGN_OR_RETURN(Pairs data, ReadPairs(folder));
  DTRPO_ASSIGN_OR_RETURN(const std::string hash, TrainingHash(options_.job, data.fingerprint));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<training::OfflineTrainer> trainer,
                         MakeTrainer(folder, std::move(data.train), hash));
  DTRPO_RETURN_IF_ERROR(Train(*trainer, data.heldout,
                              [&] { return Save(*trainer, folder, hash, /*resumable=*/true); }));
  DTRPO_RETURN_IF_ERROR(
      Save(*trainer, folder, hash, /*resumable=*/trainer->step() < trainer->steps()));
  std::cerr << "train: checkpoint " << options_.output_path << std::endl;
  const int64_t uses = trainer->uses() - first_use_;
  std::cerr << absl::StrFormat(
                   "train: pairs=%d steps=%d seconds=%.3f pairs_per_second=%.3f peak_rss_bytes=%d",
                   uses, trainer->step() - first_step_, seconds_,
                   static_cast<double>(uses) / seconds_, PeakRssBytes())
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
