//! The database itself refuses to change the log.

use sqlx::PgPool;

use crate::bank::Bank;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_changes_the_log_not_even_its_owner() {
    let bank = Bank::open("append", 1).await;
    let statements = [
        "UPDATE events SET payload = '{}'",
        "DELETE FROM events",
        "TRUNCATE events",
        "UPDATE events_000000 SET payload = '{}'",
        "DELETE FROM events_000000",
        "TRUNCATE events_000000",
    ];
    for role in ["DAYBOOK_LOG_WRITER_URL", "DAYBOOK_LOG_READER_URL", "DAYBOOK_LOG_OWNER_URL"] {
        let pool = PgPool::connect(bank.place.get(role)).await.unwrap();
        for statement in statements {
            let error = sqlx::query(statement).execute(&pool).await.expect_err(statement);
            assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{role}: {statement}");
        }
        pool.close().await;
    }
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_READER_URL")).await.unwrap();
    for statement in
        ["UPDATE log_head SET batch = 0", "DELETE FROM commands", "INSERT INTO reservations SELECT 'a','a','a',1"]
    {
        let error = sqlx::query(statement).execute(&pool).await.expect_err(statement);
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    let pool = PgPool::connect(bank.place.get("DAYBOOK_LOG_WRITER_URL")).await.unwrap();
    for statement in
        ["DELETE FROM commands", "UPDATE commands SET reply = '{}'", "DELETE FROM reservations", "DELETE FROM log_head"]
    {
        let error = sqlx::query(statement).execute(&pool).await.expect_err(statement);
        assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{statement}");
    }
    bank.verify().await;
    bank.close().await;
}
