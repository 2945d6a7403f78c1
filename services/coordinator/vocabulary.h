// Thread safety: a pure function but for the disk, which is passed in.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/file_system.h"

namespace dtrpo::coordinator {

// The number of token ids of the model in a folder, by its config.json, so that the replay store
// refuses trajectories with others. 0 when the file isn't there or not understood: what is wrong
// with the model is the workers' to say, who load it.
int32_t VocabularySize(base::FileSystem* files, const std::string& model);

}  // namespace dtrpo::coordinator
