// Thread safety: free functions without state.
//
// LoRA adapters in PEFT's file layout (checkpoint/adapter_config.h), and a model with them.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/base/file_system.h"
#include "common/checkpoint/adapter_config.h"
#include "common/model/transformer.h"

namespace dtrpo::model {

// `base` with the adapters of the folder, converted to its dtype; the rest is shared. Errors name
// the file and the field or tensor.
absl::StatusOr<std::unique_ptr<Transformer>> WithAdapterFolder(
    const Transformer& base, const std::string& path,
    base::FileSystem* files = base::PosixFileSystem());

// What the folder of the model's adapters says. REQUIRES: it has some.
checkpoint::AdapterConfig AdapterConfigOf(const Transformer& model, const std::string& base_path);

}  // namespace dtrpo::model
