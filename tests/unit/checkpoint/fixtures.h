// Small configs and hand-made safetensors bytes for the tests of this room.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "common/base/file_system.h"
#include "common/checkpoint/safetensors.h"

namespace dtrpo::checkpoint {

// A Fast-dLLM-v2 config of toy size.
inline nlohmann::json FastDllmConfig() {
  return {{"architectures", {"Fast_dLLM_QwenForCausalLM"}},
          {"model_type", "Fast_dLLM_Qwen"},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"vocab_size", 100},
          {"rope_theta", 1000000.0},
          {"rms_norm_eps", 1e-6},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", true},
          {"bd_size", 32},
          {"eos_token_id", 91},
          {"pad_token_id", 90},
          {"torch_dtype", "bfloat16"}};
}

// The bytes of a file with this header text and data.
inline std::string SafetensorsBytes(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xff));
  return bytes + header + data;
}

// REQUIRES: `data` outlives the view.
inline TensorView FloatView(const std::string& name, std::vector<int64_t> shape,
                            const std::vector<float>& data) {
  return {
      name, DType::kF32, std::move(shape),
      absl::MakeConstSpan(reinterpret_cast<const char*>(data.data()), data.size() * sizeof(float))};
}

// Durable.
inline void Put(base::FileSystem* files, const std::string& path, const std::string& content) {
  files->MakeDirectories(base::ParentPath(path)).IgnoreError();
  auto file = files->Create(path).value();
  file->Append(content).IgnoreError();
  file->Sync().IgnoreError();
  files->SyncDirectory(base::ParentPath(path)).IgnoreError();
}

}  // namespace dtrpo::checkpoint
