//! `daybook setup`: makes the place that the roles run in and keeps its connections in an env file;
//! `daybook migrate`: brings its databases to this binary's migrations.
//!
//! Invariants: repeating it changes nothing that is right; an env file that was there keeps its
//! master key (without it the members' keys cannot be opened) and every line of the operator's.

use anyhow::{Context, bail};
use platform::config::Config;
use platform::provision::{self, Migrations, PREFIX_DEFAULT, Plan, TopicPlan};
use platform::{Secret, env_file};
use sqlx::migrate::Migrator;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

static LOG_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/event-store");
static KEYS_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/keys");
static VIEWS_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/read-model");

const SEED_KEY: &str = "DAYBOOK_SETUP_SEED";
const PREFIX_KEY: &str = "DAYBOOK_SETUP_PREFIX";
const ENVIRONMENT_KEY: &str = "DAYBOOK_ENVIRONMENT";
const MASTER_KEY: &str = "DAYBOOK_MASTER_KEY";

/// Make roles, databases, tables and the topic, and write the env file that the roles run with.
///
/// What is not given is taken from the env file if it is there. Safe to repeat.
#[derive(Debug, clap::Args)]
pub(crate) struct SetupArgs {
    /// A connection to PostgreSQL (15 or newer) that may make roles and databases.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    admin_url: Secret,
    /// The file to keep the connections, passwords and the master key in (mode 0600).
    #[arg(long, value_name = "FILE")]
    env_file: PathBuf,
    /// What the databases' names begin with [default: daybook].
    #[arg(long, value_name = "NAME")]
    prefix: Option<String>,
    /// Bootstrap list of the Kafka brokers; without one no topic is made.
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// Name of the topic [default: PREFIX.events].
    #[arg(long, env = "DAYBOOK_TOPIC", value_name = "NAME")]
    topic: Option<String>,
    /// Number of the topic's partitions; it cannot be changed later [default: 12].
    #[arg(long, env = "DAYBOOK_PARTITIONS", value_name = "COUNT")]
    partitions: Option<i32>,
    /// Number of copies of each partition [default: 1].
    #[arg(long, env = "DAYBOOK_REPLICATION", value_name = "COUNT")]
    replication: Option<i32>,
    /// What the roles' passwords follow from, the same for all prefixes of one cluster [default:
    /// random, kept in the env file].
    #[arg(long, env = "DAYBOOK_SETUP_SEED", hide_env_values = true, value_name = "SEED")]
    password_seed: Option<Secret>,
    /// What it is for: `development` writes a secret for tokens (`daybook token`) and no limits of
    /// rates, `production` neither [default: what the env file says, or production].
    #[arg(long, env = "DAYBOOK_ENVIRONMENT", value_name = "ENVIRONMENT", value_enum)]
    environment: Option<EnvironmentArg>,
    /// Change the passwords of roles that were made with another seed.
    #[arg(long)]
    reset_passwords: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EnvironmentArg {
    Development,
    Production,
}

/// Provisions as the arguments say and writes the env file; prints one line a step.
pub(crate) async fn run(args: SetupArgs) -> anyhow::Result<()> {
    // Two set-ups of one file at once would each make up a seed; the lock ends with the handle.
    let _alone = lock_folder_of(&args.env_file).await?;
    let mut values = if args.env_file.exists() { env_file::read(&args.env_file)? } else { BTreeMap::new() };
    Config::from_values(&values).context("the env file is not valid")?;
    let (seed, made_up) = settle_seed(&args, &mut values)?;
    let prefix =
        args.prefix.clone().or_else(|| values.get(PREFIX_KEY).cloned()).unwrap_or_else(|| PREFIX_DEFAULT.to_owned());
    let settings = topic_settings(&args, &values, &prefix)?;
    let brokers = settings.brokers().ok();
    let plan = Plan {
        admin_url: &args.admin_url,
        prefix: &prefix,
        seed: &seed,
        reset_passwords: args.reset_passwords,
        migrations: migrations(),
        topic: brokers.map(|brokers| TopicPlan {
            brokers,
            topic: settings.topic(),
            partitions: settings.partitions(),
            replication: settings.replication(),
        }),
    };
    let master_key = values.get(MASTER_KEY).cloned();
    match provision::provision(&plan, &mut print).await {
        Ok(environment) => values.extend(environment),
        Err(error) => {
            if made_up && error.made_nothing() {
                forget_seed(&args.env_file, &mut values)?;
            }
            return Err(error.into());
        }
    }
    if let Some(master_key) = master_key {
        values.insert(MASTER_KEY.to_owned(), master_key);
    }
    settle_environment(args.environment, &seed, &prefix, &mut values);
    if brokers.is_none() {
        print("topic: NOT MADE, since no broker is named (--brokers or KAFKA_BROKERS)");
    }
    Config::from_values(&values).context("the env file would not be valid")?;
    env_file::write(&args.env_file, &values)?;
    print(&format!("env file {}: written; keep a copy of it, apart from the databases", args.env_file.display()));
    Ok(())
}

/// Brings the configured databases to the newest migrations of this binary.
pub(crate) async fn migrate(config: &Config) -> anyhow::Result<()> {
    provision::migrate(config, migrations(), &mut print).await?;
    Ok(())
}

fn migrations() -> Migrations<'static> {
    Migrations { log: &LOG_MIGRATIONS, keys: &KEYS_MIGRATIONS, views: &VIEWS_MIGRATIONS }
}

/// Writes the settings of development, or takes its secret out again: production unless it is said
/// otherwise, since whoever reads that secret can mint tokens of every role. What the operator has
/// set otherwise stays.
fn settle_environment(
    asked: Option<EnvironmentArg>,
    seed: &Secret,
    prefix: &str,
    values: &mut BTreeMap<String, String>,
) {
    let kept = values.get(ENVIRONMENT_KEY).cloned();
    let kept = kept.as_deref();
    let is_development = match asked {
        Some(asked) => asked == EnvironmentArg::Development,
        None => kept == Some("development"),
    };
    if is_development {
        values.remove(ENVIRONMENT_KEY);
        for (key, value) in provision::development_settings(seed, prefix) {
            values.entry(key).or_insert(value);
        }
        print("tokens: for development, by a secret of their own (`daybook token` mints them)");
    } else {
        if kept == Some("development") {
            // What a set-up for development wrote, the limits of rates that it switched off as well.
            let written = provision::development_settings(seed, prefix);
            values.retain(|key, value| !written.contains(&(key.clone(), value.clone())));
        }
        values.insert(ENVIRONMENT_KEY.to_owned(), "production".to_owned());
        values.remove("DAYBOOK_AUTH_DEV_SECRET");
        if !values.contains_key("DAYBOOK_AUTH_JWKS") {
            print(
                "tokens: NOT SET UP; name the issuer's keys with DAYBOOK_AUTH_JWKS and DAYBOOK_AUTH_ISSUER, or, on a \
                 machine for development, repeat this with --environment development",
            );
        }
    }
}

/// The seed that is given, kept, or made up now, and whether it is the last; that one is on disk
/// before a password follows from it.
fn settle_seed(args: &SetupArgs, values: &mut BTreeMap<String, String>) -> anyhow::Result<(Secret, bool)> {
    if let Some(given) = &args.password_seed {
        return Ok((given.clone(), false));
    }
    if let Some(kept) = values.get(SEED_KEY) {
        return Ok((Secret::new(kept), false));
    }
    let Some(seed) = provision::generate_seed() else {
        bail!("the system gives no randomness for a password seed; give one with --password-seed");
    };
    values.insert(SEED_KEY.to_owned(), seed.expose().to_owned());
    env_file::write(&args.env_file, values)?;
    Ok((seed, true))
}

/// Takes a seed from which nothing follows out of the env file again.
fn forget_seed(env_file: &Path, values: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    values.remove(SEED_KEY);
    if values.is_empty() {
        std::fs::remove_file(env_file)?;
    } else {
        env_file::write(env_file, values)?;
    }
    Ok(())
}

/// What is said of the topic, by arguments before the env file, validated as the roles would.
fn topic_settings(args: &SetupArgs, values: &BTreeMap<String, String>, prefix: &str) -> anyhow::Result<Config> {
    let given = [
        ("KAFKA_BROKERS", args.brokers.clone()),
        ("DAYBOOK_TOPIC", args.topic.clone()),
        ("DAYBOOK_PARTITIONS", args.partitions.map(|count| count.to_string())),
        ("DAYBOOK_REPLICATION", args.replication.map(|count| count.to_string())),
    ];
    let mut settings = BTreeMap::new();
    for (key, value) in given {
        if let Some(value) = value.or_else(|| values.get(key).cloned()) {
            settings.insert(key.to_owned(), value);
        }
    }
    settings.entry("DAYBOOK_TOPIC".to_owned()).or_insert_with(|| provision::default_topic(prefix));
    Ok(Config::from_values(&settings)?)
}

async fn lock_folder_of(env_file: &Path) -> anyhow::Result<File> {
    let folder = match env_file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let locked = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        let handle = File::open(&folder)?;
        handle.lock()?;
        Ok::<_, std::io::Error>(handle)
    });
    locked.await?.with_context(|| format!("cannot use the folder of {}", env_file.display()))
}

fn print(line: &str) {
    // Nobody reading any more is no reason to stop half way.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(asked: Option<EnvironmentArg>, given: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut values = given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        settle_environment(asked, &Secret::new("a seed of some length"), "daybook", &mut values);
        Config::from_values(&values).unwrap();
        values
    }

    #[test]
    fn a_place_is_for_production_unless_it_is_said_otherwise() {
        let unsaid = settled(None, &[]);
        assert_eq!(unsaid["DAYBOOK_ENVIRONMENT"], "production");
        assert!(!unsaid.contains_key("DAYBOOK_AUTH_DEV_SECRET") && !unsaid.contains_key("DAYBOOK_RATE_LIMIT_SUBJECT"));
        let first = settled(Some(EnvironmentArg::Development), &[]);
        assert_eq!(first["DAYBOOK_ENVIRONMENT"], "development");
        assert_eq!(first["DAYBOOK_AUTH_DEV_SECRET"].len(), 64);
        let own = "the operator's own secret of more than 32 characters";
        let given = [
            ("DAYBOOK_ENVIRONMENT", "development"),
            ("DAYBOOK_AUTH_DEV_SECRET", own),
            ("DAYBOOK_RATE_LIMIT_SUBJECT", "7"),
        ];
        let again = settled(None, &given);
        assert_eq!(
            (again["DAYBOOK_AUTH_DEV_SECRET"].as_str(), again["DAYBOOK_RATE_LIMIT_SUBJECT"].as_str()),
            (own, "7")
        );
    }

    #[test]
    fn production_has_no_secret_and_stays_production() {
        let development: Vec<(String, String)> = settled(Some(EnvironmentArg::Development), &[]).into_iter().collect();
        let given: Vec<(&str, &str)> = development.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let turned = settled(Some(EnvironmentArg::Production), &given);
        assert_eq!(turned["DAYBOOK_ENVIRONMENT"], "production");
        assert!(!turned.contains_key("DAYBOOK_AUTH_DEV_SECRET"));
        assert!(!turned.contains_key("DAYBOOK_RATE_LIMIT_SUBJECT"), "limits are in force again");
        for given in [("DAYBOOK_ENVIRONMENT", "production"), ("DAYBOOK_AUTH_JWKS", "/etc/daybook/jwks.json")] {
            let kept = settled(None, &[given]);
            assert_eq!(kept["DAYBOOK_ENVIRONMENT"], "production", "{given:?}");
            assert!(!kept.contains_key("DAYBOOK_AUTH_DEV_SECRET"), "{given:?}");
        }
    }
}
