// Any text as model.safetensors.index.json, and as generation_config.json beside it, either opens
// the folder with all tensors that the index names, or is refused with a file's name.
//
// An input is the index and, after a line "===", generation_config.json.
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/memory_file_system.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/checkpoint/safetensors.h"

namespace dtrpo::checkpoint {
namespace {

constexpr char kConfig[] =
    R"({"architectures":["SDARForCausalLM"],"model_type":"sdar","hidden_size":8,)"
    R"("num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,)"
    R"("intermediate_size":8,"vocab_size":16,"rope_theta":100.0,"rms_norm_eps":1e-6,)"
    R"("block_size":4,"mask_token_id":3,"eos_token_id":2})";

std::string Shard(const std::string& name) {
  const std::string header =
      R"({")" + name + R"(":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  return bytes + header + "xy";
}

void CheckOne(absl::string_view input) {
  base::MemoryFileSystem files;
  DTRPO_CHECK_OK(files.MakeDirectories("m"));
  const auto put = [&files](const std::string& name, absl::string_view text) {
    auto file = files.Create(base::JoinPath("m", name));
    DTRPO_CHECK_OK(file);
    DTRPO_CHECK_OK((*file)->Append(text));
  };
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(input, absl::MaxSplits("\n===\n", 1));
  put("config.json", kConfig);
  put("a.safetensors", Shard("aa"));
  put("b.safetensors", Shard("bb"));
  put("model.safetensors.index.json", parts.first);
  if (!parts.second.empty()) put("generation_config.json", parts.second);

  const auto folder = CheckpointFolder::Open("m", {}, &files);
  if (!folder.ok()) {
    DTRPO_CHECK(absl::StrContains(folder.status().message(), "m/")) << folder.status().message();
    return;
  }
  for (const std::string& name : folder->TensorNames()) {
    DTRPO_CHECK(name == "aa" || name == "bb") << name;
    DTRPO_CHECK(folder->Find(name)->data.size() == 2);
  }
}

}  // namespace
}  // namespace dtrpo::checkpoint

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  dtrpo::checkpoint::CheckOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
