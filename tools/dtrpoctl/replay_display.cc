#include "tools/dtrpoctl/replay_display.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/trajectory/state_at.h"
#include "common/wire/trajectory_codec.h"

namespace dtrpo::ctl {
namespace {

constexpr char kMask[] = "·";
constexpr int32_t kMaskId = -1;  // of frames only: no token has it

std::string Bytes(int64_t bytes) {
  if (bytes < 0) return "not known";
  if (bytes < 10 << 10) return absl::StrCat(bytes, " B");
  if (bytes < int64_t{10} << 20) return absl::StrFormat("%.1f KiB", bytes / 1024.0);
  return absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

std::string Version(int64_t version) { return version < 0 ? "imported" : absl::StrCat(version); }

const char* DurabilityWord(v1::Durability durability) {
  switch (durability) {
    case v1::MEMORY:
      return "memory";
    case v1::LOG:
      return "log";
    case v1::SYNC:
      return "sync";
    default:
      return "unknown";
  }
}

// Text where there is a tokenizer, masks in between; else ids.
absl::StatusOr<std::string> FrameText(const std::vector<int32_t>& frame,
                                      const text::Tokenizer* tokenizer) {
  if (tokenizer == nullptr) {
    return absl::StrJoin(frame, " ", [](std::string* out, int32_t id) {
      absl::StrAppend(out, id == kMaskId ? kMask : absl::StrCat(id));
    });
  }
  std::string shown;
  for (auto it = frame.begin(); it != frame.end();) {
    if (*it == kMaskId) {
      shown += kMask;
      ++it;
      continue;
    }
    const auto end = std::find(it, frame.end(), kMaskId);
    const std::vector<int32_t> run(it, end);
    DTRPO_ASSIGN_OR_RETURN(const std::string words, tokenizer->Decode(run, /*skip_special=*/false));
    shown += words;
    it = end;
  }
  return absl::StrReplaceAll(shown, {{"\n", "\\n"}, {"\r", "\\r"}, {"\t", "\\t"}});
}

absl::Status AppendTrajectory(const std::string& role, const v1::Trajectory& from,
                              const text::Tokenizer* tokenizer, bool steps, std::string* out) {
  DTRPO_ASSIGN_OR_RETURN(trajectory::Trajectory t, wire::FromProto(from));
  absl::StrAppendFormat(
      out, "\n%s  %s\n  reward %g%s, version %s, %d tokens, %s, %s\n", role, t.id, t.reward,
      t.reward_reason.empty() ? "" : absl::StrCat(" (", t.reward_reason, ")"),
      t.external ? "imported" : absl::StrJoin(t.weights_version, ","), trajectory::TargetCount(t),
      t.sampler.unmask, t.stop_index >= 0 ? "stopped by itself" : "cut at its limit");
  // Never committed positions hold the model's mask id: in the final text they are masks, too.
  std::vector<int32_t> last = t.response_tokens;
  for (size_t i = 0; i < last.size(); ++i) {
    if (t.unmask_step[i] == trajectory::kNeverCommitted) t.response_tokens[i] = kMaskId;
  }
  std::vector<std::vector<int32_t>> frames = trajectory::DenoisingFrames(t, kMaskId);
  if (!steps) frames = {frames.back()};
  for (size_t i = 0; i < frames.size(); ++i) {
    DTRPO_ASSIGN_OR_RETURN(const std::string text, FrameText(frames[i], tokenizer));
    absl::StrAppendFormat(out, "  %*s  %s\n", steps ? 4 : 0,
                          steps ? absl::StrCat(i) : std::string(), text);
  }
  return absl::OkStatus();
}

}  // namespace

std::string ReplayJobTable(const v1::ListReplayJobsResponse& jobs) {
  std::string out = absl::StrFormat("%-24s %10s %12s %10s %10s %10s  %s\n", "JOB", "ITEMS", "BYTES",
                                    "AVAILABLE", "BATCHES", "ACKED", "DURABILITY");
  for (const auto& job : jobs.jobs()) {
    if (job.closed()) {
      absl::StrAppendFormat(&out, "%-24s closed\n", job.job_id());
      continue;
    }
    const v1::GetReplayStatsResponse& stats = job.stats();
    absl::StrAppendFormat(&out, "%-24s %10d %12s %10d %10d %10d  %s\n", job.job_id(), stats.items(),
                          Bytes(stats.bytes()), stats.available_items(), stats.batches_formed(),
                          stats.acknowledged_batch(), DurabilityWord(stats.durability()));
  }
  return out;
}

std::string ReplayDetails(const v1::GetReplayStatsResponse& stats) {
  std::string out;
  absl::StrAppendFormat(&out, "items:         %d of %d\n", stats.items(), stats.max_items());
  absl::StrAppendFormat(&out, "bytes:         %s of %s\n", Bytes(stats.bytes()),
                        Bytes(stats.max_bytes()));
  absl::StrAppendFormat(&out, "available:     %d (the next batch wants %d)\n",
                        stats.available_items(), stats.wanted_items());
  absl::StrAppendFormat(&out, "assigned:      %d, in unacknowledged batches\n",
                        stats.assigned_items());
  absl::StrAppendFormat(&out, "inserted:      %d items of %d prompts; %d prompts without a pair\n",
                        stats.inserted_items(), stats.inserted_prompts(), stats.no_pair_prompts());
  absl::StrAppendFormat(&out, "left:          %d consumed, %d grew stale unused\n",
                        stats.consumed_items(), stats.evicted_items());
  absl::StrAppendFormat(&out, "duplicates:    %d inserts repeated\n", stats.duplicate_inserts());
  absl::StrAppendFormat(&out, "batches:       %d formed, acknowledged up to %d\n",
                        stats.batches_formed(), stats.acknowledged_batch());
  absl::StrAppendFormat(&out, "version:       %d; learner attempt %d\n", stats.newest_version(),
                        stats.attempt());
  absl::StrAppendFormat(&out, "durability:    %s\n", DurabilityWord(stats.durability()));
  absl::StrAppendFormat(&out, "disk:          %s, %s free\n", Bytes(stats.disk_bytes()),
                        Bytes(stats.free_disk_bytes()));
  if (stats.checkpoint_wanted()) out += "waits for:     a checkpoint that makes room\n";
  return out;
}

std::string ShardLine(const wire::ShardStats& shard) {
  if (!shard.stats.ok())
    return absl::StrCat(shard.shard, ": ", shard.stats.status().message(), "\n");
  return absl::StrFormat("%s: %d items, %s; disk %s, %s free\n", shard.shard, shard.stats->items(),
                         Bytes(shard.stats->bytes()), Bytes(shard.stats->disk_bytes()),
                         Bytes(shard.stats->free_disk_bytes()));
}

std::string ItemHeader() {
  return absl::StrFormat("%8s  %-14s %8s %9s %5s %-10s %9s  %s\n", "ITEM", "PROMPT", "VERSION",
                         "PRIORITY", "USES", "STATE", "BYTES", "REWARDS");
}

std::string ItemLine(const v1::ReplayItem& item) {
  std::vector<std::string> rewards;
  if (item.has_pair()) {
    rewards.push_back(
        absl::StrFormat("%g > %g", item.pair().chosen().reward(), item.pair().rejected().reward()));
  }
  for (const v1::Trajectory& t : item.group().trajectories()) {
    rewards.push_back(absl::StrFormat("%g", t.reward()));
  }
  const v1::PromptKey& prompt = item.prompt();
  return absl::StrFormat(
      "%8d  %-14s %8s %9.4g %5d %-10s %9d  %s\n", item.item(),
      absl::StrCat(prompt.epoch(), "/", prompt.prompt_index(), "/", prompt.prompt_attempt()),
      Version(item.version()), item.priority(), item.uses(),
      item.state() == v1::ReplayItem::AVAILABLE ? "available" : "assigned", item.stored_bytes(),
      absl::StrJoin(rewards, " "));
}

absl::StatusOr<std::string> ItemView(const v1::ReplayItem& item, const text::Tokenizer* tokenizer,
                                     bool steps) {
  std::string out = absl::StrCat(ItemHeader(), ItemLine(item));
  const v1::Trajectory& first =
      item.has_pair() ? item.pair().chosen() : item.group().trajectories(0);
  const std::vector<int32_t> prompt(first.prompt_tokens().begin(), first.prompt_tokens().end());
  DTRPO_ASSIGN_OR_RETURN(const std::string prompt_text, FrameText(prompt, tokenizer));
  absl::StrAppend(&out, "\nprompt  ", prompt_text, "\n");
  if (item.has_pair()) {
    DTRPO_RETURN_IF_ERROR(AppendTrajectory("chosen", item.pair().chosen(), tokenizer, steps, &out));
    DTRPO_RETURN_IF_ERROR(
        AppendTrajectory("rejected", item.pair().rejected(), tokenizer, steps, &out));
  }
  for (int i = 0; i < item.group().trajectories_size(); ++i) {
    DTRPO_RETURN_IF_ERROR(AppendTrajectory(absl::StrCat("answer ", i), item.group().trajectories(i),
                                           tokenizer, steps, &out));
  }
  return out;
}

}  // namespace dtrpo::ctl
