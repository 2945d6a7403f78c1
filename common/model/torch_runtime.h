// Thread safety: call once, early in main(), before the first tensor operation.
#pragma once

namespace dtrpo::model {

// Threads that one LibTorch operation uses. Operations themselves run one after another: the
// processes of a cluster share the machine's cores, and a second pool would only get in the way.
// REQUIRES: threads >= 1.
void SetThreads(int threads);

}  // namespace dtrpo::model
