//! Order groups: what waits for what.

use serde_json::json;

use crate::harness::{World, ftd, partner, reversal};

#[tokio::test]
async fn a_reversal_goes_out_behind_its_original_however_long_that_takes() {
    let world = World::with(vec![partner("acme", "?txid=dep-1 => 500,500,200\n200")]).await;
    let original = world.accept(ftd("acme", "dep-1")).await;
    let reversed = world.accept(reversal("acme", "rev-1", "dep-1")).await;
    let bystander = world.accept(ftd("acme", "dep-2")).await;
    world.until(&reversed, "delivered").await;
    world.until(&bystander, "delivered").await;
    let order: Vec<String> = world
        .receiver("acme")
        .ledger()
        .entries()
        .into_iter()
        .map(|seen| {
            let seen = seen.to_json();
            let query = seen["path_and_query"].as_str().unwrap();
            query.split("txid=").nth(1).unwrap().split('&').next().unwrap().to_owned()
        })
        .filter(|txid| txid != "dep-2")
        .collect();
    assert_eq!(order, ["dep-1", "dep-1", "dep-1", "rev-1"]);
    world.until(&original, "delivered").await;
}

#[tokio::test]
async fn a_reversal_of_a_dead_original_waits_for_a_person() {
    let world = World::with(vec![partner("acme", "?txid=dep-1 => 500*4,200\n200")]).await;
    let original = world.accept(ftd("acme", "dep-1")).await;
    let reversed = world.accept(reversal("acme", "rev-1", "dep-1")).await;
    let detail = world.until(&reversed, "held").await;
    assert_eq!(detail["delivery"]["reason"], "original_dead");
    let replay = json!({ "reason": "they are back" });
    world.daemon.post(&format!("/v1/deliveries/{original}/replay"), &replay).await;
    world.until(&reversed, "delivered").await;
    assert_eq!(world.until(&original, "delivered").await["delivery"]["attempts"], 5);
}

#[tokio::test]
async fn one_transaction_does_not_hold_up_another_of_the_same_affiliate() {
    let timeout = "[postback.timeout]\ntotal = \"20s\"\n";
    let world = World::with(vec![partner("acme", "?txid=dep-1 => hang\n200").tables(timeout)]).await;
    world.accept(ftd("acme", "dep-1")).await;
    let mut approved = ftd("acme", "dep-1");
    approved["status"] = json!("rejected");
    let behind = world.accept(approved).await;
    let other = world.accept(ftd("acme", "dep-2")).await;
    world.until(&other, "delivered").await;
    let detail = world.until(&behind, "waiting").await;
    assert_eq!(detail["delivery"]["reason"], "earlier_in_group");
}
