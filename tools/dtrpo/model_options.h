// Thread safety: one thread. The options by which subcommands name a checkpoint folder, and loading
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/model/transformer.h"

namespace dtrpo::tools {

struct ModelOptions {
  std::string path;
  int32_t mask_token_id = -1;  // < 0: from the folder's files
  int32_t block_size = 0;      // 0: from config.json
  int32_t threads = 0;         // 0: LibTorch's choice
  std::string dtype = "float32";
};

// --model, --mask-token-id, --block-size, --threads.
void AddModelOptions(CLI::App* app, ModelOptions* options);

// --dtype: what weights are kept and computed in.
void AddDtypeOption(CLI::App* app, ModelOptions* options);

struct LoadedModel {
  checkpoint::CheckpointFolder folder;
  std::unique_ptr<model::Transformer> model;  // borrows the folder's mapped files
};

// Call one of them, once per process (they set LibTorch's threads). The dtype is options.dtype.
absl::StatusOr<LoadedModel> LoadModel(const ModelOptions& options,
                                      const model::LoadOptions& load_options = {});
// Random weights; the folder's own are not read and need not be there.
absl::StatusOr<LoadedModel> RandomModel(const ModelOptions& options, uint64_t seed,
                                        const model::LoadOptions& load_options = {});

}  // namespace dtrpo::tools
