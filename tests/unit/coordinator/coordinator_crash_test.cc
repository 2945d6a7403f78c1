// A coordinator that is killed with SIGKILL at named points of its log and its snapshots, over and
// over, in a process of its own. The test's process notes what was confirmed and says what must be
// there.
#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "common/base/fault_points.h"
#include "common/storage/store_choice.h"
#include "tests/unit/coordinator/coordinator_harness.h"
#include "tests/unit/storage/postgres_server.h"
#include "tests/unit/storage/scratch_folder.h"

namespace dtrpo::coordinator {
namespace {

constexpr int64_t kPrompts = 20, kEpochs = 40;

// What a life tells of itself through a pipe, in the order of what happened.
struct Note {
  enum Kind : int64_t { kLeased, kEnded, kStep, kCheckpoint, kLost, kDone } kind;
  int64_t a = 0;
  int64_t b = 0;
  int64_t lease = 0;
};

class CoordinatorCrashTest : public CoordinatorHarness {
 protected:
  CoordinatorCrashTest() {
    log_is_odd_ = true;  // engine_ isn't the one that is used
    records_per_snapshot_ = 7;
    replay_.opened["add-1"] = {};
  }

  static v1::JobSpec CrashSpec() {
    v1::JobSpec spec = Spec();
    spec.mutable_data()->clear_heldout();
    spec.mutable_data()->set_epochs(kEpochs);
    spec.mutable_training()->set_steps(100000);
    spec.mutable_training()->set_max_staleness(50);
    spec.mutable_training()->set_max_prompts_without_pair(100000);
    return spec;
  }

  // One life, in a process of its own: until the fault point kills it.
  void Live(const storage::StoreChoice& store, const std::string& fault, uint32_t seed, int out) {
    auto tell = [out](Note note) {
      if (write(out, &note, sizeof(note)) != sizeof(note)) _exit(3);
    };
    if (!base::ArmFaultPoints({fault}).ok()) _exit(4);
    auto engine = storage::OpenStore(store);
    if (!engine.ok()) _exit(5);
    Coordinator::Deps deps = Deps();
    deps.engine = engine->get();
    slot_.emplace(Options(), deps);
    if (const absl::Status restored = slot_->Restore(); !restored.ok()) {
      std::cerr << restored << "\n";
      tell({.kind = Note::kLost});
      _exit(6);
    }
    RegisterAll();
    const std::string id = Submit(CrashSpec(), "key");
    driver_.Step();
    coordinator_.Tick();
    const v1::JobStatus status = Get(id, /*steps=*/true);
    const bool kept = status.step() >= step_ && status.prompts().no_pair() >= ended_ &&
                      (checkpoint_.empty() || !status.checkpoint().empty());
    if (!kept || status.state() != v1::RUNNING) {
      std::cerr << status.ShortDebugString() << "\n";
      tell({.kind = Note::kLost});
      _exit(7);
    }
    std::mt19937 random(seed);
    int64_t step = status.step();
    for (int i = 0; i < 400; ++i) {
      switch (random() % 4) {
        case 0: {
          if (!held_.empty()) break;
          // Leases that no reply ever brought are free again.
          const v1::LeasePromptsResponse response = Lease(id, 3, 0, /*holds_no_lease=*/true);
          if (response.leases().empty()) tell({.kind = Note::kDone});
          MustBeDurable();
          for (const v1::PromptLease& lease : response.leases()) {
            held_.push_back(lease);
            tell({.kind = Note::kLeased,
                  .a = lease.epoch(),
                  .b = lease.prompt_index(),
                  .lease = std::stoll(lease.lease_id().substr(1))});
          }
          break;
        }
        case 1: {
          if (held_.empty()) break;
          const v1::PromptLease lease = held_.back();
          held_.pop_back();
          Report(id, lease, v1::PromptResult::NO_PAIR);
          MustBeDurable();
          tell({.kind = Note::kEnded, .a = lease.epoch(), .b = lease.prompt_index()});
          break;
        }
        case 2:
          if (!ReportStep(id, ++step).ok()) _exit(8);
          MustBeDurable();
          tell({.kind = Note::kStep, .a = step});
          break;
        default:
          if (random() % 5 != 0) break;
          if (!Checkpoint(id, step, absl::StrCat("out/", step)).ok()) _exit(9);
          MustBeDurable();
          tell({.kind = Note::kCheckpoint, .a = step});
      }
    }
    _exit(0);  // the point lies beyond this life
  }

  void MustBeDurable() {
    const absl::Status durable = coordinator_.Durable();
    if (durable.ok()) return;
    std::cerr << durable << "\n";
    _exit(10);
  }

  // Returns whether the life ended at the fault point.
  bool LiveAndDie(const storage::StoreChoice& store, const std::string& fault, uint32_t seed) {
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    const pid_t pid = fork();
    if (pid == 0) {
      close(ends[0]);
      Live(store, fault, seed, ends[1]);
    }
    close(ends[1]);
    Note note;
    while (read(ends[0], &note, sizeof(note)) == sizeof(note)) Take(note);
    close(ends[0]);
    int status = 0;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(!WIFEXITED(status) || WEXITSTATUS(status) == 0) << fault << ": " << status;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

  void Take(const Note& note) {
    const auto key = std::make_pair(note.a, note.b);
    switch (note.kind) {
      case Note::kLeased: {
        EXPECT_EQ(over_.count(key), 0u) << "a prompt that had ended is handed out again";
        v1::PromptLease& lease = held_.emplace_back();
        lease.set_epoch(note.a);
        lease.set_prompt_index(note.b);
        lease.set_lease_id(absl::StrCat("t", note.lease));
        lease.set_kind(v1::TRAIN);
        break;
      }
      case Note::kEnded:
        EXPECT_TRUE(over_.emplace(key, true).second) << "a prompt ended twice";
        ++ended_;
        std::erase_if(held_, [&](const v1::PromptLease& lease) {
          return lease.epoch() == note.a && lease.prompt_index() == note.b;
        });
        break;
      case Note::kStep:
        step_ = note.a;
        break;
      case Note::kCheckpoint:
        checkpoint_ = absl::StrCat("out/", note.a);
        break;
      case Note::kLost:
        ADD_FAILURE() << "what was confirmed isn't there: " << ended_ << " prompts, step " << step_;
        break;
      case Note::kDone:
        done_ = true;
    }
  }

  void Kill(const storage::StoreChoice& store, const std::vector<std::string>& points, int lives) {
    std::map<std::string, int> hits;
    std::mt19937 random(1);
    for (int life = 0; life < lives && !HasFailure(); ++life) {
      const std::string& point = points[life % points.size()];
      const std::string fault = absl::StrCat(point, ":kill@", 1 + random() % 8);
      if (LiveAndDie(store, fault, random())) ++hits[point];
    }
    // To the end, without a fault.
    for (int life = 0; life < 20 && !done_ && !HasFailure(); ++life) {
      LiveAndDie(store, "coordinator.none:kill@1", random());
    }
    EXPECT_TRUE(done_);
    EXPECT_EQ(ended_, kPrompts * kEpochs) << "each prompt of each epoch once";
    std::cout << "kills at";
    for (const std::string& point : points) {
      std::cout << " " << point << " " << hits[point];
      EXPECT_GT(hits[point], 0) << point << " was never hit";
    }
    std::cout << "\n";
  }

  // The driver's model.
  std::vector<v1::PromptLease> held_;
  std::map<std::pair<int64_t, int64_t>, bool> over_;
  int64_t ended_ = 0;
  int64_t step_ = 0;
  std::string checkpoint_;
  bool done_ = false;
};

TEST_F(CoordinatorCrashTest, NothingConfirmedIsLostWhereverItIsKilledOnRocksDb) {
  const storage::ScratchFolder folder;
  Kill({.engine = "rocksdb", .path = folder.path() + "/store"},
       {"coordinator.before_snapshot", "coordinator.after_snapshot", "storage.before_snapshot",
        "storage.after_snapshot", "storage.before_sync", "storage.after_sync"},
       60);
}

TEST_F(CoordinatorCrashTest, NothingConfirmedIsLostWhereverItIsKilledOnPostgres) {
  storage::PostgresServer server;
  Kill({.engine = "postgres",
        .postgres = server.connection(),
        .shard = "coordinator",
        .schema = "coordinator_crash"},
       {"coordinator.before_snapshot", "coordinator.after_snapshot", "storage.before_snapshot",
        "storage.before_sync", "storage.after_sync"},
       20);
}

}  // namespace
}  // namespace dtrpo::coordinator
