#include "common/storage/postgres_group.h"

#include <map>

#include "absl/strings/string_view.h"

namespace dtrpo::storage {

std::vector<PostgresConnection::Statement> StatementsOf(absl::Span<const QueuedStep> group,
                                                        const GroupPlace& place) {
  std::map<std::string, const QueuedStep*> last_of;
  std::map<int64_t, const Snapshot*> snapshot_of;
  std::vector<int64_t> record_logs, positions, body_logs, ids, deleted_logs, firsts, ends;
  std::vector<absl::string_view> records, bodies;
  for (const QueuedStep& step : group) {
    const auto log = static_cast<int64_t>(step.index.number);
    last_of[step.log] = &step;
    if (step.snapshot) snapshot_of[log] = &*step.snapshot;
    Position position = step.first_record;
    for (const std::string& record : step.operations.records) {
      record_logs.push_back(log);
      positions.push_back(position++);
      records.push_back(record);
    }
    for (const auto& [id, body] : step.operations.bodies) {
      body_logs.push_back(log);
      ids.push_back(id);
      bodies.push_back(body);
    }
    for (const BodyRange& range : step.operations.deleted_bodies) {
      deleted_logs.push_back(log);
      firsts.push_back(range.first);
      ends.push_back(range.end);
    }
  }
  std::vector<int64_t> logs, log_firsts, log_lasts, next_bodies, snapshot_logs, snapshot_positions;
  std::vector<absl::string_view> names, states;
  for (const auto& [name, step] : last_of) {
    logs.push_back(static_cast<int64_t>(step->index.number));
    names.push_back(name);
    log_firsts.push_back(step->index.first);
    log_lasts.push_back(step->index.last);
    next_bodies.push_back(step->index.next_body);
  }
  for (const auto& [log, snapshot] : snapshot_of) {
    snapshot_logs.push_back(log);
    snapshot_positions.push_back(snapshot->position);
    states.push_back(snapshot->state);
  }

  const std::string shard = BinaryInt(place.number);
  std::vector<PostgresConnection::Statement> statements;
  statements.push_back({"advance",
                        {shard, BinaryInt(place.epoch), BinaryInt(place.committed),
                         BinaryInt(group.back().sequence)}});
  statements.push_back({"logs",
                        {shard, BinaryInts(logs), BinaryBlobs(names), BinaryInts(log_firsts),
                         BinaryInts(log_lasts), BinaryInts(next_bodies)}});
  if (!records.empty()) {
    statements.push_back(
        {"records", {shard, BinaryInts(record_logs), BinaryInts(positions), BinaryBlobs(records)}});
  }
  if (!bodies.empty()) {
    statements.push_back(
        {"bodies", {shard, BinaryInts(body_logs), BinaryInts(ids), BinaryBlobs(bodies)}});
  }
  if (!firsts.empty()) {
    statements.push_back(
        {"delete", {shard, BinaryInts(deleted_logs), BinaryInts(firsts), BinaryInts(ends)}});
  }
  if (!states.empty()) {
    statements.push_back(
        {"snapshots",
         {shard, BinaryInts(snapshot_logs), BinaryInts(snapshot_positions), BinaryBlobs(states)}});
    statements.push_back(
        {"trim", {shard, BinaryInts(snapshot_logs), BinaryInts(snapshot_positions)}});
  }
  return statements;
}

}  // namespace dtrpo::storage
