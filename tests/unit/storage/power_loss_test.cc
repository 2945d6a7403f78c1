// SIGKILL can't show what a missing fsync loses, since the kernel still has the bytes. This disk
// forgets them.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/storage/rocksdb_engine.h"
#include "gtest/gtest.h"
#include "rocksdb/env.h"
#include "tests/unit/storage/scratch_folder.h"
#include "tests/unit/storage/store_script.h"
#include "tests/unit/storage/test_disk.h"

namespace dtrpo::storage {
namespace {

struct Machine {
  Machine() : disk(std::make_shared<TestDisk>()), env(rocksdb::NewCompositeEnv(disk)) {}
  absl::StatusOr<std::unique_ptr<StorageEngine>> Open() {
    return OpenRocksDb({.folder = folder.path(),
                        .write_buffer_bytes = 64 << 10,  // so that flushes and compactions happen
                        .env = env.get()});
  }

  ScratchFolder folder;
  std::shared_ptr<TestDisk> disk;
  std::unique_ptr<rocksdb::Env> env;
};

// Runs one life of a store: steps at random levels, then the power goes. Returns the last steps
// confirmed at `log` and at `sync`, and what is found afterwards.
struct Life {
  int64_t logged = 0;
  int64_t synced = 0;
  int64_t found = 0;
};
Life Live(Machine& machine, const StoreScript& script, std::mt19937_64& random, double sync_share,
          double kept_share) {
  Life life;
  auto engine = machine.Open();
  EXPECT_TRUE(engine.ok()) << engine.status();
  ScriptState state = *script.Check(**engine);
  life.logged = life.synced = state.steps;  // a start makes all of it durable
  const int steps = 1 + static_cast<int>(random() % 60);
  for (int i = 0; i < steps; ++i) {
    const bool sync = std::uniform_real_distribution<double>()(random) < sync_share;
    const auto confirmed = AppendPatiently(**engine, script.log(), script.Next(state),
                                           sync ? Durability::kSync : Durability::kLog);
    EXPECT_TRUE(confirmed.ok()) << confirmed.status();
    (sync ? life.synced : life.logged) = state.steps;
    if (script.SnapshotAfter(state)) {
      EXPECT_TRUE(SnapshotPatiently(**engine, script.log(), script.SnapshotOf(state)).ok());
    }
  }
  machine.disk->CutPower();
  engine->reset();
  machine.disk->ForgetUnsynced(kept_share);
  engine = machine.Open();
  EXPECT_TRUE(engine.ok()) << engine.status();
  if (!engine.ok()) return life;
  const absl::StatusOr<ScriptState> found = script.Check(**engine);
  EXPECT_TRUE(found.ok()) << found.status();
  if (found.ok()) life.found = found->steps;
  return life;
}

TEST(PowerLossTest, WhatWasConfirmedAtSyncIsThere) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    Machine machine;
    const StoreScript script(seed, "log");
    for (int life = 0; life < 4; ++life) {
      const double kept_share = std::uniform_real_distribution<double>(-0.5, 1)(random);
      const Life lived = Live(machine, script, random, 0.3, std::max(0.0, kept_share));
      EXPECT_GE(lived.found, lived.synced);
      EXPECT_LE(lived.found, std::max(lived.synced, lived.logged));
    }
  }
}

// The control: were `sync` not an fsync, the test above would fail like this.
TEST(PowerLossTest, WhatWasOnlyWrittenToTheLogMayBeGone) {
  int64_t lost = 0;
  for (uint64_t seed = 1; seed <= 2; ++seed) {
    std::mt19937_64 random(seed);
    Machine machine;
    const Life lived = Live(machine, StoreScript(seed, "log", /*small=*/true), random, 0, 0);
    EXPECT_LE(lived.found, lived.logged);
    lost += lived.logged - lived.found;
  }
  EXPECT_GT(lost, 0);
}

}  // namespace
}  // namespace dtrpo::storage
