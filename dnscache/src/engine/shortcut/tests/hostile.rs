//! What a hostile reviewer tried.
use super::*;

fn engine_of(text: &str, shelf: &mut Shelf) -> Engine {
    let blocks = corefile::parse("Corefile", text, &System).expect("well-formed");
    let config = check(&blocks, Origin::BuiltIn, 53, &System).expect("makes sense");
    shelf.assemble(&config, &Surroundings { host: String::new(), random: 7 })
}

fn walk_it_all(stage: &mut Stage) {
    for suffix in
        [".web.svc.cluster.local", ".svc.cluster.local", ".cluster.local", ".ec2.internal", ""]
    {
        stage.ask(&format!("amazon.com{suffix}"), A);
        stage.ask(&format!("amazon.com{suffix}"), AAAA);
    }
}

/// AAAA of a name with addresses is answered NXDOMAIN (RFC 4074 section 4.2).
#[test]
fn name_error_for_aaaa_costs_one_upstream_question_per_lifetime() {
    let mut stage = Stage::new();
    stage.denied_types.push((name("amazon.com"), AAAA));
    (0..2).for_each(|_| walk_it_all(&mut stage));
    for _ in 0..3 {
        stage.asked.clear();
        stage.pass(10);
        stage.ask(WEB, A);
        stage.ask(WEB, AAAA);
    }
    assert!(stage.asked.is_empty(), "{:?}", stage.asked);
}

/// The same at a candidate in the middle of the list: every external name pays.
#[test]
fn name_error_for_one_type_of_a_middle_candidate() {
    let mut stage = Stage::new();
    stage.world.insert(name("amazon.com.ec2.internal"), Vec::new());
    stage.denied_types.push((name("amazon.com.ec2.internal"), A));
    (0..2).for_each(|_| walk_it_all(&mut stage));
    for _ in 0..3 {
        stage.asked.clear();
        stage.pass(10);
        stage.ask(WEB, A);
        stage.ask(WEB, AAAA);
    }
    assert!(stage.asked.is_empty(), "{:?}", stage.asked);
}

/// RFC 9520: a failure is remembered, the broken question is not asked with every client question.
#[test]
fn a_failing_fact_is_not_asked_with_every_question() {
    let mut stage = Stage::new();
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    stage.failing.push((name("amazon.com"), A));
    // A runs out (root block: cache 30), AAAA is renewed.
    stage.pass(30_500);
    stage.ask("amazon.com", AAAA);
    walk_it_all(&mut stage);
    stage.asked.clear();
    for host in 0..10 {
        stage.client = [10, 0, 1, host];
        stage.pass(10);
        stage.ask(WEB, A);
    }
    let asked = stage.asked.iter().filter(|asked| *asked == "amazon.com./1").count();
    assert!(asked <= 1, "{asked} times within 100 ms: {:?}", stage.asked);
}

/// One cluster block on two addresses, another root for each of them.
#[test]
fn a_story_of_one_address_is_not_told_at_another() {
    let text = "
cluster.local {
    bind 127.0.0.1 127.0.0.2
    cache 30
    searchpath {
        search ec2.internal
    }
    forward . 192.0.2.53
}
. {
    bind 127.0.0.1
    cache 30
    forward . 192.0.2.54
}
. {
    bind 127.0.0.2
    cache 30
    forward . 192.0.2.55
}
";
    let mut stage = Stage::new();
    let mut shelf = Shelf::default();
    stage.engine = engine_of(text, &mut shelf);
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
    // Behind the other address the name does not exist.
    stage.listener = ListenerId(1);
    stage.client = [10, 0, 0, 9];
    stage.delete("amazon.com");
    let got = stage.ask(WEB, A);
    assert_eq!(got.leads_to(), None, "upstream of 127.0.0.2 was never asked: {got:?}");
}

/// A `forward` for a zone below a boundary that another `forward` denies.
#[test]
fn a_denial_of_one_route_says_nothing_about_another() {
    let text = "
cluster.local {
    cache 30
    searchpath {
        search ec2.internal
    }
    forward db.corp.cluster.local 192.0.2.99
    forward . 192.0.2.53
}
. {
    cache 30
    forward . 192.0.2.53
}
";
    let mut stage = Stage::new();
    stage.engine = engine_of(text, &mut Shelf::default());
    // The cluster's upstream knows nothing of `corp`.
    stage.lies.push(name("corp.cluster.local"));
    stage.create("x.db.corp.cluster.local");
    stage.create("y.db.corp.cluster.local");
    stage.ask("other.corp.cluster.local", A);
    let got = stage.ask("y.db.corp.cluster.local", A);
    assert_eq!(got.rcode, 0, "{got:?}");
}

/// The same with a server block of its own, through a lookup's list.
#[test]
fn a_denial_of_one_block_says_nothing_about_another_in_a_walk() {
    let text = "
cluster.local {
    cache 30
    searchpath {
        search ec2.internal
    }
    forward . 192.0.2.53
}
db.corp.cluster.local {
    cache 30
    forward . 192.0.2.99
}
. {
    cache 30
    forward . 192.0.2.53
}
";
    let mut stage = Stage::new();
    stage.engine = engine_of(text, &mut Shelf::default());
    stage.lies.push(name("corp.cluster.local"));
    stage.create("x.db.corp.cluster.local");
    stage.create("x.db.corp");
    stage.ask("other.corp.cluster.local", A);
    for qtype in [A, AAAA] {
        for suffix in [".web.svc.cluster.local", ".svc.cluster.local", ".ec2.internal", ""] {
            stage.ask(&format!("x.db.corp{suffix}"), qtype);
        }
    }
    stage.client = [10, 0, 0, 50];
    stage.pass(10);
    let got = stage.ask("x.db.corp.web.svc.cluster.local", A);
    assert_ne!(got.leads_to(), Some("x.db.corp."), "{got:?}");
}

fn reloaded(search: &str, root_before: &str, root_after: &str) -> Got {
    let text = |root: &str| COREFILE.replace("EXTRA", search).replace("MORE", root);
    let mut stage = Stage::new();
    let mut shelf = Shelf::default();
    stage.engine = engine_of(&text(root_before), &mut shelf);
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
    stage.engine = engine_of(&text(root_after), &mut shelf);
    stage.port += 1;
    stage.ask(WEB, A)
}

#[test]
fn an_acl_that_is_reloaded_holds_at_once() {
    let got = reloaded("", "", "acl {\n block net 10.0.0.0/8\n }");
    assert_eq!(got.leads_to(), None, "{got:?}");
}

#[test]
fn hosts_that_are_reloaded_hold_at_once() {
    let got = reloaded("", "", "hosts {\n 192.0.2.9 amazon.com\n fallthrough\n }");
    assert_eq!(got.leads_to(), None, "{got:?}");
}

/// The search list changes: what was proven absent before proves nothing about the new domains.
#[test]
fn another_search_list_is_another_story() {
    let mut stage = Stage::new();
    let mut shelf = Shelf::default();
    let text = COREFILE.replace("EXTRA", "").replace("MORE", "");
    stage.engine = engine_of(&text, &mut shelf);
    stage.create("amazon.com.corp.example");
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
    stage.engine =
        engine_of(&text.replace("ec2.internal", "corp.example ec2.internal"), &mut shelf);
    stage.port += 1;
    let got = stage.ask(WEB, A);
    assert_eq!(got.leads_to(), None, "amazon.com.corp.example exists and comes first: {got:?}");
}

/// Go asks each type from a socket of its own, and many goroutines look a name up at once.
#[test]
fn both_types_of_one_go_lookup_tell_the_same_story() {
    let mut stage = Stage::new();
    for suffix in [".svc.cluster.local", ".cluster.local", ".ec2.internal", ""] {
        stage.ask(&format!("amazon.com{suffix}"), A);
        stage.ask(&format!("amazon.com{suffix}"), AAAA);
    }
    stage.ask("other.web.svc.cluster.local", A);
    // Lookup one, A: not everything is known yet.
    stage.pass(10);
    stage.port = 5_001;
    let first_a = stage.ask(WEB, A);
    assert_eq!((first_a.rcode, first_a.leads_to()), (3, None), "{first_a:?}");
    // Lookup two, A, before the first lookup's AAAA.
    stage.pass(1);
    stage.port = 5_002;
    stage.ask(WEB, A);
    stage.pass(1);
    stage.port = 5_003;
    let first_aaaa = stage.ask(WEB, AAAA);
    assert_eq!(
        (first_aaaa.rcode, first_aaaa.leads_to()),
        (3, None),
        "A of this lookup was NXDOMAIN: {first_aaaa:?}"
    );
}

/// One type is put off and fails, the other is known: half an answer.
#[test]
fn a_type_that_fails_does_not_leave_half_an_answer() {
    let mut stage = Stage::new();
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    stage.failing.push((name("amazon.com"), A));
    stage.pass(30_500);
    stage.ask("amazon.com", AAAA);
    stage.port += 1;
    // AAAA first here, A after it, as a resolver may send them.
    let aaaa = stage.ask(WEB, AAAA);
    let a = stage.ask(WEB, A);
    assert_eq!(aaaa.leads_to().is_some(), a.leads_to().is_some());
}

fn upstream_per_question(stage: &mut Stage, names: impl Iterator<Item = String>) -> f64 {
    stage.asked.clear();
    let mut clients = 0;
    for asked in names {
        clients += 1;
        stage.pass(1);
        stage.ask(&asked, A);
    }
    stage.asked.len() as f64 / f64::from(clients)
}

#[test]
fn random_namespaces_do_not_multiply() {
    let mut stage = Stage::new();
    let random = (0..1_000).map(|n| format!("x.b{n}.n{n}.svc.cluster.local"));
    let factor = upstream_per_question(&mut stage, random);
    let random = (0..1_000).map(|n| format!("x.b{n}.web.svc.cluster.local"));
    let below = upstream_per_question(&mut stage, random);
    assert!(factor < 2.1 && below < 2.1, "random namespaces {factor}, random Services {below}");
}

/// Negatives that are not kept (SOA minimum 0): boundaries are asked with each question for ever.
#[test]
fn boundaries_that_cannot_be_kept_are_not_asked_for_ever() {
    let mut stage = Stage::new();
    stage.negative_secs = 0;
    let factor = upstream_per_question(&mut stage, (0..100).map(|_| WEB.to_owned()));
    assert!(factor <= 1.1, "{factor}");
}

#[test]
fn boundaries_that_fail_are_not_asked_with_each_question() {
    let mut stage = Stage::new();
    for boundary in ["web.svc.cluster.local", "com.web.svc.cluster.local"] {
        stage.failing.push((name(boundary), A));
    }
    let names = (0..100).map(|n| format!("n{n}.com.web.svc.cluster.local"));
    let factor = upstream_per_question(&mut stage, names);
    assert!(factor <= 1.1, "{factor}");
}

/// A client asks for an endpoint by its whole name (trailing dot, or musl: five dots).
#[test]
fn an_endpoint_that_is_down_is_not_looked_for_elsewhere() {
    let mut stage = Stage::new();
    stage.create("kafka.web.svc.cluster.local");
    stage.create("pod-0.kafka.web.svc.cluster.local");
    // A wildcard behind the host's search domain, asked by somebody.
    stage.create("pod-7.kafka.ec2.internal");
    let down = "pod-7.kafka.web.svc.cluster.local";
    stage.walk("pod-7.kafka");
    stage.walk("pod-7.kafka");
    stage.client = [10, 0, 0, 77];
    for _ in 0..3 {
        stage.pass(100);
        let got = stage.ask(down, A);
        assert_eq!((got.rcode, got.leads_to()), (3, None), "{got:?}");
    }
}

/// Data is known below a boundary that upstream denies.
#[test]
fn a_cut_does_not_deny_what_is_known_to_exist() {
    let mut stage = Stage::new();
    stage.create("pod.db.web.svc.cluster.local");
    stage.lies.push(name("db.web.svc.cluster.local"));
    let a = stage.ask("pod.db.web.svc.cluster.local", A);
    let aaaa = stage.ask("pod.db.web.svc.cluster.local", AAAA);
    assert_eq!((a.rcode, aaaa.rcode), (0, 0), "{a:?}\n{aaaa:?}");
}

/// Stale negatives never hide a fresh positive.
#[test]
fn a_stale_story_does_not_hide_a_fresh_positive() {
    let mut stage = Stage::new();
    stage.walk("amazon.com");
    stage.walk("amazon.com");
    stage.is_silent = true;
    stage.pass(400_000);
    stage.ask(WEB, A);
    stage.is_silent = false;
    // The host's domain answers again, and now with data.
    stage.create("amazon.com.ec2.internal");
    stage.pass(31_000);
    stage.ask("amazon.com.ec2.internal", A);
    stage.ask("amazon.com.ec2.internal", AAAA);
    stage.is_silent = true;
    stage.port += 1;
    let got = stage.ask(WEB, A);
    assert_ne!(got.leads_to(), Some("amazon.com."), "{got:?}");
}

/// A load balancer that knows addresses only says NXDOMAIN to AAAA (RFC 4074 section 4.2). When its A
/// has run out before that denial, the name is taken for absent, and the client is sent to a
/// stranger's name further down the list.
#[test]
fn a_denied_type_does_not_prove_the_other_absent() {
    let mut stage = Stage::new();
    stage.create("app.dev.ec2.internal");
    stage.create("app.dev");
    stage.denied_types.push((name("app.dev.ec2.internal"), AAAA));
    // The internal name is used; its AAAA is asked again while its A is still known.
    stage.ask("app.dev.ec2.internal", A);
    stage.pass(20_000);
    stage.ask("app.dev.ec2.internal", AAAA);
    // Another pod means the public name, with a dot behind it; and something else keeps the
    // boundaries known.
    stage.client = [10, 0, 0, 8];
    stage.ask("app.dev", A);
    stage.pass(11_000);
    for suffix in ["web.svc.cluster.local", "svc.cluster.local", "cluster.local"] {
        stage.ask(&format!("other.dev.{suffix}"), A);
    }
    stage.client = [10, 0, 0, 3];
    stage.asked.clear();
    let got = stage.ask("app.dev.web.svc.cluster.local", A);
    assert_ne!(got.leads_to(), Some("app.dev."), "app.dev.ec2.internal has an address");
}

/// Without serve_stale: RFC 9520 section 3.2.
#[test]
fn a_failing_fact_is_not_asked_with_every_question_without_stale() {
    let mut stage = Stage::new();
    let text = COREFILE
        .replace("EXTRA", "")
        .replace("MORE", "")
        .replace("cache 30", "cache 30 {\n serve_stale off\n }")
        .replace("denial 9984 5", "denial 9984 5\n serve_stale off");
    stage.engine = engine_of(&text, &mut Shelf::default());
    (0..2).for_each(|_| walk_it_all(&mut stage));
    stage.failing.push((name("amazon.com"), A));
    stage.pass(30_500);
    stage.ask("amazon.com", AAAA);
    walk_it_all(&mut stage);
    stage.asked.clear();
    for host in 0..10 {
        stage.client = [10, 0, 1, host];
        stage.pass(10);
        stage.ask(WEB, A);
    }
    let asked = stage.asked.iter().filter(|asked| *asked == "amazon.com./1").count();
    assert!(asked <= 1, "{asked} times within 100 ms: {:?}", stage.asked);
}

/// The same with the defaults, from a namespace for which nothing was synthesised yet.
#[test]
fn a_failing_fact_is_not_asked_with_every_question_of_another_namespace() {
    let mut stage = Stage::new();
    (0..2).for_each(|_| walk_it_all(&mut stage));
    stage.ask("other.com.payments.svc.cluster.local", A);
    stage.failing.push((name("amazon.com"), A));
    stage.pass(30_500);
    stage.ask("amazon.com", AAAA);
    walk_it_all(&mut stage);
    stage.asked.clear();
    for host in 0..10 {
        stage.client = [10, 0, 1, host];
        stage.pass(10);
        stage.ask("amazon.com.payments.svc.cluster.local", A);
    }
    let asked = stage.asked.iter().filter(|asked| *asked == "amazon.com./1").count();
    assert!(asked <= 1, "{asked} times within 100 ms: {:?}", stage.asked);
}

/// Names near 255 octets, in every spelling, do not panic and are not shortened wrongly.
#[test]
fn long_and_oddly_spelt_names_are_walked_or_left_alone() {
    let mut stage = Stage::new();
    for len in 180..=240_usize {
        let mut words = String::new();
        while words.len() + 2 < len {
            let label = (len - words.len() - 1).min(40);
            words.push_str(&"X".repeat(label));
            words.push('.');
        }
        let words = words.trim_end_matches('.').to_owned() + ".CoM";
        let Ok(whole) = Name::from_text(&format!("{words}.web.svc.cluster.local")) else {
            continue;
        };
        let whole = whole.to_string();
        stage.create(&words);
        for _ in 0..3 {
            for suffix in [".svc.cluster.local", ".cluster.local", ".ec2.internal", ""] {
                if Name::from_text(&format!("{words}{suffix}")).is_ok() {
                    stage.ask(&format!("{words}{suffix}"), A);
                    stage.ask(&format!("{words}{suffix}"), AAAA);
                }
            }
            stage.pass(3_000);
            stage.ask(&whole, A);
            stage.ask(&whole, AAAA);
        }
    }
}

/// What the client may keep of a synthesised NODATA is no longer than its facts hold.
#[test]
fn a_synthesised_no_data_may_not_be_kept_longer_than_its_facts() {
    let mut stage = Stage::new();
    stage.world.insert(name("v4.org"), vec![vec![192, 0, 2, 4]]);
    stage.warm("v4.org");
    let mut packet = vec![0; HEADER_LEN];
    Header { id: 7, flags: 0x0100, counts: [1, 0, 0, 0] }.write(&mut packet);
    packet.extend_from_slice(name("v4.org.web.svc.cluster.local").wire());
    packet.extend([0, 28, 0, 1]);
    let query = Query {
        packet: &packet,
        source: ([10, 0, 0, 1], 4_000).into(),
        listener: ListenerId(0),
        transport: Transport::Udp,
    };
    let mut out = [0; 1_232];
    let Verdict::Reply(reply) =
        stage.engine.answer(&query, stage.now, &mut stage.scratch, &mut out)
    else {
        panic!("a reply")
    };
    let message = &out[..reply.len];
    let header = Header::read(message).expect("a header");
    assert_eq!(header.counts[1..3], [1, 1]);
    let mut at = super::super::super::wire::name::skip(message, HEADER_LEN).expect("a name") + 4;
    let mut ttls = Vec::new();
    for _ in 0..2 {
        let fixed = super::super::super::wire::name::skip(message, at).expect("a name");
        ttls.push(u32::from_be_bytes(*message[fixed + 4..].first_chunk().expect("a TTL")));
        at = fixed + 10 + usize::from(u16::from_be_bytes([message[fixed + 8], message[fixed + 9]]));
    }
    assert!(ttls[1] <= ttls[0], "alias {} s, SOA {} s", ttls[0], ttls[1]);
}

/// "Never allocates on a hit", says `Engine::answer`.
#[test]
fn cuts_and_rewrites_allocate_nothing() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    let mut counted = Vec::new();
    for (text, what) in [
        (WEB, "rewritten"),
        ("missing.com.web.svc.cluster.local", "cut below the pod's namespace"),
        ("amazon.com.svc.cluster.local", "cut, second step"),
        ("www.amazon.com.svc.cluster.local", "cut, second step of three labels"),
        ("amazon.com.cluster.local", "cut, third step"),
    ] {
        for _ in 0..3 {
            stage.ask(text, A);
        }
        let mut packet = vec![0; HEADER_LEN];
        Header { id: 7, flags: 0x0100, counts: [1, 0, 0, 0] }.write(&mut packet);
        packet.extend_from_slice(name(text).wire());
        packet.extend([0, 1, 0, 1]);
        let query = Query {
            packet: &packet,
            source: ([10, 0, 0, 1], 4_000).into(),
            listener: ListenerId(0),
            transport: Transport::Udp,
        };
        let (now, engine, scratch) = (stage.now, &stage.engine, &mut stage.scratch);
        let mut out = [0; 1_232];
        let mut is_reply = false;
        let allocated = allocation_counter::measure(|| {
            let verdict = engine.answer(&query, now, scratch, &mut out);
            is_reply = matches!(verdict, Verdict::Reply(Reply { renew: None, .. }));
        });
        counted.push((what, is_reply, allocated.count_total));
    }
    assert!(counted.iter().all(|(_, is_reply, count)| *is_reply && *count == 0), "{counted:#?}");
}

/// A hot fact whose renewal fails is not asked for with every look (two a second).
#[test]
fn a_hot_fact_that_fails_is_left_alone_for_a_while() {
    let mut stage = Stage::new();
    for _ in 0..600 {
        stage.pass(50);
        stage.ask(WEB, A);
        stage.ask("amazon.com", A);
    }
    stage.failing.push((name("amazon.com"), A));
    let mut times = 0;
    for _ in 0..80 {
        for _ in 0..10 {
            stage.pass(50);
            stage.ask("amazon.com", A);
        }
        let names = {
            let hot = stage.engine.hot().expect("hotnames");
            hot.hottest(stage.now)
        };
        let due = stage.engine.due(&names, stage.now, 100);
        for ask in due {
            let is_it = ask.key.name() == name("amazon.com").wire() && ask.key.qtype() == A;
            times += usize::from(is_it);
            stage.learn_as_told(&ask);
        }
    }
    assert!(times <= 20, "{times} times in 40 s");
}

impl Stage {
    fn learn_as_told(&mut self, ask: &Ask) {
        let message = self.upstream(&ask.key);
        self.engine.learn(ask, &message, self.now);
    }
}
