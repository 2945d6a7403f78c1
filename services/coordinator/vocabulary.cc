#include "services/coordinator/vocabulary.h"

#include "common/checkpoint/model_config.h"

namespace dtrpo::coordinator {

int32_t VocabularySize(base::FileSystem* files, const std::string& model) {
  const std::string path = base::JoinPath(model, "config.json");
  const auto json = files->Read(path);
  if (!json.ok()) return 0;
  const auto config = checkpoint::ParseModelConfig(*json, path);
  return config.ok() ? static_cast<int32_t>(config->vocab_size) : 0;
}

}  // namespace dtrpo::coordinator
