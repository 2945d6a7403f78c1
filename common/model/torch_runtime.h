// Thread safety: call once, early in main(), before the first tensor operation.
#pragma once

namespace dtrpo::model {

// Threads that one LibTorch operation uses, for every thread of the process; unset, it is all
// cores. The processes of a cluster share the machine, and each is told its part. REQUIRES: threads
// >= 1.
void SetThreads(int threads);

}  // namespace dtrpo::model
