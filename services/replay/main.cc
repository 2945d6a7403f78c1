// dtrpo-replay: the replay store as a process.
#include <malloc.h>

#include <memory>
#include <thread>
#include <vector>

#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/runtime/service_main.h"
#include "common/storage/memory_engine.h"
#include "common/storage/store_choice.h"
#include "services/replay/replay_metrics.h"
#include "services/replay/replay_service.h"
#include "services/replay/replay_store.h"

namespace dtrpo::replay {
namespace {

constexpr absl::Duration kDiskInterval = absl::Seconds(5);
constexpr int kMaxArenas = 2;
// Above an item's messages and the 1 MiB in which gRPC sends them, below the buffers of the engine
// and of snapshots: what is mapped for each call costs a page fault for each 4 KiB of it.
constexpr int kLargeBlockBytes = 2 << 20;

v1::ReplayConfig DefaultConfig() {
  v1::ReplayConfig config;
  config.set_engine("memory");
  config.set_max_prefetch_batches(4);
  config.set_records_per_snapshot(10000);
  return config;
}

storage::StoreChoice ChoiceOf(const v1::ReplayConfig& config) {
  return {.engine = config.engine(),
          .path = config.path(),
          .postgres = config.postgres(),
          .shard = config.shard().empty() ? "replay-0" : config.shard(),
          .schema = "dtrpo_replay",
          .write_buffer_bytes = config.write_buffer_bytes()};
}

std::vector<runtime::FieldProblem> CheckConfig(const v1::ReplayConfig& config) {
  std::vector<runtime::FieldProblem> problems;
  for (const auto& [field, problem] : storage::CheckStoreChoice(ChoiceOf(config))) {
    problems.push_back({field, problem});
  }
  if (config.max_prefetch_batches() < 1 || config.max_prefetch_batches() > 1000) {
    problems.push_back({"max_prefetch_batches", "must be from 1 to 1000"});
  }
  if (config.records_per_snapshot() < 1) {
    problems.push_back({"records_per_snapshot", "must be at least 1"});
  }
  return problems;
}

// Shows what the store's files take, until the process stops.
void WatchDisk(const ReplayStore& store, const ReplayMetrics& metrics, runtime::ServiceHost& host) {
  do {
    const storage::StoreSize size = store.SizeOnDisk();
    metrics.disk_bytes->Set(static_cast<double>(size.disk_bytes));
    metrics.free_disk_bytes->Set(static_cast<double>(size.free_bytes));
  } while (!host.stop()->SleepFor(*host.clock(), kDiskInterval));
}

absl::Status Run(runtime::ServiceHost& host, const v1::ReplayConfig& config) {
  ReplayMetrics metrics(host.metrics());
  storage::StoreChoice choice = ChoiceOf(config);
  choice.on_sync = [&metrics](absl::Duration took, int64_t steps) {
    metrics.log_sync_seconds->Observe(absl::ToDoubleSeconds(took));
    metrics.log_sync_steps->Observe(static_cast<double>(steps));
  };
  DTRPO_ASSIGN_OR_RETURN(const std::unique_ptr<storage::StorageEngine> engine,
                         storage::OpenStore(choice));
  storage::MemoryEngine memory;  // of jobs that ask for no more
  ReplayStore store(
      {.engine = engine.get(),
       .metrics = &metrics,
       .memory_engine = &memory,
       .waits = host.wait_states(),
       .clock = host.clock(),
       .records_per_snapshot = config.records_per_snapshot(),
       // What is true only the log knows then: whoever restarts this process gets it from there.
       .on_store_failed = [&host](const absl::Status& why) { host.RequestShutdown(why); }},
      config.max_prefetch_batches());
  const absl::Time started = host.clock()->Now();
  DTRPO_RETURN_IF_ERROR(store.Restore());
  metrics.recovery_seconds->Set(absl::ToDoubleSeconds(host.clock()->Now() - started));
  ReplayService service(&store);
  DTRPO_RETURN_IF_ERROR(host.Start({&service}));
  host.SetReady(true);
  base::LogInfo("ready", {{"engine", config.engine()}, {"jobs", store.jobs()}});
  std::thread disk([&] { WatchDisk(store, metrics, host); });
  const absl::Status ended = host.RunUntilStopped([&store](absl::Time) { store.Stop(); });
  disk.join();
  DTRPO_RETURN_IF_ERROR(ended);
  return base::Annotate(engine->Close(), "closing the store");
}

}  // namespace
}  // namespace dtrpo::replay

int main(int argc, char** argv) {
  // As many heaps as glibc makes by itself, eight a core, hold on to several times what the items
  // take. Setting the threshold also keeps it from rising to the largest buffer that was ever
  // freed.
  mallopt(M_ARENA_MAX, dtrpo::replay::kMaxArenas);
  mallopt(M_MMAP_THRESHOLD, dtrpo::replay::kLargeBlockBytes);
  mallopt(M_TRIM_THRESHOLD, 2 * dtrpo::replay::kLargeBlockBytes);
  using dtrpo::replay::CheckConfig, dtrpo::replay::DefaultConfig, dtrpo::replay::Run;
  return dtrpo::runtime::ServiceMain(argc, argv, "replay", DefaultConfig(), CheckConfig, Run);
}
