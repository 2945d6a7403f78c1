// resave_checkpoint IN OUT [MAX_SHARD_BYTES]: loads a checkpoint as the learner does and writes its
// parameters as the learner does. check_saved_checkpoint.py reads the result with `transformers`.
#include <iostream>

#include "absl/strings/numbers.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/transformer.h"

namespace dtrpo {
namespace {

absl::Status Resave(const std::string& in, const std::string& out, int64_t max_shard_bytes) {
  DTRPO_ASSIGN_OR_RETURN(const auto folder, checkpoint::CheckpointFolder::Open(in));
  DTRPO_ASSIGN_OR_RETURN(const auto model, model::Transformer::Load(
                                               folder, {torch::kFloat32, /*requires_grad=*/true}));
  checkpoint::CheckpointContents contents;
  contents.weights = model::TensorViews(model->NamedParameters());
  contents.max_shard_bytes = max_shard_bytes;
  contents.copy_from = folder.path();
  contents.copy_names = folder.carried_files();
  return checkpoint::WriteCheckpoint(base::PosixFileSystem(), out, contents);
}

}  // namespace
}  // namespace dtrpo

int main(int argc, char** argv) {
  int64_t max_shard_bytes = 0;
  if (argc < 3 || argc > 4 || (argc == 4 && !absl::SimpleAtoi(argv[3], &max_shard_bytes))) {
    std::cerr << "usage: resave_checkpoint IN OUT [MAX_SHARD_BYTES]\n";
    return 2;
  }
  const absl::Status status = dtrpo::Resave(argv[1], argv[2], max_shard_bytes);
  if (!status.ok()) std::cerr << "resave_checkpoint: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
