//! Traces into files, so that reading them gives the same trace.

use std::io::{self, Write};

use serde::Serialize;

use super::read::{Field, Format, Kind};
use super::{Event, Trace, What};

/// An event as a line says it.
#[derive(Debug, Default, Serialize)]
struct Line<'a> {
    /// Seconds; a float of this size has room for every millisecond.
    time: f64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_network: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spot: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pods_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet: Option<&'a str>,
}

/// Writes a trace, its end last.
///
/// # Errors
///
/// What `out` says.
pub fn write(trace: &Trace, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::JsonLines => write_json(trace, out),
        Format::Csv => write_csv(trace, out),
    }
}

fn write_json(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    for line in lines(trace) {
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn write_csv(trace: &Trace, out: &mut impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(Field::ALL.map(Field::name))?;
    for line in lines(trace) {
        let said = |is: Option<bool>| is.map_or("", |is| if is { "true" } else { "false" });
        let pods_max = line.pods_max.map_or_else(String::new, |pods_max| pods_max.to_string());
        writer.write_record([
            line.time.to_string().as_str(),
            line.event,
            line.node.unwrap_or(""),
            line.pod.unwrap_or(""),
            said(line.host_network),
            said(line.running),
            line.instance_type.unwrap_or(""),
            line.group.unwrap_or(""),
            said(line.spot),
            &pods_max,
            line.subnet.unwrap_or(""),
        ])?;
    }
    writer.flush()
}

fn lines(trace: &Trace) -> impl Iterator<Item = Line<'_>> {
    let events = trace.events.iter().map(|event| line(trace, event));
    let end = Line { time: secs(trace.end_ms), event: Kind::End.name(), ..Line::default() };
    events.chain([end])
}

fn line<'a>(trace: &'a Trace, event: &Event) -> Line<'a> {
    let node = &trace.nodes[event.node as usize];
    let pod = |pod: u32| Some(trace.pods[pod as usize].as_str());
    let bare = |kind: Kind| Line {
        time: secs(event.at_ms),
        event: kind.name(),
        node: Some(&node.name),
        ..Line::default()
    };
    match event.what {
        What::Join { running } => Line {
            running: Some(running),
            instance_type: Some(node.instance_type.name),
            group: Some(&node.group),
            spot: Some(node.spot),
            pods_max: Some(node.pods_max),
            subnet: node.subnet.as_deref(),
            ..bare(Kind::Join)
        },
        What::Add { pod: index, host_network, running } => Line {
            pod: pod(index),
            host_network: Some(host_network),
            running: Some(running),
            ..bare(Kind::Add)
        },
        What::Delete { pod: index } => Line { pod: pod(index), ..bare(Kind::Delete) },
        What::Cordon => bare(Kind::Cordon),
        What::Uncordon => bare(Kind::Uncordon),
        What::SpotNotice => bare(Kind::SpotNotice),
        What::Restart => bare(Kind::Restart),
        What::Leave => bare(Kind::Leave),
    }
}

fn secs(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
