// Thread safety: one thread. `dtrpo train`: a job on preference pairs without services.
#pragma once

#include <functional>
#include <memory>
#include <string>
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
    std::string fingerprint;
  };

 private:
  // Pairs, with the lines that aren't pairs reported and listed.
  absl::StatusOr<Pairs> ReadPairs(const checkpoint::CheckpointFolder& folder) const;
  // A trainer at the step where an interrupted training goes on, else at the first.
  absl::StatusOr<std::unique_ptr<training::OfflineTrainer>> MakeTrainer(
      const checkpoint::CheckpointFolder& folder, std::vector<trajectory::PreferencePair> pairs,
      const std::string& hash);
  // `resumable`: with what it takes to go on.
  absl::Status Save(training::OfflineTrainer& trainer, const checkpoint::CheckpointFolder& folder,
                    const std::string& hash, bool resumable);
  // Until the last step, or until the user stops it.
  absl::Status Train(training::OfflineTrainer& trainer,
                     const std::vector<trajectory::PreferencePair>& heldout,
                     const std::function<absl::Status()>& save);

  TrainOptions options_;
  std::unique_ptr<model::Transformer> reference_;
  int64_t first_step_ = 0;  // made before this process
  int64_t first_use_ = 0;
  double seconds_ = 0;  // that steps took
};

}  // namespace dtrpo::tools
