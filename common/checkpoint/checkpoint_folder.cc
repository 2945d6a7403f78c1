#include "common/checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/checkpoint/json_object.h"
#include "common/checkpoint/token_files.h"

namespace dtrpo::checkpoint {
namespace {

using base::JoinPath;

struct ConfigAndDescriptor {
  ModelConfig config;
  ModelDescriptor descriptor;
};

absl::StatusOr<ConfigAndDescriptor> ReadConfig(base::FileSystem* files, const std::string& folder,
                                               const DescriptorOverrides& overrides) {
  if (!files->Exists(folder)) {
    return absl::NotFoundError(absl::StrCat(folder, ": no such model folder"));
  }
  const std::string path = JoinPath(folder, kConfigFile);
  DTRPO_ASSIGN_OR_RETURN(const std::string text, files->Read(path));
  ConfigAndDescriptor out;
  DTRPO_ASSIGN_OR_RETURN(out.config, ParseModelConfig(text, path));
  DTRPO_ASSIGN_OR_RETURN(const TokenFiles tokens, ReadTokenFiles(files, folder));
  DTRPO_ASSIGN_OR_RETURN(out.descriptor, DescribeModel(out.config, tokens, overrides));
  return out;
}

absl::StatusOr<std::shared_ptr<const SafetensorsFile>> OpenShard(base::FileSystem* files,
                                                                 const std::string& path) {
  if (files == base::PosixFileSystem()) return SafetensorsFile::Map(path);
  DTRPO_ASSIGN_OR_RETURN(std::string bytes, files->Read(path));
  return SafetensorsFile::FromBytes(std::move(bytes), path);
}

// Tensor name -> shard's file name. A shard name with a folder in it would lead out of the
// checkpoint.
absl::StatusOr<std::map<std::string, std::string>> ReadIndex(absl::string_view text,
                                                             const std::string& path) {
  DTRPO_ASSIGN_OR_RETURN(const JsonObject index, JsonObject::Parse(text, path));
  DTRPO_ASSIGN_OR_RETURN(const auto weight_map, index.OptionalObject("weight_map"));
  if (!weight_map.has_value()) return index.Invalid("weight_map", "is missing");
  std::map<std::string, std::string> shards;
  for (const auto& item : weight_map->value().items()) {
    if (!item.value().is_string()) return weight_map->Invalid(item.key(), "must be a file name");
    const std::string shard = item.value().get<std::string>();
    if (absl::StrContains(shard, '/') || !absl::EndsWith(shard, ".safetensors")) {
      return weight_map->Invalid(
          item.key(), absl::StrCat("'", shard, "' is no .safetensors file of this folder"));
    }
    shards[item.key()] = shard;
  }
  return shards;
}

constexpr int kMaxFolderDepth = 8;  // also ends a loop of symbolic links

// Adds the carried files of `folder` to `carried`, as `prefix` + name.
absl::Status ListCarried(base::FileSystem* files, const std::string& folder,
                         const std::string& prefix, int depth, std::vector<std::string>* carried) {
  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(folder));
  for (const std::string& name : names) {
    const std::string path = JoinPath(folder, name);
    DTRPO_ASSIGN_OR_RETURN(const bool is_folder, files->IsDirectory(path));
    if (absl::EndsWith(name, ".tmp")) continue;  // an interrupted writer's
    if (!is_folder) {
      if (!IsWeightsFile(name) && name != kMarkerFile) {
        carried->push_back(absl::StrCat(prefix, name));
      }
      continue;
    }
    const bool other_model =
        files->Exists(JoinPath(path, kConfigFile)) || files->Exists(JoinPath(path, kMarkerFile));
    if (other_model || absl::StartsWith(name, ".") || depth == kMaxFolderDepth) continue;
    DTRPO_RETURN_IF_ERROR(
        ListCarried(files, path, absl::StrCat(prefix, name, "/"), depth + 1, carried));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<CheckpointFolder> CheckpointFolder::Open(const std::string& path,
                                                        const DescriptorOverrides& overrides,
                                                        base::FileSystem* files) {
  DTRPO_ASSIGN_OR_RETURN(CheckpointFolder folder, OpenWithoutTensors(path, overrides, files));
  DTRPO_RETURN_IF_ERROR(folder.OpenTensors(files));
  return folder;
}

absl::StatusOr<CheckpointFolder> CheckpointFolder::OpenWithoutTensors(
    const std::string& path, const DescriptorOverrides& overrides, base::FileSystem* files) {
  CheckpointFolder folder;
  folder.path_ = path;
  const absl::Status complete = CheckComplete(files, path, Verify::kSizes);
  if (!complete.ok() && !absl::IsNotFound(complete)) return complete;
  DTRPO_ASSIGN_OR_RETURN(ConfigAndDescriptor read, ReadConfig(files, path, overrides));
  folder.config_ = std::move(read.config);
  folder.descriptor_ = std::move(read.descriptor);

  DTRPO_RETURN_IF_ERROR(ListCarried(files, path, "", 0, &folder.carried_files_));
  std::sort(folder.carried_files_.begin(), folder.carried_files_.end());
  return folder;
}

absl::Status CheckpointFolder::OpenTensors(base::FileSystem* files) {
  const std::string index_path = JoinPath(path_, kModelIndexFile);
  const std::string single_path = JoinPath(path_, kModelFile);
  DTRPO_ASSIGN_OR_RETURN(const auto index_text, base::ReadIfThere(files, index_path));
  // transformers prefers the single file where both are there.
  if (!index_text.has_value() || files->Exists(single_path)) {
    DTRPO_ASSIGN_OR_RETURN(auto shard, OpenShard(files, single_path));
    for (const TensorView& tensor : shard->tensors()) tensors_[tensor.name] = &tensor;
    shards_.push_back(std::move(shard));
    return absl::OkStatus();
  }
  return OpenShards(files, *index_text);
}

absl::Status CheckpointFolder::OpenShards(base::FileSystem* files, absl::string_view index_text) {
  const std::string index_path = JoinPath(path_, kModelIndexFile);
  DTRPO_ASSIGN_OR_RETURN(const auto index, ReadIndex(index_text, index_path));
  const auto wrong = [&](absl::string_view tensor, absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat(index_path, ": field 'weight_map.", tensor, "': ", what));
  };
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> opened;
  for (const auto& [tensor, shard_name] : index) {
    auto& shard = opened[shard_name];
    if (shard == nullptr) {
      const std::string shard_path = JoinPath(path_, shard_name);
      if (!files->Exists(shard_path)) {
        return absl::NotFoundError(absl::StrCat(index_path, ": field 'weight_map.", tensor,
                                                "': ", shard_path, " is not there"));
      }
      DTRPO_ASSIGN_OR_RETURN(shard, OpenShard(files, shard_path));
      shards_.push_back(shard);
    }
  }
  for (const auto& [tensor, shard_name] : index) {
    const TensorView* view = opened[shard_name]->Find(tensor);
    if (view == nullptr) {
      std::string what = absl::StrCat(opened[shard_name]->file(), " has no such tensor");
      for (const auto& shard : shards_) {
        if (shard->Find(tensor) != nullptr) absl::StrAppend(&what, ", but ", shard->file(), " has");
      }
      return wrong(tensor, what);
    }
    tensors_[tensor] = view;
  }
  for (const auto& shard : shards_) {
    for (const TensorView& tensor : shard->tensors()) {
      if (Find(tensor.name) == &tensor) continue;
      const auto listed = index.find(tensor.name);
      return wrong(tensor.name,
                   listed == index.end()
                       ? absl::StrCat("is missing, but ", shard->file(), " has the tensor")
                       : absl::StrCat("is '", listed->second, "', but ", shard->file(),
                                      " has the tensor, too"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> CheckpointFolder::TensorNames() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

const TensorView* CheckpointFolder::Find(absl::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

absl::StatusOr<TensorView> CheckpointFolder::Tensor(absl::string_view name) const {
  const TensorView* tensor = Find(name);
  if (tensor != nullptr) return *tensor;
  return absl::NotFoundError(absl::StrCat(path_, ": tensor '", name, "' is missing"));
}

absl::StatusOr<ModelDescriptor> ReadDescriptor(const std::string& path,
                                               const DescriptorOverrides& overrides,
                                               base::FileSystem* files) {
  DTRPO_ASSIGN_OR_RETURN(ConfigAndDescriptor read, ReadConfig(files, path, overrides));
  return std::move(read.descriptor);
}

}  // namespace dtrpo::checkpoint
