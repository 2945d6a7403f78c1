#include "tools/dtrpo/model_options.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/model/torch_runtime.h"

namespace dtrpo::tools {
namespace {

checkpoint::DescriptorOverrides Overrides(const ModelOptions& options) {
  checkpoint::DescriptorOverrides overrides;
  if (options.mask_token_id >= 0) overrides.mask_token_id = options.mask_token_id;
  if (options.block_size > 0) overrides.block_size = options.block_size;
  return overrides;
}

constexpr char kBfloat16[] = "bfloat16";

model::LoadOptions WithDtype(const ModelOptions& options, model::LoadOptions load_options) {
  load_options.dtype = options.dtype == kBfloat16 ? torch::kBFloat16 : torch::kFloat32;
  return load_options;
}

}  // namespace

void AddDtypeOption(CLI::App* app, ModelOptions* options) {
  app->add_option("--dtype", options->dtype,
                  "float32 or bfloat16: what weights are kept and computed in; weights stored so "
                  "are used from the mapped files. Log-probabilities are float32 in both")
      ->check(CLI::IsMember({"float32", kBfloat16}))
      ->type_name("TYPE")
      ->capture_default_str();
}

void AddModelOptions(CLI::App* app, ModelOptions* options) {
  app->add_option("--model", options->path, "Hugging Face checkpoint folder")
      ->required()
      ->type_name("DIR");
  app->add_option("--mask-token-id", options->mask_token_id,
                  "mask token, where the folder's files don't say")
      ->check(CLI::NonNegativeNumber)
      ->type_name("ID");
  app->add_option("--block-size", options->block_size, "block size instead of config.json's")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  app->add_option("--threads", options->threads, "threads of one tensor operation; default: all")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
}

absl::StatusOr<LoadedModel> LoadModel(const ModelOptions& options,
                                      const model::LoadOptions& load_options) {
  if (options.threads > 0) model::SetThreads(options.threads);
  DTRPO_ASSIGN_OR_RETURN(checkpoint::CheckpointFolder folder,
                         checkpoint::CheckpointFolder::Open(options.path, Overrides(options)));
  DTRPO_ASSIGN_OR_RETURN(std::unique_ptr<model::Transformer> model,
                         model::Transformer::Load(folder, WithDtype(options, load_options)));
  return LoadedModel{std::move(folder), std::move(model)};
}

absl::StatusOr<LoadedModel> RandomModel(const ModelOptions& options, uint64_t seed,
                                        const model::LoadOptions& load_options) {
  if (options.threads > 0) model::SetThreads(options.threads);
  DTRPO_ASSIGN_OR_RETURN(
      checkpoint::CheckpointFolder folder,
      checkpoint::CheckpointFolder::OpenWithoutTensors(options.path, Overrides(options)));
  DTRPO_ASSIGN_OR_RETURN(
      std::unique_ptr<model::Transformer> model,
      model::Transformer::Random(folder.descriptor(), seed, WithDtype(options, load_options)));
  return LoadedModel{std::move(folder), std::move(model)};
}

}  // namespace dtrpo::tools
