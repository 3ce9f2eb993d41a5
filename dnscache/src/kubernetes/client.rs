//! Where the API server is, and how to talk to it.
//!
//! In a pod that is the address in `KUBERNETES_SERVICE_HOST` with the files of the service account;
//! elsewhere the kubeconfig that `KUBECONFIG` names. The server must be given by its IP address: its
//! name would be looked up through the very cache that asks.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context as _;
use kube::config::{Config, KubeConfigOptions};
use kube::{Client, Error};
use tokio::time::timeout;

/// An API server that was found; it may be away.
#[derive(Clone)]
pub struct Server {
    /// Asks it.
    pub client: Client,
    /// Whether it runs on this very machine and is reached over loopback: only then may an address
    /// it names be one of loopback (a test, `kubectl proxy`).
    pub is_local: bool,
}

/// How long a request may take that is answered at once.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// Finds the API server from the environment. Nothing is sent yet. Must be called inside a tokio
/// runtime.
///
/// # Errors
/// What is missing in the environment, or wrong with it.
pub async fn find() -> anyhow::Result<Server> {
    // kube asks for the provider of the process; an earlier one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = read().await?;
    let host = config.cluster_url.host().unwrap_or_default();
    let address: IpAddr =
        host.trim_start_matches('[').trim_end_matches(']').parse().ok().with_context(|| {
            format!(
                "the API server is given as `{host}`; give its IP address, because its name \
                 would be looked up through this cache"
            )
        })?;
    config.connect_timeout = Some(CONNECT_PATIENCE);
    // Whoever asks has pauses of its own.
    config.default_retry = false;
    let client = Client::try_from(config).context("preparing the connection to the API server")?;
    Ok(Server { client, is_local: address.is_loopback() })
}

async fn read() -> anyhow::Result<Config> {
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        let options = KubeConfigOptions::default();
        return Config::from_kubeconfig(&options)
            .await
            .context("reading the file KUBECONFIG names");
    }
    Config::incluster().context(
        "no API server is known: outside a pod set KUBECONFIG, in a pod let its service account's \
         token be mounted",
    )
}

/// The answer to a request that is answered at once, or what went wrong, for an operator; `rights`
/// are what the service account needs for it.
pub async fn within<T>(
    request: impl Future<Output = kube::Result<T>>,
    rights: &str,
) -> Result<T, String> {
    let answer = timeout(PATIENCE, request).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?;
    answer.map_err(|error| explain(&error, rights))
}

/// What went wrong, for an operator; `rights` are what the service account needs.
pub fn explain(error: &Error, rights: &str) -> String {
    match error {
        Error::Api(status) if matches!(status.code, 401 | 403) => format!(
            "the API server forbids it ({}); the service account needs {rights}",
            status.message
        ),
        Error::Api(status) => {
            format!("the API server answers {} {}", status.code, status.message)
        }
        other => chain(other),
    }
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
