// resave_checkpoint IN OUT: loads a checkpoint as the learner does and writes its parameters as the
// learner does. check_saved_checkpoint.py reads the result with `transformers`.
#include <iostream>

#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/transformer.h"

namespace dtrpo {
namespace {

absl::Status Resave(const std::string& in, const std::string& out) {
  DTRPO_ASSIGN_OR_RETURN(const auto folder, checkpoint::CheckpointFolder::Open(in));
  DTRPO_ASSIGN_OR_RETURN(const auto model, model::Transformer::Load(
                                               folder, {torch::kFloat32, /*requires_grad=*/true}));
  checkpoint::CheckpointContents contents;
  contents.tensor_files[std::string(checkpoint::kModelFile)] =
      model::TensorViews(model->NamedParameters());
  contents.copy_from = folder.path();
  contents.copy_names = folder.carried_files();
  return checkpoint::WriteCheckpoint(base::PosixFileSystem(), out, contents);
}

}  // namespace
}  // namespace dtrpo

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: resave_checkpoint IN OUT\n";
    return 2;
  }
  const absl::Status status = dtrpo::Resave(argv[1], argv[2]);
  if (!status.ok()) std::cerr << "resave_checkpoint: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
