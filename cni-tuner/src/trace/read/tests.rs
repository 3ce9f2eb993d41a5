//! Files that are right, files that are wrong, and traces that come back as they were written.

use proptest::prelude::*;

use super::*;
use crate::model::limits;
use crate::trace::{Event, What, generate, write};

const JOIN: &str = r#"{"time":0,"event":"join","node":"n1","instance_type":"m5.large"}"#;

fn read_text(text: &str) -> Result<Trace, Error> {
    read(text.as_bytes(), "folder/a.jsonl", None, None)
}

/// A file that is wrong after a node's join: the line, and the beginning of what is said.
fn wrong_after_join(lines: &str, line: u64, said: &str) {
    wrong(format!("{JOIN}\n{lines}"), line, said);
}

fn wrong(text: impl AsRef<[u8]>, line: u64, said: &str) {
    let text = text.as_ref();
    let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
    let error = match read(text, "a.jsonl", None, None) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{shown} is taken"),
    };
    let expected = format!("a.jsonl:{line}: {said}");
    assert!(error.starts_with(&expected), "{shown}\nsays     {error}\nexpected {expected}");
    assert!(error.contains(';'), "what would be right is missing: {error}");
}

fn add(time: &str, pod: &str) -> String {
    format!(r#"{{"time":{time},"event":"add","node":"n1","pod":"{pod}"}}"#)
}

#[test]
fn a_file_of_all_events_is_read() {
    let text = r#"
# A comment, and a blank line above.
{"time":0,"event":"join","node":"n1","instance_type":"m5.large","running":true}
{"time":0,"event":"add","node":"n1","pod":"kube-system/aws-node-1","host_network":true,"running":true}
{"time":1.5,"event":"join","node":"n2","instance_type":"m5.xlarge","group":"spot","spot":true,"pods_max":20,"subnet":"a"}
{"time":2,"event":"add","node":"n2","pod":"a/b"}
{"time":3,"event":"cordon","node":"n1","pod":null}
{"time":3,"event":"uncordon","node":"n1"}
{"time":4,"event":"spot_notice","node":"n2"}
{"time":5,"event":"delete","node":"n2","pod":"a/b","host_network":false}
{"time":124,"event":"leave","node":"n2"}
{"time":200,"event":"end"}
"#;
    let trace = read_text(text).expect("all is right");
    assert_eq!((trace.name.as_str(), trace.end_ms), ("a.jsonl", 200_000));
    let [first, second] = trace.nodes.as_slice() else { panic!("{:?}", trace.nodes) };
    assert_eq!((first.group.as_str(), first.pods_max, first.spot), ("m5.large", 29, false));
    assert_eq!((second.group.as_str(), second.pods_max, second.spot), ("spot", 20, true));
    assert_eq!((&first.subnet, second.subnet.as_deref()), (&None, Some("a")));
    let at = |at_ms, node, what| Event { at_ms, node, what };
    let events = [
        at(0, 0, What::Join { running: true }),
        at(0, 0, What::Add { pod: 0, host_network: true, running: true }),
        at(1_500, 1, What::Join { running: false }),
        at(2_000, 1, What::Add { pod: 1, host_network: false, running: false }),
        at(3_000, 0, What::Cordon),
        at(3_000, 0, What::Uncordon),
        at(4_000, 1, What::SpotNotice),
        at(5_000, 1, What::Delete { pod: 1 }),
        at(124_000, 1, What::Leave),
    ];
    assert_eq!(trace.events, events);
}

#[test]
fn columns_of_csv_stand_in_any_order() {
    let text = "\u{feff}node,instance_type, event ,time,pod\r\n\
                n1,m5.large,join,0,\r\n\
                n1,,add,\"2\",\"a/b\"\r\n";
    let trace = read_text(text).expect("all is right");
    assert_eq!((trace.pods, trace.events.len()), (vec!["a/b".to_owned()], 2));
    assert_eq!(trace.end_ms, 2_000 + TAIL_MS, "no end stands there");
}

#[test]
fn calendar_times_count_from_the_first_event() {
    let text = r#"{"time":"2026-08-20T10:00:00Z","event":"join","node":"n1","instance_type":"m5.large"}
                  {"time":"2026-08-20T12:00:00.25+02:00","event":"leave","node":"n1"}"#;
    let trace = read_text(text).expect("all is right");
    assert_eq!(trace.events[1].at_ms, 250);
}

#[test]
fn a_trace_of_pods_alone_needs_their_nodes_type() {
    let text = "time,node,pod,event,host_network\n5,n1,a/b,add,false\n9,n1,a/b,delete,false\n";
    wrong(text, 2, "node n1 has not joined; join it in a line above, or name a type for nodes");
    let large = limits::find("m5.large");
    let trace = read(text.as_bytes(), "a", None, large).expect("the type is given");
    let join = Event { at_ms: 0, node: 0, what: What::Join { running: true } };
    assert_eq!((trace.events[0], trace.events.len()), (join, 3));
}

#[test]
fn names_are_used_again_after_their_pod_or_node_has_gone() {
    let again = [
        JOIN.to_owned(),
        add("1", "a/b"),
        r#"{"time":2,"event":"delete","node":"n1","pod":"a/b"}"#.to_owned(),
        add("3", "a/b"),
        r#"{"time":4,"event":"leave","node":"n1"}"#.to_owned(),
        JOIN.replace("0", "5"),
        add("6", "a/b"),
    ];
    let trace = read_text(&again.join("\n")).expect("all is right");
    assert_eq!((trace.nodes.len(), trace.pods.len()), (2, 3));
}

#[test]
fn what_is_no_event_is_refused() {
    wrong("{", 1, "is not JSON (EOF while parsing");
    wrong("{\"time\":0,}", 1, "is not JSON (trailing comma at column 11)");
    wrong_after_join("time,event", 2, "is not an object");
    wrong(format!("[{JOIN}]"), 1, "is not an object");
    wrong(format!("{JOIN}{JOIN}"), 1, "is not JSON (trailing characters");
    wrong_after_join(r#"{"tme":1}"#, 2, "there is no field \"tme\" (did you mean time?)");
    wrong_after_join(r#"{"event":"ad"}"#, 2, "there is no event \"ad\" (did you mean add?)");
    wrong_after_join(r#"{"event":"leave","node":"n1"}"#, 2, "the field time is missing");
    wrong_after_join(r#"{"time":1,"node":"n1"}"#, 2, "the field event is missing");
    wrong_after_join(r#"{"time":1,"event":"leave"}"#, 2, "the field node is missing; leave");
    wrong_after_join(r#"{"time":1,"event":"add","node":"n1"}"#, 2, "the field pod is missing");
    wrong_after_join(r#"{"time":1,"time":2}"#, 2, "the field time stands there twice");
    wrong_after_join(
        r#"{"time":1,"event":"leave","node":"n1","pod":"a/b"}"#,
        2,
        "the field pod says nothing about leave",
    );
    wrong_after_join(r#"{"time":1,"event":"end","node":"n1"}"#, 2, "the field node says nothing");
    let typeless = r#"{"time":0,"event":"join","node":"n1"}"#;
    wrong(typeless, 1, "the field instance_type is missing; join needs it");
}

#[test]
fn a_value_of_the_wrong_kind_is_refused() {
    let with = |field: &str| JOIN.replace('}', &format!(",{field}}}"));
    wrong(with(r#""spot":"yes""#), 1, "spot is \"yes\"; write true or false");
    wrong(with(r#""pods_max":"20""#), 1, "pods_max is \"20\"; write a whole number");
    wrong(with(r#""pods_max":2.5"#), 1, "pods_max is 2.5; write a whole number");
    wrong(with(r#""pods_max":-1"#), 1, "pods_max is -1; write a whole number");
    wrong(with(r#""pods_max":0"#), 1, "pods_max 0 is not a number of pods a node can have");
    wrong(with(r#""pods_max":5000000000"#), 1, "pods_max 5000000000 is not a number of pods");
    wrong(with(r#""group":["a"]"#), 1, "group is a list or an object; write text");
    wrong(with(r#""group":"""#), 1, "\"\" is not a name of a node group");
    wrong(with(r#""subnet":"a b""#), 1, "\"a b\" is not a name of a subnet");
    wrong(JOIN.replace("n1", ""), 1, "\"\" is not a node's name");
    wrong(JOIN.replace("n1", &"n".repeat(254)), 1, "\"nnn");
    wrong_after_join(&add("1", "a/b/c"), 2, "\"a/b/c\" is not a pod's name; write namespace/name");
    wrong_after_join(&add("1", "a/"), 2, "\"a/\" is not a pod's name");
    let large = JOIN.replace("m5.large", "m5.lage");
    wrong(large, 1, "there is no instance type \"m5.lage\" (did you mean m5.large");
}

#[test]
fn times_are_bounded_and_ordered() {
    let at = |time: &str| add(time, "a/b");
    wrong_after_join(&at("-1"), 2, "the time -1 is out of bounds; write seconds");
    wrong_after_join(&at("1e300"), 2, "the time 1");
    wrong_after_join(&at("1787216400"), 2, "the time 1787216400 is out of bounds");
    wrong_after_join(&at("1e999"), 2, "is not JSON (number out of range");
    wrong_after_join(&at("NaN"), 2, "is not JSON (expected value");
    wrong_after_join(&at("true"), 2, "time is true; write seconds");
    wrong_after_join(&at("\"10:00\""), 2, "time is \"10:00\"; write seconds");
    wrong_after_join(&at("\"2026-08-20T10:00:00Z\""), 2, "the time \"2026-08-20T10:00:00Z\" is of");
    let csv = "time,event,node,instance_type\n0,join,n1,m5.large\n";
    wrong(format!("{csv}NaN,leave,n1,"), 3, "the time \"NaN\" is out of bounds");
    wrong(format!("{csv}-0.5,leave,n1,"), 3, "the time \"-0.5\" is out of bounds");
    wrong(format!("{csv}inf,leave,n1,"), 3, "the time \"inf\" is out of bounds");
    wrong(format!("{csv}soon,leave,n1,"), 3, "time is \"soon\"; write seconds");
    let late = JOIN.replace("\"time\":0", "\"time\":5");
    let early = add("4.9995", "a/b").replace("4.9995", "4.75");
    wrong(format!("{late}\n{early}"), 2, "the time 4.75 is before 5, the event above");
    let calendar = |time: &str| JOIN.replace("\"time\":0", &format!("\"time\":\"{time}\""));
    let first = calendar("2026-08-20T10:00:00Z");
    let before = calendar("2026-08-20T09:00:00Z").replace("n1", "n2");
    let said = "the time \"2026-08-20T09:00:00Z\" is before 2026-08-20T10:00:00Z, the event above";
    wrong(format!("{first}\n{before}"), 2, said);
    let seconds = add("1", "a/b");
    wrong(format!("{first}\n{seconds}"), 2, "the time 1 is of another kind than those above");
    let years = calendar("2036-08-20T09:00:00Z").replace("n1", "n2");
    wrong(format!("{first}\n{years}"), 2, "the time \"2036-08-20T09:00:00Z\" is out of bounds");
}

#[test]
fn what_cannot_happen_is_refused() {
    let pod = add("1", "a/b");
    let leave = r#"{"time":1,"event":"leave","node":"n1"}"#;
    let delete = r#"{"time":2,"event":"delete","node":"n1","pod":"a/b"}"#;
    let second = JOIN.replace("n1", "n2").replace("\"time\":0", "\"time\":1");
    wrong_after_join(JOIN, 2, "node n1 joins, but it is up already");
    wrong_after_join(&pod.replace("n1", "n9"), 2, "node n9 has not joined");
    wrong_after_join(&format!("{leave}\n{pod}"), 3, "node n1 left at 1 s; join it again");
    wrong_after_join(&format!("{pod}\n{pod}"), 3, "pod a/b is added, but it is on node n1 already");
    wrong_after_join(delete, 2, "pod a/b is deleted before it was added");
    wrong_after_join(&format!("{pod}\n{delete}\n{delete}"), 4, "pod a/b has been gone since 2 s");
    let elsewhere = delete.replace("n1", "n2");
    wrong_after_join(
        &format!("{second}\n{pod}\n{elsewhere}"),
        4,
        "pod a/b is deleted on node n2, but it was added to node n1; name that one",
    );
    wrong_after_join(
        r#"{"time":1,"event":"spot_notice","node":"n1"}"#,
        2,
        "node n1 gets a Spot notice, but is no Spot instance",
    );
    wrong_after_join(
        &format!("{}\n{pod}", r#"{"time":1,"event":"end"}"#),
        3,
        "an event stands after the trace's end",
    );
}

#[test]
fn what_runs_before_the_start_is_there_at_the_start() {
    let running = |line: &str| line.replace('}', ",\"running\":true}");
    let pod_at = |time: &str| running(&add(time, "a/b"));
    wrong_after_join(&pod_at("0"), 2, "pod a/b is running, but node n1 was not");
    wrong(
        format!("{}\n{}", running(JOIN), pod_at("1")),
        2,
        "pod a/b is added at 1 s with running true",
    );
    let late = JOIN.replace("\"time\":0", "\"time\":0.5").replace("n1", "n2");
    wrong_after_join(&running(&late), 2, "node n2 joins at 0.5 s with running true");
    read_text(&format!("{}\n{}", running(JOIN), pod_at("0"))).expect("both ran before");
}

#[test]
fn more_pods_than_fit_are_refused() {
    let pods = |count: usize| -> String {
        (0..count).map(|pod| add("1", &format!("a/{pod}")) + "\n").collect()
    };
    read_text(&format!("{JOIN}\n{}", pods(29))).expect("an m5.large takes 29");
    wrong_after_join(&pods(30), 31, "pod a/29 does not fit: node n1 has 29 pods already");
    let small = JOIN.replace('}', ",\"pods_max\":3}");
    let on_host = pods(4).replace('}', ",\"host_network\":true}");
    wrong(format!("{small}\n{on_host}"), 5, "pod a/3 does not fit: node n1 has 3 pods already");
}

#[test]
fn empty_traces_are_refused() {
    wrong("", 1, "the trace is empty");
    wrong("# nothing\n\n", 2, "the trace is empty");
    wrong("time,event,node\n", 1, "the trace is empty");
    wrong("{\"time\":9,\"event\":\"end\"}", 1, "the trace is empty");
}

#[test]
fn what_is_no_text_is_refused() {
    wrong(b"{\"time\":0,\"event\":\"\xff\"}", 1, "is not UTF-8");
    let long = JOIN.replace("n1", &"n".repeat(70_000));
    wrong(long, 1, "the line is longer than 65536 bytes");
    wrong(vec![b' '; 200_000], 1, "the line is longer than 65536 bytes");
}

#[test]
fn columns_that_do_not_match_are_refused() {
    wrong("time,node\n", 1, "the header has no column event; it needs time, event and node");
    wrong("time,time,node\n", 1, "the field time stands there twice");
    wrong("time,nod,event\n", 1, "there is no field \"nod\" (did you mean node?)");
    wrong("0,join,n1,m5.large\n", 1, "names no column; the first line of CSV is a header");
    wrong("time,node,event\n0,n1\n", 2, "has 2 values; the header names 3");
    wrong("time,node,event\n0,n1,join,\n", 2, "has 4 values; the header names 3");
    wrong("time,node,event\n0,\"n1,join\n", 2, "a quote is not closed");
    let header = "time,node,event,instance_type,spot\n";
    wrong(format!("{header}0,n1,join,m5.large,1\n"), 2, "spot is \"1\"; write true or false");
}

#[test]
fn names_of_files_tell_their_format() {
    let check = |file: &str, format: Option<Format>| assert_eq!(Format::of_name(file), format);
    check("a.jsonl", Some(Format::JsonLines));
    check("a.ndjson", Some(Format::JsonLines));
    check("a.JSON", Some(Format::JsonLines));
    check("a.b.csv", Some(Format::Csv));
    check("a.txt", None);
    check("csv", None);
}

fn written(trace: &Trace, format: Format) -> Vec<u8> {
    let mut text = Vec::new();
    write::write(trace, format, &mut text).expect("memory takes all");
    text
}

fn comes_back(trace: &Trace) {
    for format in [Format::JsonLines, Format::Csv] {
        let text = written(trace, format);
        for told in [Some(format), None] {
            let read = read(text.as_slice(), &trace.name, told, None).expect("just written");
            assert!(read == *trace, "{format:?}");
        }
    }
}

#[test]
fn every_generators_trace_comes_back_as_it_was_written() {
    for name in generate::NAMES {
        let small = match name {
            "fleet" => "nodes=20,pods=400",
            "batch" => "nodes=20",
            _ => "hours=1",
        };
        comes_back(&generate::make(name, small, 5).expect("right"));
    }
}

#[test]
fn late_found_nodes_come_back_too() {
    let text = format!("{JOIN}\n{}", add("1", "a/b").replace("n1", "n0"));
    let trace = read(text.as_bytes(), "a", None, limits::find("m5.xlarge")).expect("right");
    assert_eq!((trace.nodes[0].name.as_str(), trace.events[0].node), ("n0", 0));
    comes_back(&trace);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the builder takes is written and read back; names with commas and marks among it.
    #[test]
    fn whatever_is_a_trace_comes_back(
        steps in prop::collection::vec((0u8..7, 0usize..3, 0usize..6, 0u64..5_000, any::<bool>()), 1..60),
        tail_ms in 0u64..10_000,
    ) {
        let nodes = ["n-0", "n,1", "n#'ö"];
        let mut builder = Builder::new("any");
        let mut now_ms = 0;
        for (kind, node, pod, gap_ms, flag) in steps {
            now_ms += gap_ms;
            let (name, pod) = (nodes[node], format!("ns/p,{pod}"));
            // What cannot happen is refused and leaves no trace.
            let _ = match kind {
                0 => {
                    let mut joined = Node::of(name, limits::find("m5.large").expect("known"));
                    joined.spot = flag;
                    joined.subnet = flag.then(|| "subnet,a".to_owned());
                    joined.pods_max = 3;
                    builder.join(now_ms, joined, now_ms == 0 && flag).map(|_| ())
                }
                1 | 2 => builder.add(now_ms, name, &pod, flag, now_ms == 0).map(|_| ()),
                3 => builder.delete(now_ms, name, &pod),
                4 => builder.cordon(now_ms, name).and_then(|()| builder.uncordon(now_ms, name)),
                5 => builder.spot_notice(now_ms, name),
                _ => builder.leave(now_ms, name),
            };
        }
        let end_ms = builder.last_ms() + tail_ms;
        if let Ok(trace) = builder.finish(end_ms) {
            comes_back(&trace);
        }
    }

    /// Nothing that stands in a file makes the reader panic.
    #[test]
    fn any_bytes_are_a_trace_or_a_mistake(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(bytes.as_slice(), "a", None, None);
        let _ = read(bytes.as_slice(), "a", Some(Format::JsonLines), None);
    }

    /// Nor does a right file in which some bytes were changed.
    #[test]
    fn a_changed_file_is_a_trace_or_a_mistake(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        is_csv in any::<bool>(),
    ) {
        let trace = generate::make("environment", "hours=1,pods=5", 1).expect("right");
        let format = if is_csv { Format::Csv } else { Format::JsonLines };
        let mut text = written(&trace, format);
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(trace) = read(text.as_slice(), "a", None, None) {
            comes_back(&trace);
        }
    }
}

#[test]
fn what_is_too_long_is_not_said_whole() {
    let long = "x".repeat(60_000);
    for (line, said) in [
        (JOIN.replace("m5.large", &long), "there is no instance type"),
        (JOIN.replace("n1", &long), "\"xxxx"),
        (JOIN.replace("join", &long), "there is no event"),
        (JOIN.replace("instance_type", &long), "there is no field"),
        (JOIN.replace("\"node\"", &format!("\"group\":\"{long}\",\"node\"")), "\"xxxx"),
    ] {
        wrong(&line, 1, said);
        let error = read_text(&line).expect_err("it is wrong").to_string();
        assert!(error.len() < 400, "{error}");
    }
    let error =
        read_text(&format!("{JOIN}\n{}", add("1", &long))).expect_err("no name").to_string();
    assert!(error.len() < 400, "{error}");
}

#[test]
fn a_field_with_null_stands_there_too() {
    let twice = JOIN.replace("\"node\"", "\"spot\":null,\"spot\":true,\"node\"");
    wrong(twice, 1, "the field spot stands there twice");
}
