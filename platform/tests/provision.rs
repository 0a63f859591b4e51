//! Provisioning on a real cluster: `TEST_DATABASE_URL` names its administrator, `DAYBOOK_SETUP_SEED` the seed that
//! every caller on it shares.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used)]

use platform::provision::{Migrations, Plan, ProvisionError, discard, provision};
use platform::{Config, Secret, postgres};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// A value of the environment, or a line that says what was not run.
fn given(key: &str) -> Option<String> {
    let value = std::env::var(key).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("NOT RUN: {key} is not set");
    }
    value
}

fn seed() -> Secret {
    let seed = std::env::var("DAYBOOK_SETUP_SEED").ok();
    Secret::new(seed.unwrap_or_else(|| "daybook-tests-one-seed-a-cluster".to_owned()))
}

fn unique(name: &str) -> String {
    format!("{name}_{}", &Uuid::new_v4().simple().to_string()[..10])
}

struct Folder(PathBuf);

impl Folder {
    /// A folder with one migration.
    fn with(sql: &str) -> Self {
        let folder = std::env::temp_dir().join(unique("migrations"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0001_first.sql"), sql).unwrap();
        Self(folder)
    }

    async fn migrator(&self) -> Migrator {
        Migrator::new(Path::new(&self.0)).await.unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Place {
    admin_url: Secret,
    log: Migrator,
    keys: Migrator,
    views: Migrator,
}

impl Place {
    async fn new(admin_url: String) -> Self {
        let log = Folder::with(
            "CREATE TABLE facts (id int PRIMARY KEY);
             GRANT SELECT, INSERT ON facts TO daybook_writer;
             GRANT SELECT ON facts TO daybook_reader;",
        );
        let keys = Folder::with("CREATE TABLE wrapped (id int PRIMARY KEY);");
        let views = Folder::with(
            "CREATE TABLE lines (id int PRIMARY KEY);
             GRANT SELECT ON lines TO daybook_query, daybook_analyst;",
        );
        Self {
            admin_url: Secret::new(admin_url),
            log: log.migrator().await,
            keys: keys.migrator().await,
            views: views.migrator().await,
        }
    }

    async fn make(&self, prefix: &str, seed: &Secret) -> Result<BTreeMap<String, String>, ProvisionError> {
        let plan = Plan {
            admin_url: &self.admin_url,
            prefix,
            seed,
            reset_passwords: false,
            migrations: Migrations { log: &self.log, keys: &self.keys, views: &self.views },
            topic: None,
        };
        provision(&plan, &mut |_| ()).await
    }
}

async fn refused(url: &Secret, sql: &str) -> String {
    let mut connection = PgConnection::connect(url.expose()).await.unwrap();
    let failed = sqlx::raw_sql(sql).execute(&mut connection).await;
    let error = failed.expect_err(sql);
    error.into_database_error().unwrap().code().unwrap().into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_make_places_of_their_own_and_one_together() {
    let Some(admin_url) = given("TEST_DATABASE_URL") else {
        return;
    };
    let place = Place::new(admin_url).await;
    let seed = seed();
    let (first, second) = (unique("first"), unique("second"));
    let made = futures::future::join_all([
        place.make(&first, &seed),
        place.make(&second, &seed),
        place.make(&first, &seed),
        place.make(&second, &seed),
        place.make(&first, &seed),
    ])
    .await;
    let made: Vec<_> = made.into_iter().map(Result::unwrap).collect();
    assert_eq!(made[0], made[2]);
    assert_eq!(made[1], made[3]);
    assert_ne!(made[0], made[1]);
    for environment in &made {
        let config = Config::from_values(environment).unwrap();
        for url in [
            config.log_owner(),
            config.log_writer(),
            config.log_reader(),
            config.keys(),
            config.views_owner(),
            config.views_reader(),
            config.analyst(),
        ] {
            PgConnection::connect(url.unwrap().expose()).await.unwrap();
        }
        assert!(config.master_key().is_ok());
    }
    discard(&place.admin_url, &first).await.unwrap();
    discard(&place.admin_url, &second).await.unwrap();
}

#[tokio::test]
async fn every_role_has_its_rights_and_no_more() {
    let Some(admin_url) = given("TEST_DATABASE_URL") else {
        return;
    };
    let place = Place::new(admin_url).await;
    let prefix = unique("rights");
    let config = Config::from_values(&place.make(&prefix, &seed()).await.unwrap()).unwrap();
    let writer = config.log_writer().unwrap();
    let mut connection = PgConnection::connect(writer.expose()).await.unwrap();
    sqlx::raw_sql("INSERT INTO facts VALUES (1)").execute(&mut connection).await.unwrap();
    for sql in [
        "UPDATE facts SET id = 2",
        "DELETE FROM facts",
        "TRUNCATE facts",
        "CREATE TABLE mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
    ] {
        assert_eq!(refused(writer, sql).await, "42501", "{sql}");
    }
    let reader = config.log_reader().unwrap();
    assert_eq!(refused(reader, "INSERT INTO facts VALUES (3)").await, "42501");
    let analyst = config.analyst().unwrap();
    assert_eq!(refused(analyst, "INSERT INTO public.lines VALUES (1)").await, "25006");
    let elsewhere = writer.expose().replace("_log", "_keys");
    assert!(PgConnection::connect(&elsewhere).await.is_err(), "a writer must not reach the keys");
    discard(&place.admin_url, &prefix).await.unwrap();
}

#[tokio::test]
async fn another_seed_breaks_nobodys_passwords() {
    let Some(admin_url) = given("TEST_DATABASE_URL") else {
        return;
    };
    let place = Place::new(admin_url).await;
    let prefix = unique("seeds");
    let environment = place.make(&prefix, &seed()).await.unwrap();
    let other = Secret::new("quite another seed than that");
    let error = place.make(&prefix, &other).await.unwrap_err();
    assert!(matches!(error, ProvisionError::OtherSeed { .. }), "{error}");
    PgConnection::connect(&environment["DAYBOOK_LOG_WRITER_URL"]).await.unwrap();
    let short = place.make(&prefix, &Secret::new("short")).await.unwrap_err();
    assert!(matches!(short, ProvisionError::Seed), "{short}");
    let odd = place.make("Odd-Prefix", &seed()).await.unwrap_err();
    assert!(matches!(odd, ProvisionError::Prefix), "{odd}");
    discard(&place.admin_url, &prefix).await.unwrap();
    let kept = discard(&place.admin_url, "daybook").await.unwrap_err();
    assert!(matches!(kept, ProvisionError::NotDiscarded), "{kept}");
}

#[tokio::test]
async fn a_lost_connection_is_seen_as_one() {
    let Some(admin_url) = given("TEST_DATABASE_URL") else {
        return;
    };
    let pool = postgres::connect_patiently(&admin_url, 2, "test", Duration::from_secs(5)).await.unwrap();
    postgres::ping(&pool).await.unwrap();
    let (jit,): (String,) = sqlx::query_as("SELECT current_setting('jit')").fetch_one(&pool).await.unwrap();
    assert_eq!(jit, "off");
    let ended = sqlx::query("SELECT pg_terminate_backend(pg_backend_pid())").execute(&pool).await.unwrap_err();
    assert!(postgres::is_connection_lost(&ended), "{ended:?}");
    postgres::ping(&pool).await.unwrap();
}
