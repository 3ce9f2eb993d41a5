//! The reference manifest's arguments and ConfigMaps: the template filled in, followed while
//! running, and what becomes of mistakes in it.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::client::{TcpClient, http_page};
use crate::harness::program::{Program, UPSTREAM_PORT, command, metric_sum};
use crate::harness::upstream::Upstream;
use crate::harness::{data_folder, own_loopback, within};

/// What is mounted into the pod, and where the upstreams are.
struct Mounts {
    folder: TempDir,
    ip: Ipv4Addr,
}

impl Mounts {
    /// The template of the reference manifest, and an empty ConfigMap. Ports are those that a test
    /// may have.
    fn new() -> Self {
        let mounts = Self { folder: tempfile::tempdir().expect("a folder"), ip: own_loopback() };
        mounts.mount("coredns", &[("Corefile.base", &mounts.template())]);
        mounts.mount("kube-dns", &[]);
        mounts
    }

    fn template(&self) -> String {
        let path = data_folder().join("corefiles/template/Corefile.base");
        let text = std::fs::read_to_string(path).expect("the template");
        // A test may not have port 53, neither here nor upstream.
        text.replace(":53 {", ":5300 {")
            .replace(
                "__PILLAR__CLUSTER__DNS__",
                &format!("__PILLAR__CLUSTER__DNS__:{UPSTREAM_PORT}"),
            )
            .replace(":9253", &format!("{}:9253", self.ip))
            .replace("169.254.20.10", &self.ip.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a ConfigMap in place as kubelet does: its files are links through `..data`, and a new
    /// version is one link that is renamed.
    fn mount(&self, name: &str, files: &[(&str, &str)]) {
        let mount = self.path(name);
        std::fs::create_dir_all(&mount).expect("a folder");
        let version = tempfile::Builder::new().prefix("..").tempdir_in(&mount).expect("a folder");
        let version = version.keep();
        for (file, text) in files {
            std::fs::write(version.join(file), text).expect("written");
            let link = mount.join(file);
            if !link.is_symlink() {
                symlink(Path::new("..data").join(file), link).expect("linked");
            }
        }
        symlink(version.file_name().expect("a name"), mount.join("..data_tmp")).expect("linked");
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
    }

    /// Starts the program with the manifest's arguments.
    fn start(&self) -> Program {
        let mut command = command();
        let local = format!("{},{}", self.ip, own_loopback());
        command.args(["-localip", &local, "-conf"]).arg(self.path("Corefile"));
        command.args(["-upstreamsvc", "kube-dns-upstream", "-pidfile"]).arg(self.path("pid"));
        command.arg("-basecorefile").arg(self.path("coredns/Corefile.base"));
        command.arg("-kubednscm").arg(self.path("kube-dns"));
        // A test has no node to set up and no port 53.
        command.args(["-setupinterface=false", "-setupiptables=false", "-dns.port", "5300"]);
        command.env("KUBE_DNS_UPSTREAM_SERVICE_HOST", self.ip.to_string());
        let own = tempfile::tempdir().expect("a folder");
        let mut program = Program::spawn(command, (self.ip, 5300).into(), own);
        program.wait_until_it_answers();
        program
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.path("Corefile")).expect("the filled-in Corefile")
    }

    fn stub_domains(&self, text: &str) {
        self.mount("kube-dns", &[("stubDomains", text)]);
    }
}

#[test]
fn the_manifests_template_serves_and_follows_its_config_maps() {
    let mounts = Mounts::new();
    let (ip, second) = (mounts.ip, UPSTREAM_PORT + 1);
    let zone = "kubernetes.default.svc.cluster.local. 300 A 10.96.0.1\n\
                1.0.96.10.in-addr.arpa. 300 PTR kubernetes.default.svc.cluster.local.";
    let cluster = Upstream::with_zone(ip, UPSTREAM_PORT, zone);
    let stub = Upstream::with_zone(ip, second, "a.corp.example. 300 A 192.0.2.7");
    mounts.stub_domains(&format!(r#"{{"corp.example": ["{ip}:{second}"]}}"#));
    let program = mounts.start();

    assert_eq!(program.ask("kubernetes.default.svc.cluster.local", "A").answer.len(), 1);
    assert_eq!(program.ask("1.0.96.10.in-addr.arpa", "PTR").answer.len(), 1);
    assert!(cluster.connections() >= 1, "force_tcp");
    assert_eq!(program.ask("a.corp.example", "A").answer[0].data, [192, 0, 2, 7]);
    assert_eq!(stub.count("a.corp.example. A"), 1);
    let output = mounts.output();
    assert!(output.contains(&format!("forward . {ip}:{UPSTREAM_PORT} {{")), "{output}");
    assert!(output.contains("corp.example:5300 {") && !output.contains("__P"), "{output}");
    // node-cache's own metrics are on the first address, and nowhere else.
    let (status, page) = http_page((ip, 9353).into(), "/metrics").expect("a page");
    let errors = |page: &str| metric_sum(page, "coredns_nodecache_setup_errors_total", &[]);
    assert_eq!((status, errors(&page)), (200, 0.0));
    let status = |port: u16| http_page((ip, port).into(), "/hot").expect("a page").0;
    assert_eq!((status(9353), status(9253)), (404, 200), "names are told where `prometheus` is");

    // A change is found without a signal and whatever the Corefile says about `reload`.
    mounts.stub_domains(&format!(
        r#"{{"corp.example": ["{ip}:{second}"], "new.example": ["{ip}:{second}"]}}"#
    ));
    let found = within(Duration::from_secs(20), || mounts.output().contains("new.example:5300 {"));
    assert!(found, "{}", program.log());

    // What makes no sense is named and counted, and changes nothing.
    mounts.stub_domains(r#"{"corp.example": ["nonsense"]}"#);
    program.signal("HUP");
    let place = "kube-dns/stubDomains:1:2: found `nonsense`";
    assert!(program.logs_within(place, Duration::from_secs(5)), "{}", program.log());
    assert_eq!(program.ask("a.corp.example", "A").answer.len(), 1);
    assert_eq!(program.metric("coredns_nodecache_setup_errors_total", &["configmap"]), 1.0);

    mounts.mount("coredns", &[("Corefile.base", ".:5300 {\n  nonsense\n}\n")]);
    program.signal("HUP");
    let place = "coredns/Corefile.base:2:3: found `nonsense`";
    assert!(program.logs_within(place, Duration::from_secs(5)), "{}", program.log());
    assert_eq!(program.ask("a.corp.example", "A").answer.len(), 1);
    assert_eq!(program.metric("coredns_nodecache_setup_errors_total", &["configmap"]), 2.0);
    assert!(mounts.output().contains("new.example:5300 {"), "the file says what is in force");

    // A template that is gone does not bring back what was written before.
    std::fs::remove_file(mounts.path("coredns/Corefile.base")).expect("removed");
    program.signal("HUP");
    let told = program.logs_within("cannot read the template", Duration::from_secs(5));
    assert!(told, "{}", program.log());
    assert_eq!(program.ask("a.corp.example", "A").answer.len(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_a_warning() {
    let mounts = Mounts::new();
    std::fs::create_dir(mounts.path("Corefile")).expect("a folder in the way");
    let zone = "a.cluster.local. 300 A 192.0.2.1";
    let _cluster = Upstream::with_zone(mounts.ip, UPSTREAM_PORT, zone);
    let program = mounts.start();
    assert_eq!(program.ask("a.cluster.local", "A").answer.len(), 1);
    assert!(program.log().contains("it is in force all the same"), "{}", program.log());
}

#[test]
fn nothing_of_a_broken_config_map_gets_in_at_the_start() {
    let mounts = Mounts::new();
    mounts.stub_domains(r#"{"a {\n whoami\n}\n.": ["10.0.0.1"]}"#);
    let zone = "a.cluster.local. 300 A 192.0.2.1";
    let _cluster = Upstream::with_zone(mounts.ip, UPSTREAM_PORT, zone);
    let program = mounts.start();
    assert_eq!(program.ask("a.cluster.local", "A").answer.len(), 1);
    assert!(program.log().contains("kube-dns/stubDomains:1:"), "{}", program.log());
    assert!(!mounts.output().contains("whoami"));
    assert_eq!(program.metric("coredns_nodecache_setup_errors_total", &["configmap"]), 1.0);
}

#[test]
fn timeouts_of_the_corefile_end_idle_connections() {
    let text =
        |idle: &str| format!(".:PORT {{\n bind IP\n whoami\n timeouts {{\n idle {idle}\n }}\n}}\n");
    let program = Program::start(own_loopback(), &text("1s"));
    let mut client = TcpClient::new(program.address);
    assert!(client.is_closed_within(Duration::from_secs(5)));
    program.write_corefile(&text("1h"));
    program.signal("HUP");
    assert!(program.logs_within("is in force", Duration::from_secs(5)), "{}", program.log());
    let mut client = TcpClient::new(program.address);
    assert!(!client.is_closed_within(Duration::from_secs(3)));
}

#[test]
fn pprof_and_trace_are_warned_about() {
    let text = ".:PORT {\n bind IP\n whoami\n pprof\n trace zipkin 127.0.0.1:9411\n}\n";
    let program = Program::start(own_loopback(), text);
    for words in ["`pprof` does nothing here", "`trace` does nothing here"] {
        assert!(program.logs_within(words, Duration::from_secs(3)), "{}", program.log());
    }
}

#[test]
fn an_interval_in_disguise_is_read_as_meant_and_told() {
    let text = ".:PORT {\n bind IP\n whoami\n}\n";
    let arguments = [
        "-syncinterval",
        "60ns",
        "-reloadwithsignal",
        "-setupinterface=false",
        "-setupiptables=false",
    ];
    let program = Program::start_with(own_loopback(), text, &arguments);
    let told =
        "-syncinterval 60ns is node-cache's way to write seconds: it is read as 60s; write 60s";
    assert!(program.logs_within(told, Duration::from_secs(3)), "{}", program.log());
}
