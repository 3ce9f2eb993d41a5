//! The manifests and the image, held against the program: what they name must be what it has.
//!
//! Each check runs over the base and every overlay, as a cluster would get them. The first test
//! leaves them as JSON below the target folder, where `.ci/manifests` holds them against the
//! schemas of Kubernetes.

#[path = "manifests/image.rs"]
mod image;
#[path = "manifests/kustomize.rs"]
mod kustomize;
#[path = "manifests/pod.rs"]
mod pod;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use kustomize::{Variant, differences, list, root, text, variants, yaml_files};

const NAME: &str = "node-local-dns";

/// The token for the addresses of `-localip`.
const LOCAL: &str = "__PILLAR__LOCAL__DNS__";

/// The kinds of objects that overlays bring.
const ADDED: [&str; 3] = ["CiliumLocalRedirectPolicy", "ClusterRole", "ClusterRoleBinding"];

#[test]
fn every_variant_is_complete_and_every_file_is_used() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manifests");
    // What an overlay that is gone has left there must not be validated.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a writable target folder");
    let mut used = BTreeSet::new();
    for variant in variants() {
        let kinds: BTreeSet<&str> = variant.objects.iter().map(|o| text(&o["kind"])).collect();
        for kind in ["ServiceAccount", "Role", "RoleBinding", "Service", "ConfigMap", "DaemonSet"] {
            assert!(kinds.contains(kind), "{}: no {kind}", variant.name);
        }
        let json = serde_json::to_string_pretty(&variant.objects).expect("JSON");
        std::fs::write(folder.join(format!("{}.json", variant.name)), json).expect("written");
        used.extend(variant.files);
    }
    assert_eq!(yaml_files(), used, "on the left what there is, on the right what is used");
}

#[test]
fn one_file_installs_the_base() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a manifest");
    assert_eq!(read("dnscache.yaml"), read("base/dnscache.yaml"));
}

#[test]
fn overlays_change_what_they_are_for_and_nothing_else() {
    let pod = "/spec/template/spec";
    let container = "/spec/template/spec/containers/0";
    let expected = [
        ("ipvs", vec![format!("{container}/args/1")]),
        (
            "from-node-cache",
            vec![
                "/spec/updateStrategy/rollingUpdate/maxSurge".to_owned(),
                "/spec/updateStrategy/rollingUpdate/maxUnavailable".to_owned(),
            ],
        ),
        ("startup-taint", vec![format!("{container}/args")]),
        (
            "cilium",
            vec![
                "/spec/template/metadata/annotations/policy.cilium.io~1no-track-port".to_owned(),
                format!("{pod}/hostNetwork"),
                format!("{pod}/volumes"),
                format!("{container}/args"),
                format!("{container}/ports"),
                format!("{container}/securityContext/capabilities/add"),
                format!("{container}/volumeMounts"),
            ],
        ),
    ];
    let variants = variants();
    let (base, overlays) = variants.split_first().expect("the base");
    assert_eq!(overlays.len(), expected.len(), "every overlay stands here");
    for (name, expected) in expected {
        let overlay = overlays.iter().find(|overlay| overlay.name == name).expect(name);
        let changed =
            differences(base.object("DaemonSet", NAME), overlay.object("DaemonSet", NAME));
        assert_eq!(changed, expected.into_iter().collect(), "{name}");
        let others = |variant: &Variant| -> Vec<Value> {
            let objects = variant.objects.iter();
            let kept = |object: &&Value| {
                let kind = text(&object["kind"]);
                !["DaemonSet", "ConfigMap"].contains(&kind) && !ADDED.contains(&kind)
            };
            objects.filter(kept).cloned().collect()
        };
        assert_eq!(others(base), others(overlay), "{name}");
        let corefile = |variant: &Variant| {
            text(&variant.object("ConfigMap", NAME)["data"]["Corefile"]).to_owned()
        };
        let bind = if name == "cilium" { "0.0.0.0" } else { LOCAL };
        assert_eq!(corefile(base).replace(LOCAL, bind), corefile(overlay), "{name}");
    }
}

#[test]
fn objects_find_each_other() {
    for variant in variants() {
        let daemon_set = variant.object("DaemonSet", NAME);
        let (spec, labels) =
            (&daemon_set["spec"], &daemon_set["spec"]["template"]["metadata"]["labels"]);
        let expected = json!({"k8s-app": NAME});
        // Those of the reference: its DaemonSet is updated in place, its dashboards go on.
        assert_eq!((&spec["selector"]["matchLabels"], labels), (&expected, &expected));
        assert_eq!(variant.object("Service", NAME)["spec"]["selector"], expected);
        let upstream = variant.object("Service", "kube-dns-upstream");
        assert_eq!(upstream["spec"]["selector"], json!({"k8s-app": "kube-dns"}));
        for object in &variant.objects {
            let of_the_cluster = text(&object["kind"]).starts_with("Cluster");
            let expected = if of_the_cluster { Value::Null } else { json!("kube-system") };
            assert_eq!(object["metadata"]["namespace"], expected, "{object}");
        }
        let at = |kind: &str, name: &str| {
            let found = variant
                .objects
                .iter()
                .position(|object| object["kind"] == kind && object["metadata"]["name"] == name);
            found.expect(kind)
        };
        let (service, pods) = (at("Service", "kube-dns-upstream"), at("DaemonSet", NAME));
        assert!(service < pods, "a pod learns of a Service that was there before it");
    }
}

#[test]
fn the_account_may_do_what_the_program_does_and_nothing_else() {
    for variant in variants() {
        let pod = &variant.object("DaemonSet", NAME)["spec"]["template"]["spec"];
        let account = text(&pod["serviceAccountName"]);
        variant.object("ServiceAccount", account);
        let [binding] = variant.of_kind("RoleBinding").collect::<Vec<_>>()[..] else {
            panic!("{}: one binding", variant.name)
        };
        let subjects = json!([
            {"kind": "ServiceAccount", "name": account, "namespace": "kube-system"}
        ]);
        assert_eq!(binding["subjects"], subjects);
        let role = variant.object("Role", text(&binding["roleRef"]["name"]));
        let rules = json!([{
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        }]);
        assert_eq!(role["rules"], rules);
        let beyond = variant.of_kind("ClusterRole").map(|role| role["rules"].clone());
        let beyond: Vec<Value> = beyond.collect();
        match variant.name.as_str() {
            "startup-taint" => {
                let nodes = json!([
                    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}
                ]);
                assert_eq!(beyond, [nodes]);
                let binding = variant.object("ClusterRoleBinding", "node-local-dns-startup-taint");
                assert_eq!(binding["subjects"], subjects);
            }
            name => assert_eq!(beyond, [] as [Value; 0], "{name}"),
        }
    }
}

#[test]
fn cilium_finds_the_pods_and_their_ports() {
    let variants = variants();
    let cilium = variants.iter().find(|variant| variant.name == "cilium").expect("an overlay");
    let policy = &cilium.object("CiliumLocalRedirectPolicy", NAME)["spec"];
    let template = &cilium.object("DaemonSet", NAME)["spec"]["template"];
    let backend = &policy["redirectBackend"];
    assert_eq!(backend["localEndpointSelector"]["matchLabels"], template["metadata"]["labels"]);
    let declared = list(&template["spec"]["containers"][0]["ports"]);
    for port in list(&backend["toPorts"]) {
        let number: u64 = text(&port["port"]).parse().expect("a port");
        let same = |declared: &&Value| {
            declared["name"] == port["name"]
                && declared["protocol"] == port["protocol"]
                && declared["containerPort"] == number
        };
        assert_eq!(declared.iter().filter(same).count(), 1, "{port}");
    }
    assert_eq!(list(&backend["toPorts"]).len(), 2, "UDP and TCP");
}

#[test]
fn the_metrics_service_meets_a_port_by_number() {
    for variant in variants() {
        let service = &variant.object("Service", NAME)["spec"];
        assert_eq!(service["clusterIP"], "None");
        // A name would have to be declared by the pods, which declare no ports.
        assert_eq!(list(&service["ports"])[0]["targetPort"], 9253, "{}", variant.name);
    }
}
