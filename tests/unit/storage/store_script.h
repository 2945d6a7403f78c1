// A made-up history of one log, a pure function of (seed, log): what each step does, and so what a
// store must hold after any number of them. Crash tests run it, kill, and ask how far it came.
// Thread-safe: no state.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/hash.h"
#include "common/base/retry_after.h"
#include "common/base/status_macros.h"
#include "common/storage/storage_engine.h"

namespace dtrpo::storage {

// Until it is no longer refused because the disk is behind, which small buffers make happen.
inline absl::StatusOr<Confirmation> AppendPatiently(StorageEngine& engine, absl::string_view log,
                                                    const Operations& operations,
                                                    Durability level) {
  for (int i = 0; i < 10000; ++i) {
    absl::StatusOr<Confirmation> confirmed = engine.Append(log, operations, level);
    if (base::GetReason(confirmed.status()) != kStoreBehind) return confirmed;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return absl::DeadlineExceededError("the store stayed behind");
}

inline absl::Status SnapshotPatiently(StorageEngine& engine, absl::string_view log,
                                      const Snapshot& snapshot) {
  for (int i = 0; i < 10000; ++i) {
    absl::Status written = engine.WriteSnapshot(log, snapshot);
    if (base::GetReason(written) != kStoreBehind) return written;
    absl::SleepFor(absl::Milliseconds(2));
  }
  return absl::DeadlineExceededError("the store stayed behind");
}

// What stands in the store after some steps.
struct ScriptState {
  int64_t steps = 0;
  Position position = 0;
  BodyId next_body = 0;
  std::map<BodyId, int64_t> bodies;  // those that live, and the step that wrote them
};

class StoreScript {
 public:
  // `small`: no body over 2 KiB.
  StoreScript(uint64_t seed, std::string log, bool small = false)
      : seed_(seed), log_(std::move(log)), small_(small) {}
  const std::string& log() const { return log_; }

  // The operations of the step after `state`, which moves on.
  Operations Next(ScriptState& state) const {
    const int64_t step = ++state.steps;
    Operations operations;
    const int64_t records = 1 + static_cast<int64_t>(Draw(step, "records") % 3);
    for (int64_t i = 0; i < records; ++i) operations.records.push_back(Record(++state.position));
    const int64_t bodies = static_cast<int64_t>(Draw(step, "bodies") % 4);
    for (int64_t i = 0; i < bodies; ++i) {
      operations.bodies.emplace_back(state.next_body, Body(state.next_body));
      state.bodies[state.next_body++] = step;
    }
    if (Draw(step, "delete") % 3 == 0 && !state.bodies.empty()) {
      // From the oldest on, as consumption does; sometimes everything.
      const BodyId first = state.bodies.begin()->first;
      const BodyId end = Draw(step, "all") % 40 == 0
                             ? state.next_body
                             : first + 1 + static_cast<BodyId>(Draw(step, "count") % 6);
      operations.deleted_bodies.push_back({.first = first, .end = end});
      state.bodies.erase(state.bodies.lower_bound(first), state.bodies.lower_bound(end));
    }
    return operations;
  }

  // Whether a snapshot is written after the step that led to `state`, and of which position.
  bool SnapshotAfter(const ScriptState& state) const {
    return Draw(state.steps, "snapshot") % 12 == 0;
  }
  Snapshot SnapshotOf(const ScriptState& state) const {
    return {.position = state.position, .state = SnapshotState(state.position)};
  }

  // Whether the engine holds exactly what some number of steps leaves; returns the state after
  // them. DATA_LOSS says what is wrong.
  absl::StatusOr<ScriptState> Check(const StorageEngine& engine) const {
    DTRPO_ASSIGN_OR_RETURN(const LogSize size, engine.SizeOf(log_));
    ScriptState state;
    Position snapshot_before_last = 0;  // that the last step but none follows
    Position snapshot_after_last = 0;
    while (state.position < size.last) {
      snapshot_before_last = snapshot_after_last;
      Next(state);
      if (SnapshotAfter(state)) snapshot_after_last = state.position;
    }
    if (state.position != size.last) {
      return absl::DataLossError(absl::StrCat(log_, ": a step is there in part: ", size.last,
                                              " records, not ", state.position));
    }
    DTRPO_ASSIGN_OR_RETURN(const std::optional<Snapshot> snapshot, engine.ReadSnapshot(log_));
    const Position replaced = snapshot ? snapshot->position : 0;
    // The one after the last step may have been cut off, or not have come yet.
    if (replaced != snapshot_after_last && replaced != snapshot_before_last) {
      return absl::DataLossError(absl::StrCat(log_, ": the snapshot is of ", replaced));
    }
    if (snapshot && snapshot->state != SnapshotState(replaced)) {
      return absl::DataLossError(absl::StrCat(log_, ": the snapshot's state is wrong"));
    }
    Position seen = replaced;
    DTRPO_RETURN_IF_ERROR(
        engine.Replay(log_, replaced, [&](Position at, absl::string_view record) -> absl::Status {
          if (at != ++seen || record != Record(at)) {
            return absl::DataLossError(absl::StrCat(log_, ": record ", at, " is wrong"));
          }
          return absl::OkStatus();
        }));
    if (seen != size.last) return absl::DataLossError(absl::StrCat(log_, ": records are missing"));
    for (BodyId id = 0; id < state.next_body; ++id) {
      const auto body = engine.ReadBodies(log_, {id});
      const bool lives = state.bodies.count(id) > 0;
      if (lives ? !body.ok() || (*body)[0] != Body(id) : !absl::IsNotFound(body.status())) {
        return absl::DataLossError(absl::StrCat(log_, ": body ", id,
                                                lives ? " should" : " shouldn't",
                                                " be there: ", body.status().ToString()));
      }
    }
    return state;
  }

  std::string Body(BodyId id) const {
    const uint64_t draw = Draw(id, "body");
    // Some in RocksDB's tables, most in blob files, a few over several log blocks.
    static constexpr size_t kSizes[] = {20, 700, 1500, 6144, 6144, 6144, 50000};
    size_t size = kSizes[draw % 7];
    if (small_ && size > 2000) size = 2000;
    std::string body = absl::StrCat(log_, "/", id, "/", draw, "/");
    while (body.size() < size) body += body;
    body.resize(size);
    return body;
  }

 private:
  std::string Record(Position at) const {
    return absl::StrCat("record ", at, " of ", log_, " ", Draw(at, "record"));
  }
  std::string SnapshotState(Position at) const {
    return absl::StrCat("state at ", at, " ", Draw(at, "state"));
  }
  uint64_t Draw(int64_t number, absl::string_view what) const {
    return base::StableHash(seed_, log_, what, static_cast<uint64_t>(number));
  }

  const uint64_t seed_;
  const std::string log_;
  const bool small_;
};

}  // namespace dtrpo::storage
