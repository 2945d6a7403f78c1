#include "common/model/torch_runtime.h"

#include <torch/utils.h>

#include "common/base/check.h"

namespace dtrpo::model {

void SetThreads(int threads) {
  DTRPO_CHECK(threads >= 1) << threads << " threads";
  torch::set_num_threads(threads);
}

}  // namespace dtrpo::model
