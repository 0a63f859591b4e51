//! Personal data: sealed, opened, erased.

use domain::{MemberId, TransactionId};
use event_store::SealingError;
use uuid::Uuid;

use crate::bank::Bank;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_opens_only_where_it_belongs_and_never_after_erasure() {
    let bank = Bank::open("seal", 0).await;
    let sealing = bank.store.sealing();
    let (ann, ben) = (MemberId(Uuid::now_v7()), MemberId(Uuid::now_v7()));
    for member in [ann, ben, ann] {
        sealing.create_key(member).await.unwrap();
    }
    let name = sealing.seal_field(ann, "name", "Ann Ášek").await.unwrap();
    assert_eq!(sealing.open_field(ann, "name", &name).await.unwrap(), "Ann Ášek");
    assert!(matches!(sealing.open_field(ann, "contact", &name).await, Err(SealingError::NotOpened)));
    assert!(matches!(sealing.open_field(ben, "name", &name).await, Err(SealingError::NotOpened)));
    assert_ne!(name, sealing.seal_field(ann, "name", "Ann Ášek").await.unwrap(), "a nonce is used once");

    let transaction = TransactionId(Uuid::now_v7());
    let narrative = sealing.seal_narrative(transaction, &[ben, ann], "rent, March").await.unwrap();
    assert_eq!(sealing.open_narrative(transaction, &narrative).await.unwrap(), "rent, March");
    let other = TransactionId(Uuid::now_v7());
    assert!(matches!(sealing.open_narrative(other, &narrative).await, Err(SealingError::NotOpened)));

    sealing.destroy_key(ben).await.unwrap();
    assert!(
        matches!(sealing.open_narrative(transaction, &narrative).await, Err(SealingError::Destroyed(m)) if m == ben)
    );
    assert_eq!(sealing.open_field(ann, "name", &name).await.unwrap(), "Ann Ášek");
    assert!(matches!(sealing.create_key(ben).await, Err(SealingError::Destroyed(_))), "no second life for a key");
    bank.close().await;
}
