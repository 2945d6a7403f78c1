// Thread safety: one thread. `dtrpo train`: a job on preference pairs without services.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/training/offline_trainer.h"
#include "common/trajectory/trajectory.h"
#include "tools/dtrpo/subcommand.h"
#include "tools/dtrpo/train_options.h"

namespace dtrpo::tools {

class TrainCommand : public Subcommand {
 public:
  const char* name() const override { return "train"; }
  const char* summary() const override { return "dTRPO on preference pairs, without services"; }
  void AddOptions(CLI::App* app) override;
  absl::Status Run() override;

  struct Pairs {
    std::vector<trajectory::PreferencePair> train, heldout;  // in the order of the file
  };

 private:
  // Pairs, with the lines that aren't pairs reported and listed.
  absl::StatusOr<Pairs> ReadPairs(const checkpoint::CheckpointFolder& folder) const;
  // Until the last step, or until the user stops it.
  absl::Status Train(training::OfflineTrainer& trainer,
                     const std::vector<trajectory::PreferencePair>& heldout);

  TrainOptions options_;
  double seconds_ = 0;  // that steps took
};

}  // namespace dtrpo::tools
