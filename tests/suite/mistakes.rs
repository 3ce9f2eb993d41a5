//! Mistakes at the start: the program ends within a second with exit code 1 and says where the
//! mistake is and what would be right.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::program::run_to_end;

/// Flags, what the file `Corefile` in the test's folder (`FOLDER` in both) holds, and what must be
/// said.
struct Mistake {
    flags: &'static [&'static str],
    corefile: &'static str,
    said: &'static [&'static str],
}

const CONF: &[&str] = &["-conf", "FOLDER/Corefile"];
const TEMPLATE: &[&str] = &["-basecorefile", "FOLDER/Corefile", "-conf", "FOLDER/out"];

const MISTAKES: &[Mistake] = &[
    // Flags.
    Mistake { flags: &["-cnof", "x"], corefile: "", said: &["--cnof", "--conf"] },
    Mistake { flags: &["extra"], corefile: "", said: &["'extra'"] },
    Mistake { flags: &["-conf"], corefile: "", said: &["--conf <FILE>"] },
    Mistake { flags: &["-quiet=yes"], corefile: "", said: &["--quiet", "expected true or false"] },
    Mistake { flags: &["-dns.port", "70000"], corefile: "", said: &["--dns.port", "1..=65535"] },
    Mistake {
        flags: &["-localip", "169.254.20.10,node"],
        corefile: "",
        said: &["--localip", "`node` is not an IP address", "169.254.20.10,10.96.0.10"],
    },
    Mistake {
        flags: &["-localip", "0.0.0.0"],
        corefile: "",
        said: &["--localip", "stands for every address"],
    },
    Mistake {
        flags: &["-localip", "169.254.20.10,__PILLAR__DNS__SERVER__"],
        corefile: "",
        said: &["--localip", "is a placeholder", "leave it out"],
    },
    Mistake {
        flags: &["-interfacename", "a-name-that-is-too-long"],
        corefile: "",
        said: &["--interfacename", "1 to 15"],
    },
    Mistake {
        flags: &["-syncinterval", "soon"],
        corefile: "",
        said: &["--syncinterval", "such as 60s"],
    },
    Mistake {
        flags: &["-metrics-listen-address", "9353"],
        corefile: "",
        said: &["--metrics-listen-address", "ADDRESS:PORT"],
    },
    Mistake {
        flags: &["-prometheus-listen-address", ""],
        corefile: "",
        said: &["--prometheus-listen-address", ":9253"],
    },
    Mistake {
        flags: &["-upstreamsvc", "kube-dns.kube-system"],
        corefile: "",
        said: &["--upstreamsvc", "without dots"],
    },
    // Files that are not there.
    Mistake {
        flags: &["-conf", "FOLDER/none"],
        corefile: "",
        said: &["cannot read the Corefile FOLDER/none: No such file", "-conf FILE"],
    },
    Mistake { flags: &["-conf", "FOLDER"], corefile: "", said: &["FOLDER: not a regular file"] },
    Mistake {
        flags: &["-basecorefile", "FOLDER/none"],
        corefile: "",
        said: &["template of the Corefile FOLDER/none: No such file", "-basecorefile FILE"],
    },
    // Templates.
    Mistake {
        flags: TEMPLATE,
        corefile: "__PILLAR__DNS__DOMAIN__:53 {\n    whoami\n}\n",
        said: &[
            "FOLDER/Corefile:1:1: found `__PILLAR__DNS__DOMAIN__:53`",
            "sed s/__PILLAR__DNS__DOMAIN__",
        ],
    },
    Mistake {
        flags: TEMPLATE,
        corefile: ". {\n    forward . __PILLAR__CLUSTER__DNS__\n}\n",
        said: &[
            "FOLDER/Corefile:2:15: found `__PILLAR__CLUSTER__DNS__`",
            "KUBE_DNS_SERVICE_HOST is not set",
            "-upstreamsvc ADDRESS",
        ],
    },
    Mistake {
        flags: TEMPLATE,
        corefile: ". {\n    bind __PILLAR__LOCAL__DNS__\n    whoami\n}\n",
        said: &["FOLDER/Corefile:2:10: found `__PILLAR__LOCAL__DNS__`", "-localip ADDRESSES"],
    },
    Mistake {
        flags: &["-basecorefile", "FOLDER/Corefile", "-localip", "127.0.0.1,127.0.0.2"],
        corefile: ". {\n    forward . __PILLAR__LOCAL__DNS__ {\n        max_fails many\n    }\n}\n",
        said: &["FOLDER/Corefile:3:19: found `many`", "a whole number"],
    },
    Mistake {
        flags: &["-basecorefile", "FOLDER/Corefile", "-localip", "fd00::10"],
        corefile: ". {\n    health __PILLAR__LOCAL__DNS__\n}\n",
        said: &["FOLDER/Corefile:2:12: found `fd00::10` (written `__PILLAR__LOCAL__DNS__`)"],
    },
    // Corefiles.
    Mistake {
        flags: CONF,
        corefile: ". {\n    bind __PILLAR__LOCAL__DNS__\n}\n",
        said: &["FOLDER/Corefile:2:10: found `__PILLAR__LOCAL__DNS__`", "-basecorefile"],
    },
    Mistake {
        flags: CONF,
        corefile: ". {\n    forwrad . 192.0.2.1\n}\n",
        said: &["FOLDER/Corefile:2:5: found `forwrad`", "did you mean `forward`?"],
    },
    Mistake {
        flags: CONF,
        corefile: ". {\n    timeouts {\n        idle 48h\n    }\n}\n",
        said: &["FOLDER/Corefile:3:14: found `48h`", "from `1s` to `24h`"],
    },
    Mistake {
        flags: CONF,
        corefile: ". {\n    whoami\n",
        said: &["FOLDER/Corefile:2:5: ", "expected `}` for the brace opened at"],
    },
    Mistake {
        flags: CONF,
        corefile: ". {\n    bind 192.0.2.53\n    whoami\n}\n",
        said: &["192.0.2.53:53", "no interface of this machine has the address"],
    },
    Mistake {
        flags: &["-conf", "FOLDER/Corefile", "-metrics-listen-address", "127.0.0.1:5399"],
        corefile: ".:5399 {\n    bind 127.0.0.1\n    whoami\n}\n",
        said: &["FOLDER/Corefile:1:1: found `-metrics-listen-address` on 127.0.0.1:5399"],
    },
    Mistake {
        flags: &["-conf", "FOLDER/Corefile", "-pidfile", "FOLDER/none/pid"],
        corefile: ".:5398 {\n    bind 127.0.0.1\n    whoami\n}\n",
        said: &["-pidfile FOLDER/none/pid", "writable folder"],
    },
];

#[test]
fn every_mistake_ends_the_program_with_what_would_be_right() {
    for mistake in MISTAKES {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        check(mistake, folder.path());
        let left = std::fs::read_dir(folder.path()).expect("listed").count();
        assert_eq!(left, 1, "{:?} left something behind", mistake.flags);
    }
}

fn check(mistake: &Mistake, folder: &Path) {
    let own = |text: &str| text.replace("FOLDER", &folder.to_string_lossy());
    std::fs::write(folder.join("Corefile"), mistake.corefile).expect("a writable folder");
    let flags: Vec<String> = mistake.flags.iter().map(|flag| own(flag)).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let started = Instant::now();
    let (code, text) = run_to_end(&flags, Duration::from_secs(10));
    // A second is what it may take; the rest is for a machine that is busy with other tests.
    assert!(started.elapsed() < Duration::from_secs(4), "{flags:?}: {:?}", started.elapsed());
    assert_eq!(code, Some(1), "{flags:?}:\n{text}");
    for words in mistake.said {
        assert!(text.contains(&own(words)), "{words:?} is missing from:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
