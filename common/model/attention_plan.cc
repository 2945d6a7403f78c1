#include "common/model/attention_plan.h"

#include <iterator>
#include <map>
#include <utility>

namespace dtrpo::model {
namespace {

int64_t KeyRows(const Segment& segment) {
  int64_t rows = 0;
  for (const KeyRange& range : segment.keys) rows += range.end - range.begin;
  return rows;
}

void Check(const RowBatch& batch, int64_t cache_capacity_rows, int64_t vocab_size) {
  const int64_t rows = std::ssize(batch.token_ids);
  const bool cached = cache_capacity_rows >= 0;
  const int64_t key_rows = cached ? cache_capacity_rows : rows;
  TORCH_CHECK(rows > 0, "an empty row batch");
  TORCH_CHECK(std::ssize(batch.positions) == rows, rows, " token ids but ", batch.positions.size(),
              " positions");
  TORCH_CHECK(std::ssize(batch.cache_rows) == (cached ? rows : 0), "cache_rows has ",
              batch.cache_rows.size(), " entries for ", rows, " rows ",
              cached ? "with a cache" : "without a cache");
  for (int64_t id : batch.token_ids) {
    TORCH_CHECK(id >= 0 && id < vocab_size, "token id ", id, " outside [0, ", vocab_size, ")");
  }
  for (int64_t row : batch.cache_rows) {
    TORCH_CHECK(row >= 0 && row < key_rows, "cache row ", row, " outside [0, ", key_rows, ")");
  }
  int64_t next = 0;
  for (const Segment& segment : batch.segments) {
    TORCH_CHECK(segment.begin == next && segment.end > segment.begin, "segment [", segment.begin,
                ", ", segment.end, ") where one must begin at row ", next);
    TORCH_CHECK(!segment.keys.empty(), "segment at row ", segment.begin, " has no keys");
    for (const KeyRange& range : segment.keys) {
      TORCH_CHECK(range.begin >= 0 && range.end > range.begin && range.end <= key_rows,
                  "key range [", range.begin, ", ", range.end, ") of the segment at row ",
                  segment.begin, " in ", key_rows, " key rows");
    }
    next = segment.end;
  }
  TORCH_CHECK(next == rows, "segments cover ", next, " of ", rows, " rows");
}

// Segments of each (Lq, Lk), groups in the order in which they first appear.
std::vector<std::vector<int64_t>> GroupSegments(const std::vector<Segment>& segments) {
  std::vector<std::vector<int64_t>> groups;
  std::map<std::pair<int64_t, int64_t>, size_t> group_of;
  for (int64_t i = 0; i < std::ssize(segments); ++i) {
    const auto shape = std::make_pair(segments[i].end - segments[i].begin, KeyRows(segments[i]));
    const auto [it, added] = group_of.emplace(shape, groups.size());
    if (added) groups.emplace_back();
    groups[it->second].push_back(i);
  }
  return groups;
}

bool Consecutive(const std::vector<int64_t>& values) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] != values[i - 1] + 1) return false;
  }
  return true;
}

torch::Tensor ToTensor(const std::vector<int64_t>& values, const torch::Device& device) {
  return torch::tensor(values, torch::kInt64).to(device);
}

torch::Tensor Reordered(const std::vector<int64_t>& values, const std::vector<int64_t>& order,
                        const torch::Device& device) {
  std::vector<int64_t> result;
  result.reserve(order.size());
  for (int64_t row : order) result.push_back(values[row]);
  return ToTensor(result, device);
}

}  // namespace

AttentionPlan AttentionPlan::Build(const RowBatch& batch, int64_t cache_capacity_rows,
                                   int64_t vocab_size, const torch::Device& device) {
  Check(batch, cache_capacity_rows, vocab_size);
  const bool cached = cache_capacity_rows >= 0;
  const int64_t rows = std::ssize(batch.token_ids);
  const std::vector<std::vector<int64_t>> grouped = GroupSegments(batch.segments);

  std::vector<int64_t> order;  // plan's row -> caller's row
  order.reserve(rows);
  for (const std::vector<int64_t>& members : grouped) {
    for (int64_t s : members) {
      for (int64_t r = batch.segments[s].begin; r < batch.segments[s].end; ++r) order.push_back(r);
    }
  }
  std::vector<int64_t> plan_row(rows);  // caller's row -> plan's row
  for (int64_t i = 0; i < rows; ++i) plan_row[order[i]] = i;

  AttentionPlan plan;
  int64_t query_begin = 0;
  for (const std::vector<int64_t>& members : grouped) {
    const Segment& first = batch.segments[members.front()];
    AttentionGroup group;
    group.segments = std::ssize(members);
    group.query_begin = query_begin;
    group.query_rows = first.end - first.begin;
    group.key_rows = KeyRows(first);
    query_begin += group.segments * group.query_rows;

    std::vector<int64_t> keys;
    keys.reserve(group.segments * group.key_rows);
    for (int64_t s : members) {
      for (const KeyRange& range : batch.segments[s].keys) {
        for (int64_t r = range.begin; r < range.end; ++r) {
          keys.push_back(cached ? r : plan_row[r]);
        }
      }
    }
    if (Consecutive(keys)) {
      group.key_begin = keys.front();
    } else {
      group.key_index = ToTensor(keys, device);
    }
    plan.groups.push_back(std::move(group));
  }
  plan.token_ids = Reordered(batch.token_ids, order, device);
  plan.positions = Reordered(batch.positions, order, device);
  if (cached) plan.cache_rows = Reordered(batch.cache_rows, order, device);
  if (!Consecutive(order)) plan.restore = ToTensor(plan_row, device);
  return plan;
}

}  // namespace dtrpo::model
