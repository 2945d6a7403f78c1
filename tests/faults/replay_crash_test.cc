// dtrpo-replay is killed with SIGKILL, at random and at named fault points, while writers, a
// learner and a coordinator work with it over a real connection that loses requests and replies;
// where it keeps its data in PostgreSQL, that server is killed, too. A model (replay_model.h) says
// what must be there.
//
//   DTRPO_KILLS=2000 DTRPO_SEED=7 replay_faults_test     more kills, another seed
//
// The seed decides what each actor does and when the process dies, as far as a run with threads and
// processes can be decided.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/philox.h"
#include "common/base/retry_after.h"
#include "common/rpc/channel_factory.h"
#include "common/wire/replay_client.h"
#include "common/wire/replay_view_client.h"
#include "gtest/gtest.h"
#include "tests/faults/replay_model.h"
#include "tests/faults/replay_process.h"
#include "tests/unit/replay/test_pair.h"
#include "tests/unit/storage/postgres_server.h"

namespace dtrpo::faults {
namespace {

constexpr char kJob[] = "crash-1";
constexpr int kWriters = 3;
constexpr int32_t kCheckpointEvery = 5;

int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::atoll(value);
}

struct Variant {
  const char* name;
  v1::Durability durability;
  v1::ReplaySelector selector;
  int32_t max_uses;
  std::vector<std::string> points;  // each must be hit
  bool postgres = false;            // else RocksDB
  double share = 0.5;               // of the kills
  int shards = 1;                   // processes; each dies now and then
};

std::ostream& operator<<(std::ostream& out, const Variant& variant) { return out << variant.name; }

class ReplayCrashTest : public ::testing::TestWithParam<Variant> {
 protected:
  ReplayCrashTest()
      : seed_(FromEnvironment("DTRPO_SEED", 1)),
        kills_(static_cast<int64_t>(GetParam().share *
                                    static_cast<double>(FromEnvironment("DTRPO_KILLS", 200)))),
        folder_(absl::StrCat(::testing::TempDir(), "/replay_crash_", GetParam().name)),
        model_({.publish_every = 2, .max_staleness = 3, .max_uses = GetParam().max_uses}) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    if (GetParam().postgres) server_ = std::make_unique<storage::PostgresServer>();
    const std::string engine =
        GetParam().postgres
            ? absl::StrCat("engine: postgres\npostgres: \"", server_->connection(), "\"\n")
            : absl::StrCat("engine: rocksdb\npath: \"", folder_,
                           "/store\"\nwrite_buffer_bytes: 65536\n");
    process_ = std::make_unique<ReplayProcess>(folder_,
                                               absl::StrCat(engine, "records_per_snapshot: 40\n"));
    for (int i = 1; i < GetParam().shards; ++i) {
      const std::string folder = absl::StrCat(folder_, "/shard_", i);
      std::filesystem::create_directories(folder);
      others_.push_back(std::make_unique<ReplayProcess>(
          folder, absl::StrCat("engine: rocksdb\npath: \"", folder,
                               "/store\"\nrecords_per_snapshot: 40\n")));
    }
  }

  ReplayProcess& Shard(uint64_t i) { return i == 0 ? *process_ : *others_[i - 1]; }
  absl::Status StartOthers(const ReplayProcess* but = nullptr) {
    for (int i = 0; i < GetParam().shards; ++i) {
      ReplayProcess& shard = Shard(i);
      if (&shard == but || shard.Running()) continue;
      if (absl::Status started = shard.Start(); !started.ok()) return started;
    }
    return absl::OkStatus();
  }
  std::vector<std::string> Addresses() {
    std::vector<std::string> addresses;
    for (int i = 0; i < GetParam().shards; ++i) addresses.push_back(Shard(i).address());
    return addresses;
  }

  // A client of its own for each actor, so that what is lost doesn't depend on the others.
  std::unique_ptr<wire::ReplayClient> Client(uint64_t actor) {
    absl::MutexLock lock(&channels_mutex_);
    channels_.push_back(std::make_unique<rpc::ChannelFactory>(
        rpc::ChannelOptions{.identity = {.role = "rollout"},
                            .faults = {.lost_request_probability = 0.03,
                                       .lost_reply_probability = 0.03,
                                       .seed = seed_ + actor}}));
    wire::ClientOptions options;
    options.target = "replay";
    options.seed = seed_ + actor;
    options.retry.initial_backoff = absl::Milliseconds(5);
    options.retry.max_backoff = absl::Milliseconds(200);
    return *wire::ConnectReplay(*channels_.back(), Addresses(), options);
  }

  v1::ReplayJobOptions JobOptions() const {
    v1::ReplayJobOptions options;
    options.set_pairs_per_batch(4);
    options.set_publish_every(2);
    options.set_max_staleness(3);
    options.set_max_uses(GetParam().max_uses);
    options.set_max_items(200);
    options.set_max_pairs_per_prompt(3);
    options.set_total_steps(1000000);
    options.set_checkpoint_every(kCheckpointEvery);
    options.set_durability(GetParam().durability);
    options.set_selector(GetParam().selector);
    options.set_priority_exponent(1);
    options.set_seed(seed_);
    return options;
  }

  // Long enough for many deaths in a row on a busy machine.
  absl::Time Soon() const { return absl::Now() + absl::Minutes(5); }
  void Did() { operations_.fetch_add(1); }

  wire::PromptOutcome MakePrompt(int64_t index, int32_t attempt, base::CounterRng& random) {
    wire::PromptOutcome outcome = {.prompt_index = index, .prompt_attempt = attempt, .pairs = {}};
    const int64_t newest = next_batch_.load() / 2;
    const int64_t version =
        std::max<int64_t>(0, newest - static_cast<int64_t>(random.UniformInt(5)));
    for (uint64_t i = random.UniformInt(4); i > 0; --i) {
      auto pair = replay::TestPair(absl::StrCat("p", index, "/", attempt, "/", i), version);
      pair.chosen.reward = random.Uniform01();
      outcome.pairs.push_back(std::move(pair));
    }
    return outcome;
  }

  // Inserts prompts, sees each through, and sometimes repeats one that is confirmed.
  void Write(int writer) {
    base::CounterRng random(seed_, 100 + writer);
    auto client = Client(writer);
    wire::PromptOutcome last;
    bool have_last = false;
    while (!stop_writing_.load()) {
      std::pair<int64_t, int32_t> key;
      if (!model_.TakeEvicted(&key)) key = {next_prompt_.fetch_add(1), 0};
      const wire::PromptOutcome outcome = MakePrompt(key.first, key.second, random);
      model_.Tried(outcome);
      for (;;) {
        const auto inserted = client->Insert({kJob}, outcome, absl::Now() + absl::Seconds(2));
        if (inserted.ok()) {
          model_.Confirmed(outcome, inserted->duplicate);
          EXPECT_EQ(inserted->durability, GetParam().durability);
          Did();
          last = outcome;
          have_last = true;
          break;
        }
        // Out of time, whatever for: perhaps stored, so the same again.
        ASSERT_TRUE(absl::IsUnavailable(inserted.status()) ||
                    absl::IsResourceExhausted(inserted.status()) ||
                    absl::IsDeadlineExceeded(inserted.status()))
            << inserted.status();
        if (stop_writing_.load()) return;
      }
      if (have_last && random.UniformInt(10) == 0) {
        const auto again = client->Insert({kJob}, last, Soon());
        EXPECT_TRUE(!again.ok() || again->duplicate) << "a confirmed prompt was stored again";
      }
    }
  }

  // Gets batches ahead, acknowledges, and sometimes begins anew from the last acknowledged one.
  void Learn() {
    base::CounterRng random(seed_, 200);
    auto client = Client(50);
    int64_t acknowledged = 0, got = 0;
    while (!done_.load()) {
      const wire::JobAttempt job = {kJob, attempt_.load()};
      if (random.UniformInt(20) == 0) {
        attempt_.fetch_add(1);
        got = acknowledged;
        continue;
      }
      const bool may_get = got < acknowledged + kCheckpointEvery;
      if (may_get && random.UniformInt(4) != 0) {
        const auto batch = client->GetBatch(job, got + 1, 0, 1, absl::Now() + absl::Seconds(2));
        if (batch.ok()) {
          model_.Served(*batch);
          ++got;
          if (next_batch_.load() < got + 1) next_batch_ = got + 1;
          Did();
        } else if (absl::IsOutOfRange(batch.status())) {
          // The data ended: acknowledge what there is.
          if (!Acknowledge(*client, got)) continue;
          done_ = true;
        } else {
          ASSERT_TRUE(absl::IsUnavailable(batch.status()) ||
                      absl::IsDeadlineExceeded(batch.status()) ||
                      absl::IsResourceExhausted(batch.status()))
              << batch.status();
        }
      } else if (got > acknowledged) {
        const int64_t up_to =
            acknowledged + 1 +
            static_cast<int64_t>(random.UniformInt(static_cast<uint64_t>(got - acknowledged)));
        if (Acknowledge(*client, up_to)) acknowledged = up_to;
      }
    }
  }
  bool Acknowledge(wire::ReplayClient& client, int64_t up_to) {
    const absl::Status status = client.Acknowledge({kJob, attempt_.load()}, up_to, Soon());
    EXPECT_TRUE(status.ok()) << status;
    Did();
    return status.ok();
  }

  void Coordinate() {
    auto client = Client(60);
    while (!events_read_.load()) {
      const bool end = stop_writing_.load() && writers_left_.load() == 0;
      const absl::Status told = client->SetNewestVersion(
          kJob, {.version = next_batch_.load() / 2, .end_of_data = end}, Soon());
      EXPECT_TRUE(told.ok()) << told;
      const bool last = done_.load();
      // Nothing is acknowledged before it is noted, so a crash of either side loses no event.
      const auto events = client->PollPromptEvents(kJob, model_.events(), 500, Soon());
      ASSERT_TRUE(events.ok()) << events.status();
      for (const v1::PromptEvent& event : events->events()) model_.Event(event);
      Did();
      if (last && events->events().empty()) events_read_ = true;
      absl::SleepFor(absl::Milliseconds(5));
    }
  }

  void LiveAndDie(base::CounterRng& random) {
    const std::vector<std::string>& points = GetParam().points;
    const bool named = random.UniformInt(2) == 0;
    const std::string point = points[random.UniformInt(points.size())];
    // Rare ones at their first hit, the others anywhere.
    const bool rare = point.find("snapshot") != std::string::npos ||
                      point.find("flush") != std::string::npos ||
                      point.find("compaction") != std::string::npos ||
                      point.find("takeover") != std::string::npos;
    const uint64_t hit = rare ? 1 : 1 + random.UniformInt(12);
    const auto operations = static_cast<int64_t>(1 + random.UniformInt(40));
    ReplayProcess& victim = Shard(random.UniformInt(GetParam().shards));
    if (named) {
      DieAt(victim, point, hit, absl::Seconds(1));
    } else {
      DieAt(victim, "", 0, absl::Milliseconds(1500), operations);
    }
  }

  // All processes of the database server at once, while dtrpo-replay writes to it.
  void KillServer(base::CounterRng& random) {
    const absl::Status started = StartOthers();
    ASSERT_TRUE(started.ok()) << started;
    Live(*process_, absl::Milliseconds(1500), static_cast<int64_t>(1 + random.UniformInt(40)));
    server_->Kill();
    server_->Start();
    ++server_kills_;
  }

  // One life: until it dies at the fault point, or by the driver's hand.
  void DieAt(ReplayProcess& victim, const std::string& point, uint64_t hit, absl::Duration patience,
             int64_t operations = INT64_MAX) {
    if (victim.Running()) victim.Kill();
    const absl::Status others = StartOthers(&victim);
    ASSERT_TRUE(others.ok()) << others;
    const absl::Status started =
        victim.Start(point.empty() ? "" : absl::StrCat(point, ":kill@", hit));
    if (absl::IsAborted(started)) {
      ++hits_[point];  // in recovery
      return;
    }
    ASSERT_TRUE(started.ok()) << started;
    Live(victim, patience, operations);
    if (victim.Running()) {
      ++random_kills_;
      victim.Kill();
    } else {
      ++hits_[point];
    }
  }

  // Returns after so many operations, when the patience is over (never before something was done:
  // on a slow machine nobody would ever get on), or when the process has died.
  void Live(ReplayProcess& victim, absl::Duration patience, int64_t operations) {
    const int64_t begin = operations_.load();
    const absl::Time now = absl::Now(), end = now + patience, last = now + absl::Seconds(20);
    while (victim.Running()) {
      const int64_t done = operations_.load() - begin;
      if (done >= operations || absl::Now() >= (done == 0 ? last : end)) return;
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  const uint64_t seed_;
  const int64_t kills_;
  const std::string folder_;
  ReplayModel model_;
  std::unique_ptr<storage::PostgresServer> server_;
  std::unique_ptr<ReplayProcess> process_;              // shard 0
  std::vector<std::unique_ptr<ReplayProcess>> others_;  // the further ones
  absl::Mutex channels_mutex_;
  std::vector<std::unique_ptr<rpc::ChannelFactory>> channels_;
  std::atomic<int64_t> operations_ = 0;
  std::atomic<int64_t> next_prompt_ = 0;
  std::atomic<int64_t> next_batch_ = 1;
  std::atomic<int32_t> attempt_ = 1;
  std::atomic<int> writers_left_ = kWriters;
  std::atomic<bool> stop_writing_ = false, done_ = false, events_read_ = false;
  std::map<std::string, int> hits_;
  int random_kills_ = 0, server_kills_ = 0;
};

// Invariant 10: SIGKILL loses no item confirmed at `log` or above; and 6, 7 and 13 with it.
TEST_P(ReplayCrashTest, NothingConfirmedIsLostAndNothingIsConsumedTwice) {
  std::cout << "seed " << seed_ << ", " << kills_ << " kills (DTRPO_SEED, DTRPO_KILLS)\n";
  ASSERT_TRUE(StartOthers().ok());
  {
    auto client = Client(70);
    const absl::Status opened = client->OpenJob(kJob, JobOptions(), Soon());
    ASSERT_TRUE(opened.ok()) << opened;
  }
  process_->Kill();
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) {
    writers.emplace_back([this, i] {
      Write(i);
      writers_left_.fetch_sub(1);
    });
  }
  std::thread learner([this] { Learn(); });
  std::thread coordinator([this] { Coordinate(); });

  base::CounterRng random(seed_, 300);
  for (int64_t life = 0; life < kills_ && !HasFailure(); ++life) {
    if (server_ != nullptr && life % 4 == 3) {
      KillServer(random);
    } else {
      LiveAndDie(random);
    }
  }
  // A slow machine may have missed some points.
  for (const std::string& point : GetParam().points) {
    for (int life = 0; life < 10 && hits_[point] == 0 && !HasFailure(); ++life) {
      DieAt(*process_, point, 1, absl::Seconds(10));
    }
  }

  const absl::Status restarted = StartOthers();
  EXPECT_TRUE(restarted.ok()) << restarted;
  stop_writing_ = true;
  for (std::thread& writer : writers) writer.join();
  learner.join();
  coordinator.join();

  model_.CheckAllEnded();
  auto client = Client(80);
  const auto stats = client->GetStats(kJob, Soon());
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->items(), 0);
  EXPECT_EQ(stats->bytes(), 0);
  EXPECT_EQ(stats->inserted_items(), stats->consumed_items() + stats->evicted_items());
  EXPECT_EQ(stats->consumed_items(), model_.distinct_pairs_served());
  // What a writer staged and gave up goes with its epoch.
  EXPECT_TRUE(client->SetNewestVersion(kJob, {.forget_epochs_below = 1}, Soon()).ok());
  const auto view =
      wire::ConnectReplayView(*channels_.back(), Addresses(), {.target = "replay", .retry = {}});
  for (const wire::ShardStats& shard : (*view)->GetShardStats(kJob, Soon())) {
    ASSERT_TRUE(shard.stats.ok()) << shard.stats.status();
    EXPECT_EQ(shard.stats->items(), 0) << shard.shard;
  }
  for (int i = 0; i < GetParam().shards; ++i) EXPECT_EQ(Shard(i).Stop(), "exited with 0");

  std::cout << random_kills_ << " random kills, " << server_kills_
            << " of the database server; at fault points:";
  for (const std::string& point : GetParam().points) {
    std::cout << " " << point << " " << hits_[point];
    EXPECT_GT(hits_[point], 0) << point << " was never hit";
  }
  std::cout << "; " << model_.confirmed() << " prompts confirmed, " << model_.batches()
            << " batches\n";
  EXPECT_GT(model_.batches(), kills_ / 10) << "too little happened to show anything";
}

INSTANTIATE_TEST_SUITE_P(
    Durabilities, ReplayCrashTest,
    ::testing::Values(Variant{"log",
                              v1::LOG,
                              v1::FIFO,
                              1,
                              {"replay.before_log", "replay.after_log", "replay.before_confirm",
                               "replay.after_confirm", "replay.before_snapshot",
                               "replay.after_snapshot", "storage.before_log", "storage.after_log",
                               "storage.in_flush", "storage.in_compaction"}},
                      Variant{"sync",
                              v1::SYNC,
                              v1::PRIORITISED,
                              2,
                              {"replay.before_log", "replay.after_log", "replay.before_confirm",
                               "replay.after_confirm", "replay.before_snapshot",
                               "replay.after_snapshot", "storage.before_sync", "storage.after_sync",
                               "storage.in_flush", "storage.in_compaction"}},
                      Variant{"postgres",
                              v1::SYNC,
                              v1::NEWEST,
                              1,
                              {"replay.before_log", "replay.after_log", "replay.before_confirm",
                               "replay.after_confirm", "storage.before_sync", "storage.after_sync",
                               "storage.takeover"},
                              /*postgres=*/true,
                              /*share=*/0.1},
                      Variant{"shards",
                              v1::LOG,
                              v1::PRIORITISED,
                              2,
                              {"replay.before_log", "replay.after_log", "replay.before_confirm",
                               "replay.after_confirm", "replay.before_snapshot",
                               "replay.after_snapshot"},
                              /*postgres=*/false,
                              /*share=*/0.1,
                              /*shards=*/3}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace dtrpo::faults
