//! Ledgers to measure on: databases of their own on the benchmark's server, copied from one that was made once.
//!
//! Invariants: a template is never written once it is complete, and is made anew where the migrations differ; a copy has
//! files of its own, so every measurement of a scenario begins at the same state.

use std::collections::BTreeMap;
use std::future::Future;

use anyhow::Context;
use event_store::{LogReader, StoreConfig};
use platform::auth::DevelopmentToken;
use platform::provision::{self, Migrations, Plan, TopicPlan};
use platform::{Config, Role, Secret};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::bench::Bench;

/// Passwords follow from it. Roles belong to the whole server, and this server is the benchmark's own.
const SEED: &str = "daybook-bench-one-seed-a-cluster";
/// Each database's suffix and owner.
const DATABASES: [(&str, &str); 3] =
    [("log", "daybook_owner"), ("keys", "daybook_keys"), ("views", "daybook_projector")];
const COMPLETE: &str = "daybook-bench ";
const PARTITIONS: i32 = 4;

/// Databases of a ledger, and the environment in which roles run on them.
pub(crate) struct Ledger {
    pub(crate) prefix: String,
    pub(crate) env: BTreeMap<String, String>,
    admin_url: Secret,
}

impl Ledger {
    /// The template of that name, which `make` fills if it is not there yet; to be read and never written.
    pub(crate) async fn template<F>(bench: &Bench, name: &str, topic: bool, make: F) -> anyhow::Result<Ledger>
    where
        F: AsyncFnOnce(&Ledger) -> anyhow::Result<()>,
    {
        let template = format!("bt_{:08x}_{name}", schema_mark()?);
        let mut admin = PgConnection::connect(bench.admin_url.expose()).await?;
        let made = complete(&mut admin, &template).await?;
        if made.is_none() {
            provision::discard(&bench.admin_url, &template).await?;
        }
        // On one that is there it changes nothing, and gives the environment.
        let mut ledger = Self::provide(bench, &template, topic && made.is_none()).await?;
        match made {
            Some(master_key) => _ = ledger.env.insert("DAYBOOK_MASTER_KEY".to_owned(), master_key),
            None => {
                make(&ledger).await.with_context(|| format!("making the template {template}"))?;
                vacuum(bench, &template).await?;
                let mark =
                    format!("COMMENT ON DATABASE {template}_log IS '{COMPLETE}{}'", ledger.get("DAYBOOK_MASTER_KEY"));
                sqlx::query(&mark).execute(&mut admin).await?;
            }
        }
        Ok(ledger)
    }

    /// Whether the template of that name is complete.
    pub(crate) async fn has_template(bench: &Bench, name: &str) -> anyhow::Result<bool> {
        let mut admin = PgConnection::connect(bench.admin_url.expose()).await?;
        Ok(complete(&mut admin, &format!("bt_{:08x}_{name}", schema_mark()?)).await?.is_some())
    }

    /// A copy of a template, to be written. With a topic of its own where `topic` is set; nothing of the template's log
    /// is on it.
    pub(crate) async fn copy_of(bench: &Bench, template: &Ledger, topic: bool) -> anyhow::Result<Ledger> {
        let mut admin = PgConnection::connect(bench.admin_url.expose()).await?;
        let (template, master_key) = (&template.prefix, template.get("DAYBOOK_MASTER_KEY").to_owned());
        let unique = Uuid::now_v7().simple().to_string();
        let prefix = format!("b_{}", &unique[unique.len() - 12..]);
        for (suffix, owner) in DATABASES {
            let copy = format!(
                "CREATE DATABASE {prefix}_{suffix} OWNER {owner} TEMPLATE {template}_{suffix} STRATEGY file_copy"
            );
            released(&mut admin, &format!("{template}_{suffix}")).await?;
            sqlx::query(&copy).execute(&mut admin).await.with_context(|| copy.clone())?;
        }
        let mut ledger = Self::provide(bench, &prefix, topic).await?;
        // What the template sealed and signed was under its own key.
        ledger.env.insert("DAYBOOK_MASTER_KEY".to_owned(), master_key);
        Ok(ledger)
    }

    async fn provide(bench: &Bench, prefix: &str, topic: bool) -> anyhow::Result<Ledger> {
        let (log, keys, views) =
            (migrator("event-store").await?, migrator("keys").await?, migrator("read-model").await?);
        let name = provision::default_topic(prefix);
        let topic = match (&bench.brokers, topic) {
            (Some(brokers), true) => Some(TopicPlan { brokers, topic: &name, partitions: PARTITIONS, replication: 1 }),
            (None, true) => anyhow::bail!("this scenario needs Kafka, and KAFKA_BROKERS is not set"),
            (_, false) => None,
        };
        let seed = Secret::new(SEED.to_owned());
        let plan = Plan {
            admin_url: &bench.admin_url,
            prefix,
            seed: &seed,
            reset_passwords: false,
            migrations: Migrations { log: &log, keys: &keys, views: &views },
            topic,
        };
        let mut env = provision::provision(&plan, &mut |_| ()).await?;
        env.extend(provision::development_settings(&seed, prefix));
        Ok(Ledger { prefix: prefix.to_owned(), env, admin_url: bench.admin_url.clone() })
    }

    /// One value of the environment; empty if it is not there.
    pub(crate) fn get(&self, key: &str) -> &str {
        self.env.get(key).map_or("", String::as_str)
    }

    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::from_values(&self.env)?)
    }

    /// For the write door in this process.
    pub(crate) fn store_config(&self) -> anyhow::Result<StoreConfig> {
        let config = self.config()?;
        let (writer, keys) = (config.log_writer()?.expose(), config.keys()?.expose());
        let zone = config.time_zone().to_string();
        Ok(StoreConfig::new(writer, keys, *config.master_key()?.expose(), config.tenant(), &zone))
    }

    /// The read half of the log.
    pub(crate) async fn reader(&self) -> anyhow::Result<LogReader> {
        Ok(LogReader::new(PgPool::connect(self.get("DAYBOOK_LOG_READER_URL")).await?))
    }

    /// A token of somebody with every role, valid for a day.
    pub(crate) fn token(&self, subject: &str) -> anyhow::Result<String> {
        let ttl = std::time::Duration::from_secs(86_400);
        let token = DevelopmentToken {
            subject: subject.to_owned(),
            client: None,
            roles: Role::ALL.to_vec(),
            accounts: None,
            ttl,
        };
        Ok(token.mint(self.config()?.auth())?.expose().to_owned())
    }

    /// Drops the databases.
    pub(crate) async fn discard(&self) -> anyhow::Result<()> {
        Ok(provision::discard(&self.admin_url, &self.prefix).await?)
    }
}

/// Drops what an interrupted run left behind, templates excepted.
pub(crate) async fn discard_copies(bench: &Bench) -> anyhow::Result<()> {
    let mut admin = PgConnection::connect(bench.admin_url.expose()).await?;
    let left = r"SELECT datname FROM pg_database WHERE datname LIKE 'b\_%\_log' OR datname LIKE 'base\_%'";
    let names: Vec<(String,)> = sqlx::query_as(left).fetch_all(&mut admin).await?;
    for (name,) in names {
        match name.strip_suffix("_log").filter(|prefix| prefix.starts_with("b_")) {
            Some(prefix) => provision::discard(&bench.admin_url, prefix).await?,
            None => {
                let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
                sqlx::query(&drop).execute(&mut admin).await?;
            }
        }
    }
    Ok(())
}

/// The master key of a template that is complete.
async fn complete(admin: &mut PgConnection, template: &str) -> anyhow::Result<Option<String>> {
    let mark = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1";
    let row: Option<(Option<String>,)> =
        sqlx::query_as(mark).bind(format!("{template}_log")).fetch_optional(admin).await?;
    Ok(row.and_then(|(mark,)| mark).and_then(|mark| mark.strip_prefix(COMPLETE).map(str::to_owned)))
}

/// What autovacuum would have done of a log that grew in days, not in a minute; without it the first read of each row
/// writes its page.
async fn vacuum(bench: &Bench, template: &str) -> anyhow::Result<()> {
    let log = bench.admin_url.expose().parse::<PgConnectOptions>()?.database(&format!("{template}_log"));
    let mut log = PgConnection::connect_with(&log).await?;
    sqlx::query("VACUUM (FREEZE, ANALYZE)").execute(&mut log).await?;
    Ok(log.close().await?)
}

/// Waits until nobody is connected to a database, which then can be copied.
async fn released(admin: &mut PgConnection, database: &str) -> anyhow::Result<()> {
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND backend_type <> 'autovacuum worker'";
    for _ in 0..500 {
        let (count,): (i64,) = sqlx::query_as(connected).bind(database).fetch_one(&mut *admin).await?;
        if count == 0 {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    anyhow::bail!("somebody stays connected to {database}")
}

async fn migrator(folder: &str) -> anyhow::Result<Migrator> {
    let folder = test_place::root().join("migrations").join(folder);
    Migrator::new(folder.clone()).await.with_context(|| format!("{}", folder.display()))
}

/// Differs where a migration does.
fn schema_mark() -> anyhow::Result<u32> {
    let mut mark = crate::machine::Mark::new();
    for folder in ["event-store", "keys", "read-model"] {
        let folder = test_place::root().join("migrations").join(folder);
        let mut files: Vec<_> =
            std::fs::read_dir(&folder)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
        files.sort();
        for file in files {
            mark.add(&std::fs::read(file)?);
        }
    }
    Ok(mark.short())
}

/// Polls until a condition gives something; after the deadline it is an error.
pub(crate) async fn eventually<F, T>(
    what: &str,
    deadline: std::time::Duration,
    condition: impl FnMut() -> F,
) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    test_place::eventually(what, deadline, condition).await
}
