// save_adapter MODEL ADAPTER OUT MERGED: loads a checkpoint with PEFT's adapter and writes it as
// the learner does, as an adapter (OUT) and merged (MERGED). check_saved_adapter.py reads both.
#include <iostream>

#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/model/adapter_folder.h"
#include "common/model/transformer.h"
#include "common/training/training_state.h"

namespace dtrpo {
namespace {

absl::Status Save(const std::string& path, const std::string& adapter, const std::string& out,
                  const std::string& merged) {
  DTRPO_ASSIGN_OR_RETURN(const auto folder, checkpoint::CheckpointFolder::Open(path));
  DTRPO_ASSIGN_OR_RETURN(const auto base, model::Transformer::Load(folder, {}));
  DTRPO_ASSIGN_OR_RETURN(const auto model, model::WithAdapterFolder(*base, adapter));
  base::FileSystem* const files = base::PosixFileSystem();
  DTRPO_RETURN_IF_ERROR(training::WriteTrainingCheckpoint(files, out, *model, folder, nullptr, {},
                                                          {.adapter_only = true}));
  return training::WriteTrainingCheckpoint(files, merged, *model, folder, nullptr, {});
}

}  // namespace
}  // namespace dtrpo

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: save_adapter MODEL ADAPTER OUT MERGED\n";
    return 2;
  }
  const absl::Status status = dtrpo::Save(argv[1], argv[2], argv[3], argv[4]);
  if (!status.ok()) std::cerr << "save_adapter: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
