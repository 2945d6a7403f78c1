#include "tools/dtrpo/train_command.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "common/base/atomic_file.h"
#include "common/base/clock.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/training/training_state.h"
#include "tools/dtrpo/output_folder.h"

namespace dtrpo::tools {
namespace {

constexpr absl::Duration kProgressEvery = absl::Seconds(5);
constexpr size_t kShownRejects = 3;

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
ends the program. The same pairs, options and number of --threads give the same weights on the same
kind of machine. The last line on standard error (time of the steps alone, reference included):
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

// At most `limit`, spread evenly; 0: all.
std::vector<trajectory::PreferencePair> Spread(std::vector<trajectory::PreferencePair> pairs,
                                               int64_t limit) {
  const int64_t size = static_cast<int64_t>(pairs.size());
  if (limit == 0 || size <= limit) return pairs;
  std::vector<trajectory::PreferencePair> some;
  for (int64_t i = 0; i < limit; ++i) some.push_back(std::move(pairs[i * size / limit]));
  return some;
}

void PrintStep(const training::OfflineTrainer& trainer, const training::StepOutcome& outcome,
               double seconds) {
  const double left = seconds / static_cast<double>(trainer.step()) *
                      static_cast<double>(trainer.steps() - trainer.step());
  std::cerr << absl::StrFormat(
                   "train: step %d of %d loss %.4f margin %.4f accuracy %.3f pairs/s %.2f ETA %s",
                   trainer.step(), trainer.steps(), outcome.values.at("loss"),
                   outcome.values.at("margin"), outcome.values.at("accuracy"),
                   static_cast<double>(trainer.uses()) / seconds,
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

absl::StatusOr<PairData> TrainCommand::ReadPairs(const checkpoint::CheckpointFolder& folder) const {
  DTRPO_ASSIGN_OR_RETURN(const text::PromptEncoder encoder,
                         text::PromptEncoder::Load(options_.model.path, !options_.raw_prompts));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::CanvasRules rules, CanvasRulesOf(folder, options_.job));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::OrderKind kind,
                         trajectory::ParseOrderKind(options_.order));
  DTRPO_ASSIGN_OR_RETURN(const trajectory::SyntheticOrder order, OrderOf(options_.job, kind));
  DTRPO_ASSIGN_OR_RETURN(PairData data, ReadPairFile(options_.pairs_path, encoder, rules, order,
                                                     options_.heldout_share));
  base::FileSystem* const files = base::PosixFileSystem();
  // An empty list replaces that of an earlier run.
  if (!data.rejects.empty() || files->Exists(options_.rejects_path)) {
    DTRPO_RETURN_IF_ERROR(
        base::WriteFileAtomically(files, options_.rejects_path, text::RejectsJsonl(data.rejects)));
  }
  std::cerr << absl::StrFormat("train: %s: %d pairs to train on, %d held out, %d lines rejected",
                               options_.pairs_path, data.train.size(), data.heldout.size(),
                               data.rejects.size());
  if (!data.rejects.empty()) std::cerr << ", listed in " << options_.rejects_path;
  std::cerr << std::endl;
  for (size_t i = 0; i < std::min(kShownRejects, data.rejects.size()); ++i) {
    std::cerr << "train: rejected " << options_.pairs_path << ":" << data.rejects[i].line << ": "
              << data.rejects[i].reason << std::endl;
  }
  data.heldout = Spread(std::move(data.heldout), options_.heldout_pairs);
  return data;
}

absl::Status TrainCommand::Train(training::OfflineTrainer& trainer,
                                 const std::vector<trajectory::PreferencePair>& heldout) {
  const StopOnSignal stop_on_signal;
  DTRPO_RETURN_IF_ERROR(PrintHeldOut(trainer, heldout));
  base::Clock* const clock = base::RealClock();
  absl::Time last_progress = clock->Now();
  while (trainer.step() < trainer.steps() && stop_requested == 0) {
    const absl::Time started = clock->Now();
    DTRPO_ASSIGN_OR_RETURN(const training::StepOutcome outcome, trainer.Step());
    const absl::Time now = clock->Now();
    seconds_ += absl::ToDoubleSeconds(now - started);
    if (outcome.skipped) {
      std::cerr << "train: step " << trainer.step() << " skipped: numbers that aren't finite"
                << (outcome.offending_pair.empty() ? "" : ", pair " + outcome.offending_pair)
                << std::endl;
    }
    const bool last = trainer.step() == trainer.steps();
    const bool evaluate =
        options_.evaluate_every > 0 && trainer.step() % options_.evaluate_every == 0;
    const bool first = trainer.step() == 1;
    if (!outcome.skipped && (first || last || evaluate || now - last_progress >= kProgressEvery)) {
      last_progress = now;
      PrintStep(trainer, outcome, seconds_);
    }
    if (evaluate && !last) DTRPO_RETURN_IF_ERROR(PrintHeldOut(trainer, heldout));
  }
  if (trainer.step() == 0) {
    return absl::CancelledError("stopped before the first step; nothing is saved");
  }
  if (trainer.step() < trainer.steps()) {
    std::cerr << "train: stopped after step " << trainer.step() << " of " << trainer.steps()
              << "; the checkpoint holds what was learnt so far" << std::endl;
    return absl::OkStatus();
  }
  return PrintHeldOut(trainer, heldout);
}

absl::Status TrainCommand::Run() {
  options_.Resolve();
  DTRPO_RETURN_IF_ERROR(CheckOutputFolder(options_.output_path));
  DTRPO_ASSIGN_OR_RETURN(ModelToTrain loaded, LoadModelToTrain(options_.model));
  DTRPO_ASSIGN_OR_RETURN(
      const std::unique_ptr<model::Transformer> reference,
      model::Transformer::Load(loaded.folder, {.dtype = loaded.model.model().dtype()}));
  DTRPO_ASSIGN_OR_RETURN(PairData data, ReadPairs(loaded.folder));
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<training::OfflineTrainer> trainer,
                         training::OfflineTrainer::Create(std::move(loaded.model), reference.get(),
                                                          std::move(data.train), options_.job));
  DTRPO_RETURN_IF_ERROR(Train(*trainer, data.heldout));
  DTRPO_RETURN_IF_ERROR(training::WriteTrainingCheckpoint(
      base::PosixFileSystem(), options_.output_path, trainer->model(), loaded.folder,
      /*optimizer=*/nullptr, /*progress=*/{}, options_.max_shard_bytes));
  std::cerr << "train: checkpoint " << options_.output_path << std::endl;
  std::cerr << absl::StrFormat(
                   "train: pairs=%d steps=%d seconds=%.3f pairs_per_second=%.3f peak_rss_bytes=%d",
                   trainer->uses(), trainer->step(), seconds_,
                   static_cast<double>(trainer->uses()) / seconds_, PeakRssBytes())
            << std::endl;
  return absl::OkStatus();
}

}  // namespace dtrpo::tools
