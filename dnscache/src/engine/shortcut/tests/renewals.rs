//! What is renewed before anybody waits for it, and what is not.

use super::*;

#[test]
fn facts_of_hot_names_are_renewed_before_a_client_waits_for_them() {
    let mut stage = Stage::with("audit off", "");
    stage.warm("amazon.com");
    let hot = |stage: &Stage| stage.engine.hot().expect("hotnames").hottest(stage.now);
    // Long enough to be known as hot; from then on nobody waits.
    for step in 0..600 {
        stage.pass(100);
        if step % 5 == 0 {
            let due = stage.engine.due(&hot(&stage), stage.now, 100);
            due.iter().for_each(|ask| drop(stage.learn(ask)));
        }
        let before = stage.asked.len();
        let stories = [A, AAAA].map(|qtype| stage.ask(WEB, qtype));
        assert!(stories.iter().all(|got| got.leads_to() == Some("amazon.com.")), "{step}");
        assert!(step < 60 || stage.asked.len() == before, "{step}: {:?}", &stage.asked[before..]);
    }
    // Five facts of the cluster every 4 s or so, the host's and the addresses every 27 s.
    let per_minute = stage.asked.len();
    assert!(per_minute < 120, "{per_minute} questions in a minute");
    stage.pass(600_000);
    assert!(stage.engine.due(&hot(&stage), stage.now, 100).is_empty(), "it has cooled down");
}

#[test]
fn what_is_asked_rarely_is_not_renewed() {
    let mut stage = Stage::with("audit off", "");
    stage.warm("amazon.com");
    for minute in 0..20 {
        stage.pass(60_000);
        stage.walk("amazon.com");
        if minute < 3 {
            continue;
        }
        let hot = stage.engine.hot().expect("hotnames").hottest(stage.now);
        let due: Vec<_> = stage.engine.due(&hot, stage.now.plus_millis(4_500), 100);
        let names = due.iter().map(|ask| Name::from_wire(ask.key.name()));
        assert!(due.is_empty(), "{:?} {hot:?}", names.collect::<Vec<_>>());
    }
}
