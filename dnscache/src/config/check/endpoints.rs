//! `endpoints` and `max_age` of `forward`: which upstreams stand behind a Service, and how long a
//! connection to one of them is kept.

use std::time::Duration;

use super::super::corefile::Directive;
use super::super::{ConfigError, Forward, ServiceName, Upstream};
use super::arguments::{Arguments, duration, error_at};

/// `endpoints NAMESPACE/SERVICE`.
pub(super) fn service(args: &mut Arguments<'_>) -> Result<ServiceName, ConfigError> {
    let token = args.need(SERVICE_EXPECTED)?;
    let parts = token.text.split_once('/');
    let named = parts.filter(|(namespace, name)| is_label(namespace) && is_label(name));
    let (namespace, name) = named.ok_or_else(|| token.error(SERVICE_EXPECTED))?;
    Ok(ServiceName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// `max_age DURATION`; zero keeps connections for as long as they live.
pub(super) fn max_age(args: &mut Arguments<'_>) -> Result<Duration, ConfigError> {
    let token = args.need("an age")?;
    let age = duration(token, "an age")?;
    match age.is_zero() || age >= AGE_MIN {
        true => Ok(age),
        false => Err(token.error("an age of 1s or more (0: no limit)")),
    }
}

/// The certificate of an upstream is not the certificate of what stands behind a Service.
pub(super) fn check(forward: &Forward, line: &Directive) -> Result<(), ConfigError> {
    let any_tls = forward.to.iter().any(|to| matches!(to, Upstream::Address { tls: true, .. }));
    let asked = line.body.iter().find(|option| option.name == "endpoints");
    match asked {
        Some(option) if any_tls => Err(error_at(
            &option.position,
            &option.name,
            "upstreams without `tls://` above it: endpoints are asked over UDP and TCP",
        )),
        _ => Ok(()),
    }
}

/// A name as Kubernetes gives them to namespaces and Services (RFC 1123 label, lower case).
fn is_label(text: &str) -> bool {
    let is_inner = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit();
    let octets = text.as_bytes();
    (1..=63).contains(&octets.len())
        && octets.iter().all(|&octet| is_inner(octet) || octet == b'-')
        && is_inner(octets[0])
        && is_inner(octets[octets.len() - 1])
}

const SERVICE_EXPECTED: &str = "a Service, such as `kube-system/kube-dns-upstream`";
/// Connections that live shorter cost more than they spread.
const AGE_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    fn read(option: &str) -> Forward {
        block(&format!("forward . 192.0.2.1 {{\n {option}\n}}")).forwards.remove(0)
    }

    #[test]
    fn a_service_is_named_by_its_namespace_and_name() {
        let service = read("endpoints kube-system/kube-dns-upstream").endpoints.expect("a service");
        assert_eq!(service.to_string(), "kube-system/kube-dns-upstream");
        assert_eq!(read("force_tcp").endpoints, None);
    }

    #[test]
    fn what_is_no_service_is_refused() {
        for text in ["kube-dns", "a/b/c", "/b", "a/", "A/b", "-a/b", "a/b-", "a/b.c", "a/../b"] {
            let message = error(&format!("forward . 192.0.2.1 {{\n endpoints {text}\n}}"));
            let expected = format!("Corefile:3:12: found `{text}`, expected {SERVICE_EXPECTED}");
            assert_eq!(message, expected);
        }
        let message = error("forward . tls://192.0.2.1 {\n endpoints a/b\n}");
        assert!(message.contains("without `tls://`"), "{message}");
    }

    #[test]
    fn ages_are_read() {
        assert_eq!(read("max_age 90s").max_age, Some(Duration::from_secs(90)));
        assert_eq!(read("max_age 0").max_age, Some(Duration::ZERO));
        assert_eq!(read("force_tcp").max_age, None);
        let message = error("forward . 192.0.2.1 {\n max_age 10ms\n}");
        assert!(message.ends_with("expected an age of 1s or more (0: no limit)"), "{message}");
    }
}
