// dtrpo-storage-crash-child KIND TARGET SEED: runs the script of four logs on a store, as fast as
// it can, until it is killed. Says "ready", and "c LOG STEPS" for each step that was confirmed;
// "wrong WHY" when the store doesn't hold what it should. KIND is rocksdb (TARGET: a folder) or
// postgres (TARGET: a connection).
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/fault_points.h"
#include "common/storage/postgres_engine.h"
#include "common/storage/rocksdb_engine.h"
#include "tests/unit/storage/store_script.h"

namespace dtrpo::storage {
namespace {

constexpr int kLogs = 4;

// One write() a line: whole lines in the pipe whatever happens then.
void Say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(STDOUT_FILENO, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    std::_Exit(4);
  }
}

[[noreturn]] void Wrong(const absl::Status& why) {
  Say(absl::StrCat("wrong ", why.ToString()));
  std::_Exit(3);
}

void RunLog(StorageEngine& engine, uint64_t seed, int number) {
  const StoreScript script(seed, absl::StrCat("log-", number));
  absl::StatusOr<ScriptState> state = script.Check(engine);
  if (!state.ok()) Wrong(state.status());
  std::mt19937_64 random(seed * 977 + static_cast<uint64_t>(number) + state->steps);
  // The process before may have ended between a step and its snapshot.
  if (state->steps > 0 && script.SnapshotAfter(*state)) {
    const absl::Status again = SnapshotPatiently(engine, script.log(), script.SnapshotOf(*state));
    if (!again.ok()) Wrong(again);
  }
  for (;;) {
    const Operations operations = script.Next(*state);
    const Durability level = random() % 4 == 0 ? Durability::kLog : Durability::kSync;
    const auto confirmed = AppendPatiently(engine, script.log(), operations, level);
    if (!confirmed.ok()) Wrong(confirmed.status());
    Say(absl::StrCat("c ", number, " ", state->steps));
    if (script.SnapshotAfter(*state)) {
      const absl::Status taken = SnapshotPatiently(engine, script.log(), script.SnapshotOf(*state));
      if (!taken.ok()) Wrong(taken);
    }
    if (!state->bodies.empty() && random() % 3 == 0) {
      const BodyId id = state->bodies.begin()->first;
      auto body = engine.ReadBodies(script.log(), {id});
      while (absl::IsUnavailable(body.status())) {  // the server is being restarted
        absl::SleepFor(absl::Milliseconds(20));
        body = engine.ReadBodies(script.log(), {id});
      }
      if (!body.ok()) Wrong(body.status());
      if ((*body)[0] != script.Body(id)) Wrong(absl::DataLossError("a body was read wrong"));
    }
    if (random() % 8 == 0) absl::SleepFor(absl::Milliseconds(random() % 4));
  }
}

int Run(const std::string& kind, const std::string& target, uint64_t seed) {
  const absl::Status armed = base::ArmFaultPointsFromEnvironment();
  if (!armed.ok()) Wrong(armed);
  auto engine = kind == "rocksdb" ? OpenRocksDb({.folder = target, .write_buffer_bytes = 96 << 10})
                                  : OpenPostgres({.connection = target});
  if (!engine.ok()) Wrong(engine.status());
  Say("ready");
  std::vector<std::thread> threads;
  for (int i = 0; i < kLogs; ++i) {
    threads.emplace_back([&engine, seed, i] { RunLog(**engine, seed, i); });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

}  // namespace
}  // namespace dtrpo::storage

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  return dtrpo::storage::Run(argv[1], argv[2], std::strtoull(argv[3], nullptr, 10));
}
