#include "common/model/attention_plan.h"

#include <iterator>
#include <map>
#include <numeric>
#include <utility>

#include "common/model/device.h"

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
  if (batch.output_rows.has_value()) {
    for (int64_t row : *batch.output_rows) {
      TORCH_CHECK(row >= 0 && row < rows, "output row ", row, " outside [0, ", rows, ")");
    }
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

// The rows of one segment that ask, as rows of the batch.
struct Query {
  const Segment* segment;
  std::vector<int64_t> rows;
};

// Queries of each (Lq, Lk), groups in the order in which they first appear.
std::vector<std::vector<Query>> GroupByShape(std::vector<Query> queries) {
  std::vector<std::vector<Query>> groups;
  std::map<std::pair<int64_t, int64_t>, size_t> group_of;
  for (Query& query : queries) {
    const auto shape = std::make_pair(std::ssize(query.rows), KeyRows(*query.segment));
    const auto [it, added] = group_of.emplace(shape, groups.size());
    if (added) groups.emplace_back();
    groups[it->second].push_back(std::move(query));
  }
  return groups;
}

std::vector<Query> AllRows(const RowBatch& batch) {
  std::vector<Query> queries;
  queries.reserve(batch.segments.size());
  for (const Segment& segment : batch.segments) {
    std::vector<int64_t> rows(segment.end - segment.begin);
    std::iota(rows.begin(), rows.end(), segment.begin);
    queries.push_back({&segment, std::move(rows)});
  }
  return queries;
}

std::vector<Query> OutputRows(const RowBatch& batch) {
  std::vector<bool> wanted(batch.token_ids.size());
  for (int64_t row : *batch.output_rows) wanted[row] = true;
  std::vector<Query> queries;
  for (const Segment& segment : batch.segments) {
    std::vector<int64_t> rows;
    for (int64_t row = segment.begin; row < segment.end; ++row) {
      if (wanted[row]) rows.push_back(row);
    }
    if (!rows.empty()) queries.push_back({&segment, std::move(rows)});
  }
  return queries;
}

// The batch's rows in the order in which the groups ask.
std::vector<int64_t> Order(const std::vector<std::vector<Query>>& grouped) {
  std::vector<int64_t> order;
  for (const std::vector<Query>& members : grouped) {
    for (const Query& query : members) {
      order.insert(order.end(), query.rows.begin(), query.rows.end());
    }
  }
  return order;
}

// Batch's row -> its place in `order`; -1: it has none.
std::vector<int64_t> Inverse(const std::vector<int64_t>& order, int64_t rows) {
  std::vector<int64_t> inverse(rows, -1);
  for (int64_t i = 0; i < std::ssize(order); ++i) inverse[order[i]] = i;
  return inverse;
}

bool Consecutive(const std::vector<int64_t>& values) {
  for (size_t i = 1; i < values.size(); ++i) {
    if (values[i] != values[i - 1] + 1) return false;
  }
  return true;
}

std::vector<int64_t> Picked(const std::vector<int64_t>& values, const std::vector<int64_t>& index) {
  std::vector<int64_t> result;
  result.reserve(index.size());
  for (int64_t i : index) result.push_back(values[i]);
  return result;
}

// `plan_row`: batch's row -> row among the keys; null: key ranges are cache rows.
std::vector<AttentionGroup> Groups(const std::vector<std::vector<Query>>& grouped,
                                   const std::vector<int64_t>* plan_row,
                                   const torch::Device& device) {
  std::vector<AttentionGroup> groups;
  int64_t query_begin = 0;
  for (const std::vector<Query>& members : grouped) {
    AttentionGroup group;
    group.segments = std::ssize(members);
    group.query_begin = query_begin;
    group.query_rows = std::ssize(members.front().rows);
    group.key_rows = KeyRows(*members.front().segment);
    query_begin += group.segments * group.query_rows;

    std::vector<int64_t> keys;
    keys.reserve(group.segments * group.key_rows);
    for (const Query& query : members) {
      for (const KeyRange& range : query.segment->keys) {
        for (int64_t r = range.begin; r < range.end; ++r) {
          keys.push_back(plan_row == nullptr ? r : (*plan_row)[r]);
        }
      }
    }
    if (Consecutive(keys)) {
      group.key_begin = keys.front();
    } else {
      group.key_index = IndexTensor(keys, device);
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

AttentionPlan AttentionPlan::Build(const RowBatch& batch, int64_t cache_capacity_rows,
                                   int64_t vocab_size, const torch::Device& device) {
  Check(batch, cache_capacity_rows, vocab_size);
  const bool cached = cache_capacity_rows >= 0;
  const int64_t rows = std::ssize(batch.token_ids);
  const std::vector<std::vector<Query>> grouped = GroupByShape(AllRows(batch));
  const std::vector<int64_t> order = Order(grouped);  // plan's row -> batch's row
  const std::vector<int64_t> plan_row = Inverse(order, rows);
  const std::vector<int64_t>* key_row = cached ? nullptr : &plan_row;

  AttentionPlan plan;
  plan.groups = Groups(grouped, key_row, device);
  plan.token_ids = IndexTensor(Picked(batch.token_ids, order), device);
  plan.positions = IndexTensor(Picked(batch.positions, order), device);
  if (cached) plan.cache_rows = IndexTensor(Picked(batch.cache_rows, order), device);
  if (!batch.output_rows.has_value()) {
    plan.last_groups = plan.groups;
    if (!Consecutive(order)) plan.restore = IndexTensor(plan_row, device);
    return plan;
  }

  const std::vector<std::vector<Query>> asking = GroupByShape(OutputRows(batch));
  const std::vector<int64_t> last_order = Order(asking);  // last layer's row -> batch's row
  plan.last_groups = Groups(asking, key_row, device);
  plan.last_rows = IndexTensor(Picked(plan_row, last_order), device);
  if (last_order != *batch.output_rows) {
    plan.restore = IndexTensor(Picked(Inverse(last_order, rows), *batch.output_rows), device);
  }
  return plan;
}

}  // namespace dtrpo::model
