//! Who an upstream must prove to be over TLS (RFC 7858, RFC 8310 section 5).

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::Tls;

/// What a TLS connection to one upstream needs.
#[derive(Debug, Clone)]
pub struct TlsTarget {
    /// Trusted authorities and our own certificate.
    pub config: Arc<ClientConfig>,
    /// Whom the certificate must name. A DNS name is also sent as SNI; an address never is
    /// (RFC 6066 section 3).
    pub name: ServerName<'static>,
}

impl TlsTarget {
    /// The upstream at `address`, which must present a certificate for `name`, or for the address
    /// itself when no name was configured.
    pub fn new(
        config: Arc<ClientConfig>,
        name: Option<&str>,
        address: IpAddr,
    ) -> anyhow::Result<Self> {
        let name = match name {
            Some(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .with_context(|| {
                    format!("tls_servername {name} is neither a host name nor an address")
                })?,
            None => ServerName::from(address),
        };
        Ok(Self { config, name })
    }
}

/// Reads the certificates `tls` names: the authority it gives or the machine's own trusted roots,
/// and a client certificate if there is one. Errors name the file.
pub fn tls_config(tls: &Tls) -> anyhow::Result<Arc<ClientConfig>> {
    let roots = match &tls.authority {
        Some(path) => authority(path)?,
        None => machine_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_root_certificates(roots);
    let config = match &tls.client_certificate {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .with_context(|| {
                format!("{} and {} do not belong together", certificate.display(), key.display())
            })?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn authority(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .with_context(|| format!("{}: not a certificate authority", path.display()))?;
    }
    Ok(roots)
}

fn machine_roots() -> anyhow::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        anyhow::bail!(
            "this machine has no trusted root certificates{why}; name an authority with `tls CA`"
        );
    }
    Ok(roots)
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("{}: cannot read certificates", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{}: no certificate in this file", path.display());
    Ok(certificates)
}

fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path)
        .with_context(|| format!("{}: cannot read a private key", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_of(authority: &Path) -> anyhow::Result<Arc<ClientConfig>> {
        tls_config(&Tls { client_certificate: None, authority: Some(authority.to_owned()) })
    }

    #[test]
    fn a_missing_or_empty_authority_is_named_in_the_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authority.pem");
        let missing = config_of(&path).expect_err("there is no such file");
        assert!(missing.to_string().contains("authority.pem"), "{missing}");
        std::fs::write(&path, "nothing\n").expect("a file");
        let empty = config_of(&path).expect_err("there is no certificate");
        assert!(empty.to_string().contains("authority.pem: no certificate"), "{empty}");
    }

    #[test]
    fn the_name_falls_back_to_the_address() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("authority.pem");
        let made =
            rcgen::generate_simple_self_signed(vec!["dns.example".into()]).expect("a certificate");
        std::fs::write(&path, made.cert.pem()).expect("a file");
        let config = config_of(&path).expect("a configuration");
        let address = IpAddr::from([192, 0, 2, 1]);
        let unnamed = TlsTarget::new(Arc::clone(&config), None, address).expect("a target");
        assert_eq!(unnamed.name, ServerName::from(address));
        let named =
            TlsTarget::new(Arc::clone(&config), Some("dns.example."), address).expect("a target");
        assert_eq!(named.name.to_str(), "dns.example");
        assert!(TlsTarget::new(config, Some("not a name"), address).is_err());
    }
}
