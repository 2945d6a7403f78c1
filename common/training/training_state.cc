#include "common/training/training_state.h"

#include <cstring>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/adapter_config.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/checkpoint/safetensors.h"
#include "common/model/adapter_folder.h"
#include "common/model/checkpoint_tensors.h"
#include "common/model/compute_dtype.h"
#include "common/model/lora.h"
#include "nlohmann/json.hpp"

namespace dtrpo::training {
namespace {

constexpr int kFormat = 1;

NamedTensors Detached(const NamedTensors& tensors) {
  NamedTensors detached;
  for (const auto& [name, tensor] : tensors)
    detached.emplace_back(name, tensor.detach().to(torch::kCPU).contiguous());
  return detached;
}

// The base's other files, with the dtype of the weights to be written.
absl::Status AddBaseFiles(base::FileSystem* files, const checkpoint::CheckpointFolder& base,
                          torch::Dtype dtype, checkpoint::CheckpointContents* contents) {
  contents->copy_from = base.path();
  for (const std::string& name : base.carried_files()) {
    if (name != kTrainingStateFile) contents->copy_names.push_back(name);
  }
  const std::string config_path = base::JoinPath(base.path(), checkpoint::kConfigFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string config, files->Read(config_path));
  DTRPO_ASSIGN_OR_RETURN(contents->extra_files[std::string(checkpoint::kConfigFile)],
                         checkpoint::WithDtype(config, config_path, model::DtypeName(dtype)));
  return absl::OkStatus();
}

// PEFT's two files. `tensors` keeps what `contents` borrows.
absl::Status AddAdapterFiles(const model::Transformer& model, const std::string& base_path,
                             NamedTensors* tensors, checkpoint::CheckpointContents* contents) {
  for (const auto& [name, tensor] : Detached(model.NamedAdapters())) {
    tensors->emplace_back(absl::StrCat(checkpoint::kPeftPrefix, name), tensor);
  }
  contents->tensor_files[std::string(checkpoint::kAdapterModelFile)] = model::TensorViews(*tensors);
  contents->extra_files[std::string(checkpoint::kAdapterConfigFile)] =
      checkpoint::AdapterConfigJson(model::AdapterConfigOf(model, base_path));
  return absl::OkStatus();
}

}  // namespace

std::string PartPath(const std::string& path, int rank) {
  return absl::StrCat(path, ".part-", rank);
}

absl::Status WriteTrainingCheckpoint(base::FileSystem* files, const std::string& path,
                                     const model::Transformer& model,
                                     const checkpoint::CheckpointFolder& base,
                                     const AdamW* optimizer, const TrainingProgress& progress,
                                     const CheckpointFormat& format) {
  const torch::Dtype dtype = model.dtype();
  const bool adapter_only = format.adapter_only && !model.NamedAdapters().empty();
  checkpoint::CheckpointContents contents;
  contents.max_shard_bytes = format.max_shard_bytes;
  NamedTensors parameters;
  if (adapter_only) {
    DTRPO_RETURN_IF_ERROR(AddAdapterFiles(model, base.path(), &parameters, &contents));
  } else {
    parameters = Detached(model.MergedParameters());
    contents.weights = model::TensorViews(parameters);
    DTRPO_RETURN_IF_ERROR(AddBaseFiles(files, base, dtype, &contents));
  }
  NamedTensors state;
  if (optimizer != nullptr) {
    state = Detached(optimizer->State());
    for (const auto& [name, trained] : Detached(optimizer->Parameters())) {
      const bool is_weight = trained.scalar_type() == dtype && !model::IsAdapter(name);
      if (!is_weight) state.emplace_back(absl::StrCat(kMaster, name), trained);
    }
    contents.tensor_files[kOptimizerFile] = model::TensorViews(state);
  }
  if (format.sharded != nullptr) {
    const int world = format.sharded->world();
    state = Detached(format.sharded->State());
    contents.tensor_files[OptimizerFileOf(0, world)] = model::TensorViews(state);
    for (int rank = 1; rank < world; ++rank) contents.parts.push_back(PartPath(path, rank));
  }
  if (optimizer != nullptr || format.sharded != nullptr) {
    const nlohmann::ordered_json json = {{"format", kFormat},
                                         {"job_id", progress.job_id},
                                         {"job_hash", progress.job_hash},
                                         {"step", progress.step},
                                         {"trained", progress.trained}};
    contents.extra_files[kTrainingStateFile] = json.dump(2) + "\n";
  }
  return checkpoint::WriteCheckpoint(files, path, contents, {.overwrite = true});
}

absl::StatusOr<TrainingProgress> ReadTrainingProgress(base::FileSystem* files,
                                                      const std::string& path) {
  const std::string file = base::JoinPath(path, kTrainingStateFile);
  if (!files->Exists(file))
    return absl::NotFoundError(
        absl::StrCat(file, ": no such file; the folder can't be resumed from"));
  DTRPO_ASSIGN_OR_RETURN(const std::string text, files->Read(file));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto broken = [&file](const char* field) {
    return absl::DataLossError(
        absl::StrCat(file, ": field '", field, "' is missing or of the wrong type"));
  };
  if (!json.is_object() || !json.contains("format") || !json["format"].is_number_integer())
    return broken("format");
  if (json["format"] != kFormat) {
    return absl::DataLossError(absl::StrCat(file, ": format ", json["format"].dump(), " isn't ",
                                            kFormat, ", the one this program reads"));
  }
  TrainingProgress progress;
  if (!json.contains("job_id") || !json["job_id"].is_string()) return broken("job_id");
  if (!json.contains("job_hash") || !json["job_hash"].is_string()) return broken("job_hash");
  if (!json.contains("step") || !json["step"].is_number_unsigned()) return broken("step");
  progress.job_id = json["job_id"];
  progress.job_hash = json["job_hash"];
  progress.step = json["step"];
  if (json.contains("trained")) {  // older ones train everything
    if (!json["trained"].is_string()) return broken("trained");
    progress.trained = json["trained"];
  }
  return progress;
}

absl::Status WriteCheckpointPart(base::FileSystem* files, const std::string& path,
                                 const ShardedOptimizer& optimizer) {
  const NamedTensors state = Detached(optimizer.State());
  checkpoint::CheckpointContents contents;
  contents.tensor_files[OptimizerFileOf(optimizer.rank(), optimizer.world())] =
      model::TensorViews(state);
  return checkpoint::WriteCheckpoint(files, PartPath(path, optimizer.rank()), contents,
                                     {.overwrite = true});
}

absl::Status RestoreOptimizer(const std::string& path, AdamW& optimizer) {
  DTRPO_ASSIGN_OR_RETURN(const SavedOptimizer saved,
                         SavedOptimizer::Open(base::PosixFileSystem(), path));
  DTRPO_ASSIGN_OR_RETURN(const NamedTensors state, saved.ReadAll(optimizer.State()));
  return base::Annotate(optimizer.Restore(state), base::JoinPath(path, kOptimizerFile));
}

absl::Status RestoreMasters(const std::string& path, TrainedModel& trained) {
  DTRPO_ASSIGN_OR_RETURN(const SavedOptimizer saved,
                         SavedOptimizer::Open(base::PosixFileSystem(), path));
  NamedTensors masters;
  for (const auto& [name, tensor] : trained.parameters()) {
    masters.emplace_back(absl::StrCat(kMaster, name), tensor);
  }
  DTRPO_ASSIGN_OR_RETURN(masters, saved.ReadAll(masters));
  for (auto& [name, tensor] : masters) name = name.substr(std::strlen(kMaster));
  return base::Annotate(trained.RestoreMasters(masters), base::JoinPath(path, kOptimizerFile));
}

}  // namespace dtrpo::training
