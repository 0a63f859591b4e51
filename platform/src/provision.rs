//! Making a place to run in: roles, databases, migrations and the topic, from an administrator's
//! connection and one seed.
//!
//! Invariants: safe to repeat, and to run at once from many places on one cluster. Roles belong to
//! the whole cluster and are shared by all prefixes; their passwords follow from the seed, so every
//! caller with the same seed gets the same ones and none changes another's. A caller with another
//! seed is refused, unless it says that it means to change them. Every role has what it is granted
//! and nothing by being `PUBLIC`.

mod database_url;
mod derivation;

use crate::config::{Config, ConfigError};
use crate::kafka::{self, KafkaError, TopicOutcome};
use crate::postgres::{self, PostgresError};
use crate::secret::Secret;
use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;
use std::fmt;

use database_url::database_url;
pub use derivation::{development_settings, generate_seed};
use derivation::{fingerprint, master_key, password};

/// The prefix of databases when none is given.
pub const PREFIX_DEFAULT: &str = "daybook";

/// Shortest seed in characters: passwords are only as hard to guess as the seed.
pub const SEED_LENGTH_MIN: usize = 16;

const ADMINISTRATOR: &str = "the administrator";
const PREFIX_LENGTH_MAX: usize = 40;
const SERVER_VERSION_MIN: i32 = 150_000;
/// Any number, so long as every caller takes the same: one at a time makes roles.
const ROLES_LOCK: i64 = 0x6461_7962_6f6f_6b00;

/// A database, who owns it, and who else may connect.
struct Database {
    suffix: &'static str,
    owner: &'static str,
    guests: &'static [&'static str],
}

const DATABASES: [Database; 3] = [
    Database { suffix: "log", owner: "daybook_owner", guests: &["daybook_writer", "daybook_reader"] },
    Database { suffix: "keys", owner: "daybook_keys", guests: &[] },
    Database { suffix: "views", owner: "daybook_projector", guests: &["daybook_query", "daybook_analyst"] },
];

/// Which key of the configuration is whose connection to which database.
const LOGINS: [(&str, &str, &str); 7] = [
    ("DAYBOOK_LOG_OWNER_URL", "daybook_owner", "log"),
    ("DAYBOOK_LOG_WRITER_URL", "daybook_writer", "log"),
    ("DAYBOOK_LOG_READER_URL", "daybook_reader", "log"),
    ("DAYBOOK_KEYS_URL", "daybook_keys", "keys"),
    ("DAYBOOK_VIEWS_OWNER_URL", "daybook_projector", "views"),
    ("DAYBOOK_VIEWS_READER_URL", "daybook_query", "views"),
    ("DAYBOOK_ANALYST_URL", "daybook_analyst", "views"),
];

/// Roles for people: nothing they type can write, nor run for ever.
const READ_ONLY_ROLES: [&str; 1] = ["daybook_analyst"];

/// The migrations of the three databases.
#[derive(Clone, Copy)]
pub struct Migrations<'a> {
    /// Of the event store, run as `daybook_owner`.
    pub log: &'a Migrator,
    /// Of the wrapped member keys, run as `daybook_keys`.
    pub keys: &'a Migrator,
    /// Of the read models, run as `daybook_projector`.
    pub views: &'a Migrator,
}

impl fmt::Debug for Migrations<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Migrations")
    }
}

/// The topic to make.
#[derive(Debug, Clone, Copy)]
pub struct TopicPlan<'a> {
    /// Bootstrap list of the brokers.
    pub brokers: &'a str,
    /// Name of the topic; `default_topic` has the usual one.
    pub topic: &'a str,
    /// Number of its partitions.
    pub partitions: i32,
    /// Number of copies of each.
    pub replication: i32,
}

/// What to provision.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// A connection that may make roles and databases.
    pub admin_url: &'a Secret,
    /// What the databases' names begin with; `daybook` gives `daybook_log` and so on.
    pub prefix: &'a str,
    /// What passwords and the master key follow from; the same for all callers on one cluster.
    pub seed: &'a Secret,
    /// Whether the passwords of roles made with another seed may be changed.
    pub reset_passwords: bool,
    /// What the databases hold.
    pub migrations: Migrations<'a>,
    /// The topic, or none.
    pub topic: Option<TopicPlan<'a>>,
}

/// Why provisioning failed; what was done before stays done, and repeating goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The prefix cannot be part of a database's name.
    #[error("the prefix must be 1 to 40 lower-case letters, digits or _, and begin with a letter")]
    Prefix,
    /// The seed is too short.
    #[error("the password seed must have at least 16 characters")]
    Seed,
    /// The administrator's URL cannot be read.
    #[error("the admin URL must be like postgres://user:password@host:port/postgres")]
    AdminUrl,
    /// A connection could not be made.
    #[error("cannot connect to PostgreSQL as {who}: {cause}")]
    Connect {
        /// The role.
        who: &'static str,
        /// Why.
        cause: Box<PostgresError>,
    },
    /// The server is older than what is supported.
    #[error("PostgreSQL 15 or newer is needed, and the server is {found}")]
    OldServer {
        /// The server's version.
        found: String,
    },
    /// A role exists whose password follows from another seed.
    #[error(
        "role {role} exists, made with another password seed or by other means; give that seed \
         (--password-seed, or DAYBOOK_SETUP_SEED of the env file it was made for), or \
         --reset-passwords, after which env files made before no longer connect"
    )]
    OtherSeed {
        /// The role.
        role: &'static str,
    },
    /// A database exists and is somebody else's.
    #[error("database {database} exists and is owned by {found} instead of {wanted}")]
    OtherOwner {
        /// The database.
        database: String,
        /// Who owns it.
        found: String,
        /// Who should.
        wanted: &'static str,
    },
    /// A statement failed.
    #[error("{step}: {cause}")]
    Statement {
        /// What was being done.
        step: String,
        /// Why it failed.
        cause: sqlx::Error,
    },
    /// A migration failed.
    #[error("migrations of {database}: {cause}")]
    Migration {
        /// The database.
        database: String,
        /// Why.
        cause: Box<MigrateError>,
    },
    /// The topic could not be made.
    #[error("{cause} (brokers {brokers})")]
    Topic {
        /// The brokers that were asked.
        brokers: String,
        /// Why.
        cause: KafkaError,
    },
    /// A connection that migrating needs is not configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The databases of the default prefix are never thrown away from here.
    #[error("databases of prefix {PREFIX_DEFAULT} are not discarded")]
    NotDiscarded,
}

impl ProvisionError {
    /// Whether it is sure that nothing was made, so that a seed made up for it is not needed.
    pub fn made_nothing(&self) -> bool {
        match self {
            Self::Prefix
            | Self::Seed
            | Self::AdminUrl
            | Self::OldServer { .. }
            | Self::OtherSeed { .. }
            | Self::Config(_)
            | Self::NotDiscarded => true,
            Self::Connect { who, .. } => *who == ADMINISTRATOR,
            Self::OtherOwner { .. } | Self::Statement { .. } | Self::Migration { .. } | Self::Topic { .. } => false,
        }
    }
}

/// The usual topic of a prefix: `daybook.events` for `daybook`.
pub fn default_topic(prefix: &str) -> String {
    format!("{prefix}.events")
}

/// Makes what the plan names and is not there yet, brings every database to its newest migration,
/// and returns the environment to run with (secrets included). Each step is reported as one line.
pub async fn provision(
    plan: &Plan<'_>,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<BTreeMap<String, String>, ProvisionError> {
    check_prefix(plan.prefix)?;
    if plan.seed.expose().chars().count() < SEED_LENGTH_MIN {
        return Err(ProvisionError::Seed);
    }
    let mut environment = environment(plan)?;
    let mut admin = connect(plan.admin_url.expose(), ADMINISTRATOR).await?;
    check_version(&mut admin).await?;
    make_roles(&mut admin, plan, report).await?;
    // One at a time for each prefix; others go on beside.
    let prefix_lock = "SELECT pg_advisory_lock(hashtextextended('daybook:' || $1, 0))";
    sqlx::query(prefix_lock)
        .bind(plan.prefix)
        .execute(&mut admin)
        .await
        .map_err(failed("waiting for another setup"))?;
    for database in &DATABASES {
        let name = format!("{}_{}", plan.prefix, database.suffix);
        make_database(&mut admin, database, &name, report).await?;
        let mut owner = connect_as_owner(plan, database, &name).await?;
        settle_grants(&mut owner, database, &name).await?;
        run_migrations(&mut owner, &name, migrator(plan.migrations, database), report).await?;
    }
    // Closing the session gives the lock back.
    admin.close().await.map_err(failed("closing the admin connection"))?;
    if let Some(topic) = plan.topic {
        environment.extend(make_topic(topic, report).await?);
    }
    Ok(environment)
}

async fn make_topic(
    plan: TopicPlan<'_>,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<[(String, String); 4], ProvisionError> {
    let TopicPlan { brokers, topic, partitions, replication } = plan;
    let outcome = kafka::ensure_topic(brokers, topic, partitions, replication)
        .await
        .map_err(|cause| ProvisionError::Topic { brokers: brokers.to_owned(), cause })?;
    let state = match outcome {
        TopicOutcome::Created => "created",
        TopicOutcome::Existing => "as it was",
    };
    report(&format!("topic {topic} ({partitions} partitions): {state}"));
    Ok([
        ("KAFKA_BROKERS".to_owned(), brokers.to_owned()),
        ("DAYBOOK_TOPIC".to_owned(), topic.to_owned()),
        ("DAYBOOK_PARTITIONS".to_owned(), partitions.to_string()),
        ("DAYBOOK_REPLICATION".to_owned(), replication.to_string()),
    ])
}

/// Brings the three configured databases to their newest migration, each as its owner.
pub async fn migrate(
    config: &Config,
    migrations: Migrations<'_>,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProvisionError> {
    let databases = [
        ("the log", "daybook_owner", config.log_owner()?, migrations.log),
        ("the keys", "daybook_keys", config.keys()?, migrations.keys),
        ("the views", "daybook_projector", config.views_owner()?, migrations.views),
    ];
    for (name, owner, url, migrator) in databases {
        let mut connection = connect(url.expose(), owner).await?;
        run_migrations(&mut connection, name, migrator, report).await?;
    }
    Ok(())
}

/// Drops the databases of a prefix with all they hold; for tests. Roles stay. The default prefix
/// is refused.
pub async fn discard(admin_url: &Secret, prefix: &str) -> Result<(), ProvisionError> {
    check_prefix(prefix)?;
    if prefix == PREFIX_DEFAULT {
        return Err(ProvisionError::NotDiscarded);
    }
    // At the same time, since each waits for a checkpoint, and one checkpoint does for all.
    let dropped = DATABASES.iter().map(|database| async move {
        let mut admin = connect(admin_url.expose(), ADMINISTRATOR).await?;
        let drop = format!("DROP DATABASE IF EXISTS \"{prefix}_{}\" WITH (FORCE)", database.suffix);
        run(&mut admin, &drop, "dropping a database").await
    });
    futures::future::try_join_all(dropped).await.map(|_| ())
}

fn check_prefix(prefix: &str) -> Result<(), ProvisionError> {
    let fits = (1..=PREFIX_LENGTH_MAX).contains(&prefix.len())
        && prefix.starts_with(|first: char| first.is_ascii_lowercase())
        && prefix.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    fits.then_some(()).ok_or(ProvisionError::Prefix)
}

/// The environment that follows from the plan alone.
fn environment(plan: &Plan<'_>) -> Result<BTreeMap<String, String>, ProvisionError> {
    let mut environment = BTreeMap::from([
        ("DAYBOOK_SETUP_SEED".to_owned(), plan.seed.expose().to_owned()),
        ("DAYBOOK_SETUP_PREFIX".to_owned(), plan.prefix.to_owned()),
        ("DAYBOOK_MASTER_KEY".to_owned(), master_key(plan.seed, plan.prefix)),
    ]);
    for (key, role, suffix) in LOGINS {
        environment.insert(key.to_owned(), role_url(plan, role, &format!("{}_{suffix}", plan.prefix))?);
    }
    Ok(environment)
}

fn role_url(plan: &Plan<'_>, role: &str, database: &str) -> Result<String, ProvisionError> {
    database_url(plan.admin_url.expose(), role, &password(plan.seed, role), database).ok_or(ProvisionError::AdminUrl)
}

fn migrator<'a>(migrations: Migrations<'a>, database: &Database) -> &'a Migrator {
    match database.suffix {
        "log" => migrations.log,
        "keys" => migrations.keys,
        _ => migrations.views,
    }
}

async fn connect(url: &str, who: &'static str) -> Result<PgConnection, ProvisionError> {
    postgres::connect(url, "daybook-setup")
        .await
        .map_err(|cause| ProvisionError::Connect { who, cause: Box::new(cause) })
}

async fn connect_as_owner(plan: &Plan<'_>, database: &Database, name: &str) -> Result<PgConnection, ProvisionError> {
    connect(&role_url(plan, database.owner, name)?, database.owner).await
}

async fn check_version(admin: &mut PgConnection) -> Result<(), ProvisionError> {
    let (number, found): (i32, String) =
        sqlx::query_as("SELECT current_setting('server_version_num')::int, current_setting('server_version')")
            .fetch_one(admin)
            .await
            .map_err(failed("asking for the server's version"))?;
    if number < SERVER_VERSION_MIN {
        return Err(ProvisionError::OldServer { found });
    }
    Ok(())
}

async fn make_roles(
    admin: &mut PgConnection,
    plan: &Plan<'_>,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProvisionError> {
    // The transaction holds the lock, and makes all roles or none.
    let mut transaction = admin.begin().await.map_err(failed("making roles"))?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(ROLES_LOCK)
        .execute(&mut *transaction)
        .await
        .map_err(failed("waiting for another setup"))?;
    let (superuser,): (bool,) = sqlx::query_as("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed("asking for the administrator's rights"))?;
    for (_, role, _) in LOGINS {
        let outcome = make_role(&mut transaction, plan, role).await?;
        report(&format!("role {role}: {outcome}"));
    }
    if !superuser {
        // Who gives a database to a role must be a member of it.
        for database in &DATABASES {
            let grant = format!("GRANT {} TO CURRENT_USER", database.owner);
            run(&mut transaction, &grant, "becoming a member of the owners").await?;
        }
    }
    transaction.commit().await.map_err(failed("making roles"))
}

async fn make_role(
    admin: &mut PgConnection,
    plan: &Plan<'_>,
    role: &'static str,
) -> Result<&'static str, ProvisionError> {
    let remark = format!("daybook setup, password of seed {}", fingerprint(plan.seed));
    let found: Option<(Option<String>,)> =
        sqlx::query_as("SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1")
            .bind(role)
            .fetch_optional(&mut *admin)
            .await
            .map_err(failed("looking for roles"))?;
    let (verb, outcome) = match found {
        Some((Some(comment),)) if comment == remark => return Ok("as it was"),
        Some(_) if !plan.reset_passwords => return Err(ProvisionError::OtherSeed { role }),
        Some(_) => ("ALTER", "password changed"),
        None => ("CREATE", "created"),
    };
    // A password of hex digits and a name of ours need no escaping; DDL takes no parameters.
    let password = password(plan.seed, role);
    let step = format!("making role {role}");
    let make = format!("{verb} ROLE {role} WITH LOGIN NOCREATEDB NOCREATEROLE PASSWORD '{password}'");
    run(admin, &make, &step).await?;
    run(admin, &format!("COMMENT ON ROLE {role} IS '{remark}'"), &step).await?;
    if READ_ONLY_ROLES.contains(&role) {
        for setting in ["default_transaction_read_only = on", "statement_timeout = '60s'", "search_path = analysis"] {
            run(admin, &format!("ALTER ROLE {role} SET {setting}"), &step).await?;
        }
    }
    Ok(outcome)
}

async fn make_database(
    admin: &mut PgConnection,
    database: &Database,
    name: &str,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProvisionError> {
    let owner: Option<(String,)> =
        sqlx::query_as("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
            .bind(name)
            .fetch_optional(&mut *admin)
            .await
            .map_err(failed("looking for databases"))?;
    match owner {
        Some((found,)) if found != database.owner => {
            Err(ProvisionError::OtherOwner { database: name.to_owned(), found, wanted: database.owner })
        }
        Some(_) => {
            report(&format!("database {name}: as it was"));
            Ok(())
        }
        None => {
            // Bytewise order: the fastest, and no update of the system's locales changes it under
            // an index.
            let create = format!(
                "CREATE DATABASE \"{name}\" OWNER {} TEMPLATE template0 ENCODING 'UTF8' \
                 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
                database.owner
            );
            run(admin, &create, &format!("making database {name}")).await?;
            report(&format!("database {name}: created"));
            Ok(())
        }
    }
}

/// Takes from everybody what PostgreSQL gives to everybody, and lets the guests in.
async fn settle_grants(owner: &mut PgConnection, database: &Database, name: &str) -> Result<(), ProvisionError> {
    let step = format!("settling the rights on database {name}");
    let mut statements = vec![
        format!("REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC"),
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned(),
    ];
    for guest in database.guests {
        statements.push(format!("GRANT CONNECT ON DATABASE \"{name}\" TO {guest}"));
    }
    for statement in statements {
        run(owner, &statement, &step).await?;
    }
    Ok(())
}

async fn run_migrations(
    owner: &mut PgConnection,
    name: &str,
    migrator: &Migrator,
    report: &mut (dyn FnMut(&str) + Send),
) -> Result<(), ProvisionError> {
    migrator
        .run_direct(owner)
        .await
        .map_err(|cause| ProvisionError::Migration { database: name.to_owned(), cause: Box::new(cause) })?;
    report(&format!("migrations of {name}: {} in force", migrator.iter().count()));
    Ok(())
}

async fn run(connection: &mut PgConnection, sql: &str, step: &str) -> Result<(), ProvisionError> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).map_err(failed(step))
}

fn failed(step: &str) -> impl FnOnce(sqlx::Error) -> ProvisionError {
    let step = step.to_owned();
    move |cause| ProvisionError::Statement { step, cause }
}
