//! A place of its own for a test on the real servers: databases under a fresh prefix, a fresh
//! topic, and the configuration to run roles on them. Used by tests only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use platform::auth::DevelopmentToken;
use platform::provision::{self, Migrations, Plan, TopicPlan};
use platform::{Config, Role, Secret};
use sqlx::migrate::Migrator;
use uuid::Uuid;

/// Databases and a topic of a test's own; dropped with it unless `DAYBOOK_TEST_KEEP` is set.
pub struct Place {
    /// The prefix of its databases.
    pub prefix: String,
    /// The environment in which roles run here.
    pub env: BTreeMap<String, String>,
    admin_url: Secret,
}

impl Place {
    /// Makes the databases and migrates them; with a broker also the topic. `TEST_DATABASE_URL`
    /// names the cluster's administrator, `KAFKA_BROKERS` the broker.
    pub async fn fresh(name: &str) -> anyhow::Result<Place> {
        Self::with_partitions(name, 4).await
    }

    /// The same with so many partitions of the topic.
    pub async fn with_partitions(name: &str, partitions: i32) -> anyhow::Result<Place> {
        let admin_url = std::env::var("TEST_DATABASE_URL")
            .context("TEST_DATABASE_URL is not set; `make test` sets it, or start servers with scripts/postgres.sh")?;
        let brokers = std::env::var("KAFKA_BROKERS").ok().filter(|brokers| !brokers.is_empty());
        Self::on(&admin_url, brokers.as_deref(), name, partitions).await
    }

    /// The same on those servers.
    pub async fn on(admin_url: &str, brokers: Option<&str>, name: &str, partitions: i32) -> anyhow::Result<Place> {
        let admin_url = Secret::new(admin_url.to_owned());
        let unique = Uuid::now_v7().simple().to_string();
        let prefix = format!("t_{name}_{}", &unique[unique.len() - 12..]);
        let topic = provision::default_topic(&prefix);
        let seed = std::env::var("DAYBOOK_SETUP_SEED").unwrap_or_else(|_| "daybook-tests-one-seed-a-cluster".into());
        let seed = Secret::new(seed);
        let (log, keys, views) =
            (migrator("event-store").await?, migrator("keys").await?, migrator("read-model").await?);
        let plan = Plan {
            admin_url: &admin_url,
            prefix: &prefix,
            seed: &seed,
            reset_passwords: false,
            migrations: Migrations { log: &log, keys: &keys, views: &views },
            topic: brokers.map(|brokers| TopicPlan { brokers, topic: &topic, partitions, replication: 1 }),
        };
        let mut env = provision::provision(&plan, &mut |_| ()).await?;
        env.extend(provision::development_settings(&seed, &prefix));
        Ok(Place { prefix, env, admin_url })
    }

    /// The configuration of roles here.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::from_values(&self.env)?)
    }

    /// One value of the environment; empty if it is not there.
    pub fn get(&self, key: &str) -> &str {
        self.env.get(key).map_or("", String::as_str)
    }

    /// A token for somebody with these roles, valid here for an hour.
    pub fn token(&self, subject: &str, roles: &[Role]) -> anyhow::Result<String> {
        self.token_for(subject, roles, None)
    }

    /// The same, limited to these accounts.
    pub fn token_for(&self, subject: &str, roles: &[Role], accounts: Option<Vec<Uuid>>) -> anyhow::Result<String> {
        let ttl = Duration::from_secs(3_600);
        let token =
            DevelopmentToken { subject: subject.to_owned(), client: None, roles: roles.to_vec(), accounts, ttl };
        Ok(token.mint(self.config()?.auth())?.expose().to_owned())
    }

    /// The connection of the cluster's administrator.
    pub fn admin_url(&self) -> &Secret {
        &self.admin_url
    }

    /// Drops the databases; the topic stays with its broker.
    pub async fn discard(self) -> anyhow::Result<()> {
        if std::env::var_os("DAYBOOK_TEST_KEEP").is_none() {
            provision::discard(&self.admin_url, &self.prefix).await?;
        }
        Ok(())
    }
}

/// The folder of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn migrator(folder: &str) -> anyhow::Result<Migrator> {
    Ok(Migrator::new(root().join("migrations").join(folder)).await?)
}

/// Waits until a condition holds, asking again every 20 ms; after the deadline it is an error.
pub async fn eventually<F, T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < deadline {
        match condition().await {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match last {
        Some(error) => Err(error.context(format!("waited {deadline:?} for: {what}"))),
        None => anyhow::bail!("waited {deadline:?} for: {what}"),
    }
}
