//! A Kubernetes API server that knows EndpointSlices and one node, on loopback, over plain HTTP or
//! over TLS with a token.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// The namespace and name of the Service whose slices are served.
pub const SERVICE: &str = "kube-system/kube-dns-upstream";

/// What a client over TLS must show.
const TOKEN: &str = "the-right-token";

/// A running API server; it ends, with all its connections, when this is dropped.
pub struct ApiServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Its certificate as PEM, if it speaks TLS.
    certificate: Option<String>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    version: u64,
    slices: BTreeMap<String, Value>,
    /// Every change of a slice: its version, its kind and the slice.
    events: Vec<(u64, &'static str, Value)>,
    node: Value,
    /// Method and path of every request.
    requests: Vec<String>,
    /// What every request is answered with, instead of an answer.
    refusal: Option<u16>,
    /// Patches of the node that are refused because it changed.
    conflicts: usize,
    streams: Vec<TcpStream>,
}

struct Request {
    method: String,
    path: String,
    token: Option<String>,
    body: Vec<u8>,
}

impl ApiServer {
    /// Listens on a port of `ip`, or on this very one if it is not 0.
    pub fn start(ip: Ipv4Addr, port: u16) -> Self {
        Self::listen(ip, port, None)
    }

    /// As [`Self::start`], over TLS, for those who come with the right token.
    pub fn start_tls(ip: Ipv4Addr) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![ip.to_string()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate and its key");
        Self::listen(ip, 0, Some((Arc::new(config), made.cert.pem())))
    }

    fn listen(ip: Ipv4Addr, port: u16, tls: Option<(Arc<ServerConfig>, String)>) -> Self {
        let (tls, certificate) = tls.unzip();
        let listener = TcpListener::bind((ip, port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, tls.as_ref(), &shared));
        Self { address, state, certificate }
    }

    /// Writes a kubeconfig that leads here; returns its path.
    pub fn kubeconfig(&self, folder: &Path) -> String {
        let path = folder.join("kubeconfig");
        let (mut cluster, mut user) = (json!({}), json!({}));
        cluster["server"] = json!(format!("http://{}", self.address));
        if let Some(certificate) = &self.certificate {
            let authority = folder.join("ca.pem");
            std::fs::write(&authority, certificate).expect("a writable folder");
            cluster["server"] = json!(format!("https://{}", self.address));
            cluster["certificate-authority"] = json!(authority.to_string_lossy());
            user["token"] = json!(TOKEN);
        }
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&path, text.to_string()).expect("a writable folder");
        path.to_string_lossy().into_owned()
    }

    /// Creates or replaces a slice with these endpoints, all of them at `port`.
    pub fn put_slice(&self, name: &str, port: u16, endpoints: &Value) {
        let mut state = self.state();
        let kind = if state.slices.contains_key(name) { "MODIFIED" } else { "ADDED" };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name},
            "ports": [{"name": "dns", "port": port, "protocol": "UDP"}], "endpoints": endpoints,
        });
        state.change(name, kind, slice);
    }

    /// Deletes a slice.
    pub fn delete_slice(&self, name: &str) {
        let mut state = self.state();
        let slice = state.slices[name].clone();
        state.change(name, "DELETED", slice);
    }

    /// Sends something as the next event of every watch, whatever it is.
    pub fn send_event(&self, object: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        state.events.push((version, "MODIFIED", object));
    }

    /// Answers everything with this status from now on.
    pub fn refuse(&self, status: u16) {
        self.state().refusal = Some(status);
    }

    /// Refuses so many patches of the node because it has changed.
    pub fn conflict(&self, times: usize) {
        self.state().conflicts = times;
    }

    /// Sets the one node there is.
    pub fn put_node(&self, node: Value) {
        self.state().node = node;
    }

    /// The node as it is now.
    pub fn node(&self) -> Value {
        self.state().node.clone()
    }

    /// The requests so far, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        let mut state = self.state();
        state.stopped = true;
        for stream in state.streams.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// An endpoint that is ready.
pub fn ready(ip: Ipv4Addr) -> Value {
    json!({"addresses": [ip.to_string()], "conditions": {"ready": true}})
}

/// An endpoint that is about to end, and still answers.
pub fn leaving(ip: Ipv4Addr) -> Value {
    let conditions = json!({"ready": false, "serving": true, "terminating": true});
    json!({"addresses": [ip.to_string()], "conditions": conditions})
}

impl State {
    fn change(&mut self, name: &str, kind: &'static str, mut slice: Value) {
        self.version += 1;
        slice["metadata"]["resourceVersion"] = json!(self.version.to_string());
        match kind {
            "DELETED" => self.slices.remove(name),
            _ => self.slices.insert(name.to_owned(), slice.clone()),
        };
        self.events.push((self.version, kind, slice));
    }

    fn patch_node(&mut self, patch: &Value) -> (u16, Value) {
        let version = &self.node["metadata"]["resourceVersion"];
        let is_old = patch["metadata"].get("resourceVersion").is_some_and(|old| old != version);
        if is_old || self.conflicts > 0 {
            self.conflicts = self.conflicts.saturating_sub(1);
            return (409, failure(409));
        }
        merge(&mut self.node, patch);
        (200, self.node.clone())
    }
}

/// A JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in fields {
        match value {
            Value::Null => {
                target.as_object_mut().map(|object| object.remove(key));
            }
            value => merge(&mut target[key], value),
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic in the API server")
}

fn accept(listener: &TcpListener, tls: Option<&Arc<ServerConfig>>, state: &Arc<Mutex<State>>) {
    while !lock(state).stopped {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_nonblocking(false).expect("a socket");
        if let Ok(stream) = stream.try_clone() {
            lock(state).streams.push(stream);
        }
        let state = Arc::clone(state);
        match tls.cloned() {
            None => thread::spawn(move || serve(stream, false, &state)),
            Some(config) => thread::spawn(move || {
                let session = ServerConnection::new(config).ok()?;
                serve(StreamOwned::new(session, stream), true, &state)
            }),
        };
    }
}

fn serve(stream: impl Read + Write, needs_token: bool, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        lock(state).requests.push(format!("{} {}", request.method, request.path));
        let is_known = !needs_token || request.token.as_deref() == Some(TOKEN);
        if is_known && request.path.contains("watch=true") && lock(state).refusal.is_none() {
            return watch(reader.get_mut(), &request.path, state);
        }
        let (status, body) = match is_known {
            true => answer(&request, &mut lock(state)),
            false => (401, failure(401)),
        };
        let body = body.to_string();
        let len = body.len();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\r\n"
        );
        reader.get_mut().write_all((head + &body).as_bytes()).ok()?;
        reader.get_mut().flush().ok()?;
    }
    None
}

fn answer(request: &Request, state: &mut State) -> (u16, Value) {
    let path = request.path.split('?').next().unwrap_or_default();
    let (namespace, service) = SERVICE.split_once('/').expect("a Service");
    let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
    let node = state.node["metadata"]["name"].as_str().unwrap_or_default();
    let is_node = path == format!("/api/v1/nodes/{node}");
    let is_selected = request.path.contains(&format!("service-name%3D{service}"));
    match (state.refusal, request.method.as_str()) {
        (Some(status), _) => (status, failure(status)),
        (None, "GET") if path == slices && is_selected => (200, list(state)),
        (None, "GET") if is_node => (200, state.node.clone()),
        (None, "PATCH") if is_node => match serde_json::from_slice(&request.body) {
            Ok(patch) => state.patch_node(&patch),
            Err(_) => (400, failure(400)),
        },
        _ => (404, failure(404)),
    }
}

fn list(state: &State) -> Value {
    let items: Vec<_> = state.slices.values().collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
        "metadata": {"resourceVersion": state.version.to_string()}, "items": items,
    })
}

fn failure(status: u16) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status,
        "reason": "Test", "message": "as the test wants it",
    })
}

/// Sends what happened after the version asked for, and goes on as it happens.
fn watch(stream: &mut impl Write, path: &str, state: &Mutex<State>) -> Option<()> {
    let version = path.split("resourceVersion=").nth(1)?.split('&').next()?;
    let mut seen: u64 = version.parse().ok()?;
    let head =
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    while !lock(state).stopped {
        let news: Vec<_> =
            lock(state).events.iter().filter(|event| event.0 > seen).cloned().collect();
        for (version, kind, object) in news {
            let line = format!("{}\n", json!({"type": kind, "object": object}));
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes()).ok()?;
            seen = version;
        }
        stream.flush().ok()?;
        thread::sleep(Duration::from_millis(5));
    }
    None
}

fn read_request(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut body_len, mut token) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&len| len > 0)?;
        let written = line.trim();
        let line = written.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if line.starts_with("authorization: bearer ") {
            token = written.rsplit(' ').next().map(str::to_owned);
        }
        if let Some(len) = line.strip_prefix("content-length:") {
            body_len = len.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; body_len];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, token, body })
}
