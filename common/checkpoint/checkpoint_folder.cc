#include "common/checkpoint/checkpoint_folder.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/checkpoint/checkpoint_writer.h"
#include "common/checkpoint/json_object.h"

namespace dtrpo::checkpoint {
namespace {

using base::JoinPath;

// nullopt when the file is not there.
absl::StatusOr<std::optional<std::string>> ReadIfThere(base::FileSystem* files,
                                                       const std::string& path) {
  absl::StatusOr<std::string> text = files->Read(path);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  DTRPO_RETURN_IF_ERROR(text.status());
  return *std::move(text);
}

absl::StatusOr<TokenFiles> ReadTokenFiles(base::FileSystem* files, const std::string& folder) {
  TokenFiles tokens;
  const std::string generation = JoinPath(folder, "generation_config.json");
  DTRPO_ASSIGN_OR_RETURN(auto text, ReadIfThere(files, generation));
  if (text.has_value()) DTRPO_RETURN_IF_ERROR(ReadGenerationConfig(*text, generation, &tokens));

  const std::string added = JoinPath(folder, "added_tokens.json");
  DTRPO_ASSIGN_OR_RETURN(text, ReadIfThere(files, added));
  if (text.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(tokens.mask_token_id, MaskFromAddedTokens(*text, added));
  }
  if (tokens.mask_token_id.has_value()) return tokens;
  const std::string tokenizer = JoinPath(folder, "tokenizer.json");
  DTRPO_ASSIGN_OR_RETURN(text, ReadIfThere(files, tokenizer));
  if (text.has_value()) {
    DTRPO_ASSIGN_OR_RETURN(tokens.mask_token_id, MaskFromTokenizerJson(*text, tokenizer));
  }
  return tokens;
}

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

bool IsCarried(absl::string_view name) {
  for (absl::string_view suffix :
       {".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".h5",
        ".msgpack", ".gguf", ".tmp"}) {
    if (absl::EndsWith(name, suffix)) return false;
  }
  return name != kMarkerFile && !absl::StartsWith(name, ".");
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

  DTRPO_ASSIGN_OR_RETURN(const std::vector<std::string> names, files->List(path));
  for (const std::string& name : names) {
    DTRPO_ASSIGN_OR_RETURN(const bool is_directory, files->IsDirectory(JoinPath(path, name)));
    if (!is_directory && IsCarried(name)) folder.carried_files_.push_back(name);
  }
  return folder;
}

absl::Status CheckpointFolder::OpenTensors(base::FileSystem* files) {
  const std::string index_path = JoinPath(path_, kModelIndexFile);
  const std::string single_path = JoinPath(path_, kModelFile);
  DTRPO_ASSIGN_OR_RETURN(const auto index_text, ReadIfThere(files, index_path));
  // transformers prefers the single file where both are there.
  if (!index_text.has_value() || files->Exists(single_path)) {
    DTRPO_ASSIGN_OR_RETURN(auto shard, OpenShard(files, single_path));
    for (const TensorView& tensor : shard->tensors()) tensors_[tensor.name] = &tensor;
    shards_.push_back(std::move(shard));
    return absl::OkStatus();
  }
  DTRPO_ASSIGN_OR_RETURN(const auto index, ReadIndex(*index_text, index_path));
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> opened;
  for (const auto& [tensor, shard_name] : index) {
    auto& shard = opened[shard_name];
    if (shard == nullptr) {
      DTRPO_ASSIGN_OR_RETURN(shard, OpenShard(files, JoinPath(path_, shard_name)));
      shards_.push_back(shard);
    }
    const TensorView* view = shard->Find(tensor);
    if (view == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(index_path, ": field 'weight_map.", tensor,
                                                     "': ", shard->file(), " has no such tensor"));
    }
    tensors_[tensor] = view;
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
