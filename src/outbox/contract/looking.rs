//! Stories of lists and lookups.

use super::*;

async fn windows_page_through_what_is_scheduled_in_order(story: Story) {
    let mut all = Vec::new();
    for number in 0..7 {
        all.push(
            story
                .accept(event(&format!("t{number}"), "ftd", Status::Approved), to(&["a"], OrderPolicy::default()))
                .await,
        );
    }
    let (number, _) = story.outbox().reader().postbacks()[0];
    let window = async |after| story.outbox().window(number, SendClass::First, after, 3).await.unwrap();
    let first = window(None).await;
    let second = window(first.due.last().copied()).await;
    let third = window(second.due.last().copied()).await;
    assert_eq!((first.complete, second.complete, third.complete), (false, false, true));
    let seen: Vec<_> = [first.due, second.due, third.due].concat().into_iter().map(|due| due.id).collect();
    assert_eq!(seen, all);
}

async fn what_was_scheduled_last_is_listed_without_a_key_of_its_own(mut story: Story) {
    let plan = || to(&["a", "b"], OrderPolicy::default());
    let mut first = Vec::new();
    for number in 0..3 {
        first.push(story.accept(event(&format!("t{number}"), "ftd", Status::Approved), plan()).await);
        story.pass(Duration::from_secs(1));
    }
    let keys = |story: &Story| {
        let space = keys::space(keys::SCHEDULED);
        let pairs =
            story.engine.as_ref().unwrap().scan(std::ops::Bound::Included(space.clone()), keys::prefix_end(&space));
        pairs.count()
    };
    let check = |story: &Story, open: &[DeliveryId]| {
        let reader = story.outbox().reader();
        let number = reader.number(&postback("a")).unwrap();
        assert_eq!(reader.scheduled(number, usize::MAX).unwrap(), open);
        assert_eq!(reader.scheduled(number, 1).unwrap(), open[..1]);
        let accepted = reader.event(open[0].event).unwrap().unwrap().accepted_at;
        assert_eq!(reader.earliest_due(number).unwrap(), Some(accepted));
        story.check_counts();
    };
    assert!(keys(&story) < 6, "all of them have keys");
    check(&story, &first);
    // Whoever reads the store of a daemon that was killed sees them, too.
    let reader = Outbox::open_reader(Arc::clone(story.engine.as_ref().unwrap())).unwrap();
    assert_eq!(reader.scheduled(reader.number(&postback("a")).unwrap(), usize::MAX).unwrap(), first);
    drop(reader);
    let last = first.pop().unwrap();
    story.send(last, DELIVERED).await;
    check(&story, &first);
    let last = story.accept(event("t3", "ftd", Status::Approved), plan()).await;
    first.push(last);
    story.reopen().await;
    assert_eq!(keys(&story), 4 + 1 + 2, "all that is still scheduled has a key behind an opening");
    check(&story, &first);
}

async fn dead_and_held_are_listed_by_postback(story: Story) {
    let plan = |name| to(&[name], OrderPolicy::default());
    let dead = story.accept(event("t1", "ftd", Status::Approved), plan("a")).await;
    let held = story.accept(event("t2", "ftd", Status::Approved), plan("a")).await;
    let other = story.accept(event("t3", "ftd", Status::Approved), plan("b")).await;
    story.send(dead, DEAD).await;
    story.send(other, DEAD).await;
    story.order(held, Order::Hold).await.unwrap();
    let reader = story.outbox().reader();
    let number = reader.number(&postback("a")).unwrap();
    let listed = |scan| reader.deliveries(scan, None).map(|found| found.unwrap().0).collect::<Vec<_>>();
    assert_eq!(listed(Scan::Dead(number)), [dead]);
    assert_eq!(listed(Scan::Held(number)), [held]);
    assert_eq!(listed(Scan::Newest), [other, held, dead]);
}

async fn transactions_and_clicks_lead_to_their_events(story: Story) {
    let original = story.accept(event("t1", "ftd", Status::Approved), to(&["a"], OrderPolicy::default())).await;
    let reversed = story.accept(reversal("r1", "t1"), to(&["a"], OrderPolicy::default())).await;
    let reader = story.outbox().reader();
    let ids = |found: Found<'_>| found.map(|found| found.unwrap().0).collect::<Vec<_>>();
    let all = LookFrom::Oldest(EventId::MIN);
    let transaction = |id: &str| ids(reader.transaction(&id.parse().unwrap(), all).unwrap());
    let from = |from| ids(reader.transaction(&"t1".parse().unwrap(), from).unwrap());
    assert_eq!(from(LookFrom::Newest(None)), [reversed.event, original.event]);
    assert_eq!(from(LookFrom::Newest(Some(original.event))), [original.event]);
    assert_eq!(from(LookFrom::Oldest(reversed.event)), [reversed.event]);
    assert_eq!(transaction("t1"), [original.event, reversed.event]);
    assert_eq!(transaction("r1"), [reversed.event]);
    let click = |from| ids(reader.click(&"c-1".parse().unwrap(), from));
    assert_eq!(click(all), [original.event, reversed.event]);
    assert_eq!(click(LookFrom::Oldest(reversed.event)), [reversed.event]);
    assert_eq!(click(LookFrom::Newest(None)), [reversed.event, original.event]);
    assert_eq!(click(LookFrom::Newest(Some(original.event))), [original.event]);
    let record = reader.event(reversed.event).unwrap().unwrap();
    assert_eq!(reader.original_of(reversed.event, &record.event).unwrap().unwrap().1.transaction_id.as_str(), "t1");
}

async fn the_original_of_a_reversal_is_the_last_told_before_it(story: Story) {
    let plan = || to(&["a"], OrderPolicy::default());
    let priced = |status, payout: &str| {
        let payout = Some(crate::domain::money::Amount::parse(payout).unwrap());
        Event { payout, ..event("t1", "ftd", status) }
    };
    let early = story.accept(reversal("r0", "t1"), plan()).await;
    let reader = story.outbox().reader();
    let original = |id: DeliveryId| {
        let record = reader.event(id.event).unwrap().unwrap();
        reader.original_of(id.event, &record.event).unwrap().map(|(_, event)| event.payout.unwrap().to_string())
    };
    assert_eq!(original(early), None);
    story.accept(priced(Status::Pending, "100"), plan()).await;
    story.accept(priced(Status::Approved, "120"), plan()).await;
    let reversed = story.accept(reversal("t1", "t1"), plan()).await;
    story.accept(priced(Status::Rejected, "0"), plan()).await;
    assert_eq!(original(reversed).as_deref(), Some("120"));
    assert_eq!(original(early).as_deref(), Some("100"), "all of them came later");
}

async fn a_store_of_the_format_before_is_taken_over_and_one_of_a_later_one_refused(mut story: Story) {
    let plan = || to(&["a", "b"], OrderPolicy::default());
    let dead = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.send(dead, DEAD).await;
    story.reopen().await;
    let format = keys::meta("format");
    let put = |story: &Story, format_number: u32| {
        let writes = vec![(format.clone(), Some(codec::encode(&format, &format_number).unwrap()))];
        story.engine.as_ref().unwrap().apply(Batch { writes }).unwrap();
    };
    let kept = |story: &Story| {
        let bytes = story.engine.as_ref().unwrap().get(&format).unwrap().unwrap();
        codec::decode::<u32>(&format, &bytes).unwrap()
    };
    assert_eq!(kept(&story), 3);
    put(&story, 1);
    let reader = Outbox::open_reader(Arc::clone(story.engine.as_ref().unwrap())).unwrap();
    assert_eq!(reader.counts(), story.outbox().reader().counts());
    assert_eq!(kept(&story), 1, "who only reads changes nothing");
    drop(reader);
    story.reopen().await;
    assert_eq!(kept(&story), 3);
    story.check_counts();
    story.accept(event("t2", "ftd", Status::Approved), plan()).await;
    let reader = Outbox::open_reader(Arc::clone(story.engine.as_ref().unwrap())).unwrap();
    assert_eq!(reader.counts(), story.outbox().reader().counts(), "what is ahead is read, too");
    drop(reader);
    // As format 2 has it: what is counted in a record of another name, and a key for all that is scheduled.
    let engine = Arc::clone(story.engine.as_ref().unwrap());
    let (counted, soon) = ahead::load(&*engine).unwrap();
    let mut writes: Vec<_> = soon.keys().map(|key| (key, Some(Vec::new()))).collect();
    assert!(!writes.is_empty());
    let former = ahead::former_key();
    writes.extend([(ahead::key(), None), (former.clone(), Some(codec::encode(&former, &counted).unwrap()))]);
    engine.apply(Batch { writes }).unwrap();
    put(&story, 2);
    assert_eq!(story.damages(), []);
    let reader = Outbox::open_reader(Arc::clone(&engine)).unwrap();
    assert_eq!(reader.counts(), story.outbox().reader().counts());
    drop((reader, engine));
    story.reopen().await;
    assert_eq!(story.engine.as_ref().unwrap().get(&former).unwrap(), None);
    assert_eq!(kept(&story), 3);
    story.check_counts();
    put(&story, 4);
    let refused = Outbox::open_reader(Arc::clone(story.engine.as_ref().unwrap())).unwrap_err();
    assert!(matches!(refused, OutboxError::Format { found: 4, known: 3 }), "{refused}");
    put(&story, 3);
}

async fn a_store_from_before_there_were_tallies_is_counted_once(mut story: Story) {
    let plan = || to(&["a", "b"], OrderPolicy::default());
    let dead = story.accept(event("t1", "ftd", Status::Approved), plan()).await;
    story.send(dead, DEAD).await;
    let held = story.accept(reversal("t2", "t1"), plan()).await;
    story.accept(event("t3", "ftd", Status::Approved), plan()).await;
    // Nothing was ahead of its own record either.
    story.reopen().await;
    let engine = Arc::clone(story.engine.as_ref().unwrap());
    let prefix = keys::space(keys::TALLIES);
    let tallies = engine.scan(std::ops::Bound::Included(prefix.clone()), keys::prefix_end(&prefix));
    let mut writes: Vec<_> = tallies.map(|pair| (pair.unwrap().0, None)).collect();
    assert_eq!(writes.len(), 2, "one for each postback");
    writes.push((keys::meta("stored"), None));
    engine.apply(Batch { writes }).unwrap();
    drop(engine);
    story.reopen().await;
    story.check_counts();
    story.order(held, Order::Cancel).await.unwrap();
    story.reopen().await;
    story.check_counts();
}

contract!(
    a_store_of_the_format_before_is_taken_over_and_one_of_a_later_one_refused,
    a_store_from_before_there_were_tallies_is_counted_once,
    the_original_of_a_reversal_is_the_last_told_before_it,
    windows_page_through_what_is_scheduled_in_order,
    what_was_scheduled_last_is_listed_without_a_key_of_its_own,
    dead_and_held_are_listed_by_postback,
    transactions_and_clicks_lead_to_their_events,
);
