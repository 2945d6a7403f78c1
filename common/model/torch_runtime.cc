#include "common/model/torch_runtime.h"

#include <torch/types.h>
#include <torch/utils.h>

#include "common/base/check.h"

namespace dtrpo::model {

void SetThreads(int threads) {
  DTRPO_CHECK(threads >= 1) << threads << " threads";
  at::set_num_threads(threads);
  // LibTorch allows this once, and only before its pool has started.
  static const bool once = [] {
    at::set_num_interop_threads(1);
    return true;
  }();
  (void)once;
}

}  // namespace dtrpo::model
