// Limits that submit accepts let a job go on, whatever their combination: every small one is tried
// with the coordinator's ledger and admission and the replay store's table, a rollout, an importer
// and a learner that do what they may. All is plain state, so that thousands of jobs take seconds.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/philox.h"
#include "common/base/retry_after.h"
#include "common/job/job_limits.h"
#include "services/coordinator/prompt_ledger.h"
#include "services/replay/replay_table.h"

namespace dtrpo::coordinator {
namespace {

constexpr int64_t kExternal = 17;  // usable lines of data.pairs
constexpr int64_t kPrompts = 11;

job::JobSpec SmallSpec() {
  job::JobSpec spec;
  spec.name = "limits";
  spec.model.path = "model";
  spec.output = "out";
  spec.data.prompts = "prompts.jsonl";
  spec.data.max_prompt_tokens = 16;
  spec.sampling.max_new_tokens = 16;
  spec.training.steps = 20;
  spec.training.pairs_per_batch = 4;
  return spec;
}

// The largest pair that the job's token limits allow.
int64_t PairBytes(const job::JobSpec& spec) {
  return job::RequiredReplayBytes(spec) / job::RequiredReplayItems(spec);
}

// As the coordinator opens a job, but with no more room than submit asks for.
replay::TableOptions OptionsOf(const job::JobSpec& spec) {
  replay::TableOptions options;
  options.pairs_per_batch = spec.training.pairs_per_batch;
  options.publish_every = spec.training.publish_every;
  options.max_staleness = spec.training.max_staleness;
  options.max_uses = spec.training.max_uses;
  options.max_items = spec.replay.max_items;
  options.max_bytes = spec.replay.max_bytes;
  options.max_pairs_per_prompt = spec.reward.max_pairs_per_prompt;
  options.total_steps = spec.training.steps;
  options.checkpoint_every = spec.training.checkpoint_every;
  options.selector = spec.replay.selector == "newest"        ? replay::SelectorKind::kNewest
                     : spec.replay.selector == "prioritised" ? replay::SelectorKind::kPrioritised
                                                             : replay::SelectorKind::kFifo;
  options.priority_exponent = 1;
  options.min_items = spec.replay.min_items;
  options.samples_per_insert = spec.replay.samples_per_insert;
  options.external_pairs_per_batch = static_cast<int32_t>(job::ExternalPairsPerBatch(spec));
  return options;
}

// One job, a round at a time: everybody does what they may.
class Job {
 public:
  explicit Job(const job::JobSpec& spec)
      : spec_(spec),
        ledger_({.prompts = spec.data.prompts.empty() ? 0 : kPrompts,
                 .epochs = spec.data.epochs,
                 .max_pairs_per_prompt = spec.reward.max_pairs_per_prompt}),
        table_(*replay::Complete(OptionsOf(spec))) {}

  // Empty when it ran to its end, whatever that was; else what it was waiting for.
  std::string Run() {
    // Once nothing happens in a round, nothing ever will: no clock has a part in it.
    for (changed_ = true; changed_;) {
      changed_ = false;
      Coordinate();
      Sample();
      Import();
      while (TryStep()) {
      }
      if (over_) return "";
    }
    return waits_for_;
  }
  int64_t steps() const { return table_.formed_batch(); }

 private:
  void Apply(const replay::LogRecords& records) {
    for (const replay::LogRecord& record : records) table_.Apply(record);
    changed_ = changed_ || !records.empty();
  }

  void Coordinate() {
    for (const replay::PromptEvent& event : table_.ledger().EventsAfter(position_, 1 << 20)) {
      position_ = event.position;
      if (event.prompt.prompt_index >= job::kFirstExternalPrompt) continue;
      const PromptKey key = {event.prompt.epoch, event.prompt.prompt_index};
      switch (event.kind) {
        case replay::PromptEvent::Kind::kStored:
          ledger_.OnStored(key, event.prompt.attempt, event.pairs);
          break;
        case replay::PromptEvent::Kind::kNoPair:
          ledger_.OnNoPair(key, event.prompt.attempt);
          break;
        case replay::PromptEvent::Kind::kConsumed:
          ledger_.OnConsumed(key, event.prompt.attempt, event.pairs);
          break;
        case replay::PromptEvent::Kind::kEvicted:
          ledger_.OnEvicted(key, event.prompt.attempt);
      }
    }
    ledger_.OnEvictedPairs(table_.counters().evicted_items);
    if (ledger_.Exhausted()) ledger_.Close();
    const bool prompts_end = ledger_.closed();
    const bool import_ends = spec_.data.pairs.empty() || imported_ == Lines();
    Apply(table_.PlanMarks(newest_, prompts_end && import_ends, 0));
    if (job::ExternalPairsPerBatch(spec_) > 0) Apply(table_.PlanKindEnds(import_ends, prompts_end));
  }

  void Sample() {
    const int64_t admitted = !spec_.data.pairs.empty() && imported_ == Lines()
                                 ? job::AdmittedPairs(spec_, newest_, imported_)
                                 : job::AdmittedPairs(spec_, newest_);
    if (leases_.empty() && !spec_.data.prompts.empty()) {
      for (TrainLease& lease : ledger_.Lease(absl::UnixEpoch(), "rollout", 2, admitted)) {
        leases_.push_back({std::move(lease), newest_});
        changed_ = true;
      }
    }
    for (size_t left = leases_.size(); left > 0; --left) {
      const Lease lease = leases_.front();
      leases_.pop_front();
      // From none to all, but the first prompts of a job all bring something.
      const TrainLease& of = lease.lease;
      base::CounterRng random(of.key.epoch * kPrompts + of.key.prompt, of.attempt);
      const auto pairs = static_cast<int64_t>(
          random.UniformInt(static_cast<uint64_t>(spec_.reward.max_pairs_per_prompt) + 1));
      const replay::PromptKey key = {of.key.epoch, of.key.prompt, of.attempt};
      const auto records = table_.PlanInsert(
          key, std::vector<replay::NewItem>(
                   pairs, {.version = lease.version, .size_bytes = PairBytes(spec_)}));
      if (records.ok()) {
        Apply(*records);
        continue;
      }
      waits_for_ = std::string(records.status().message());
      leases_.push_back(lease);
    }
  }

  void Import() {
    while (!spec_.data.pairs.empty() && imported_ < Lines()) {
      const replay::PromptKey key = {imported_ / kExternal,
                                     job::kFirstExternalPrompt + imported_ % kExternal, 0};
      const auto records =
          table_.PlanInsert(key, {{.version = -1, .size_bytes = PairBytes(spec_)}});
      if (!records.ok()) {
        waits_for_ = std::string(records.status().message());
        return;
      }
      Apply(*records);
      ++imported_;
    }
  }
  int64_t Lines() const { return kExternal * spec_.data.epochs; }

  bool TryStep() {
    if (table_.formed_batch() == spec_.training.steps) over_ = true;
    if (over_) return false;
    const auto formed = table_.PlanNextBatch();
    if (!formed.ok()) {
      over_ = absl::IsOutOfRange(formed.status());
      waits_for_ = std::string(formed.status().message());
      if (table_.CheckpointWanted()) Checkpoint();
      return false;
    }
    Apply(*formed);
    const int64_t n = table_.formed_batch();
    if (n % spec_.training.publish_every == 0) ++newest_;
    if (n % spec_.training.checkpoint_every == 0) Checkpoint();
    return true;
  }
  void Checkpoint() { Apply(*table_.PlanAcknowledge(table_.formed_batch())); }

  struct Lease {
    TrainLease lease;
    int64_t version = 0;  // that its answers are made by
  };

  const job::JobSpec spec_;
  PromptLedger ledger_;
  replay::ReplayTable table_;
  std::deque<Lease> leases_;
  int64_t position_ = 0, newest_ = 0, imported_ = 0;
  bool changed_ = false, over_ = false;
  std::string waits_for_;
};

template <typename T>
std::vector<job::JobSpec> Each(const std::vector<job::JobSpec>& specs, const std::vector<T>& values,
                               const std::function<void(job::JobSpec&, const T&)>& set) {
  std::vector<job::JobSpec> all;
  for (const job::JobSpec& spec : specs) {
    for (const T& value : values) set(all.emplace_back(spec), value);
  }
  return all;
}

enum class Data { kPrompts, kPairs, kBoth };

std::vector<job::JobSpec> Combinations() {
  using Spec = job::JobSpec;
  std::vector<Spec> specs = {SmallSpec()};
  specs = Each<Data>(specs, {Data::kPrompts, Data::kPairs, Data::kBoth}, [](Spec& s, Data data) {
    if (data == Data::kPairs) s.data.prompts.clear();
    if (data != Data::kPrompts) s.data.pairs = "pairs.jsonl";
  });
  specs = Each<int>(specs, {1, 2, 5}, [](Spec& s, int n) { s.training.pairs_per_batch = n; });
  specs = Each<int>(specs, {1, 3}, [](Spec& s, int n) { s.training.publish_every = n; });
  specs = Each<int>(specs, {0, 3}, [](Spec& s, int n) { s.training.max_staleness = n; });
  specs = Each<int>(specs, {1, 7}, [](Spec& s, int n) { s.training.checkpoint_every = n; });
  specs = Each<int>(specs, {1, 3}, [](Spec& s, int n) { s.training.max_uses = n; });
  specs = Each<int>(specs, {1, 4}, [](Spec& s, int n) { s.reward.max_pairs_per_prompt = n; });
  specs = Each<int>(specs, {2, 1000}, [](Spec& s, int n) { s.data.epochs = n; });
  specs = Each<double>(specs, {0, 1.5}, [](Spec& s, double r) { s.replay.samples_per_insert = r; });
  specs = Each<int>(specs, {0, 3, 1000}, [](Spec& s, int n) { s.replay.min_items = n; });
  specs = Each<std::string>(specs, {"fifo", "newest"},
                            [](Spec& s, const std::string& name) { s.replay.selector = name; });
  return specs;
}

std::string Describe(const job::JobSpec& s) {
  return absl::StrCat("prompts '", s.data.prompts, "' pairs '", s.data.pairs, "' pairs_per_batch ",
                      s.training.pairs_per_batch, " publish_every ", s.training.publish_every,
                      " max_staleness ", s.training.max_staleness, " checkpoint_every ",
                      s.training.checkpoint_every, " max_uses ", s.training.max_uses,
                      " max_pairs_per_prompt ", s.reward.max_pairs_per_prompt, " epochs ",
                      s.data.epochs, " samples_per_insert ", s.replay.samples_per_insert,
                      " min_items ", s.replay.min_items, " selector ", s.replay.selector);
}

TEST(LimitsTest, WhateverIsAcceptedGoesOnInTheSmallestStoreThatIsAccepted) {
  int accepted = 0, refused = 0, stuck = 0;
  for (job::JobSpec& spec : Combinations()) {
    if (spec.replay.min_items == 1000) {  // the most that is accepted
      while (spec.replay.min_items > 0 && !job::Validate(spec).ok()) --spec.replay.min_items;
    }
    spec.replay.max_items = job::RequiredReplayItems(spec);
    spec.replay.max_bytes = job::RequiredReplayBytes(spec);
    if (const absl::Status status = job::Validate(spec); !status.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(status));
      ++refused;
      continue;
    }
    ++accepted;
    const auto options = replay::Complete(OptionsOf(spec));
    ASSERT_TRUE(options.ok()) << "submit takes what replay refuses: " << options.status() << "\n"
                              << Describe(spec);
    Job job(spec);
    const std::string waits_for = job.Run();
    EXPECT_EQ(waits_for, "") << Describe(spec);
    EXPECT_GT(job.steps(), 0) << Describe(spec);
    stuck += !waits_for.empty();
    ASSERT_LT(stuck, 10);
  }
  EXPECT_GT(accepted, 1000);
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace dtrpo::coordinator
