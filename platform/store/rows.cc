#include "platform/store/rows.h"

#include <cmath>
#include <unordered_map>

#include "common/error.h"
#include "common/json.h"

namespace athanor::store {
namespace {

using control::InstanceRecord;
using control::JobRecord;

constexpr const char* kSchema = R"sql(
CREATE TABLE settings (
  name  TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE jobs (
  sequence          INTEGER PRIMARY KEY,
  name              TEXT NOT NULL UNIQUE,
  arn               TEXT NOT NULL,
  request           TEXT NOT NULL,
  instance_count    INTEGER NOT NULL,
  instance_type     TEXT NOT NULL,
  max_runtime_s     INTEGER NOT NULL,
  status            INTEGER NOT NULL,
  secondary         INTEGER NOT NULL,
  transitions       TEXT NOT NULL,
  failure_reason    TEXT NOT NULL,
  model_artifacts   TEXT NOT NULL,
  created_ms        INTEGER NOT NULL,
  modified_ms       INTEGER NOT NULL,
  training_start_ms INTEGER,
  training_end_ms   INTEGER,
  final_metrics     TEXT NOT NULL,
  secret            TEXT NOT NULL,
  has_inputs        INTEGER NOT NULL,
  attempt           INTEGER NOT NULL,
  last_sequence     INTEGER NOT NULL,
  step              INTEGER NOT NULL,
  verdict           INTEGER NOT NULL,
  started           INTEGER NOT NULL,
  artifacts         INTEGER NOT NULL
);
CREATE TABLE instances (
  job             INTEGER NOT NULL REFERENCES jobs (sequence) ON DELETE CASCADE,
  idx             INTEGER NOT NULL,
  id              TEXT NOT NULL UNIQUE,
  slot            TEXT NOT NULL,
  cpus            TEXT NOT NULL,
  memory_bytes    INTEGER NOT NULL,
  ordered         INTEGER NOT NULL,
  order_sequence  INTEGER NOT NULL,
  phase           INTEGER NOT NULL,
  last_sequence   INTEGER NOT NULL,
  exit_code       INTEGER,
  exit_failure    TEXT NOT NULL,
  exit_terminated INTEGER NOT NULL,
  staged_key      TEXT NOT NULL,
  error           TEXT NOT NULL,
  gone            INTEGER NOT NULL,
  gone_why        TEXT NOT NULL,
  PRIMARY KEY (job, idx)
) WITHOUT ROWID;
CREATE TABLE keys (
  access_key_id     TEXT PRIMARY KEY,
  secret_access_key TEXT NOT NULL,
  session_token     TEXT NOT NULL,
  principal         TEXT NOT NULL,
  job               INTEGER NOT NULL,
  expires_ms        INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX keys_by_job ON keys (job);
)sql";

std::string transitions_text(const std::vector<control::Transition>& transitions) {
  json::array rows;
  for (const auto& row : transitions) {
    json::value end;
    if (row.end_ms) end = *row.end_ms;
    rows.push_back(json::array{static_cast<std::int64_t>(row.status), row.start_ms, std::move(end), row.message});
  }
  return json::serialize(rows);
}

std::vector<control::Transition> read_transitions(const std::string& text) {
  std::vector<control::Transition> transitions;
  const json::value rows = json::parse(text, "the transitions of a stored job");
  for (const auto& value : rows.as_array()) {
    const auto& row = value.as_array();
    control::Transition transition;
    transition.status = static_cast<control::SecondaryStatus>(row.at(0).to_number<std::int64_t>());
    transition.start_ms = row.at(1).to_number<std::int64_t>();
    if (!row.at(2).is_null()) transition.end_ms = row.at(2).to_number<std::int64_t>();
    transition.message = std::string(row.at(3).as_string());
    transitions.push_back(std::move(transition));
  }
  return transitions;
}

std::string metrics_text(const std::vector<control::Metric>& metrics) {
  json::array rows;
  for (const auto& metric : metrics) {
    if (std::isfinite(metric.value)) rows.push_back(json::array{metric.name, metric.value, metric.timestamp_ms});
  }
  return json::serialize(rows);
}

std::vector<control::Metric> read_metrics(const std::string& text) {
  std::vector<control::Metric> metrics;
  const json::value rows = json::parse(text, "the metrics of a stored job");
  for (const auto& value : rows.as_array()) {
    const auto& row = value.as_array();
    metrics.push_back({std::string(row.at(0).as_string()), row.at(1).to_number<double>(),
                       row.at(2).to_number<std::int64_t>()});
  }
  return metrics;
}

std::string cpus_text(const std::vector<std::uint32_t>& cpus) {
  std::string text;
  for (const auto cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

std::vector<std::uint32_t> read_cpus(const std::string& text) {
  std::vector<std::uint32_t> cpus;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t used = 0;
    cpus.push_back(static_cast<std::uint32_t>(std::stoul(text.substr(at), &used)));
    at += used + 1;
  }
  return cpus;
}

}  // namespace

void prepare_schema(Sqlite& database, const std::string& path) {
  const std::int64_t version = database.pragma_int("PRAGMA user_version");
  const std::int64_t application = database.pragma_int("PRAGMA application_id");
  const std::int64_t tables = database.pragma_int("SELECT count(*) FROM sqlite_schema");
  if (tables != 0 && application != kApplicationId) {
    throw Error(ErrorKind::kCorrupt, "opening {}: it is a database of another program; choose another --data-dir", path);
  }
  if (version > kSchemaVersion) {
    throw Error(ErrorKind::kInvalid,
                "opening {}: a newer athanor wrote it (schema {}, this one knows up to {}); run that version, or choose "
                "another --data-dir",
                path, version, kSchemaVersion);
  }
  if (version == kSchemaVersion) return;
  database.run("BEGIN IMMEDIATE");
  database.run(kSchema);
  database.run(fmt::format("PRAGMA application_id = {}", kApplicationId).c_str());
  database.run(fmt::format("PRAGMA user_version = {}", kSchemaVersion).c_str());
  database.run("COMMIT");
}

Rows::Rows(Sqlite& database)
    : put_job_(database,
               "INSERT INTO jobs VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,"
               "?23,?24,?25) ON CONFLICT (sequence) DO UPDATE SET status=?8, secondary=?9, transitions=?10, "
               "failure_reason=?11, model_artifacts=?12, created_ms=?13, modified_ms=?14, training_start_ms=?15, "
               "training_end_ms=?16, final_metrics=?17, attempt=?20, last_sequence=?21, step=?22, verdict=?23, "
               "started=?24, artifacts=?25"),
      drop_instances_(database, "DELETE FROM instances WHERE job = ?"),
      put_instance_(database, "INSERT INTO instances VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"),
      remove_job_(database, "DELETE FROM jobs WHERE sequence = ?"),
      put_key_(database, "INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?,?)"),
      end_keys_(database, "DELETE FROM keys WHERE job = ?"),
      put_setting_(database, "INSERT OR REPLACE INTO settings VALUES (?,?)"),
      all_jobs_(database, "SELECT * FROM jobs ORDER BY sequence"),
      all_instances_(database, "SELECT * FROM instances ORDER BY job, idx"),
      all_keys_(database, "SELECT * FROM keys"),
      all_settings_(database, "SELECT * FROM settings") {}

void Rows::apply(const Changes& changes) {
  for (const std::int64_t job : changes.removed_jobs) remove_job_.bind(job).run();
  for (const JobRecord& record : changes.jobs) put(record);
  for (const Key& key : changes.keys) put(key);
  for (const std::int64_t job : changes.ended_jobs) end_keys_.bind(job).run();
  for (const auto& [name, value] : changes.settings) {
    put_setting_.bind(std::string_view(name)).bind(std::string_view(value)).run();
  }
}

void Rows::put(const JobRecord& record) {
  const control::Job& job = record.job;
  put_job_.bind(job.sequence).bind(job.name).bind(job.arn).bind(job.request);
  put_job_.bind(std::int64_t{job.instance_count}).bind(job.instance_type).bind(job.max_runtime_s);
  put_job_.bind(static_cast<std::int64_t>(job.status)).bind(static_cast<std::int64_t>(job.secondary));
  put_job_.bind(transitions_text(job.transitions)).bind(job.failure_reason).bind(job.model_artifacts);
  put_job_.bind(job.created_ms).bind(job.modified_ms).bind(job.training_start_ms).bind(job.training_end_ms);
  put_job_.bind(metrics_text(job.final_metrics)).bind(record.secret);
  put_job_.bind(std::int64_t{record.has_inputs}).bind(std::int64_t{record.attempt});
  put_job_.bind(static_cast<std::int64_t>(record.last_sequence)).bind(static_cast<std::int64_t>(record.step));
  put_job_.bind(static_cast<std::int64_t>(record.verdict)).bind(std::int64_t{record.started});
  put_job_.bind(std::int64_t{record.artifacts}).run();

  if (record.step == control::Step::kWaiting) return;
  drop_instances_.bind(job.sequence).run();
  for (const InstanceRecord& instance : record.instances) {
    put_instance_.bind(job.sequence).bind(std::int64_t{instance.index}).bind(instance.id).bind(instance.slot.id);
    put_instance_.bind(cpus_text(instance.slot.cpus)).bind(static_cast<std::int64_t>(instance.slot.memory_bytes));
    put_instance_.bind(static_cast<std::int64_t>(instance.order));
    put_instance_.bind(static_cast<std::int64_t>(instance.order_sequence));
    put_instance_.bind(static_cast<std::int64_t>(instance.phase));
    put_instance_.bind(static_cast<std::int64_t>(instance.last_sequence));
    put_instance_.bind(instance.exit ? std::optional<std::int64_t>(instance.exit->code) : std::nullopt);
    put_instance_.bind(instance.exit ? instance.exit->failure : std::string());
    put_instance_.bind(std::int64_t{instance.exit && instance.exit->terminated});
    put_instance_.bind(instance.staged_key).bind(instance.error);
    put_instance_.bind(std::int64_t{instance.gone}).bind(instance.gone_why).run();
  }
}

void Rows::put(const Key& key) {
  put_key_.bind(key.access_key_id).bind(key.secret_access_key).bind(key.session_token).bind(key.principal);
  put_key_.bind(key.job).bind(key.expires_ms).run();
}

Contents Rows::load() {
  Contents contents;
  std::unordered_map<std::int64_t, std::size_t> places;
  while (all_jobs_.step()) {
    JobRecord record;
    control::Job& job = record.job;
    job.sequence = all_jobs_.next_int();
    job.name = all_jobs_.next_text();
    job.arn = all_jobs_.next_text();
    job.request = all_jobs_.next_text();
    job.instance_count = static_cast<std::int32_t>(all_jobs_.next_int());
    job.instance_type = all_jobs_.next_text();
    job.max_runtime_s = all_jobs_.next_int();
    job.status = static_cast<control::Status>(all_jobs_.next_int());
    job.secondary = static_cast<control::SecondaryStatus>(all_jobs_.next_int());
    job.transitions = read_transitions(all_jobs_.next_text());
    job.failure_reason = all_jobs_.next_text();
    job.model_artifacts = all_jobs_.next_text();
    job.created_ms = all_jobs_.next_int();
    job.modified_ms = all_jobs_.next_int();
    job.training_start_ms = all_jobs_.next_optional_int();
    job.training_end_ms = all_jobs_.next_optional_int();
    job.final_metrics = read_metrics(all_jobs_.next_text());
    record.secret = all_jobs_.next_text();
    record.has_inputs = all_jobs_.next_int() != 0;
    record.attempt = static_cast<std::uint32_t>(all_jobs_.next_int());
    record.last_sequence = static_cast<std::uint64_t>(all_jobs_.next_int());
    record.step = static_cast<control::Step>(all_jobs_.next_int());
    record.verdict = static_cast<control::Verdict>(all_jobs_.next_int());
    record.started = all_jobs_.next_int() != 0;
    record.artifacts = all_jobs_.next_int() != 0;
    places[job.sequence] = contents.jobs.size();
    contents.jobs.push_back(std::move(record));
  }
  while (all_instances_.step()) {
    JobRecord& record = contents.jobs.at(places.at(all_instances_.next_int()));
    InstanceRecord instance;
    instance.index = static_cast<std::uint32_t>(all_instances_.next_int());
    instance.id = all_instances_.next_text();
    instance.slot.id = all_instances_.next_text();
    instance.slot.cpus = read_cpus(all_instances_.next_text());
    instance.slot.memory_bytes = static_cast<std::uint64_t>(all_instances_.next_int());
    instance.order = static_cast<control::Order>(all_instances_.next_int());
    instance.order_sequence = static_cast<std::uint64_t>(all_instances_.next_int());
    instance.phase = static_cast<control::Phase>(all_instances_.next_int());
    instance.last_sequence = static_cast<std::uint64_t>(all_instances_.next_int());
    const auto exit_code = all_instances_.next_optional_int();
    control::Exit exit;
    exit.failure = all_instances_.next_text();
    exit.terminated = all_instances_.next_int() != 0;
    if (exit_code) {
      exit.code = static_cast<std::int32_t>(*exit_code);
      instance.exit = std::move(exit);
    }
    instance.staged_key = all_instances_.next_text();
    instance.error = all_instances_.next_text();
    instance.gone = all_instances_.next_int() != 0;
    instance.gone_why = all_instances_.next_text();
    record.instances.push_back(std::move(instance));
  }
  while (all_keys_.step()) {
    Key key;
    key.access_key_id = all_keys_.next_text();
    key.secret_access_key = all_keys_.next_text();
    key.session_token = all_keys_.next_text();
    key.principal = all_keys_.next_text();
    key.job = all_keys_.next_int();
    key.expires_ms = all_keys_.next_int();
    contents.keys.push_back(std::move(key));
  }
  while (all_settings_.step()) {
    std::string name = all_settings_.next_text();
    contents.settings[std::move(name)] = all_settings_.next_text();
  }
  return contents;
}

}  // namespace athanor::store
