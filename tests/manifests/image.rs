//! The Dockerfile and what it builds from, against the workspace.

use std::path::Path;

use serde_json::Value;

use crate::kustomize::{list, text, variants};

#[test]
fn the_image_is_built_with_the_toolchain_of_the_workspace() {
    let toolchain = read("rust-toolchain.toml");
    let channel = quoted(&toolchain, "channel");
    let dockerfile = read("Dockerfile");
    assert!(dockerfile.contains(&format!("ARG RUST_VERSION={channel}\n")), "{channel}");
    // rustup must not fetch the components that the toolchain file names for developers.
    assert!(dockerfile.contains("ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}\n"));
    let workspace = read("Cargo.toml");
    assert!(channel.starts_with(quoted(&workspace, "rust-version")), "one version everywhere");
}

#[test]
fn the_image_has_the_program_where_the_manifests_look_for_it() {
    let dockerfile = read("Dockerfile");
    let package = quoted(&read("dnscache/Cargo.toml"), "name").to_owned();
    let build = format!("cargo build --release --locked --package {package} --bin dnscache");
    assert!(dockerfile.contains(&build), "{build}");
    // The last stage is what a build without --target gives.
    let stages: Vec<&str> = dockerfile.split("\nFROM ").skip(1).collect();
    let names: Vec<&str> = stages.iter().map(|stage| stage_name(stage)).collect();
    assert_eq!(names, ["build", "bare", "node"]);
    for stage in &stages[1..] {
        assert!(stage.contains("\nCOPY --from=build /image/dnscache /dnscache\n"), "{stage}");
        assert!(
            stage.contains(
                "
ENTRYPOINT [\"/dnscache\"]
"
            ),
            "{stage}"
        );
    }
    for variant in variants() {
        let pod = &variant.object("DaemonSet", "node-local-dns")["spec"]["template"]["spec"];
        let container: &Value = &list(&pod["containers"])[0];
        assert!(container["command"].is_null(), "the image's entry point starts the program");
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert_eq!(container[probe]["exec"]["command"][0], "/dnscache");
        }
    }
}

#[test]
fn the_image_has_the_version_of_the_program() {
    let tag = format!("dnscache:{}", env!("CARGO_PKG_VERSION"));
    assert!(read("Dockerfile").contains(&format!("docker build -t {tag} .")));
    for variant in variants() {
        let pod = &variant.object("DaemonSet", "node-local-dns")["spec"]["template"]["spec"];
        assert_eq!(text(&pod["containers"][0]["image"]), tag, "{}", variant.name);
    }
}

#[test]
fn the_binary_needs_nothing_of_its_image() {
    let dockerfile = read("Dockerfile");
    let flags = "ENV RUSTFLAGS=\"-C target-feature=+crt-static\"\n";
    let build = dockerfile.find("cargo build").expect("a build");
    assert!(dockerfile.find(flags).expect("RUSTFLAGS") < build, "in force when it is built");
    assert!(dockerfile[build..].contains("! grep INTERP /image/headers\n"), "and looked at");
    // An empty image has no trusted roots for DNS over TLS.
    let bare = dockerfile.split("FROM scratch AS bare").nth(1).expect("a stage");
    let bare = bare.split("\nFROM ").next().expect("its lines");
    assert!(bare.contains("/etc/ssl/certs/ca-certificates.crt"));
}

#[test]
fn the_build_gets_every_file_that_cargo_wants() {
    let ignored = read(".dockerignore");
    let kept: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "nothing but what is named");
    let mut wanted = vec!["Cargo.toml".to_owned(), "Cargo.lock".to_owned()];
    for member in members() {
        // Cargo reads a manifest only if the files of all its targets are there.
        let manifest = read(&format!("{member}/Cargo.toml"));
        let targets = manifest.lines().filter_map(|line| line.strip_prefix("path = \"../"));
        wanted.extend(targets.map(|path| path.split('/').next().expect("a folder").to_owned()));
        wanted.push(member);
    }
    for path in wanted {
        assert!(kept.contains(&path.as_str()), "{path} is not sent to the build");
        assert!(root().join(&path).exists(), "{path}");
    }
    for path in kept {
        assert!(root().join(path).exists(), "{path} is sent, and is not there");
    }
}

/// The value of the first line `key = "value"`.
fn quoted<'a>(toml: &'a str, key: &str) -> &'a str {
    let line = toml.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    line.expect(key).trim().trim_matches('"')
}

/// The folders of the workspace's members, without which Cargo reads none of them.
fn members() -> Vec<String> {
    let workspace = read("Cargo.toml");
    let list = workspace.lines().find_map(|line| line.strip_prefix("members = ["));
    let list = list.expect("members").trim_end_matches(']');
    list.split(',').map(|member| member.trim().trim_matches('"').to_owned()).collect()
}

fn stage_name(stage: &str) -> &str {
    stage.lines().next().and_then(|line| line.split(" AS ").nth(1)).unwrap_or("")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}
