//! The pod of each variant against the program: arguments, Corefile, ports, probes, memory.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use dnscache::config::corefile;
use dnscache::config::environment::System;
use dnscache::config::flags::Flags;
use dnscache::config::{Config, load};
use dnscache::engine::shelf::CACHE_BYTES_DEFAULT;
use serde_json::{Value, json};

use crate::kustomize::{Variant, list, text, variants};

const NAME: &str = "node-local-dns";

/// Resident octets with 1,000 names; measured by `benches/load.rs`
/// (benches/runs/2026-11-22-xeon-2core).
const RSS_AT_REST: u64 = 10_000_000;

#[test]
fn every_argument_is_a_flag_with_a_value_it_takes() {
    for variant in variants() {
        let flags = flags(&variant);
        assert!(flags.conf.is_some(), "{}", variant.name);
    }
}

#[test]
fn addresses_fit_the_mode_of_the_cluster() {
    let link_local: IpAddr = "169.254.20.10".parse().expect("an address");
    for variant in variants() {
        let flags = flags(&variant);
        let addresses = flags.node_addresses;
        let sets_up = flags.setup_interface && flags.setup_iptables;
        match variant.name.as_str() {
            "cilium" => {
                assert_eq!(addresses, [] as [IpAddr; 0], "the pod's own, whatever they are");
                assert!(!flags.setup_interface && !flags.setup_iptables && flags.skip_teardown);
            }
            "ipvs" => assert!(sets_up && addresses == [link_local], "{addresses:?}"),
            name => {
                assert!(sets_up && addresses.len() == 2, "{name}: {addresses:?}");
                assert_eq!(addresses[0], link_local, "{name}");
            }
        }
    }
}

#[test]
fn files_are_where_the_arguments_and_the_program_look_for_them() {
    for variant in variants() {
        let flags = flags(&variant);
        let base = template(&flags).parent().expect("a folder").to_string_lossy();
        let (mount, volume) = mounted_at(&variant, &base).expect("the template's folder");
        assert_eq!(mount["readOnly"], true);
        assert_eq!(volume["configMap"]["name"], NAME);
        let item = &volume["configMap"]["items"][0];
        assert_eq!(template(&flags).file_name().expect("a name"), text(&item["path"]));
        assert!(corefile_text(&variant, text(&item["key"])).contains("__PILLAR__"));

        let conf = flags.conf.expect("-conf");
        let folder = conf.parent().expect("a folder").to_string_lossy();
        let (_, volume) =
            mounted_at(&variant, &folder).expect("a place for the filled-in Corefile");
        assert_eq!(volume["emptyDir"], json!({}), "one for each instance, and writable");

        let (_, volume) = mounted_at(&variant, "/etc/kube-dns").expect("the kube-dns ConfigMap");
        assert_eq!(volume["configMap"], json!({"name": "kube-dns", "optional": true}));
        let (_, volume) = mounted_at(&variant, "/var/lib/dnscache").expect("snapshots");
        assert_eq!(volume["hostPath"]["type"], "DirectoryOrCreate");
        let lock = mounted_at(&variant, "/run/xtables.lock").map(|(_, volume)| volume);
        assert_eq!(lock.is_some(), flags.setup_iptables, "{}", variant.name);
        assert!(lock.is_none_or(|lock| lock["hostPath"]["type"] == "FileOrCreate"));
    }
}

#[test]
fn every_mount_has_a_volume_and_every_volume_a_mount() {
    for variant in variants() {
        let names = |values: &[Value]| -> Vec<String> {
            let mut names: Vec<_> = values.iter().map(|v| text(&v["name"]).to_owned()).collect();
            names.sort();
            names
        };
        let mounts = names(list(&container(&variant)["volumeMounts"]));
        assert_eq!(mounts, names(list(&pod(&variant)["volumes"])), "{}", variant.name);
    }
}

#[test]
fn the_upstream_service_is_the_one_the_program_looks_for() {
    for variant in variants() {
        let service = flags(&variant).upstream_service;
        let upstream = variant.object("Service", &service);
        let ports: BTreeSet<_> = list(&upstream["spec"]["ports"])
            .iter()
            .map(|port| (text(&port["protocol"]), port["port"].as_u64(), &port["targetPort"]))
            .map(|(protocol, port, target)| (protocol, port, target.as_u64()))
            .collect();
        assert_eq!(ports, [("TCP", Some(53), Some(53)), ("UDP", Some(53), Some(53))].into());
        // Its address comes to the pod as an environment variable, by links to services.
        assert_eq!(pod(&variant)["enableServiceLinks"], true);
        assert!(upstream["spec"]["clusterIP"].is_null(), "an address of its own");

        let expected = format!("kube-system/{service}");
        assert_eq!(endpoints(&variant), vec![expected; 3], "{}", variant.name);
    }
}

#[test]
fn the_corefile_is_taken_without_a_warning() {
    for variant in variants() {
        let config = config(&variant);
        assert_eq!(config.warnings, Vec::<String>::new(), "{}", variant.name);
        assert_eq!(config.blocks.len(), 4, "{}", variant.name);
        let hot = config.hot.as_ref().expect("hot names are on");
        assert!(hot.refresh_per_second > 0);
        let searching = config.blocks.iter().filter(|block| block.search.is_some()).count();
        assert_eq!(searching, 1, "the cluster's block knows search lists");
        let caches = config.blocks.iter().filter_map(|block| block.cache.as_ref());
        assert!(caches.clone().all(|cache| cache.serve_stale.is_some()));
        assert_eq!(caches.count(), 4);
    }
}

#[test]
fn ports_are_those_of_the_corefile() {
    for variant in variants() {
        let (config, flags) = (config(&variant), flags(&variant));
        let questions: BTreeSet<u16> =
            config.blocks.iter().flat_map(|block| &block.listen).map(|a| a.port()).collect();
        assert_eq!(questions, [53].into());
        let bound: BTreeSet<IpAddr> =
            config.blocks.iter().flat_map(|block| &block.listen).map(|a| a.ip()).collect();
        match variant.name.as_str() {
            "cilium" => assert!(bound.iter().all(IpAddr::is_unspecified), "{bound:?}"),
            name => assert_eq!(bound, flags.node_addresses.iter().copied().collect(), "{name}"),
        }

        let metrics = config.prometheus.first().expect("prometheus").port();
        let template = &variant.object("DaemonSet", NAME)["spec"]["template"];
        let service = variant.object("Service", NAME);
        assert_eq!(list(&service["spec"]["ports"])[0]["port"], metrics);
        for annotations in [&template["metadata"], &service["metadata"]] {
            let annotations = &annotations["annotations"];
            assert_eq!(annotations["prometheus.io/port"], metrics.to_string());
            assert_eq!(annotations["prometheus.io/scrape"], "true");
        }
        // The rules let the health port pass untracked, so it must be the one that is open.
        let health = config.health.expect("health");
        assert!(health.listen.iter().all(|address| address.port() == flags.health_port));
    }
}

#[test]
fn a_second_pod_finds_room_on_the_node() {
    for variant in variants() {
        let update = &variant.object("DaemonSet", NAME)["spec"]["updateStrategy"]["rollingUpdate"];
        let surges = update["maxSurge"] != 0;
        assert_eq!(surges, variant.name != "from-node-cache");
        assert_eq!(surges, update["maxUnavailable"] == 0, "{}", variant.name);
        let ports = list(&container(&variant)["ports"]);
        match pod(&variant)["hostNetwork"].as_bool() {
            // Declared ports become host ports, and no node has one twice.
            Some(true) => assert!(ports.is_empty(), "{}", variant.name),
            _ => assert!(ports.iter().all(|port| port["hostPort"].is_null())),
        }
    }
}

#[test]
fn the_old_pod_has_time_to_leave() {
    for variant in variants() {
        let lameduck = config(&variant).health.expect("health").lameduck;
        let seconds = pod(&variant)["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        // A question lasts 5 s at most; as long again to write a snapshot and leave.
        assert!(lameduck > Duration::ZERO);
        assert!(Duration::from_secs(seconds) >= lameduck + Duration::from_secs(10));
    }
}

#[test]
fn probes_ask_the_instance_itself() {
    for variant in variants() {
        let container = container(&variant);
        for (probe, question) in
            [("startupProbe", "live"), ("readinessProbe", "ready"), ("livenessProbe", "live")]
        {
            let probe = &container[probe];
            let keys = ["httpGet", "tcpSocket", "grpc"];
            assert!(keys.iter().all(|key| probe[key].is_null()), "either instance would answer");
            assert_eq!(probe["exec"]["command"], json!(["/dnscache", "probe", question]));
        }
        let seconds = |probe: &str, what: &str| container[probe][what].as_u64().expect("a number");
        assert_eq!(seconds("startupProbe", "periodSeconds"), 1, "an update waits for it");
        let patience = |probe| seconds(probe, "periodSeconds") * seconds(probe, "failureThreshold");
        // Out of service long before it is killed.
        assert!(patience("readinessProbe") < patience("livenessProbe"));
    }
}

#[test]
fn the_program_has_the_probe() {
    let output = Command::new(env!("CARGO_BIN_EXE_dnscache")).args(["probe", "--help"]).output();
    let output = output.expect("the program starts");
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["ready", "live", "--control"] {
        assert!(help.contains(word), "{word}:\n{help}");
    }
    // Where the socket is when nobody says: in the folder that each pod has of its own.
    for variant in variants() {
        let (mount, _) = mounted_at(&variant, "/run/dnscache").expect("the instance's own folder");
        assert!(help.contains(&format!("{}/", text(&mount["mountPath"]))), "{help}");
    }
}

#[test]
fn memory_has_a_limit_that_holds_what_was_measured() {
    for variant in variants() {
        let resources = &container(&variant)["resources"];
        assert!(resources["limits"]["cpu"].is_null(), "a throttled cache delays the whole node");
        assert!(resources["requests"]["cpu"].is_string());
        let octets = |part: &str| mebibytes(text(&resources[part]["memory"]));
        let sizes = config(&variant).blocks.into_iter().filter_map(|block| block.cache);
        let cache = sizes.filter_map(|cache| cache.size_bytes).max().unwrap_or(CACHE_BYTES_DEFAULT);
        assert!(octets("requests") >= 2 * RSS_AT_REST);
        // The cache full, as much again for everything else, and the program itself.
        assert!(octets("limits") >= 2 * cache + RSS_AT_REST, "{}", variant.name);
        // A cache that fills to its bound must not be the first to be killed for memory.
        assert!(octets("limits") <= 4 * cache, "a limit nobody believes");
    }
}

#[test]
fn the_pod_may_do_what_it_needs_and_no_more() {
    for variant in variants() {
        let context = &container(&variant)["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert!(context["privileged"].is_null());
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        let needed = match flags(&variant).setup_interface {
            true => json!(["NET_ADMIN", "NET_BIND_SERVICE"]),
            false => json!(["NET_BIND_SERVICE"]),
        };
        assert_eq!(context["capabilities"]["add"], needed, "{}", variant.name);
        let pod = pod(&variant);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["dnsPolicy"], "Default", "the cluster's DNS would be this pod");
        assert_eq!(pod["priorityClassName"], "system-node-critical");
    }
}

#[test]
fn the_node_is_known_by_name() {
    for variant in variants() {
        let expected = json!([
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
        ]);
        assert_eq!(container(&variant)["env"], expected, "{}", variant.name);
    }
}

fn pod(variant: &Variant) -> &Value {
    &variant.object("DaemonSet", NAME)["spec"]["template"]["spec"]
}

fn container(variant: &Variant) -> &Value {
    let [container] = list(&pod(variant)["containers"]) else { panic!("one container") };
    container
}

fn flags(variant: &Variant) -> Flags {
    let words = list(&container(variant)["args"]).iter().map(text).map(OsString::from);
    let words = std::iter::once(OsString::from("dnscache")).chain(words);
    Flags::read(words).unwrap_or_else(|error| panic!("{}: {error}", variant.name))
}

/// What is mounted at `path`: the mount and its volume.
fn mounted_at<'a>(variant: &'a Variant, path: &str) -> Option<(&'a Value, &'a Value)> {
    let mounts = list(&container(variant)["volumeMounts"]);
    let mount = mounts.iter().find(|mount| mount["mountPath"] == path)?;
    let volumes = list(&pod(variant)["volumes"]);
    volumes.iter().find(|volume| volume["name"] == mount["name"]).map(|volume| (mount, volume))
}

fn corefile_text(variant: &Variant, key: &str) -> String {
    text(&variant.object("ConfigMap", NAME)["data"][key]).to_owned()
}

/// The ConfigMap's Corefile with its tokens filled in, as the program does when it starts.
fn filled_in(variant: &Variant) -> String {
    let addresses: Vec<String> =
        flags(variant).node_addresses.iter().map(IpAddr::to_string).collect();
    corefile_text(variant, "Corefile")
        .replace("__PILLAR__LOCAL__DNS__", &addresses.join(" "))
        .replace("__PILLAR__CLUSTER__DNS__", "10.96.123.45")
        .replace("__PILLAR__UPSTREAM__SERVERS__", "/etc/resolv.conf")
}

/// The configuration that the program makes of it.
fn config(variant: &Variant) -> Config {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("Corefile");
    std::fs::write(&path, filled_in(variant)).expect("a writable folder");
    let words = ["dnscache".as_ref(), "-conf".as_ref(), path.as_os_str()].map(OsString::from);
    let flags = Flags::read(words).expect("flags");
    load(&flags).unwrap_or_else(|error| panic!("{}: {error}", variant.name))
}

/// What stands behind `endpoints` in every `forward`.
fn endpoints(variant: &Variant) -> Vec<String> {
    let text = filled_in(variant);
    let blocks = corefile::parse("Corefile", &text, &System).expect("a Corefile");
    let directives = blocks.iter().flat_map(|block| &block.directives);
    let forwards = directives.filter(|directive| directive.name == "forward");
    forwards
        .flat_map(|forward| &forward.body)
        .filter(|option| option.name == "endpoints")
        .map(|option| option.args.iter().map(|word| word.text.as_str()).collect())
        .collect()
}

fn mebibytes(text: &str) -> u64 {
    let digits = text.strip_suffix("Mi").expect("mebibytes");
    digits.parse::<u64>().expect("a number") << 20
}

/// The template that the arguments name, or the usual one.
fn template(flags: &Flags) -> &std::path::Path {
    flags.base_corefile.as_deref().unwrap_or_else(|| "/etc/coredns/Corefile.base".as_ref())
}
