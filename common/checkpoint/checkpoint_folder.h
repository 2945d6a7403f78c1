// Thread safety: immutable after Open(); share it freely. No torch.
//
// A Hugging Face checkpoint folder: config.json, its tensors in model.safetensors or in the shards
// that model.safetensors.index.json lists, and the files that a new checkpoint of the same model
// takes over (tokenizer, chat template, remote code, licence).
//
// The folder owns the mappings; TensorView::data is borrowed from it.
//
// An index is believed only where the shards agree with it: each tensor in the shard that it names,
// in no other one, and no shard with a tensor that it doesn't list.
//
// Errors name the file and the field or tensor. NOT_FOUND: the folder or one of its files is not
// there. FAILED_PRECONDITION: the folder has a completeness marker that its files do not match.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/file_system.h"
#include "common/checkpoint/model_config.h"
#include "common/checkpoint/model_descriptor.h"
#include "common/checkpoint/safetensors.h"
#include "common/checkpoint/shards.h"

namespace dtrpo::checkpoint {

inline constexpr absl::string_view kConfigFile = "config.json";

class CheckpointFolder {
 public:
  // Tensors are mapped when `files` is the real disk, else read whole.
  static absl::StatusOr<CheckpointFolder> Open(const std::string& path,
                                               const DescriptorOverrides& overrides = {},
                                               base::FileSystem* files = base::PosixFileSystem());
  // The same folder without weights, which need not be there: the start of a model from nothing.
  static absl::StatusOr<CheckpointFolder> OpenWithoutTensors(
      const std::string& path, const DescriptorOverrides& overrides = {},
      base::FileSystem* files = base::PosixFileSystem());

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  const ModelDescriptor& descriptor() const { return descriptor_; }

  // Sorted.
  std::vector<std::string> TensorNames() const;
  // Null: no such tensor.
  const TensorView* Find(absl::string_view name) const;
  // NOT_FOUND naming folder and tensor.
  absl::StatusOr<TensorView> Tensor(absl::string_view name) const;

  // See SafetensorsFile.
  void ReleasePages(const TensorView& tensor) const {
    for (const auto& shard : shards_) shard->ReleasePages(tensor.data);
  }

  // The file with the tensors, or the folder when several files hold them: for messages.
  const std::string& tensor_source() const {
    return shards_.size() == 1 ? shards_.front()->file() : path_;
  }

  // Relative paths of the files that are neither weights nor a marker, sorted; config.json
  // included. Sub-folders too, but for hidden ones and those that are checkpoints of their own.
  const std::vector<std::string>& carried_files() const { return carried_files_; }

 private:
  CheckpointFolder() = default;
  absl::Status OpenTensors(base::FileSystem* files);
  absl::Status OpenShards(base::FileSystem* files, absl::string_view index_text);

  std::string path_;
  ModelConfig config_;
  ModelDescriptor descriptor_;
  std::vector<std::shared_ptr<const SafetensorsFile>> shards_;
  std::map<std::string, const TensorView*, std::less<>> tensors_;
  std::vector<std::string> carried_files_;
};

// config.json and the token files only: for those who need no tensors (dtrpoctl, job checks).
absl::StatusOr<ModelDescriptor> ReadDescriptor(const std::string& path,
                                               const DescriptorOverrides& overrides = {},
                                               base::FileSystem* files = base::PosixFileSystem());

}  // namespace dtrpo::checkpoint
