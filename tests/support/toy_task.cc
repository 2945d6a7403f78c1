#include "tests/support/toy_task.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/atomic_file.h"
#include "common/base/file_system.h"
#include "common/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/support/run_program.h"

namespace dtrpo::support {
namespace {

constexpr int kPrompts = 100;
constexpr int kTrainPrompts = 64;
constexpr const char* kShown[] = {"red", "red", "red", "red", "blue", "blue", "green", "green"};

std::string Line(int i, const std::string& answer) {
  std::string prompt;
  for (int words = i % 3; words > 0; --words) prompt += "colour ";
  prompt += {static_cast<char>('a' + i / 10), static_cast<char>('a' + i % 10)};
  return nlohmann::json{{"id", absl::StrCat("p", i)}, {"prompt", prompt}, {"answer", answer}}
             .dump() +
         "\n";
}

// The example's configuration in the words of a family. As in the released checkpoints, the configs
// of LLaDA and Dream don't name the token that ends a turn.
void MakeFamily(const std::string& family, nlohmann::json* config) {
  const auto move = [config](const char* from, const char* to) {
    (*config)[to] = (*config)[from];
    config->erase(from);
  };
  if (family == "fast_dllm_v2") return;
  (*config)["mask_token_id"] = 275;
  if (family == "sdar") {
    (*config)["architectures"] = {"SDARForCausalLM"};
    (*config)["model_type"] = "sdar";
    move("bd_size", "block_size");
    return;
  }
  config->erase("bd_size");
  (*config)["eos_token_id"] = 272;
  (*config)["architectures"] = {family == "llada" ? "LLaDAModelLM" : "DreamModel"};
  (*config)["model_type"] = family == "llada" ? "llada" : "Dream";
  if (family != "llada") return;
  (*config)["num_key_value_heads"] = (*config)["num_attention_heads"];
  move("hidden_size", "d_model");
  move("num_hidden_layers", "n_layers");
  move("num_attention_heads", "n_heads");
  move("num_key_value_heads", "n_kv_heads");
  move("intermediate_size", "mlp_hidden_size");
  move("tie_word_embeddings", "weight_tying");
  move("hidden_act", "activation_type");
  move("max_position_embeddings", "max_sequence_length");
}

// The example's configuration, but tiny.
absl::Status WriteModelFiles(const std::string& source, const std::string& target,
                             const std::string& family) {
  base::FileSystem* files = base::PosixFileSystem();
  DTRPO_RETURN_IF_ERROR(files->MakeDirectories(target));
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "added_tokens.json",
                           "generation_config.json", "config.json"}) {
    DTRPO_ASSIGN_OR_RETURN(std::string content, files->Read(base::JoinPath(source, name)));
    if (std::string(name) == "generation_config.json" && (family == "llada" || family == "dream")) {
      continue;
    }
    if (std::string(name) == "config.json") {
      nlohmann::json config = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
      if (!config.is_object()) return absl::InternalError("config.json of the example");
      config["hidden_size"] = 32;
      config["num_hidden_layers"] = 2;
      config["num_attention_heads"] = 2;
      config["num_key_value_heads"] = 1;
      config["intermediate_size"] = 64;
      MakeFamily(family, &config);
      content = config.dump(1);
    }
    DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, base::JoinPath(target, name), content));
  }
  return absl::OkStatus();
}

}  // namespace

v1::JobSpec ToyTask::Job(const std::string& name, int64_t steps, double learning_rate) const {
  v1::JobSpec spec;
  spec.set_name(name);
  spec.mutable_model()->set_path(base());
  spec.mutable_data()->set_prompts(prompts());
  spec.mutable_data()->set_heldout(heldout());
  spec.mutable_sampling()->set_unmask("steps:4");
  spec.mutable_sampling()->set_max_new_tokens(8);
  spec.mutable_sampling()->set_samples_per_prompt(4);
  spec.mutable_training()->set_steps(steps);
  spec.mutable_training()->set_pairs_per_batch(16);
  spec.mutable_training()->set_learning_rate(learning_rate);
  spec.mutable_training()->set_max_staleness(2);
  spec.mutable_training()->set_publish_every(2);
  spec.mutable_training()->set_checkpoint_every(10);
  spec.mutable_evaluation()->set_every_versions(10);
  spec.set_output(absl::StrCat(folder, "/", name));
  return spec;
}

absl::StatusOr<ToyTask> MakeToyTask(const std::string& folder, const std::string& bin_dir,
                                    const std::string& source_dir, int base_steps,
                                    const std::string& family) {
  const ToyTask task = {folder};
  const std::string untrained = folder + "/untrained", shown = folder + "/shown.jsonl";
  DTRPO_RETURN_IF_ERROR(
      WriteModelFiles(source_dir + "/examples/arithmetic/base", untrained, family));
  std::string shown_lines, train_lines, heldout_lines;
  for (int i = 0; i < kPrompts; ++i) {
    if (i < kTrainPrompts) shown_lines += Line(i, kShown[i % std::size(kShown)]);
    (i < kTrainPrompts ? train_lines : heldout_lines) += Line(i, "blue");
  }
  base::FileSystem* files = base::PosixFileSystem();
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, shown, shown_lines));
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, task.prompts(), train_lines));
  DTRPO_RETURN_IF_ERROR(base::WriteFileAtomically(files, task.heldout(), heldout_lines));
  DTRPO_ASSIGN_OR_RETURN(
      const ProgramResult sft,
      RunProgram({bin_dir + "/dtrpo", "sft", "--model", untrained, "--init", "random", "--data",
                  shown, "--output", task.base(), "--steps", absl::StrCat(base_steps), "--batch",
                  "32", "--learning-rate", "0.01", "--threads", "1"},
                 folder + "/sft.log"));
  if (sft.exit_code != 0) return absl::InternalError(absl::StrCat("dtrpo sft: ", sft.output));
  return task;
}

}  // namespace dtrpo::support
