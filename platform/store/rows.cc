#include "platform/store/rows.h"

#include <algorithm>
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
    metrics.push_back(
        {std::string(row.at(0).as_string()), row.at(1).to_number<double>(), row.at(2).to_number<std::int64_t>()});
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

void put(Database& database, const JobRecord& record) {
  const control::Job& job = record.job;
  const std::string transitions = transitions_text(job.transitions);
  const std::string metrics = metrics_text(job.final_metrics);
  Statement& put_job = database.prepared(
      "INSERT INTO jobs VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,"
      "?23,?24,?25) ON CONFLICT (sequence) DO UPDATE SET status=?8, secondary=?9, transitions=?10, "
      "failure_reason=?11, model_artifacts=?12, created_ms=?13, modified_ms=?14, training_start_ms=?15, "
      "training_end_ms=?16, final_metrics=?17, attempt=?20, last_sequence=?21, step=?22, verdict=?23, "
      "started=?24, artifacts=?25");
  put_job.integer(job.sequence).text(job.name).text(job.arn).text(job.request);
  put_job.integer(job.instance_count).text(job.instance_type).integer(job.max_runtime_s);
  put_job.integer(static_cast<std::int64_t>(job.status)).integer(static_cast<std::int64_t>(job.secondary));
  put_job.text(transitions).text(job.failure_reason).text(job.model_artifacts);
  put_job.integer(job.created_ms).integer(job.modified_ms);
  put_job.integer_or_null(job.training_start_ms).integer_or_null(job.training_end_ms);
  put_job.text(metrics).text(record.secret).integer(record.has_inputs).integer(record.attempt);
  put_job.integer(static_cast<std::int64_t>(record.last_sequence)).integer(static_cast<std::int64_t>(record.step));
  put_job.integer(static_cast<std::int64_t>(record.verdict)).integer(record.started).integer(record.artifacts).run();

  if (record.step == control::Step::kWaiting) return;
  database.prepared("DELETE FROM instances WHERE job = ?").integer(job.sequence).run();
  for (const InstanceRecord& instance : record.instances) {
    const std::string cpus = cpus_text(instance.slot.cpus);
    const control::Exit exit = instance.exit.value_or(control::Exit{});
    Statement& put_instance = database.prepared("INSERT INTO instances VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
    put_instance.integer(job.sequence).integer(instance.index).text(instance.id).text(instance.slot.id);
    put_instance.text(cpus).integer(static_cast<std::int64_t>(instance.slot.memory_bytes));
    put_instance.integer(static_cast<std::int64_t>(instance.order));
    put_instance.integer(static_cast<std::int64_t>(instance.order_sequence));
    put_instance.integer(static_cast<std::int64_t>(instance.phase));
    put_instance.integer(static_cast<std::int64_t>(instance.last_sequence));
    instance.exit ? put_instance.integer(exit.code) : put_instance.null();
    put_instance.text(exit.failure).integer(exit.terminated).text(instance.staged_key).text(instance.error);
    put_instance.integer(instance.gone).text(instance.gone_why).run();
  }
}

void put(Database& database, const Key& key) {
  database.prepared("INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?,?)")
      .text(key.access_key_id)
      .text(key.secret_access_key)
      .text(key.session_token)
      .text(key.principal)
      .integer(key.job)
      .integer(key.expires_ms)
      .run();
}

}  // namespace

void prepare_schema(Database& database) {
  const std::string& path = database.path();
  const std::int64_t version = database.query_int("PRAGMA user_version");
  const std::int64_t application = database.query_int("PRAGMA application_id");
  const std::int64_t tables = database.query_int("SELECT count(*) FROM sqlite_schema");
  if (tables != 0 && application != kApplicationId) {
    throw Error(ErrorKind::kCorrupt, "opening {}: it is a database of another program; choose another --data-dir",
                path);
  }
  if (version > kSchemaVersion) {
    throw Error(
        ErrorKind::kInvalid,
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

void apply(Database& database, const Changes& changes) {
  for (const std::int64_t job : changes.removed_jobs) {
    database.prepared("DELETE FROM jobs WHERE sequence = ?").integer(job).run();
  }
  for (const JobRecord& record : changes.jobs) put(database, record);
  for (const Key& key : changes.keys) put(database, key);
  for (const std::int64_t job : changes.ended_jobs) {
    database.prepared("DELETE FROM keys WHERE job = ?").integer(job).run();
  }
  for (const auto& [name, value] : changes.settings) {
    database.prepared("INSERT OR REPLACE INTO settings VALUES (?,?)").text(name).text(value).run();
  }
  if (changes.jobs.empty()) return;
  const auto by_sequence = [](const JobRecord& a, const JobRecord& b) { return a.job.sequence < b.job.sequence; };
  database
      .prepared(
          "INSERT INTO settings VALUES ('last_sequence', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1 "
          "WHERE CAST(value AS INTEGER) < ?1")
      .integer(std::max_element(changes.jobs.begin(), changes.jobs.end(), by_sequence)->job.sequence)
      .run();
}

std::int64_t last_sequence(Database& database) {
  return database.query_int("SELECT CAST(value AS INTEGER) FROM settings WHERE name = 'last_sequence'");
}

Contents load(Database& database) {
  Contents contents;
  contents.last_sequence = last_sequence(database);
  std::unordered_map<std::int64_t, std::size_t> places;
  Statement all_jobs(database, "SELECT * FROM jobs ORDER BY sequence");
  while (all_jobs.step()) {
    JobRecord record;
    control::Job& job = record.job;
    job.sequence = all_jobs.next_integer();
    job.name = all_jobs.next_bytes();
    job.arn = all_jobs.next_bytes();
    job.request = all_jobs.next_bytes();
    job.instance_count = static_cast<std::int32_t>(all_jobs.next_integer());
    job.instance_type = all_jobs.next_bytes();
    job.max_runtime_s = all_jobs.next_integer();
    job.status = static_cast<control::Status>(all_jobs.next_integer());
    job.secondary = static_cast<control::SecondaryStatus>(all_jobs.next_integer());
    job.transitions = read_transitions(all_jobs.next_bytes());
    job.failure_reason = all_jobs.next_bytes();
    job.model_artifacts = all_jobs.next_bytes();
    job.created_ms = all_jobs.next_integer();
    job.modified_ms = all_jobs.next_integer();
    job.training_start_ms = all_jobs.next_integer_or_null();
    job.training_end_ms = all_jobs.next_integer_or_null();
    job.final_metrics = read_metrics(all_jobs.next_bytes());
    record.secret = all_jobs.next_bytes();
    record.has_inputs = all_jobs.next_integer() != 0;
    record.attempt = static_cast<std::uint32_t>(all_jobs.next_integer());
    record.last_sequence = static_cast<std::uint64_t>(all_jobs.next_integer());
    record.step = static_cast<control::Step>(all_jobs.next_integer());
    record.verdict = static_cast<control::Verdict>(all_jobs.next_integer());
    record.started = all_jobs.next_integer() != 0;
    record.artifacts = all_jobs.next_integer() != 0;
    places[job.sequence] = contents.jobs.size();
    contents.jobs.push_back(std::move(record));
  }
  Statement all_instances(database, "SELECT * FROM instances ORDER BY job, idx");
  while (all_instances.step()) {
    JobRecord& record = contents.jobs.at(places.at(all_instances.next_integer()));
    InstanceRecord instance;
    instance.index = static_cast<std::uint32_t>(all_instances.next_integer());
    instance.id = all_instances.next_bytes();
    instance.slot.id = all_instances.next_bytes();
    instance.slot.cpus = read_cpus(all_instances.next_bytes());
    instance.slot.memory_bytes = static_cast<std::uint64_t>(all_instances.next_integer());
    instance.order = static_cast<control::Order>(all_instances.next_integer());
    instance.order_sequence = static_cast<std::uint64_t>(all_instances.next_integer());
    const std::int64_t phase = all_instances.next_integer();
    instance.last_sequence = static_cast<std::uint64_t>(all_instances.next_integer());
    const auto exit_code = all_instances.next_integer_or_null();
    control::Exit exit;
    exit.failure = all_instances.next_bytes();
    exit.terminated = all_instances.next_integer() != 0;
    if (exit_code) {
      exit.code = static_cast<std::int32_t>(*exit_code);
      instance.exit = std::move(exit);
    }
    instance.staged_key = all_instances.next_bytes();
    instance.error = all_instances.next_bytes();
    instance.phase = static_cast<control::Phase>(phase);
    if (phase < static_cast<int>(control::Phase::kIdle) || phase > static_cast<int>(control::Phase::kBroken)) {
      instance.phase = control::Phase::kBroken;
      instance.error =
          fmt::format("InternalServerError: algo-{} was stored in phase {}, which this version does not know",
                      instance.index + 1, phase);
    }
    instance.gone = all_instances.next_integer() != 0;
    instance.gone_why = all_instances.next_bytes();
    record.instances.push_back(std::move(instance));
  }
  Statement all_keys(database, "SELECT * FROM keys");
  while (all_keys.step()) {
    Key key;
    key.access_key_id = all_keys.next_bytes();
    key.secret_access_key = all_keys.next_bytes();
    key.session_token = all_keys.next_bytes();
    key.principal = all_keys.next_bytes();
    key.job = all_keys.next_integer();
    key.expires_ms = all_keys.next_integer();
    contents.keys.push_back(std::move(key));
  }
  Statement all_settings(database, "SELECT * FROM settings");
  while (all_settings.step()) {
    std::string name = all_settings.next_bytes();
    contents.settings[std::move(name)] = all_settings.next_bytes();
  }
  return contents;
}

}  // namespace athanor::store
